"""Take credentials back: cut, then clean, then say so. The ordinary path and the recovery path are one (S1, S3).

It finds its work in the store and at the target, so it finds the same work after any crash, and
repeats for ever: taking back what does not exist is success (D2, D9). A lease that nobody ever
held is cut and cleaned not before its create-deadline and a settle time have passed (D3, D5).
"""

import re

from taskbound.core.errors import NotFound, TargetUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease, fall_due, orphan
from taskbound.core.thing import advance
from taskbound.ports import Transaction, World


async def mark_due(world: World, lane: Identity) -> list[Lease]:
    """Mark each lease whose time is over, expired or never activated, as due to be revoked. Return them.

    Raises ExceptionGroup of what could not be marked, after every other was.
    """
    async with world.store.transaction(lane) as tx:
        over = [lease for state in ("active", "pending") for lease in await tx.find(Lease, due=tx.now, state=state)]
    marked: list[Lease] = []
    failed: list[Exception] = []
    for lease in over:
        try:
            async with world.store.transaction(lane) as tx:
                if await tx.get(Lease, lease.id) == lease:
                    reason = "expired" if lease.activated else "never activated"
                    due = fall_due(lease, tx.now)
                    await tx.record(Kind.LEASE_FELL_DUE, due, reason=reason)
                    marked.append(due)
        except Exception as error:  # one that cannot be marked stops no other (S3)
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(over)} leases could not be marked", failed)
    return marked


async def due_leases(world: World, lane: Identity) -> list[Lease]:
    """Return the leases that are to be cut or cleaned now."""
    async with world.store.transaction(lane) as tx:
        return [lease for state in ("revoking", "cut") for lease in await tx.find(Lease, due=tx.now, state=state)]


async def revoke_lease(world: World, lane: Identity, lease: Lease) -> None:
    """Cut and clean one due lease. Raises TargetUnavailable; the lease stays due.

    Another lane may be at the same lease: only who finds it as it was records, and what is done
    at the target may be repeated.
    """
    provider = world.providers.get(lease.target)
    if provider is None:
        raise TargetUnavailable(f"no provider is configured for {lease.target}, which {lease.name} waits for")
    await provider.cut(lease)  # also what was cut before: a name that came back is not cleaned while it lets in
    # A crash here leaves the same work: cutting again changes nothing.
    if lease.state == "revoking":
        lease = await _recorded(world, lane, lease, Kind.LEASE_CUT)
    if lease.state == "cut":
        await provider.clean(lease)
        await _recorded(world, lane, lease, Kind.LEASE_REVOKED, due=None)


async def _recorded(world: World, lane: Identity, lease: Lease, kind: Kind, **changes: object) -> Lease:
    """Record what was done to the lease, unless it changed meanwhile; return it as it is."""
    async with world.store.transaction(lane) as tx:
        stored = await tx.get(Lease, lease.id, lock=True)
        if stored != lease:
            return stored
        lease = advance(lease, kind, **changes)
        await tx.record(kind, lease)
    return lease


async def sweep_target(world: World, lane: Identity, target: str) -> list[Lease]:
    """Adopt every name of ours at the target that no lease explains; return the adopted leases (D10).

    A name is looked at twice, with the store read in between: one that was being created or
    revoked meanwhile is explained by the first or gone by the second look. A name that we could
    not have made is nobody's lease, and one whose lease belongs to another target is not ours to take.
    """
    provider = world.providers[target]
    ours = re.compile(rf"tb_{world.instance}_([a-z2-7]{{20}})")
    present = {f"l{match[1]}": match[0] for name in await provider.names() if (match := ours.fullmatch(name))}
    async with world.store.transaction(lane) as tx:
        unexplained = {id: name for id, name in present.items() if await _adoptable(tx, id, target)}
    if not unexplained:
        return []
    still = await provider.names()
    adopted: list[Lease] = []
    for id in sorted(id for id, name in unexplained.items() if name in still):
        async with world.store.transaction(lane) as tx:
            if found := await _adoptable(tx, id, target):
                new = orphan(id, tx.org, world.instance, target, tx.now)
                lease = advance(found if isinstance(found, Lease) else new, Kind.LEASE_FELL_DUE, due=tx.now)
                await tx.record(Kind.LEASE_FELL_DUE, lease, reason="orphan")
                adopted.append(lease)
    return adopted


async def _adoptable(tx: Transaction, id: str, target: str) -> Lease | bool:
    """Return the revoked lease of this target whose name is there again, or whether nothing is known of the id."""
    try:
        lease = await tx.get(Lease, id)
    except NotFound:
        return True
    return lease if lease.state == "revoked" and lease.target == target else False
