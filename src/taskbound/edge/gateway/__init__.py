"""Gateway: the MCP enforcement point: every tools/call of a task, to every upstream (INTERFACES 6).

`/mcp/<upstream>` is one upstream with its own names, `/mcp` are all, with names `<upstream>.<tool>`.
Who asks is the task whose handle is shown, and nothing else: no session and no header says so (D15),
none of the client's headers goes on, and the request that does is built anew from typed fields
(D16). The list of tools is what the task's grants could ever use, from the pinned definitions (D29);
what may be called now is decided at the call, on the definition that the upstream offers now.

Speaks the revisions that begin with `initialize`; a later one is answered so that clients fall back.
W3C trace context is not passed on: to who holds the arguments to account it is a way around them.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, aclosing, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskbound.core.call import Call, Decision
from taskbound.core.errors import (
    InvalidRequest,
    NotFound,
    Refused,
    TargetUnavailable,
    TaskboundError,
    Unauthenticated,
    UpstreamUnavailable,
)
from taskbound.core.identity import Claim, Identity, for_request
from taskbound.core.task import Task
from taskbound.edge.enforce import Permit, Refusal, drained, enforce
from taskbound.edge.gateway.answer import Answer, Unread
from taskbound.edge.gateway.credentials import Credentials
from taskbound.edge.gateway.offers import Offers, granted, may_act
from taskbound.edge.gateway.running import RunningCalls
from taskbound.edge.gateway.sessions import ClientSession, ClientSessions, UpstreamSession, UpstreamSessions
from taskbound.edge.http import (
    Holders,
    MethodNotAllowed,
    claim_of,
    error_response,
    read_body,
    require_local,
    segments_of,
)
from taskbound.formats import mcp
from taskbound.ports import World
from taskbound.prove import chain_of, prove
from taskbound.steps.decide_call import CallAsk, Outcome

LAST_WORD_SECONDS = 1.0  # for telling a client why its call was stopped
CALLS = 32  # of one task under way: each may take a connection of its upstream's 256, and hold an answer of 4 MiB

log = structlog.get_logger()


def application(
    world: World,
    door: Identity,
    holders: Holders,
    *,
    credentials: Mapping[str, str] = {},  # upstream -> the lease it is called with, "<target>/<grant>"
    may_add: bool = False,
) -> "Gateway":
    """Return the ASGI application for /mcp; `may_add`: a tool seen for the first time is added to the catalogue."""
    return Gateway(world, door, holders, credentials, may_add)


class _Asked:
    """One request of a client that showed a task's handle."""

    def __init__(self, door: Identity, claim: Claim, chain: tuple[Task, ...], upstream: str | None) -> None:
        self.door = door  # ours, for this request
        self.claim = claim
        self.chain = chain
        self.task = chain[-1].id
        self.upstream = upstream  # that the path names; None: all
        self.session: ClientSession | None = None


class Gateway:
    """The sessions and the running calls of one listener."""

    def __init__(
        self, world: World, door: Identity, holders: Holders, credentials: Mapping[str, str], may_add: bool
    ) -> None:
        self._world, self._door, self._holders = world, door, holders
        clock = _monotonic
        self._clients = ClientSessions(world.instance, world.new_id, clock)
        self._upstreams = UpstreamSessions(world.upstreams, clock)
        self._running = RunningCalls(world, door, self._upstreams)
        self._offers = Offers(world, self._upstreams, Credentials(world, credentials), may_add)
        self._methods = {
            "initialize": self._initialize,
            "ping": self._ping,
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        id = self._world.new_id("r")
        answer = Answer(scope, receive, send)
        try:
            await self._serve(scope, receive, answer, for_request(self._door, id))
        except TaskboundError as error:
            response = error_response(error, id)
            if isinstance(error, MethodNotAllowed):
                response.headers["allow"] = "POST, DELETE"
            await self._respond(answer, response)
        except Unread as error:
            log.warning("answer dropped", request=id, error=str(error))
        except Exception:
            log.exception("request failed", request=id)
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
        await drained()

    # --- who asks, and what ------------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, answer: Answer, door: Identity) -> None:
        require_local(scope)
        claim = await claim_of(scope, self._world, self._holders)
        if claim is None or claim.handle is None:
            response = error_response(
                Unauthenticated("no task is named", hint="show a task's handle: Authorization: Bearer tbh_…"),
                str(door.facts["request"]),
            )
            response.headers["www-authenticate"] = "Bearer"  # RFC 6750 3.1: no code where nothing was shown
            return await answer.respond(response)
        chain = await self._chain(door, claim)
        asked = _Asked(door, claim, chain, self._upstream_of(segments_of(scope)))
        if (session := _header(scope, b"mcp-session-id")) is not None:
            asked.session = self._clients.find(session, asked.task, asked.upstream)
        if scope["method"] == "DELETE":
            if asked.session is None:
                raise InvalidRequest("the request names no session", hint="send Mcp-Session-Id")
            self._clients.end(asked.session)
            return await answer.respond(Response(status_code=204))
        if scope["method"] != "POST":
            raise MethodNotAllowed("a session offers no stream of its own: the address takes POST and DELETE")
        return await self._take(scope, receive, answer, asked)

    async def _chain(self, door: Identity, claim: Claim) -> tuple[Task, ...]:
        async with self._world.store.transaction(door) as tx:
            caller = await prove(tx, claim)
            return await chain_of(tx, caller.task)

    def _upstream_of(self, segments: tuple[str, ...]) -> str | None:
        match segments:
            case ("mcp",):
                return None
            case ("mcp", name) if name in self._world.upstreams:
                return name
        raise NotFound("there is no such upstream", hint=f"known: {', '.join(sorted(self._world.upstreams))}")

    async def _take(self, scope: Scope, receive: Receive, answer: Answer, asked: _Asked) -> None:
        try:
            message = mcp.read_message(await read_body(scope, receive))
        except InvalidRequest as error:
            if error.status != 400:
                raise
            return await answer.finish(mcp.error(None, mcp.PARSE_ERROR, str(error)), 400)
        except mcp.MalformedMessage as error:
            return await answer.finish(mcp.error(error.id, error.code, str(error)), 400)
        if isinstance(message, mcp.Notification):
            self._noted(message, asked)
        if not isinstance(message, mcp.Request):  # we ask clients nothing, so what answers is ignored
            return await answer.respond(Response(status_code=202))
        spoken = _header(scope, b"mcp-protocol-version")
        if spoken is not None and spoken not in mcp.VERSIONS and message.method != "initialize":
            problem = f"this revision is not spoken here; known: {', '.join(mcp.VERSIONS)}"
            return await answer.finish(mcp.error(message.id, mcp.INVALID_REQUEST, problem), 400)
        method = self._methods.get(message.method)
        if method is None:
            problem = f"there is no method {message.method[:64]!r}"
            return await answer.finish(mcp.error(message.id, mcp.METHOD_NOT_FOUND, problem))
        is_call = message.method == "tools/call"
        if self._running.count(asked.task, is_call) >= CALLS:
            why = f"failed: too_many_calls: {CALLS} of the task are under way: wait for their answers"
            return await answer.finish(_stopped(message, why))
        client = asked.session.id if asked.session else ""
        work = method(message, asked, answer)
        async with self._running.running(asked.task, client, message.id, is_call, work) as call:
            gone = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait([call.work, gone], return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
        if call.stopped and not answer.over:
            with suppress(TimeoutError):  # of a client that does not even read
                async with asyncio.timeout(LAST_WORD_SECONDS):
                    await answer.finish(_stopped(message, f"failed: {call.stopped}: the call was stopped"))
        elif not call.work.cancelled():
            call.work.result()
        return None

    def _noted(self, message: mcp.Notification, asked: _Asked) -> None:
        if message.method == "notifications/cancelled" and asked.session is not None:
            id, session = message.params.get("requestId"), asked.session.id
            self._running.stop(
                "cancelled", lambda call: call.client == session and (type(call.id), call.id) == (type(id), id)
            )

    # --- methods -------------------------------------------------------------------------------------

    async def _initialize(self, request: mcp.Request, asked: _Asked, answer: Answer) -> None:
        wanted = request.params.get("protocolVersion")
        answer.session = self._clients.open(asked.task, asked.upstream).id
        said = {
            "protocolVersion": wanted if wanted in mcp.VERSIONS else mcp.VERSIONS[0],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "taskbound", "version": _installed()},
        }
        await answer.finish(mcp.result(request.id, said))

    async def _ping(self, request: mcp.Request, asked: _Asked, answer: Answer) -> None:
        await answer.finish(mcp.result(request.id, {}))

    async def _list_tools(self, request: mcp.Request, asked: _Asked, answer: Answer) -> None:
        if request.params.get("cursor") is not None:
            problem = "the list has one page, and no cursor"
            return await answer.finish(mcp.error(request.id, mcp.INVALID_PARAMS, problem))
        session = asked.session
        if session is None or session.tools is None:
            if may_act(asked.chain):
                await self._offers.meet(asked.task, self._reached(asked), asked.door, asked.claim)
            tools = self._offers.of(asked.chain, asked.upstream)
            if session is not None:
                session.tools = tools
        else:
            tools = session.tools
        return await answer.finish(mcp.result(request.id, {"tools": tools}))

    def _reached(self, asked: _Asked) -> list[str]:
        return [asked.upstream] if asked.upstream else list(self._world.upstreams)

    # --- one call ------------------------------------------------------------------------------------

    async def _call_tool(self, request: mcp.Request, asked: _Asked, answer: Answer) -> None:
        try:
            call = mcp.read_tool_call(request)
            upstream, tool = self._named(call.name, asked)
            if not self._offers.knows(upstream, tool):
                raise mcp.MalformedMessage(mcp.INVALID_PARAMS, f"there is no tool {call.name!r}", request.id)
        except mcp.MalformedMessage as error:
            return await answer.finish(mcp.error(request.id, error.code, str(error)))
        return await answer.finish(await self._enforced(request, asked, answer, call, upstream, tool))

    def _named(self, name: str, asked: _Asked) -> tuple[str, str]:
        upstream, tool = (asked.upstream, name) if asked.upstream else name.partition(".")[::2]
        if upstream not in self._world.upstreams or not tool:
            raise mcp.MalformedMessage(mcp.INVALID_PARAMS, f"there is no tool {name!r}")
        return upstream, tool

    async def _enforced(
        self, request: mcp.Request, asked: _Asked, answer: Answer, call: mcp.ToolCall, upstream: str, tool: str
    ) -> dict[str, Any]:
        """Return the response to a call: the upstream's, or why there is none."""
        resource = f"{upstream}/{tool}"
        offered, credential = None, None
        trouble: TaskboundError = UpstreamUnavailable("it was not asked what it offers")
        try:
            with ExitStack() as stack:
                if may_act(asked.chain) and resource in granted(asked.chain):  # else it is not even connected to
                    try:
                        session = stack.enter_context(self._upstreams.use(asked.task, upstream))
                        pins = await self._offers.look(session, upstream, asked.door, asked.claim)
                        offered, credential = pins.get(tool, ""), session.credential
                    except (UpstreamUnavailable, TargetUnavailable, Refused) as error:
                        trouble = error
                ask = CallAsk(resource, call.arguments, offered)
                async with enforce(self._world, asked.door, asked.claim, ask, credential) as permit:
                    if offered is None:  # on a definition that nobody saw nothing goes out
                        raise trouble
                    known = self._world.policies.current.tools.get(resource)
                    if known is None or permit.call.policy != self._world.policies.current.version:
                        raise UpstreamUnavailable("another policy came into force meanwhile: call again")
                    call = replace(call, arguments=known.sent(call.arguments))
                    return await self._forwarded(request, answer, call, tool, session, permit)
        except Refusal as refusal:
            return mcp.result(request.id, _denied(refusal.call, refusal.decision))
        except (UpstreamUnavailable, TargetUnavailable) as error:
            return mcp.result(request.id, mcp.text_result(f"failed: {error.code}: {upstream}: {error}"))
        except Refused as error:
            if error is trouble:  # the credential was refused, or the task ended while it was made
                return mcp.result(request.id, mcp.text_result(f"denied: {error.code}: {error}"))
            raise

    async def _forwarded(
        self,
        request: mcp.Request,
        answer: Answer,
        call: mcp.ToolCall,
        tool: str,
        session: UpstreamSession,
        permit: Permit,
    ) -> dict[str, Any]:
        """Return the upstream's response, its progress passed on as it comes. Raises UpstreamUnavailable."""
        self._running.went_out()
        async with aclosing(session.upstream.call(tool, call.arguments, permit.credential)) as messages:
            async for message in messages:
                if message.get("method") == "notifications/progress" and call.progress_token is not None:
                    if told := mcp.progress(message["params"], call.progress_token):
                        await answer.notify(told)
                elif "error" in message:
                    error = message["error"]
                    return mcp.error(request.id, error["code"], error["message"])
                elif "result" in message:
                    try:
                        result = mcp.tool_result(message["result"])
                    except mcp.MalformedMessage as malformed:
                        raise UpstreamUnavailable(f"the result is malformed: {malformed}") from None
                    permit.outcome = Outcome(result["isError"], len(mcp.encode(result)))
                    return mcp.result(request.id, result)
        raise UpstreamUnavailable("the answer ended without a response")


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


@cache
def _installed() -> str:
    return version("taskbound")


def _denied(call: Call, decision: Decision) -> dict[str, Any]:
    """Return the result that a refusal is to a client (INTERFACES 6)."""
    first = decision.objections[0]
    said = {"code": decision.code, "call": f"d{call.id[1:]}", "task": call.task, "hint": first.hint}
    return mcp.text_result(f"denied: {decision.code}: {first.reason}", {f"{mcp.OURS}decision": said})


def _stopped(request: mcp.Request, why: str) -> dict[str, Any]:
    """Return the answer to a request that is not worked on, or no longer."""
    if request.method == "tools/call":
        return mcp.result(request.id, mcp.text_result(why))
    return mcp.error(request.id, mcp.INTERNAL_ERROR, why)


def _header(scope: Scope, name: bytes) -> str | None:
    """Return the value of a header that may stand once. Raises InvalidRequest."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise InvalidRequest(f"header {name.decode()} stands twice")
    return values[0].decode("latin-1") if values else None


async def _gone(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
