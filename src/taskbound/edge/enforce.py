"""Enforce: the order decide, yield, complete; the only one, for every enforcement point.

A call is decided and recorded before the block runs (S5, D19); a refusal runs no block. How the
call went is recorded after the block, whatever way it ends, and not awaited: it can only raise
trust, so nobody waits for it and it may be lost (INTERFACES 12).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from taskbound.core.call import Call, Decision
from taskbound.core.errors import TaskboundError
from taskbound.core.identity import Claim, Identity
from taskbound.core.secret import Secret
from taskbound.ports import World
from taskbound.steps.decide_call import CallAsk, Outcome, complete_call, decide_call

log = structlog.get_logger()

FAILED = Outcome(is_error=True, size=0)

_recording: set[asyncio.Task[None]] = set()  # outcomes under way: the loop itself keeps no strong reference


class Refusal(Exception):
    """The call was decided against. No error: it is answered as a value."""

    def __init__(self, call: Call, decision: Decision) -> None:
        super().__init__(decision.code)
        self.call = call
        self.decision = decision


@dataclass(slots=True)
class Permit:
    """A call that may go out now, once. The block says how it went; one that says nothing failed."""

    caller: Identity
    call: Call
    decision: Decision
    credential: Secret | None = None
    outcome: Outcome = FAILED


@asynccontextmanager
async def enforce(
    world: World, door: Identity, claim: Claim | Identity, ask: CallAsk, credential: Secret | None = None
) -> AsyncIterator[Permit]:
    """Give the permit for one call, with the credential that it goes out with. Raises Refusal, Unauthenticated,
    Unavailable.
    """
    caller, call, decision = await decide_call(world, door, claim, ask)
    if not decision.permitted:
        raise Refusal(call, decision)
    permit = Permit(caller, call, decision, credential)
    try:
        yield permit
    finally:
        recording = asyncio.create_task(_complete(world, door, permit))
        _recording.add(recording)
        recording.add_done_callback(_recording.discard)


async def _complete(world: World, door: Identity, permit: Permit) -> None:
    try:
        await complete_call(world, door, permit.caller, permit.call, permit.outcome)
    except TaskboundError as error:
        log.warning("outcome not recorded", call=permit.call.id, error=error.code)


async def drained() -> None:
    """Return when every outcome under way is recorded, or could not be. For the end of the process."""
    while _recording:
        await asyncio.wait(_recording)
