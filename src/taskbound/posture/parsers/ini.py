"""Sections of keys with values, and kin: INI, systemd, git, AWS, ssh, .npmrc, .pypirc, properties, .netrc, .pgpass.

There is no standard; what is here is what configparser, git-config(1), systemd.syntax(7), java.util.Properties,
netrc(5) and libpq agree on. Keys before the first section stand beside the sections. All values are texts; one in
quotes is what is within. Of a value that goes on below, indented, the lines are kept; where nothing stands beside the
key and what is below has keys of its own, it is a mapping (AWS); so is what stands below `Host a` (ssh_config). A
section of git with a name within it is nested: `[remote "a"]`.
"""

import re

from taskbound.posture.document import Node
from taskbound.posture.parsers.tree import Lines, Tree, into, mended, put

_SECTION = re.compile(r'\[([^\]"]*+)(?:"((?:[^"\\]|\\.)*+)"\s*+)?\]')
_PAIR = re.compile(r"([^=:]++)[=:](.*)")
_ASSIGNED = re.compile(r"([^=]++)=(.*)")
_WORDS = re.compile(r"(\S++)(?:[ \t](.*))?")
_REMARK = re.compile(r"(?<![ \t])[ \t]++[#;].*")
_QUOTED_REMARKED = re.compile(r"""(["'])((?:(?!\1).)*+)\1\s*+(?:[#;].*)?""")
_QUOTED = re.compile(r"""(["'])(.*)\1(?:\s*;)?""")
_PROPERTY = re.compile(r"((?:[^\\=:\s]|\\.)*)[ \t\f]*(?:[=:][ \t\f]*)?", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_NETRC = re.compile(r'#[^\n]*|"((?:[^"\\\n]|\\.)*)"|\S+')
_PGPASS = ("hostname", "port", "database", "username", "password")  # PostgreSQL 18, 32.16


def read_ini(text: str, tree: Tree) -> None:
    """Read sections until the end. Raises Unreadable."""
    _read_sections(text, tree, _PAIR)


def read_assigned(text: str, tree: Tree) -> None:
    """Read sections whose keys may have a colon, as the registries in .npmrc have. Raises Unreadable."""
    _read_sections(text, tree, _ASSIGNED)


def _read_sections(text: str, tree: Tree, pair: re.Pattern[str]) -> None:
    root = section = tree.open_mapping(1)
    indent, above = 0, _Value({}, "", "", 0)
    for line, one in enumerate(text.split("\n"), 1):
        spelled = one.strip()
        if not spelled or spelled[0] in "#;":
            continue
        beginning = len(one) - len(one.lstrip())
        if beginning > indent and above.key:
            nested = pair.fullmatch(spelled) or (above.is_heading and _WORDS.fullmatch(spelled)) or None
            if nested and (above.nested is not None or above.is_heading or above.parts == [""]):
                put(above.nest(tree), nested[1].strip(), tree.node(_bare((nested[2] or "").strip()), line))
            else:
                above.go_on(spelled, line)
            continue
        above.put(tree)
        indent = beginning
        if found := _SECTION.match(spelled):
            section = into(root, found[1].strip(), tree, line)
            if found[2] is not None:
                section = into(section, _ESCAPE.sub(r"\2", found[2]), tree, line)
            above = _Value({}, "", "", 0)
        elif found := pair.fullmatch(spelled) or _WORDS.fullmatch(spelled):
            above = _Value(section, found[1].strip(), _bare((found[2] or "").strip()), line)
            above.is_heading = found.re is _WORDS
    above.put(tree)
    tree.close()


class _Value:
    """A value that may go on below."""

    def __init__(self, section: dict[str, Node], key: str, begins: str, line: int) -> None:
        self.key = key
        self.parts = [begins]
        self.nested: dict[str, Node] | None = None
        self.is_heading = False  # no sign stands between key and value: what is below, indented, belongs to both
        self._section = section
        self._line = self._last = line

    def go_on(self, spelled: str, line: int) -> None:
        """Add a line to the text; nothing beside the key is no line of it."""
        if self.parts == [""]:
            self.parts, self._line = [spelled], line
        else:
            self.parts.append("\n" * (line - self._last) + spelled)
        self._last = line

    def nest(self, tree: Tree) -> dict[str, Node]:
        """Return the members of the mapping that stands below the key."""
        if self.nested is None:
            self.nested = {}
            put(
                self._section,
                f"{self.key} {self.parts[0]}" if self.is_heading else self.key,
                tree.node(self.nested, self._line),
            )
        return self.nested

    def put(self, tree: Tree) -> None:
        """Put the value under its key, if it is not there yet."""
        if self.key and self.nested is None:
            put(self._section, self.key, tree.node("".join(self.parts), self._line, self._last))


def _bare(value: str) -> str:
    """Return a value without its quotes, or without the remark beside it."""
    if quoted := _QUOTED_REMARKED.fullmatch(value) or _QUOTED.fullmatch(value):
        return quoted[2]
    value = _REMARK.sub("", value).rstrip(" \t;")
    return quoted[2] if (quoted := _QUOTED.fullmatch(value)) else value


def read_properties(text: str, tree: Tree) -> None:
    """Read what java.util.Properties.load reads. Raises Unreadable."""
    members = tree.open_mapping(1)
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line, spelled = at + 1, lines[at].lstrip()
        at += 1
        if not spelled or spelled[0] in "#!":
            continue
        parts = [spelled]
        while _goes_on(parts[-1]) and at < len(lines):
            parts[-1] = parts[-1][:-1]
            parts.append(lines[at].lstrip())
            at += 1
        whole = "".join(parts)
        found = _PROPERTY.match(whole)
        assert found
        # The first part that reaches beyond the key is where the value begins.
        begins, length = line, 0
        for part in parts:
            length += len(part)
            if length > found.end():
                break
            begins += len(parts) > begins - line + 1
        put(members, _unescaped(found[1]), tree.node(_unescaped(whole[found.end() :]), begins))
    tree.close()


def _goes_on(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescaped(text: str) -> str:
    return mended(_ESCAPE.sub(_character, text)) if "\\" in text else text


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _ESCAPED.get(escape[2], escape[2])


def read_netrc(text: str, tree: Tree) -> None:
    """Read the machines of a netrc: {machine: {"login": …, "password": …}}, the default one as "default"."""
    machines = tree.open_mapping(1)
    machine: dict[str, Node] = {}
    line_of = Lines(text).at
    # What a macro does stands below its name until an empty line.
    text = re.sub(r"^[ \t]*macdef\b(?:[^\n]+\n?)*", lambda found: "\n" * found[0].count("\n"), text, flags=re.MULTILINE)
    name, name_line = "", 0
    for word in _NETRC.finditer(text):
        if word[0][0] == "#" and not name:
            continue
        spelled, line = word[0] if word[1] is None else _ESCAPE.sub(r"\2", word[1]), line_of(word.start())
        if name:
            node = tree.node(spelled, line)
            if name == "machine":
                machine = {}
                put(machines, spelled, tree.node(machine, name_line))
            else:
                put(machine, name, node)
            name = ""
        elif spelled == "default":
            machine = {}
            put(machines, spelled, tree.node(machine, line))
        elif spelled in ("machine", "login", "user", "password", "account"):
            name, name_line = spelled, line
        else:
            tree.note("a word is none of netrc(5)", line)
    tree.close()


def read_pgpass(text: str, tree: Tree) -> None:
    """Read a password file of libpq: a sequence of mappings of its five fields."""
    tree.open_sequence(1)
    for line, one in enumerate(text.split("\n"), 1):
        if not one.strip() or one.startswith("#"):
            continue
        fields = [_ESCAPE.sub(r"\2", field) for field in re.findall(r"((?:\\.|[^:])*+)(?::|$)", one)][: len(_PGPASS)]
        if len(fields) < len(_PGPASS):
            tree.note("less than five fields", line)
        tree.open_mapping(line)
        for name, field in zip(_PGPASS, fields, strict=False):
            tree.key(name, line)
            tree.add(field, line)
        tree.close()
    tree.close()
