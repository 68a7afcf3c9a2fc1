"""Offboard: everything that a person or an agent can still do here is taken from them, and each removal is proven.

First, in one transaction, all authority goes: they and what they own are suspended, and every task of theirs ends,
so that each lease falls due. Then, outside of it, logins that were found in their hands are ended at the servers that
we may ask, and each is probed. Last, what became of all of it is recorded as `identity.offboarded`. A crash between
leaves them without authority and the rest as it was: to do it again is safe, and ends what is left.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskbound.asking import standings
from taskbound.core.call import decide
from taskbound.core.errors import Conflict, Denied, InvalidRequest, Unavailable, bounded
from taskbound.core.event import Kind
from taskbound.core.finding import NAME, Finding
from taskbound.core.identity import Claim, Identity, Registration, name_of
from taskbound.core.lease import Lease
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import LIVE, end_tree
from taskbound.formats.spiffe import MalformedSpiffeId, make
from taskbound.ports import Standing, Transaction, World
from taskbound.prove import gather, prove, refuse

MOST = 500  # logins in one request
WITHIN = 15.0  # seconds that leases may take to be cut and clean; what takes longer is said, and goes on by itself
LOOK = 0.05


@dataclass(frozen=True, slots=True)
class LoginAsk:
    """A login that was found in somebody's hands, at the server where it would end."""

    issuer: str
    login: str

    def __post_init__(self) -> None:
        bounded("an issuer", self.issuer, NAME)
        bounded("a login", self.login, NAME)


@dataclass(slots=True)
class Ended:
    """What became of a login. `after` is what the server said of it when it was asked last."""

    issuer: str
    login: str
    before: Standing
    after: Standing
    why: str = ""  # why it is not dead, or not known to be


@dataclass(slots=True)
class Offboarding:
    """What somebody held here, and what became of it."""

    name: str
    registration: Registration | None  # None: nobody of that name is registered
    owned: list[Registration] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)  # that end
    leases: list[Lease] = field(default_factory=list)
    accepted: list[Finding] = field(default_factory=list)  # risks that they answer for: open again
    logins: list[Ended] = field(default_factory=list)


async def look_at_offboarding(
    world: World, door: Identity, asker: Claim | Identity, name: str, logins: Sequence[LoginAsk]
) -> Offboarding:
    """Return what would be done, and how each login stands; change nothing. Raises what `begin_offboarding` does."""
    require_room(logins)
    async with world.store.transaction(door) as tx:
        denied = await _denied(world, tx, await prove(tx, asker), name)
        if denied is None:
            held = await _people(world, tx, name)
            await _work(tx, held)
    if denied is not None:
        raise denied
    for ask, before in zip(logins, await _standings(world, logins), strict=True):
        held.logins.append(Ended(ask.issuer, ask.login, before, before, _why(world, ask, before)))
    return held


async def begin_offboarding(world: World, door: Identity, asker: Claim | Identity, name: str) -> Offboarding:
    """Take all authority from somebody, in one transaction; return what they held.

    Raises Denied, InvalidRequest for a name that is none, Conflict for the operator.
    """
    bounded("a name", name, NAME)
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await _denied(world, tx, caller, name)
        if denied is None:
            held = await _people(world, tx, name)
            _require_another(world, held)
            held.owned = [await _suspended(tx, caller, one) for one in held.owned]
            if held.registration is not None:
                held.registration = await _suspended(tx, caller, held.registration)
            await _work(tx, held)  # only now: no other task begins from here on
            for task in held.tasks:
                await end_tree(tx, caller, task.id, f"{name} is offboarded")
    if denied is not None:
        raise denied
    return held


async def finish_offboarding(
    world: World, door: Identity, asker: Claim | Identity, held: Offboarding, logins: Sequence[LoginAsk]
) -> Offboarding:
    """End logins at their servers, wait for the leases, and record what became of it all; return it.

    Raises InvalidRequest for more logins than there is room for (`require_room`, before anything is begun).
    """
    require_room(logins)
    for ask, before in zip(logins, await _standings(world, logins), strict=True):
        held.logins.append(await _ended(world, ask, before))
    held.leases = await _taken_back(world, door, [one.id for one in held.leases])
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        told = {
            "owned": [name_of(one.spiffe_id) for one in held.owned],
            "tasks": [one.id for one in held.tasks],
            "leases": {one.id: one.state for one in held.leases},
            "logins": [
                {"issuer": one.issuer, "login": one.login, "after": one.after, "why": one.why} for one in held.logins
            ],
        }
        known = None if held.registration is None else await tx.get(Registration, held.registration.id, lock=True)
        if known is None or known.state == "retired":  # to us unknown, or gone before: a fact about no thing
            about = held.name if known is None else known.id
            await tx.record(Kind.IDENTITY_OFFBOARDED, by=caller, id=about, name=held.name, removed=told)
        else:
            held.registration = advance(known, Kind.IDENTITY_OFFBOARDED)
            await tx.record(Kind.IDENTITY_OFFBOARDED, held.registration, by=caller, removed=told)
    return held


async def _denied(world: World, tx: Transaction, caller: Identity, name: str) -> Denied | None:
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, "offboarding/run", name[:64])
    if (decision := decide(case)).permitted:
        return None
    await refuse(tx, case, decision)
    return decision.refusal()


async def _people(world: World, tx: Transaction, name: str) -> Offboarding:
    """Return somebody, where they are registered, and what they own that is not retired."""
    try:
        found = await tx.find(Registration, spiffe_id=str(make(world.trust_domain, name)))
    except MalformedSpiffeId:  # known from a list alone: kaya@example.org
        found = []
    held = Offboarding(name, found[0] if found else None)
    if held.registration is not None:
        owned = await tx.find(Registration, owner=held.registration.spiffe_id)
        held.owned = [one for one in owned if one != held.registration and one.state != "retired"]
    return held


async def _work(tx: Transaction, held: Offboarding) -> None:
    """Add the tasks that they and what they own act in, or that are for them, the leases of those, accepted risks."""
    if held.registration is None:
        return
    me = held.registration.spiffe_id
    tasks: dict[str, Task] = {}
    for state in LIVE:
        some = await tx.find(Task, subject=me, state=state)
        for actor in (me, *(one.spiffe_id for one in held.owned)):
            some += await tx.find(Task, actor=actor, state=state)
        tasks |= {one.id: one for one in some}
    held.tasks = sorted(tasks.values(), key=lambda one: (one.depth, one.id))  # locked as in end_task: root first
    seen: set[str] = set()
    for task in held.tasks:
        held.leases += await _leases_below(tx, task.id, seen)
    held.accepted = [one for one in await tx.find(Finding, accepted_by=me) if one.state == "accepted"]


async def _leases_below(tx: Transaction, task: str, seen: set[str]) -> list[Lease]:
    if task in seen:
        return []
    seen.add(task)
    leases = [one for one in await tx.find(Lease, task=task) if one.state != "revoked"]
    for child in await tx.find(Task, parent=task):
        leases += await _leases_below(tx, child.id, seen)
    return leases


def _require_another(world: World, held: Offboarding) -> None:
    """Raises Conflict for the operator: nobody would administer any more, nor see to the rest."""
    if held.registration is not None and held.registration.spiffe_id == world.operator:
        raise Conflict(f"{held.name} operates this installation", hint="let its next operator do it")


async def _suspended(tx: Transaction, caller: Identity, one: Registration) -> Registration:
    if one.state != "registered":
        return one
    one = advance(one, Kind.IDENTITY_SUSPENDED)
    await tx.record(Kind.IDENTITY_SUSPENDED, one, by=caller)
    return one


def require_room(logins: Sequence[LoginAsk]) -> None:
    """Raises InvalidRequest for more logins than one request has room for."""
    if len(logins) > MOST:
        raise InvalidRequest(f"at most {MOST} logins in one request")


async def _standings(world: World, logins: Sequence[LoginAsk]) -> list[Standing]:
    found = await standings(world, ((one.issuer, one.login) for one in logins))
    return [found.get((one.issuer, one.login), "unknown") for one in logins]


def _why(world: World, ask: LoginAsk, standing: Standing) -> str:
    """Return what is to be said of a login that is not dead; "" of one that is."""
    if ask.issuer not in world.issuers:
        return f"cannot be verified: {ask.issuer} (it is no server of taskbound.toml)"
    return {"dead": "", "alive": "it still logs in", "unknown": f"cannot be verified: {ask.issuer}"}[standing]


async def _ended(world: World, ask: LoginAsk, before: Standing) -> Ended:
    """End a login, and ask its server whether it is dead: what counts is its answer, not that it was told to."""
    issuer = world.issuers.get(ask.issuer)
    if issuer is None:
        return Ended(ask.issuer, ask.login, before, before, _why(world, ask, before))
    refused = ""
    if before != "dead":
        try:
            await issuer.kill(ask.login)
        except Unavailable as error:
            refused = str(error)
    after = await issuer.probe(ask.login, None)
    why = _why(world, ask, after)
    # What is dead and was refused all the same may live again: Redis, where it could not be written down.
    return Ended(ask.issuer, ask.login, before, after, ": ".join(filter(None, (why, refused))))


async def _taken_back(world: World, door: Identity, ids: Sequence[str]) -> list[Lease]:
    """Return leases once they are revoked, or as they are when that takes too long. The lane takes them back."""
    loop = asyncio.get_running_loop()
    until = loop.time() + WITHIN
    while True:
        async with world.store.transaction(door) as tx:
            leases = [await tx.get(Lease, id) for id in ids]
        if all(one.state == "revoked" for one in leases) or loop.time() > until:
            return leases
        await asyncio.sleep(LOOK)
