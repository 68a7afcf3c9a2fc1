"""Count denials: what repeated a recorded one within its second is one fact, about no thing (core.storm)."""

from typing import Any

from taskbound.core.call import Call
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.storm import Refusal
from taskbound.ports import World

BATCH = 256  # counts in one transaction: a flood of different storms keeps no call waiting for long


async def count_denials(world: World, lane: Identity, *, all: bool = False) -> int:
    """State the count of each storm whose second is over, or of all; return how many storms there were.

    Raises StoreUnavailable; what was not stated is stated the next time.
    """
    stated = 0
    while world.denials:
        async with world.store.transaction(lane) as tx:
            over = world.denials.over(tx.org, None if all else tx.now)
            # Of one kind: on a full disk a denied call can be recorded, and what was shown at a door cannot.
            storms = [storm for storm in over if type(storm.first) is type(over[0].first)][:BATCH]
            for storm in storms:
                first, kind = storm.first, Kind.CALL_DENIED if isinstance(storm.first, Call) else Kind.TOKEN_REFUSED
                about: dict[str, Any] = {"count": storm.count, "since": first.at, "until": storm.until}
                await tx.record(kind, by=storm.by, id=first.id, **_what(first), **about)
        world.denials.stated(storms)
        stated += len(storms)
        if len(storms) == len(over):
            break
    return stated


def _what(first: Call | Refusal) -> dict[str, Any]:
    if isinstance(first, Refusal):
        return {"shown": first.shown, "code": first.code}
    return {"task": first.task, "resource": first.resource, "code": first.code}
