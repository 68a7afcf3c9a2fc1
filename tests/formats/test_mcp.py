"""MCP messages: what is no message is refused, what goes on is built anew, and events come apart anywhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats import mcp
from taskbound.formats.mcp import EventReader, MalformedMessage, Notification, Request, Response, TooLarge

ids = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=mcp.TOKEN_LIMIT).filter(lambda t: t.isprintable()))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text().filter(lambda name: name != "_meta"), values, max_size=4)


@given(ids, objects)
def test_what_is_built_is_read_again(id, params):
    assert mcp.read_message(mcp.request(id, "m", params)) == Request(id, "m", params)
    assert mcp.read_message(mcp.notification("m", params)) == Notification("m", params)
    assert mcp.read_message(mcp.result(id, params)) == Response(id, params)
    assert mcp.read_message(mcp.error(id, -32601, "no")) == Response(id, None, -32601, "no")


OK = {"jsonrpc": "2.0", "id": 1, "method": "m"}
MALFORMED = {
    "a batch": [OK],
    "an empty batch": [],
    "text": "x",
    "a number": 1,
    "null": None,
    "nothing": {},
    "no jsonrpc": {"id": 1, "method": "m"},
    "jsonrpc 1.0": {**OK, "jsonrpc": "1.0"},
    "jsonrpc 2": {**OK, "jsonrpc": 2},
    "id null": {**OK, "id": None},
    "id true": {**OK, "id": True},
    "id 1.0": {**OK, "id": 1.0},
    "id too large": {**OK, "id": 2**63},
    "id too long": {**OK, "id": "x" * 257},
    "id a list": {**OK, "id": [1]},
    "no method": {"jsonrpc": "2.0", "id": 1},
    "method 1": {**OK, "method": 1},
    "method empty": {**OK, "method": ""},
    "method too long": {**OK, "method": "m" * 129},
    "params a list": {**OK, "params": [1]},
    "params null": {**OK, "params": None},
    "_meta a list": {**OK, "params": {"_meta": []}},
    "another member": {**OK, "extra": 1},
    "method and result": {**OK, "result": {}},
    "result and error": {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": "x"}},
    "result without id": {"jsonrpc": "2.0", "result": {}},
    "result a list": {"jsonrpc": "2.0", "id": 1, "result": []},
    "error a text": {"jsonrpc": "2.0", "id": 1, "error": "x"},
    "error without code": {"jsonrpc": "2.0", "id": 1, "error": {"message": "x"}},
    "error code true": {"jsonrpc": "2.0", "id": 1, "error": {"code": True, "message": "x"}},
    "error message 1": {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": 1}},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_message_is_refused(name):
    with pytest.raises(MalformedMessage) as refused:
        mcp.read_message(MALFORMED[name])
    assert refused.value.code in (mcp.INVALID_REQUEST, mcp.INVALID_PARAMS)


def test_an_error_found_before_the_id_has_none():
    assert mcp.read_message(mcp.error(None, mcp.PARSE_ERROR, "x")) == Response(None, None, mcp.PARSE_ERROR, "x")


def test_the_id_goes_with_the_refusal_where_it_could_be_read():
    with pytest.raises(MalformedMessage) as refused:
        mcp.read_message({**OK, "extra": 1})
    assert refused.value.id == 1


def test_a_tool_call_is_read_with_its_known_members():
    params = {"name": "echo", "arguments": {"a": 1}, "_meta": {"progressToken": "p", "x": 1}, "task": {"ttl": 1}}
    assert mcp.read_tool_call(Request(1, "tools/call", params)) == mcp.ToolCall("echo", {"a": 1}, "p")
    assert mcp.read_tool_call(Request(1, "tools/call", {"name": "echo"})) == mcp.ToolCall("echo", {}, None)


@pytest.mark.parametrize(
    "params",
    [{}, {"name": ""}, {"name": 1}, {"name": "x" * 257}, {"name": "x", "arguments": None}, {"name": "x", "other": 1},
     {"name": "x", "_meta": {"progressToken": 1.0}}, {"name": "x", "_meta": {"progressToken": False}}],
)  # fmt: skip
def test_a_malformed_tool_call_is_refused(params):
    with pytest.raises(MalformedMessage) as refused:
        mcp.read_tool_call(Request(7, "tools/call", params))
    assert (refused.value.code, refused.value.id) == (mcp.INVALID_PARAMS, 7)


def test_a_result_is_built_anew_from_known_members_without_ours():
    meta = {"io.taskbound/decision": {}, "Io.TaskBound/x": 1, "other/y": 2}
    result = {"content": [{"type": "text", "text": "x", "_meta": meta}], "structuredContent": {"_meta": meta}, "z": 1}
    assert mcp.tool_result({**result, "_meta": meta}) == {
        "content": [{"type": "text", "text": "x", "_meta": {"other/y": 2}}],
        "isError": False,
        "structuredContent": {"_meta": meta},  # data of the tool, and no metadata of the protocol
        "_meta": {"other/y": 2},
    }
    assert "_meta" not in mcp.tool_result({"content": [], "_meta": "forged"})


def test_progress_is_built_anew_for_the_clients_token():
    told = mcp.progress({"progressToken": 9, "progress": 1, "total": 2.5, "message": "m" * 9_999, "x": 1}, "mine")
    assert told == mcp.notification(
        "notifications/progress",
        {"progressToken": "mine", "progress": 1, "total": 2.5, "message": "m" * mcp.TEXT_LIMIT},
    )
    assert mcp.progress({"progress": True}, 1) is None and mcp.progress({}, 1) is None


HIDDEN = "\u200b\u200d\u202e\u2066\ufeff\u00ad\U000e0041\U000e0100\0\x1b\r\u2028\u3164"


def test_what_nobody_sees_is_shown():
    shown = mcp.visible({f"na{HIDDEN[0]}me": [f"a{one}b" for one in HIDDEN], "plain": "gr\u00fcezi\t\n \u4f60", "n": 1})
    assert shown["na‹U+200B›me"] == [f"a‹U+{ord(one):04X}›b" for one in HIDDEN]
    assert shown["plain"] == "gr\u00fcezi\t\n \u4f60" and shown["n"] == 1


# --- events ----------------------------------------------------------------------------------------


def events_of(*parts, limit=1_000):
    reader = EventReader(limit)
    return [event for part in parts for event in reader.feed(part)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b": comment\n\ndata: a\n\n", [b"a"]),
        (b"event: message\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data\n\n", []),
        (b"data:\nid: 1\n\n", []),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"datax: a\n\nDATA: b\n\n", []),
        (b"data: \xff\n\n", [b"\xff"]),
    ],
)
def test_events_are_read_wherever_the_bytes_are_split(stream, events):
    assert events_of(stream) == events
    assert events_of(*(bytes([one]) for one in stream)) == events
    for at in range(len(stream)):
        assert events_of(stream[:at], stream[at:]) == events


@given(st.lists(objects.map(lambda o: mcp.result(1, o)), max_size=4), st.integers(1, 17))
def test_what_is_sent_as_events_is_read_as_events(messages, size):
    stream = b"".join(map(mcp.encode_event, messages))
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [json.loads(event) for event in events_of(*parts, limit=1 << 20)] == messages


@pytest.mark.parametrize(
    "part", [b"x" * 101, b"data: " + b"x" * 101, b"data: " + b"x" * 101 + b"\n", b"data: x\n" * 20, b"data\n" * 20]
)
def test_an_event_that_is_too_large_is_not_read(part):
    with pytest.raises(TooLarge):
        events_of(part, limit=100)
    with pytest.raises(TooLarge):
        events_of(*(bytes([one]) for one in part), limit=100)


def test_many_small_events_are_no_large_one():
    assert len(events_of(*[b"data: " + b"x" * 50 + b"\n\n"] * 100, limit=100)) == 100
