"""Gateway: the MCP enforcement point: every tools/call of a task, to every upstream (INTERFACES 6).

`/mcp/<upstream>` is one upstream with its own names, `/mcp` are all, with names `<upstream>.<tool>`.
Who asks is the task whose handle is shown, and nothing else: no session and no header says so (D15),
none of the client's headers goes on, and the request that does is built anew from typed fields
(D16). The list of tools is what the task's grants could ever use, from the pinned definitions (D29);
what may be called now is decided at the call, on the definition that the upstream offers now.

Speaks both eras (formats/mcp_era.py), each message in its own: behind `initialize` there are sessions;
a request of 2026-07-28 carries its own metadata, and headers that must say what its body says.
W3C trace context is not passed on: to who holds the arguments to account it is a way around them.
"""

import asyncio
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskbound.core.errors import InvalidRequest, NotFound, TaskboundError, TaskEnded, Unauthenticated
from taskbound.core.identity import Claim, Identity, for_request
from taskbound.edge.claims import JOINS, Holders, Rule, claim_of, kind_of, note_refused, proven
from taskbound.edge.enforce import Outcomes
from taskbound.edge.gateway.answer import Answer, Unread, Writing
from taskbound.edge.gateway.asked import Asked, header, mcp_headers_of, problem, server, stopped
from taskbound.edge.gateway.calls import Calls
from taskbound.edge.gateway.credentials import Credentials
from taskbound.edge.gateway.offers import Offers, may_act
from taskbound.edge.gateway.running import PROMPT_SECONDS, RunningCalls, TooMany
from taskbound.edge.gateway.sessions import ClientSessions, UpstreamSessions
from taskbound.edge.http import MethodNotAllowed, ended_response, error_response
from taskbound.edge.request import read_body
from taskbound.formats import mcp, mcp_era
from taskbound.formats.mcp_era import SESSIONS, STATELESS
from taskbound.ports import World
from taskbound.prove import chain_of, prove

LAST_WORD_SECONDS = 1.0  # for telling a client why its call was stopped

SESSION = "mcp-session-id"
CAPABILITIES = {"tools": {"listChanged": False}}
LIST_SECONDS = 60.0  # for which a client may keep a list: what is in it is decided on at each call
DISCOVERY_SECONDS = 3600.0

log = structlog.get_logger()


def application(
    world: World,
    door: Identity,
    holders: Holders,
    *,
    credentials: Mapping[str, str] = {},  # upstream -> the lease it is called with, "<target>/<grant>"
    may_add: bool = False,
) -> "Gateway":
    """Return what is mounted at /mcp; `may_add`: a tool seen for the first time is added to the catalogue."""
    return Gateway(world, door, holders, credentials, may_add)


class Gateway:
    """The sessions and the running calls of one listener."""

    def __init__(
        self, world: World, door: Identity, holders: Holders, credentials: Mapping[str, str], may_add: bool
    ) -> None:
        self._world, self._door, self._holders = world, door, holders
        self._clients = ClientSessions(world.instance, world.new_id)
        self._upstreams = UpstreamSessions(world.upstreams, _monotonic)
        self._running = RunningCalls(world, door, self._upstreams)
        self._writing = Writing()
        self.outcomes = Outcomes(world)
        self._offers = Offers(world, self._upstreams, Credentials(world, credentials), may_add)
        self._methods = {
            "initialize": self._initialize,
            "ping": self._ping,
            "server/discover": self._discover,
            "tools/list": self._list_tools,
            "tools/call": Calls(world, self._upstreams, self._offers, self.outcomes).call,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send, id: str, segments: tuple[str, ...]) -> None:
        """Serve one request, of that id and to that path (`edge.http.Mounted`)."""
        answer = Answer(scope, receive, send, self._writing)
        try:
            await self._serve(scope, receive, answer, for_request(self._door, id), segments)
        except TaskEnded as error:
            await self._respond(answer, ended_response(error, scope, id))
        except TaskboundError as error:
            await note_refused(scope, self._world, for_request(self._door, id), error)
            response = error_response(error, id)
            if isinstance(error, MethodNotAllowed):
                response.headers["allow"] = "POST" if _is_stateless(scope) else "POST, DELETE"
            await self._respond(answer, response)
        except Unread as error:
            log.warning("answer dropped", request=id, error=str(error))
        except Exception as error:
            # The trace as text, as in `edge.http`: a renderer that shows local variables would show the handle (S6).
            log.error("request failed", request=id, trace="".join(traceback.format_exception(error)))
            hidden = TaskboundError("internal error", hint="see the server's log")
            await self._respond(answer, error_response(hidden, id))

    async def _respond(self, answer: Answer, response: Response) -> None:
        if not answer.begun:  # else what was begun just breaks off
            await answer.respond(response)

    async def close_task(self, task: str) -> None:
        """Stop the running calls of a task that ended, and close its sessions; the watch does so by itself in time."""
        self._running.stop_task(task, "task_ended")

    async def close(self) -> None:
        """Stop everything that runs, close every session, and record what is not recorded yet."""
        await self._running.close()
        await self.outcomes.drained()

    # --- who asks, and what ------------------------------------------------------------------------

    async def _serve(
        self, scope: Scope, receive: Receive, answer: Answer, door: Identity, segments: tuple[str, ...]
    ) -> None:
        claim = await claim_of(scope, self._world, self._holders)
        if claim is not None and kind_of(claim)[0] is Rule.JOIN:  # it is not used up
            raise Unauthenticated("a join token names no task", hint=JOINS)
        if claim is None or not claim.names_task:
            response = error_response(
                Unauthenticated("no task is named", hint="show a task's handle: Authorization: Bearer tbh_…"),
                str(door.facts["request"]),
            )
            response.headers["www-authenticate"] = "Bearer"  # RFC 6750 3.1: no code where nothing was shown
            return await answer.respond(response)
        asker = await proven(self._world, door, claim)
        asked = await self._asked(door, asker)
        asked.upstream = self._upstream_of(segments, asked)
        if scope["method"] != "POST":
            asked.require_live()
        if scope["method"] == "DELETE" and not _is_stateless(scope):
            self._find_session(header(scope, SESSION), asked)
            if asked.session is None:
                raise InvalidRequest("the request names no session", hint="send Mcp-Session-Id")
            self._clients.end(asked.session)
            return await answer.respond(Response(status_code=204))
        if scope["method"] != "POST":
            raise MethodNotAllowed("the address offers no stream of its own, and takes no such request")
        return await self._take(scope, receive, answer, asked)

    def _find_session(self, id: str | None, asked: Asked) -> None:
        if id is not None:
            asked.session = self._clients.find(id, asked.task, asked.upstream)

    async def _asked(self, door: Identity, claim: Claim | Identity) -> Asked:
        """Return who asks, and the tasks that it acts in. Each decision reads them again."""
        async with self._world.store.transaction(door) as tx:
            caller = await prove(tx, claim)
            return Asked(door, caller, await chain_of(tx, caller.task), tx.now)

    def _upstream_of(self, segments: tuple[str, ...], asked: Asked) -> str | None:
        match segments:
            case ("mcp",):
                return None
            case ("mcp", name) if name in self._world.upstreams:
                return name
        asked.require_live()  # before it is told which there are
        raise NotFound("there is no such upstream", hint=f"known: {', '.join(sorted(self._world.upstreams))}")

    async def _take(self, scope: Scope, receive: Receive, answer: Answer, asked: Asked) -> None:
        try:
            message = mcp.read_message(await self._body(scope, receive, asked))
            headers = mcp_headers_of(scope, None if isinstance(message, mcp.Notification) else message.id)
            asked.era = mcp_era.era_of(message, headers.get(mcp_era.VERSION_HEADER))
            answer.statuses = asked.era.statuses
            if asked.era.has_sessions:
                self._find_session(headers.get(SESSION), asked)
            elif isinstance(message, mcp.Request):
                asked.headers = headers
                mcp_era.check_request(message, headers)
            elif isinstance(message, mcp.Response):
                raise mcp.MalformedMessage(mcp.INVALID_REQUEST, "nothing was asked that this answers")
        except InvalidRequest as error:
            if error.status != 400:
                raise
            return await answer.finish(problem(None, mcp.PARSE_ERROR, str(error)), 400)
        except mcp.MalformedMessage as error:
            return await answer.finish(problem(error.id, error.code, str(error), error.data), 400)
        if not (isinstance(message, mcp.Request) and message.method == "tools/call"):
            asked.require_live()
        if isinstance(message, mcp.Notification):
            self._noted(message, asked)
        if not isinstance(message, mcp.Request):  # we ask clients nothing, so what answers is ignored
            return await answer.respond(Response(status_code=202))
        method = self._methods.get(message.method)
        if method is None or message.method not in asked.era.methods:
            unknown = f"there is no method {message.method[:64]!r}"
            return await answer.finish(problem(message.id, mcp.METHOD_NOT_FOUND, unknown))
        is_call = message.method == "tools/call"
        try:
            with self._running.running(asked, message.id, is_call, partial(_gone, receive)) as call:
                await method(message, asked, answer)
        except TooMany as error:
            return await answer.finish(stopped(message, asked, f"failed: {error}"))
        if call.stopped and not answer.over:
            with suppress(TimeoutError):  # of a client that does not even read
                async with asyncio.timeout(LAST_WORD_SECONDS):
                    await answer.finish(stopped(message, asked, f"failed: {call.stopped}: the call was stopped"))
        return None

    async def _body(self, scope: Scope, receive: Receive, asked: Asked) -> bytes:
        """Return the body. Where it was long on its way, the tasks are read again: they may have ended meanwhile."""
        start = _monotonic()
        body: bytes = await read_body(scope, receive)
        if _monotonic() - start > PROMPT_SECONDS:
            again = await self._asked(asked.door, asked.claim)
            asked.chain, asked.at = again.chain, again.at
        return body

    def _noted(self, message: mcp.Notification, asked: Asked) -> None:
        # Without a session nobody knows whose request it was; a stateless one is cancelled by closing its answer.
        if message.method == "notifications/cancelled" and asked.session is not None:
            id, session = message.params.get("requestId"), asked.session
            self._running.stop(
                "cancelled", lambda call: call.asked.session is session and (type(call.id), call.id) == (type(id), id)
            )

    # --- methods -------------------------------------------------------------------------------------

    async def _initialize(self, request: mcp.Request, asked: Asked, answer: Answer) -> None:
        wanted = request.params.get("protocolVersion")
        answer.session = self._clients.open(asked.line, asked.upstream).id
        said = {
            "protocolVersion": wanted if wanted in SESSIONS.versions else SESSIONS.versions[0],
            "capabilities": CAPABILITIES,
            "serverInfo": server(),
        }
        await answer.finish(asked.result(request.id, said))

    async def _discover(self, request: mcp.Request, asked: Asked, answer: Answer) -> None:
        said = {"supportedVersions": list(STATELESS.versions), "capabilities": CAPABILITIES}
        await answer.finish(asked.result(request.id, mcp_era.cacheable(asked.era, said, DISCOVERY_SECONDS)))

    async def _ping(self, request: mcp.Request, asked: Asked, answer: Answer) -> None:
        await answer.finish(asked.result(request.id, {}))

    async def _list_tools(self, request: mcp.Request, asked: Asked, answer: Answer) -> None:
        if request.params.get("cursor") is not None:
            one_page, hint = "the list has one page, and no cursor", "leave the cursor out"
            return await answer.finish(problem(request.id, mcp.INVALID_PARAMS, one_page, {"hint": hint}))
        session = asked.session
        if session is None or session.tools is None:
            if may_act(asked.chain):
                reached = [asked.upstream] if asked.upstream else list(self._world.upstreams)
                await self._offers.meet(asked.line, reached, asked.door, asked.claim)
            tools = self._offers.of(asked.chain, asked.upstream, asked.era)
            if session is not None:
                session.tools = tools
        else:
            tools = session.tools
        said = mcp_era.cacheable(asked.era, {"tools": tools}, LIST_SECONDS)
        return await answer.finish(asked.result(request.id, said))


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _is_stateless(scope: Scope) -> bool:
    """Whether a request that has no body says that it is of the era without sessions."""
    return header(scope, mcp_era.VERSION_HEADER) in STATELESS.versions


async def _gone(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
