"""Enforce: the order decide, yield, complete; the only one, for every enforcement point.

A call is decided and recorded before the block runs (S5, D19); a refusal runs no block. How the
call went is recorded after the block, whatever way it ends, and not awaited: it can only raise
trust, so nobody waits for it and it may be lost (INTERFACES 12). So it waits itself, a moment, for
others to share a commit with.
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

TOGETHER = 0.02  # seconds that outcomes are gathered before they are recorded


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


class Outcomes:
    """How calls went, as it comes to be recorded."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._gathered: list[tuple[Identity, Permit]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._recording: set[asyncio.Task[None]] = set()  # the loop itself keeps no strong reference

    def add(self, door: Identity, permit: Permit) -> None:
        """Take an outcome that will be recorded."""
        self._gathered.append((door, permit))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOGETHER, self._record)

    async def drained(self) -> None:
        """Return when every outcome so far is recorded, or could not be. For the end of the process."""
        if self._timer is not None:
            self._timer.cancel()
            self._record()
        while self._recording:
            await asyncio.wait(self._recording)

    def _record(self) -> None:
        self._timer = None
        gathered, self._gathered = self._gathered, []
        for door, permit in gathered:  # what begins in one turn of the loop shares a commit
            recording = asyncio.create_task(self._complete(door, permit))
            recording.add_done_callback(self._recording.discard)  # first: what stays in the set is waited for
            self._recording.add(recording)

    async def _complete(self, door: Identity, permit: Permit) -> None:
        try:
            await complete_call(self._world, door, permit.caller, permit.call, permit.outcome)
        except TaskboundError as error:
            log.warning("outcome not recorded", call=permit.call.id, error=error.code)


@asynccontextmanager
async def enforce(
    world: World,
    door: Identity,
    claim: Claim | Identity,
    ask: CallAsk,
    outcomes: Outcomes,
    credential: Secret | None = None,
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
        outcomes.add(door, permit)
