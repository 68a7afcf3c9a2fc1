"""Erase the bodies of old events; what is left of each is its header in the tree, and every proof still verifies.

Each removal is stated by a `body.erased` in the same transaction, whose header names the indexes,
so that a body that is missing without one is found by `audit verify`. Only sealed events have an
index, so an event is sealed before its body can be erased.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from taskbound.core.errors import Conflict, InvalidRequest
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.ports import World

BATCH = 4096
READ = 512  # events looked at in one transaction
# What can be erased by itself, as the kinds of events in whose bodies it stands.
CLASSES = {"arguments": (Kind.CALL_PERMITTED, Kind.CALL_DENIED, Kind.CALL_COMPLETED, Kind.CALL_ALLOWED)}


async def erase_bodies(world: World, lane: Identity, by: Identity, older_than: timedelta, of: str = "") -> int:
    """Erase the bodies of events that are older; return how many. A crash leaves the rest for the next run.

    `of`: only those of a class, "arguments": what calls were asked with, and why they were denied. What another
    run erases meanwhile is its own. Raises InvalidRequest for a class that there is not, Conflict.
    """
    if older_than < timedelta(0):
        raise InvalidRequest("an age is not negative")
    if of and of not in CLASSES:
        raise InvalidRequest(f"there is no class {of[:32]!r}", hint=f"known: {', '.join(CLASSES)}")
    async with world.store.transaction(lane) as tx:
        before = tx.now - older_than
    erased = 0
    async for found in _of_kinds(world, lane, before, CLASSES[of]) if of else _all(world, lane, before):
        indexes: Sequence[int] = found
        while indexes:
            try:
                named = await world.log.erase(lane, indexes, by, f"{of} older than {older_than}".strip())
            except Conflict:  # nothing was erased: another run was at the same, and what it left is still ours
                left = await _whole(world, lane, indexes)
                if len(left) == len(indexes):
                    raise
                indexes = left
                continue
            erased, indexes = erased + named, indexes[named:]
    return erased


async def erase_body(world: World, lane: Identity, by: Identity, index: int) -> None:
    """Erase the body of one event. Raises Conflict where it is not sealed yet, or has none any more."""
    await world.log.erase(lane, [index], by, f"event {index}")


async def _whole(world: World, lane: Identity, indexes: Sequence[int]) -> list[int]:
    """Return those of the events, which are in order, that have their bodies."""
    wanted, whole = set(indexes), list[int]()
    for start in range(indexes[0], indexes[-1] + 1, READ):
        facts = await world.log.read(lane, start, min(start + READ, indexes[-1] + 1))
        whole += [fact.index for fact in facts if fact.index in wanted and fact.body is not None]
    return whole


async def _all(world: World, lane: Identity, before: datetime) -> AsyncIterator[Sequence[int]]:
    while indexes := await world.log.bodies(lane, before, BATCH):
        yield indexes


async def _of_kinds(
    world: World, lane: Identity, before: datetime, kinds: Sequence[Kind]
) -> AsyncIterator[Sequence[int]]:
    found: list[int] = []
    end = await world.log.appended(lane)
    for start in range(0, end, READ):
        for fact in await world.log.read(lane, start, min(start + READ, end)):
            old = fact.body is not None and fact.header.kind in kinds and fact.header.at < before
            if old and fact.index is not None:
                found.append(fact.index)
        if len(found) >= BATCH:
            yield found
            found = []
    yield found
