"""An MCP server over Streamable HTTP, port `Upstream`, in either era (MCP 2026-07-28, and 2025-11-25 and older).

A server is asked once how it speaks, by `server/discover`, which runs nothing. One that answers as
a stateless server does is spoken to so: each request carries its own metadata, headers mirror it, and
closing the answer gives it up. Any other is greeted by `initialize`, and one instance is one session
of ours with it, opened at first use and again when the server no longer knows it (404). A request
that met that is made once more after another look; a call never is: the definition it was decided on
was looked at in the session that is gone. Every wait ends: a request that brings no message for
`idle` seconds is given up, however many single bytes come (T4.8). What the server asks of us
(sampling, elicitation, roots) is refused, and passed on to nobody.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.formats import mcp, mcp_era
from taskbound.formats.mcp_era import SESSIONS, STATELESS, Era
from taskbound.formats.mcp_headers import BadMark, marks_of, mirrored
from taskbound.plugins.upstreams.mcp_http.known import Known, Listed, Listing, Tools
from taskbound.plugins.upstreams.mcp_http.wire import Patience, Unreadable, messages, posted, sent_headers, silent
from taskbound.ports import Answer, Origin

IDLE = 30.0  # seconds without a message, after which a call is given up (T4.8)
CLOSE_SECONDS = 2.0  # for what is said to a server as a courtesy: that a call or a session is over
LIST_LIMIT = 4 << 20  # bytes of all pages of a list; as Python values up to ten times as much
PAGES, TOOLS = 32, 1_000  # of one list; the largest servers known offer about 200 tools
ASKED = 16  # requests of the server within one answer, each of which costs us one

CLIENT = {"name": "taskbound", "version": "1"}

_SESSION_ID = re.compile(r"[\x21-\x7e]{1,256}")  # transports, session management 1; the length is ours

log = structlog.get_logger()


class _SessionLost(Exception):
    """The server does not know our session any more, or speaks another way than it did."""


@dataclass(frozen=True, slots=True)
class _Session:
    era: Era
    version: str
    id: str | None = None  # None: the server keeps none
    credential: Secret | None = None  # it was opened with, and is ended with

    def headers(self) -> dict[str, str]:
        held = {} if self.id is None else {"mcp-session-id": self.id}
        return {mcp_era.VERSION_HEADER: self.version, **held}


class McpHttpUpstream:
    """One session with one MCP server at a configured address."""

    def __init__(self, origin: Origin, known: Known | None = None, *, idle: float = IDLE) -> None:
        """`known` is shared by the sessions with the server; without one, this one begins knowing nothing."""
        self._origin = origin
        self._known = known or Known()
        self._idle = idle
        self._ids = self._known.ids
        self._session: _Session | None = None
        self._connecting = asyncio.Lock()
        self._own = Listing()  # what is offered to our credential: another's may be offered other tools
        self._listing = self._own  # that was asked last
        self._said: set[asyncio.Task[None]] = set()  # courtesies under way

    # --- the port --------------------------------------------------------------------------------

    async def tools(self, credential: Secret | None = None) -> Tools:
        """Return the definitions of all tools that are offered now: the same list while nothing has changed."""
        self._listing = self._known.listing if credential is None else self._own
        async with self._deadline():
            return await self._listing.now(lambda: self._list(credential))

    def call(
        self, tool: str, arguments: Mapping[str, Any], credential: Secret | None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the progress of one call under the server's own token, and last the response."""
        id = next(self._ids)
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}
        return self._ask(id, "tools/call", params, credential)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.id is not None:
            self._say(self._delete(session))
        while self._said:
            await asyncio.wait(self._said)

    # --- requests --------------------------------------------------------------------------------

    async def _list(self, credential: Secret | None) -> Listed:
        tools: Tools = []
        text = b""
        cursor: str | None = None
        for _ in range(PAGES):
            response = await self._answer("tools/list", {"cursor": cursor} if cursor else {}, credential)
            try:
                page, cursor = mcp.read_tools(response)
            except mcp.MalformedMessage as error:
                raise UpstreamUnavailable(f"the upstream's list of tools is malformed: {error}") from None
            text += mcp.encode({"tools": page})
            if len(text) > LIST_LIMIT:
                raise UpstreamUnavailable(f"the upstream's list of tools has more than {LIST_LIMIT} bytes")
            tools += page
            if len(tools) > TOOLS:
                raise UpstreamUnavailable(f"the upstream offers more than {TOOLS} tools")
            if cursor is None:
                break
        else:
            raise UpstreamUnavailable(f"the upstream's list of tools has more than {PAGES} pages")
        if len({tool["name"] for tool in tools}) < len(tools):
            raise UpstreamUnavailable("the upstream offers two tools of one name")
        return self._callable(text, tools)

    def _callable(self, text: bytes, tools: Tools) -> Listed:
        """Return the tools that a client may offer: of a stateless server, none that asks for impossible headers."""
        if self._session is None or self._session.era.has_sessions:
            return text, tools, {}
        text = self._session.version.encode() + text
        if text == self._listing.text:
            return text, self._listing.tools, self._listing.marks
        marks = {}
        for tool in tools:
            try:
                marks[tool["name"]] = marks_of(tool.get("inputSchema"))
            except BadMark as error:
                log.warning("tool not offered", tool=tool["name"], reason=str(error))
        return text, [tool for tool in tools if tool["name"] in marks], marks

    async def _answer(self, method: str, params: Mapping[str, Any], credential: Secret | None) -> Mapping[str, Any]:
        """Return the result of a request that is no call. Raises UpstreamUnavailable for an error too."""
        async with aclosing(self._ask(next(self._ids), method, params, credential)) as answer:
            async for message in answer:
                if "result" in message:
                    result: Mapping[str, Any] = message["result"]
                    if result.get("resultType", "complete") != "complete":
                        raise UpstreamUnavailable(f"the upstream's answer to {method} is not complete")
                    return result
        raise UpstreamUnavailable(f"the upstream answered {method} with an error")

    async def _ask(
        self, id: mcp.Id, method: str, params: Mapping[str, Any], credential: Secret | None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield what answers one request, in our session; what is no call is asked again in a new one."""
        for _ in range(1 if method == "tools/call" else 2):
            session = await self._connected(credential)
            try:
                async with aclosing(self._exchange(id, method, params, session, credential)) as answer:
                    async for message in answer:
                        yield message
                return
            except _SessionLost:
                if self._session is session:
                    self._session, self._known.version = None, ""
        raise UpstreamUnavailable("the upstream lost the session: call again")

    # --- how the server speaks -------------------------------------------------------------------

    async def _connected(self, credential: Secret | None) -> _Session:
        if self._session is not None:
            return self._session
        async with self._deadline(), self._connecting:
            if self._session is None:
                self._session = await self._connect(credential)
            return self._session

    async def _connect(self, credential: Secret | None) -> _Session:
        if not self._known.version:
            self._known.version = await self._discovered(credential)
        if self._known.version in STATELESS.versions:
            return _Session(STATELESS, self._known.version)
        try:
            session = await self._opened(credential)
        except UpstreamUnavailable:
            self._known.version = ""  # another may speak otherwise: it is asked anew
            raise
        self._known.version = session.version
        return session

    async def _discovered(self, credential: Secret | None) -> str:
        """Return the stateless version that the server speaks, or "": it is greeted. Raises UpstreamUnavailable."""
        session, method = _Session(STATELESS, STATELESS.versions[0]), "server/discover"
        body, headers = _request(session, next(self._ids), method, {})
        patience = Patience(self._idle)
        async with posted(self._origin, body, headers, credential, patience) as answer:
            with suppress(Unreadable):  # as old servers answer what they do not understand
                async with aclosing(messages(answer, patience)) as told:
                    async for message in told:
                        if isinstance(message, mcp.Response):
                            return _spoken(message)
        return ""

    async def _opened(self, credential: Secret | None) -> _Session:
        params = {"protocolVersion": SESSIONS.versions[0], "capabilities": {}, "clientInfo": CLIENT}
        opening, heads = next(self._ids), dict[str, str]()
        result: Mapping[str, Any] = {}
        try:
            async with aclosing(self._exchange(opening, "initialize", params, None, credential, heads)) as answer:
                async for message in answer:
                    result = message.get("result", {})
        except _SessionLost:
            raise UpstreamUnavailable("the upstream answered 404") from None
        version, id = result.get("protocolVersion"), heads.get("mcp-session-id")
        if version not in SESSIONS.versions:
            raise UpstreamUnavailable("the upstream speaks no revision of MCP that we know")
        if id is not None and not _SESSION_ID.fullmatch(id):
            raise UpstreamUnavailable("the upstream's session id is malformed")
        session = _Session(SESSIONS, version, id, credential)
        await self._tell(mcp.notification("notifications/initialized", {}), session, credential)
        return session

    # --- one exchange ----------------------------------------------------------------------------

    async def _exchange(
        self,
        id: mcp.Id,
        method: str,
        params: Mapping[str, Any],
        session: _Session | None,
        credential: Secret | None,
        heads: dict[str, str] | None = None,  # takes the head of the answer
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the messages that answer one request. Raises UpstreamUnavailable, _SessionLost."""
        body, headers = _request(session, id, method, params, self._mirrored(session, method, params))
        patience = Patience(self._idle)
        done = asked = status = 0
        try:
            async with posted(self._origin, body, headers, credential, patience) as answer:
                status = answer.status
                if (refused := _refused(answer, session)) is not None:
                    done = 1
                    raise refused
                if heads is not None:
                    heads.update(answer.headers)
                async with aclosing(messages(answer, patience)) as told:
                    async for message in told:
                        match message:
                            case mcp.Response():
                                done = 1
                                yield _response(message, id, session, answer.status)
                                return
                            case mcp.Notification():
                                yield mcp.notification(message.method, message.params)
                            case mcp.Request():
                                if session is not None and not session.era.has_sessions:
                                    raise UpstreamUnavailable("the upstream asks where it may not")  # transports 3
                                if (asked := asked + 1) > ASKED:
                                    raise UpstreamUnavailable(f"the upstream asks more than {ASKED} times")
                                self._say(self._tell(_refusal(message), session, credential))
            raise UpstreamUnavailable("the answer ended without a response")
        except Unreadable:
            if status == 200:
                raise
            raise _SessionLost from None  # an error that is no message
        finally:
            # Given up, by us or by who asked: until 2025-11-25 closing alone is no cancellation.
            if not done and session is not None and session.era.has_sessions:
                over = mcp.notification("notifications/cancelled", {"requestId": id})
                self._say(self._tell(over, session, credential))

    def _mirrored(self, session: _Session | None, method: str, params: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the headers that mirror a call's arguments, as the definition has it that was looked at last."""
        if method != "tools/call" or session is None or session.era.has_sessions:
            return {}
        try:
            return mirrored(self._listing.marks.get(params["name"], ()), params["arguments"])
        except mcp.MalformedMessage as error:
            raise UpstreamUnavailable(f"the call cannot be made: {error}") from None

    async def _tell(self, message: Mapping[str, Any], session: _Session | None, credential: Secret | None) -> None:
        """Send a message that has no answer. Raises UpstreamUnavailable."""
        headers = sent_headers(session.headers() if session else {}, credential)
        async with self._deadline(), self._origin.request("POST", headers, mcp.encode(message)) as answer:
            if answer.status not in (200, 202, 204):
                raise UpstreamUnavailable(f"the upstream answered {answer.status}")

    async def _delete(self, session: _Session) -> None:
        async with self._origin.request("DELETE", sent_headers(session.headers(), session.credential)):
            pass  # 405: it does not let clients end sessions

    def _say(self, courtesy: Coroutine[Any, Any, None]) -> None:
        """Do something in the background that may fail and may not take long."""

        async def saying() -> None:
            with suppress(UpstreamUnavailable, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await courtesy

        task = asyncio.create_task(saying())
        self._said.add(task)
        task.add_done_callback(self._said.discard)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._idle):
                yield
        except TimeoutError:
            raise silent(self._idle) from None


def _request(
    session: _Session | None, id: mcp.Id, method: str, params: Mapping[str, Any], more: Mapping[str, str] = {}
) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request, and the headers that belong to it."""
    if session is None:
        return mcp.encode(mcp.request(id, method, params)), {}
    headers = session.headers()
    if not session.era.has_sessions:
        meta = {**params.get("_meta", {}), **mcp_era.request_meta(session.era, CLIENT)}
        params, headers = {**params, "_meta": meta}, {**headers, **mcp_era.mirrored(method, params), **more}
    return mcp.encode(mcp.request(id, method, params)), headers


def _spoken(message: mcp.Response) -> str:
    """Return the stateless version out of the answer to `server/discover`; "" of a server that needs a greeting.

    Raises UpstreamUnavailable for one that speaks neither, or found our request wrong.
    """
    if message.result is not None:
        supported = message.result.get("supportedVersions")
    elif message.code in (mcp.HEADER_MISMATCH, mcp.MISSING_CAPABILITY):
        raise UpstreamUnavailable(f"the upstream refused to say how it speaks: {message.code}")
    else:
        is_version = message.code == mcp.UNSUPPORTED_VERSION and isinstance(message.data, dict)
        supported = message.data.get("supported") if is_version else None
    if not isinstance(supported, list):
        return ""
    mutual = [version for version in mcp_era.VERSIONS if version in supported]
    if not mutual:
        raise UpstreamUnavailable("the upstream speaks no revision of MCP that we know")
    return mutual[0] if mutual[0] in STATELESS.versions else ""


def _refused(answer: Answer, session: _Session | None) -> Exception | None:
    """Return what the status of an answer is a refusal of; None where messages follow."""
    if answer.status == 200:
        return None
    if session is not None and session.id is not None and answer.status == 404:
        return _SessionLost()
    if session is not None and not session.era.has_sessions and answer.status in (400, 404, 405):
        return None if answer.status != 405 else _SessionLost()  # an error has such a status of its own
    return UpstreamUnavailable(f"the upstream answered {answer.status}")


def _response(message: mcp.Response, id: mcp.Id, session: _Session | None, status: int) -> Mapping[str, Any]:
    if message.result is None and message.code == mcp.UNSUPPORTED_VERSION and status != 200:
        raise _SessionLost  # it was another server's word that it speaks so, or this one's before a restart
    found_early = status != 200 and message.id is None and message.result is None
    if not found_early and (type(message.id), message.id) != (type(id), id):
        raise UpstreamUnavailable("the upstream answered another request than the one it was sent")
    if message.result is None:
        return mcp.error(id, message.code, message.message)
    structured = message.result.get("structuredContent", {})
    if (session is None or session.era.has_sessions) and not isinstance(structured, dict | None):
        raise UpstreamUnavailable("structuredContent is no object")  # until 2025-11-25 it is nothing else
    return mcp.result(id, message.result)


def _refusal(message: mcp.Request) -> Mapping[str, Any]:
    if message.method == "ping":
        return mcp.result(message.id, {})
    return mcp.error(message.id, mcp.METHOD_NOT_FOUND, "this client offers nothing to servers")
