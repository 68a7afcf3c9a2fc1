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
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import structlog

from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.formats import mcp, mcp_era
from taskbound.formats.mcp_era import SESSIONS, STATELESS
from taskbound.formats.mcp_headers import BadMark, marks_of, mirrored
from taskbound.plugins.upstreams.mcp_http.exchange import CLIENT, Exchange, Session, SessionLost, Told, request_of
from taskbound.plugins.upstreams.mcp_http.known import Known, Listed, Listing, Tools
from taskbound.plugins.upstreams.mcp_http.wire import Patience, Texts, Unreadable, read, sent_headers
from taskbound.ports import Origin

IDLE = 30.0  # seconds without a message, after which a call is given up (T4.8)
CLOSE_SECONDS = 2.0  # for what is said to a server as a courtesy: that a call or a session is over
NOTICES = 16  # courtesies to one server at once: what answers none of them would hold every connection to it
LIST_LIMIT = 4 << 20  # bytes of all pages of a list; as Python values up to ten times as much
PAGES, TOOLS = 32, 1_000  # of one list; the largest servers known offer about 200 tools

_SESSION_ID = re.compile(r"[\x21-\x7e]{1,256}")  # transports, session management 1; the length is ours
_CLOSED = "the session with the upstream was closed"

log = structlog.get_logger()


class McpHttpUpstream:
    """One session with one MCP server at a configured address."""

    def __init__(self, origin: Origin, known: Known | None = None, *, idle: float = IDLE) -> None:
        """`known` is shared by the sessions with the server; without one, this one begins knowing nothing."""
        self._origin = origin
        self._known = known or Known()
        self._idle = idle
        self._ids = self._known.ids
        self._session: Session | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False
        self._own = Listing()  # what is offered to our credential: another's may be offered other tools
        self._looked = Listed()  # the list that was returned last, by which calls are made
        self._said: set[asyncio.Task[None]] = set()  # courtesies under way

    # --- the port --------------------------------------------------------------------------------

    async def tools(self, credential: Secret | None = None) -> Tools:
        """Return the definitions of all tools that are offered now: the same list while nothing has changed."""
        listing = self._known.listing if credential is None else self._own
        self._looked = await Patience(self._idle).wait(listing.now(lambda: self._list(listing, credential)))
        return self._looked.tools

    async def call(
        self, tool: str, arguments: Mapping[str, Any], credential: Secret | None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the progress of one call under the server's own token, and last the response."""
        id = next(self._ids)
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}
        session = await self._connected(credential)
        patience, more = Patience(self._idle), self._mirrored(session, tool, arguments)
        request = id, "tools/call", params
        try:
            async with Exchange(self._origin, session, request, credential, self._say, patience, more) as exchange:
                while (message := await exchange.next()) is not None:
                    yield message
                    if "id" in message:
                        return
        except SessionLost as error:  # a call is not made again
            self._lose(session)
            raise UpstreamUnavailable(f"{error}: call again") from None

    async def close(self) -> None:
        """End the session; one that is being opened ends as soon as the server has named it."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            self._end(session)
        while self._said:
            await asyncio.wait(self._said)

    # --- requests --------------------------------------------------------------------------------

    async def _list(self, listing: Listing, credential: Secret | None) -> Listed:
        tools: Tools = []
        text = b""
        cursor: str | None = None
        for number in range(PAGES):
            known = None if number else listing.newest.told
            params = {"cursor": cursor} if cursor else {}
            response, exchange = await self._answer("tools/list", params, credential, known)
            if response is None:
                return listing.newest
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
        return _callable(listing.newest, exchange.session, text, tools, None if number else exchange.told())

    async def _answer(
        self, method: str, params: Mapping[str, Any], credential: Secret | None, known: Told | None
    ) -> tuple[Mapping[str, Any] | None, Exchange]:
        """Return the result of a request that is no call, None where it is what is known, and how it came.

        It is asked again in a new session where the server lost ours. Raises UpstreamUnavailable, for an error too.
        """
        for _ in range(2):
            session = await self._connected(credential)
            request = next(self._ids), method, params
            try:
                async with Exchange(self._origin, session, request, credential, self._say) as exchange:
                    while (message := await exchange.next(known)) is not None:
                        if "id" in message:
                            return _result(method, message), exchange
                    return None, exchange
            except SessionLost as error:
                self._lose(session)
                lost = str(error)
        raise UpstreamUnavailable(f"{lost}: call again")

    # --- how the server speaks -------------------------------------------------------------------

    async def _connected(self, credential: Secret | None) -> Session:
        if self._session is not None:
            return self._session
        return await Patience(self._idle).wait(self._joined(credential))

    async def _joined(self, credential: Secret | None) -> Session:
        async with self._connecting:
            if self._session is None:
                session = await self._connect(credential)
                if self._is_closed:  # meanwhile: nobody else would end it
                    self._end(session)
                    raise UpstreamUnavailable(_CLOSED)
                self._session = session
            return self._session

    def _lose(self, session: Session) -> None:
        if self._session is session:
            self._session, self._known.version = None, ""

    async def _connect(self, credential: Secret | None) -> Session:
        if self._is_closed:
            raise UpstreamUnavailable(_CLOSED)
        if not self._known.version:
            self._known.version = await self._discovered(credential)
        if self._known.version in STATELESS.versions:
            return Session(STATELESS, self._known.version)
        try:
            session = await self._opened(credential)
        except UpstreamUnavailable:
            self._known.version = ""  # another may speak otherwise: it is asked anew
            raise
        self._known.version = session.version
        return session

    async def _discovered(self, credential: Secret | None) -> str:
        """Return the stateless version that the server speaks, or "": it is greeted. Raises UpstreamUnavailable."""
        session = Session(STATELESS, STATELESS.versions[0])
        body, headers = request_of(session, next(self._ids), "server/discover", {})
        async with self._origin.request("POST", sent_headers(headers, credential), body) as answer:
            with suppress(Unreadable):  # as old servers answer what they do not understand
                texts = Texts(answer)
                while (text := await texts.next()) is not None:
                    if isinstance(message := await read(text), mcp.Response):
                        return _spoken(message)
        return ""

    async def _opened(self, credential: Secret | None) -> Session:
        params = {"protocolVersion": SESSIONS.versions[0], "capabilities": {}, "clientInfo": CLIENT}
        result: Mapping[str, Any] = {}
        request = next(self._ids), "initialize", params
        try:
            async with Exchange(self._origin, None, request, credential, self._say) as exchange:
                while (message := await exchange.next()) is not None and "id" not in message:
                    pass
                result = (message or {}).get("result", {})
                id = exchange.answer.headers.get("mcp-session-id") if exchange.answer is not None else None
        except SessionLost:
            raise UpstreamUnavailable("the upstream answered 404") from None
        version = result.get("protocolVersion")
        if version not in SESSIONS.versions:
            raise UpstreamUnavailable("the upstream speaks no revision of MCP that we know")
        if id is not None and not _SESSION_ID.fullmatch(id):
            raise UpstreamUnavailable("the upstream's session id is malformed")
        session = Session(SESSIONS, version, id, credential)
        try:
            await self._tell(mcp.notification("notifications/initialized", {}), session, credential)
        except BaseException:  # cancelled too: nobody else knows of it
            self._end(session)
            raise
        return session

    # --- what has no answer ----------------------------------------------------------------------

    async def _tell(self, message: Mapping[str, Any], session: Session | None, credential: Secret | None) -> None:
        """Send a message that has no answer. Raises UpstreamUnavailable."""
        headers = sent_headers(session.headers if session else {}, credential)
        async with self._origin.request("POST", headers, mcp.encode(message)) as answer:
            if answer.status not in (200, 202, 204):
                raise UpstreamUnavailable(f"the upstream answered {answer.status}")

    def _end(self, session: Session) -> None:
        """Tell the server in the background that a session is over; never dropped, since it keeps memory there."""
        if session.id is not None:
            self._spawn(self._delete(session))

    async def _delete(self, session: Session) -> None:
        async with self._origin.request("DELETE", sent_headers(session.headers, session.credential)):
            pass  # 405: it does not let clients end sessions

    def _say(self, message: Mapping[str, Any], session: Session | None, credential: Secret | None) -> None:
        """Send a message that has no answer in the background; dropped while NOTICES are under way to the server."""
        if len(self._known.notices) < NOTICES:
            notice = self._spawn(self._tell(message, session, credential))
            self._known.notices.add(notice)
            notice.add_done_callback(self._known.notices.discard)

    def _spawn(self, courtesy: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something in the background that may fail and may not take long."""

        async def saying() -> None:
            with suppress(UpstreamUnavailable, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await courtesy

        task = asyncio.create_task(saying())
        self._said.add(task)
        task.add_done_callback(self._said.discard)
        return task

    def _mirrored(self, session: Session, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the headers that mirror a call's arguments, by the definition that this session looked at last."""
        if session.era.has_sessions:
            return {}
        try:
            return mirrored(self._looked.marks.get(tool, ()), arguments)
        except mcp.MalformedMessage as error:
            raise UpstreamUnavailable(f"the call cannot be made: {error}") from None


def _callable(newest: Listed, session: Session | None, text: bytes, tools: Tools, told: Told | None) -> Listed:
    """Return the tools that a client may offer: of a stateless server, none that asks for impossible headers."""
    if session is None or session.era.has_sessions:
        return Listed(text, tools, {}, told)
    text = session.version.encode() + text
    if text == newest.text:
        return Listed(text, newest.tools, newest.marks, told)
    marks = {}
    for tool in tools:
        try:
            marks[tool["name"]] = marks_of(tool.get("inputSchema"))
        except BadMark as error:
            log.warning("tool not offered", tool=tool["name"], reason=str(error))
    return Listed(text, [tool for tool in tools if tool["name"] in marks], marks, told)


def _result(method: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result that a response to what is no call has. Raises UpstreamUnavailable."""
    if "result" not in message:
        raise UpstreamUnavailable(f"the upstream answered {method} with an error")
    result: Mapping[str, Any] = message["result"]
    if result.get("resultType", "complete") != "complete":
        raise UpstreamUnavailable(f"the upstream's answer to {method} is not complete")
    return result


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
