"""Offboard: everything that a person or an agent can still do here is taken from them, and each removal is proven.

First, in one transaction, all authority goes: they and what they own are suspended, and every task of theirs ends,
so that each lease falls due; and the logins that were found in their hands fall due at the servers that we may ask.
Then, outside of it, each login is ended and probed, a few at a time, and what became of it is recorded. Last, all of it
is recorded as `identity.offboarded`, also where something failed. A crash between leaves them without authority, and
what fell due without its end in the log: the next run ends it, whether it is found in a file again or not.

A login is ended only where its server is known to be the one. `localhost` in a checkout may be another machine, where a
login of that name is somebody else's: there what was found has to be let in itself.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskbound.asking import Login, each, standings
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
from taskbound.posture.catalogues.server import is_one_everywhere
from taskbound.prove import gather, prove, refuse

MOST = 500  # logins in one request
ENDING = 120.0  # seconds in which the end of a login may begin; the others are told, and the next run ends them
WITHIN = 15.0  # seconds that leases may take to be cut and clean; what takes longer is said, and goes on by itself
LOOK = 0.05
# What shows that a login is at that server: it let in what was found; it was asked itself, and has it; it refused it.
SHOWN = ("let_in", "listed")
PROOFS = (*SHOWN, "refused")


@dataclass(frozen=True, slots=True)
class LoginAsk:
    """A login that was found in somebody's hands, at the server where it would end."""

    issuer: str
    login: str
    proof: str = ""  # one of PROOFS; "": what was found could not be shown to it

    def __post_init__(self) -> None:
        bounded("an issuer", self.issuer, NAME)
        bounded("a login", self.login, NAME)
        if self.proof and self.proof not in PROOFS:
            raise InvalidRequest(f"the proof of a login is one of {', '.join(PROOFS)}")


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
    by: Identity | None = None  # who asks, proven when it was begun
    found: list[LoginAsk] = field(default_factory=list)  # logins that were named, and those due from another time
    over: frozenset[Login] = frozenset()  # whose end, for them, is in the log
    logins: list[Ended] = field(default_factory=list)

    @property
    def about(self) -> str:
        """What stands in the log under their name."""
        return self.name if self.registration is None else self.registration.id


async def look_at_offboarding(
    world: World, door: Identity, asker: Claim | Identity, name: str, logins: Sequence[LoginAsk]
) -> Offboarding:
    """Return what would be done, and how each login stands; change nothing. Raises what `begin_offboarding` does."""
    require_room(logins)
    due, over = await _known(world, door, name)
    async with world.store.transaction(door) as tx:
        denied = await _denied(world, tx, await prove(tx, asker), name)
        if denied is None:
            held = await _people(world, tx, name)
            await _work(tx, held)
    if denied is not None:
        raise denied
    held.found, held.over = _joined(logins, due), over
    before = await _standings(world, held.found)
    held.logins = [
        _left_alone(world, held, ask) or Ended(ask.issuer, ask.login, before[ask], before[ask], _why(ask, before[ask]))
        for ask in held.found
    ]
    return held


async def begin_offboarding(
    world: World, door: Identity, asker: Claim | Identity, name: str, logins: Sequence[LoginAsk]
) -> Offboarding:
    """Take all authority from somebody, in one transaction, and record which logins are to end; return what they held.

    Raises Denied, InvalidRequest for a name that is none or more logins than there is room for, Conflict for the
    operator.
    """
    require_room(logins)
    bounded("a name", name, NAME)
    due, over = await _known(world, door, name)
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await _denied(world, tx, caller, name)
        if denied is None:
            held = await _people(world, tx, name)
            _require_another(world, held)
            held.by, held.found, held.over = caller, _joined(logins, due), over
            for ask in held.found:
                if _left_alone(world, held, ask) is None:
                    told: dict[str, Any] = {"issuer": ask.issuer, "login": ask.login, "proof": ask.proof}
                    await tx.record(Kind.LOGIN_FELL_DUE, by=caller, id=held.about, because="offboarding", **told)
            held.owned = [await _suspended(tx, caller, one, name) for one in held.owned]
            if held.registration is not None:
                held.registration = await _suspended(tx, caller, held.registration, name)
            await _work(tx, held)  # only now: no other task begins from here on
            for task in held.tasks:
                await end_tree(tx, caller, task.id, f"{name} is offboarded")
    if denied is not None:
        raise denied
    return held


async def finish_offboarding(world: World, door: Identity, held: Offboarding) -> Offboarding:
    """End the logins at their servers, wait for the leases, and record what became of it all; return it.

    What one of them fails of stops no other, and is raised when all is recorded.
    """
    caller = held.by or door
    trouble = await _end_logins(world, door, caller, held)
    try:
        held.leases = await _taken_back(world, door, [one.id for one in held.leases])
    except Exception as error:
        trouble.append(error)
    async with world.store.transaction(door) as tx:
        told = {
            "owned": [name_of(one.spiffe_id) for one in held.owned],
            "tasks": [one.id for one in held.tasks],
            "leases": {one.id: one.state for one in held.leases},
            "logins": [
                {"issuer": one.issuer, "login": one.login, "after": one.after, "why": one.why} for one in held.logins
            ],
            "failed": [type(error).__name__ for error in trouble],
        }
        known = None if held.registration is None else await tx.get(Registration, held.registration.id, lock=True)
        if known is None or known.state == "retired":  # to us unknown, or gone before: a fact about no thing
            await tx.record(Kind.IDENTITY_OFFBOARDED, by=caller, id=held.about, name=held.name, removed=told)
        else:
            held.registration = advance(known, Kind.IDENTITY_OFFBOARDED)
            await tx.record(Kind.IDENTITY_OFFBOARDED, held.registration, by=caller, removed=told)
    if trouble:
        raise trouble[0]
    return held


async def _known(world: World, door: Identity, name: str) -> tuple[list[LoginAsk], frozenset[Login]]:
    """Return the logins that fell due for somebody another time without an end in the log, and those that have one.

    What they own is theirs, and may have been offboarded before them.
    """
    async with world.store.transaction(door) as tx:
        held = await _people(world, tx, name)
    due, over = dict[Login, LoginAsk](), set[Login]()
    facts = [fact for id in (held.about, *(one.id for one in held.owned)) for fact in await world.log.about(door, id)]
    for fact in sorted(facts, key=lambda one: one.row):
        if fact.body is None or fact.header.kind not in (Kind.LOGIN_FELL_DUE, Kind.LOGIN_ENDED):
            continue
        said = json.loads(fact.body)["detail"]
        key = (said["issuer"], said["login"])
        if fact.header.kind == Kind.LOGIN_ENDED:
            due.pop(key, None)
            over.add(key)
        else:
            due[key] = LoginAsk(*key, said["proof"])
    return list(due.values()), frozenset(over)


def _joined(found: Sequence[LoginAsk], due: Sequence[LoginAsk]) -> list[LoginAsk]:
    """Return each login once: as it was found now, or, where it was shown then, as it fell due.

    It may be dead since, and refuse what it let in. What there is no room for stays due.
    """
    shown = {(one.issuer, one.login): one for one in due if one.proof}
    every = {(one.issuer, one.login): one for one in (*due, *found)}
    named = [(one.issuer, one.login) for one in (*found, *due)]
    return [shown.get(key, every[key]) for key in dict.fromkeys(named)][: 2 * MOST]


async def _denied(world: World, tx: Transaction, caller: Identity, name: str) -> Denied | None:
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, "offboarding/run", name[:64])
    if (decision := decide(case)).permitted:
        return None
    await refuse(tx, case, decision)
    return decision.refusal()


async def _people(world: World, tx: Transaction, name: str) -> Offboarding:
    """Return somebody, where they are registered, and what they own: what is retired may still hold a login."""
    try:
        found = await tx.find(Registration, spiffe_id=str(make(world.trust_domain, name)))
    except MalformedSpiffeId:  # known from a list alone: kaya@example.org
        found = []
    held = Offboarding(name, found[0] if found else None)
    if held.registration is not None:
        owned = await tx.find(Registration, owner=held.registration.spiffe_id)
        held.owned = [one for one in owned if one != held.registration]
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


async def _suspended(tx: Transaction, caller: Identity, one: Registration, name: str) -> Registration:
    if one.state != "registered":
        return one
    one = advance(one, Kind.IDENTITY_SUSPENDED)
    await tx.record(Kind.IDENTITY_SUSPENDED, one, by=caller, reason=f"{name} is offboarded")
    return one


def require_room(logins: Sequence[LoginAsk]) -> None:
    """Raises InvalidRequest for more logins than one request has room for."""
    if len(logins) > MOST:
        raise InvalidRequest(f"at most {MOST} logins in one request")


async def _standings(world: World, logins: Sequence[LoginAsk]) -> Mapping[LoginAsk, Standing]:
    found = await standings(world, ((one.issuer, one.login) for one in logins))
    return {one: found.get((one.issuer, one.login), "unknown") for one in logins}


def _left_alone(world: World, held: Offboarding, ask: LoginAsk) -> Ended | None:
    """Return what is said of a login that is not ended, whatever has its name at that server; None of one that is."""
    if ask.issuer not in world.issuers:
        why = f"cannot be verified: {ask.issuer} (it is no server of taskbound.toml)"
        return Ended(ask.issuer, ask.login, "unknown", "unknown", why)
    is_known = is_one_everywhere(ask.issuer) or (ask.issuer, ask.login) in held.over
    if ask.proof == "refused" and is_known:
        return Ended(ask.issuer, ask.login, "dead", "dead", "what was found is refused there; nothing else was ended")
    if ask.proof in SHOWN or is_one_everywhere(ask.issuer):
        return None
    was = "is refused there" if ask.proof else "was not let in there"
    why = f"cannot be verified: {ask.issuer} (what was found {was}: it may be of another machine)"
    return Ended(ask.issuer, ask.login, "unknown", "unknown", why)


def _why(ask: LoginAsk, standing: Standing) -> str:
    """Return what is to be said of a login that is not dead; "" of one that is."""
    return {"dead": "", "alive": "it still logs in", "unknown": f"cannot be verified: {ask.issuer}"}[standing]


async def _end_logins(world: World, door: Identity, caller: Identity, held: Offboarding) -> list[Exception]:
    """End what fell due, record what became of each, and return what failed otherwise than a server does."""
    asked = {(ask.issuer, ask.login): ask for ask in held.found if _left_alone(world, held, ask) is None}
    before = await _standings(world, list(asked.values()))
    ended, trouble = dict[tuple[str, str], Ended](), list[Exception]()
    until = asyncio.get_running_loop().time() + ENDING

    async def end(issuer: str, login: str) -> None:
        ask = asked[issuer, login]
        ended[issuer, login] = one = Ended(issuer, login, before[ask], "unknown", "it was not ended in time: again")
        try:
            if asyncio.get_running_loop().time() < until:
                ended[issuer, login] = one = await _ended(world, ask, before[ask])
        except Exception as error:  # our own fault, or a plug-in's: the others end all the same
            one.why = f"it failed: {type(error).__name__}"
            trouble.append(error)
        try:
            await _record(world, door, caller, held.about, one)
        except Exception as error:
            trouble.append(error)

    await each(asked, end)
    held.logins = [_left_alone(world, held, ask) or ended[ask.issuer, ask.login] for ask in held.found]
    return trouble


async def _record(world: World, door: Identity, caller: Identity, about: str, one: Ended) -> None:
    kind = Kind.LOGIN_ENDED if one.after == "dead" else Kind.LOGIN_OVERDUE
    told: dict[str, Any] = {
        "issuer": one.issuer,
        "login": one.login,
        "before": one.before,
        "after": one.after,
        "why": one.why,
    }
    async with world.store.transaction(door) as tx:
        await tx.record(kind, by=caller, id=about, because="offboarding", **told)


async def _ended(world: World, ask: LoginAsk, before: Standing) -> Ended:
    """End a login, and ask its server whether it is dead: what counts is its answer, not that it was told to."""
    issuer, refused = world.issuers[ask.issuer], ""
    if before != "dead":
        try:
            await issuer.kill(ask.login)
        except Unavailable as error:
            refused = str(error)
    after = await issuer.probe(ask.login, None)
    why = _why(ask, after)
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
