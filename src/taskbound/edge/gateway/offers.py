"""Offers: what upstreams offer, what of it a task could ever use, and what of it is as it was pinned (D29)."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import structlog

from taskbound.core.catalogue import pin_of
from taskbound.core.errors import InvalidRequest, Refused, TargetUnavailable, UpstreamUnavailable
from taskbound.core.identity import Claim, Identity
from taskbound.core.task import Task
from taskbound.edge.gateway.credentials import Credentials
from taskbound.edge.gateway.sessions import UpstreamSession, UpstreamSessions
from taskbound.formats import mcp
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
        # upstream -> its list as text, the version of the policy that knows of it, the pins in it by tool
        self._seen: dict[str, tuple[str, str, Mapping[str, str]]] = {}

    def knows(self, upstream: str, tool: str) -> bool:
        """Whether the catalogue has the tool, or the upstream was seen to offer it."""
        seen = self._seen.get(upstream)
        return f"{upstream}/{tool}" in self._world.policies.current.tools or (seen is not None and tool in seen[2])

    def of(self, chain: tuple[Task, ...], upstream: str | None) -> list[Mapping[str, Any]]:
        """Return the pinned definitions of what the task could ever use, by name, as a client of that path reads them.

        Characters that nobody sees are shown: what a model reads is what a person reviewed.
        """
        known = self._world.policies.current.tools
        listed: list[Mapping[str, Any]] = []
        for resource in sorted(granted(chain) & set(known)):
            tool = known[resource]
            if tool.upstream not in self._world.upstreams or upstream not in (None, tool.upstream):
                continue
            shown = mcp.visible({name: tool.definition[name] for name in mcp.TOOL_MEMBERS if name in tool.definition})
            listed.append({**shown, "name": tool.name if upstream else f"{tool.upstream}.{tool.name}"})
        return listed

    async def meet(self, task: str, upstreams: list[str], door: Identity, claim: Claim) -> None:
        """See what those upstreams offer that nobody has met yet. One that is down is met later."""

        async def meeting(upstream: str) -> None:
            try:
                async with asyncio.timeout(CONTACT_SECONDS):
                    with self._upstreams.use(task, upstream) as session:
                        await self.look(session, upstream, door, claim)
            except (UpstreamUnavailable, TargetUnavailable, Refused, TimeoutError) as error:
                log.warning("upstream not reached", upstream=upstream, task=task, error=type(error).__name__)

        await asyncio.gather(*(meeting(name) for name in upstreams if name not in self._seen))

    async def look(self, session: UpstreamSession, upstream: str, door: Identity, claim: Claim) -> Mapping[str, str]:
        """Return the pins of what the upstream offers now, by tool; what is new or changed is taken note of.

        Raises UpstreamUnavailable, Unavailable; and what `issue_lease` raises.
        """
        offered = await session.upstream.tools(await self._credentials.of(session, upstream, door, claim))
        if offered is not session.offered:
            text = json.dumps(offered)  # equal texts have equal pins, and are compared much faster
            seen = self._seen.get(upstream)
            if seen is None or seen[:2] != (text, self._world.policies.current.version):
                pins = await asyncio.to_thread(_pins, offered)  # of 4 MiB a second or so: others go on
                await see_tools(self._world, door, upstream, offered, may_add=self._may_add)
                seen = self._seen[upstream] = text, self._world.policies.current.version, pins
            session.offered, session.pins = offered, seen[2]
        return session.pins


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
