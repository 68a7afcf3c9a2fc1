"""MCP messages: what is no message is refused, and what goes on is built anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats import mcp
from taskbound.formats.mcp import InputRequired, MalformedMessage, Notification, Request, Response
from taskbound.formats.mcp_era import SESSIONS, STATELESS

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
    old, new = SESSIONS.call_members, STATELESS.call_members
    assert mcp.read_tool_call(Request(1, "tools/call", params), old) == mcp.ToolCall("echo", {"a": 1}, "p")
    assert mcp.read_tool_call(Request(1, "tools/call", {"name": "echo"}), new) == mcp.ToolCall("echo", {}, None)
    for later in ("task", "inputResponses", "requestState"):
        with pytest.raises(MalformedMessage, match="there is no member"):
            mcp.read_tool_call(Request(1, "tools/call", {"name": "echo", later: {}}), new)


@pytest.mark.parametrize(
    "params",
    [{}, {"name": ""}, {"name": 1}, {"name": "x" * 257}, {"name": "x", "arguments": None}, {"name": "x", "other": 1},
     {"name": "x", "_meta": {"progressToken": 1.0}}, {"name": "x", "_meta": {"progressToken": False}}],
)  # fmt: skip
def test_a_malformed_tool_call_is_refused(params):
    with pytest.raises(MalformedMessage) as refused:
        mcp.read_tool_call(Request(7, "tools/call", params), SESSIONS.call_members)
    assert (refused.value.code, refused.value.id) == (mcp.INVALID_PARAMS, 7)


def test_a_result_is_built_anew_from_known_members_without_ours():
    protocol = {"io.modelcontextprotocol/serverInfo": {"name": "x"}, "Io.ModelContextProtocol/related-task": {}}
    meta = {"io.taskbound/decision": {}, "Io.TaskBound/x": 1, "other/y": 2}
    result = {"content": [{"type": "text", "text": "x", "_meta": meta}], "structuredContent": {"_meta": meta}, "z": 1}
    assert mcp.tool_result({**result, "_meta": {**meta, **protocol}}) == {
        "content": [{"type": "text", "text": "x", "_meta": {"other/y": 2}}],
        "isError": False,
        "structuredContent": {"_meta": meta},  # data of the tool, and no metadata of the protocol
        "_meta": {"other/y": 2},
    }
    assert "_meta" not in mcp.tool_result({"content": [], "_meta": "forged"})
    assert mcp.tool_result({"content": [], "structuredContent": None})["structuredContent"] is None


def test_a_result_that_asks_for_input_is_none():
    for asking in ("inputRequests", "requestState", "content"):
        with pytest.raises(InputRequired):
            mcp.tool_result({"resultType": "input_required", asking: []})
    for kind in ("task", "", None, 1):
        with pytest.raises(MalformedMessage) as refused:
            mcp.tool_result({"resultType": kind, "content": []})
        assert not isinstance(refused.value, InputRequired)
    assert mcp.tool_result({"resultType": "complete", "content": []}) == {"content": [], "isError": False}


@pytest.mark.parametrize(
    "code", [-32700, -32600, -32601, -32603, -32000, -32001, -32002, -32020, -32021, -32022, -32042]
)
def test_what_the_protocol_says_of_a_message_is_not_said_of_another(code):
    assert mcp.passed_on(code) == mcp.INTERNAL_ERROR
    assert [mcp.passed_on(one) for one in (-32602, 1, -31999, -32769, 0)] == [-32602, 1, -31999, -32769, 0]


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


def test_a_response_without_its_id_is_told_from_every_other():
    first, last = b'{"jsonrpc":"2.0","id":%d,"result":{}}', b'{"result":{},"jsonrpc":"2.0","id":%d}'
    assert mcp.without_id(first % 5, 5) == mcp.without_id(first % 12, 12)
    assert mcp.without_id(last % 5, 5) == mcp.without_id(last % 12, 12)
    assert mcp.without_id(first % 5, 5) != mcp.without_id(last % 5, 5)
    for text in (
        first % 5,
        last % 5,
        b'{"jsonrpc":"2.0","id":6.0,"result":{}}',
        b'{"jsonrpc":"2.0","id": 6,"result":{}}',
        b"",
    ):
        assert mcp.without_id(text, 6) is None
