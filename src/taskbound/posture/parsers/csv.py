"""Comma-separated values (RFC 4180), also with semicolons or tabs: a sequence of mappings by the header.

A cell's line is where it begins, also after cells with line ends within. Cells above the header's number, and
columns without a name, are named "column 3". What a program or a person writes above the header is no row: the title
of a report, `sep=;`.
"""

import re

from taskbound.posture.document import Node
from taskbound.posture.parsers.tree import Tree, put

_QUOTED = re.compile(r' *"((?:[^"]|"")*+)"')
_BY_DELIMITER = {sign: re.compile(rf"[^{sign}\n]*+") for sign in (",", ";", "\t", "|")}
_MOST_ABOVE = 8  # lines in which a header is looked for
_LEAST = 3  # of names that a header below a title has: fewer are a remark's words
_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?[,;|\t]*', re.IGNORECASE)  # as Excel reads it
_Cell = tuple[str, int, int]  # its text, and the first and the last line on which it stands


def read_csv(text: str, tree: Tree) -> None:
    """Read rows until the end. Raises Unreadable."""
    at, line, sign = _header(text)
    names: list[str] | None = None
    tree.open_sequence(1)
    quotes = True
    while at < len(text):
        begin, end = line, text.find("\n", at)
        row = text[at : end if end >= 0 else len(text)]
        if quotes and '"' in row:
            cells, at, line, quotes = _quoted(text, at, line, _BY_DELIMITER[sign])
            if not quotes:  # what follows is read by lines
                tree.note("a quote does not end", line)
        else:
            cells, at = [(cell.strip(), line, line) for cell in row.split(sign)], at + len(row)
        at, line = at + 1, line + 1
        if cells == [("", begin, begin)]:
            continue
        if names is None:
            names = [name or f"column {place}" for place, (name, _, _) in enumerate(cells, 1)]
            continue
        members: dict[str, Node] = {}
        tree.add(tree.node(members, begin), begin)
        tree.take(len(cells), begin)
        for place, (cell, first, last) in enumerate(cells):
            name = names[place] if place < len(names) else f"column {place + 1}"
            put(members, name, Node(cell, first, last if last > first else 0))
    tree.close()


def _header(text: str) -> tuple[int, int, str]:
    """Return where the header begins, on which line, and what stands between its cells.

    Above it stands a title where a line of one cell, of several words, is followed by one of nothing but names.
    """
    above, at, lines = list[str](), 0, text.split("\n", _MOST_ABOVE)[:_MOST_ABOVE]
    first = next((one for one in lines if one), "")
    usual = (0, 1, max(_BY_DELIMITER, key=first.count))
    for number, row in enumerate(lines, 1):
        sign = max(_BY_DELIMITER, key=row.count)
        cells = _filled(row, sign)
        if len(cells) > 1:
            is_header = above and len(cells) >= _LEAST and all(map(_is_name, cells))
            return (at, number, sign) if is_header and any(map(_is_title, above)) else usual
        above += cells
        at += len(row) + 1
        if told := _SEPARATOR.fullmatch(row):
            return (at, number + 1, told[1]) if at < len(text) else usual
    return usual


def _filled(row: str, sign: str) -> list[str]:
    return [cell for one in row.split(sign) if (cell := one.strip(' "\r\ufeff'))]


def _is_name(cell: str) -> bool:
    return cell[0].isalpha() and len(cell) < 60 and "@" not in cell and "://" not in cell


def _is_title(cell: str) -> bool:
    return " " in cell and "=" not in cell


def _quoted(text: str, at: int, line: int, plain: re.Pattern[str]) -> tuple[list[_Cell], int, int, bool]:
    """Return the cells of a row, of which some are in quotes, where it ends, on which line, and whether quotes do."""
    cells: list[_Cell] = []
    quotes = True
    while True:
        first = line
        found = _QUOTED.match(text, at) if quotes and text.startswith(('"', " "), at) else None
        if found is None and quotes and text.startswith('"', at):
            quotes = False
        if found:  # what stands between the quote and the next comma is none of the cell
            line += found[0].count("\n")
            cells.append((found[1].replace('""', '"'), first, line))
        rest = plain.match(text, found.end() if found else at)
        assert rest
        if not found:
            cells.append((rest[0].strip(), first, first))
        at = rest.end()
        if at >= len(text) or text[at] == "\n":
            return cells, at, line, quotes
        at += 1
