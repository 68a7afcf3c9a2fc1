"""Seal the log: committed events get their places, become leaves, and a checkpoint is signed over them (S5, D19).

In one order, each part durable before the next: events get indexes and the tree its tiles; what
was stored is read again and hashed again (T7.6); only then it is signed; the checkpoint replaces
the one that was read at the start; it goes to the second place. A crash anywhere leaves work that
the next pass finds; two at once both sign the same, or one of them loses its place (T7.5).

Where what is stored contradicts what was signed before, here or in the second place, nothing is
signed any more: the log is broken, and a person has to look. Events are recorded all the same.
"""

from taskbound.core.errors import Conflict, Unavailable
from taskbound.core.identity import Identity
from taskbound.core.leaf import commitment, render_leaf
from taskbound.formats.note import MalformedNote, Signature, Unverified, VerifierKey, make_key, render_note, verify_note
from taskbound.formats.tlog import (
    EMPTY,
    Checkpoint,
    MalformedTile,
    edge,
    grow,
    leaf_hash,
    parse_checkpoint,
    root,
    tile_node,
)
from taskbound.ports import World

BATCH = 1024  # events a pass seals; keeps each transaction short

Tiles = dict[tuple[int, int], bytes]


async def seal_log(world: World, lane: Identity) -> Checkpoint:
    """Seal up to BATCH events of the lane's organisation; return the checkpoint in force.

    Raises Conflict when another sealer was first: try again. Raises Unavailable with the code
    `log_broken` when what is stored is not what was sealed, and signs nothing.
    """
    origin = f"{world.instance}/{lane.org}"
    key = make_key(origin, (await world.keys.public())["log"])
    # The second place first: another sealer may go on in between, and the log is never behind it.
    kept = await world.checkpoints.newest(origin)
    before = await world.log.checkpoint(lane)
    signed = _opened(before, key) if before else Checkpoint(origin, 0, EMPTY)
    await _require_seen(world, lane, signed, _opened(kept, key) if kept else Checkpoint(origin, 0, EMPTY))
    size = await world.log.appended(lane)
    if size == signed.size and (facts := await world.log.unsealed(lane, BATCH)):
        leaves = [leaf_hash(render_leaf(fact.header, index)) for index, fact in enumerate(facts, size)]
        tiles = grow(await _edge(world, lane, size), size, leaves)
        await world.log.extend(lane, size, facts, tiles, after=before)
        size += len(facts)
    # A crash from here on leaves events with places and no checkpoint over them: the next pass signs them.
    if size != signed.size:
        new = await _read_again(world, lane, signed, size)
        if await world.log.checkpoint(lane) != before:
            raise Conflict("the log was sealed by another")
        if new is None:
            raise _broken(f"events {signed.size} to {size - 1} are not stored as they were sealed")
        text = str(new)
        signature = await world.keys.sign("log", text.encode())
        note = render_note(text, [Signature(key.name, key.id, signature)])
        await world.log.publish(lane, note, after=before)
        before, signed = note, new
    # A crash here leaves a checkpoint that the second place has not seen: the next pass shows it.
    if before is not None:
        await world.checkpoints.put(origin, signed.size, before)
    return signed


async def _require_seen(world: World, lane: Identity, signed: Checkpoint, seen: Checkpoint) -> None:
    """Raises Unavailable unless the log begins with what the second place has seen, and ends with what was signed."""
    if seen.size > signed.size:
        raise _broken(f"the log ends at {signed.size} events, the second place has seen {seen.size}")
    for known in (seen, signed):
        if await _root(world, lane, known.size) != known.root:
            raise _broken(f"the tiles of the first {known.size} events are not those that were signed")


async def _read_again(world: World, lane: Identity, signed: Checkpoint, size: int) -> Checkpoint | None:
    """Return the checkpoint over what is stored; None where a row, a body or a tile is not what was put there."""
    facts = await world.log.read(lane, signed.size, size)
    if [fact.index for fact in facts] != list(range(signed.size, size)):
        return None
    for fact in facts:
        # A body that is absent is no contradiction: whether it may be is for `audit verify`.
        if fact.salt and fact.body and commitment(fact.salt, fact.body) != fact.header.commitment:
            return None
    leaves = [leaf_hash(render_leaf(fact.header, fact.index or 0)) for fact in facts]
    tiles = grow(await _edge(world, lane, signed.size), signed.size, leaves)
    for (level, index), expected in tiles.items():
        if await world.log.tile(lane, level, index) != expected:
            return None
    new = await _root(world, lane, size)
    return Checkpoint(signed.origin, size, new) if new else None


async def _edge(world: World, lane: Identity, size: int) -> Tiles:
    return {(tile.level, tile.index): await world.log.tile(lane, tile.level, tile.index) for tile in edge(size)}


async def _root(world: World, lane: Identity, size: int) -> bytes | None:
    """Return the root of the first events by the stored tiles; None when one is missing."""
    tiles = await _edge(world, lane, size)
    try:
        return root(tile_node(lambda level, index: tiles[level, index]), size)
    except MalformedTile:
        return None


def _opened(note: bytes, key: VerifierKey) -> Checkpoint:
    try:
        checkpoint = parse_checkpoint(verify_note(note, [key]))
    except (MalformedNote, Unverified) as error:
        raise _broken(f"a checkpoint is not one of ours: {error}") from error
    if checkpoint.origin != key.name:  # one key signs for every organisation
        raise _broken(f"a checkpoint of {key.name} is one of {checkpoint.origin}")
    return checkpoint


def _broken(message: str) -> Unavailable:
    return Unavailable(message, code="log_broken", hint="keep a copy of the state; taskbound audit verify")
