"""JSON as people write it (RFC 8259 and what clients tolerate), and lines of JSON.

VS Code, Cursor, Zed and Claude read comments and commas at the end; some write keys bare and texts in single quotes
(JSON5). Jinja and Helm leave {{ … }} where a value stands: it is a text. Several values one after another are
several roots. In lines of JSON each line is a root; a line that is none is a text.
"""

import re

from taskbound.posture.document import Scalar
from taskbound.posture.parsers.tree import Tree, Unreadable, mended, number

_GAP = re.compile(r"(?:[\s\ufeff]++|//[^\n]*+|#[^\n]*+|/\*.*?\*/|\{%.*?%\}|\{#.*?#\})*+", re.DOTALL)
_DOUBLE = re.compile(r'"([^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"', re.DOTALL)
_SINGLE = re.compile(r"'([^'\\\n]*+(?:\\.[^'\\\n]*+)*+)'", re.DOTALL)
_BARE = re.compile(r"[\w$.+-]++")
_ACTION = re.compile(r"\{\{[^\n]*?\}\}")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\n": ""}
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"[+-]?(?:[0-9.]|Infinity|NaN)[\w.+-]*")


def read_json(text: str, tree: Tree, line: int = 1) -> None:
    """Read values until the end of a text that begins on this line. Raises Unreadable."""
    at, end = 0, len(text)
    while True:
        gap = _GAP.match(text, at)
        assert gap
        if gap.end() != at:
            line += text.count("\n", at, gap.end())
            at = gap.end()
        if at >= end:
            break
        sign, begun = text[at], at
        if sign == ",":
            at += 1
        elif sign in "}]":
            if not tree.depth or tree.in_mapping is not (sign == "}"):
                raise Unreadable("a bracket closes nothing that is open", line)
            tree.close(line)
            at += 1
        elif tree.in_mapping and not tree.has_key:
            at = _key(text, at, line, tree)
            line += text.count("\n", begun, at)
        elif sign == "[":
            tree.open_sequence(line)
            at += 1
        elif sign == "{" and not _ACTION.match(text, at):
            tree.open_mapping(line)
            at += 1
        else:
            at = _scalar(text, at, line, tree)
            line += text.count("\n", begun, at)
    if tree.depth:
        raise Unreadable("the text ends before what it opens", line)


def read_jsonl(text: str, tree: Tree) -> None:
    """Read lines of JSON. Raises Unreadable."""
    _read_lines(text, tree, is_log=False)


def read_log(text: str, tree: Tree) -> None:
    """Read a log: lines that are JSON, and others. Raises Unreadable."""
    _read_lines(text, tree, is_log=True)


def _read_lines(text: str, tree: Tree, *, is_log: bool) -> None:
    for line, one in enumerate(text.split("\n"), 1):
        spelled = one.strip()
        if not spelled:
            continue
        before = len(tree.roots)
        if spelled[0] in "{[":
            try:
                read_json(spelled, tree, line)
                continue
            except Unreadable as error:
                tree.unwind()
                del tree.roots[before:]
                if not is_log:
                    tree.note(str(error), line)
        elif not is_log:
            tree.note("no JSON", line)
        tree.add(spelled, line)


def _key(text: str, at: int, line: int, tree: Tree) -> int:
    """Read a key and its colon, and return where they end; an action of a template is passed over."""
    if action := _ACTION.match(text, at):
        return action.end()
    found = _DOUBLE.match(text, at) or _SINGLE.match(text, at) or _BARE.match(text, at)
    if not found:
        raise Unreadable("a key is missing", line)
    colon = _GAP.match(text, found.end())
    assert colon
    if not text.startswith(":", colon.end()):
        raise Unreadable("a key has no value", line)
    tree.key(_unescaped(found[1]) if found.lastindex else found[0], line)
    return colon.end() + 1


def _scalar(text: str, at: int, line: int, tree: Tree) -> int:
    """Read a scalar, and return where it ends."""
    if found := _DOUBLE.match(text, at) or _SINGLE.match(text, at):
        tree.add(_unescaped(found[1]), line)
    elif found := _ACTION.match(text, at):
        tree.add(found[0], line)
    elif not (found := _BARE.match(text, at)):
        raise Unreadable("a value is missing, or does not end on its line", line)
    elif found[0] in _WORDS:
        tree.add(_WORDS[found[0]], line)
    elif _NUMBER.fullmatch(found[0]):
        spelled = number(found[0])
        tree.add(found[0] if spelled is None else spelled, line)
    else:
        raise Unreadable("a word is no value", line)
    return found.end()


def _unescaped(inner: str) -> str:
    if "\\" not in inner:
        return inner
    return mended(_ESCAPE.sub(_character, inner))


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _ESCAPED.get(escape[2], escape[2])
