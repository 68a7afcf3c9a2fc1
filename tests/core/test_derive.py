"""What is derived from an upstream's own words is its strictest reading, and loads again (INTERFACES 3, D29)."""

import json
import tomllib
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskbound.core.catalogue import EFFECTS, KINDS, pin_of
from taskbound.core.derive import STRICTNESS, VERBS, derive_tools, differ, pinnable
from taskbound.core.errors import InvalidRequest
from taskbound.core.policy_dir import read_policy_dir
from tests.profile import trials

TEXT, LIST = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
# Reads all arguments, so the schema that it is validated against names every one of them.
WHOLE = '@id("p") forbid(principal, action == Action::"tools/call", resource) when { context.args == context.args };'


def definition(name, properties=None, **more):
    return {"name": name, "inputSchema": {"type": "object", "properties": properties or {}}, **more}


def load(files):
    text, data = files
    return read_policy_dir(
        {"organisation/p.cedar": WHOLE.encode(), "tools/up.toml": text.encode(), "tools/up.json": data}, {}
    )


def known_of(files):
    return {tool.name: tool for tool in load(files).tools.values()}


def derived(*offered, known=None):
    return known_of(derive_tools("up", offered, known or {}))


# --- effects -------------------------------------------------------------------------------------

HINTS = {"readOnlyHint": True, "destructiveHint": False}
EFFECT_OF = {
    # names
    "get_order": "read", "list-orders": "read", "searchContacts": "read", "read": "read", "GetURL": "read",
    "files/read": "read", "calendar.events.list": "read", "up_get_order": "read", "get_order_status": "read",
    "get_post": "read", "get_transfer_status": "read", "search_emails": "read", "fetch_rows2": "read",
    "create_order": "write", "update_order": "write", "moveFile": "write", "add_comment": "write",
    "send_email": "send", "post_message": "send", "share_file": "send", "invite_user": "send", "mail": "send",
    "delete_order": "destroy", "remove_order": "destroy", "cancel_order": "destroy", "orders/purge": "destroy",
    "pay_bill": "spend", "transfer_funds": "spend", "buy": "spend", "refund": "spend", "order_pizza": "spend",
    "run_query": "execute", "exec": "execute",
    # unknown
    "frobnicate": "execute", "order2": "spend", "nuke_list": "execute", "getorder": "execute", "_": "execute",
    "crm_get_order": "execute",
    # several verbs: the strictest
    "get_and_delete_order": "destroy", "get_or_create_order": "write", "search_and_replace": "write",
    "read_then_post": "send", "create_and_send_invoice": "send", "get_order_and_pay": "spend",
    "list_delete": "destroy", "add_or_execute": "execute",
    # secrets
    "get_password": "read_secret", "list_api_keys": "read_secret", "getAccessToken": "read_secret",
    "read_secret": "read_secret", "get-env": "read_secret", "get_page_token": "read", "list_max_tokens": "read",
}  # fmt: skip


@pytest.mark.parametrize(("name", "effect"), EFFECT_OF.items(), ids=EFFECT_OF)
def test_an_effect_is_the_strictest_that_the_name_says(name, effect):
    assert derived(definition(name))[name].effect == effect


def test_each_effect_has_its_strictness():
    assert sorted(STRICTNESS) == sorted(EFFECTS)
    assert not [word for verbs in VERBS.values() for word in verbs if sum(word in v for v in VERBS.values()) > 1]


ANNOTATED = {
    "an annotation makes nothing milder":  ("delete_order", {}, HINTS, "destroy"),
    "nor what is unknown":                 ("frobnicate", {}, HINTS, "execute"),
    "nor a write":                         ("update_order", {}, HINTS, "write"),
    "nor a spending":                      ("pay", {}, HINTS, "spend"),
    "a read that says so":                 ("get_order", {}, HINTS, "read"),
    "a read that says it is none":         ("get_order", {}, {"readOnlyHint": False}, "write"),
    "a read that destroys":                ("get_order", {}, {"destructiveHint": True}, "destroy"),
    "a read that destroys and is none":    ("get_order", {}, {"readOnlyHint": False, "destructiveHint": True},
                                            "destroy"),
    "destructive means nothing to a read": ("get_order", {}, {"readOnlyHint": True, "destructiveHint": True}, "read"),
    "a write that destroys":               ("edit_file", {}, {"destructiveHint": True}, "destroy"),
    "a payment that destroys":             ("pay", {}, {"destructiveHint": True}, "spend"),
    "no annotations at all":               ("get_order", {}, None, "read"),
    "annotations of another type":         ("get_order", {}, ["readOnlyHint"], "read"),
    "an address can be chosen":            ("fetch", {"url": TEXT}, HINTS, "send"),
    "an address by its format":            ("fetch", {"page": {"type": "string", "format": "uri"}}, HINTS, "send"),
    "code can be chosen":                  ("query_database", {"sql": TEXT}, HINTS, "execute"),
    "a secret goes in":                    ("get_order", {"password": TEXT}, HINTS, "read_secret"),
    "a page's token is none":              ("get_order", {"page_token": TEXT}, HINTS, "read"),
    "a number of tokens is none":          ("get_order", {"tokens": {"type": "integer"}}, HINTS, "read"),
    "a write to people":                   ("create_event", {"participants": LIST}, None, "send"),
    "a write of money to people":          ("schedule_transaction", {"recipient": TEXT, "amount": {"type": "number"}},
                                            None, "spend"),
    "a sending of money":                  ("send_money", {"iban": TEXT, "amount": {"type": "number"}}, None, "spend"),
    "a read about people":                 ("get_order", {"email": TEXT}, None, "read"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "properties", "annotations", "effect"), ANNOTATED.values(), ids=ANNOTATED)
def test_annotations_lie_and_arguments_tell(name, properties, annotations, effect):
    more = {} if annotations is None else {"annotations": annotations}
    assert derived(definition(name, properties, **more))[name].effect == effect


def test_what_gives_a_secret_reads_one():
    gives = {"outputSchema": {"type": "object", "properties": {"id": TEXT, "accessToken": TEXT}}}
    assert derived(definition("get_session", **gives))["get_session"].effect == "read_secret"


# --- kinds ---------------------------------------------------------------------------------------

NULLABLE = {"anyOf": [LIST, {"type": "null"}]}
KIND_OF = {
    "to": (TEXT, "recipient"), "cc": (NULLABLE, "recipient"), "participants": (LIST, "recipient"),
    "email": (TEXT, "recipient"), "who": ({"type": "string", "format": "email"}, "recipient"),
    "whom": ({"type": "array", "items": {"type": "string", "format": "email"}}, "recipient"),
    "url": (TEXT, "url"), "pageLink": (TEXT, "url"), "there": ({"type": "string", "format": "uri"}, "url"),
    "file_path": (TEXT, "path"), "filename": (TEXT, "path"),
    "amount": ({"type": "number"}, "amount"), "price": ({"type": "integer"}, "amount"),
    "prices": ({"type": "array", "items": {"type": "number"}}, "amount"),
    "order_id": (TEXT, "object_id"), "orderId": ({"type": "integer"}, "object_id"), "ids": (LIST, "object_id"),
    "email_id": (TEXT, "object_id"), "key_id": (TEXT, "object_id"),
    "date": (TEXT, "date"), "when": ({"type": "string", "format": "date"}, "date"),
    "start_time": (TEXT, "time"), "at": ({"type": "string", "format": "date-time"}, "time"),
    "name": (TEXT, "name"), "title": (TEXT, "name"), "colour": ({"type": "string", "enum": ["red"]}, "name"),
    "password": (TEXT, "secret"), "api_token": (TEXT, "secret"), "pin": ({"type": "string"}, "secret"),
    "sender": (TEXT, "principal"), "iban": (TEXT, "account"),
    "dry_run": ({"type": "boolean"}, "flag"), "to_all": ({"type": "boolean"}, "flag"),
    "body": (TEXT, "free_text"), "query": (TEXT, "free_text"), "messages": (LIST, "free_text"),
    "whatever": (TEXT, "free_text"),
    # kinds only where the type allows
    "recipient": ({"type": "integer"}, ""), "amounts": (TEXT, "free_text"), "path": ({"type": "object"}, ""),
    "token": ({"type": "integer"}, ""), "content": ({"type": "object"}, ""), "limit": ({"type": "integer"}, ""),
    "files": ({"type": "array", "items": {"type": "object"}}, ""), "nothing": ({}, ""), "true": (True, ""),
    "__to": (TEXT, None),
}  # fmt: skip


@pytest.mark.parametrize(("name", "schema", "kind"), [(n, *one) for n, one in KIND_OF.items()], ids=KIND_OF)
def test_a_kind_is_what_name_format_and_type_say(name, schema, kind):
    tool = derived(definition("frobnicate", {name: schema}))["frobnicate"]
    found = tool.arguments[name].kind if name in tool.arguments else None
    assert (found == kind and (found or "flag") in KINDS) or (found, kind) == (None, None)


def test_a_kind_is_found_behind_a_reference():
    schema = {"properties": {"x": {"$ref": "#/$defs/E"}}, "$defs": {"E": {"type": "string", "format": "email"}}}
    tool = derived({"name": "frobnicate", "inputSchema": schema})["frobnicate"]
    assert (tool.arguments["x"].kind, tool.arguments["x"].type) == ("recipient", "String")


# --- the files -----------------------------------------------------------------------------------

ORDER = definition("get_order", {"id": TEXT, "note": TEXT}, description="one order")
SEND = definition("send", {"to": LIST, "body": TEXT})


def test_what_is_derived_loads_again_and_nobody_reviewed_it():
    text, data = derive_tools("up", [SEND, ORDER], {})
    tools = known_of((text, data))
    assert list(tools) == ["get_order", "send"]  # in one order, whatever order they are offered in
    assert (text, data) == derive_tools("up", [ORDER, SEND], {}) == derive_tools("up", [ORDER, SEND], tools)
    for tool in tools.values():
        assert tool.pinned and not tool.reviewed and tool.result == {} and "free_text" in tool.labels
    assert json.loads(data) == {"get_order": ORDER, "send": SEND}
    assert tools["send"].pin == pin_of(SEND)


def test_the_files_keep_only_what_the_pin_covers():
    _, data = derive_tools("up", [{**ORDER, "_meta": {"x": 1}, "icons": []}], {})
    assert json.loads(data) == {"get_order": ORDER}


REVIEWED = f"""# a comment
[get_order]
pin = "{pin_of(ORDER)}"
reviewed = {{ by = "human/alice", on = 2026-11-24 }}
effect = "spend"
arguments = {{ id = "account" }}
result = {{ id = "attested", "odd \\"name\\u202e" = "member_text" }}
undo = "send"

[send]
pin = "{pin_of(SEND)}"
effect = "send"
"""


def reviewed():
    return known_of((REVIEWED, json.dumps({"get_order": ORDER, "send": SEND}).encode()))


def test_what_a_person_reviewed_is_kept_as_it_is():
    known = reviewed()
    text, data = derive_tools("up", [ORDER], known)  # send is not offered now: its entry stays
    assert tomllib.loads(text) == tomllib.loads(REVIEWED)
    assert known_of((text, data)) == known and known["get_order"].reviewed
    assert known["get_order"].entry["reviewed"] == {"by": "human/alice", "on": date(2026, 11, 24)}
    assert "\u202e" not in text  # what turns the direction of text is spelled out


def test_what_changed_is_derived_anew_never_milder_and_nobody_reviewed_it():
    changed = {**ORDER, "inputSchema": {"properties": {"id": TEXT, "more": TEXT}}}
    tool = known_of(derive_tools("up", [changed], reviewed()))["get_order"]
    assert (tool.pin, tool.pinned, tool.reviewed) == (pin_of(changed), True, False)
    assert (tool.effect, tool.result, tool.undo) == ("spend", {}, None)
    assert tool.arguments["id"].kind == "account"  # what a person said of an argument that is still there
    stricter = {**ORDER, "annotations": {"destructiveHint": True}}
    mild = derived(ORDER)
    assert mild["get_order"].effect == "read"
    assert derived(stricter, known=mild)["get_order"].effect == "destroy"


UNPINNABLE = {
    "no name": {"inputSchema": {}},
    "a name of another type": {"name": 5},
    "a name that looks like another": definition("gеt_order"),  # a Cyrillic letter
    "an empty name": definition(""),
    "a long name": definition("a" * 129),
    "a name of two lines": definition("a\nb"),
    "no canonical form": definition("a", description="\ud800"),
    "no number": definition("a", {"n": {"maximum": float("nan")}}),
    "a number too large": definition("a", {"n": {"maximum": 2**60}}),
    "too deep": definition("a", json.loads('{"x":' * 61 + "{}" + "}" * 61)),
    "a schema of another type": {"name": "a", "inputSchema": []},
    "arguments of another type": {"name": "a", "inputSchema": {"properties": []}},
    "no object": ["a"],
}


@pytest.mark.parametrize("bad", UNPINNABLE.values(), ids=UNPINNABLE)
def test_what_cannot_be_pinned_is_left_out_and_the_rest_is_not(bad):
    assert list(derived(bad, ORDER)) == ["get_order"]


def test_a_name_that_is_offered_twice_is_nobodys():
    shadow = {**ORDER, "description": "another"}
    assert pinnable("up", [ORDER, SEND, shadow]).keys() == {"send"}
    assert pinnable("up", [ORDER, SEND, dict(ORDER)]).keys() == {"get_order", "send"}


def test_what_would_be_too_large_to_load_is_refused():
    many = [definition(f"get_{n}", description="x" * 100_000) for n in range(50)]
    with pytest.raises(InvalidRequest, match="the definitions of up take"):
        derive_tools("up", many, {})


# --- changes -------------------------------------------------------------------------------------

CHANGES = {
    "name": ({"name": "get_0rder"}, "name"),
    "title": ({"title": "Order"}, "title"),
    "description": ({"description": "one order."}, "description"),
    "no description": ({"description": None}, "description"),
    "schema": ({"inputSchema": {"properties": {"id": TEXT}}}, "schema"),
    "result": ({"outputSchema": {"type": "object"}}, "schema"),
    "annotations": ({"annotations": {"readOnlyHint": True}}, "annotations"),
    "several": ({"description": "x", "outputSchema": {}, "inputSchema": {}}, "description+schema"),
    "what no pin covers": ({"_meta": {"x": 1}}, ""),
    "nothing": ({}, ""),
}


@pytest.mark.parametrize(("change", "classes"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_said_by_its_class(change, classes):
    new = {**ORDER, **change}
    assert differ(ORDER, new) == classes
    assert (pin_of(new) != pin_of(ORDER)) == bool(classes)


def test_another_order_of_members_is_no_change():
    turned = {name: ORDER[name] for name in reversed(ORDER)}
    assert list(turned) != list(ORDER) and differ(ORDER, turned) == "" and pin_of(turned) == pin_of(ORDER)


# --- whatever is offered -------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
NAMES = (
    st.sampled_from(["to", "id", "__x", "a__cedar", "if", 'q"\\', "\u202e", "a b", "ä", "", "\n", "x.y"]) | st.text()
)
TYPES = st.sampled_from(["string", "number", "integer", "boolean", "array", "object", "null", "no"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"type": TYPES | st.lists(TYPES, max_size=3), "format": NAMES, "enum": JUNK, "$ref": st.text()}
    )
    | JUNK,
    lambda inner: st.fixed_dictionaries(
        {}, optional={"type": TYPES, "items": inner, "anyOf": st.lists(inner, max_size=2), "properties": JUNK}
    ),
)
OFFERED = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["get", "send_x", "a.b", "-", "a/b"]) | st.text(max_size=4)},
        optional={
            "description": st.text() | JUNK,
            "annotations": JUNK,
            "outputSchema": SCHEMAS,
            "inputSchema": st.fixed_dictionaries(
                {"properties": st.dictionaries(NAMES, SCHEMAS, max_size=4)},
                optional={"required": JUNK | st.lists(NAMES), "$defs": JUNK},
            )
            | SCHEMAS,
        },
    )
    | JUNK,
    max_size=4,
)


@settings(max_examples=trials(5_000, 300), deadline=None)
@given(OFFERED)
def test_whatever_is_offered_derives_to_files_that_load(offered):
    files = derive_tools("up", offered, {})
    tools = known_of(files)
    assert tools.keys() == pinnable("up", offered).keys()
    assert all(tool.pinned and not tool.reviewed for tool in tools.values())
    assert derive_tools("up", offered, tools) == files == derive_tools("up", [], tools)
