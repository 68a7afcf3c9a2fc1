"""The wire under a session: one POST, and the messages of its answer as they come, in bounded time and size."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.formats import mcp
from taskbound.formats.canonical import Malformed, parse
from taskbound.formats.sse import EventReader, TooLarge
from taskbound.ports import Answer, Origin

MESSAGES = 10_000  # of one answer: progress each 10 ms for 100 s
APART = 256 << 10  # bytes from which a text is parsed in a thread, so that other calls go on

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

    async def wait(self, coming: Any) -> Any:
        """Return what comes. Raises UpstreamUnavailable when it does not in time."""
        try:
            async with asyncio.timeout_at(self._until):
                return await coming
        except TimeoutError:
            raise silent(self._idle) from None


def silent(idle: float) -> UpstreamUnavailable:
    return UpstreamUnavailable(f"the upstream brought no answer within {idle:g} s")


@asynccontextmanager
async def posted(
    origin: Origin, body: bytes, headers: Mapping[str, str], credential: Secret | None, patience: Patience
) -> AsyncIterator[Answer]:
    """Give the head of the answer to a POST, and what reads the rest. Raises UpstreamUnavailable."""
    sending = origin.request("POST", sent_headers(headers, credential), body)
    answer = await patience.wait(sending.__aenter__())
    try:
        yield answer
    finally:
        await sending.__aexit__(None, None, None)


def sent_headers(headers: Mapping[str, str], credential: Secret | None) -> dict[str, str]:
    """Return the headers that go out: those of a session or a request, and what every request has."""
    sent = {"accept": "application/json, text/event-stream", "content-type": "application/json", **headers}
    if credential is not None:
        sent["authorization"] = f"Bearer {credential.reveal()}"
    return sent


async def messages(answer: Answer, patience: Patience) -> AsyncGenerator[Message, None]:
    """Yield each message of an answer, as soon as it is complete. Raises UpstreamUnavailable: Unreadable too."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        yield await _read(await patience.wait(_whole(answer)))
        return
    if kind != "text/event-stream":
        raise Unreadable("the answer is neither JSON nor an event stream")
    count, reader = 0, EventReader(mcp.MESSAGE_LIMIT)
    async with aclosing(answer.body()) as body:
        while (data := await patience.wait(anext(body, None))) is not None:
            try:
                for text in reader.feed(data):
                    message = await _read(text)
                    patience.renew()
                    if (count := count + 1) > MESSAGES:
                        raise UpstreamUnavailable(f"the answer has more than {MESSAGES} messages")
                    yield message
            except TooLarge as error:
                raise UpstreamUnavailable(str(error)) from None


async def _whole(answer: Answer) -> bytes:
    whole, size = [], 0
    async with aclosing(answer.body()) as body:
        async for data in body:
            whole.append(data)
            if (size := size + len(data)) > mcp.MESSAGE_LIMIT:
                raise UpstreamUnavailable(f"a message has more than {mcp.MESSAGE_LIMIT} bytes")
    return b"".join(whole)


async def _read(text: bytes) -> Message:
    try:
        value = await asyncio.to_thread(_parse, text) if len(text) > APART else _parse(text)
        return mcp.read_message(value)
    except (Malformed, mcp.MalformedMessage) as error:
        raise Unreadable(f"a message of the upstream is malformed: {error}") from None


def _parse(text: bytes) -> Any:
    return parse(text, limit=mcp.MESSAGE_LIMIT)
