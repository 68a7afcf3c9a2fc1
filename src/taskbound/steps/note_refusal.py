"""Note a refusal: what was shown at a door and refused is on record, and nothing of it.

Whoever knocks chooses how often: a storm of equal refusals is its first and one count (core.storm).
"""

from taskbound.core.errors import Refused, Unavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.storm import Refusal
from taskbound.ports import World


async def note_refusal(world: World, door: Identity, shown: str, error: Refused) -> None:
    """Record that what was shown as a proof was refused, by its sort ("a task handle"): never the thing itself.

    Of a storm the first. What cannot be recorded is refused all the same. The door is that of one request.
    """
    with world.denials.noting(door, shown, error.code, str(error)) as is_to_be_noted:
        if is_to_be_noted:
            await _note(world, door, shown, error)


async def _note(world: World, door: Identity, shown: str, error: Refused) -> None:
    refusal: Refusal | None = None
    try:
        async with world.store.transaction(door) as tx:
            seen = Refusal(str(door.facts.get("request", "")), tx.org, tx.now, shown, error.code, str(error))
            if world.denials.is_first(seen, door):
                refusal = seen
                what, reason = Kind.TOKEN_REFUSED, seen.reason
                await tx.record(what, id=seen.id, by=door, shown=shown, code=seen.code, reason=reason)
    except BaseException as failure:
        if refusal is not None:
            world.denials.lost(refusal, door)
        if not isinstance(failure, Unavailable):
            raise
