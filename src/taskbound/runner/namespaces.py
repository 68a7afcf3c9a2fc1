"""What an agent cannot see: folders hidden in a user and mount namespace, other processes in a PID namespace.

Works unprivileged: `unshare(2)`, then `mount(2)`, between fork and exec. Three things make it hold.
The uid is kept, so an exec leaves no capability to unmount with (and PR_SET_NO_NEW_PRIVS keeps a
binary with capabilities from giving one). A second user and mount namespace is entered after the
mounts: what is inherited into it is locked (mount_namespaces(7)), so that neither root nor a
namespace that the agent makes itself takes one away. And to look into a process outside would need
CAP_SYS_PTRACE there, which nobody in a namespace below has.

A folder above a hidden one could be renamed, and another put in its place for everybody outside. So each is
mounted upon itself: where something is mounted, the kernel renames and removes nothing (EBUSY, rename(2)).

This hides; it is no sandbox: the network, the rest of the home and what it runs later stay open.
"""

import ctypes
import os
import pwd
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taskbound.runner.place import shared_folders

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38

# One that does not exist is not hidden when it is made later, outside: to make it empty would change what programs do.
KEYS = (  # below the home
    ".aws", ".ssh", ".kube", ".config/gh", ".config/gcloud", ".docker", ".netrc", ".pgpass",
    ".postgresql/postgresql.key", ".pg_service.conf",
)  # fmt: skip

LINKS = 40  # on one way; with more the kernel does not go it (path_resolution(7))
EMPTY = "empty"  # the file in the child's folder that stands where a file is hidden

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Hidden:
    """One thing that is to be out of reach, and what it is called when it cannot be."""

    path: Path  # resolved
    name: str

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()


@dataclass(frozen=True, slots=True)
class Shown:
    """A file in whose place the program finds another one, which it cannot write."""

    path: Path  # resolved
    instead: Path


def prctl(option: int, value: int, more: int = 0) -> None:
    """Set an attribute of this process. Raises OSError."""
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), 0, 0), "prctl")


def to_hide(state: Path, outside: Mapping[str, str], second: Path | None, also: Sequence[Path]) -> tuple[Hidden, ...]:
    """Return what exists of what an agent must not reach; nothing twice, and nothing below what is hidden anyway."""
    found: dict[Path, str] = {}
    for path, name in _unwanted(state, outside, second, also):
        found.setdefault(path, name)
    return tuple(Hidden(path, name) for path, name in found.items() if not found.keys() & {*path.parents})


def keys(outside: Mapping[str, str]) -> dict[str, Path]:
    """Return where the home's own keys are, each by its name below the home, whether they are there or not."""
    return {name: Path(outside.get("HOME") or "/") / name for name in KEYS}


def _unwanted(
    state: Path, outside: Mapping[str, str], second: Path | None, also: Sequence[Path]
) -> Iterator[tuple[Path, str]]:
    wanted = [(state, "taskbound's own keys, log and operator socket")]
    wanted += [(second, f"taskbound's checkpoints: {second}")] if second else []
    wanted += [(path, str(path)) for path in also]
    wanted += [(path, f"~/{name}") for name, path in keys(outside).items()]
    wanted += [(path, f"other tasks' passwords: {path}") for path in shared_folders(outside)]
    if (log := Path(outside.get("SSLKEYLOGFILE", ""))).is_file():  # it opens what programs outside sent over TLS
        wanted.append((log, "$SSLKEYLOGFILE"))
    wanted += _sockets(outside, os.getuid())
    for path, name in wanted:
        try:
            real = path.resolve(strict=True)  # a folder behind a symbolic link is hidden where it is
        except (OSError, RuntimeError):
            continue
        if real != Path("/"):
            yield real, name


def _sockets(outside: Mapping[str, str], uid: int) -> Iterator[tuple[Path, str]]:
    """Yield where one listens who does what he is told, outside: systemd, D-Bus, key agents, terminals, containers."""
    for path in ("/run/docker.sock", "/run/podman/podman.sock", f"/run/user/{uid}"):
        yield Path(path), path
    if agent := outside.get("SSH_AUTH_SOCK"):
        yield Path(agent), "$SSH_AUTH_SOCK"
    folders = [Path(runtime)] if (runtime := outside.get("XDG_RUNTIME_DIR")) else []
    with suppress(KeyError):
        folders.append(_there(Path("/run/screen") / f"S-{pwd.getpwuid(uid).pw_name}"))
    for base in {"/tmp", outside.get("TMUX_TMPDIR") or "/tmp"}:
        _there(Path(base) / f"tmux-{uid}")
        folders += [found for pattern in (f"tmux-{uid}", "ssh-*") for found in Path(base).glob(pattern)]
    for folder in folders:
        with suppress(OSError):
            about = folder.stat()  # what others may use too, /tmp above all, is no place of ours to hide
            if about.st_uid == uid and not about.st_mode & 0o077:
                yield folder, str(folder)


def _there(folder: Path) -> Path:
    """Make a folder as its program would, where it can be made: so it is hidden when that program starts later."""
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    return folder


def hide(hidden: tuple[Hidden, ...], own: Path, shown: tuple[Shown, ...] = ()) -> None:
    """Enter a user and mount namespace where none of it can be reached, `own` excepted. Raises OSError.

    What is shown stands there in the place of other files.
    """
    here = os.getcwd()
    _unshare_user()
    kept = os.open(own, os.O_PATH | os.O_CLOEXEC)  # in the new namespace: the old one's cannot be mounted
    nothing = os.open(own / EMPTY, os.O_PATH | os.O_CLOEXEC)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    for folder in above(hidden):
        _mount(str(folder), str(folder), None, MS_BIND | MS_REC)
    for one in hidden:
        if not one.is_folder:
            _mount(f"/proc/self/fd/{nothing}", str(one.path), None, MS_BIND)
            continue
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        holds_own = own.is_relative_to(one.path)
        _mount("none", str(one.path), "tmpfs", flags | (0 if holds_own else MS_RDONLY), "mode=0700,size=64k")
        if holds_own:
            own.mkdir(mode=0o700, parents=True)
            _mount(f"/proc/self/fd/{kept}", str(own), None, MS_BIND)
            _mount(None, str(one.path), None, flags | MS_REMOUNT | MS_BIND | MS_RDONLY)
    for file in shown:
        _mount(str(file.instead), str(file.path), None, MS_BIND)
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        _mount(None, str(file.path), None, flags | MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.close(kept)
    os.close(nothing)
    _unshare_user()  # from here on the mounts are locked
    prctl(PR_SET_DUMPABLE, 0)  # again: until an exec the memory is a copy of that of `run`
    os.chdir(here)  # by its name: as it was, it would lead past whatever is mounted above it


def above(hidden: Sequence[Hidden]) -> list[Path]:
    """Return the folders above what is hidden, the outermost first, without the root, which nobody can rename."""
    return sorted({folder for one in hidden for folder in one.path.parents} - {Path("/")})


def loose_on_the_way(place: Path, hidden: Sequence[Hidden]) -> Iterator[Path]:
    """Yield each link and folder on the way to a place, through every link, that this user can replace.

    What is hidden, and every folder above it, is kept as it is by its mount; what lies below is out of reach.
    """
    kept = {one.path for one in hidden} | {*above(hidden)}
    here, left, links = Path("/"), [*place.absolute().parts[1:]], 0
    while left:
        name = left.pop(0)
        if name == "..":
            here = here.parent
            continue
        step = here / name
        try:
            target = os.readlink(step) if step.is_symlink() else None
            if step not in kept and not any(here.is_relative_to(one.path) for one in hidden) and _is_replaceable(step):
                yield step
        except OSError:
            return  # there it ends, for whoever goes it
        if target is None:
            here = step
            continue
        links += 1
        if links > LINKS:
            return
        to = Path(target)
        here, left = (Path("/"), [*to.parts[1:], *left]) if to.is_absolute() else (here, [*to.parts, *left])


def _is_replaceable(step: Path) -> bool:
    """Whether this user may put another in the place of a link, file or folder. Raises OSError."""
    folder, uid = step.parent.stat(), os.getuid()
    if folder.st_uid == uid:
        return True  # whatever its mode: that is its owner's to change
    is_sticky = bool(folder.st_mode & stat.S_ISVTX)  # only who owns an entry of it replaces that
    return os.access(step.parent, os.W_OK) and (not is_sticky or step.lstat().st_uid == uid)


def _unshare_user() -> None:
    uid, gid = os.getuid(), os.getgid()
    prctl(PR_SET_DUMPABLE, 1)  # or the files below /proc/self belong to root
    _checked(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def new_pid_namespace() -> None:
    """Let the next child of this process be the first of a PID namespace. Raises OSError."""
    _checked(_libc.unshare(CLONE_NEWPID), "unshare")


def mount_proc() -> None:
    """Show this PID namespace below /proc. Raises OSError where the kernel does not allow it."""
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    _checked(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount on {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
