"""Take credentials back: cut, then clean, then say so. The ordinary path and the recovery path are one (S1, S3).

It finds its work in the store and at the target, so it finds the same work after any crash, and
repeats for ever: taking back what does not exist is success (D2, D9). A lease that nobody ever
held is cut and cleaned not before its create-deadline and a settle time have passed (D3, D5).
"""

import re
from collections.abc import Awaitable, Callable

from taskbound.core.errors import NotFound, StillLetIn, TargetUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import LATE, STANDING, Lease, fall_due, orphan
from taskbound.core.receipt import not_presented, refused_probe
from taskbound.core.thing import advance
from taskbound.ports import Probes, Provider, Transaction, World


async def mark_due(world: World, lane: Identity) -> list[Lease]:
    """Mark each lease whose time is over, expired or never activated, as due to be revoked. Return them.

    Raises ExceptionGroup of what could not be marked, after every other was.
    """
    async with world.store.transaction(lane) as tx:
        over = [lease for state in ("active", "pending") for lease in await tx.find(Lease, due=tx.now, state=state)]
    marked: list[Lease] = []

    async def mark(tx: Transaction, lease: Lease) -> None:
        due = fall_due(lease, tx.now)
        await tx.record(Kind.LEASE_FELL_DUE, due, reason="expired" if lease.activated else "never activated")
        marked.append(due)

    await _mark_each(world, lane, over, mark)
    return marked


async def due_leases(world: World, lane: Identity) -> list[Lease]:
    """Return the leases that are to be cut or cleaned now."""
    async with world.store.transaction(lane) as tx:
        return [lease for state in ("revoking", "cut") for lease in await tx.find(Lease, due=tx.now, state=state)]


async def mark_overdue(world: World, lane: Identity) -> list[Lease]:
    """State of each lease that is taken back late that it is, once (S3); return all that are overdue now.

    Retrying changes no `due`, so it counts from the moment at which the lease was to be cut.
    Raises ExceptionGroup of what could not be stated, after every other was.
    """
    async with world.store.transaction(lane) as tx:
        late = [lease for state, most in LATE.items() for lease in await tx.find(Lease, due=tx.now - most, state=state)]

    async def mark(tx: Transaction, lease: Lease) -> None:
        await tx.record(Kind.LEASE_OVERDUE, advance(lease, Kind.LEASE_OVERDUE, overdue=tx.now))

    await _mark_each(world, lane, [lease for lease in late if lease.overdue is None], mark)
    return late


async def _mark_each(
    world: World, lane: Identity, leases: list[Lease], mark: Callable[[Transaction, Lease], Awaitable[None]]
) -> None:
    """Mark the leases that are still as they were read, each in a transaction of its own."""
    failed: list[Exception] = []
    for lease in leases:
        try:
            async with world.store.transaction(lane) as tx:
                if await tx.get(Lease, lease.id, lock=True) == lease:
                    await mark(tx, lease)
        except Exception as error:  # one that cannot be marked stops no other (S3)
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(leases)} leases could not be marked", failed)


async def revoke_lease(world: World, lane: Identity, lease: Lease) -> None:
    """Cut and clean one due lease. Raises TargetUnavailable; the lease stays due."""
    lease = await cut_lease(world, lane, lease)
    if lease.state == "cut":
        await clean_lease(world, lane, lease)


async def cut_lease(world: World, lane: Identity, lease: Lease) -> Lease:
    """Cut one due lease, or again one that was cut: a name may have come back. Return it as it is then.

    Another lane may be at the same lease: only who finds it as it was records, and what is done
    at the target may be repeated. Raises TargetUnavailable; the lease stays due.
    """
    await _provider(world, lease).cut(lease)
    # A crash here leaves the same work: cutting again changes nothing.
    return await _recorded(world, lane, lease, Kind.LEASE_CUT) if lease.state == "revoking" else lease


async def clean_lease(world: World, lane: Identity, lease: Lease) -> Lease:
    """Remove every trace of a lease that was cut just now, after its dead credential was presented once.

    Return it as it is then. Raises TargetUnavailable; StillLetIn when the target let the credential in.
    """
    provider = _provider(world, lease)
    probe = await _probed(world, lane, provider, lease)
    # A crash here leaves the same work; the credential is forgotten, and the receipt will say so.
    await provider.clean(lease)
    return await _recorded(world, lane, lease, Kind.LEASE_REVOKED, due=None, probe=probe)


async def _probed(world: World, lane: Identity, provider: Provider, lease: Lease) -> str:
    """Return what became of presenting the dead credential (INTERFACES 11). Raises StillLetIn, recorded."""
    if lease.recipe.revocation_class == STANDING:
        return not_presented("it is standing: its delivery ended with the lease, and it lives on at its issuer")
    if not isinstance(provider, Probes):
        return not_presented("the target's provider cannot present it")
    try:
        answer = await provider.probe(lease)
    except StillLetIn:
        async with world.store.transaction(lane) as tx:
            about = {"target": lease.target, "task": lease.task}
            await tx.record(Kind.FINDING_RAISED, id=lease.id, finding="still_let_in", about=about)
        raise
    except TargetUnavailable:  # cleaning does not wait for it (S3)
        return not_presented("the target gave no answer to it")
    if answer is None:
        return not_presented("the broker held it no longer" if lease.activated else "it was never delivered")
    async with world.store.transaction(lane) as tx:
        return refused_probe(answer, tx.now)


def _provider(world: World, lease: Lease) -> Provider:
    try:
        return world.providers[lease.target]
    except KeyError:
        raise TargetUnavailable(
            f"no provider is configured for {lease.target}, which {lease.name} waits for",
            hint=f"put the target {lease.target} back into the configuration",
        ) from None


async def _recorded(world: World, lane: Identity, lease: Lease, kind: Kind, **changes: object) -> Lease:
    """Record what was done to the lease, unless it changed meanwhile; return it as it is."""
    moment = {Kind.LEASE_CUT: "cut", Kind.LEASE_REVOKED: "cleaned"}[kind]
    async with world.store.transaction(lane) as tx:
        stored = await tx.get(Lease, lease.id, lock=True)
        if stored != lease:
            return stored
        lease = advance(lease, kind, **changes, **{moment: tx.now})
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
                known = found if isinstance(found, Lease) else new
                again = {"due": tx.now, "overdue": None, "cut": None, "cleaned": None, "probe": ""}
                lease = advance(known, Kind.LEASE_FELL_DUE, **again)
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
