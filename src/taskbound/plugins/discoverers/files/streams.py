"""Streams: bytes that are read up to a bound, as they stand there, unpacked, or in another encoding."""

import codecs
import io
from collections.abc import Iterator
from time import monotonic
from typing import Protocol

FIRST = 256 << 10  # bytes read before anything is known: nearly every file is read by that alone
UNPACKED, RATIO, FREE = 256 << 20, 200, 8 << 20  # bytes out of one file, and how many times its own size beyond FREE
UNPACKING = 60.0  # seconds that all of an archive may take
WHOLE = 4 << 20  # bytes; what is larger is searched in windows of this size, without its structure
OVERLAP = 16 << 10  # bytes: the longest credential, a private key of RSA 8192 in PEM, has 13 KiB in a JSON string


class Unreadable(Exception):
    """Why a file was not read, or not to its end."""


class Bytes(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Budget:
    """How many bytes may still come out of one file, and until when."""

    def __init__(self, left: int) -> None:
        self._left, self._until = left, monotonic() + UNPACKING

    @property
    def is_spent(self) -> bool:
        return self._left < 0 or monotonic() > self._until

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Unreadable("it unpacks to more than is looked at")
        if self.is_spent:
            raise Unreadable(f"what is in it takes longer than {UNPACKING:.0f} s")


class Bounded:
    """A stream up to a number of bytes, whose beginning can be looked at first."""

    def __init__(self, stream: Bytes, size: int) -> None:
        self._stream, self._left, self._head = stream, size, b""

    def peek(self, size: int) -> bytes:
        if not self._head:
            self._head = self._take(FIRST)
        return self._head[:size]

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing behind the beginning."""
        return not self._left

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._take(size)

    def _take(self, size: int) -> bytes:
        if not self._left:
            return b""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


class Unpacked(Bounded):
    """What comes out of an archive."""

    def __init__(self, stream: Bytes, budget: Budget) -> None:
        super().__init__(stream, UNPACKED + 1)
        self._budget = budget

    def _take(self, size: int) -> bytes:
        data = super()._take(size)
        self._budget.spend(len(data))
        return data


class Utf8:
    """UTF-16 as UTF-8, so that lines are lines."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")

    def read(self, size: int, /) -> bytes:
        while data := self._stream.read(max(size, 4)):
            if text := self._decoder.decode(data):
                return text.encode(errors="replace")
        return self._decoder.decode(b"", final=True).encode(errors="replace")


class Whole(io.RawIOBase):
    """A stream as a file object: what gzip and tarfile ask for."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size if size >= 0 else 1 << 20)


def windows(stream: Bytes, limit: int) -> Iterator[tuple[bytes, int, bool]]:
    """Yield a text in windows: the bytes, how many lines precede them, and whether they are all there is.

    A window ends with a line where one ends in its second half, and the next one begins up to OVERLAP bytes before
    that, with a line.
    """
    data = read_up_to(stream, limit + 1)
    if len(data) <= limit:
        if data:
            yield data, 0, True
        return
    lines = 0
    while True:
        more = read_up_to(stream, WHOLE)
        end = data.rfind(b"\n") + 1 if more else len(data)
        end = end if end > len(data) // 2 else len(data)
        yield data[:end], lines, False
        if not more:
            return
        start = max(0, end - OVERLAP)
        start = data.find(b"\n", start, end - 1) + 1 or start
        lines += data.count(b"\n", 0, start)
        data = data[start:] + more


def read_up_to(stream: Bytes, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
