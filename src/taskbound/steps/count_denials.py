"""Count denials: what repeated a recorded denial within its second is one fact, about no thing (core.storm)."""

from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.ports import World

BATCH = 256  # counts in one transaction: a flood of different storms keeps no call waiting for long


async def count_denials(world: World, lane: Identity, *, all: bool = False) -> int:
    """State the count of each storm whose second is over, or of all; return how many storms there were.

    Raises StoreUnavailable; what was not stated is stated the next time.
    """
    stated = 0
    while world.denials:
        async with world.store.transaction(lane) as tx:
            storms = world.denials.over(tx.org, None if all else tx.now)[:BATCH]
            for storm in storms:
                call = storm.first
                await tx.record(
                    Kind.CALL_DENIED,
                    by=storm.by,
                    id=call.id,
                    task=call.task,
                    resource=call.resource,
                    code=call.code,
                    count=storm.count,
                    since=call.at,
                    until=storm.until,
                )
        world.denials.stated(storms)
        stated += len(storms)
        if len(storms) < BATCH:
            break
    return stated
