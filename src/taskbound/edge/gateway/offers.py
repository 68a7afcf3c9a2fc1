"""Offers: what upstreams offer, what of it a task could ever use, and what of it is as it was pinned (D29)."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import structlog

from taskbound.core.catalogue import Tool, pin_of
from taskbound.core.errors import InvalidRequest, Refused, TargetUnavailable, UpstreamUnavailable
from taskbound.core.identity import Claim, Identity
from taskbound.core.task import Task
from taskbound.edge.gateway.credentials import Credentials
from taskbound.edge.gateway.sessions import Line, Seen, UpstreamSession, UpstreamSessions
from taskbound.formats import mcp
from taskbound.formats.mcp_era import Era, shown_tool
from taskbound.ports import World
from taskbound.steps.pin_tools import see_tools

CONTACT_SECONDS = 3.0  # that a list of tools waits for upstreams that nobody has met yet

log = structlog.get_logger()


def granted(chain: tuple[Task, ...]) -> set[str]:
    """Return the tools that every task of the chain was granted, with whatever arguments."""
    return set.intersection(*({g.resource for g in task.grants if g.action == "tools/call"} for task in chain))


def may_act(chain: tuple[Task, ...]) -> bool:
    """Whether no task of the chain was ended or suspended when it was read. Each call decides anew."""
    return all(task.state == "open" for task in chain)


class Offers:
    """The lists of all upstreams, as each was seen last."""

    def __init__(self, world: World, upstreams: UpstreamSessions, credentials: Credentials, may_add: bool) -> None:
        self._world, self._upstreams, self._credentials, self._may_add = world, upstreams, credentials, may_add
        self._seen: dict[str, Seen] = {}
        self._shown: dict[tuple[str, bool, str], tuple[Tool, Mapping[str, Any]]] = {}

    def knows(self, upstream: str, tool: str) -> bool:
        """Whether the catalogue has the tool, or the upstream was seen to offer it."""
        seen = self._seen.get(upstream)
        return f"{upstream}/{tool}" in self._world.policies.current.tools or (seen is not None and tool in seen.pins)

    def of(self, chain: tuple[Task, ...], upstream: str | None, era: Era) -> list[Mapping[str, Any]]:
        """Return the pinned definitions of what the task could ever use, by name, as a client of that path reads them.

        Characters that nobody sees are shown: what a model reads is what a person reviewed.
        """
        known = self._world.policies.current.tools
        listed: list[Mapping[str, Any]] = []
        for resource in sorted(granted(chain) & set(known)):
            tool = known[resource]
            if tool.upstream in self._world.upstreams and upstream in (None, tool.upstream):
                listed.append(self._as_shown(tool, upstream is not None, era))
        return listed

    def _as_shown(self, tool: Tool, is_alone: bool, era: Era) -> Mapping[str, Any]:
        key = tool.resource, is_alone, era.name
        made = self._shown.get(key)
        if made is None or made[0] is not tool:
            name = tool.name if is_alone else f"{tool.upstream}.{tool.name}"
            shown = mcp.visible({one: tool.definition[one] for one in mcp.TOOL_MEMBERS if one in tool.definition})
            made = self._shown[key] = tool, {**shown_tool(era, shown), "name": name}
        return made[1]

    async def meet(self, line: Line, upstreams: list[str], door: Identity, claim: Claim | Identity) -> None:
        """See what those upstreams offer that nobody has met yet. One that is down is met later."""

        async def meeting(upstream: str) -> None:
            try:
                async with asyncio.timeout(CONTACT_SECONDS):
                    with self._upstreams.use(line, upstream) as session:
                        await self.look(session, upstream, door, claim)
            except (UpstreamUnavailable, TargetUnavailable, Refused, TimeoutError) as error:
                log.warning("upstream not reached", upstream=upstream, task=line[-1], error=type(error).__name__)

        await asyncio.gather(*(meeting(name) for name in upstreams if name not in self._seen))

    async def look(
        self, session: UpstreamSession, upstream: str, door: Identity, claim: Claim | Identity
    ) -> Mapping[str, str]:
        """Return the pins of what the upstream offers now, by tool; what is new or changed is taken note of.

        Raises UpstreamUnavailable, Unavailable; and what `issue_lease` raises.
        """
        offered = await session.upstream.tools(await self._credentials.of(session, upstream, door, claim))
        version = self._world.policies.current.version
        for seen in (session.seen, self._seen.get(upstream)):  # sessions of other credentials may be offered others
            if seen is not None and seen.offered is offered and seen.version == version:
                break
        else:
            text = json.dumps(offered)  # equal texts have equal pins, and are compared much faster
            if seen is None or (seen.text, seen.version) != (text, version):
                pins: Mapping[str, str] = await asyncio.to_thread(
                    _pins, offered
                )  # of 4 MiB a second or so: others go on
                await see_tools(self._world, door, upstream, offered, may_add=self._may_add)
                version = self._world.policies.current.version  # which may know of more tools now
            else:
                pins = seen.pins
            seen = self._seen[upstream] = Seen(offered, text, version, pins)
        session.seen = seen
        return seen.pins


def _pins(offered: list[Mapping[str, Any]]) -> dict[str, str]:
    """Return the pins by name. A name that is offered twice has none: nobody knows which of the two is called."""
    pins: dict[str, str] = {}
    for tool in offered:
        pins[tool["name"]] = "" if tool["name"] in pins else _pin(tool)
    return pins


def _pin(definition: Mapping[str, Any]) -> str:
    """Return the pin of a definition; one that has no canonical form has none, and is nobody's."""
    try:
        return pin_of(definition)
    except InvalidRequest:
        return ""
