"""HCL (native syntax, hashicorp/hcl 2), as its JSON syntax would have it: Terraform, Packer, Nomad, variables files.

A block is a mapping below its type and each of its labels: `resource "aws_s3_bucket" "a" {…}` stands at
("resource", "aws_s3_bucket", "a"). Where one stands several times it is a sequence of mappings, as `statement` often
is. An expression that is no literal is its text as it stands there; a template keeps its ${…}. A function that only
changes the form (`jsonencode({…})`) is its argument, and a heredoc that is JSON is what it holds.
"""

import re

from taskbound.posture.document import Node
from taskbound.posture.parsers.json import read_json
from taskbound.posture.parsers.tree import MAX_DEPTH, Lines, Tree, Unreadable, mended, put, scalar

_GAP = re.compile(r"(?:\s++|#[^\n]*+|//[^\n]*+|/\*.*?\*/|,)*+", re.DOTALL)
_SPACE = re.compile(r"(?:[ \t]++|/\*[^\n]*?\*/)*+")
_NAME = re.compile(r"[^\W\d][\w.-]*+")
_END = re.compile(r"[ \t]*+(?:#|//|/\*|[\n,}\])]|$)")
# Most attributes: what needs no more than one look.
_SIMPLE = re.compile(rf'({_NAME.pattern})[ \t]*+=(?![=>])[ \t]*+(?:"([^"\\$%\n]*+)"|([\w.+-]++))(?={_END.pattern})')
_HEREDOC = re.compile(r"<<(-?)[ \t]*(\w+)[ \t]*\n")
_NUMBER = re.compile(r"-?[0-9][\w.+-]*+")
_WORD = re.compile(r"[\w.+-]++")
_CALL = re.compile(r"(?:jsonencode|yamlencode|sensitive|nonsensitive|tomap|toset|tolist|tostring|merge)\(")
_PLAIN = re.compile(r'[^"\\$%\n]++')
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_FOR = re.compile(r"[\[{]\s*for\b")
_LINE = re.compile(r"[^\n]*+")
_EXPRESSION = re.compile(r"[^\"'#/<(\[{}\])\n,]++")
_CLOSES = {"(": ")", "[": "]", "{": "}"}


def read_hcl(text: str, tree: Tree) -> None:
    """Read a body until the end. Raises Unreadable."""
    reading = _Reading(text, tree)
    root = tree.open_mapping(1)
    at = 0
    while True:
        try:
            at = reading.body(root, at, 1)
            tree.close()
            return
        except _Malformed as error:
            tree.note(str(error), reading.line(error.at))
            at = text.find("\n", error.at) + 1
            if not at:
                tree.close()
                return


class _Malformed(Exception):
    """What stands here is no HCL."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.at = at


class _Reading:
    def __init__(self, text: str, tree: Tree) -> None:
        self._text = text
        self._tree = tree
        self.line = Lines(text).at

    def body(self, members: dict[str, Node], at: int, depth: int) -> int:
        """Read attributes and blocks up to the bracket that closes the body, or the end. Raises _Malformed."""
        text = self._text
        while (at := _end(_GAP, text, at)) < len(text):
            if text[at] == "}":
                if depth > 1:
                    return at
                self._tree.note("a bracket closes nothing that is open", self.line(at))
                at += 1
            else:
                at = self._member(members, at, depth)
        if depth > 1:
            self._tree.note("the text ends within a block", self.line(len(text)))
        return at

    def _member(self, members: dict[str, Node], at: int, depth: int) -> int:
        """Read an attribute, a block or a member of an object, and return where it ends."""
        text, line = self._text, self.line(at)
        if simple := _SIMPLE.match(text, at):
            value = simple[2] if simple[3] is None else scalar(simple[3])
            put(members, simple[1], self._tree.node(value, line))
            return simple.end()
        key, at = self._key(at)
        labels: list[str] = []
        while True:
            at = _end(_SPACE, text, at)
            if text.startswith(("=", ":"), at) and not labels and not text.startswith("==", at):
                places: list[Node] = []
                at = self._read(at + 1 + text.startswith("=>", at), line, depth, places)
                put(members, key, places[0])
                return at
            if text.startswith("{", at):
                return self._block(members, [key, *labels], at, depth)
            label, at = self._key(at)
            labels.append(label)

    def _block(self, members: dict[str, Node], names: list[str], at: int, depth: int) -> int:
        line = self.line(at)
        if depth + len(names) > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
        for name in names[:-1]:
            found = members.get(name)
            if found is None or not isinstance(found.value, dict):
                found = self._tree.node({}, line)
                put(members, name, found)
            assert isinstance(found.value, dict)
            members = found.value
        below: dict[str, Node] = {}
        node = self._tree.node(below, line)
        there = members.get(names[-1])
        if there is not None and isinstance(there.value, list):
            there.value.append(node)
        elif there is not None and isinstance(there.value, dict):
            members[names[-1]] = self._tree.node([there, node], there.line)
        else:
            put(members, names[-1], node)
        return self.body(below, at + 1, depth + len(names)) + 1

    def _key(self, at: int) -> tuple[str, int]:
        """Read a name, a text or an expression in brackets."""
        text = self._text
        if found := _NAME.match(text, at):
            return found[0], found.end()
        if text.startswith('"', at):
            return self._string(at)
        if found := _NUMBER.match(text, at):
            return found[0], found.end()
        if text.startswith("(", at):
            end = self._expression(at, 1)
            return text[at:end], end
        raise _Malformed("a name is missing", at)

    def _read(self, at: int, line: int, depth: int, places: list[Node]) -> int:
        """Read a value, of which the key stands on `line`; append it; return where it ends."""
        text, tree = self._text, self._tree
        at = _end(_SPACE, text, at)
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", self.line(at))
        if heredoc := _HEREDOC.match(text, at):
            return self._heredoc(heredoc, places)
        before, used = len(places), at
        try:
            used = self._literal(at, line, depth, places)
        except _Malformed:
            del places[before:]
        if used > at and _END.match(text, used):
            return used
        del places[before:]
        end = self._expression(at)
        spelled = text[at:end].strip()
        if not spelled:
            raise _Malformed("a value is missing", at)
        places.append(tree.node(scalar(spelled), self.line(at), self.line(end)))
        return end

    def _literal(self, at: int, line: int, depth: int, places: list[Node]) -> int:
        """Read a text, an object, a list or a call that changes the form alone; return where it ends, or `at`."""
        text, tree = self._text, self._tree
        if _FOR.match(text, at):
            return at
        if text.startswith('"', at):
            value, end = self._string(at)
            places.append(tree.node(value, self.line(at)))
            return end
        if text.startswith("{", at):
            members: dict[str, Node] = {}
            places.append(tree.node(members, line))
            end = self.body(members, at + 1, depth + 1)
            return end + 1
        if text.startswith("[", at):
            inner: list[Node] = []
            places.append(tree.node(inner, line))
            return self._many(at + 1, "]", depth, inner)
        if call := _CALL.match(text, at):
            return self._call(call, line, depth, places)
        if word := _WORD.match(text, at):
            places.append(tree.node(scalar(word[0]), self.line(at)))
            return word.end()
        return at

    def _many(self, at: int, closes: str, depth: int, places: list[Node]) -> int:
        text = self._text
        while not text.startswith(closes, at := _end(_GAP, text, at)):
            if at >= len(text) or text[at] in ")]}":
                raise _Malformed("a list does not end", at)
            at = self._read(at, self.line(at), depth + 1, places)
        return at + 1

    def _call(self, call: re.Match[str], line: int, depth: int, places: list[Node]) -> int:
        arguments: list[Node] = []
        end = self._many(call.end(), ")", depth, arguments)
        if call[0] == "merge(":
            merged: dict[str, Node] = {}
            for argument in arguments:
                for key, node in argument.items.items():
                    put(merged, key, node)
            places.append(self._tree.node(merged, line))
        elif len(arguments) == 1:
            places.append(arguments[0])
        else:
            raise _Malformed("a call has not one argument", end)
        return end

    def _heredoc(self, heredoc: re.Match[str], places: list[Node]) -> int:
        text, tree = self._text, self._tree
        ends, line = self._heredoc_end(heredoc), self.line(heredoc.end())
        inner = text[heredoc.end() : ends.start()]
        if inner.lstrip()[:1] in ("{", "["):
            below = Tree()
            try:
                read_json(inner, below, line)
            except Unreadable:
                below.roots.clear()
            if len(below.roots) == 1:
                tree.take(below.used, line)
                places.append(below.roots[0])
                return ends.end()
        lines = inner.removesuffix("\n").split("\n")
        if heredoc[1]:
            indent = min((len(one) - len(one.lstrip()) for one in lines if one.strip()), default=0)
            lines = [one[indent:] for one in lines]
        places.append(tree.node("\n".join(lines), line, line + len(lines) - 1))
        return ends.end()

    def _string(self, at: int, nested: int = 0) -> tuple[str, int]:
        """Read a text in quotes; return it, and where it ends. What is in ${…} may have quotes of its own."""
        text, begin = self._text, at
        parts: list[str] = []
        at += 1
        while at < len(text) and text[at] != "\n":
            sign = text[at]
            if sign == '"':
                return mended("".join(parts)), at + 1
            if found := _ESCAPE.match(text, at):
                parts.append(_character(found))
                at = found.end()
            elif sign in "$%" and text.startswith("{", at + 1) and text[at - 1] != sign:
                end = self._expression(at + 1, nested + 1)
                parts.append(text[at:end])
                at = end
            else:
                found = _PLAIN.match(text, at)
                parts.append(found[0] if found else sign)
                at = found.end() if found else at + 1
        raise _Malformed("a text does not end on its line", begin)

    def _expression(self, at: int, nested: int = 0) -> int:
        """Return where an expression ends: before a line end, comma or closing bracket that is not in its brackets.

        Within a text, and as a key (`nested`), it is one bracket with what it holds.
        """
        text, closing = self._text, list[str]()
        while at < len(text):
            sign = text[at]
            if sign in _CLOSES:
                if len(closing) + nested >= MAX_DEPTH:
                    raise Unreadable(f"nested more than {MAX_DEPTH} deep", self.line(at))
                closing.append(_CLOSES[sign])
                at += 1
            elif sign in ")]}":
                if not closing or closing.pop() != sign:
                    break
                at += 1
                if nested and not closing:
                    return at
            elif sign in "\n," or sign == "#" or text.startswith("//", at):
                if not closing:
                    break
                at = at + 1 if sign in "\n," else _end(_LINE, text, at)
            elif sign == '"':
                try:
                    _, at = self._string(at, nested + 1)
                except _Malformed:
                    at = _end(_LINE, text, at)
            elif heredoc := _HEREDOC.match(text, at):
                at = self._heredoc_end(heredoc).end()
            else:
                at = _end(_EXPRESSION, text, at + 1)
        if nested:
            raise _Malformed("a bracket does not end", at)
        return at

    def _heredoc_end(self, heredoc: re.Match[str]) -> re.Match[str]:
        ends = re.compile(rf"^[ \t]*{heredoc[2]}[ \t]*$", re.MULTILINE).search(self._text, heredoc.end())
        if not ends:
            raise Unreadable("a heredoc does not end", self.line(heredoc.start()))
        return ends


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where that which may stand here ends."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _character(escape: re.Match[str]) -> str:
    if code := escape[1] or escape[2]:
        return chr(min(int(code, 16), 0x10FFFF))
    return _ESCAPED.get(escape[3], escape[3])
