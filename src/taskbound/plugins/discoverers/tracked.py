"""Tracked: whether a checkout of git has a file, by its index, which is read as bytes (gitformat-index(5)).

git itself is not asked: it would do what the repository's configuration says.
"""

import os
from collections.abc import Iterator
from pathlib import Path

LIMIT = 256 << 20  # bytes of an index
VERSIONS = (2, 3)  # in the fourth names are cut, and are not looked for


def is_untracked(file: Path) -> bool:
    """Whether the file lies in a checkout whose index does not name it. False where that cannot be told."""
    real = Path(os.path.realpath(file))
    for folder in real.parents:
        if (folder / ".git").exists():
            name = os.fsencode(real.relative_to(folder))
            try:
                index = _index(folder / ".git")
            except OSError:
                return False
            return index is not None and not any(_names(index, name))
    return False


def _index(own: Path) -> bytes | None:
    """Return an index that has every name whole; None where there is no such. Raises OSError.

    Where nothing was ever added there is none: that names nothing.
    """
    if own.is_file():  # of a worktree or a submodule: it says where the directory is
        text = own.read_bytes()[:4096]
        own = own.parent / os.fsdecode(text.removeprefix(b"gitdir:").strip())
    if not (own / "index").exists() and (own / "HEAD").exists():
        return b""
    with open(os.open(own / "index", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as opened:
        data = opened.read(LIMIT + 1)
    is_whole = data[:4] == b"DIRC" and int.from_bytes(data[4:8], "big") in VERSIONS and len(data) <= LIMIT
    is_split = b"link" in data[-4096:]  # a part of it is elsewhere
    return data if is_whole and not is_split else None


def _names(index: bytes, name: bytes) -> Iterator[bool]:
    """Yield for each place where the name begins an entry: the 16 bits before it are flags, the lower 12 its length."""
    size, at = min(len(name), 0xFFF), -1
    while (at := index.find(name + b"\0", at + 1)) != -1:
        for flags in (index[at - 2 : at], index[at - 4 : at - 2]):  # version 3 may have 16 bits more
            if int.from_bytes(flags, "big") & 0xFFF == size:
                yield True
