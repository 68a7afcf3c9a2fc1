"""Raise findings: what a scan saw goes into the registry and the log.

What is new is raised, and what was closed and is there again; what is known stays untouched, unless a credential lies
in it that was not there before: nobody answers for that yet, and it is to be dead too. What is gone from all
its places is closed where every credential in it is dead at its issuer, which is asked here, between two
transactions; else it is raised once more, with the reason: `cannot be verified: <issuer>`.

`localhost` in a file may be another machine. Where the server of that name that we may ask does not let such a login in
when it is first seen, it is taken for another one: that it is dead here says nothing of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from taskbound.asking import standings
from taskbound.core.call import Decision, decide
from taskbound.core.errors import InvalidRequest, NotFound, bounded
from taskbound.core.event import Kind
from taskbound.core.finding import MANY, NAME, SEVERITIES, TEXT, Finding, Issued, Spot, finding_id, why_kept
from taskbound.core.identity import Claim, Identity
from taskbound.core.thing import advance
from taskbound.ports import Standing, Transaction, World
from taskbound.posture.catalogues.server import is_one_everywhere
from taskbound.prove import gather, prove, refuse

MOST = 200  # findings in one request
ELSEWHERE = " of another machine"


@dataclass(frozen=True, slots=True)
class FindingAsk:
    """What a scan says of one finding."""

    seen_as: str
    case: str
    severity: str
    says: str
    subjects: tuple[str, ...]
    places: tuple[Spot, ...]
    issued: tuple[Issued, ...]
    owner: str
    next: str

    def __post_init__(self) -> None:
        for name in (self.seen_as, self.case, self.owner, *self.subjects):
            bounded("a name in a finding", name, NAME)
        for one in self.issued:
            for name in (one.mark, one.kind, one.issuer, one.login):
                bounded("a name in a finding", name, NAME)
        for text in (self.says, self.next, *(place.path for place in self.places)):
            bounded("a text in a finding", text, TEXT)
        if self.severity not in SEVERITIES:
            raise InvalidRequest(f"a severity is one of {', '.join(SEVERITIES)}")
        if not self.places or max(map(len, (self.subjects, self.places, self.issued))) > MANY:
            raise InvalidRequest(f"a finding has a place, and at most {MANY} subjects, places and credentials")

    @property
    def id(self) -> str:
        return finding_id(self.case, self.subjects, [place.path for place in self.places])


@dataclass(slots=True)
class Raised:
    """What became of what was told."""

    raised: list[str] = field(default_factory=list)  # ids
    known: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)  # id to why


async def raise_findings(
    world: World, door: Identity, asker: Claim | Identity, seen: Sequence[FindingAsk], gone: Sequence[str]
) -> Raised:
    """Take note of what a scan saw; `gone` are ids that it looked for at each of their places and did not see.

    Raises Denied, and InvalidRequest for more than a request has room for.
    """
    if len(seen) > MOST or len(gone) > MOST:
        raise InvalidRequest(f"at most {MOST} findings in one request")
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await _denied(world, tx, caller)
        known = [await _known(tx, ask.id) for ask in seen] if denied is None else []
    if denied is not None:
        denied.require_permit()
    elsewhere = await _elsewhere(world, seen, known)
    told = Raised()
    missing: list[Finding] = []
    async with world.store.transaction(door) as tx:
        for ask in {one.id: one for one in seen}.values():
            await _seen(tx, caller, ask, elsewhere, told)
        for id in gone:
            if (finding := await _known(tx, id)) is not None and finding.is_open and id not in told.known:
                missing.append(finding)
    # A crash here leaves open what is gone: the next scan misses it again.
    standings = await standings_of(world, {one for finding in missing for one in finding.issued})
    for finding in missing:
        async with world.store.transaction(door) as tx:
            await _missed(tx, caller, finding, why_kept(finding, standings), told)
    return told


async def _denied(world: World, tx: Transaction, caller: Identity) -> Decision | None:
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, "finding/raise", "findings")
    if (decision := decide(case)).permitted:
        return None
    await refuse(tx, case, decision)
    return decision


async def _known(tx: Transaction, id: str) -> Finding | None:
    try:
        return await tx.get(Finding, id, lock=True)
    except NotFound:
        return None


async def _elsewhere(world: World, seen: Sequence[FindingAsk], known: Sequence[Finding | None]) -> frozenset[Issued]:
    """Return what was issued under a name that each machine has for itself, and by none that we ever saw let it in."""
    near = {one for ask in seen for one in ask.issued if one.issuer in world.issuers}
    near = {one for one in near if not is_one_everywhere(one.issuer)}
    near -= {one for finding in known if finding is not None for one in finding.issued}
    said = await standings_of(world, near)
    return frozenset(one for one in near if said[one] != "alive")


def _foreign(one: Issued) -> Issued:
    """Return what is issued by a server of that name elsewhere: nobody here can be asked about it."""
    return replace(one, issuer=f"{one.issuer[: NAME - len(ELSEWHERE)]}{ELSEWHERE}")


async def _seen(tx: Transaction, caller: Identity, ask: FindingAsk, elsewhere: frozenset[Issued], told: Raised) -> None:
    known = await _known(tx, ask.id)
    before = known.issued if known is not None and known.is_open else ()
    issued = tuple(_foreign(one) if one in elsewhere else one for one in ask.issued)
    before = tuple(one for one in before if one not in {_foreign(other) for other in issued})  # it is here after all
    has_more = not set(issued) <= set(before)
    if known is not None and known.is_open and not has_more and not (known.state == "raised" and known.kept):
        told.known.append(known.id)
        return
    finding = Finding(
        id=ask.id,
        org=tx.org,
        seen_as=ask.seen_as,
        case=ask.case,
        severity=ask.severity,
        says=ask.says,
        subjects=ask.subjects,
        places=ask.places,
        issued=_bounded(tuple(dict.fromkeys((*before, *issued)))),
        owner=ask.owner,
        next=ask.next,
        raised=tx.now,
        state=known.state if known else "",
    )
    await tx.record(Kind.FINDING_RAISED, advance(finding, Kind.FINDING_RAISED), by=caller)
    (told.known if known and known.state == "raised" else told.raised).append(finding.id)


def _bounded(issued: tuple[Issued, ...]) -> tuple[Issued, ...]:
    """Return as many as a finding has room for: what is not named is not asked about, and so it is never closed."""
    return issued if len(issued) <= MANY else (*issued[: MANY - 1], Issued("", "more", "more issuers"))


async def _missed(tx: Transaction, caller: Identity, missed: Finding, why: str, told: Raised) -> None:
    finding = await tx.get(Finding, missed.id, lock=True)
    if finding != missed:  # another scan, or a person, was faster
        return
    if not why:
        await tx.record(Kind.FINDING_CLOSED, advance(finding, Kind.FINDING_CLOSED, kept=""), by=caller)
        told.closed.append(finding.id)
        return
    told.kept[finding.id] = why
    if finding.state == "raised" and finding.kept != why:
        await tx.record(Kind.FINDING_RAISED, advance(finding, Kind.FINDING_RAISED, kept=why), by=caller)


async def standings_of(world: World, issued: set[Issued]) -> Mapping[Issued, Standing]:
    """Ask who issued them, where it is a server of ours and the login is known. The others are unknown."""
    found = await standings(world, {(one.issuer, one.login) for one in issued})
    return {one: found.get((one.issuer, one.login), "unknown") for one in issued}
