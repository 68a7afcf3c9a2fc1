"""Credentials: what an upstream is shown, leased for the task once per session with it, as the task.

A server that authenticates wants it from `initialize` on, so it is leased before the first call is
decided: a decision of its own, on `lease/issue`. The agent never sees it, and it ends with the task.
"""

import asyncio
from collections.abc import Mapping

from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import Lease
from taskbound.core.secret import Secret
from taskbound.edge.gateway.sessions import UpstreamSession
from taskbound.ports import World
from taskbound.steps.issue_lease import LeaseAsk, issue_lease

USED = 0.9  # of a lease's life, after which another is leased: a call takes its time


class Credentials:
    """The leases of sessions with upstreams."""

    def __init__(self, world: World, leases: Mapping[str, str]) -> None:
        self._world, self._leases = world, leases

    async def of(
        self, session: UpstreamSession, upstream: str, door: Identity, claim: Claim | Identity
    ) -> Secret | None:
        """Return what the session shows, leased where it has none; None for an upstream that wants none.

        Raises what `issue_lease` raises.
        """
        if (wanted := self._leases.get(upstream)) is None:
            return None
        async with session.leasing:
            began = asyncio.get_running_loop().time()
            if session.credential is None or began >= session.until or not await self._lets_in(session.lease, door):
                session.credential = None
                lease, credential = await issue_lease(self._world, door, claim, LeaseAsk(wanted))
                life = lease.expires - (lease.activated or lease.expires)
                session.credential, session.until = credential, began + USED * life.total_seconds()
                session.lease = lease.id
            return session.credential

    async def _lets_in(self, lease: str, door: Identity) -> bool:
        """Whether a lease is as it was given: of a task that was suspended and resumed it was taken back."""
        async with self._world.store.transaction(door) as tx:
            return (await tx.get(Lease, lease)).state == "active"
