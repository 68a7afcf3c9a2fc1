"""A workload is what /proc says it is now, or nothing (T3.7). Real processes, seen by an unprivileged user."""

import asyncio
import concurrent.futures.thread  # noqa: F401  (before root's files are out of reach)
import functools
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from taskbound.core.errors import Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Peer, Process, Registration, identify
from taskbound.core.thing import advance
from taskbound.plugins.attestors import unix
from taskbound.plugins.attestors.unix import UnixAttestor, script_of

NOBODY = 65534
SH, SLEEP = (os.path.realpath(str(shutil.which(name))) for name in ("sh", "sleep"))


def as_nobody(test):
    """Run the test in a process of its own that is not root's."""

    @functools.wraps(test)
    def forked(*args, **kwargs):
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            told = b"ok"
            try:
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setresgid(NOBODY, NOBODY, NOBODY)
                    os.setresuid(NOBODY, NOBODY, NOBODY)
                assert os.getuid() != 0
                asyncio.run(test(*args, **kwargs))
            except BaseException:
                told = traceback.format_exc().encode()
            os.write(writing, told[-60_000:])
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(pid, 0)
        assert told == b"ok", told.decode() or "the process died"

    return forked


@pytest.fixture
def ground():
    """A directory that the unprivileged user reaches and owns."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


@contextmanager
def running(*command, script=None, **options):
    """A process that has its script open, and the peer it would be; everything of it is killed at the end."""
    process = subprocess.Popen(command, start_new_session=True, **options)  # returns after the exec
    try:
        until(lambda: script is None or reads(process.pid, script))
        yield process, peer_of(process.pid)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(met):
    for _ in range(500):
        if met():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass within 5 s")


def fields(pid):
    return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b") ", 1)[1].split()


def reads(pid, path):
    """Whether the process has the file open: a shell that was just started has not yet."""
    with suppress(OSError):
        return any(os.readlink(fd) == str(path) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def started(pid):
    return int(fields(pid)[19])


def parent(pid):
    return int(fields(pid)[1])


def peer_of(pid):
    return Peer(os.getuid(), os.getgid(), Process(pid, started(pid)))


def name_of(pid):
    return Path(f"/proc/{pid}/comm").read_bytes()[:-1]


def size_of(path):
    return Path(path).stat().st_size


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def refused(peer, why="", attestor=None):
    with pytest.raises(Unauthenticated, match=why):
        await (attestor or UnixAttestor()).attest(peer)


def script(ground, name="agent.sh", text="sleep 60\n:\n"):
    path = ground / name
    path.write_text(text)
    return path


def jail_of(ground, path):
    """Return a directory that could be a shell's root, with another script under the same name."""
    jail = ground / "jail"
    found = subprocess.run(["ldd", SH], capture_output=True, text=True, check=True).stdout
    for file in (SH, *re.findall(r"(/\S+) \(0x", found)):
        (jail / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, jail / file[1:])
    (jail / str(path)[1:]).parent.mkdir(parents=True)
    (jail / str(path)[1:]).write_text("read x\n:\n")
    return jail


# --- what is told --------------------------------------------------------------------------------


@as_nobody
async def test_a_program_is_its_user_its_path_and_its_digest():
    with running("sleep", "60") as (process, peer):
        facts = await UnixAttestor().attest(peer)
    assert facts.attestor == "unix"
    assert facts.of == {
        "uid": os.getuid(), "gid": os.getgid(), "pid": process.pid, "started": peer.process.started,
        "path": SLEEP, "sha256": sha256(SLEEP),
    }  # fmt: skip


@as_nobody
async def test_an_interpreter_is_also_its_script(ground):
    path = script(ground)
    for command, where in ((("sh", str(path)), "/"), (("sh", "-e", "./agent.sh", "x"), ground)):
        with running(*command, script=path, cwd=where) as (_, peer):
            of = (await UnixAttestor().attest(peer)).of
        assert (of["path"], of["script"], of["script_sha256"]) == (SH, str(path), sha256(path))


@as_nobody
async def test_the_wrong_script_proves_nothing(ground):
    nightly, other = script(ground), script(ground, "other.sh")
    when = {"uid": os.getuid(), "path": SH, "script": str(nightly), "script_sha256": sha256(nightly)}
    id = "spiffe://example.org/agent/nightly"
    registration = advance(
        Registration("i", "main", id, "agent", "spiffe://example.org/human/a", "", "", (), "unix", when),
        Kind.IDENTITY_REGISTERED,
    )

    async def proven(*command, script=None):
        with running(*command, script=script) as (_, peer):
            facts = await UnixAttestor().attest(peer)
        return identify(Claim("main", facts=facts), registration, None, ())

    assert (await proven("sh", str(nightly), script=nightly)).name == "agent/nightly"
    for command in (("sh", str(other)), ("sh", "-c", "sleep 60; :", str(nightly)), ("sleep", "60")):
        with pytest.raises(Unauthenticated):
            await proven(*command)
    nightly.write_text("sleep 61\n:\n")
    with pytest.raises(Unauthenticated):
        await proven("sh", str(nightly))


@as_nobody
async def test_a_script_that_cannot_be_named_for_certain_is_not_told(ground):
    path = script(ground)
    (ground / "far" / "deep").mkdir(parents=True)
    script(ground / "far", text="sleep 60\n:\n#\n")
    (ground / "link").symlink_to(ground / "far" / "deep")
    os.mkfifo(ground / "pipe")
    for named in ("link/../agent.sh", "pipe"):
        with running("sh", named, cwd=ground) as (_, peer):
            of = (await asyncio.wait_for(UnixAttestor().attest(peer), 5)).of
        assert of["path"] == SH
        assert "script" not in of and "script_sha256" not in of, named
    with running("sh", "agent.sh", cwd=ground) as (process, peer):
        child_of(process.pid)  # it has opened its script
        attestor = UnixAttestor()
        assert (await attestor.attest(peer)).of["script"] == str(path)
        path.rename(ground / "moved.sh")
        assert "script" not in (await attestor.attest(peer)).of


@as_nobody
async def test_a_directory_that_is_gone_or_named_like_one_that_is_names_no_script(ground):
    for name in ("gone", "gone (deleted)"):
        (ground / name).mkdir()
        script(ground / name)
    script(ground)
    os.chdir(ground)
    with running("sh", "agent.sh", cwd="gone") as (process, peer):
        child_of(process.pid)  # it has opened its script
        shutil.rmtree("gone")
        of = (await UnixAttestor().attest(peer)).of
    assert of["path"] == SH and "script" not in of


@as_nobody
@pytest.mark.parametrize("own", ["mounts", "root"])
async def test_a_program_with_mounts_or_a_root_of_its_own_has_no_names(ground, own):
    """Under the names that it says there may be anything."""
    path = script(ground)
    jail = jail_of(ground, path)
    walls = "-m" if own == "mounts" else f"--root={jail}"
    # Its own standard input: what it reads from must not end before it is looked at.
    with running("unshare", "-U", "-r", walls, SH, str(path), stdin=subprocess.PIPE) as (process, peer):
        until(lambda: process.poll() is not None or os.readlink(f"/proc/{process.pid}/exe").endswith(SH))
        if process.returncode is not None:
            return  # this kernel lets nobody do that
        of = (await UnixAttestor().attest(peer)).of
    assert of["sha256"] == sha256(SH)
    assert not {"path", "script", "script_sha256"} & set(of)


@as_nobody
async def test_a_digest_is_of_what_the_file_holds_now(ground):
    """Its time of change is set back: the owner can do that."""
    path, attestor = script(ground), UnixAttestor()
    with running("sh", str(path), script=path) as (_, peer):
        first = await attestor.attest(peer)
        assert (await attestor.attest(peer)).of == first.of
        about = path.stat()
        path.write_text("sleep 61\n:\n")
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        after = path.stat()
        assert (after.st_ino, after.st_size, after.st_mtime_ns) == (about.st_ino, about.st_size, about.st_mtime_ns)
        second = await attestor.attest(peer)
    assert second.of["script_sha256"] == sha256(path) != first.of["script_sha256"]


@as_nobody
async def test_a_digest_is_kept_while_the_file_stays_and_only_so_many_are(ground):
    attestor = UnixAttestor()
    with patch.object(unix, "KEPT", 2), patch.object(hashlib, "file_digest", wraps=hashlib.file_digest) as hashed:
        for _ in range(3):
            with running("sleep", "60") as (_, peer):
                await attestor.attest(peer)
        assert hashed.call_count == 1
        for n in range(3):
            path = script(ground, f"{n}.sh")
            with running("sh", str(path), script=path) as (_, peer):
                await attestor.attest(peer)
            assert len(attestor._digests) <= 2


# --- doubt is refusal ----------------------------------------------------------------------------


@as_nobody
async def test_a_pid_that_is_somebody_elses_by_now_is_refused():
    with running("sleep", "60") as (process, peer):
        await UnixAttestor().attest(peer)
        for off in (-1, 1):
            stale = Process(process.pid, peer.process.started + off)
            await refused(Peer(peer.uid, peer.gid, stale), "not the one that connected")
            with pytest.raises(Unauthenticated):
                await UnixAttestor().ancestors(Peer(peer.uid, peer.gid, stale))


@as_nobody
async def test_a_process_that_is_over_is_refused():
    with running("sleep", "60") as (process, peer):
        process.kill()
        until(lambda: fields(process.pid)[0] == b"Z")
        for _ in ("a zombie", "nothing"):
            await refused(peer, "cannot be shown")
            with pytest.raises(Unauthenticated):
                await UnixAttestor().ancestors(peer)
            process.wait()
    for pid in (0, -1, 1 << 30):
        await refused(Peer(os.getuid(), os.getgid(), Process(pid, 1)), "cannot be shown")


@as_nobody
async def test_a_deleted_or_replaced_executable_is_refused(ground):
    for how in ("deleted", "replaced", "deleted under that name"):
        program = ground / "program"
        shutil.copy(SLEEP, program)
        with running(str(program), "60") as (_, peer):
            assert (await UnixAttestor().attest(peer)).of["path"] == str(program)
            if how == "replaced":
                shutil.copy(SLEEP, ground / "new")
                (ground / "new").rename(program)
            else:
                if how == "deleted under that name":
                    (ground / "other").hardlink_to(program)
                program.unlink()
            await refused(peer, "cannot be shown")


@as_nobody
async def test_a_process_of_another_user_is_not_looked_into():
    mine = Process(os.getppid(), started(os.getppid()))
    await refused(Peer(os.getuid(), os.getgid(), mine))
    with running("sleep", "60") as (_, peer):
        await refused(Peer(peer.uid + 1, peer.gid, peer.process), "another user")
        await refused(Peer(peer.uid, peer.gid + 1, peer.process), "another user or group")


@as_nobody
async def test_who_becomes_another_program_is_that_program():
    with running("sh", "-c", "read x; exec sleep 60", stdin=subprocess.PIPE) as (process, peer):
        assert (await UnixAttestor().attest(peer)).of["path"] == SH
        become_sleep(process)
        after = (await UnixAttestor().attest(peer)).of
        assert (after["path"], after["pid"], after["started"]) == (SLEEP, process.pid, peer.process.started)


def become_sleep(process):
    process.stdin.write(b"\n")
    process.stdin.flush()
    until(lambda: os.readlink(f"/proc/{process.pid}/exe") == SLEEP)


@as_nobody
@pytest.mark.parametrize("change", ["before it is read", "after it was read", "dies"])
async def test_who_changes_while_it_is_looked_at_is_refused(change):
    class Slow(UnixAttestor):
        def _digest(self, path, file):
            if change == "before it is read":  # what is read is no digest of what was seen
                become_sleep(process)
            digest = super()._digest(path, file)
            if change == "after it was read":
                become_sleep(process)
            if change == "dies":
                process.kill()
                process.wait()
            return digest

    with running("sh", "-c", "read x; exec sleep 60", stdin=subprocess.PIPE) as (process, peer):
        await refused(peer, "changed while" if change == "after it was read" else "cannot be shown", Slow())


@as_nobody
async def test_a_file_that_changes_while_it_is_read_has_no_digest(ground):
    path = script(ground)

    def changes(opened, name):
        if os.fstat(opened.fileno()).st_ino == path.stat().st_ino:
            path.write_text("sleep 61\n:\n#\n")
        return hashlib.sha256(opened.read())

    with running("sh", str(path), script=path) as (_, peer):
        with patch.object(hashlib, "file_digest", changes):
            of = (await UnixAttestor().attest(peer)).of
        assert "sha256" in of and "script" not in of
        with patch.object(unix, "LARGEST", size_of(SH) - 1):
            await refused(peer, "cannot be shown")


@as_nobody
async def test_a_name_cannot_forge_the_line_it_stands_in(ground):
    program = ground / "a) Z 1 (b"
    shutil.copy(SLEEP, program)
    with running(str(program), "60") as (process, peer):
        assert name_of(process.pid) == b"a) Z 1 (b"
        assert (await UnixAttestor().attest(peer)).of["path"] == str(program)
        assert (await UnixAttestor().ancestors(peer))[1].pid == os.getpid()


@as_nobody
async def test_a_name_that_no_event_can_hold_is_not_told(ground):
    program = os.fsdecode(os.fsencode(ground) + b"/\xff")
    shutil.copy(SLEEP, program)
    with running(program, "60") as (_, peer):
        of = (await UnixAttestor().attest(peer)).of
    assert of["sha256"] == sha256(SLEEP) and "path" not in of


# --- the peer of a socket ------------------------------------------------------------------------


@as_nobody
async def test_the_peer_of_a_socket_is_who_connected(ground):
    path = str(ground / "api.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def connect():
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                os.set_inheritable(connection.detach(), True)

        with running("sleep", "60", preexec_fn=connect, close_fds=False) as (process, _):
            accepted, _ = listener.accept()
            with accepted:
                shown = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid, uid, gid = struct.unpack("3i", shown)
            of = (await UnixAttestor().attest(Peer(uid, gid, Process(pid, started(pid))))).of
    assert (of["pid"], of["uid"], of["path"]) == (process.pid, os.getuid(), SLEEP)


# --- ancestors -----------------------------------------------------------------------------------


def line(pid):
    """Return the process and its parents, as somebody else reads them."""
    found = []
    while pid:
        found.append(Process(pid, started(pid)))
        pid = parent(pid)
    return tuple(found)


def child_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: children.read_text().split())
    return int(children.read_text().split()[0])


@as_nobody
async def test_the_ancestors_of_a_peer_lead_to_the_first_process():
    with running("sh", "-c", "sh -c 'sleep 60; :'; :") as (process, peer):
        inner = child_of(process.pid)
        leaf = child_of(inner)
        found = await UnixAttestor().ancestors(peer_of(leaf))
        assert [one.pid for one in found[:4]] == [leaf, inner, process.pid, os.getpid()]
        assert found == line(leaf)
        os.kill(process.pid, signal.SIGKILL)  # an orphan has another parent
        until(lambda: parent(inner) != process.pid)
        found = await UnixAttestor().ancestors(peer_of(leaf))
        assert peer.process not in found and found == line(leaf)
        os.killpg(process.pid, signal.SIGKILL)


@as_nobody
@pytest.mark.parametrize("change", ["younger", "gone", "adopted", "endless", "the first, and stale"])
async def test_ancestors_in_doubt_are_refused(change):
    real = unix._stat

    def odd(pid):
        process, above = real(pid)
        if pid == os.getpid() and change == "younger":  # its number was given to a later process
            return Process(pid, peer.process.started + 1), above
        if pid == os.getpid() and change == "gone":
            raise FileNotFoundError(pid)
        if pid == peer.process.pid and change == "adopted":
            looks.append(pid)
            return process, above if len(looks) == 1 else 1
        if change == "the first, and stale":
            return Process(pid, process.started + 1), 0
        return process, above

    looks: list[int] = []
    with running("sleep", "60") as (_, peer):
        assert await UnixAttestor().ancestors(peer)
        with (
            patch.object(unix, "_stat", odd),
            patch.object(unix, "DEEPEST", 1 if change == "endless" else 256),
            pytest.raises(Unauthenticated, match="ancestors of process"),
        ):
            await UnixAttestor().ancestors(peer)


# --- which argument is the script ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        ("python3.11", "a.py", "a.py"),
        ("python3.11", "-Bu a.py -c x", "a.py"),
        ("python3", "-W ignore -X utf8 -Xdev a.py", "a.py"),
        ("python", "-I -- -a.py", "-a.py"),
        ("python3", "-c a.py b.py", None),
        ("python3", "-Bc a.py b.py", None),
        ("python3", "-m a.py", None),
        ("python3", "- a.py", None),
        ("python3", "-i a.py", None),
        ("python3", "--new a.py", None),
        ("python3", "-W", None),
        ("python3", "", None),
        ("python3", "--", None),
        ("pypy3.10", "a.py", "a.py"),
        ("pythonic", "a.py", None),
        ("node", "--max-old-space-size=100 a.js", "a.js"),
        ("node", "--eval=1 a.js", None),
        ("node", "-r evil.js a.js", None),
        ("node", "--require evil.js a.js", None),
        ("bash", "-eu -o pipefail a.sh", "a.sh"),
        ("bash", "-ec a.sh", None),
        ("dash", "-s a.sh", None),
        ("perl", "-w a.pl", "a.pl"),
        ("perl", "-we a.pl", None),
        ("perl", "-Ilib a.pl", None),
        ("ruby3.1", "-W0 a.rb", "a.rb"),
        ("ruby", "-e a.rb", None),
        ("sleep", "a.py", None),
    ],
)
def test_the_script_is_the_first_argument_that_is_no_option(program, arguments, expected):
    assert script_of(program, [program, *arguments.split()]) == expected


def test_an_empty_argument_is_no_script():
    assert script_of("sh", ["sh", "", "a.sh"]) is None
    assert script_of("sh", []) is None
