"""One request of ours in a session, and what answers it, message by message."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.formats import mcp, mcp_era
from taskbound.formats.mcp_era import Era
from taskbound.plugins.upstreams.mcp_http.wire import Patience, Texts, Unreadable, read, sent_headers
from taskbound.ports import Answer, Origin

ASKED = 16  # requests of the server within one answer, each of which costs us one

CLIENT = {"name": "taskbound", "version": "1"}

Told = tuple[str, bytes]  # one answer: the revision that it is in, and its text without the id


class SessionLost(Exception):
    """The server does not know our session any more, or speaks another way than it did; says which."""

    def __init__(self, message: str = "the upstream lost the session") -> None:
        super().__init__(message)


@dataclass(frozen=True)
class Session:
    """How one server is spoken to."""

    era: Era
    version: str
    id: str | None = None  # None: the server keeps none
    credential: Secret | None = None  # it was opened with, and is ended with

    @cached_property
    def headers(self) -> Mapping[str, str]:
        held = {} if self.id is None else {"mcp-session-id": self.id}
        return {mcp_era.VERSION_HEADER: self.version, **held}


class Exchange:
    """One request, which goes out when the first message is asked for; left before the response, it is given up."""

    def __init__(
        self,
        origin: Origin,
        session: Session | None,  # None: it is opened by this
        request: tuple[int, str, Mapping[str, Any]],  # id, method, params
        credential: Secret | None,
        say: Callable[[Mapping[str, Any], Session | None, Secret | None], None],  # sends what has no answer, later
        patience: Patience | None = None,  # None: who asks keeps the time
        more: Mapping[str, str] = {},  # headers
    ) -> None:
        """Raises UpstreamUnavailable for a request that has no form."""
        self.session, self._id, self._credential, self._say = session, request[0], credential, say
        body, headers = request_of(session, *request, more)
        self._sending = origin.request("POST", sent_headers(headers, credential), body)
        self._patience = patience
        self.answer: Answer | None = None
        self._newest = b""
        self._texts: Texts | None = None
        self._asked, self._is_done = 0, False

    async def __aenter__(self) -> "Exchange":
        return self

    async def next(self, known: Told | None = None) -> Mapping[str, Any] | None:
        """Return the next notification, or last the response; None for a response that tells what is known.

        Raises UpstreamUnavailable, SessionLost.
        """
        try:
            while True:
                coming = self._text()
                self._newest = await (coming if self._patience is None else self._patience.wait(coming))
                if known is not None and self.told() == known:
                    self._is_done = True
                    return None
                message = await read(self._newest)
                if self._patience is not None:
                    self._patience.renew()
                match message:
                    case mcp.Response():
                        self._is_done = True
                        return self._response(message)
                    case mcp.Notification():
                        return mcp.notification(message.method, message.params)
                    case mcp.Request():
                        self._refuse(message)
        except Unreadable:
            if self.answer is None or self.answer.status == 200:
                raise
            raise SessionLost(f"the upstream answered {self.answer.status}") from None  # an error that is no message

    def told(self) -> Told | None:
        """Return what the newest message tells, whichever id it has; None where that is not seen."""
        rest = mcp.without_id(self._newest, self._id)
        return None if rest is None or self.session is None else (self.session.version, rest)

    async def __aexit__(self, *_: object) -> None:
        if self.answer is not None:
            await self._sending.__aexit__(None, None, None)
        # Given up, by us or by who asked: until 2025-11-25 closing alone is no cancellation.
        if not self._is_done and self.session is not None and self.session.era.has_sessions:
            over = mcp.notification("notifications/cancelled", {"requestId": self._id})
            self._say(over, self.session, self._credential)

    async def _text(self) -> bytes:
        if self._texts is None:
            self.answer = await self._sending.__aenter__()
            if (refused := _refused(self.answer, self.session)) is not None:
                self._is_done = True
                raise refused
            self._texts = Texts(self.answer)
        if (text := await self._texts.next()) is None:
            raise UpstreamUnavailable("the answer ended without a response")
        return text

    def _refuse(self, message: mcp.Request) -> None:
        if self.session is not None and not self.session.era.has_sessions:
            raise UpstreamUnavailable("the upstream asks where it may not")  # transports 3
        self._asked += 1
        if self._asked > ASKED:
            raise UpstreamUnavailable(f"the upstream asks more than {ASKED} times")
        self._say(_refusal(message), self.session, self._credential)

    def _response(self, message: mcp.Response) -> Mapping[str, Any]:
        assert self.answer is not None
        status, session, id = self.answer.status, self.session, self._id
        if message.result is None and message.code == mcp.UNSUPPORTED_VERSION and status != 200:
            raise SessionLost  # it was another server's word that it speaks so, or this one's before a restart
        found_early = status != 200 and message.id is None and message.result is None
        if not found_early and (type(message.id), message.id) != (type(id), id):
            raise UpstreamUnavailable("the upstream answered another request than the one it was sent")
        if message.result is None:
            return mcp.error(id, message.code, message.message)
        structured = message.result.get("structuredContent", {})
        if (session is None or session.era.has_sessions) and not isinstance(structured, dict | None):
            raise UpstreamUnavailable("structuredContent is no object")  # until 2025-11-25 it is nothing else
        return mcp.result(id, message.result)


def request_of(
    session: Session | None, id: mcp.Id, method: str, params: Mapping[str, Any], more: Mapping[str, str] = {}
) -> tuple[bytes, Mapping[str, str]]:
    """Return the body of a request, and the headers that belong to it."""
    if session is None:
        return mcp.encode(mcp.request(id, method, params)), {}
    headers = session.headers
    if not session.era.has_sessions:
        meta = {**params.get("_meta", {}), **mcp_era.request_meta(session.era, CLIENT)}
        params, headers = {**params, "_meta": meta}, {**headers, **mcp_era.mirrored(method, params), **more}
    return mcp.encode(mcp.request(id, method, params)), headers


def _refused(answer: Answer, session: Session | None) -> Exception | None:
    """Return what the status of an answer is a refusal of; None where messages follow."""
    if answer.status == 200:
        return None
    if session is not None and session.id is not None and answer.status == 404:
        return SessionLost()
    if session is not None and not session.era.has_sessions and answer.status in (400, 404, 405):
        return None if answer.status != 405 else SessionLost()  # an error has such a status of its own
    return UpstreamUnavailable(f"the upstream answered {answer.status}")


def _refusal(message: mcp.Request) -> Mapping[str, Any]:
    if message.method == "ping":
        return mcp.result(message.id, {})
    return mcp.error(message.id, mcp.METHOD_NOT_FOUND, "this client offers nothing to servers")
