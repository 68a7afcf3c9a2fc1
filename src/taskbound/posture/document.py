"""Document: what a parser makes of a file. Values with the keys that lead to them and the lines where they stand."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, overload

import msgspec

Scalar = str | int | float | bool | None

# Source code: it has no structure that tells who holds what, and most bytes of a checkout are its.
_CODE_ARE = (
    "py pyi pyx js mjs cjs jsx ts tsx vue svelte go rs java kt scala c h cc cpp hpp m mm cs fs vb swift rb php pl pm "
    "lua r jl ex exs erl hs ml clj dart sql css scss less proto asm s po rst"
)
CODE = tuple(f".{ending}" for ending in _CODE_ARE.split())


class LinesOf(Protocol):
    """The lines of values, by the order in which they stand."""

    def __getitem__(self, place: int, /) -> int: ...


# Millions of them are made: a dataclass takes eight times as long. They are a tree and no cycle, so that they are none
# of the garbage collector's.
class Node(msgspec.Struct, frozen=True, gc=False):
    """One value of a document: a scalar, a mapping or a sequence of nodes.

    `line` is 1-based: of a scalar the line where its text begins (of a block text the first one of its lines), of a
    mapping or sequence that of the key that leads to it, else its own first line. Numbers and truth values are as
    the format means them; `text` is a scalar's text as it would be compared with others.
    """

    value: "Scalar | dict[str, Node] | list[Node] | tuple[Node, ...] | TextLines"
    begins: (
        int  # the line; or the place of the line in `lines`, which are counted when somebody asks: mostly nobody does
    )
    last: int = 0  # the last line, where a text goes over several lines of the file; 0: all of it stands on `line`
    lines: "LinesOf | None" = None

    @property
    def line(self) -> int:
        """The line where it begins."""
        return self.begins if self.lines is None else self.lines[self.begins]

    def line_of(self, within: int) -> int:
        """Return the line of the file on which a line of a scalar's text stands; `within` counts from 0.

        A text of many lines may stand on one ("a\\nb"): then that is the line of them all.
        """
        return min(self.line + within, self.last) if self.last else self.line

    @property
    def text(self) -> str:
        """The text of a scalar; "" for null, mappings and sequences; true and false in lower case."""
        value = self.value
        if type(value) is str:
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int | float) else ""

    @property
    def items(self) -> "Mapping[str, Node]":
        """The members of a mapping; empty for anything else, so that a reader never asks twice."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def list(self) -> "Sequence[Node]":
        """The places of a sequence; empty for anything else."""
        value = self.value
        return value if isinstance(value, (list, tuple)) or type(value) is TextLines else ()

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


_FILLED = re.compile(r"\S[^\n]*+")  # a line from where it is not empty


class TextLines(Sequence[Node]):
    """The lines of a text that are not empty, as a sequence. Made when somebody asks: of most texts nobody does."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def most(self) -> int:
        """How many they can be."""
        return self._text.count("\n") + 1

    @cached_property
    def _nodes(self) -> "list[Node]":
        lines = enumerate(self._text.split("\n"), 1)
        return [Node(spelled, line) for line, one in lines if (spelled := one.strip())]

    @overload
    def __getitem__(self, place: int) -> Node: ...
    @overload
    def __getitem__(self, place: slice) -> "list[Node]": ...
    def __getitem__(self, place: int | slice) -> "Node | list[Node]":
        return self._nodes[place]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> "Iterator[Node]":
        """Yield them without making those that are not asked for."""
        line, counted = 1, 0
        for one in _FILLED.finditer(self._text):
            line, counted = line + self._text.count("\n", counted, one.start()), one.start()
            yield Node(one[0].rstrip(), line)

    def __eq__(self, other: object) -> bool:
        return self._nodes == other._nodes if isinstance(other, TextLines) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what is compared by its nodes changes in nothing, and is no key


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
