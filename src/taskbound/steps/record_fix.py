"""Record a fix: what is about to be done about a finding on this machine, and how that ended.

Files are changed, and old logins ended, by the command of a person, outside of here. So that there is no effect
without an event, what is meant is said before, and how it went afterwards. What was cut off in the middle stands in the
log as begun, and nothing after it. No value of a credential is in any of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskbound.core.call import decide
from taskbound.core.errors import Conflict, Denied, InvalidRequest, NotFound, bounded
from taskbound.core.event import Kind
from taskbound.core.finding import MANY, NAME, TEXT
from taskbound.core.identity import Claim, Identity
from taskbound.core.leaf import Fact
from taskbound.ports import Transaction, World
from taskbound.prove import gather, prove, refuse

ID = 64  # bytes of the id that reports give a finding
# What begins an act, and what ends it: done, failed.
ACTS: Mapping[str, Kind] = {"fix": Kind.FIX_BEGUN, "undo": Kind.FIX_BEGUN, "kill": Kind.LOGIN_FELL_DUE}
ENDS: Mapping[str, tuple[Kind, Kind]] = {
    Kind.FIX_BEGUN: (Kind.FIX_DONE, Kind.FIX_FAILED),
    Kind.LOGIN_FELL_DUE: (Kind.LOGIN_ENDED, Kind.LOGIN_OVERDUE),
}


@dataclass(frozen=True, slots=True)
class FixAsk:
    """What is about to be done: files are fixed or put back, or a login is ended (`kill`) at its server."""

    finding: str  # its id, as reports of a scan give it
    act: str
    files: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()  # that get what stands in them
    with_secrets: bool = False  # whether literal secrets are put back
    issuer: str = ""
    login: str = ""

    def __post_init__(self) -> None:
        bounded("the id of a finding", self.finding, ID)
        for name in (self.issuer, self.login, *self.targets):
            bounded("a name in a fix", name, NAME)
        for path in self.files:
            bounded("a path in a fix", path, TEXT)
        if self.act not in ACTS:
            raise InvalidRequest(f"an act is one of {', '.join(ACTS)}")
        if bool(self.issuer and self.login) != (self.act == "kill") or not self.finding:
            raise InvalidRequest("a kill names an issuer and a login, and nothing else does; each names a finding")
        if max(len(self.files), len(self.targets)) > MANY:
            raise InvalidRequest(f"at most {MANY} files and targets in one fix")

    @property
    def about(self) -> dict[str, Any]:
        if self.act == "kill":
            return {"because": "fix", "issuer": self.issuer, "login": self.login}
        files, targets = list(self.files), list(self.targets)
        return {"act": self.act, "files": files, "targets": targets, "with_secrets": self.with_secrets}


async def begin_fix(world: World, door: Identity, asker: Claim | Identity, ask: FixAsk) -> str:
    """Record what is about to be done, and return the id of this request, under which it ends. Raises Denied."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await _denied(world, tx, caller, ask.finding)
        if denied is None:
            event = await tx.record(ACTS[ask.act], by=caller, id=ask.finding, **ask.about)
    if denied is not None:
        raise denied
    return event.request


async def end_fix(
    world: World,
    door: Identity,
    asker: Claim | Identity,
    finding: str,
    begun: str,
    failed: str,
    before: str = "",
    after: str = "",
) -> Kind:
    """Record how what was begun has ended, and return the kind of that fact.

    `failed`: why it is not done, "" where it is; `before` and `after`: what a server said of a login. Raises Denied,
    NotFound for what was never begun, Conflict for what has ended.
    """
    bounded("why it failed", failed, TEXT)
    for one in (before, after):
        bounded("what a server said", one, ID)
    facts = await world.log.about(door, finding)
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await _denied(world, tx, caller, finding)
        if denied is None:
            fact = _begun(facts, finding, begun)
            kind = ENDS[fact.header.kind][bool(failed)]
            told = {**_detail(fact), "begun": begun, "failed": failed}
            told |= {"before": before, "after": after} if kind in ENDS[Kind.LOGIN_FELL_DUE] else {}
            await tx.record(kind, by=caller, id=finding, **told)
    if denied is not None:
        raise denied
    return kind


def _begun(facts: Sequence[Fact], finding: str, begun: str) -> Fact:
    known = [fact for fact in facts if fact.header.kind in ENDS and fact.header.request == begun]
    if not known or not begun:
        raise NotFound(f"nothing about {finding[:ID]} was begun in {begun[:ID]}", hint="POST /v1/fixes")
    if any(_detail(fact).get("begun") == begun for fact in facts):
        raise Conflict(f"what was begun in {begun} has ended")
    return known[0]


def _detail(fact: Fact) -> dict[str, Any]:
    """Return what a fact says beside its thing; nothing where that was erased."""
    return dict(json.loads(fact.body).get("detail", {})) if fact.body else {}


async def _denied(world: World, tx: Transaction, caller: Identity, finding: str) -> Denied | None:
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, "finding/fix", finding[:ID])
    if (decision := decide(case)).permitted:
        return None
    await refuse(tx, case, decision)
    return decision.refusal()
