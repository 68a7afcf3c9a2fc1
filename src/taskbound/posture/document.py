"""Document: what a parser makes of a file. Values with the keys that lead to them and the lines where they stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document: a scalar, a mapping or a sequence of nodes.

    `line` is 1-based: of a scalar the line where its text begins (of a block text the first one of its lines), of a
    mapping or sequence that of the key that leads to it, else its own first line. Numbers and truth values are as
    the format means them; `text` is a scalar's text as it would be compared with others.
    """

    value: "Scalar | Mapping[str, Node] | Sequence[Node]"
    line: int
    last: int = 0  # the last line, where a text goes over several lines of the file; 0: all of it stands on `line`

    def line_of(self, within: int) -> int:
        """Return the line of the file on which a line of a scalar's text stands; `within` counts from 0.

        A text of many lines may stand on one ("a\\nb"): then that is the line of them all.
        """
        return min(self.line + within, self.last) if self.last else self.line

    @property
    def text(self) -> str:
        """The text of a scalar; "" for null, mappings and sequences; true and false in lower case."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if self.value is None or isinstance(self.value, Mapping) or not isinstance(self.value, str | int | float):
            return ""
        return str(self.value)

    @property
    def items(self) -> "Mapping[str, Node]":
        """The members of a mapping; empty for anything else, so that a reader never asks twice."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def list(self) -> "Sequence[Node]":
        """The places of a sequence; empty for anything else."""
        return self.value if isinstance(self.value, Sequence) and not isinstance(self.value, str) else ()

    def at(self, *keys: str) -> "Node":
        """Return what keys lead to; NOTHING where one is missing."""
        found = self
        for key in keys:
            found = found.items.get(key, NOTHING)
        return found

    def __bool__(self) -> bool:
        return self is not NOTHING

    def scalars(self, path: tuple[str, ...] = ()) -> "Iterator[tuple[tuple[str, ...], Node]]":
        """Yield every scalar below, in order, with the keys that lead to it; places of sequences count from "0"."""
        waiting = [(path, self)]
        while waiting:
            at, node = waiting.pop()
            if node.items:
                waiting += [((*at, key), one) for key, one in reversed(list(node.items.items()))]
            elif node.list:
                waiting += [((*at, str(place)), node.list[place]) for place in reversed(range(len(node.list)))]
            elif node:
                yield at, node


NOTHING = Node(None, 0)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was parsed.

    A file of several documents (YAML) has several roots. A file that its parser could not read to its end has
    `problem` set, and the roots that were read until then: what is broken is told, and never stops a scan.
    """

    path: str  # relative to what was scanned, with "/"
    format: str  # json, yaml, toml, ini, dotenv, hcl, dockerfile, markdown, csv, jsonl, xml, shell, text
    roots: tuple[Node, ...]
    problem: str = ""
