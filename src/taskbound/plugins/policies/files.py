"""The policy directory on a disk: reads it whole, keeps the one in force, writes files of it.

A file that is a symlink out of the directory, or no ordinary file, or too large, refuses the load,
and so does a folder where none belongs; names that begin with a dot (git's own) are not looked at.
What the files mean is for core/policy_dir.py.

A file is written beside its place under a name with a dot, and renamed when it is durable: there is
the old one or the new one. A symlink in its place is replaced, and one in place of a folder refused,
so nothing is written outside the directory.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from taskbound.core.catalogue import Target, Tool
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.policy_dir import (
    EMPTY,
    LAYOUT,
    PolicyDir,
    decoded,
    is_policy_file,
    read_policy_dir,
    read_tools,
)
from taskbound.core.refusal import Problems

FILE_LIMIT = 4 << 20  # bytes; the definitions of a large upstream take about 1 MiB
DIRECTORY_LIMIT = 32 << 20  # bytes
FILES_LIMIT = 4096


class PolicyFiles:
    """The port Policies, given by the files of one directory."""

    def __init__(self, path: Path, targets: Mapping[str, Target], built_in: str = "") -> None:
        """`built_in` is Cedar text of the organisation's policies that are always in force."""
        self._path, self._targets, self._built_in = path, targets, built_in
        self._current = read_policy_dir({}, targets, built_in) if built_in else EMPTY

    @property
    def current(self) -> PolicyDir:
        """The one in force; before the first load one that permits nothing but what is built in."""
        return self._current

    def read(self) -> PolicyDir:
        """Read the directory whole. Raises InvalidRequest."""
        return read_policy_dir(dict(_files(self._path)), self._targets, self._built_in)

    def tools(self, upstream: str) -> dict[str, Tool]:
        """Return an upstream's tools by name, as its files say now. Raises InvalidRequest when those are broken."""
        own = (f"tools/{upstream}.toml", f"tools/{upstream}.json")
        found = {name: _read(self._path, name) for name in own if (self._path / name).exists()}
        problems = Problems()
        tools = {tool.name: tool for _, tool in read_tools(decoded(found), problems)}
        problems.require_none()
        return tools

    def file(self, path: str) -> bytes:
        """Return a file as it is now; empty when there is none. Raises InvalidRequest for what cannot be read."""
        return _read(self._path, path) if os.path.lexists(self._path / path) else b""

    def adopt(self, policies: PolicyDir) -> None:
        """Put what was read in force."""
        self._current = policies

    def load(self) -> PolicyDir:
        """Read the directory and put it in force. Raises InvalidRequest and changes nothing."""
        self.adopt(self.read())
        return self._current

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files of the directory, each whole or not at all. Raises Unavailable.

        All are durable before the first gets its name, so that two that belong together change as
        close together as two names can.
        """
        for path in files:
            if not is_policy_file(path):
                raise _refused(path, "unknown file", f"known: {LAYOUT}")
        try:
            with ExitStack() as stack:
                folders = {name: stack.enter_context(_folder(self._path, name)) for name in map(_folder_of, files)}
                for path, data in files.items():
                    _write_beside(folders[_folder_of(path)], path.rpartition("/")[2], data)
                for path in files:
                    folder, name = folders[_folder_of(path)], path.rpartition("/")[2]
                    os.rename(_beside(name), name, src_dir_fd=folder, dst_dir_fd=folder)
                for folder in folders.values():
                    os.fsync(folder)
        except OSError as error:
            raise Unavailable(f"the policy directory {self._path} cannot be written: {error.strerror}") from error


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _beside(name: str) -> str:
    return f".{name}.new"  # names with a dot are not read


@contextmanager
def _folder(root: Path, name: str) -> Iterator[int]:
    """Yield a descriptor of the directory, or of a folder in it, which is made when there is none."""
    with suppress(FileExistsError):
        (root / name).mkdir(parents=True)
        _sync((root / name).parent)
    # The directory itself may be a symlink, as its owner likes; a folder in it may not.
    folder = os.open(root / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if name else 0))
    try:
        yield folder
    finally:
        os.close(folder)


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_beside(folder: int, name: str, data: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(_beside(name), dir_fd=folder)  # of a process that died
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_beside(name), flags, 0o644, dir_fd=folder), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
