"""What the engine sees of a call's arguments (INTERFACES 7): converted by declared type, or refused."""

import hashlib
import json
import math
from datetime import date

import pytest

from taskbound.core.catalogue import EFFECTS, KINDS, Tool, pin_of, read_tool
from taskbound.core.cedar import Entity, Uid, parse_policy, validate
from taskbound.core.errors import InvalidRequest
from taskbound.core.policy import PolicySet, Request, authorize
from taskbound.core.projection import COUNT, DIGEST, FREE_TEXT, NUMBERS
from taskbound.core.schema import schema_of
from taskbound.formats import canonical

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}}
DEFS = {
    "Amount": {"type": "number"},
    "Alias": {"$ref": "#/$defs/Amount"},
    "a/b": {"type": "boolean"},
    "Loop": {"$ref": "#/$defs/Round"},
    "Round": {"$ref": "#/$defs/Loop"},
    "Nest": {"type": "array", "items": {"$ref": "#/$defs/Nest"}},
}


def tool_of(properties, required=(), arguments=None, effect="write", **entry) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required), "$defs": DEFS}
    definition = {"name": "act", "inputSchema": schema}
    return read_tool(
        "up", "act", {"pin": pin_of(definition), "effect": effect, "arguments": arguments or {}, **entry}, definition
    )


def projected(schema, value, kind=None):
    """Return the type of an argument of that schema and kind, and the value as it is projected."""
    tool = tool_of({"a": schema}, arguments={"a": kind} if kind else {})
    return tool.arguments["a"].type, tool.project({"a": value})


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def decimal(text: str) -> dict[str, dict[str, str]]:
    return {"__extn": {"fn": "decimal", "arg": text}}


BOOL, INT, NUM, TEXT = ({"type": name} for name in ("boolean", "integer", "number", "string"))
NULL = {"type": "null"}
ABSENT = object()

# schema, kind, value, Cedar type, what it becomes
# fmt: off
BECOMES = {
    "true":                  (BOOL, None, True, "Bool", True),
    "integer":               (INT, None, -7, "Long", -7),
    "largest integer":       (INT, None, 2**53 - 1, "Long", 2**53 - 1),
    "smallest integer":      (INT, None, 1 - 2**53, "Long", 1 - 2**53),
    "integral float":        (INT, None, 5.0, "Long", 5),
    "number":                (NUM, None, 49.9, "decimal", decimal("49.9")),
    "whole number":          (NUM, None, 200, "decimal", decimal("200.0")),
    "four places":           (NUM, None, 0.0001, "decimal", decimal("0.0001")),
    "exponent":              (NUM, None, 1e14, "decimal", decimal("100000000000000.0")),
    "minus zero":            (NUM, None, -0.0, "decimal", decimal("0.0")),
    "largest decimal":       (NUM, None, 922337203685477, "decimal", decimal("922337203685477.0")),
    "text":                  (TEXT, "name", "Ann", "String", "Ann"),
    "4 KiB of text":         (TEXT, "name", "ä" * 2048, "String", "ä" * 2048),
    "free text":             (TEXT, "free_text", "hä", FREE_TEXT, {"len": 3, "digest": sha("hä")}),
    "text of no kind":       (TEXT, None, "hello", FREE_TEXT, {"len": 5, "digest": sha("hello")}),
    "long free text":        (TEXT, None, "x" * 99_999, FREE_TEXT, {"len": 99_999, "digest": sha("x" * 99_999)}),
    "texts":                 ({"type": "array", "items": TEXT}, "recipient", ["a", "b"], "Set<String>", ["a", "b"]),
    "texts of no kind":      ({"type": "array", "items": TEXT}, None, [], "Set<String>", []),
    "free texts":            ({"type": "array", "items": TEXT}, "free_text", ["a", "b"], COUNT, {"count": 2}),
    "integers":              ({"type": "array", "items": INT}, None, [1, 2.0], "Set<Long>", [1, 2]),
    "numbers":               ({"type": "array", "items": NUM}, None, [1.5, 0.25, -3], NUMBERS,
                              {"count": 3, "max": decimal("1.5"), "sum": decimal("-1.25")}),
    "no numbers":            ({"type": "array", "items": NUM}, None, [], NUMBERS, {"count": 0}),
    "objects":               ({"type": "array", "items": POINT}, None, [{"x": 1}], COUNT, {"count": 1}),
    "texts or nothing":      ({"type": "array", "items": {"type": ["string", "null"]}}, None, ["a"], COUNT,
                              {"count": 1}),
    "list of anything":      ({"type": "array"}, None, [1, "a"], COUNT, {"count": 2}),
    "a tuple":               ({"type": "array", "prefixItems": [TEXT], "items": TEXT}, None, ["a"], COUNT,
                              {"count": 1}),
    "lists of themselves":   ({"$ref": "#/$defs/Nest"}, None, [[], []], COUNT, {"count": 2}),
    "object":                (POINT, None, {"x": 1}, DIGEST, {"digest": sha('{"x":1}')}),
    "no type":               ({}, None, "a", DIGEST, {"digest": sha('"a"')}),
    "any":                   (True, None, 5, DIGEST, {"digest": sha("5")}),
    "enum without type":     ({"enum": ["a"]}, "name", "a", DIGEST, {"digest": sha('"a"')}),
    "union":                 ({"anyOf": [TEXT, INT]}, None, 5, DIGEST, {"digest": sha("5")}),
    "union by type":         ({"type": ["string", "integer"]}, None, 5, DIGEST, {"digest": sha("5")}),
    "anyOf with null":       ({"anyOf": [INT, NULL]}, None, 5, "Long", 5),
    "oneOf with null":       ({"oneOf": [NULL, INT]}, None, 5, "Long", 5),
    "type with null":        ({"type": ["integer", "null"]}, None, 5, "Long", 5),
    "null":                  ({"type": ["integer", "null"]}, None, None, "Long", ABSENT),
    "null where none is":    (INT, None, None, "Long", ABSENT),
    "reference":             ({"$ref": "#/$defs/Alias"}, None, 5, "decimal", decimal("5.0")),
    "escaped reference":     ({"$ref": "#/$defs/a~1b"}, None, True, "Bool", True),
    "reference and null":    ({"anyOf": [{"$ref": "#/$defs/Amount"}, NULL]}, None, 5, "decimal", decimal("5.0")),
    "allOf of one":          ({"allOf": [{"$ref": "#/$defs/Amount"}]}, None, 5, "decimal", decimal("5.0")),
    "circular reference":    ({"$ref": "#/$defs/Loop"}, None, 5, DIGEST, {"digest": sha("5")}),
    "dangling reference":    ({"$ref": "#/$defs/none"}, None, 5, DIGEST, {"digest": sha("5")}),
    "reference outside":     ({"$ref": "https://e.example/s"}, None, 5, DIGEST, {"digest": sha("5")}),
    "engine's own in text":  (TEXT, "name", '{"__extn":{}}', "String", '{"__extn":{}}'),
    "engine's own in object": (POINT, None, {"__entity": {"type": "Human", "id": "a"}}, DIGEST,
                               {"digest": sha('{"__entity":{"id":"a","type":"Human"}}')}),
}

REFUSED = {
    "1 as boolean":          (BOOL, None, 1),
    "text as boolean":       (BOOL, None, "true"),
    "true as integer":       (INT, None, True),
    "fraction as integer":   (INT, None, 5.5),
    "float beyond 2^53":     (INT, None, 2.0**53),
    "2^53":                  (INT, None, 2**53),
    "-2^53 - 1":             (INT, None, -(2**53) - 1),
    "2^53 + 1 in a list":    ({"type": "array", "items": INT}, None, [2**53 + 1]),
    "text as integer":       (INT, None, "5"),
    "infinity as integer":   (INT, None, math.inf),
    "true as number":        (NUM, None, True),
    "five places":           (NUM, None, 0.00001),
    "a tenth of a tenth":    (NUM, None, 0.1 + 0.2),
    "beyond decimal":        (NUM, None, 922337203685478),
    "far beyond decimal":    (NUM, None, 10**400),
    "large float":           (NUM, None, 1e300),
    "not a number":          (NUM, None, math.nan),
    "infinity":              (NUM, None, math.inf),
    "text as number":        (NUM, None, "5"),
    "extension as number":   (NUM, None, decimal("5.0")),
    "number as text":        (TEXT, "name", 5),
    "extension as text":     (TEXT, "name", decimal("5.0")),
    "too long text":         (TEXT, "name", "ä" * 2049),
    "lone surrogate":        (TEXT, "name", "\ud800"),
    "lone in free text":     (TEXT, None, "\udfff"),
    "lone in a list":        ({"type": "array", "items": POINT}, None, ["\ud800"]),
    "lone in an object":     (POINT, None, {"x": "\ud800"}),
    "text as list":          ({"type": "array", "items": TEXT}, None, "abc"),
    "extension as list":     ({"type": "array", "items": NUM}, None, decimal("5.0")),
    "wrong item":            ({"type": "array", "items": TEXT}, None, ["a", 5]),
    "extension as item":     ({"type": "array", "items": INT}, None, [decimal("5.0")]),
    "null as item":          ({"type": "array", "items": INT}, None, [None]),
    "too long item":         ({"type": "array", "items": TEXT}, None, ["x" * 4097]),
    "sum beyond decimal":    ({"type": "array", "items": NUM}, None, [9e14, 9e14]),
    "nan in an object":      (POINT, None, {"x": math.nan}),
}
# fmt: on


@pytest.mark.parametrize(("schema", "kind", "value", "type_", "becomes"), BECOMES.values(), ids=BECOMES)
def test_an_argument_is_seen_as_its_declared_type(schema, kind, value, type_, becomes):
    assert projected(schema, value, kind) == (type_, {} if becomes is ABSENT else {"a": becomes})


@pytest.mark.parametrize(("schema", "kind", "value"), REFUSED.values(), ids=REFUSED)
def test_a_value_of_another_type_is_refused(schema, kind, value):
    with pytest.raises(InvalidRequest, match="argument 'a' of up/act: expected ") as refused:
        projected(schema, value, kind)
    assert refused.value.code == "invalid_argument"


@pytest.mark.parametrize("name", [n for n, row in BECOMES.items() if row[4] is not ABSENT])
def test_the_engine_takes_what_is_projected_as_the_type_says(name):
    schema, kind, value, type_, _ = BECOMES[name]
    record = tool_of({"a": schema}, ["a"], {"a": kind} if kind else {}).project({"a": value})
    permit = parse_policy("permit(principal, action, resource) when { context.args.a == context.args.a };")
    assert validate(permit, schema_of("tools/call", args={"a": (type_, True)}, grant={})) == []
    asked = Request(
        Entity(Uid("Agent", "agent/a")), Uid("Action", "tools/call"), Entity(Uid("Tool", "t")), {"args": record}
    )
    assert authorize(PolicySet([permit]), asked).permitted


@pytest.mark.parametrize("arguments", [{}, {"a": None}], ids=["missing", "null"])
def test_a_required_argument_that_is_not_there_is_refused(arguments):
    with pytest.raises(InvalidRequest, match="argument 'a' of up/act: it is required") as refused:
        tool_of({"a": INT}, ["a"]).project(arguments)
    assert refused.value.code == "invalid_argument"


def test_a_required_argument_that_may_be_null_is_optional_to_policies():
    tool = tool_of({"a": {"anyOf": [INT, NULL]}}, ["a"])
    assert not tool.arguments["a"].required
    assert tool.project({"a": None}) == {}


@pytest.mark.parametrize("name", ["b", "__extn", "__entity", "", "\ud800", "x" * 500])
def test_an_argument_that_the_schema_lacks_is_refused_and_hardly_echoed(name):
    definition = {"name": "act", "inputSchema": {"properties": {"__extn": {}, "a": INT}, "additionalProperties": True}}
    tool = read_tool("up", "act", {"pin": pin_of(definition), "effect": "read"}, definition)
    with pytest.raises(InvalidRequest, match="it has no such argument") as refused:
        tool.project({"a": 1, name: 5})
    assert refused.value.code == "invalid_argument"
    assert "x" * 65 not in str(refused.value) + refused.value.hint
    str(refused.value).encode()


def test_a_tool_that_requires_a_kept_name_can_never_be_called():
    tool = tool_of({"__extn": TEXT}, ["__extn"])
    for arguments in ({}, {"__extn": "x"}):
        with pytest.raises(InvalidRequest):
            tool.project(arguments)


WIDE = {"letter": ("x", 1), "control": ("\x00", 6), "umlaut": ("ä", 2), "emoji": ("😀", 4), "quote": ('"', 2)}


@pytest.mark.parametrize(("character", "size"), WIDE.values(), ids=WIDE)
def test_a_record_of_more_than_8_kib_is_refused(character, size):
    tool = tool_of(dict.fromkeys("abcdefghij", TEXT), arguments=dict.fromkeys("abcdefghij", "name"))
    each = (8192 - 2 - 10 * len('"a":"",') + 1) // 10 // size
    record = dict.fromkeys("abcdefghij", character * each)
    rest = 8192 - len(canonical.render(record))
    record["a"] += "y" * rest
    assert len(canonical.render(tool.project(record))) == 8192
    record["a"] += "y"
    with pytest.raises(InvalidRequest, match="all arguments take 8193 bytes") as refused:
        tool.project(record)
    assert refused.value.code == "invalid_argument"


def test_a_long_list_is_refused():
    with pytest.raises(InvalidRequest, match="at most 8192"):
        tool_of({"a": {"type": "array", "items": INT}}).project({"a": list(range(2000, 5000))})


def test_a_tool_is_what_its_pin_is_the_hash_of():
    definition = {"name": "act", "description": "acts", "inputSchema": {"type": "object"}, "_meta": {"x": 1}}
    tool = read_tool("up", "act", {"pin": pin_of(definition), "effect": "read"}, definition)
    assert tool.pinned and tool.pin.startswith("sha256:")
    assert tool.entity == Entity(Uid("Tool", "up/act"), (("effect", "read"),), (Uid("Upstream", "up"),))
    assert json.loads(tool.entity.json)["parents"] == [{"type": "Upstream", "id": "up"}]
    assert pin_of({**definition, "_meta": {}}) == tool.pin
    for member in ("title", "description", "inputSchema", "outputSchema", "annotations"):
        changed = {**definition, member: {"changed": True}}
        assert not read_tool("up", "act", {"pin": tool.pin, "effect": "read"}, changed).pinned


REVIEWED = {"reviewed": {"by": "human/alice", "on": date(2026, 11, 24)}}
LABELS = {
    "nothing declared":      ({}, {"free_text"}),
    "declared, no reviewer": ({"result": {"id": "attested"}}, {"free_text"}),
    "attested":              ({"result": {"id": "attested"}, **REVIEWED}, set()),
    "member text":           ({"result": {"id": "attested", "nick": "member_text"}, **REVIEWED}, {"member_text"}),
    "free text":             ({"result": {"body": "free_text"}, **REVIEWED}, {"free_text"}),
    "secret":                ({"result": {"value": "attested"}, "effect": "read_secret", **REVIEWED}, {"secret"}),
}  # fmt: skip


@pytest.mark.parametrize(("entry", "labels"), LABELS.values(), ids=LABELS)
def test_what_nobody_vouched_for_taints_as_free_text(entry, labels):
    assert tool_of({}, **entry).labels == labels


BROKEN = {
    "unknown effect":    ({"effect": "erase"}, "'effect' is 'erase'"),
    "no effect":         ({"effect": None}, "'effect' is 'None'"),
    "unknown kind":      ({"arguments": {"a": "adress"}}, "the kind of 'a' is 'adress'"),
    "kind of nothing":   ({"arguments": {"b": "name"}}, "arguments: unknown key 'b'"),
    "unknown integrity": ({"result": {"a": "sure"}}, "the result 'a' is 'sure'"),
    "unknown key":       ({"efect": "read"}, "unknown key 'efect'"),
    "no reviewer":       ({"reviewed": {"by": "alice"}}, "'reviewed' names no person and day"),
    "table is a text":   ({"result": "attested"}, "'result' is no table"),
    "pin is a number":   ({"pin": 5}, "'pin' or 'undo' is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("entry", "says"), BROKEN.values(), ids=BROKEN)
def test_an_entry_that_says_something_unknown_refuses_the_load(entry, says):
    with pytest.raises(InvalidRequest, match=says) as refused:
        tool_of({"a": TEXT}, **entry)
    assert refused.value.code == "invalid_policy"


def test_the_tables_are_those_of_the_interfaces():
    kinds = "recipient account url path amount object_id date time name principal secret flag free_text"
    assert " ".join(EFFECTS) == "read write send destroy read_secret spend execute"
    assert " ".join(KINDS) == kinds


def test_a_large_record_of_large_integers_is_refused_for_its_size():
    tool = tool_of({"a": {"type": "array", "items": INT}})
    assert tool.project({"a": [2**52] * 300}) == {"a": [2**52] * 300}
    with pytest.raises(InvalidRequest, match="at most 8192"):
        tool.project({"a": [2**52] * 550})


def test_what_goes_out_reads_as_what_policies_saw():
    schemas = {"i": INT, "is": {"type": "array", "items": INT}, "n": NUM, "o": TEXT, "q": {"type": ["string", "null"]}}
    tool = tool_of(schemas, ["q"])
    sent = tool.sent({"i": 5.0, "is": [1.0, 2], "n": 1.5, "o": None, "q": None})
    assert json.dumps(sent) == '{"i": 5, "is": [1, 2], "n": 1.5, "q": null}', "the server requires q, were it as null"
    assert tool.sent({"i": None, "q": "x"}) == {"q": "x"}
