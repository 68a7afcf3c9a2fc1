"""Follow the log: sealed events, read by index and in order, to every sink (D13).

By index, never by row: rows commit out of order, and a reader that remembers the last row id
misses those that come late. Only what a checkpoint covers is handed on. At least once: a sink
that fails gets the same events again, and says itself where it stands.
"""

from collections.abc import Sequence

from taskbound.core.errors import Unavailable
from taskbound.core.identity import Identity
from taskbound.formats.note import MalformedNote, parse_note
from taskbound.formats.tlog import parse_checkpoint
from taskbound.ports import Sink, World

BATCH = 512


async def follow_log(world: World, lane: Identity, after: int, sinks: Sequence[Sink]) -> int:
    """Send the sealed events behind index `after` to each sink; return the last index sent.

    Raises Unavailable where a sink or the store does; what was sent before stays sent.
    """
    note = await world.log.checkpoint(lane)
    if note is None:
        return after
    try:
        size = parse_checkpoint(parse_note(note)[0]).size
    except MalformedNote as error:
        raise Unavailable(f"the checkpoint cannot be read: {error}", code="log_broken") from error
    while (start := after + 1) < size:
        end = min(size, start + BATCH)
        facts = await world.log.read(lane, start, end)
        if [fact.index for fact in facts] != list(range(start, end)):
            raise Unavailable(f"events {start} to {end - 1} are not all there", code="log_broken")
        for sink in sinks:
            await sink.send(facts)
        after = end - 1
    return after
