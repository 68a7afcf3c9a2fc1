"""A file sink: one line for each sealed event, its leaf as it stands in the tree.

At least once, by index: its position is the index in its own last line, so the file can be moved,
copied or cut at any line and goes on from there. A line that a crash left torn is taken away.
Bodies are not copied: what is erased here must not live on there.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from taskbound.core.errors import Unavailable
from taskbound.core.leaf import LIMIT, Fact, MalformedLeaf, parse_leaf, render_leaf

TAIL = 64 * LIMIT  # more than one line, whatever it holds


class FileSink:
    """JSON lines in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def last(self) -> int:
        try:
            line = _last_line(self._path)
            return parse_leaf(line)[0] if line else -1
        except (OSError, MalformedLeaf) as error:
            raise Unavailable(f"the sink {self._path} cannot be continued: {error}") from error

    async def send(self, facts: Sequence[Fact]) -> None:
        last = await self.last()
        lines = [
            render_leaf(fact.header, fact.index) + b"\n"
            for fact in facts
            if fact.index is not None and fact.index > last
        ]
        if not lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"the sink {self._path} cannot be written: {error}") from error


def _last_line(path: Path) -> bytes:
    """Return the last whole line; what is torn behind it is cut off. The file is made when there is none."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        whole, newline, torn = file.read().rpartition(b"\n")
        if torn:
            file.truncate(size - len(torn))
    return whole.rpartition(b"\n")[2] if newline else b""
