"""TOML (1.0.0), with lines, which tomllib does not tell, and tolerant: after a line that is none the next is read.

Dates and times are texts. A table of an array of tables is a place of a sequence.
"""

import re
from collections.abc import Callable

from taskbound.posture.document import Node, Scalar
from taskbound.posture.parsers.tree import MAX_DEPTH, Lines, Tree, Unreadable, into, mended, put, scalar

_BLANK = re.compile(r"(?:\s++|#[^\n]*+)*+")
_SPACE = re.compile(r"[ \t]*+")
_REST = re.compile(r"[ \t]*+(?:#[^\n]*+)?(?:\n|$)")
_KEY = re.compile(r"""[A-Za-z0-9_-]++|"((?:[^"\\\n]|\\[^\n])*+)"|'([^'\n]*+)'""")
_BASIC_BLOCK = re.compile(r'"""\n?((?:[^"\\]++|\\.|"{1,2}(?!"))*+"{0,2})"""', re.DOTALL)
_LITERAL_BLOCK = re.compile(r"'''\n?((?:[^']++|'{1,2}(?!'))*+'{0,2})'''")
_BASIC = re.compile(r'"((?:[^"\\\n]++|\\[^\n])*+)"')
_LITERAL = re.compile(r"'([^'\n]*+)'")
_WORD = re.compile(r"[^\s,\[\]{}#=\"']++(?: \d\d:[^\s,\]}#]*+)?")
# Most lines, and most places of arrays: what needs no more than one look.
_PLAIN = re.compile(r"""([A-Za-z0-9_-]++)[ \t]*+=[ \t]*+(?:"([^"\\\n]*+)"(?!")|([^\s,\[\]{}#="']++))""" + _REST.pattern)
_PLAIN_PLACE = re.compile(r'"([^"\\\n]*+)"(?!")[ \t]*+(?:,\s*+|(?=\]))')
_ESCAPE = re.compile(r"\\(?:[uU]([0-9A-Fa-f]{8}|[0-9A-Fa-f]{4})|[ \t]*\n\s*|(.))")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "e": "\x1b"}


def read_toml(text: str, tree: Tree) -> None:
    """Read tables until the end. Raises Unreadable."""
    reading = _Reading(text, tree)
    root = table = tree.open_mapping(1)
    at = 0
    while (at := _end(_BLANK, text, at)) < len(text):
        line = reading.line(at)
        if plain := _PLAIN.match(text, at):
            word = plain[3]
            put(table, plain[1], tree.node(plain[2] if word is None else _meant(word), line))
            at = plain.end()
            continue
        try:
            if text[at] == "[":
                table, at = reading.table(root, at)
            else:
                at = reading.member(table, at, 1)
            if not (rest := _REST.match(text, at)):
                raise _Malformed("more than one value on a line")
            at = rest.end()
        except _Malformed as error:
            tree.note(str(error), line)
            at = (text.find("\n", at) + 1) or len(text)
    tree.close()


class _Malformed(Exception):
    """A line is no TOML."""


class _Reading:
    def __init__(self, text: str, tree: Tree) -> None:
        self._text = text
        self._tree = tree
        self.line = Lines(text).at

    def table(self, root: dict[str, Node], at: int) -> tuple[dict[str, Node], int]:
        """Read a header; return the members of its table, and where it ends."""
        is_array = self._text.startswith("[[", at)
        line = self.line(at)
        keys, at = self._keys(at + 1 + is_array)
        if not self._text.startswith("]]" if is_array else "]", at):
            raise _Malformed("the name of a table does not end")
        found = self._below(root, keys[:-1] if is_array else keys, line)
        if is_array:
            array = found.get(keys[-1])
            if array is None or not isinstance(array.value, list):
                array = self._tree.node([], line)
                put(found, keys[-1], array)
            assert isinstance(array.value, list)
            found = {}
            array.value.append(self._tree.node(found, line))
        return found, at + 1 + is_array

    def member(self, table: dict[str, Node], at: int, depth: int) -> int:
        """Read a key with its value into a table, and return where they end."""
        line = self.line(at)
        keys, at = self._keys(at)
        if not self._text.startswith("=", at):
            raise _Malformed("a key has no value")
        members = self._below(table, keys[:-1], line)
        return self._value(at + 1, line, depth + len(keys), lambda node: put(members, keys[-1], node))

    def _below(self, table: dict[str, Node], keys: list[str], line: int) -> dict[str, Node]:
        """Return the members of the table at these keys; of an array of tables its last one counts."""
        if len(keys) >= MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
        for key in keys:
            found = table.get(key)
            if found is not None and found.list and isinstance(found.list[-1].value, dict):
                table = found.list[-1].value
            else:
                table = into(table, key, self._tree, line)
        return table

    def _keys(self, at: int) -> tuple[list[str], int]:
        keys = []
        while True:
            found = _KEY.match(self._text, _end(_SPACE, self._text, at))
            if not found:
                raise _Malformed("a key is missing")
            keys.append(found[2] if found[2] is not None else found[0] if found[1] is None else _unescaped(found[1]))
            at = _end(_SPACE, self._text, found.end())
            if not self._text.startswith(".", at):
                return keys, at
            at += 1

    def _value(self, at: int, key_line: int, depth: int, place: "Place") -> int:
        """Read a value and place it before what is below it is read; return where it ends."""
        text = self._text
        at = _end(_SPACE, text, at)
        if text.startswith(("[", "{"), at):
            return self._nested(at, key_line, depth, place)
        if found := _BASIC_BLOCK.match(text, at) or _LITERAL_BLOCK.match(text, at):
            value = _unescaped(found[1]) if text[at] == '"' else found[1]
            place(self._tree.node(value, self.line(found.start(1)), self.line(found.end())))
        elif found := _BASIC.match(text, at):
            place(self._tree.node(_unescaped(found[1]), self.line(at)))
        elif found := _LITERAL.match(text, at):
            place(self._tree.node(found[1], self.line(at)))
        elif found := _WORD.match(text, at):
            place(self._tree.node(_meant(found[0]), self.line(at)))
        else:
            raise _Malformed("a value is missing, or does not end")
        return found.end()

    def _nested(self, at: int, line: int, depth: int, place: "Place") -> int:
        text = self._text
        if depth >= MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", self.line(at))
        places: list[Node] = []
        members: dict[str, Node] = {}
        is_array = text[at] == "["
        place(self._tree.node(places if is_array else members, line))
        at = _end(_BLANK, text, at + 1)
        while not text.startswith("]" if is_array else "}", at):
            if is_array and (plain := _PLAIN_PLACE.match(text, at)):
                places.append(self._tree.node(plain[1], self.line(at)))
                at = _end(_BLANK, text, plain.end())
                continue
            if is_array:
                at = self._value(at, self.line(at), depth + 1, places.append)
            else:
                at = self.member(members, at, depth)
            at = _end(_BLANK, text, at)
            if text.startswith(",", at):
                at = _end(_BLANK, text, at + 1)
            elif not text.startswith("]" if is_array else "}", at):
                raise _Malformed("an array or an inline table does not end")
        return at + 1


Place = Callable[[Node], None]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where that which may stand here ends."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _meant(word: str) -> Scalar:
    return word if word == "null" else scalar(word)


def _unescaped(inner: str) -> str:
    return mended(_ESCAPE.sub(_character, inner)) if "\\" in inner else inner


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(min(int(escape[1], 16), 0x10FFFF))
    return _ESCAPED.get(escape[2], escape[2]) if escape[2] else ""
