"""JSON as people write it (RFC 8259 and what clients tolerate), and lines of JSON.

VS Code, Cursor, Zed and Claude read comments and commas at the end; some write keys bare and texts in single quotes
(JSON5). Jinja and Helm leave {{ … }} where a value stands: it is a text. Several values one after another are
several roots. In lines of JSON each line is a root; a line that is none is a text.

What is strict JSON, as programs write it, is decoded by the standard library, and its lines are counted when somebody
asks for one. What is anything else is read token by token.
"""

import re
from functools import cached_property
from json import JSONDecodeError, JSONDecoder
from typing import Any

from taskbound.posture.document import Node, Scalar
from taskbound.posture.parsers.tree import MAX_DEPTH, MAX_NODES, Tree, Unreadable, mended, number, put, too_many

_GAP = re.compile(r"(?:[\s\ufeff]++|//[^\n]*+|#[^\n]*+|/\*.*?\*/|\{%.*?%\}|\{#.*?#\})*+", re.DOTALL)
_DOUBLE = re.compile(r'"([^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"', re.DOTALL)
_SINGLE = re.compile(r"'([^'\\\n]*+(?:\\.[^'\\\n]*+)*+)'", re.DOTALL)
_BARE = re.compile(r"[\w$.+-]++")
_ACTION = re.compile(r"\{\{[^\n]*?\}\}")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\n": ""}
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_TEXT_ALONE = JSONDecoder(strict=False)  # "strict" is about control characters
_TOKEN = re.compile(
    r"""[\s,]*+(?:"([^"\\\n]*+(?:\\.[^"\\\n]*+)*+)"(?:\s*+(:))?+|([\[{])(?!\{)|([\]}])"""
    r"""|(true|false|null|0|-?[1-9][0-9]{0,15})(?=[\s,\]}]))""",
    re.DOTALL,
)
_TEXT, _KEY, _OPENS, _CLOSES, _WORD = range(1, 6)  # its groups; of a text with a colon the last one is _KEY
_NUMBER = re.compile(r"[+-]?(?:[0-9.]|Infinity|NaN)[\w.+-]*")


def read_json(text: str, tree: Tree, line: int = 1) -> None:
    """Read values until the end of a text that begins on this line. Raises Unreadable."""
    left = tree.left
    try:
        root, nodes = _decoded(text, line, left)
    except (ValueError, RecursionError):  # it is none, or not within the limits
        reading = _Reading(text, tree.roots, left)
        try:
            reading.read(line)
        finally:
            tree.take(left - max(reading.left, 0), line)
    else:
        tree.take(nodes, line)
        tree.roots.append(root)


def _decoded(text: str, line: int, most: int) -> tuple[Node, int]:
    """Return the node that strict JSON is, and how many there are. Raises ValueError, RecursionError."""
    value, lines = _STRICT.decode(text), _Lines(text, line) if "\n" in text else None
    if "\\ud" in text or "\\uD" in text:  # halves of pairs, perhaps
        value = _whole(value)
    return _node(value, 0, 0 if lines else line, lines, min(most, MAX_NODES), MAX_DEPTH)


def _node(value: Any, number: int, line: int, lines: "_Lines | None", most: int, depth: int) -> tuple[Node, int]:
    """Return the node of a value that comes after so many, and how many there are with those below it.

    `line`: on which all of them stand; 0 where `lines` has to be asked.
    """
    if not isinstance(value, dict | list):
        return Node(value, line or number, 0, lines), number + 1
    if not depth or number + len(value) >= most:
        raise ValueError
    members: dict[str, Node] = {}
    places: list[Node] = []
    node = Node(members if isinstance(value, dict) else places, line or number, 0, lines)
    number += 1
    if isinstance(value, dict):
        for key, one in value.items():
            if type(one) is str:
                members[key] = Node(one, line or number, 0, lines)
                number += 1
            else:
                members[key], number = _node(one, number, line, lines, most, depth - 1)
    else:
        for one in value:
            if type(one) is str:
                places.append(Node(one, line or number, 0, lines))
                number += 1
            else:
                below, number = _node(one, number, line, lines, most, depth - 1)
                places.append(below)
    return node, number


def _whole(value: Any) -> Any:
    """Return a value of which all texts can be encoded. Raises ValueError where two keys are then the same."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        return _members([(mended(key), _whole(one)) for key, one in value.items()])
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError  # of a key that stands twice both values are told
    return members


def _spelled(found: str) -> Scalar:
    spelled = number(found)
    return found if spelled is None else spelled


def _no_number(found: str) -> Scalar:
    raise ValueError(found)


class _Lines:
    """The lines of all values of strict JSON, in order: of what stands under a key and has more below, the key's."""

    def __init__(self, text: str, line: int) -> None:
        self._text, self._first = text, line

    @cached_property
    def _lines(self) -> list[int]:
        text, lines, line, counted, key_line = self._text, list[int](), self._first, 0, 0
        for token in _TOKENS.finditer(text):
            begun = token.start()
            line += text.count("\n", counted, begun)
            counted = begun
            if token.lastindex:
                key_line = line
            else:
                lines.append(key_line if key_line and text[begun] in "{[" else line)
                key_line = 0
        return lines

    def __getitem__(self, place: int) -> int:
        return self._lines[place]


_STRICT = JSONDecoder(object_pairs_hook=_members, parse_int=_spelled, parse_float=_spelled, parse_constant=_no_number)
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?+|[\[{]|[^\s,:"\[\]{}]++', re.DOTALL)


class _Reading:
    """A text on its way to nodes. What strict JSON has is known by one expression; what it has not is asked for."""

    def __init__(self, text: str, roots: list[Node], left: int) -> None:
        self.left = left  # nodes that may be made
        self._text, self._roots = text, roots

    def read(self, line: int) -> None:
        """Read until the end. Raises Unreadable. A token is placed without a call, which takes as long as all else."""
        text, match, end = self._text, _TOKEN.match, len(self._text)
        inside: list[Node] | dict[str, Node] = self._roots  # the innermost that is open
        around: list[list[Node] | dict[str, Node]] = []
        key: str | None = None  # of a mapping: whose value comes next
        at, key_line = 0, line
        newline = text.find("\n")  # the first that is not counted
        while True:
            found = match(text, at)
            group = (found.lastindex or 0) if found else 0
            waits_for_key = key is None and type(inside) is dict
            if found and group and (not waits_for_key or group in (_KEY, _CLOSES)):
                begun = found.start(_TEXT if group == _KEY else group)
            else:
                group, begun = 0, _after_gap(text, at)
            if 0 <= newline < begun:
                line += text.count("\n", newline, begun)
                newline = text.find("\n", begun)
            if begun >= end:
                break

            value: Scalar = None
            if not found or not group:
                sign, value, at = _odd(text, begun, line, waits_for_key)
            elif waits_for_key and group == _KEY:
                sign, value, at = ":", _unescaped(found[_TEXT]), found.end()
            elif group <= _KEY:
                sign, value, at = "", _unescaped(found[_TEXT]), found.end(_TEXT) + 1
            elif group == _WORD:
                sign, at = "", found.end()
                value = _WORDS[found[_WORD]] if found[_WORD] in _WORDS else int(found[_WORD])
            else:
                sign, at = found[group], found.end()

            if sign == ":":
                key, key_line = str(value), line
                continue
            if sign == ",":
                continue
            if sign in ("}", "]"):
                if not around or (type(inside) is dict) is not (sign == "}"):
                    raise Unreadable("a bracket closes nothing that is open", line)
                if key is None:
                    inside = around.pop()
                    continue
                at = begun  # a key that has no value: first its null, then the bracket again
            below: list[Node] | dict[str, Node] | None = None
            if sign in ("[", "{"):
                if len(around) >= MAX_DEPTH:
                    raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
                below = {} if sign == "{" else []
                node = Node(below, line if key is None else key_line)
            else:
                node = Node(value, line)
            self.left -= 1
            if self.left < 0:
                raise too_many(line)
            if not isinstance(inside, dict):
                inside.append(node)
            elif key is not None:
                put(inside, key, node)
                key = None
            if below is not None:
                around.append(inside)
                inside = below
        if around:
            raise Unreadable("the text ends before what it opens", line)


def _after_gap(text: str, at: int) -> int:
    """Return where what means nothing ends: space, remarks, statements of templates."""
    gap = _GAP.match(text, at)
    assert gap
    return gap.end()


def _odd(text: str, at: int, line: int, waits_for_key: bool) -> tuple[str, Scalar, int]:
    """Return what a token is that strict JSON does not have there: its sign, its value, its end. Raises Unreadable.

    ":" is the sign of a key, "" that of a scalar.
    """
    sign = text[at]
    if sign in ",}]":
        return sign, None, at + 1
    if waits_for_key:
        return _key(text, at, line)
    if sign == "[" or (sign == "{" and not _ACTION.match(text, at)):
        return sign, None, at + 1
    return _scalar(text, at, line)


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


def _key(text: str, at: int, line: int) -> tuple[str, Scalar, int]:
    """Read a key and its colon; an action of a template is passed over."""
    if action := _ACTION.match(text, at):
        return ",", None, action.end()
    found = _DOUBLE.match(text, at) or _SINGLE.match(text, at) or _BARE.match(text, at)
    if not found:
        raise Unreadable("a key is missing", line)
    colon = _after_gap(text, found.end())
    if not text.startswith(":", colon):
        raise Unreadable("a key has no value", line)
    return ":", _unescaped(found[1]) if found.lastindex else found[0], colon + 1


def _scalar(text: str, at: int, line: int) -> tuple[str, Scalar, int]:
    value: Scalar
    if found := _DOUBLE.match(text, at) or _SINGLE.match(text, at):
        value = _unescaped(found[1])
    elif found := _ACTION.match(text, at):
        value = found[0]
    elif not (found := _BARE.match(text, at)):
        raise Unreadable("a value is missing, or does not end on its line", line)
    elif found[0] in _WORDS:
        value = _WORDS[found[0]]
    elif _NUMBER.fullmatch(found[0]):
        spelled = number(found[0])
        value = found[0] if spelled is None else spelled
    else:
        raise Unreadable("a word is no value", line)
    return "", value, found.end()


def _unescaped(inner: str) -> str:
    if "\\" not in inner:
        return inner
    try:
        text = str(_TEXT_ALONE.raw_decode(f'"{inner}"')[0])
        return mended(text) if "\\u" in inner else text
    except JSONDecodeError:  # escapes that strict JSON does not have
        return mended(_ESCAPE.sub(_character, inner))


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _ESCAPED.get(escape[2], escape[2])
