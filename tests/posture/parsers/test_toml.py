"""TOML, compared with the standard library's reader (taskbound.posture.parsers.toml)."""

import tomllib

import pytest

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "a = ",
    "[a]\n",
    "[[a]]\n",
    "[a.b]\n",
    '"""',
    "'''",
    '"',
    "'",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "\\",
    "=",
    ".",
    "1",
    "true",
]
PIECES += ["a = [", "a = {", "a.", '"a".', "2026-01-01", "\\u00e9", "a = 1\n", "[a.", "[["]


@pytest.fixture(scope="module")
def form() -> Form:
    def render(pairs):
        styles = ("{} = '{}'", '{} = "{}" # remark', '{} = """\n{}"""', "{} = '''{}'''")
        return "\n".join(["# a", "[servers.x]", *(styles[n % 4].format(*pair) for n, pair in enumerate(pairs))])

    return Form(".codex/config.toml", "toml", render, PIECES)


SAMPLE = r'''
title = "a \"b\" \u00e9"   # remark
path = 'C:\x'
"quoted key" = 1
a.b.'c' = [1, 2.5, [ "x", # remark
  "y", ], {z = true, w.v = "1"}]
text = """
one \
   two "" three"""
raw = """"quoted""""
literal = \'\'\'
it's
\'\'\'
[table]
on = false
[[list]]
n = 1
[list.below]
m = "p"
[[list]]
n = 2
[table.sub."x.y"]
k = ""
'''.replace("\\'", "'")


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


def test_values_are_those_that_the_library_reads():
    document = parse("a.toml", SAMPLE.encode())
    assert document.problem == ""
    assert plain(document.roots[0]) == tomllib.loads(SAMPLE)


def test_dates_and_unusual_spellings_are_texts():
    document = parse("a.toml", b"a = 1979-05-27 07:32:00\nb = 1_000\nc = 0x1F\nd = 1.10\n")
    assert plain(document.roots[0]) == {"a": "1979-05-27 07:32:00", "b": "1_000", "c": "0x1F", "d": "1.10"}


def test_reading_goes_on_behind_a_line_that_is_broken():
    document = parse("a.toml", b"[a]\nb = 'c\nd = 1\n[e\n[f]\ng = 2\n")
    assert document.problem == "line 2: a value is missing, or does not end"
    assert plain(document.roots[0]) == {"a": {"d": 1}, "f": {"g": 2}}
