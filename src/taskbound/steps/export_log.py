"""Export the log: files with which anybody can check it without us (INTERFACES 9, C2SP tlog-tiles).

What is written is what is stored, whether or not it is right: a row that is missing becomes an
empty entry, one too many stands where it stands, and `audit verify` names it. The checkpoint
comes last, so an export that was broken off has none.
"""

from taskbound.core.audit import render_body
from taskbound.core.errors import InvalidRequest
from taskbound.core.identity import Identity
from taskbound.core.leaf import Fact, MalformedLeaf, render_leaf
from taskbound.formats.note import MalformedNote, make_key, parse_note
from taskbound.formats.tlog import HASH, MAX_ENTRY, Tile, entries_path, parse_checkpoint, render_entries, tiles
from taskbound.ports import Archive, World


async def export_log(world: World, lane: Identity, archive: Archive) -> int:
    """Write the log as far as its checkpoint goes; return how many events that are."""
    note = await world.log.checkpoint(lane)
    if note is None:
        raise InvalidRequest("nothing is sealed yet")
    try:
        size = parse_checkpoint(parse_note(note)[0]).size
    except MalformedNote as error:
        raise InvalidRequest(f"the checkpoint cannot be read: {error}", code="log_broken") from error
    for tile in tiles(size):
        if hashes := await world.log.tile(lane, tile.level, tile.index):
            await archive.write(tile.path, hashes[: tile.width * HASH])
        if tile.level == 0:
            facts = await world.log.read(lane, tile.first, tile.end)
            await archive.write(entries_path(tile.index, tile.width), render_entries(entries_of(facts, tile)))
            await archive.write("bodies.jsonl", b"".join(map(render_body, facts)))
    key = make_key(f"{world.instance}/{lane.org}", (await world.keys.public())["log"])
    await archive.write("vkey", f"{key}\n".encode())
    await archive.write("checkpoint", note)
    return size


def entries_of(facts: list[Fact], tile: Tile) -> list[bytes]:
    """Return the entries of a bundle as the store has them: an empty one for each index without an event."""
    at: dict[int, list[bytes]] = {}
    for fact in facts:
        at.setdefault(fact.index or 0, []).append(_entry(fact))
    return [entry for index in range(tile.first, tile.end) for entry in at.get(index, [b""])]


def _entry(fact: Fact) -> bytes:
    try:
        leaf = render_leaf(fact.header, fact.index or 0)
    except MalformedLeaf:  # edited into what has no canonical form
        return b""
    return leaf if len(leaf) <= MAX_ENTRY else b""
