"""Held: who holds what stands in a document. Asked for each hit of a file, and of a file with thousands of both."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from taskbound.posture.document import Document, Node
from taskbound.posture.sighting import Holding
from taskbound.posture.values import Value


class Holdings:
    """What readers say of a document's parts."""

    def __init__(self, holdings: Sequence[Holding], document: Document) -> None:
        self._by_keys: dict[tuple[int, tuple[str, ...]], Holding] = {}
        for one in holdings:
            self._by_keys.setdefault((one.root, one.keys), one)
        self._deepest = max((len(one.keys) for one in holdings), default=0)
        begins = [
            (_begins(document.roots[one.root], one.keys) if one.keys else 1, len(one.keys), -number, one)
            for number, one in enumerate(holdings)
        ]
        self._begins = sorted(begins, key=lambda one: one[:3])
        self._lines = [one[0] for one in self._begins]

    def of_value(self, value: Value) -> Holding | None:
        """Return the innermost holding whose keys lead to a value."""
        for depth in range(min(self._deepest, len(value.keys)), -1, -1):
            if found := self._by_keys.get((value.root, value.keys[:depth])):
                return found
        return None

    def of_line(self, line: int) -> Holding | None:
        """Return the holding that begins last before a line, for what stands in no value: a comment belongs to it."""
        place = bisect_right(self._lines, line)
        return self._begins[place - 1][3] if place else None


def _begins(node: Node, keys: Iterable[str]) -> int:
    """Return the line where what keys lead to begins."""
    for key in keys:
        node = node.list[int(key)] if node.list else node.at(key)
    return node.line
