"""The wire under a session: one POST, and the messages of its answer as they come, in bounded time and size."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, TypeVar

from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.formats import mcp
from taskbound.formats.canonical import Malformed, parse
from taskbound.formats.sse import EventReader, TooLarge
from taskbound.ports import Answer

MESSAGES = 10_000  # of one answer: progress each 10 ms for 100 s
APART = 256 << 10  # bytes from which a text is parsed in a thread, so that other calls go on

T = TypeVar("T")
Message = mcp.Request | mcp.Notification | mcp.Response


class Unreadable(UpstreamUnavailable):
    """What came is no message: perhaps the server speaks another way."""


class Patience:
    """How long the next message is waited for. Bytes that complete none do not renew it (T4.8)."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self.renew()

    def renew(self) -> None:
        self._until = asyncio.get_running_loop().time() + self._idle

    async def wait(self, coming: Awaitable[T]) -> T:
        """Return what comes. Raises UpstreamUnavailable when it does not in time."""
        try:
            async with asyncio.timeout_at(self._until):
                return await coming
        except TimeoutError:
            raise UpstreamUnavailable(f"the upstream brought no answer within {self._idle:g} s") from None


def sent_headers(headers: Mapping[str, str], credential: Secret | None) -> dict[str, str]:
    """Return the headers that go out: those of a session or a request, and what every request has."""
    sent = {"accept": "application/json, text/event-stream", "content-type": "application/json", **headers}
    if credential is not None:
        sent["authorization"] = f"Bearer {credential.reveal()}"
    return sent


class Texts:
    """The texts of an answer's messages, each as soon as it is complete."""

    def __init__(self, answer: Answer) -> None:
        """Raises Unreadable for an answer that has none."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "text/event-stream"):
            raise Unreadable("the answer is neither JSON nor an event stream")
        self._answer = answer
        self._reader = EventReader(mcp.MESSAGE_LIMIT) if kind == "text/event-stream" else None
        self._events: Iterator[bytes] = iter(())  # that came and were not asked for yet
        self._count = 0

    async def next(self) -> bytes | None:
        """Return the next; None at the end. Raises UpstreamUnavailable."""
        if self._reader is None:
            self._count += 1
            return await self._whole() if self._count == 1 else None
        try:
            while (text := next(self._events, None)) is None:
                if not (data := await self._answer.read()):
                    return None
                self._events = self._reader.feed(data)
        except TooLarge as error:
            raise UpstreamUnavailable(str(error)) from None
        self._count += 1
        if self._count > MESSAGES:
            raise UpstreamUnavailable(f"the answer has more than {MESSAGES} messages")
        return text

    async def _whole(self) -> bytes:
        whole, size = [], 0
        while data := await self._answer.read():
            whole.append(data)
            if (size := size + len(data)) > mcp.MESSAGE_LIMIT:
                raise UpstreamUnavailable(f"a message has more than {mcp.MESSAGE_LIMIT} bytes")
        return b"".join(whole)


async def read(text: bytes) -> Message:
    """Return the message that a text is. Raises Unreadable."""
    try:
        value = await asyncio.to_thread(_parse, text) if len(text) > APART else _parse(text)
        return mcp.read_message(value)
    except (Malformed, mcp.MalformedMessage) as error:
        raise Unreadable(f"a message of the upstream is malformed: {error}") from None


def _parse(text: bytes) -> Any:
    return parse(text, limit=mcp.MESSAGE_LIMIT)
