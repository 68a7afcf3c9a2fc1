"""Decide a call, and complete it: every tools/call, at every enforcement point.

The decision is recorded in the transaction that gathered its case: durable before anything goes
out (S5, D19), and made on the task as it is at that moment (S2). A race for the last of a budget
is lost by rolling back and deciding again in a fresh transaction, which records the deny. A denial that
equals one recorded within the same second is only counted, and answered with that one (core.storm).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskbound.core.call import Call, Decision, decide, decided
from taskbound.core.errors import BudgetSpent, Conflict, bounded
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.storm import key_of
from taskbound.ports import World
from taskbound.prove import gather, prove, refuse


@dataclass(frozen=True, slots=True)
class CallAsk:
    """A call as it was asked for: `resource` is "<upstream>/<tool>", the arguments are as parsed."""

    resource: str
    arguments: Mapping[str, Any]
    offered: str | None = None  # pin of the definition that the upstream offers now, "" for none; None: nobody looked

    def __post_init__(self) -> None:
        bounded("the name of the tool", self.resource, 256)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a permitted call went: its size in bytes, and whether the upstream called it an error."""

    is_error: bool
    size: int


async def decide_call(
    world: World, door: Identity, asker: Claim | Identity, ask: CallAsk
) -> tuple[Identity, Call, Decision]:
    """Return who asked, the call as recorded, and the decision. Raises Unauthenticated, Unavailable."""
    try:
        return await _decide(world, door, asker, ask)
    except BudgetSpent:  # another call took the last of it between our look and our record
        return await _decide(world, door, asker, ask)


async def _decide(
    world: World, door: Identity, asker: Claim | Identity, ask: CallAsk
) -> tuple[Identity, Call, Decision]:
    storm, first = None, None
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        case = await gather(world, tx, caller, "tools/call", ask.resource, ask.arguments, offered_pin=ask.offered)
        decision = decide(case)
        call = decided(case, decision)
        if decision.permitted:
            await tx.record(Kind.CALL_PERMITTED, call, by=caller, spent=decision.spent, decision=decision.record_of())
        else:
            storm = key_of(call, caller, ask.arguments)
            first = world.denials.repeated(storm, tx.now)
            if first is None:
                await refuse(tx, case, decision)
    if not decision.permitted and first is None:  # it is durable: from here on others may repeat it
        world.denials.recorded(storm, call, caller)
    return caller, first or call, decision


async def complete_call(world: World, door: Identity, caller: Identity, call: Call, outcome: Outcome) -> None:
    """Record how a permitted call went, once. What it tells only raises trust, so nobody waits for it."""
    if call.state != "permitted":
        raise Conflict(f"call {call.id} was {call.state}: it has no outcome")
    async with world.store.transaction(door) as tx:
        await tx.record(
            Kind.CALL_COMPLETED, by=caller, id=call.id, task=call.task, is_error=outcome.is_error, size=outcome.size
        )
        await tx.once("outcome", call.id, tx.now + timedelta(days=1))  # raises: then nothing of this is kept
