"""Verify an exported log from its files alone: no store, no network, nothing of ours that is running (S5).

Everything is compared with what stands above it: a body with the commitment in its event's leaf,
a leaf with its hash in the level-0 tile, each full tile with its hash one level up, the tiles at
the right edge with the root in the checkpoint, the checkpoint with the key. So the lowest
comparison that fails is the smallest range that what is above it contradicts: one event, the 256
of a tile, … or all.

The files are read once, in order, a tile at a time: memory does not grow with the log.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from taskbound.core.leaf import Fact, Header, MalformedLeaf, commitment, erased_by, parse_flat, parse_leaf, render_flat
from taskbound.formats.note import MalformedNote, Unverified, VerifierKey, parse_key, parse_note, verify_note
from taskbound.formats.tlog import (
    HASH,
    WIDTH,
    Checkpoint,
    MalformedTile,
    Tile,
    entries_path,
    leaf_hash,
    parse_checkpoint,
    parse_entries,
    root,
    tile_hashes,
    tile_node,
    tile_root,
    tiles,
)

MAX_PROBLEMS = 100  # more are counted, not told
LINE = 1 << 24  # bytes; no body of ours is that long


class Files(Protocol):
    """The files of an export."""

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None when there is none."""

    def lines(self, path: str) -> Iterable[bytes]:
        """Yield a file's lines without their newlines; nothing when there is none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not verify: from event `first` to event `last`, or in the whole log (None)."""

    first: int | None
    last: int | None
    what: str

    def __str__(self) -> str:
        if self.first is None:
            return self.what
        where = f"event {self.first}" if self.first == self.last else f"events {self.first} to {self.last}"
        return f"{where}: {self.what}"


@dataclass(slots=True)
class Verdict:
    """What was found. Without problems the log is as it was signed."""

    origin: str = ""
    size: int = 0
    key: str = ""
    erased: int = 0  # bodies that are absent, each named by a body.erased
    more: int = 0  # problems that are not told
    problems: list[Problem] = field(default_factory=list)

    @property
    def first(self) -> int | None:
        """The first event that is named, by the smallest range first."""
        ranges = [(p.last - p.first, p.first) for p in self.problems if p.first is not None and p.last is not None]
        return min(ranges, key=lambda found: found[0])[1] if ranges else None  # of equals the one found first

    def add(self, first: int | None, last: int | None, what: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(first, last, what))
        else:
            self.more += 1


def verify(files: Files, key: VerifierKey | None = None, earlier: bytes | None = None) -> Verdict:
    """Return what does not verify. `earlier` is a checkpoint of this log that the reader kept."""
    verdict = Verdict()
    checkpoint = _checkpoint(files, key, verdict)
    if checkpoint is None:
        return verdict
    verdict.origin, verdict.size = checkpoint.origin, checkpoint.size
    known = _earlier(checkpoint, earlier, verdict) if earlier is not None else None
    edges = _tiles(files, checkpoint, known.size if known else checkpoint.size, verdict)
    vouched = 0
    if known is not None:
        if _root(edges, known.size) == known.root:
            vouched = known.size
        else:
            verdict.add(0, max(known.size - 1, 0), "they are not what the earlier checkpoint has seen")
    if _root(edges, checkpoint.size) != checkpoint.root:
        first = vouched if vouched < checkpoint.size else 0
        verdict.add(first, max(checkpoint.size - 1, 0), "the checkpoint has another root than their tiles")
    return verdict


def render_body(fact: Fact) -> bytes:
    """Return the line of `bodies.jsonl`; none for an erased body."""
    if fact.salt is None or fact.body is None:
        return b""
    return render_flat(_line(fact.index or 0, fact.salt, fact.body)) + b"\n"


def _line(index: int, salt: bytes, body: bytes) -> dict[str, str | int]:
    return {"body": body.decode(errors="replace"), "index": index, "salt": salt.hex()}


# --- from the checkpoint down ---------------------------------------------------------------------------


def _checkpoint(files: Files, key: VerifierKey | None, verdict: Verdict) -> Checkpoint | None:
    note = files.read("checkpoint")
    if note is None:
        verdict.add(None, None, "there is no checkpoint")
        return None
    try:
        key = key or parse_key((files.read("vkey") or b"").decode(errors="replace").removesuffix("\n"))
        verdict.key = str(key)
    except MalformedNote as error:
        verdict.add(None, None, f"the export's key cannot be read: {error}")
    try:
        checkpoint = parse_checkpoint(parse_note(note)[0])
    except MalformedNote as error:
        verdict.add(None, None, f"the checkpoint cannot be read: {error}")
        return None
    if key is not None:
        try:
            verify_note(note, [key])
        except Unverified as error:
            verdict.add(None, None, f"the checkpoint is not vouched for: {error}")
        if key.name != checkpoint.origin:
            verdict.add(None, None, f"the checkpoint is of {checkpoint.origin}, the key is of {key.name}")
    return checkpoint


def _tiles(files: Files, checkpoint: Checkpoint, known: int, verdict: Verdict) -> dict[tuple[int, int], bytes]:
    """Compare events with level 0 and each level with the one above.

    Return the tiles above level 0, and of level 0 those at the edge now and at the size `known`.
    """
    kept: dict[tuple[int, int], bytes] = {}
    made: dict[tuple[int, int], bytes] = {}  # what the full tiles of the level below hash to
    bodies = _Bodies(files.lines("bodies.jsonl"), checkpoint.size, verdict)
    org = checkpoint.origin.partition("/")[2]
    for tile in tiles(checkpoint.size):
        data = files.read(tile.path)
        if data is not None and len(data) != tile.width * HASH:
            data = None
        bundle = files.read(entries_path(tile.index, tile.width)) if tile.level == 0 else b""
        if data is None and bundle is None:  # a checkpoint may claim any size: do not look for all the rest
            verdict.add(tile.first, checkpoint.size - 1, "their tiles and entries are missing")
            break
        if data is None:
            verdict.add(tile.first, tile.end - 1, f"{tile.path} is missing or of another length")
        elif tile.level:
            _compare_below(tile, data, made, verdict)
        if tile.level == 0:
            found, headers = check_bundle(org, tile, data, bundle)
            for problem in found:
                verdict.add(problem.first, problem.last, problem.what)
            bodies.check(tile, headers)
        if data is not None:
            if tile.width == WIDTH:
                made[tile.level + 1, tile.index] = tile_root(data)
            if tile.level or tile.width < WIDTH or tile.index == known // WIDTH:
                kept[tile.level, tile.index] = data
    verdict.erased = bodies.finish()
    return kept


def _compare_below(tile: Tile, data: bytes, made: Mapping[tuple[int, int], bytes], verdict: Verdict) -> None:
    for at, said in enumerate(tile_hashes(data), tile.index * WIDTH):
        below = made.get((tile.level, at))
        if below is not None and below != said:
            child = Tile(tile.level - 1, at)
            verdict.add(child.first, child.end - 1, f"{child.path} is not the one that {tile.path} stands for")


def check_bundle(
    org: str, tile: Tile, data: bytes | None, bundle: bytes | None
) -> tuple[list[Problem], dict[int, Header]]:
    """Compare a bundle of events with its level-0 tile; return what is wrong, and the events that are sealed there.

    Of those that differ only the first is told: one that was taken out moves all behind it.
    """
    if bundle is None:
        return [Problem(tile.first, tile.end - 1, "their entries are missing")], {}
    problems: list[Problem] = []
    headers: dict[int, Header] = {}
    differs = False
    try:
        entries = parse_entries(bundle)
    except MalformedTile as error:
        problems.append(Problem(tile.first, tile.end - 1, f"their entries cannot be read: {error}"))
        entries = _readable(bundle)
    hashes = tile_hashes(data) if data is not None else [leaf_hash(entry) for entry in entries]
    for index, said in enumerate(hashes, tile.first):
        at = index - tile.first
        entry = entries[at] if at < len(entries) else b""
        if not entry or leaf_hash(entry) != said:
            if not differs:
                what = "it is not the one that was sealed" if entry else "it is missing"
                problems.append(Problem(index, index, what))
            differs = True
            continue
        try:
            place, header = parse_leaf(entry)
        except MalformedLeaf as error:
            problems.append(Problem(index, index, str(error)))
            continue
        if (place, header.org) != (index, org):
            problems.append(Problem(index, index, f"it says that it is event {place} of {header.org}"))
        headers[index] = header
    if len(entries) > len(hashes) and not differs:
        problems.append(Problem(tile.end - 1, tile.end - 1, f"{len(entries) - len(hashes)} more stand behind it"))
    return problems, headers


def _readable(bundle: bytes) -> list[bytes]:
    entries: list[bytes] = []
    at = 0
    while at + 2 + (length := int.from_bytes(bundle[at : at + 2], "big")) <= len(bundle):
        entries.append(bundle[at + 2 : at + 2 + length])
        at += 2 + length
        if at >= len(bundle):
            break
    return entries


def _earlier(checkpoint: Checkpoint, earlier: bytes, verdict: Verdict) -> Checkpoint | None:
    """Return the checkpoint that the reader kept, if the log can be held against it."""
    try:
        known = parse_checkpoint(parse_note(earlier)[0])
        if verdict.key:
            verify_note(earlier, [parse_key(verdict.key)])
    except (MalformedNote, Unverified) as error:
        verdict.add(None, None, f"the earlier checkpoint is not one of this log: {error}")
        return None
    if known.origin != checkpoint.origin:
        verdict.add(None, None, f"the earlier checkpoint is of {known.origin}, this log is {checkpoint.origin}")
    elif known.size > checkpoint.size:
        what = f"the log was cut: it had {known.size} events and has {checkpoint.size}"
        verdict.add(checkpoint.size, known.size - 1, what)
    else:
        return known
    return None


def _root(edges: Mapping[tuple[int, int], bytes], size: int) -> bytes | None:
    node = tile_node(lambda level, index: edges.get((level, index), b""))
    try:
        return root(node, size)
    except MalformedTile:
        return None


# --- bodies ---------------------------------------------------------------------------------------------


class _Bodies:
    """Walks through `bodies.jsonl` beside the events, and remembers which bodies are absent."""

    def __init__(self, lines: Iterable[bytes], size: int, verdict: Verdict) -> None:
        self._lines: Iterator[tuple[int, bytes, bytes] | None] = map(parse_body, lines)
        self._size, self._verdict = size, verdict
        self._absent: set[int] = set()
        self._erased: list[tuple[int, range]] = []
        self._next: tuple[int, bytes, bytes] | None = None
        self._last = -1
        self._advance()

    def _advance(self) -> None:
        """Go to the next line that stands in order; tell of those that do not."""
        for line in self._lines:
            if line is None:
                self._verdict.add(None, None, f"a line of bodies.jsonl behind event {self._last} is none")
            elif not self._last < line[0] < self._size:
                self._verdict.add(line[0], line[0], "its body stands in bodies.jsonl where none belongs")
            else:
                self._next, self._last = line, line[0]
                return
        self._next = None

    def check(self, tile: Tile, headers: Mapping[int, Header]) -> None:
        for index in range(tile.first, tile.end):
            header = headers.get(index)
            if header is not None:
                try:
                    self._erased.extend((index, run) for run in erased_by(header))
                except MalformedLeaf as error:
                    self._verdict.add(index, index, str(error))
            if self._next is None or self._next[0] != index:
                self._absent.add(index)
                continue
            _, salt, body = self._next
            if header is not None and commitment(salt, body) != header.commitment:
                self._verdict.add(index, index, "its body is not the one that it was sealed with")
            self._advance()

    def finish(self) -> int:
        """Return how many bodies are absent in order; tell of the others."""
        absent = len(self._absent)
        for by, run in self._erased:  # only a later fact can have erased it
            self._absent.difference_update(range(run.start, min(run.stop, by)))
        for index in sorted(self._absent):
            self._verdict.add(index, index, "its body is absent, and no body.erased names it")
        return absent - len(self._absent)


def parse_body(line: bytes) -> tuple[int, bytes, bytes] | None:
    """Return index, salt and body of a line of `bodies.jsonl`; None for what is no such line."""
    try:
        said = parse_flat(line)
        index, salt, body = said["index"], bytes.fromhex(said["salt"]), said["body"].encode()
        return (index, salt, body) if render_flat(_line(index, salt, body)) == line else None
    except (ValueError, LookupError, AttributeError, TypeError):
        return None
