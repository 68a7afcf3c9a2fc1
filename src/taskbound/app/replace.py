"""Replace: the files that reports name, and other bytes in their place: whole or not at all, durably; all or none."""

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from taskbound.core.errors import Conflict, NotFound
from taskbound.plugins.discoverers.files import Root
from taskbound.posture.splice import LARGEST


def real_path(roots: Sequence[Root], path: str) -> Path:
    """Return where a path of a report is. Raises NotFound."""
    for root in sorted(roots, key=lambda one: -len(one.shown)):
        if path == root.shown or (not root.place.is_dir() and path == (root.shown or root.place.name)):
            return root.place
        if not root.shown or path.startswith(f"{root.shown}/"):
            return root.place / path.removeprefix(f"{root.shown}/" if root.shown else "")
    raise NotFound(f"{path} is not below what was named")


def read_file(file: Path) -> bytes:
    """Return a file that may be replaced. Raises Conflict, OSError."""
    about = file.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise Conflict(f"{file} is no regular file", hint="name the file that it leads to")
    if about.st_nlink > 1:
        raise Conflict(f"{file} has another name (a hard link), which would keep the secret", hint="remove that first")
    if about.st_size > LARGEST:
        raise Conflict(f"{file} has more than {LARGEST >> 20} MiB")
    return file.read_bytes()


def replace_all(files: Sequence[tuple[Path, bytes, bytes]]) -> None:
    """Replace files, all of them or none. Raises Conflict, OSError."""
    done: list[tuple[Path, bytes, bytes]] = []
    try:
        for file, before, after in files:
            done.append((file, before, after))
            replace_file(file, before, after)
    except BaseException:
        for file, before, after in reversed(done):
            with suppress(OSError, Conflict):
                if file.read_bytes() == after:
                    replace_file(file, after, before)
        raise


def replace_file(file: Path, before: bytes, after: bytes) -> None:
    """Put other bytes in the place of a file's, whole or not at all, under its name, mode and owner.

    Raises Conflict where it is not what it was, OSError.
    """
    about = file.lstat()
    with replacing(file) as new:
        new.write(after)
        new.flush()
        if (about.st_uid, about.st_gid) != (os.geteuid(), os.fstat(new.fileno()).st_gid):
            os.fchown(new.fileno(), about.st_uid, about.st_gid)
        for name in os.listxattr(file):
            os.setxattr(new.fileno(), name, os.getxattr(file, name))
        os.fchmod(new.fileno(), stat.S_IMODE(about.st_mode))
        os.fsync(new.fileno())
        if read_file(file) != before:
            raise Conflict(f"{file} has changed meanwhile", hint="try again")


def write_whole(file: Path, data: bytes, mode: int) -> None:
    """Put a file in the place of one, whole or not at all, durably. Raises OSError."""
    with replacing(file) as new:
        new.write(data)
        new.flush()
        os.fchmod(new.fileno(), mode)
        os.fsync(new.fileno())


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """Yield a new file, written and synced within, that takes the place of one; nothing is left where that fails."""
    number, fresh = tempfile.mkstemp(dir=file.parent, prefix=".taskbound-")
    try:
        with open(number, "wb") as new:
            yield new
        os.replace(fresh, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
