"""Take credentials back: cut, then clean, then say so. The ordinary path and the recovery path are one (S1, S3).

It finds its work in the store and at the target, so it finds the same work after any crash, and
repeats for ever: taking back what does not exist is success (D2, D9). A lease that nobody ever
held is cut and cleaned not before its create-deadline and a settle time have passed (D3, D5).
"""

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease, fall_due, orphan
from taskbound.core.thing import advance
from taskbound.ports import World


async def mark_due(world: World, lane: Identity) -> list[Lease]:
    """Mark each lease whose time is over as due to be revoked: expired, or never activated. Return them."""
    marked: list[Lease] = []
    async with world.store.transaction(lane) as tx:
        for state, reason in (("active", "expired"), ("pending", "never activated")):
            for lease in await tx.find(Lease, due=tx.now, state=state):
                marked.append(fall_due(lease, tx.now))
                await tx.record(Kind.LEASE_FELL_DUE, marked[-1], reason=reason)
    return marked


async def due_leases(world: World, lane: Identity) -> list[Lease]:
    """Return the leases that are to be cut or cleaned now."""
    async with world.store.transaction(lane) as tx:
        return [lease for state in ("revoking", "cut") for lease in await tx.find(Lease, due=tx.now, state=state)]


async def revoke_lease(world: World, lane: Identity, lease: Lease) -> None:
    """Cut and clean one due lease. Raises TargetUnavailable; the lease stays due.

    Another lane may be at the same lease: what it recorded first stands, and both targets'
    operations may be repeated.
    """
    provider = world.providers[lease.target]
    if lease.state == "revoking":
        await provider.cut(lease)
        # A crash here leaves the same work: cutting again changes nothing.
        async with world.store.transaction(lane) as tx:
            if (await tx.get(Lease, lease.id)).state == "revoking":
                await tx.record(Kind.LEASE_CUT, advance(lease, Kind.LEASE_CUT))
            lease = await tx.get(Lease, lease.id)
    await provider.clean(lease)
    async with world.store.transaction(lane) as tx:
        if (await tx.get(Lease, lease.id)).state == "cut":
            await tx.record(Kind.LEASE_REVOKED, advance(lease, Kind.LEASE_REVOKED, due=None))


async def sweep_target(world: World, lane: Identity, target: str) -> list[Lease]:
    """Adopt every name at the target that no live lease explains; return the adopted leases (D10).

    A name is looked at twice, with the store read in between: one that was being created or
    revoked meanwhile is explained by the first or gone by the second look.
    """
    provider = world.providers[target]
    present = await provider.names()
    if not present:
        return []
    async with world.store.transaction(lane) as tx:
        known = {lease.name: lease for lease in await tx.find(Lease, target=target)}
    unexplained = {name for name in present if name not in known or known[name].state == "revoked"}
    if not unexplained:
        return []
    adopted: list[Lease] = []
    for name in sorted(unexplained & await provider.names()):
        async with world.store.transaction(lane) as tx:
            id = "l" + name.removeprefix(f"tb_{world.instance}_")
            found = known.get(name) or orphan(id, tx.org, world.instance, target, tx.now)
            found = advance(found, Kind.LEASE_FELL_DUE, due=tx.now)
            try:
                await tx.record(Kind.LEASE_FELL_DUE, found, reason="orphan")
            except Conflict:  # another sweep adopted it first
                continue
        adopted.append(found)
    return adopted
