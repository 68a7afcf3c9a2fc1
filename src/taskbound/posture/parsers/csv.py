"""Comma-separated values (RFC 4180), also with semicolons or tabs: a sequence of mappings by the header.

A cell's line is where it begins, also after cells with line ends within. Cells above the header's number, and
columns without a name, are named "column 3".
"""

import re

from taskbound.posture.document import Node
from taskbound.posture.parsers.tree import Tree, put

_QUOTED = re.compile(r' *"((?:[^"]|"")*+)"')
_BY_DELIMITER = {sign: re.compile(rf"[^{sign}\n]*+") for sign in (",", ";", "\t", "|")}


def read_csv(text: str, tree: Tree) -> None:
    """Read rows until the end. Raises Unreadable."""
    header = text.lstrip("\n").partition("\n")[0]
    plain = _BY_DELIMITER[max(_BY_DELIMITER, key=header.count)]
    names: list[str] | None = None
    tree.open_sequence(1)
    at, line, quotes = 0, 1, True
    while at < len(text):
        begin = line
        cells: list[tuple[str, int, int]] = []
        while True:
            first = line
            found = _QUOTED.match(text, at) if quotes and text.startswith(('"', " "), at) else None
            if found is None and quotes and text.startswith('"', at):
                tree.note("a quote does not end", line)
                quotes = False  # what follows is read by lines
            if found:  # what stands between the quote and the next comma is none of the cell
                line += found[0].count("\n")
                cells.append((found[1].replace('""', '"'), first, line))
            rest = plain.match(text, found.end() if found else at)
            assert rest
            if not found:
                cells.append((rest[0].strip(), first, first))
            at = rest.end()
            if at >= len(text) or text[at] == "\n":
                break
            at += 1
        at, line = at + 1, line + 1
        if cells == [("", begin, begin)]:
            continue
        if names is None:
            names = [name or f"column {place}" for place, (name, _, _) in enumerate(cells, 1)]
            continue
        members: dict[str, Node] = {}
        tree.add(tree.node(members, begin), begin)
        for place, (cell, first, last) in enumerate(cells):
            put(members, names[place] if place < len(names) else f"column {place + 1}", tree.node(cell, first, last))
    tree.close()
