"""The two eras of MCP: which one a message is of, what a stateless request must carry, and what each can read."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from taskbound.formats import mcp, mcp_era
from taskbound.formats.mcp import MalformedMessage, Notification, Request, Response
from taskbound.formats.mcp_era import SESSIONS, STATELESS, VERSION_KEY, check_request, era_of

NEW, OLD = "2026-07-28", "2025-11-25"
META = {VERSION_KEY: NEW, mcp_era.CAPABILITIES_KEY: {}}
PUBLISHED = Path(__file__).parents[1] / "data/mcp/examples-2026-07-28.jsonl"
EXAMPLES = [json.loads(line) for line in PUBLISHED.read_text().splitlines() if line]


def of(version=None, method="tools/list"):
    return Request(1, method, {"_meta": {VERSION_KEY: version}} if version is not None else {})


BEGIN = of(method="initialize")
UNKNOWN, MISMATCH = mcp.UNSUPPORTED_VERSION, mcp.HEADER_MISMATCH


@pytest.mark.parametrize(
    ("message", "header", "era"),
    [
        (of(), None, SESSIONS), (of(), OLD, SESSIONS), (of(), "2024-11-05", SESSIONS), (of(), NEW, STATELESS),
        (of(NEW), NEW, STATELESS), (BEGIN, None, SESSIONS), (BEGIN, "1999", SESSIONS),
        (Notification("x"), None, SESSIONS), (Notification("x"), NEW, STATELESS),
        (Response(1, {}), OLD, SESSIONS), (Response(1, {}), NEW, STATELESS),
    ],
)  # fmt: skip
def test_a_message_is_of_the_era_that_it_says(message, header, era):
    assert era_of(message, header) is era


@pytest.mark.parametrize(
    ("message", "header", "code"),
    [
        (of(), "1999", UNKNOWN), (of(), "", UNKNOWN), (of("1999"), "1999", UNKNOWN),
        (of(OLD), OLD, UNKNOWN), (Notification("x"), "1999", UNKNOWN),
        (Response(1, {}), "1999", UNKNOWN), (Notification("initialize"), "1999", UNKNOWN),
        (of(NEW), None, MISMATCH), (of(NEW), OLD, MISMATCH), (of(OLD), NEW, MISMATCH),
        (of(OLD), None, MISMATCH), (of("1999"), NEW, MISMATCH), (of(5), NEW, mcp.INVALID_PARAMS),
        (of(NEW, "initialize"), None, MISMATCH),
    ],
)  # fmt: skip
def test_a_message_of_no_era_or_of_two_is_refused(message, header, code):
    with pytest.raises(MalformedMessage) as refused:
        era_of(message, header)
    assert refused.value.code == code
    assert refused.value.id == (None if isinstance(message, Notification) else 1)
    if code == mcp.UNSUPPORTED_VERSION:
        data = refused.value.data
        assert data is not None and data["requested"] == (header if message != of(OLD) else OLD)
        assert NEW in data["supported"] and (OLD in data["supported"]) is (message != of(OLD))


def test_what_the_other_side_says_is_not_repeated_at_length():
    with pytest.raises(MalformedMessage) as refused:
        era_of(of(), "x" * 9_999)
    assert refused.value.data is not None and len(refused.value.data["requested"]) == mcp.TOKEN_LIMIT


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read", "tools/list"])
def test_a_request_of_ours_passes_the_check(method):
    key = mcp_era.NAMED.get(method)
    for name in ("echo", "grüezi", " x "):
        params = {
            **({key: name} if key else {}),
            "_meta": mcp_era.request_meta(STATELESS, {"name": "t", "version": "1"}),
        }
        check_request(Request(1, method, params), mcp_era.mirrored(method, params))


WRONG: Mapping[str, Mapping[str, str]] = {  # "": left out
    "no method": {"mcp-method": ""},
    "another method": {"mcp-method": "server/discover"},
    "no name": {"mcp-name": ""},
    "another name": {"mcp-name": "other"},
    "a name not decoded": {"mcp-name": "=?base64?ZWNobw?="},
    "no text as a name": {"mcp-name": "\xe9"},
}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}  # as the specification has it
CASES = [
    (method, wrong)
    for method in ("tools/call", "prompts/get", "resources/read", "tools/list", "ping")
    for wrong in WRONG
    if method in NAMED or wrong != "no name"
]


@pytest.mark.parametrize(("method", "wrong"), CASES)
def test_each_request_is_refused_whose_headers_do_not_mirror_it(method, wrong):
    """Streamable HTTP, server validation: of every request the method, and where there is one the name or address."""
    params = {
        **({NAMED[method]: "echo"} if method in NAMED else {}),
        "_meta": mcp_era.request_meta(STATELESS, {"name": "t", "version": "1"}),
    }
    right = {"mcp-method": method, **({"mcp-name": "echo"} if method in NAMED else {})}
    check_request(Request("i", method, params), right)
    with pytest.raises(MalformedMessage) as refused:
        shown = {name: value for name, value in {**right, **WRONG[wrong]}.items() if value}
        check_request(Request("i", method, params), shown)
    assert (refused.value.code, refused.value.id) == (mcp.HEADER_MISMATCH, "i")


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
def test_a_request_without_the_name_that_is_mirrored_has_no_header_of_it(method):
    params = {"_meta": mcp_era.request_meta(STATELESS, {"name": "t", "version": "1"})}
    check_request(Request("i", method, params), {"mcp-method": method})
    with pytest.raises(MalformedMessage):
        check_request(Request("i", method, params), {"mcp-method": method, "mcp-name": ""})


def test_results_are_complete_and_kept_by_nobody_else():
    server = {"name": "taskbound", "version": "1"}
    value = {"tools": [], "_meta": {"x": 1}}
    made = mcp_era.completed(STATELESS, mcp_era.cacheable(STATELESS, value, 1.5), server)
    assert made == {
        "resultType": "complete", "tools": [], "ttlMs": 1500, "cacheScope": "private",
        "_meta": {"x": 1, mcp_era.SERVER_KEY: server},
    }  # fmt: skip
    assert mcp_era.completed(SESSIONS, mcp_era.cacheable(SESSIONS, value, 1.5), server) == value


def test_what_older_clients_cannot_read_is_left_out():
    listed, object_ = (
        {"name": "a", "outputSchema": {"type": "array"}},
        {"name": "a", "outputSchema": {"type": "object"}},
    )
    for tool in (listed, {"name": "a", "outputSchema": True}, {"name": "a", "outputSchema": {}}):
        assert mcp_era.shown_tool(SESSIONS, tool) == {"name": "a"} and mcp_era.shown_tool(STATELESS, tool) == tool
    assert mcp_era.shown_tool(SESSIONS, object_) == object_
    for structured in ([1], "x", 5, None, True):
        result = {"content": [], "structuredContent": structured}
        assert mcp_era.shown_result(SESSIONS, result) == {"content": []}
        assert mcp_era.shown_result(STATELESS, result) == result
    assert mcp_era.shown_result(SESSIONS, {"structuredContent": {}}) == {"structuredContent": {}}


# --- the published examples ------------------------------------------------------------------------


def examples(*definitions):
    found = [one["example"] for one in EXAMPLES if one["definition"] in definitions]
    assert found
    return found


def test_published_calls_and_errors_are_read():
    for params in examples("CallToolRequestParams"):
        request = Request(1, "tools/call", params)
        check_request(request, mcp_era.mirrored("tools/call", params))
        assert mcp.read_tool_call(request, STATELESS.call_members).name == params["name"]
    codes = {"HeaderMismatchError": mcp.HEADER_MISMATCH, "UnsupportedProtocolVersionError": mcp.UNSUPPORTED_VERSION}
    for definition, code in codes.items():
        for example in examples(definition):
            answer = mcp.read_message(example)
            assert isinstance(answer, Response) and answer.code == code
    with pytest.raises(MalformedMessage) as refused:
        era_of(of("1900-01-01"), "1900-01-01")
    (published,) = examples("UnsupportedProtocolVersionError")
    ours = mcp.error(1, refused.value.code, str(refused.value), refused.value.data)
    assert ours["error"]["data"].keys() == published["error"]["data"].keys() and ours.keys() == published.keys()
    assert str(refused.value) == published["error"]["message"]


def test_published_results_and_lists_are_read():
    for result in examples("CallToolResult"):
        assert mcp.tool_result(result)["content"] == result["content"]
    for response in examples("CallToolResultResponse"):
        answer = mcp.read_message(response)
        assert isinstance(answer, Response) and answer.result
        assert mcp.tool_result(answer.result)["isError"] is False
    for page in examples("ListToolsResult"):
        assert mcp.read_tools(page)[1] == page.get("nextCursor")
    for result in examples("InputRequiredResult"):
        with pytest.raises(mcp.InputRequired):
            mcp.tool_result(result)
    for told in examples("ProgressNotification"):
        message = mcp.read_message(told)
        assert isinstance(message, Notification)
        made = mcp.progress(message.params, "t")
        assert made is not None and made["params"]["progressToken"] == "t"
