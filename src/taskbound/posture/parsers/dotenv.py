"""Environment files, as dotenv, Compose and `set -a` read them: NAME=value, with `export`, quotes and remarks.

A value in quotes may go over several lines. References (${NAME}) stay as they stand. A quote that does not end, or
that something follows, is part of a value that ends with its line.
"""

import re

from taskbound.posture.parsers.tree import Lines, Tree, put

_PAIR = re.compile(r"[ \t]*(?:export[ \t]+|set[ \t]+)?([\w.-]+)[ \t]*(?:=|:(?=\s))[ \t]*")
_DOUBLE = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t;]*(?:#[^\n]*)?(?=\n|$)', re.DOTALL)
_SINGLE = re.compile(r"'([^']*+)'[ \t;]*(?:#[^\n]*)?(?=\n|$)")
_BACK = re.compile(r"`([^`]*+)`[ \t;]*(?:#[^\n]*)?(?=\n|$)")
_PLAIN = re.compile(r"([^\n]*+)")
_REMARK = re.compile(r"(?<![ \t])[ \t]++#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


def read_dotenv(text: str, tree: Tree) -> None:
    """Read variables until the end. Raises Unreadable."""
    members = tree.open_mapping(1)
    line_of = Lines(text).at
    at = 0
    while at < len(text):
        if not (pair := _PAIR.match(text, at)):
            end = text.find("\n", at)
            spelled = text[at : end if end >= 0 else None].strip()
            if spelled and spelled[0] != "#" and not spelled.startswith("export "):
                tree.note("no NAME=value", line_of(at))
            at = end + 1 if end >= 0 else len(text)
            continue
        at = pair.end()
        found = _DOUBLE.match(text, at) or _SINGLE.match(text, at) or _BACK.match(text, at) or _PLAIN.match(text, at)
        assert found
        value = found[1]
        if found.re is _PLAIN:
            value = "" if value.startswith("#") else _REMARK.sub("", value).rstrip()
        elif found.re is _DOUBLE:
            value = _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), value)
        put(members, pair[1], tree.node(value, line_of(found.start(1)), line_of(found.end(1))))
        at = found.end()
    tree.close()
