"""Headers that mirror arguments: values go there and back, marks stand where they may, and two readers see one call."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats import mcp_headers
from taskbound.formats.mcp import HEADER_MISMATCH, MalformedMessage
from taskbound.formats.mcp_headers import BadMark, Mark, decode_value, encode_value, marks_of

VECTORS = {  # streamable HTTP 7: value encoding
    "us-west1": "us-west1",
    "Hello, 世界": "=?base64?SGVsbG8sIOS4lueVjA==?=",
    " padded ": "=?base64?IHBhZGRlZCA=?=",
    "line1\nline2": "=?base64?bGluZTEKbGluZTI=?=",
    "=?base64?literal?=": "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
    "": "",
    "a b": "a b",
}


@pytest.mark.parametrize("text", VECTORS)
def test_values_are_encoded_as_published(text):
    assert encode_value(text) == VECTORS[text] and decode_value(VECTORS[text]) == text


@given(st.text())
def test_any_text_comes_back_and_is_safe_on_the_way(text):
    value = encode_value(text)
    assert decode_value(value) == text
    assert value == value.strip() and all(" " <= one <= "~" or one == "\t" for one in value)


@pytest.mark.parametrize(
    "value",
    ["\xe9", "a\r\nb", "a\0", " a", "a ", "=?base64?a?=", "=?base64?YQ?=", "=?base64?YR==?=", "=?base64?/w==?=",
     "=?base64?Y Q==?=", "=?base64?YQ==\n?="],
)  # fmt: skip
def test_what_is_no_value_has_no_text(value):
    assert decode_value(value) is None


def text(name="Region", **more):
    return {"type": "string", "x-mcp-header": name, **more}


def having(**properties):
    return {"type": "object", "properties": properties}


def test_marks_are_found_over_properties_alone():
    schema = having(
        region=text(), plain={"type": "string"}, place=having(zone=text("Zone"), n={**text("N"), "type": "integer"})
    )
    assert set(marks_of(schema)) == {
        Mark(("region",), "mcp-param-region", "string"),
        Mark(("place", "zone"), "mcp-param-zone", "string"),
        Mark(("place", "n"), "mcp-param-n", "integer"),
    }
    unmarked: object
    for unmarked in (None, {}, [], "x", having(a={"type": "string", "default": {"x-mcp-header": 1}})):
        assert marks_of(unmarked) == ()
    named = having(**{"x-mcp-header": {"type": "string"}, "properties": having(a=text())})
    assert marks_of(named) == (Mark(("properties", "a"), "mcp-param-region", "string"),)


BAD = {
    "no text": having(a=text(1)),
    "empty": having(a=text("")),
    "no token": having(a=text("a b")),
    "a line": having(a=text("a\r\nx: y")),
    "a colon": having(a=text("a:b")),
    "another script": having(a=text("é")),
    "too long": having(a=text("a" * 65)),
    "twice": having(a=text("A"), b=text("a")),
    "a number": having(a={**text(), "type": "number"}),
    "no type": having(a={"x-mcp-header": "A"}),
    "two types": having(a={**text(), "type": ["string", "null"]}),
    "an object": having(a={**text(), "type": "object"}),
    "the root": {**having(), "x-mcp-header": "A", "type": "string"},
    "items": having(a={"type": "array", "items": text()}),
    "in items": having(a={"type": "array", "items": having(b=text())}),
    "oneOf": {"oneOf": [having(a=text())]},
    "allOf": {**having(), "allOf": [text()]},
    "anyOf": having(a={"anyOf": [text(), {"type": "null"}]}),
    "then": {"if": {}, "then": having(a=text())},
    "else": {"if": {}, "then": {}, "else": having(a=text())},
    "items of a list": having(a={"type": "array", "prefixItems": [text()]}),
    "behind a reference": {**having(a={"$ref": "#/$defs/a"}), "$defs": {"a": having(b=text())}},
    "not": {"not": text()},
    "if": {"if": having(a=text())},
    "a definition": {"$defs": {"a": text()}},
    "any property": {"additionalProperties": text()},
    "a pattern": {"patternProperties": {"a": text()}},
    "too many places": having(**{f"a{n}": {} for n in range(10_000)}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mark_where_none_may_stand_is_refused(name):
    with pytest.raises(BadMark):
        marks_of(BAD[name])


MARKS = marks_of(
    having(t=text("T"), n={**text("N"), "type": "integer"}, b={**text("B"), "type": "boolean"}, o=having(p=text("P")))
)


def test_arguments_are_mirrored_and_absent_ones_are_not():
    arguments = {"t": "é", "n": 5.0, "b": False, "o": {"p": "x"}, "other": 1}
    assert mcp_headers.mirrored(MARKS, arguments) == {
        "mcp-param-t": "=?base64?w6k=?=", "mcp-param-n": "5", "mcp-param-b": "false", "mcp-param-p": "x",
    }  # fmt: skip
    absent: dict[str, Any]
    for absent in ({}, {"t": None, "o": None}, {"o": {}}, {"o": "text"}, {"o": {"p": None}}):
        assert mcp_headers.mirrored(MARKS, absent) == {}
    for without in ({"t": ["x"]}, {"n": 1.5}, {"t": "x" * 9_000}):
        with pytest.raises(MalformedMessage):
            mcp_headers.mirrored(MARKS, without)


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [({"t": "x"}, {"t": "x"}), ({"t": "é"}, {"t": "=?base64?w6k=?="}), ({"n": 42}, {"n": "42.0"}),
     ({"n": 42.0}, {"n": "42"}), ({"b": True}, {"b": "true"}), ({}, {}), ({"t": None}, {}), ({"n": -7}, {"n": "-7"}),
     ({}, {"zone": "x"})],
)  # fmt: skip
def test_headers_that_mirror_the_arguments_pass(arguments, headers):
    mcp_headers.check(MARKS, arguments, {f"mcp-param-{name}": value for name, value in headers.items()}, 1)


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [({"t": "x"}, {}), ({}, {"t": "x"}), ({"t": "x"}, {"t": "X"}), ({"t": "x"}, {"t": "=?base64?eA?="}),
     ({"t": "é"}, {"t": "\xe9"}), ({"t": None}, {"t": "null"}), ({"t": None}, {"t": ""}), ({"n": 42}, {"n": "42.5"}),
     ({"n": 42}, {"n": "4.2e1"}), ({"n": 1}, {"n": "true"}), ({"n": True}, {"n": "1"}), ({"b": True}, {"b": "True"}),
     ({"b": 1}, {"b": "true"}), ({"t": 42}, {"t": "42.0"}), ({"t": ["x"]}, {"t": "x"}),
     ({"o": {"p": "x"}}, {"p": "y"})],
)  # fmt: skip
def test_headers_that_say_another_thing_are_refused(arguments, headers):
    with pytest.raises(MalformedMessage) as refused:
        mcp_headers.check(MARKS, arguments, {f"mcp-param-{name}": value for name, value in headers.items()}, "i")
    assert (refused.value.code, refused.value.id) == (HEADER_MISMATCH, "i")


@given(st.fixed_dictionaries({}, optional={"t": st.text(), "n": st.integers(-(2**53), 2**53), "b": st.booleans()}))
def test_what_is_mirrored_passes_the_check(arguments):
    mcp_headers.check(MARKS, arguments, mcp_headers.mirrored(MARKS, arguments), 1)


def test_the_published_examples_of_tools_ask_for_no_impossible_header():
    lines = (Path(__file__).parents[1] / "data/mcp/examples-2026-07-28.jsonl").read_text().splitlines()
    tools = [one["example"] for one in map(json.loads, filter(None, lines)) if one["definition"] == "Tool"]
    assert tools and all(marks_of(tool["inputSchema"]) == () for tool in tools)
