"""Calls: one `tools/call`, decided and recorded before it goes out, and built anew from typed fields (D16)."""

from collections.abc import Mapping
from contextlib import ExitStack, aclosing, suppress
from typing import Any

from taskbound.core.catalogue import Tool
from taskbound.core.errors import InvalidRequest, Refused, TargetUnavailable, TaskboundError, UpstreamUnavailable
from taskbound.edge.enforce import Outcomes, Permit, Refusal, enforce
from taskbound.edge.gateway.answer import Answer
from taskbound.edge.gateway.asked import Asked, denied, failed, problem
from taskbound.edge.gateway.offers import Offers, granted, may_act
from taskbound.edge.gateway.sessions import UpstreamSessions
from taskbound.formats import mcp, mcp_era, mcp_headers
from taskbound.ports import World
from taskbound.steps.decide_call import CallAsk, Outcome


class Calls:
    """The way of a call through the gateway."""

    def __init__(self, world: World, upstreams: UpstreamSessions, offers: Offers, outcomes: Outcomes) -> None:
        self._world, self._upstreams, self._offers, self._outcomes = world, upstreams, offers, outcomes
        self._marks: dict[str, tuple[Tool, tuple[mcp_headers.Mark, ...]]] = {}  # by resource, of the tool as it was

    async def call(self, request: mcp.Request, asked: Asked, answer: Answer) -> None:
        """Answer one call. What is malformed is an error and decides nothing; an unknown tool is one, and denied."""
        try:
            call = mcp.read_tool_call(request, asked.era.call_members)
            upstream, tool = (asked.upstream, call.name) if asked.upstream else call.name.partition(".")[::2]
            if not self._offers.knows(upstream, tool):
                await self._deny_unknown(f"{upstream}/{tool}", call.arguments, asked)
                raise mcp.MalformedMessage(mcp.INVALID_PARAMS, self._unknown(call.name, asked), request.id)
            if asked.headers is not None:
                mcp_headers.check(self._mirrored(f"{upstream}/{tool}"), call.arguments, asked.headers, request.id)
        except mcp.MalformedMessage as error:
            return await answer.finish(problem(request.id, error.code, str(error)))
        return await answer.finish(await self._enforced(request, asked, answer, call, upstream, tool))

    async def _deny_unknown(self, resource: str, arguments: Mapping[str, Any], asked: Asked) -> None:
        """Put on record that a tool was asked for which there is not: who tries names is seen like any denied call.

        Raises TaskEnded first: the handle of an ended task is told of no name whether it is one.
        """
        asked.require_live()
        try:
            ask = CallAsk(resource, arguments)
        except InvalidRequest as error:  # it is too long to be kept, or holds a token
            raise mcp.MalformedMessage(mcp.INVALID_PARAMS, str(error)) from None
        with suppress(Refusal):
            async with enforce(self._world, asked.door, asked.claim, ask, self._outcomes):
                pass  # a policy that knows it came into force meanwhile: the client calls again

    def _unknown(self, name: str, asked: Asked) -> str:
        """Say that there is no such tool, and what it is called at this address where it is known by another name."""
        said = f"there is no tool {name!r}"
        if asked.upstream:
            bare = name.removeprefix(f"{asked.upstream}.")
            return f"{said}: here it is called {bare!r}" if self._offers.knows(asked.upstream, bare) else said
        of = next((one for one in sorted(self._world.upstreams) if self._offers.knows(one, name)), None)
        return said if of is None else f"{said}: here it is called {f'{of}.{name}'!r}"

    def _mirrored(self, resource: str) -> tuple[mcp_headers.Mark, ...]:
        """Return the arguments that clients mirror, by the definition that they were shown.

        None of a definition that clients may not offer: whoever calls it all the same mirrors nothing.
        """
        tool = self._world.policies.current.tools.get(resource)
        if tool is None:
            return ()
        known = self._marks.get(resource)
        if known is None or known[0] is not tool:
            try:
                known = tool, mcp_headers.marks_of(tool.definition.get("inputSchema"))
            except mcp_headers.BadMark:
                known = tool, ()
            self._marks[resource] = known
        return known[1]

    async def _enforced(
        self, request: mcp.Request, asked: Asked, answer: Answer, call: mcp.ToolCall, upstream: str, tool: str
    ) -> dict[str, Any]:
        """Return the response to a call: the upstream's, or why there is none."""
        resource = f"{upstream}/{tool}"
        offered, credential = None, None
        trouble: TaskboundError = UpstreamUnavailable("it was not asked what it offers")
        try:
            with ExitStack() as stack:
                if may_act(asked.chain) and resource in granted(asked.chain):  # else it is not even connected to
                    try:
                        session = stack.enter_context(self._upstreams.use(asked.line, upstream))
                        pins = await self._offers.look(session, upstream, asked.door, asked.claim)
                        offered, credential = pins.get(tool, ""), session.credential
                    except (UpstreamUnavailable, TargetUnavailable, Refused) as error:
                        trouble = error
                ask = CallAsk(resource, call.arguments, offered)
                asking = enforce(self._world, asked.door, asked.claim, ask, self._outcomes, credential)
                async with asking as permit:
                    if offered is None:  # on a definition that nobody saw nothing goes out
                        raise trouble
                    known = self._world.policies.current.tools.get(resource)
                    if known is None or permit.call.policy != self._world.policies.current.version:
                        raise UpstreamUnavailable("another policy came into force meanwhile: call again")
                    arguments = known.sent(call.arguments)
                    messages = session.upstream.call(tool, arguments, permit.credential)
                    return await self._forwarded(request, asked, answer, call.progress_token, messages, permit)
        except Refusal as refusal:
            return asked.result(request.id, denied(refusal.call, refusal.decision))
        except mcp.InputRequired as error:
            return asked.result(request.id, mcp.text_result(f"failed: input_required: {upstream}: {error}"))
        except (UpstreamUnavailable, TargetUnavailable) as error:
            return asked.result(request.id, failed(asked, error, f"failed: {error.code}: {upstream}: {error}"))
        except Refused as error:
            if error is trouble:  # the credential was refused, or the task ended while it was made
                return asked.result(request.id, mcp.text_result(f"denied: {error.code}: {error}"))
            raise

    async def _forwarded(
        self,
        request: mcp.Request,
        asked: Asked,
        answer: Answer,
        token: mcp.Id | None,
        coming: Any,
        permit: Permit,
    ) -> dict[str, Any]:
        """Return the upstream's response, its progress passed on as it comes.

        Raises UpstreamUnavailable, and InputRequired where it asks for what is passed on to nobody.
        """
        asked.is_out = True
        async with aclosing(coming) as messages:
            async for message in messages:
                if message.get("method") == "notifications/progress" and token is not None:
                    if told := mcp.progress(message["params"], token):
                        await answer.notify(told)
                elif "error" in message:
                    return self._failed(request, message["error"])
                elif "result" in message:
                    try:
                        result = mcp.tool_result(message["result"])
                    except mcp.InputRequired:
                        raise
                    except mcp.MalformedMessage as malformed:
                        raise UpstreamUnavailable(f"the result is malformed: {malformed}") from None
                    permit.outcome = Outcome(result["isError"], len(mcp.encode(result)))
                    return asked.result(request.id, mcp_era.shown_result(asked.era, result))
        raise UpstreamUnavailable("the answer ended without a response")

    def _failed(self, request: mcp.Request, error: Mapping[str, Any]) -> dict[str, Any]:
        if error["code"] == mcp.MISSING_CAPABILITY:
            wanting = "the tool wants a capability of the client, and what asks is passed on to nobody"
            raise mcp.InputRequired(mcp.INTERNAL_ERROR, wanting)
        return mcp.error(request.id, mcp.passed_on(error["code"]), error["message"])
