"""JSON as people write it (taskbound.posture.parsers.json)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskbound.posture.parsers import parse
from taskbound.posture.parsers.tree import MAX_DEPTH
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form


@pytest.fixture(scope="module")
def form() -> Form:
    def render(pairs):
        return "\n".join(
            ["{ // settings", '  "servers": {', *(f'"{n}": ["{m}", /* a */],' for n, m in pairs), "}", "}"]
        )

    return Form(".vscode/mcp.json", "json", render, PIECES, has_names=False)


PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ":",
    ",",
    '"a"',
    '"a":',
    "//",
    "/*",
    "*/",
    "\\",
    "\\u00e9",
    "1",
    "null",
    "{{",
    "}}",
]
PIECES += ['{"a":', "[[", "{%", "%}", '"a":1,', "{{x}}", '{"a":1}\n', "/**/", '"a" /*']


def value(text: str, path: str = "a.json") -> object:
    document = parse(path, text.encode())
    assert document.problem == ""
    return plain(document.roots[0])


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"a": [1, -2.5, true, null,],}', {"a": [1, -2.5, True, None]}),
        ("{a: 'it\\'s', // no\n 'b': +1}", {"a": "it's", "b": "+1"}),
        (r'["\u00e9\n\"\\\/", "\ud83d\ude00", "\ud800"]', ['\u00e9\n"\\/', "\U0001f600", "\ufffd"]),
        ('{"version": 1.10, "id": 0123, "big": 1e400}', {"version": "1.10", "id": "0123", "big": "1e400"}),
        ('{"url": "https://a.example//b"}', {"url": "https://a.example//b"}),
        ('{"port": {{ port }}, {% if a %} "b": 1 {% endif %}}', {"port": "{{ port }}", "b": 1}),
        ('# remark\n["a" /* b */]', ["a"]),
    ],
)
def test_what_clients_tolerate_is_read_as_it_is_meant(text, meant):
    assert value(text) == meant


def test_of_a_key_that_stands_twice_the_last_counts_and_the_earlier_stay():
    assert value('{"a": 1,\n"a": 2, "a": 3}') == {"a (line 1)": 1, "a (line 2)": 2, "a": 3}


def test_none_is_lost_where_a_key_stands_many_times_on_a_line():
    members = parse("a.json", b'{"a": 1, "a": 2, "a": 3, "a": 4}').roots[0].items
    assert sorted(node.text for node in members.values()) == ["1", "2", "3", "4"]


def test_ends_of_lines_within_a_member_count():
    root = parse("a.json", b'{"a"\n\n: 1, "b": "c\\\nd", "e": 2}').roots[0]
    assert [(key, node.line) for key, node in root.items.items()] == [("a", 3), ("b", 3), ("e", 4)]


def test_a_mapping_stands_where_its_key_stands():
    root = parse("a.json", b'{\n"a":\n\n{"b":\n[1]}}').roots[0]
    assert (root.line, root.at("a").line, root.at("a", "b").line, root.at("a", "b").list[0].line) == (1, 2, 4, 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1,\n "b": "c', "line 2: a value is missing, or does not end on its line"),
        ('{"a": 1,\n "b"', "line 2: a key has no value"),
        ('{"a": 1\n', "line 2: the text ends before what it opens"),
        ('{"a": 1]', "line 1: a bracket closes nothing that is open"),
        ('{"a": 1, "b":\n nonsense}', "line 2: a word is no value"),
    ],
)
def test_a_broken_text_has_what_was_read_and_says_where_it_breaks(text, problem):
    document = parse("a.json", text.encode())
    assert (document.problem, document.roots[0].at("a").value) == (problem, 1)


def test_nesting_ends_at_the_limit():
    document = parse("a.json", b'{"a":' * 500)
    assert document.problem == f"line 1: nested more than {MAX_DEPTH} deep"


def test_a_log_has_lines_of_json_and_others():
    text = b'started\n{"token": "x", "at": {"b": 1}}\n[2026-01-01] {broken\n'
    document = parse("app.log", text)
    assert (document.format, document.problem) == ("jsonl", "")
    assert [(root.line, plain(root)) for root in document.roots] == [
        (1, "started"),
        (2, {"token": "x", "at": {"b": 1}}),
        (3, "[2026-01-01] {broken"),
    ]


def test_what_is_no_line_of_json_is_told_and_kept():
    document = parse("a.jsonl", b'{"a": 1}\n{"b": \n{"c": 3}\n')
    assert [plain(root) for root in document.roots] == [{"a": 1}, '{"b":', {"c": 3}]
    assert document.problem.startswith("line 2: ")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", "\n", "😀", "{{ x }}"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=3), below, max_size=4),
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from([None, 0, 1]), st.booleans())
def test_what_is_strict_is_read_as_it_is_behind_a_remark(value, indent, in_ascii):
    """A remark is none of JSON: with one all is read token by token, and counted at once."""
    text = json.dumps(value, indent=indent, ensure_ascii=in_ascii)
    assert told(f"\n{text}\n") == told(f"\n{text}\n// a remark")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1,\n"a": 2}',
        '{"\\ud800": 1, "\\ud801": 2}',
        "[" * 80 + "]" * 80,
        '{"a":\n{"b":\n[\n[1], -0, 1.50]}}',
        '["\t"]',
    ],
)
def test_so_is_what_only_looks_strict(text):
    assert told(text) == told(f"{text} // a remark")


def told(text):
    document = parse("a.json", text.encode("utf-8", "replace"))
    return [tuple(map(_told, document.roots)), document.problem]


def _told(node):
    below = [(key, _told(one)) for key, one in node.items.items()] or [_told(one) for one in node.list]
    return type(node.value), node.line, below or node.text
