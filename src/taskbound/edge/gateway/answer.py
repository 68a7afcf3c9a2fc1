"""Answer: one response to one request of a client: one JSON value, or events as they come (Streamable HTTP).

Which of the two is decided by the first message: an answer of one message is JSON.
"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskbound.formats import mcp

_EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


class Answer:
    """What is sent for one request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
        self.takes_events = b"text/event-stream" in accepted
        self._takes_json = b"application/json" in accepted or b"*/*" in accepted or not accepted
        self.begun = False
        self.over = False
        self.session = ""  # id of the session that the response begins

    async def notify(self, message: Mapping[str, Any]) -> None:
        """Send a notification at once; to a client that takes no events none is sent."""
        if self.takes_events:
            await self._event(message)

    async def finish(self, message: Mapping[str, Any], status: int = 200) -> None:
        """Send the response, the last message."""
        self.over = True
        if not self.begun and (self._takes_json or not self.takes_events or status != 200):
            headers = {"mcp-session-id": self.session} if self.session else {}
            await self.respond(Response(mcp.encode(message), status, headers, "application/json"))
            return
        await self._event(message)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def respond(self, response: Response) -> None:
        """Send an answer that is no message."""
        self.begun = self.over = True
        await response(self._scope, self._receive, self._send)

    async def _event(self, message: Mapping[str, Any]) -> None:
        if not self.begun:
            self.begun = True
            session = [(b"mcp-session-id", self.session.encode())] if self.session else []
            await self._send({"type": "http.response.start", "status": 200, "headers": _EVENTS + session})
        await self._send({"type": "http.response.body", "body": mcp.encode_event(message), "more_body": True})
