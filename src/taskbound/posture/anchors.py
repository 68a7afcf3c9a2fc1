"""Anchors: what must stand in a file before anybody has something to say of it. All of them are looked for at once.

Most files have none, and to ask for each by itself takes longer than all that is done with a file that says nothing.
"""

from dataclasses import dataclass
from functools import lru_cache

import hyperscan

from taskbound.posture.beside import TABLE
from taskbound.posture.shapes import SHAPES
from taskbound.posture.signs import SIGNS


@dataclass(frozen=True, slots=True)
class Anchored:
    """Which anchors stand in a file."""

    signs: tuple[tuple[int, int], ...] = ()  # where one ends, and its number: each time that it is there
    shapes: frozenset[int] = frozenset()  # numbers of SHAPES
    beside: frozenset[int] = frozenset()  # numbers of beside's TABLE


NONE = Anchored()


@lru_cache(maxsize=1)
def _database() -> "tuple[hyperscan.Database, tuple[int, ...]]":
    """Compile what is looked for, in tenths of a second. Return whose a number from SIGNS on is, too."""
    often = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_MULTILINE
    once = hyperscan.HS_FLAG_SINGLEMATCH
    asked = [(one.looked_for, often) for one in SIGNS]
    asked += [(anchor, often | once) for anchor, _ in SHAPES]
    words = [(row, word) for row, (_, needed, _) in enumerate(TABLE) for word in needed]
    asked += [("".join(f"\\x{byte:02x}" for byte in word), once) for _, word in words]
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[expression.encode() for expression, _ in asked],
        ids=list(range(len(asked))),
        elements=len(asked),
        flags=[flags for _, flags in asked],
    )
    return database, (*range(len(SHAPES)), *(len(SHAPES) + row for row, _ in words))


def anchored(data: bytes) -> Anchored:
    """Return which anchors stand in a file."""
    found = list[tuple[int, int]]()
    database, owners = _database()
    database.scan(data, match_event_handler=lambda id, start, end, flags, context: found.append((end, id)))
    if not found:
        return NONE
    once = {owners[id - len(SIGNS)] for _, id in found if id >= len(SIGNS)}
    return Anchored(
        tuple(sorted(one for one in found if one[1] < len(SIGNS))),
        frozenset(one for one in once if one < len(SHAPES)),
        frozenset(one - len(SHAPES) for one in once if one >= len(SHAPES)),
    )


_ROWS_OF_TEXT = frozenset(row for row, (formats, _, _) in enumerate(TABLE) if "text" in formats)


def in_code(there: Anchored) -> Anchored:
    """Return those of them that say something where a text has no structure."""
    rows = there.beside & _ROWS_OF_TEXT
    return Anchored(there.signs, frozenset(), rows) if there.signs or rows else NONE
