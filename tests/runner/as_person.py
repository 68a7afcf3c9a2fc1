"""Run a program as an unprivileged user, started by root: `as_person.py UID [--chroot] [--masked-proc] PROGRAM …`.

The interpreter and the clone may lie where only root gets (`/root`): they are shown to the other
user in a mount namespace. Two more conditions are made that a kernel really answers to: in a
chroot no user namespace can be made (EPERM, user_namespaces(7)), and where a part of /proc is
covered no new one can be mounted, as in most containers. Exit 77: not possible here.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, MS_BIND, MS_REC, MS_PRIVATE = 0x00020000, 0x10000000, 4096, 16384, 1 << 18
NOT_POSSIBLE = 77
CLONE = Path(__file__).parents[2]
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str | None, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    if libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        raise OSError(ctypes.get_errno(), f"mount on {target}")


def closed_to_others(tree: Path) -> Path | None:
    """Return the first folder on the way to a tree that others do not get through."""
    for above in (*reversed(tree.parents), tree):
        if not stat.S_IMODE(above.stat().st_mode) & 0o001:
            return above
    return None


def show_what_is_needed() -> None:
    trees: dict[Path, list[tuple[Path, int]]] = {}
    for tree in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), CLONE}:
        if (closed := closed_to_others(tree)) is not None:
            trees.setdefault(closed, []).append((tree, os.open(tree, os.O_PATH)))
    for closed, needed in trees.items():
        mount("none", closed, "tmpfs", 0, "mode=0755")
        for tree, there in sorted(needed):
            tree.mkdir(parents=True, exist_ok=True)
            mount(f"/proc/self/fd/{there}", tree, None, MS_BIND)
            os.close(there)


def unshare() -> None:
    """Enter a mount namespace of our own; not root, in a user namespace that keeps the uid."""
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)


def become(uid: int, conditions: Sequence[str] = ()) -> None:
    """Be a user from here on, to whom the interpreter and the clone are shown. Raises OSError."""
    here = os.getcwd()
    unshare()
    mount(None, Path("/"), None, MS_REC | MS_PRIVATE)
    show_what_is_needed()
    if "--masked-proc" in conditions:
        mount("none", Path("/proc/driver"), "tmpfs", 0)
    if "--chroot" in conditions:
        mount("/", Path("/mnt"), None, MS_BIND | MS_REC)
        os.chroot("/mnt")
    if os.getuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.chdir(here)


def main(uid: int, words: list[str]) -> None:
    try:
        become(uid, words)
    except OSError as error:
        print(f"not possible here: {error}", file=sys.stderr)
        sys.exit(NOT_POSSIBLE)
    program = [word for word in words if word not in ("--chroot", "--masked-proc")]
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
