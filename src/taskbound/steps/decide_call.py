"""Decide a call, and complete it: every tools/call, at every enforcement point.

The decision is recorded in the transaction that gathered its case: durable before anything goes
out (S5, D19), and made on the task as it is at that moment (S2). A race for the last of a budget
is lost by rolling back and deciding again in a fresh transaction, which records the deny.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskbound.core.call import Call, Case, Decision, decide, decided
from taskbound.core.errors import BudgetSpent
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.task import Task
from taskbound.ports import Transaction, World
from taskbound.prove import gather, prove


@dataclass(frozen=True, slots=True)
class CallAsk:
    """A call as it was asked for: `resource` is "<upstream>/<tool>", the arguments are as parsed."""

    resource: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a permitted call went: its size in bytes, and whether the upstream called it an error."""

    is_error: bool
    size: int


async def decide_call(
    world: World, door: Identity, asker: Claim | Identity, ask: CallAsk
) -> tuple[Identity, Call, Decision]:
    """Return who asked, the call as recorded, and the decision. Raises Unauthenticated, Unavailable."""
    for attempt in (1, 2):
        try:
            async with world.store.transaction(door) as tx:
                caller = await prove(tx, asker)
                case = await _case(world, tx, caller, ask)
                decision = decide(case)
                call = decided(case, decision)
                kind = Kind.CALL_PERMITTED if decision.permitted else Kind.CALL_DENIED
                await tx.record(kind, call, by=caller, spent=decision.spent, decision=decision.record_of())
            return caller, call, decision
        except BudgetSpent:
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


async def _case(world: World, tx: Transaction, caller: Identity, ask: CallAsk) -> Case:
    root = (await tx.get(Task, caller.task)).root if caller.task else None
    call = Call(world.new_id("c"), tx.org, caller.task, root, "tools/call", ask.resource, tx.now)
    return await gather(tx, world.policies.current, caller, call, ask.arguments)


async def complete_call(world: World, door: Identity, caller: Identity, call: Call, outcome: Outcome) -> None:
    """Record how a permitted call went. What it tells only raises trust, so nobody waits for it."""
    async with world.store.transaction(door) as tx:
        await tx.record(
            Kind.CALL_COMPLETED, by=caller, id=call.id, task=call.task, is_error=outcome.is_error, size=outcome.size
        )
