"""The policy directory on a disk: reads it whole, keeps the one in force.

A file that is a symlink out of the directory, or no ordinary file, or too large, refuses the load,
and so does a folder where none belongs; names that begin with a dot (git's own) are not looked at.
What the files mean is for core/policy_dir.py.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from taskbound.core.catalogue import Target
from taskbound.core.errors import InvalidRequest
from taskbound.core.policy_dir import EMPTY, LAYOUT, PolicyDir, read_policy_dir

FILE_LIMIT = 4 << 20  # bytes; the definitions of a large upstream take about 1 MiB
DIRECTORY_LIMIT = 32 << 20  # bytes
FILES_LIMIT = 4096


class PolicyFiles:
    """The port Policies, given by the files of one directory."""

    def __init__(self, path: Path, targets: Mapping[str, Target]) -> None:
        self._path, self._targets = path, targets
        self._current = EMPTY

    @property
    def current(self) -> PolicyDir:
        """The one in force; before the first load one that permits nothing."""
        return self._current

    def load(self) -> PolicyDir:
        """Read the directory whole and put it in force. Raises InvalidRequest and changes nothing."""
        self._current = read_policy_dir(dict(_files(self._path)), self._targets)
        return self._current


def _refused(path: str, message: str, hint: str = "") -> InvalidRequest:
    return InvalidRequest(f"{path[:128]!a}: {message}", code="invalid_policy", hint=hint)


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path within the directory and the bytes of each of its files."""
    total = 0
    for count, name in enumerate(_names(root), start=1):
        data = _read(root, name)
        total += len(data)
        if count > FILES_LIMIT or total > DIRECTORY_LIMIT:
            raise _refused(name, f"the directory is larger than {FILES_LIMIT} files or {DIRECTORY_LIMIT} bytes")
        yield name, data


def _names(root: Path) -> Iterator[str]:
    """Yield the paths of files in the directory and in its folders, which have no folders."""
    try:
        for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield entry.name
                continue
            for within in sorted(os.scandir(entry.path), key=lambda entry: entry.name):
                if not within.name.startswith("."):
                    yield f"{entry.name}/{within.name}"
    except OSError as error:
        raise _refused(str(root), f"it cannot be read: {error.strerror}", "name a directory") from error


def _read(root: Path, name: str) -> bytes:
    try:
        real, top = os.path.realpath(root / name, strict=True), os.path.realpath(root, strict=True)
        if os.path.commonpath((real, top)) != top:
            raise _refused(name, "it is a symlink out of the directory", "copy the file")
        # Not followed again, and never waited for: what was a file may be a pipe by now.
        with open(real, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _refused(name, "it is no ordinary file", f"known: {LAYOUT}")
            data = file.read(FILE_LIMIT + 1)
    except IsADirectoryError:
        raise _refused(name, "unknown folder", f"known: {LAYOUT}") from None
    except OSError as error:
        raise _refused(name, f"it cannot be read: {error.strerror}") from error
    if len(data) > FILE_LIMIT:
        raise _refused(name, f"it has more than {FILE_LIMIT} bytes")
    return data
