"""Answer: one response to one request of a client: one JSON value, or events as they come (Streamable HTTP).

Which of the two is decided by the first message: an answer of one message is JSON. It is written in
pieces, each after the client took most of what was before: what nobody reads is not kept for long,
and all together takes a bounded room.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskbound.formats import mcp
from taskbound.formats.sse import encode_event

WRITE_SECONDS = 30.0  # for one message: clients are on this machine, and read 4 MiB in far less
PIECE = 16 << 10  # bytes, beyond the 64 KiB that uvicorn holds of one connection before it waits for its client
ROOM = 64 << 20  # bytes of all answers that are being written: 16 of the largest

_EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class Unread(Exception):
    """The client did not read its answer in time, or a stop came amid a message.

    The answer stays incomplete, so that the connection is closed.
    """


class Writing:
    """The texts that are being written. Who has been reading one the longest makes room for another."""

    def __init__(self) -> None:
        self._held: dict[asyncio.Timeout, int] = {}  # bytes by what gives the writing up, the oldest first

    @contextmanager
    def holding(self, limit: asyncio.Timeout, size: int) -> Iterator[None]:
        """Count a text of that size while it is written; the limit runs out when the room is needed."""
        self._held[limit] = size
        while sum(self._held.values()) > ROOM and len(self._held) > 1:
            oldest = next(iter(self._held))
            del self._held[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        try:
            yield
        finally:
            self._held.pop(limit, None)


class Answer:
    """What is sent for one request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, writing: Writing) -> None:
        self._scope, self._receive, self._send, self._writing = scope, receive, send, writing
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
        self.takes_events = b"text/event-stream" in accepted
        self._takes_json = b"application/json" in accepted or b"*/*" in accepted or not accepted
        self.begun = False
        self.over = False
        # A message is being written, or was stopped amid: what came behind would be taken for its rest.
        self._torn = False
        self.session = ""  # id of the session that the response begins
        self.statuses: Mapping[int, int] = {}  # HTTP status of an error, by its code (formats/mcp_era.py)

    async def notify(self, message: Mapping[str, Any]) -> None:
        """Send a notification at once; to a client that takes no events none is sent. Raises Unread."""
        if self.takes_events:
            await self._write(200, _EVENTS, encode_event(mcp.encode(message)), is_last=False)

    async def finish(self, message: Mapping[str, Any], status: int = 0) -> None:
        """Send the response, the last message, with the status that its error has by default. Raises Unread."""
        self.over = True
        if not status:
            status = self.statuses.get(message["error"]["code"], 200) if "error" in message else 200
        if not self.begun and (self._takes_json or not self.takes_events or status != 200):
            text = mcp.encode(message)
            del message  # as Python values it takes up to ten times as much, and nobody needs it while this is written
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
            await self._write(status, headers, text, is_last=True)
        else:
            text = encode_event(mcp.encode(message))
            del message
            await self._write(200, _EVENTS, text, is_last=True)

    async def respond(self, response: Response) -> None:
        """Send an answer that is no message."""
        self.begun = self.over = True
        await response(self._scope, self._receive, self._send)

    async def _write(self, status: int, headers: list[tuple[bytes, bytes]], text: bytes, *, is_last: bool) -> None:
        """Send a message, after the head where that is not out yet."""
        if self._torn:
            raise Unread("the stop came while a message was written")
        self._torn = True
        try:
            async with asyncio.timeout(WRITE_SECONDS) as limit:
                with self._writing.holding(limit, len(text)):
                    await self._written(status, headers, text, is_last)
        except TimeoutError:
            raise Unread(f"a message was not read within {WRITE_SECONDS:g} s, or its room was needed") from None
        self._torn = False

    async def _written(self, status: int, headers: list[tuple[bytes, bytes]], text: bytes, is_last: bool) -> None:
        if not self.begun:
            self.begun = True
            session = [(b"mcp-session-id", self.session.encode())] if self.session else []
            await self._send({"type": "http.response.start", "status": status, "headers": headers + session})
        if is_last and len(text) <= PIECE:
            return await self._send(_part(text, more=False))
        for start in range(0, len(text), PIECE):
            await self._send(_part(text[start : start + PIECE], more=True))
        if is_last:  # alone: before it is sent, most of the pieces have been read
            await self._send(_part(b"", more=False))


def _part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}
