"""What Redis speaks: RESP2 (redis.io, "Redis serialization protocol specification"), and the address of a server.

Pure: `reply` says how many bytes it needs next and is sent them. A reply is bounded, whoever answers: by its bytes,
by how many values it holds, by how deep they lie. No text of an error is in an exception or a repr: some Redis quote
the command that they refuse, and in `AUTH` that is the password.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from taskbound.formats.hosts import is_here

LINE = -1  # what `reply` yields where it needs a line, with its end
LONGEST = 64 << 10  # bytes of a line, at most
LARGEST = 16 << 20  # bytes of a reply
MOST = 1 << 20  # values of a reply
DEEPEST = 8
PORT = 6379


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error, by its first word: WRONGPASS, NOPERM, NOAUTH, ERR, …"""

    code: str
    says: str = field(repr=False)


Reply: TypeAlias = str | int | Refusal | list[Any] | None


class Garbled(ValueError):
    """It is no RESP2, or more of it than a reply may have."""


def command(*words: str) -> bytes:
    """Return a command as it is sent."""
    parts = [word.encode(errors="surrogateescape") for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def reply() -> Generator[int, bytes, Reply]:
    """Yield how many bytes are needed next, or LINE; return the reply. Raises Garbled."""
    left = [LARGEST, MOST]
    return (yield from _value(left, DEEPEST))


def _value(left: list[int], depth: int) -> Generator[int, bytes, Reply]:
    left[1] -= 1
    line = yield from _taken(left, LINE)
    kind, text = line[:1], line[1:-2].decode(errors="surrogateescape")
    if left[1] < 0 or not line.endswith(b"\r\n"):
        raise Garbled("too many values, or a line without an end")
    if kind == b"+":
        return text
    if kind == b"-":
        return Refusal(text.partition(" ")[0], text)
    number = _number(text)
    if kind == b":":
        return number
    if kind in b"$*" and number == -1:
        return None
    if kind == b"$" and 0 <= number <= left[0]:
        data = yield from _taken(left, number + 2)
        return data[:-2].decode(errors="surrogateescape")
    if kind == b"*" and 0 <= number <= left[1] and depth:
        values: list[Reply] = []
        for _ in range(number):
            values.append((yield from _value(left, depth - 1)))
        return values
    raise Garbled("no value of RESP2, or one that is too large")


def _taken(left: list[int], wanted: int) -> Generator[int, bytes, bytes]:
    data = yield wanted
    left[0] -= len(data)
    if left[0] < 0:
        raise Garbled("more than a reply may have")
    return data


def _number(text: str) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
        raise Garbled("no number where one belongs")
    return int(text)


@dataclass(frozen=True, slots=True)
class Address:
    """redis[s]://[user[:password]]@host[:port][/database]; without a user it is `default`."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)  # "": none
    is_encrypted: bool = False

    @property
    def is_verified(self) -> bool:
        """Whether whoever answers there must prove to be the server of that name, or can only be on this machine."""
        return self.is_encrypted or is_here(f"[{self.host}]" if ":" in self.host else self.host)


def address(url: str) -> Address:
    """Read an address. Raises ValueError, which quotes nothing of it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("no address of a Redis server") from None
    if parts.scheme not in ("redis", "rediss") or not host:
        raise ValueError("no address of a Redis server")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Address(host, port or PORT, user or "default", password, parts.scheme == "rediss")
