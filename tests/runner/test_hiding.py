"""What an agent cannot see or reach, as an ordinary user and as root; what is said where nothing can be hidden."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskbound.runner.namespaces import loose_on_the_way
from tests.cli.nobody import ground, unprivileged  # noqa: F401
from tests.runner import person as person_module
from tests.runner.as_person import NOT_POSSIBLE
from tests.runner.person import Person, as_person, person
from tests.runner.test_run import CONDITIONS, MASKED, NO_NAMESPACES, runs_of, until, written

HIDING = CONDITIONS[:2]
OWN = "taskbound's own keys, log and operator socket: same user"
SIGNALS, HID = "your other processes can be signalled", "hidden from the program ("


@pytest.fixture
def alice() -> Iterator[Person]:
    with person() as somebody:
        assert somebody.uid != 0
        yield somebody


@pytest.fixture
def root() -> Iterator[Person]:
    if os.getuid() != 0:
        pytest.skip("needs root")
    with person(root=True) as somebody:
        yield somebody


FOLDERS = (".local/state/taskbound", ".aws", ".ssh", ".kube", ".config/gh", ".config/gcloud", ".docker")
FILES = (".netrc", ".pgpass", ".postgresql/postgresql.key", ".pg_service.conf")
LOOK = """
cd
for name in {folders}; do ls -A "$name"; cat "$name/secret" "$name"/keys/log; touch "$name/new" && echo written; done
cat {files}
"""


@pytest.mark.parametrize("conditions", HIDING)
def test_what_is_hidden_is_empty_inside_and_untouched_outside(alice, conditions):
    for name in FOLDERS:
        alice.put(f"{name}/secret", f"canary of {name}")
    for name in FILES:
        alice.put(name, f"canary of {name}")
    alice.own_everything(alice.home)
    done = alice.run(
        "/bin/sh", "-c", LOOK.format(folders=" ".join(FOLDERS), files=" ".join(FILES)), conditions=conditions
    )
    assert done.stdout == ""
    assert "canary" not in done.stderr
    assert "same user" not in done.stderr
    for name in FOLDERS:
        assert (alice.home / name / "secret").read_text() == f"canary of {name}"
        assert not (alice.home / name / "new").exists()


def test_control_without_the_namespace_the_same_look_finds_everything(alice):
    for name in FOLDERS:
        alice.put(f"{name}/secret", f"canary of {name}")
    alice.own_everything(alice.home)
    done = alice.run(
        "/bin/sh", "-c", LOOK.format(folders=" ".join(FOLDERS), files=".netrc"), conditions=[NO_NAMESPACES]
    )
    assert [name for name in FOLDERS if f"canary of {name}" not in done.stdout] == []
    assert "password netrc" in done.stdout


def test_where_the_kernel_refuses_it_starts_all_the_same_and_names_what_can_be_reached(alice):
    agent = alice.put("agent.sock", "")
    done = alice.run("/bin/sh", "-c", "echo it runs", conditions=[NO_NAMESPACES], env={"SSH_AUTH_SOCK": str(agent)})
    assert (done.returncode, done.stdout) == (0, "it runs\n")
    said = done.stderr.splitlines()
    at = said.index(f"taskbound:   {OWN}")
    assert said[at - 1].startswith("taskbound: nothing can be hidden from the program here (")
    assert {f"taskbound:   {name}: same user" for name in ("~/.aws", "~/.ssh", "~/.netrc", "$SSH_AUTH_SOCK")} < {
        *said[at + 1 :]
    }
    assert not any("~/.kube" in line for line in said)  # there is none


def test_must_contain_refuses_where_the_kernel_does(alice):
    done = alice.run("/bin/sh", "-c", "echo it runs", conditions=[NO_NAMESPACES], must_contain=True)
    assert (done.returncode, done.stdout) == (125, "")
    assert OWN in done.stderr and "could not start" in done.stderr
    assert alice.api.asked == []


def test_must_contain_starts_where_everything_is_hidden(alice):
    done = alice.run("/bin/true", must_contain=True)
    assert done.returncode == 0
    assert SIGNALS not in done.stderr


@pytest.mark.parametrize("conditions", CONDITIONS[1:])
def test_without_a_pid_namespace_it_is_said_that_other_processes_can_be_signalled(alice, conditions):
    outside = subprocess.Popen([*as_person(alice), "/bin/sleep", "60"])
    try:
        done = alice.run("/bin/sh", "-c", f"kill {outside.pid}", conditions=conditions, must_contain=True)
        assert (done.returncode, outside.poll(), alice.api.asked) == (125, None, [])
        assert SIGNALS in done.stderr
        done = alice.run("/bin/sh", "-c", f"kill {outside.pid}", conditions=conditions)
        assert (done.returncode, outside.wait(5)) == (0, -15)  # so it is: what is said is true
        assert SIGNALS in done.stderr
    finally:
        outside.kill()
        outside.wait()


def test_what_is_hidden_is_said_in_one_line(alice):
    done = alice.run("/bin/true")
    (said,) = [line for line in done.stderr.splitlines() if HID in line]
    how, _, names = said.partition(": ")[2].partition(": ")
    assert how == f"{HID}user, mount and PID namespace)"
    assert {"taskbound's own keys, log and operator socket", "~/.aws", "~/.ssh", "~/.netrc"} <= {*names.split("; ")}
    assert f"{HID}user and mount namespace): " in alice.run("/bin/true", conditions=[MASKED]).stderr
    assert HID not in alice.run("/bin/true", conditions=[NO_NAMESPACES]).stderr


OTHERS = "cat {tmp}/*/mcp.json {tmp}/*/*/mcp.json {runtime}/*/mcp.json {runtime}/*/*/mcp.json"


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same-folder", "in-the-runtime-dir"])
def test_the_handles_of_other_tasks_cannot_be_read(alice, conditions, elsewhere):
    runtime = alice.base / "runtime"
    runtime.mkdir()
    alice.own_everything(alice.base)
    runtime.chmod(0o700)
    there = {"XDG_RUNTIME_DIR": str(runtime)} if elsewhere else {}
    ready, go = alice.home / "ready", alice.home / "go"
    look = OTHERS.format(tmp=alice.tmp, runtime=runtime)
    script = f"echo up > {ready}; until [ -e {go} ]; do sleep 0.05; done; {look}"
    agent = alice.start("/bin/sh", "-c", script, conditions=conditions, env=there)
    until(lambda: ready.exists() or agent.poll() is not None)
    if agent.poll() == NOT_POSSIBLE:
        pytest.skip(agent.communicate()[1])
    later = alice.start("/bin/sleep", "60")
    try:
        until(lambda: len([*runs_of(alice).glob("*/mcp.json"), *runtime.glob("*/*/mcp.json")]) == 2)
        go.touch()
        found = agent.communicate(timeout=20)[0].count("Bearer tbh_")
        assert found == (2 if NO_NAMESPACES in conditions else 1)  # its own; where nothing hides, the other's too
    finally:
        later.terminate()
        later.communicate(timeout=10)


def test_a_terminal_server_that_starts_later_is_hidden_too(alice):
    folder, ready, go = alice.tmp / f"tmux-{alice.uid}", alice.home / "ready", alice.home / "go"
    script = f"echo up > {ready}; until [ -e {go} ]; do sleep 0.05; done; cat {folder}/default"
    agent = alice.start("/bin/sh", "-c", script, env={"TMUX_TMPDIR": str(alice.tmp)})
    written(ready)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "default").write_text("canary")
    os.chown(folder / "default", alice.uid, alice.uid)
    go.touch()
    assert agent.communicate(timeout=20)[0] == ""
    about = folder.stat()
    assert (about.st_uid, about.st_mode & 0o777) == (alice.uid, 0o700)  # as tmux wants it


COMMAND = "import sys; from taskbound.cli import main; sys.exit(main(sys.argv[1:]))"
UNKNOWN = "taskbound up does not say where it keeps its checkpoints: they can be reached"


def typed(alice: Person, *command: str, flags: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    words = [*as_person(alice), sys.executable, "-c", COMMAND, "run", "--profile", "etl", *flags, "--", *command]
    env = {**alice.environ(), "TASKBOUND_HOME": str(alice.state)}
    return subprocess.run(words, env=env, cwd=alice.home, capture_output=True, text=True, timeout=60)


def test_what_the_server_says_is_hidden_and_that_it_says_nothing_is_said(alice):
    names = ("second/checkpoint", "admin", "key")
    for name in names:
        alice.put(name, "canary\n")
    look = ("/bin/sh", "-c", f"cat {' '.join(names)}; touch second/new && echo written")
    alice.own_everything(alice.home)
    done = typed(alice, *look)
    assert done.stdout == "canary\n" * 3 + "written\n" and UNKNOWN in done.stderr
    named = [f"{alice.home}/{name}" for name in ("admin", "key", "absent")]
    told = {"second_place": f"{alice.home}/second", "named": named}
    alice.put(".local/state/taskbound/places.json", json.dumps(told))
    alice.own_everything(alice.home)
    done = typed(alice, *look)
    assert (done.stdout, "taskbound: task" in done.stderr, UNKNOWN in done.stderr) == ("", True, False)
    assert f"taskbound's checkpoints: {alice.home}/second; {alice.home}/admin; {alice.home}/key" in done.stderr


def test_where_the_server_says_nothing_must_contain_does_not_start(alice):
    done = typed(alice, "/bin/echo", "it runs", flags=["--must-contain"])
    assert (done.returncode, done.stdout, alice.api.asked) == (125, "", [])
    assert UNKNOWN in done.stderr


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_a_second_place_that_is_not_there_is_said_to_be_open(alice, conditions):
    alice.second.rmdir()
    done = alice.run("/bin/mkdir", str(alice.second), conditions=conditions)
    assert (done.returncode, alice.second.is_dir()) == (0, True)  # so it is: what is said is true
    assert f"there is no {alice.second} to hide" in done.stderr
    alice.second.rmdir()
    assert alice.run("/bin/true", conditions=conditions, must_contain=True).returncode == 125


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"second_place": null, "named": []}'])
def test_places_that_cannot_be_read_start_nothing(alice, text):
    alice.put(".local/state/taskbound/places.json", text)
    alice.own_everything(alice.home)
    done = typed(alice, "/bin/echo", "it runs")
    assert (done.returncode, done.stdout, alice.api.asked) == (2, "", [])
    assert "places.json does not say what to hide (invalid_config)" in done.stderr


def test_a_folder_behind_a_symbolic_link_is_hidden_where_it_is(alice):
    real = alice.put("elsewhere/kube/config", "canary").parent
    (alice.home / ".kube").symlink_to(real)
    done = alice.run("/bin/sh", "-c", f"cat {real}/config ~/.kube/config; ls -A {real} ~/.kube/")
    assert "canary" not in done.stdout + done.stderr
    assert done.stdout.split() == [f"{alice.home}/.kube/:", f"{real}:"]


@pytest.mark.parametrize("conditions", HIDING)
def test_a_current_folder_that_is_hidden_is_no_way_in(alice, conditions):
    for folder in (alice.home / ".ssh", alice.state / "keys"):
        done = alice.run("/bin/sh", "-c", "cat *", cwd=folder, conditions=conditions)
        assert (done.stdout, done.returncode) == ("", 125)
        assert "the current folder is one that is hidden from programs" in done.stderr


def test_what_lies_about_cannot_make_it_look_as_if_the_kernel_refused(alice):
    for name in (".pgpass", ".docker"):
        os.mkfifo(alice.home / name)
    (alice.home / ".netrc").unlink()
    (alice.home / ".netrc").symlink_to("/proc/self/mem")
    alice.own_everything(alice.home)
    done = alice.run("/bin/sh", "-c", "cat ~/.ssh/id_ed25519; echo it runs")
    assert "a private key" not in done.stdout and "same user" not in done.stderr


def test_where_session_keys_are_written_is_hidden_and_what_is_no_file_is_not(alice):
    """Programs outside write there what opens all that they send over TLS."""
    log = alice.put("keys.log", "CLIENT_RANDOM canary\n")
    done = alice.run("/bin/sh", "-c", f"cat {log}; echo $SSLKEYLOGFILE", env={"SSLKEYLOGFILE": str(log)})
    assert (done.stdout, log.read_text()) == ("\n", "CLIENT_RANDOM canary\n") and "$SSLKEYLOGFILE" in done.stderr
    done = alice.run("/bin/sh", "-c", "echo it runs > /dev/null && echo x", env={"SSLKEYLOGFILE": "/dev/null"})
    assert done.stdout == "x\n" and "$SSLKEYLOGFILE" not in done.stderr


def test_a_folder_for_everybody_is_not_hidden_as_a_runtime_directory(alice):
    alice.put("shared/file", "for all\n").parent.chmod(0o755)
    done = alice.run("/bin/cat", str(alice.home / "shared/file"), env={"XDG_RUNTIME_DIR": str(alice.home / "shared")})
    assert done.stdout == "for all\n"


def test_an_open_folder_is_not_inherited(alice):
    words = alice.words(["/bin/sh", "-c", "ls -A /proc/self/fd/9/ ; cat /proc/self/fd/9/id_ed25519"])
    script = 'exec 9< "$0"; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, str(alice.home / ".ssh"), *words],
        env=alice.environ(),
        capture_output=True,
        text=True,
        cwd=alice.home,
    )
    assert "taskbound: task" in done.stderr
    assert (done.stdout, "a private key" in done.stderr) == ("", False)


def test_sockets_behind_which_somebody_does_what_he_is_told_are_hidden(alice):
    runtime = alice.home.parent / "runtime"
    (runtime / "systemd").mkdir(parents=True)
    (runtime / "systemd/private").write_text("canary")
    (alice.tmp / f"tmux-{alice.uid}").mkdir(mode=0o700)
    (alice.tmp / f"tmux-{alice.uid}/default").write_text("canary")
    agent = alice.put("agent.sock", "canary")
    alice.own_everything(alice.home.parent)
    runtime.chmod(0o700)
    env = {"XDG_RUNTIME_DIR": str(runtime), "SSH_AUTH_SOCK": str(agent), "TMUX_TMPDIR": str(alice.tmp)}
    look = f"cat {runtime}/systemd/private {agent} {alice.tmp}/tmux-{alice.uid}/default"
    assert "canary" not in alice.run("/bin/sh", "-c", look, env=env).stdout
    assert alice.run("/bin/sh", "-c", look, env=env, conditions=[NO_NAMESPACES]).stdout == "canary" * 3


# Each way is tried as whoever the agent is, and in a namespace of its own in which it is root.
BREAK_OUT = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
home, outside = sys.argv[1:]
place = os.environ["TMPDIR"] + "/place"
os.makedirs(place, exist_ok=True)

def mount(source, target, kind, flags, data=None):
    words = [None if w is None else w.encode() for w in (source, target, kind, data)]
    return libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) == 0

def look(how):
    for file in (f"{home}/.ssh/id_ed25519", f"{home}/.netrc", f"{home}/.local/state/taskbound/keys/log",
                 f"{place}/.ssh/id_ed25519", f"{place}/.netrc", f"{place}/id_ed25519"):
        try:
            text = open(file).read()
        except OSError:
            continue
        if text:
            print(f"{how}: {file} says {text}")

def ways():
    for name in (".ssh", ".netrc", ".local/state/taskbound"):
        for flags in (0, 2):  # MNT_DETACH
            if libc.umount2(f"{home}/{name}".encode(), flags) == 0:
                yield f"umount {name}"
        if mount(None, f"{home}/{name}", None, 32 | 4096):
            yield f"remount {name}"
        if mount(f"{home}/{name}", place, None, 4096):
            yield f"bind {name}"
            libc.umount2(place.encode(), 2)
    for flags in (4096, 4096 | 16384, 8192):  # bind, recursive bind, move
        if mount(home, place, None, flags):
            yield f"mount {flags}"
            libc.umount2(place.encode(), 2)
    for name in ("u", "w"):
        os.makedirs(f"/dev/shm/tb-{os.getpid()}-{name}", exist_ok=True)
    for lower in (home, home + "/.ssh"):
        if mount("overlay", place, "overlay", 0, f"lowerdir={lower}:/usr/bin"):
            yield f"overlay {lower}"
            libc.umount2(place.encode(), 2)
    if libc.unshare(0x00020000) == 0:
        yield "mount namespace"
        for name in (".ssh", ".netrc"):
            libc.umount2(f"{home}/{name}".encode(), 2)
        yield "umount in it"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for way in ("root", "cwd"):
            try:
                there = f"/proc/{pid}/{way}{home if way == 'root' else ''}/.ssh/id_ed25519"
                print(there, open(there).read())
            except OSError:
                pass
    for way in ("environ", "mem", "maps", "ns/mnt", "ns/user", "fd/0", "exe", "cwd"):
        try:
            found = os.open(f"/proc/{outside}/{way}", os.O_RDONLY)
            print(f"/proc/{outside}/{way} was opened: {found}")
        except OSError:
            pass
    if libc.ptrace(16, int(outside), 0, 0) == 0:  # PTRACE_ATTACH
        print("ptrace attached")

def all_ways(how):
    look(how)
    for way in ways():
        look(f"{how}, {way}")

all_ways("plain")
uid, gid = os.getuid(), os.getgid()
assert libc.unshare(0x10000000 | 0x00020000) == 0, "no namespace of its own"
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    open(f"/proc/self/{name}", "w").write(text)
assert mount("none", place, "tmpfs", 0), "it is not root there"
libc.umount2(place.encode(), 2)
all_ways("root of a namespace")
print("all was tried")
"""


@pytest.mark.parametrize("conditions", HIDING)
@pytest.mark.parametrize("who", ["alice", "root"])
def test_an_agent_cannot_take_away_what_hides(request, who, conditions):
    somebody: Person = request.getfixturevalue(who)
    outside = subprocess.Popen([*as_person(somebody), "/bin/sleep", "60"])
    try:
        done = somebody.run(
            "/usr/bin/env", "python3", "-c", BREAK_OUT, str(somebody.home), str(outside.pid), conditions=conditions
        )
    finally:
        outside.kill()
        outside.wait()
    assert (done.stdout, done.returncode) == ("all was tried\n", 0), done.stderr


def test_control_the_same_tries_find_it_where_nothing_hides(alice):
    outside = subprocess.Popen([*as_person(alice), "/bin/sleep", "60"])
    try:
        done = alice.run(
            "/usr/bin/env", "python3", "-c", BREAK_OUT, str(alice.home), str(outside.pid), conditions=[NO_NAMESPACES]
        )
    finally:
        outside.kill()
        outside.wait()
    assert "plain: " in done.stdout and "a private key" in done.stdout
    if os.getuid() == 0:  # else the conditions were made in a user namespace, which closes what is outside of it
        assert f"/proc/{outside.pid}/environ was opened" in done.stdout


RENAME = """
import os, sys
home = sys.argv[1]
os.mkdir(home + "/decoy")
for name in (home, home + "/.local", home + "/.local/state", home + "/.config"):
    for one, other in ((name, name + "-moved"), (home + "/decoy", name)):
        for way in (one, "/proc/self/cwd/" + os.path.relpath(one)):
            try:
                os.rename(way, other)
                print("renamed", way)
            except OSError as error:
                print(error.strerror)
"""


def rename(somebody: Person, conditions: Sequence[str]) -> set[str]:
    somebody.put(".config/gh/hosts.yml", "a token")
    somebody.own_everything(somebody.home)
    done = somebody.run("/usr/bin/env", "python3", "-c", RENAME, str(somebody.home), conditions=conditions)
    return {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("conditions", HIDING)
def test_no_folder_above_a_hidden_one_can_be_renamed_or_replaced(alice, conditions):
    assert rename(alice, conditions) == {"Device", "Invalid"}  # or resource busy; and into itself nothing goes


def test_control_where_they_are_not_kept_they_can(alice, monkeypatch):
    free = "from taskbound.runner import hold, namespaces\nnamespaces.above = lambda hidden: []\n"
    monkeypatch.setattr(person_module, "RUN", person_module.RUN.replace("from taskbound.runner import hold\n", free))
    assert "renamed" in rename(alice, ())


def test_a_link_on_the_way_to_the_state_is_told_of(alice):
    (alice.home / "link").symlink_to(alice.home / ".local/state")
    alice.own_everything(alice.home)
    alice.state = alice.home / "link/taskbound"
    done = alice.run("/bin/echo", "it runs")
    assert done.stdout == "it runs\n"
    assert f"{alice.home}/link leads to {alice.home}/.local/state/taskbound and can be replaced" in done.stderr
    assert alice.run("/bin/true", must_contain=True).returncode == 125


@dataclass(frozen=True)
class Ways:
    """Ways to the state of alice, and a folder of root's in /tmp, in which alice can replace nothing."""

    alice: Person
    roots: Path

    def chain(self) -> tuple[Path, Path]:
        """Make root's link, which leads to one of alice's; return the way and the step that she can replace."""
        hop = self.link(self.alice.home / "hop", self.alice.state)
        return self.link(self.roots / "state", hop, of=0), hop

    def sticky(self) -> tuple[Path, Path]:
        """Make alice's own link in /tmp: its mode keeps it from all others."""
        link = self.link(Path(f"/tmp/{self.alice.base.name}.link"), self.alice.state)
        return link, link

    def folder_of_root(self) -> tuple[Path, Path]:
        """Make root's link in root's folder, which stands in a folder of alice's, so that it can be renamed."""
        folder = self.alice.home / "roots"
        folder.mkdir()
        return self.link(folder / "state", self.alice.state, of=0), folder

    def and_back(self) -> tuple[Path, Path]:
        """Make a way without a link, into a folder and back: with a link in its place, `..` is elsewhere."""
        folder = self.alice.home / "there"
        folder.mkdir()
        return folder / ".." / self.alice.state.relative_to(self.alice.home), folder

    def link(self, at: Path, to: Path, *, of: int | None = None) -> Path:
        at.symlink_to(to)
        os.chown(at, *(2 * [self.alice.uid if of is None else of]), follow_symlinks=False)
        return at


@pytest.fixture
def ways(alice: Person) -> Iterator[Ways]:
    if os.getuid() != 0:
        pytest.skip("needs root")
    roots = Path(tempfile.mkdtemp(prefix="tb-roots-", dir="/tmp"))
    roots.chmod(0o755)
    yield Ways(alice, roots)
    shutil.rmtree(roots)
    Path(f"/tmp/{alice.base.name}.link").unlink(missing_ok=True)


REPLACE = 'mv "$1" "$1.away" && ln -s /nowhere "$1" && echo replaced'


@pytest.mark.parametrize("made", [Ways.chain, Ways.sticky, Ways.folder_of_root, Ways.and_back])
def test_whatever_of_the_way_to_the_state_can_be_replaced_is_told_of(ways, made):
    alice, real = ways.alice, ways.alice.state
    alice.state, step = made(ways)
    done = alice.run("/bin/true", must_contain=True)
    assert (done.returncode, alice.api.asked) == (125, [])
    assert [line for line in done.stderr.splitlines() if "can be replaced" in line] == [
        f"taskbound: {step} leads to {real} and can be replaced: no symbolic link may stand on that way"
    ]
    assert alice.run("/bin/sh", "-c", REPLACE, "sh", str(step)).stdout == "replaced\n"  # so what is said is true


def test_control_a_link_that_nobody_but_root_can_replace_is_none(ways):
    ways.alice.state = ways.link(ways.roots / "state", ways.alice.state, of=0)
    done = ways.alice.run("/bin/sh", "-c", REPLACE, "sh", str(ways.alice.state), must_contain=True)
    assert ("can be replaced" in done.stderr, "taskbound: task" in done.stderr) == (False, True)
    assert done.stdout == ""


@pytest.mark.parametrize("at", ["second", "sink", "key", ".netrc", ".config/gh"])
def test_a_link_to_anything_else_that_is_hidden_is_told_of_too(alice, at):
    for name in ("real/file", "second/file", "sink", "key", ".config/gh/hosts.yml"):
        alice.put(name, "canary")
    told = {"second_place": f"{alice.home}/second", "named": [f"{alice.home}/sink", f"{alice.home}/key"]}
    alice.put(".local/state/taskbound/places.json", json.dumps(told))
    alice.own_everything(alice.home)
    assert "can be replaced" not in typed(alice, "/bin/true", flags=["--must-contain"]).stderr  # as it is without one
    (alice.home / at).rename(alice.home / "real/it")
    (alice.home / at).symlink_to(alice.home / "real/it")
    alice.own_everything(alice.home)
    done = typed(alice, "/bin/true", flags=["--must-contain"])
    assert done.returncode == 125
    assert f"{alice.home}/{at} leads to {alice.home}/real/it and can be replaced" in done.stderr


@unprivileged
def test_a_way_that_leads_nowhere_comes_to_an_end(ground):  # noqa: F811
    for name, to in (("one", "two"), ("two", "one")):
        (ground / name).symlink_to(to)
    assert {*loose_on_the_way(ground / "one", ())} == {ground, ground / "one", ground / "two"}
    assert [*loose_on_the_way(ground / "none/x", ())] == [ground, ground / "none"]


def test_root_is_told_what_cannot_be_hidden_from_it(root):
    done = root.run("/bin/sh", "-c", "cat ~/.ssh/id_ed25519; exit 4")
    assert (done.stdout, done.returncode) == ("", 4)
    assert "you are root: the disks below /dev" in done.stderr
    assert root.run("/bin/true", must_contain=True).returncode == 125


@pytest.mark.parametrize("conditions", [*CONDITIONS])
def test_run_itself_cannot_be_looked_into(alice, conditions):
    look = r"""
import os
def above(pid): return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
pid = os.getppid()
while pid > 1:
    if b"taskbound.runner" in open(f"/proc/{pid}/cmdline", "rb").read():
        for way in ("environ", "mem", "maps"):
            try: open(f"/proc/{pid}/{way}", "rb").read(1); print("opened", way)
            except OSError: pass
    pid = above(pid)
"""
    env = {"CANARY": "in the environment of run"}
    assert alice.run("/usr/bin/env", "python3", "-c", look, env=env, conditions=conditions).stdout == ""


@pytest.mark.parametrize("who", ["alice", "root"])
def test_the_first_process_of_the_namespace_cannot_be_looked_into(request, who):
    somebody: Person = request.getfixturevalue(who)
    look = "for way in environ maps; do head -c1 /proc/1/$way && echo opened; done; readlink /proc/1/fd/* /proc/1/cwd"
    assert somebody.run("/bin/sh", "-c", look, env={"CANARY": "withheld"}).stdout == ""


def between(pid: int) -> Iterator[int]:
    """Yield a run and the processes below it that have executed nothing: copies of it."""
    if b"taskbound.runner" in Path(f"/proc/{pid}/cmdline").read_bytes():
        yield pid
        for below in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from between(int(below))


def test_no_copy_of_run_can_be_looked_into_by_a_program_that_nothing_contains(alice):
    ready = alice.home / "ready"
    running = alice.start("/bin/sh", "-c", f"echo up > {ready}; exec sleep 60", env={"CANARY": "withheld"})
    try:
        written(ready)
        run, keeper, init = between(running.pid)
        look = f"for pid in {run} {keeper} {init}; do head -c1 /proc/$pid/environ && echo opened; done"
        done = subprocess.run([*as_person(alice), "/bin/sh", "-c", look], capture_output=True, text=True)
        assert (done.stdout, done.stderr.count("Permission denied")) == ("", 3)
    finally:
        running.terminate()
        running.communicate(timeout=10)


@pytest.mark.parametrize("conditions", HIDING)
def test_no_set_user_id_binary_gives_more(alice, conditions):
    look = "grep -E '^(NoNewPrivs|CapEff|CapPrm|CapAmb)' /proc/self/status"
    lines = dict(
        line.split(":\t") for line in alice.run("/bin/sh", "-c", look, conditions=conditions).stdout.splitlines()
    )
    assert lines == {"CapPrm": "0" * 16, "CapEff": "0" * 16, "CapAmb": "0" * 16, "NoNewPrivs": "1"}


def test_a_pid_namespace_shows_no_other_process(alice):
    assert alice.run("/bin/sh", "-c", "echo /proc/[0-9]*").stdout == "/proc/1 /proc/2\n"
    assert "/proc/3" in alice.run("/bin/sh", "-c", "echo /proc/[0-9]*", conditions=[MASKED]).stdout
