"""Erase the bodies of old events; what is left of each is its header in the tree, and every proof still verifies.

Each removal is stated by a `body.erased` in the same transaction, whose header names the indexes,
so that a body that is missing without one is found by `audit verify`. Only sealed events have an
index, so an event is sealed before its body can be erased.
"""

from datetime import timedelta

from taskbound.core.errors import Conflict, InvalidRequest
from taskbound.core.identity import Identity
from taskbound.ports import World

BATCH = 4096


async def erase_bodies(world: World, lane: Identity, by: Identity, older_than: timedelta) -> int:
    """Erase the bodies of events that are older; return how many. A crash leaves the rest for the next run."""
    if older_than < timedelta(0):
        raise InvalidRequest("an age is not negative")
    async with world.store.transaction(lane) as tx:
        before = tx.now - older_than
    erased = 0
    while indexes := await world.log.bodies(lane, before, BATCH):
        while indexes:
            try:
                named = await world.log.erase(lane, indexes, by, f"older than {older_than}")
            except Conflict:  # another run was at the same: look again at what is left
                break
            erased, indexes = erased + named, indexes[named:]
    return erased
