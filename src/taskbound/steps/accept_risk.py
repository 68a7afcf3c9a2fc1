"""Accept a risk: a living person answers, until a day, for leaving a finding as it is.

When the day is over, or the person is not live any more, it is open again: `reopen_expired` says so in the log, and
whoever reads it before that sees it by the moment (`Finding.is_accepted`).
"""

from datetime import datetime, timedelta

from taskbound.core.call import decide
from taskbound.core.errors import Conflict, Denied, InvalidRequest, NotFound, bounded
from taskbound.core.event import Kind
from taskbound.core.finding import Finding
from taskbound.core.identity import Claim, Identity, Registration, name_of
from taskbound.core.thing import advance
from taskbound.ports import Transaction, World
from taskbound.prove import gather, named, prove, refuse

LONGEST = timedelta(days=367)  # nobody answers for ever: a year, and the day that is named whole


async def accept_risk(
    world: World, door: Identity, asker: Claim | Identity, id: str, owner: str, until: datetime, reason: str
) -> Finding:
    """Let a person answer for a finding, by its id or by the one that reports give it; return it.

    Raises Denied, NotFound, InvalidRequest for an owner or a moment that will not do, Conflict where it is closed, or
    the id is that of several.
    """
    bounded("the reason", reason, 1024)
    if not reason.strip():
        raise InvalidRequest("why is it left so? the reason is missing", hint="say what it waits for, in some words")
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await _denied(world, tx, caller, id)
        if denied is None:
            finding = await _one(tx, id)
            person = await named(world, tx, owner)
            _require_living_human(person)
            _require_ahead(until, tx.now)
            finding = advance(finding, Kind.FINDING_ACCEPTED, accepted_by=person.spiffe_id, reason=reason, due=until)
            await tx.record(Kind.FINDING_ACCEPTED, finding, by=caller)
    if denied is not None:
        raise denied
    return finding


async def _denied(world: World, tx: Transaction, caller: Identity, id: str) -> Denied | None:
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, "finding/accept", id[:64])
    if (decision := decide(case)).permitted:
        return None
    await refuse(tx, case, decision)
    return decision.refusal()


async def _one(tx: Transaction, id: str) -> Finding:
    try:
        return await tx.get(Finding, id, lock=True)
    except NotFound:
        found = [one for one in await tx.find(Finding, seen_as=id) if one.is_open]
        if not found:
            raise NotFound(
                f"there is no open finding {id[:32]}", hint="taskbound risk list (GET /v1/findings)"
            ) from None
    if len(found) > 1:
        raise Conflict(f"{id[:32]} was seen in {len(found)} places", hint=f"name one: {', '.join(o.id for o in found)}")
    return await tx.get(Finding, found[0].id, lock=True)


def _require_living_human(person: Registration) -> None:
    name = name_of(person.spiffe_id)
    if person.kind != "human":
        raise InvalidRequest(f"{name} is no human: only a person answers for a risk", hint="owner: human/NAME")
    if not person.is_live:
        raise InvalidRequest(f"{name} is {person.state}", hint="name somebody who is registered")


def _require_ahead(until: datetime, now: datetime) -> None:
    if not now < until:
        raise InvalidRequest("that day is over", hint="name a day to come")
    if until - now > LONGEST:
        raise InvalidRequest("a risk is accepted for a year at most", hint="look at it again by then")


async def reopen_expired(world: World, lane: Identity) -> list[Finding]:
    """Raise again what nobody answers for any more: the day is over, or who accepted it is not live. Return it."""
    again: list[Finding] = []
    async with world.store.transaction(lane) as tx:
        accepted = await tx.find(Finding, state="accepted")
        live = {name: await _is_live(tx, name) for name in {one.accepted_by for one in accepted}}
        for finding in accepted:
            if finding.is_accepted(tx.now) and live[finding.accepted_by]:
                continue
            why = "expired" if live[finding.accepted_by] else "who accepted it is not live any more"
            raised = advance(finding, Kind.FINDING_RAISED)
            await tx.record(Kind.FINDING_RAISED, raised, reason=why)
            again.append(raised)
    return again


async def _is_live(tx: Transaction, spiffe_id: str) -> bool:
    found = await tx.find(Registration, spiffe_id=spiffe_id)
    return bool(found) and found[0].is_live
