"""An MCP server over Streamable HTTP, port `Upstream` (MCP 2025-11-25, transports).

One instance is one session of ours with the server. It is opened by `initialize` at first use, and
again when the server no longer knows it (404). A list of tools that met that is asked for once more;
a call never is: the definition it was decided on was looked at in the session that is gone. Every
wait ends: a request that brings no message for `idle` seconds is given up, however many single bytes
come (T4.8). What the server asks of us (sampling, elicitation, roots) is answered by "method not
found" and passed on to nobody.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.formats import mcp
from taskbound.formats.canonical import Malformed, parse
from taskbound.ports import Answer, Origin

IDLE = 30.0  # seconds without a message, after which a call is given up (T4.8)
FRESH = 1.0  # seconds for which a list of tools is taken for what the server offers now
CLOSE_SECONDS = 2.0  # for what is said to a server as a courtesy: that a call or a session is over
LIST_LIMIT = 4 << 20  # bytes of all pages of a list; as Python values up to ten times as much
PAGES, TOOLS = 32, 1_000  # of one list; the largest servers known offer about 200 tools
MESSAGES = 10_000  # of one answer: progress each 10 ms for 100 s
ASKED = 16  # requests of the server within one answer, each of which costs us one
APART = 256 << 10  # bytes from which a text is parsed in a thread, so that other calls go on

_SESSION_ID = re.compile(r"[\x21-\x7e]{1,256}")  # transports, session management 1; the length is ours


class _SessionLost(Exception):
    """The server does not know our session any more."""


@dataclass(frozen=True, slots=True)
class _Session:
    id: str | None  # None: the server keeps none
    version: str
    credential: Secret | None = None  # it was opened with, and is ended with


class McpHttpUpstream:
    """One session with one MCP server at a configured address."""

    def __init__(self, origin: Origin, *, idle: float = IDLE, fresh: float = FRESH) -> None:
        self._origin = origin
        self._idle = idle
        self._fresh = fresh
        self._ids = itertools.count(1)
        self._session: _Session | None = None
        self._connecting = asyncio.Lock()
        self._listing = asyncio.Lock()
        self._tools: list[Mapping[str, Any]] | None = None
        self._listed = 0.0  # when the list was asked for
        self._said: set[asyncio.Task[None]] = set()  # courtesies under way

    # --- the port --------------------------------------------------------------------------------

    async def tools(self, credential: Secret | None = None) -> list[Mapping[str, Any]]:
        """Return the definitions of all tools; the same list while it is fresh and not said to have changed."""
        loop = asyncio.get_running_loop()
        async with self._deadline(), self._listing:
            if self._tools is None or loop.time() - self._listed >= self._fresh:
                self._listed, self._tools = loop.time(), None
                self._tools = await self._list(credential)
            return self._tools

    async def call(
        self, tool: str, arguments: Mapping[str, Any], credential: Secret | None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the progress of one call under the server's own token, and last the response."""
        id = next(self._ids)
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}
        async with aclosing(self._ask(id, "tools/call", params, credential)) as messages:
            async for message in messages:
                yield message

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.id is not None:
            self._say(self._delete(session))
        while self._said:
            await asyncio.wait(self._said)

    # --- requests --------------------------------------------------------------------------------

    async def _list(self, credential: Secret | None) -> list[Mapping[str, Any]]:
        tools: list[Mapping[str, Any]] = []
        size = 0
        cursor: str | None = None
        for _ in range(PAGES):
            response = await self._answer("tools/list", {"cursor": cursor} if cursor else {}, credential)
            try:
                page, cursor = mcp.read_tools(response)
            except mcp.MalformedMessage as error:
                raise UpstreamUnavailable(f"the upstream's list of tools is malformed: {error}") from None
            size += len(mcp.encode({"tools": page}))
            if size > LIST_LIMIT:
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
        return tools

    async def _answer(self, method: str, params: Mapping[str, Any], credential: Secret | None) -> Mapping[str, Any]:
        """Return the result of a request that is no call. Raises UpstreamUnavailable for an error too."""
        async with aclosing(self._ask(next(self._ids), method, params, credential)) as messages:
            async for message in messages:
                if "result" in message:
                    result: Mapping[str, Any] = message["result"]
                    return result
        raise UpstreamUnavailable(f"the upstream answered {method} with an error")

    async def _ask(
        self, id: mcp.Id, method: str, params: Mapping[str, Any], credential: Secret | None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield what answers one request, in our session; what is no call is asked again in a new one."""
        for _ in range(1 if method == "tools/call" else 2):
            session = await self._connected(credential)
            try:
                async with aclosing(self._exchange(id, method, params, session, credential)) as messages:
                    async for message in messages:
                        yield message
                return
            except _SessionLost:
                if self._session is session:
                    self._session, self._tools = None, None
        raise UpstreamUnavailable("the upstream lost the session: call again")

    async def _connected(self, credential: Secret | None) -> _Session:
        async with self._deadline(), self._connecting:
            if self._session is None:
                self._session = await self._connect(credential)
            return self._session

    async def _connect(self, credential: Secret | None) -> _Session:
        params = {
            "protocolVersion": mcp.VERSIONS[0],
            "capabilities": {},
            "clientInfo": {"name": "taskbound", "version": "1"},
        }
        opening, heads = next(self._ids), dict[str, str]()
        result: Mapping[str, Any] = {}
        try:
            async with aclosing(self._exchange(opening, "initialize", params, None, credential, heads)) as messages:
                async for message in messages:
                    result = message.get("result", {})
        except _SessionLost:
            raise UpstreamUnavailable("the upstream answered 404") from None
        version, id = result.get("protocolVersion"), heads.get("mcp-session-id")
        if version not in mcp.VERSIONS:
            raise UpstreamUnavailable("the upstream speaks no revision of MCP that we know")
        if id is not None and not _SESSION_ID.fullmatch(id):
            raise UpstreamUnavailable("the upstream's session id is malformed")
        session = _Session(id, version, credential)
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
        body = mcp.encode(mcp.request(id, method, params))
        patience = _Patience(self._idle)
        done = False
        try:
            async with self._posted(body, session, credential, patience) as answer:
                if answer.status == 404 and session is not None and session.id is not None:
                    done = True
                    raise _SessionLost
                if answer.status != 200:
                    done = True
                    raise UpstreamUnavailable(f"the upstream answered {answer.status}")
                if heads is not None:
                    heads.update(answer.headers)
                async with aclosing(_texts(answer, patience)) as texts:
                    asked = count = 0
                    async for text in texts:
                        message = await _read(text)
                        patience.renew()
                        if (count := count + 1) > MESSAGES:
                            raise UpstreamUnavailable(f"the answer has more than {MESSAGES} messages")
                        match message:
                            case mcp.Response():
                                done = True
                                yield _response(message, id)
                                return
                            case mcp.Notification():
                                if message.method == "notifications/tools/list_changed":
                                    self._listed = float("-inf")
                                yield mcp.notification(message.method, message.params)
                            case mcp.Request():
                                if (asked := asked + 1) > ASKED:
                                    raise UpstreamUnavailable(f"the upstream asks more than {ASKED} times")
                                self._say(self._tell(_refusal(message), session, credential))
            raise UpstreamUnavailable("the answer ended without a response")
        finally:
            if not done and session is not None:  # given up, by us or by who asked (cancellation: not by closing alone)
                over = mcp.notification("notifications/cancelled", {"requestId": id})
                self._say(self._tell(over, session, credential))

    @asynccontextmanager
    async def _posted(
        self, body: bytes, session: _Session | None, credential: Secret | None, patience: "_Patience"
    ) -> AsyncIterator[Answer]:
        sending = self._origin.request("POST", _headers(session, credential), body)
        answer = await patience.wait(sending.__aenter__())
        try:
            yield answer
        finally:
            await sending.__aexit__(None, None, None)

    async def _tell(self, message: Mapping[str, Any], session: _Session | None, credential: Secret | None) -> None:
        """Send a message that has no answer. Raises UpstreamUnavailable."""
        headers = _headers(session, credential)
        async with self._deadline(), self._origin.request("POST", headers, mcp.encode(message)) as answer:
            if answer.status not in (200, 202, 204):
                raise UpstreamUnavailable(f"the upstream answered {answer.status}")

    async def _delete(self, session: _Session) -> None:
        async with self._origin.request("DELETE", _headers(session, session.credential)):
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
            raise _silent(self._idle) from None


class _Patience:
    """How long the next message is waited for. Bytes that complete none do not renew it."""

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
            raise _silent(self._idle) from None


def _silent(idle: float) -> UpstreamUnavailable:
    return UpstreamUnavailable(f"the upstream brought no answer within {idle:g} s")


def _headers(session: _Session | None, credential: Secret | None) -> dict[str, str]:
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    if session is not None:
        headers["mcp-protocol-version"] = session.version
        if session.id is not None:
            headers["mcp-session-id"] = session.id
    if credential is not None:
        headers["authorization"] = f"Bearer {credential.reveal()}"
    return headers


async def _texts(answer: Answer, patience: _Patience) -> AsyncGenerator[bytes, None]:
    """Yield the text of each message of an answer, as soon as it is complete."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/event-stream"):
        raise UpstreamUnavailable("the answer is neither JSON nor an event stream")
    whole, reader = bytearray(), mcp.EventReader()
    async with aclosing(answer.body()) as body:
        while (data := await patience.wait(anext(body, None))) is not None:
            if kind == "application/json":
                whole += data
                if len(whole) > mcp.MESSAGE_LIMIT:
                    raise UpstreamUnavailable(f"a message has more than {mcp.MESSAGE_LIMIT} bytes")
                continue
            try:
                for event in reader.feed(data):
                    yield event
            except mcp.TooLarge as error:
                raise UpstreamUnavailable(str(error)) from None
    if kind == "application/json":
        yield bytes(whole)


async def _read(text: bytes) -> mcp.Request | mcp.Notification | mcp.Response:
    try:
        value = await asyncio.to_thread(_parse, text) if len(text) > APART else _parse(text)
        return mcp.read_message(value)
    except (Malformed, mcp.MalformedMessage) as error:
        raise UpstreamUnavailable(f"a message of the upstream is malformed: {error}") from None


def _parse(text: bytes) -> Any:
    return parse(text, limit=mcp.MESSAGE_LIMIT)


def _response(message: mcp.Response, id: mcp.Id) -> Mapping[str, Any]:
    if (type(message.id), message.id) != (type(id), id):
        raise UpstreamUnavailable("the upstream answered another request than the one it was sent")
    return mcp.error(id, message.code, message.message) if message.result is None else mcp.result(id, message.result)


def _refusal(message: mcp.Request) -> Mapping[str, Any]:
    if message.method == "ping":
        return mcp.result(message.id, {})
    return mcp.error(message.id, mcp.METHOD_NOT_FOUND, "this client offers nothing to servers")
