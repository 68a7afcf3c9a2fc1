"""Attestor of workloads on this machine, for the port Attestor: what /proc says of a peer of a Unix socket (N2, T3.7).

Facts: uid, gid, pid, started, and the executable's path and SHA-256; of an interpreter also the script's.
All that is read of a process is read again after the hashing, with its start time: one whose pid
is somebody else's by now, or that has become another program in between, is refused. What cannot
be read is refused; a fact that cannot be told for certain is left out, and nobody who asks for it matches.

Limits. SO_PEERCRED names who connected, not who was handed the socket since. The arguments are what
the process says of itself, and whoever may run code as a uid can run it inside any program of that
uid: facts tell users apart surely, the programs of one user only where these do not deceive us.
"""

import asyncio
import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskbound.core.errors import Unauthenticated
from taskbound.core.identity import Facts, Peer, Process

LARGEST = 1 << 30  # bytes of a file that is hashed
KEPT = 1024  # digests
DEEPEST = 256  # ancestors that are looked at

# Interpreters, by the base name of the executable, and the options that may stand before a script:
# without a value, and with one in the next argument. Any other option (-c, -m, -e, -s, …) may stand
# for a program that is no file: then there is no script.
INTERPRETERS: Mapping[str, tuple[str, frozenset[str]]] = {
    r"(python|pypy)[0-9.]*":    (r"-[bBdEIOPqRsSuvx]+|-[WX].+", frozenset({"-W", "-X"})),
    r"node|nodejs":              (r"--(no-warnings|no-deprecation|enable-source-maps|trace-warnings"
                                  r"|max-old-space-size=\d+)", frozenset()),
    r"sh|ash|dash|bash|ksh|zsh": (r"[-+][aefhkmnpuvxBCEHPTil]+|--(login|noprofile|norc|posix)",
                                  frozenset({"-o", "+o", "-O", "+O"})),
    r"perl[0-9.]*":              (r"-[wWtTX]+", frozenset()),
    r"ruby[0-9.]*":              (r"-[wWv]+|-W[0-2]|-W:[a-z-]+", frozenset()),
}  # fmt: skip

File = tuple[int, int, int, int, int]  # device, inode, size, times of its last changes, content and inode


@dataclass(frozen=True, slots=True)
class _Look:
    """All that one look at a process shows; two are equal while it stays what it is."""

    process: Process
    uid: int
    gid: int
    path: str  # of its executable; "" where that names another file here
    executable: File
    arguments: tuple[str, ...]
    directory: str  # "" likewise


class UnixAttestor:
    """Reads /proc. Keeps the digests of files that did not change."""

    def __init__(self) -> None:
        self._digests: dict[File, str] = {}

    async def attest(self, peer: Peer) -> Facts:
        """Return what the peer is. Raises Unauthenticated when it is gone, another by now, or cannot be told."""
        return await asyncio.to_thread(self._attest, peer)

    async def ancestors(self, peer: Peer) -> tuple[Process, ...]:
        """Return the process and its parents, nearest first, up to the first process that there is here."""
        return await asyncio.to_thread(_ancestors, peer.process)

    async def is_confined(self, peer: Peer) -> bool:
        """Return whether the process may gain no privileges, or has system calls filtered, and we not as much."""
        try:
            before = _stat(peer.process.pid)[0]
            theirs, ours = _restrictions(peer.process.pid), _restrictions(os.getpid())
            return before != peer.process or any(their > our for their, our in zip(theirs, ours, strict=True))
        except (OSError, ValueError):
            return True

    def _attest(self, peer: Peer) -> Facts:
        pid = peer.process.pid
        try:
            look = _look(pid)
            if look.process != peer.process:
                raise Unauthenticated(f"process {pid} is not the one that connected")
            if (look.uid, look.gid) != (peer.uid, peer.gid):
                raise Unauthenticated(f"process {pid} runs as another user or group than it connected as")
            of: dict[str, str | int] = {"uid": peer.uid, "gid": peer.gid, "pid": pid, "started": look.process.started}
            of["sha256"] = self._digest(f"/proc/{pid}/exe", look.executable)
            if look.path:
                of |= {"path": look.path, **self._script(look)}
            if _look(pid) != look:
                raise Unauthenticated(f"process {pid} changed while it was looked at")
        except (OSError, ValueError) as error:
            raise Unauthenticated(f"process {pid} cannot be shown: {type(error).__name__}") from None
        return Facts("unix", of)

    def _script(self, look: _Look) -> dict[str, str | int]:
        """Return the script that an interpreter runs and its digest; nothing where there is none for certain."""
        named = script_of(os.path.basename(look.path), look.arguments)
        if not named:
            return {}
        path = os.path.join(look.directory, named)
        plain = os.path.normpath(path)
        try:
            about = os.stat(plain)
            if not (os.path.isabs(path) and stat.S_ISREG(about.st_mode)):
                return {}
            if not os.path.samestat(about, os.stat(path)):  # `..` after a link leads elsewhere
                return {}
            return {"script": _text(plain), "script_sha256": self._digest(plain, _file(about))}
        except (OSError, ValueError):
            return {}

    def _digest(self, path: str, file: File) -> str:
        """Return the SHA-256 of what is there, if it is that file and stays it. Raises OSError, ValueError."""
        if file not in self._digests:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
                if _file(os.fstat(opened.fileno())) != file:
                    raise ValueError("it was another file, or changed while it was read")
            if len(self._digests) >= KEPT:
                del self._digests[next(iter(self._digests))]
            self._digests[file] = digest
        return self._digests[file]


def script_of(program: str, arguments: Sequence[str]) -> str | None:
    """Return the first argument of an interpreter that is no option; None where no file is run."""
    options = [one for names, one in INTERPRETERS.items() if re.fullmatch(names, program)]
    if not options:
        return None
    (plain, with_value), left = options[0], iter(arguments[1:])
    for argument in left:
        if argument == "--":
            return next(left, None)
        if argument in with_value:
            next(left, None)
        elif not re.fullmatch(plain, argument):
            return None if argument[:1] in ("-", "+", "") else argument
    return None


def _look(pid: int) -> _Look:
    """Raises OSError where it is gone or not ours to see, ValueError where it is not what it should be."""
    process, _ = _stat(pid)
    ids = dict(re.findall(rb"^(Uid|Gid):\t\d+\t(\d+)\t", _read(f"/proc/{pid}/status"), re.MULTILINE))  # effective
    about = os.stat(f"/proc/{pid}/exe")
    if os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)"):
        raise ValueError("its executable was deleted")
    # With mounts or a root of its own, a name says nothing of what it runs.
    sees_ours = all(_is_same(f"/proc/{pid}/{what}", f"/proc/self/{what}") for what in ("root", "ns/mnt"))
    return _Look(
        process=process,
        uid=int(ids[b"Uid"]),
        gid=int(ids[b"Gid"]),
        path=_named(f"/proc/{pid}/exe") if sees_ours else "",
        executable=_file(about),
        arguments=tuple(os.fsdecode(one) for one in _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]),
        directory=_named(f"/proc/{pid}/cwd") if sees_ours else "",
    )


def _named(link: str) -> str:
    """Return what a link of /proc says it leads to; "" where there is something else, or nothing, under that name."""
    path = os.readlink(link)
    try:
        return _text(path) if _is_same(link, path) else ""
    except (OSError, ValueError):
        return ""


def _is_same(one: str, other: str) -> bool:
    return os.path.samestat(os.stat(one), os.stat(other))


def _ancestors(process: Process) -> tuple[Process, ...]:
    """Each parent is looked up between two looks at its child, so it is the parent of this very child."""
    found: list[Process] = []
    try:
        wanted, parent = _stat(process.pid)
        if wanted != process:
            raise ValueError("it is not the one that connected")
        found.append(process)
        while parent and len(found) < DEEPEST:
            child, known = found[-1], parent
            above, parent = _stat(known)
            if _stat(child.pid) != (child, known) or above.started > child.started:
                raise ValueError("its parent changed")
            found.append(above)
        if parent:
            raise ValueError("it has too many ancestors")
    except (OSError, ValueError) as error:
        message = f"the ancestors of process {process.pid} cannot be shown: {type(error).__name__}"
        raise Unauthenticated(message) from None
    return tuple(found)


def _stat(pid: int) -> tuple[Process, int]:
    """Return the process and its parent's number, 0 without one. Raises OSError, ValueError for one that is over."""
    text = _read(f"/proc/{pid}/stat")
    fields = text.rpartition(b")")[2].split()  # the name before it may hold spaces and parentheses
    if fields[0] in (b"Z", b"X", b"x"):
        raise ValueError("it is over")
    return Process(pid, int(fields[19])), int(fields[1])  # fields 22 and 4 of proc_pid_stat(5)


def _restrictions(pid: int) -> tuple[int, ...]:
    """Return PR_SET_NO_NEW_PRIVS and the number of seccomp filters, each inherited for ever (prctl(2), seccomp(2))."""
    found = re.findall(rb"^(?:NoNewPrivs|Seccomp|Seccomp_filters):\t(\d+)$", _read(f"/proc/{pid}/status"), re.MULTILINE)
    return tuple(int(one) for one in found)


def _read(path: str) -> bytes:
    with open(path, "rb") as opened:
        return opened.read(1 << 20)


def _file(about: os.stat_result) -> File:
    if about.st_size > LARGEST:
        raise ValueError("it is too large")
    # The time of the inode too: its owner can set that of the content, and not this one.
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _text(path: str) -> str:
    path.encode()  # raises UnicodeEncodeError, a ValueError: a name that no event can hold
    return path
