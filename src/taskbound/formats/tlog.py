"""A log that can prove what it holds: RFC 6962 trees, C2SP tiles (v0.1.0) and checkpoints (v1.0.0).

A tree is seen through `node(level, index)`, the hash of the complete subtree of 2**level leaves
that begins at leaf index * 2**level. Roots and proofs of every size need no other hashes, and
these never change while the log grows: so they can be kept in memory (`Tree`), or read from tiles.
A tile holds 256 of them, at levels 0, 8, 16, …; what lies between is hashed from those.

Hashing is SHA-256 with 0x00 before a leaf and 0x01 before two nodes (RFC 6962 2.1), and a tree of
n splits at the largest power of two smaller than n. Signatures are note.py's.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from taskbound.formats.note import MalformedNote, unbase64

Node = Callable[[int, int], bytes]

EMPTY = hashlib.sha256(b"").digest()  # the root of no leaves
WIDTH = 256  # hashes in a full tile; entries in a full bundle
DEPTH = 8  # levels of the tree between two levels of tiles
HASH = 32  # bytes
MAX_ENTRY = 65_535  # bytes; an entry's length is a uint16
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class MalformedTile(ValueError):
    """The bytes are no tile or bundle of entries."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


# --- trees and proofs ---------------------------------------------------------------------------------


class Tree:
    """All complete subtrees of a log in memory, by level. Grows by leaf hashes."""

    def __init__(self, leaves: Sequence[bytes] = ()) -> None:
        self.levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    @property
    def size(self) -> int:
        return len(self.levels[0])

    def append(self, leaf: bytes) -> None:
        level, made = 0, leaf
        while True:
            if level == len(self.levels):
                self.levels.append([])
            self.levels[level].append(made)
            if len(self.levels[level]) % 2:
                return
            made = node_hash(*self.levels[level][-2:])
            level += 1

    def node(self, level: int, index: int) -> bytes:
        return self.levels[level][index]


def root(node: Node, size: int) -> bytes:
    """Return the root of the first `size` leaves (RFC 6962 2.1)."""
    return _subtree(node, 0, size) if size else EMPTY


def inclusion_proof(node: Node, index: int, size: int) -> list[bytes]:
    """Return the siblings from leaf `index` up to the root of `size` leaves (RFC 6962 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    proof, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_subtree(node, middle, end))
            end = middle
        else:
            proof.append(_subtree(node, start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(node: Node, old: int, new: int) -> list[bytes]:
    """Return what shows that the tree of `new` leaves begins with that of `old` (RFC 6962 2.1.2)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not begin with one of {old}")
    if old in (0, new):
        return []
    proof, start, end, whole = [], 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_subtree(node, middle, end))
            end = middle
        else:
            proof.append(_subtree(node, start, middle))
            start, whole = middle, False
    if not whole:  # else the verifier has this one: it is the old root
        proof.append(_subtree(node, start, end))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf hash is that of leaf `index` under the root of `size` leaves (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, made = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != HASH:
            return False
        if at & 1 or at == last:
            made = node_hash(sibling, made)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            made = node_hash(made, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and made == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `new` leaves begins with that of `old` (RFC 9162 2.1.4.2)."""
    if not 0 <= old <= new or any(len(step) != HASH for step in proof):
        return False
    if old in (0, new):
        return not proof and old_root == (EMPTY if old == 0 else new_root) and (new > 0 or new_root == EMPTY)
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    made_old = made_new = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            made_old, made_new = node_hash(step, made_old), node_hash(step, made_new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            made_new = node_hash(made_new, step)
        at, last = at >> 1, last >> 1
    return last == 0 and made_old == old_root and made_new == new_root


def _split(size: int) -> int:
    """Return the largest power of two smaller than the size."""
    return 1 << (size - 1).bit_length() - 1


def _subtree(node: Node, start: int, end: int) -> bytes:
    """Return the hash over leaves [start, end), where start is a multiple of a power of two that spans them."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_subtree(node, start, middle), _subtree(node, middle, end))


# --- tiles --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tile:
    """Hashes `index * 256 …` of a level of tiles, `width` of them."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        return f"tile/{self.level}/{_place(self.index, self.width)}"

    @property
    def first(self) -> int:
        """The first leaf it covers."""
        return self.index * WIDTH << DEPTH * self.level

    @property
    def end(self) -> int:
        """The first leaf behind those it covers."""
        return self.first + (self.width << DEPTH * self.level)


def entries_path(index: int, width: int = WIDTH) -> str:
    """Return the path of the bundle with the entries of the level-0 tile `index`."""
    return f"tile/entries/{_place(index, width)}"


def _place(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= WIDTH:
        raise ValueError("a tile has an index from 0 and 1 to 256 hashes")
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    return "/".join(reversed(groups)) + (f".p/{width}" if width < WIDTH else "")


def tiles(size: int, *, since: int = 0) -> Iterator[Tile]:
    """Yield the tiles of a log of that size that one of size `since` has not, by level and index."""
    level = 0
    while size:
        for index in range(since // WIDTH, -(-size // WIDTH)):
            width = min(WIDTH, size - index * WIDTH)
            if index * WIDTH + width > since:
                yield Tile(level, index, width)
        size, since, level = size // WIDTH, since // WIDTH, level + 1


def render_tile(node: Node, tile: Tile) -> bytes:
    """Return the hashes of a tile."""
    first = tile.index * WIDTH
    return b"".join(node(tile.level * DEPTH, first + at) for at in range(tile.width))


def tile_hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH] for at in range(0, len(data), HASH)]


def tile_root(data: bytes) -> bytes:
    """Return the hash over a full tile: the hash that stands for it one level of tiles above."""
    hashes = tile_hashes(data)
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def edge(size: int) -> list[Tile]:
    """Return the partial tiles of a log of that size: with them alone its root is known, and it can grow."""
    return [tile for tile in tiles(size) if tile.width < WIDTH]


def grow(old: Mapping[tuple[int, int], bytes], size: int, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """Return the tiles, by level and index, that are new or longer once a log with that edge grows by these leaves."""
    made: dict[tuple[int, int], bytes] = {}
    level, hashes = 0, leaves
    while hashes:
        index, width = divmod(size, WIDTH)
        data, full = old[level, index][: width * HASH] if width else b"", []
        for start in range(0, len(hashes) + width, WIDTH):
            data += b"".join(hashes[max(0, start - width) : start - width + WIDTH])
            made[level, index] = data
            if len(data) == WIDTH * HASH:
                full.append(tile_root(data))
            index, data = index + 1, b""
        level, hashes, size = level + 1, full, size // WIDTH
    return made


def tile_node(read: Callable[[int, int], bytes]) -> Node:
    """Return the tree as it is seen through tiles: `read(level, index)` gives a tile's hashes, full or not."""

    def node(level: int, index: int) -> bytes:
        above, between = divmod(level, DEPTH)
        first, count = index << between, 1 << between
        data = read(above, first // WIDTH)
        at = first % WIDTH * HASH
        part = data[at : at + count * HASH]
        if len(part) != count * HASH:
            raise MalformedTile(f"tile {above}/{first // WIDTH} has no hash {first % WIDTH + count - 1}")
        return tile_root(part)

    return node


def render_entries(entries: Sequence[bytes]) -> bytes:
    """Return a bundle: each entry behind its length as a big-endian uint16. Raises MalformedTile."""
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise MalformedTile(f"an entry has at most {MAX_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_entries(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle. Raises MalformedTile."""
    entries, at = [], 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(entry) != length:
            raise MalformedTile("the bundle ends within an entry")
        entries.append(entry)
        at += 2 + length
    return entries


# --- checkpoints --------------------------------------------------------------------------------------


class Checkpoint(NamedTuple):
    """What a log says of itself: its name, how many leaves it has, and their root."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """The text that is signed (tlog-checkpoint): three lines, without extensions."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint in a note's text; extension lines are passed over. Raises MalformedNote."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise MalformedNote("a checkpoint has three lines or more, none of them empty")
    if not _SIZE.fullmatch(lines[1]):
        raise MalformedNote("a checkpoint's size is a decimal number without leading zeros")
    hashed = unbase64(lines[2])
    if len(hashed) != HASH:
        raise MalformedNote(f"a root has 32 bytes, this one has {len(hashed)}")
    return Checkpoint(lines[0], int(lines[1]), hashed)
