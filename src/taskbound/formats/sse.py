"""Server-sent events (WHATWG HTML 9.2), as MCP carries the messages of an answer that comes in parts."""

import re
from collections.abc import Iterator


def encode_event(data: bytes) -> bytes:
    """Return data of one line as one event."""
    return b"event: message\ndata: " + data + b"\n\n"


class TooLarge(ValueError):
    """An event has more bytes than are read."""


_LINE_END = re.compile(rb"\r\n|\n|\r")


LINE_COST = 40  # bytes that a line takes in memory beside its own, so that many short ones are not cheap


class EventReader:
    """Server-sent events out of bytes as they come, split anywhere; each event costs at most the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()  # of the line that is not complete yet
        self._data: list[bytes] = []
        self._size = 0  # of the data
        self._begun = False  # a byte order mark may stand before the first byte only
        self._after_return = False  # a line ended with CR: a LF right behind it belongs to it

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of each `message` event that these bytes complete. Raises TooLarge."""
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        start = 0
        for end in _LINE_END.finditer(data):
            self._rest += data[start : end.start()]
            start = end.end()
            line, self._rest = bytes(self._rest), bytearray()
            if (event := self._line(line)) is not None:
                yield event
        self._after_return = data.endswith(b"\r")
        self._rest += data[start:]
        self._bound(len(self._rest))

    def _bound(self, more: int) -> None:
        if self._size + more > self._limit:
            raise TooLarge(f"an event has more than {self._limit} bytes")

    def _line(self, line: bytes) -> bytes | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if any(data) else None
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + LINE_COST
            self._bound(0)
            self._data.append(value)
        return None  # a comment, `event`, `id` and `retry`: messages have one kind, and we resume nothing
