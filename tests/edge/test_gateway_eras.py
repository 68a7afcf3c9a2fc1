"""The gateway in both eras of MCP: agents of either before it, upstreams of either behind it, in all four pairs."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from mcp import MCPError

from taskbound.edge.gateway import answer as answer_module
from tests.edge.gateways import ALL, gateways, profile
from tests.edge.test_gateway import INITIALIZE, asked, call, decision_of, text_of, until
from tests.eras import ERAS, OldWorkspace, Scripted
from tests.served import served

OLD, NEW = ERAS
VERSION = "io.modelcontextprotocol/protocolVersion"
META = {VERSION: NEW, "io.modelcontextprotocol/clientCapabilities": {}}
PARAMETER = '[parameters.which]\nkind = "object_id"\n[[grant]]\ntool = "workspace/echo"\nwhen = { text = "= which" }'
PROFILES = {"all": profile(*ALL), "one": profile(extra=PARAMETER), "counting": profile("count")}


def mirrors(message, version=NEW):
    """Return the headers that a client sends with a stateless message."""
    headers = {"mcp_protocol_version": version, "mcp_method": message.get("method", "")}
    if "name" in message.get("params", {}):
        headers["mcp_name"] = message["params"]["name"]
    return headers


def stateless(message):
    """Return a message with the metadata that each request carries."""
    params = message.get("params", {})
    return {**message, "params": {**params, "_meta": {**META, **params.get("_meta", {})}}}


async def say(gate, handle, message, *, era=NEW, **headers):
    """Send one request in an era, with the headers that belong to it but for those given; None leaves one out."""
    if era == NEW:
        message = stateless(message)
        headers = {**mirrors(message), **headers}
    return await gate.post(handle, message, **{name: value for name, value in headers.items() if value is not None})


@pytest.fixture(params=[(agent, upstream) for agent in ERAS for upstream in ERAS], ids=lambda pair: "-".join(pair))
def pair(request):
    return request.param


@asynccontextmanager
async def before(workspace, path, profiles=PROFILES, **options):
    with served(workspace) as address:
        async with gateways(path / "policy", profiles, {"workspace": address}, **options) as gate:
            yield gate


@pytest.fixture
async def gate(tmp_path):
    """A gateway before an upstream of the older era."""
    workspace = OldWorkspace()
    async with before(workspace, tmp_path) as made:
        workspace.requests.clear()
        made.workspace = workspace
        yield made


def mode_of(era):
    return "legacy" if era == OLD else NEW


# --- the four pairs --------------------------------------------------------------------------------


async def test_an_agent_and_an_upstream_of_any_era_work_together_and_each_call_is_decided_first(tmp_path, pair):
    agent, upstream = pair
    workspace = ERAS[upstream]()
    async with before(workspace, tmp_path) as gate:
        workspace.requests.clear()
        _, handle = await gate.task()
        at_run, told = [], []
        workspace.on_echo = lambda: at_run.append(gate.kinds()[-1])

        async def progress(done, total, message):
            told.append((done, workspace.gate.is_set()))
            workspace.gate.set()

        async with gate.client(handle, mode=mode_of(agent)) as client:
            assert client.protocol_version == agent
            assert [tool.name for tool in (await client.list_tools()).tools] == sorted(ALL)
            assert text_of(await client.call_tool("echo", {"text": "gr\u00fcezi"})) == "gr\u00fcezi"
            assert (await client.call_tool("fail", {})).is_error
            counted = await client.call_tool("count", {"steps": 2}, progress_callback=progress)
            assert text_of(counted) == "2 steps" and told == [(1, False), (2, True)], "each as it came"
            assert text_of(await client.call_tool("ask", {})).startswith("refused")
            with pytest.raises(MCPError):
                await client.call_tool("nothing", {})
        assert at_run == ["call.permitted"]
        await gate.gate.outcomes.drained()
        assert gate.kinds().count("call.permitted") == gate.kinds().count("call.completed") == 4
        _, narrow = await gate.task("one", set={"which": "1"})
        async with gate.client(narrow, mode=mode_of(agent)) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["echo"]
            denied = await client.call_tool("echo", {"text": "2"})
            assert denied.is_error and decision_of(denied)["code"] == "outside_grants"
        assert ("echo", "2") not in workspace.ran
        versions = {headers.get("mcp-protocol-version", OLD) for headers, _ in workspace.requests}
        assert versions == {upstream}, "it is spoken to in its own era alone"
        assert any("mcp-session-id" in headers for headers, _ in workspace.requests) is (upstream == OLD)


CANARY = "canary-7f3e"


async def test_nothing_of_the_agent_but_its_arguments_reaches_an_upstream(tmp_path, pair):
    agent, upstream = pair
    workspace = ERAS[upstream]()
    async with before(workspace, tmp_path) as gate:
        workspace.requests.clear()
        _, handle = await gate.task()
        meta = {"progressToken": CANARY, "traceparent": CANARY, "io.modelcontextprotocol/clientInfo": {"name": CANARY},
                "io.modelcontextprotocol/logLevel": "debug", "x/y": CANARY}  # fmt: skip
        names = ("x_custom", "cookie", "traceparent", "last_event_id", "mcp_param_text", "mcp_param_x", "mcp_other")
        strange = {name: f"{CANARY} {name}" for name in names}
        if agent == NEW:
            strange |= {"mcp_session_id": CANARY}
        message = call("echo", id=CANARY, meta=meta, text="declared")
        response = await say(gate, handle, message, era=agent, **strange)
        assert '"text":"declared"' in response.text and response.status_code == 200
        reached = workspace.everything()
        assert b"declared" in reached and CANARY.encode() not in reached and b"tbh_" not in reached
        assert b"debug" not in reached


async def test_a_call_that_its_client_leaves_is_cancelled_at_the_upstream(tmp_path, pair):
    agent, upstream = pair
    workspace = ERAS[upstream]()
    async with before(workspace, tmp_path) as gate:
        _, handle = await gate.task()
        running = asyncio.create_task(say(gate, handle, call("wait", meta={"progressToken": 1}), era=agent))
        await until(lambda: workspace.ran)
        running.cancel()
        assert await asyncio.to_thread(workspace.cancelled.wait, 5)
        await until(lambda: gate.kinds()[-1] == "call.completed")
        said = [body for _, body in workspace.requests if b"notifications/cancelled" in body]
        assert bool(said) is (upstream == OLD), "closing the answer is all that a stateless server needs"


async def test_what_we_answer_is_as_the_published_schema_has_it(tmp_path, pair):
    agent, upstream = pair
    async with before(ERAS[upstream](), tmp_path) as gate:
        _, handle = await gate.task()
        _, narrow = await gate.task("counting")
        opening = asked("server/discover") if agent == NEW else INITIALIZE
        kinds = ("DiscoverResult" if agent == NEW else "InitializeResult", "ListToolsResult", "CallToolResult")
        answers = [opening, asked("tools/list"), call("echo", text="x")]
        for message, kind in zip(answers, kinds, strict=True):
            check(agent, (await say(gate, handle, message, era=agent)).json(), kind)
        check(agent, (await say(gate, narrow, call("echo", text="x"), era=agent)).json(), "CallToolResult")
        unknown = (await say(gate, handle, call("nothing"), era=agent)).json()
        check(agent, unknown, None)
        if agent == NEW:
            check(agent, (await say(gate, handle, call("echo", text="x"), mcp_name="x")).json(), "HeaderMismatchError")
            refused = await say(gate, handle, call("echo"), mcp_protocol_version="1900-01-01")
            check(agent, refused.json(), "HeaderMismatchError")


@cache
def schema_of(era):
    return json.loads((Path(__file__).parents[1] / f"data/mcp/schema-{era}.json").read_text())


def check(era, message, kind):
    """Check a response, and its result, against the JSON Schema that the protocol publishes."""
    whole = schema_of(era)
    outer = "JSONRPCErrorResponse" if "error" in message else "JSONRPCResultResponse"
    inner = message.get("result", message)
    for name, value in ((outer, message), *([(kind, inner)] if kind else [])):
        jsonschema.Draft202012Validator({**whole, "$ref": f"#/$defs/{name}"}).validate(value)


# --- headers against the body ----------------------------------------------------------------------

ECHO = stateless(call("echo", id="c-7", text="x"))
SAID = mirrors(ECHO)
MISMATCHES = {
    "no version": {**SAID, "mcp_protocol_version": None},
    "another version": {**SAID, "mcp_protocol_version": OLD},
    "an unknown version": {**SAID, "mcp_protocol_version": "1900-01-01"},
    "no method": {**SAID, "mcp_method": None},
    "another method": {**SAID, "mcp_method": "tools/list"},
    "a method of another case": {**SAID, "mcp_method": "Tools/Call"},
    "no name": {**SAID, "mcp_name": None},
    "an empty name": {**SAID, "mcp_name": ""},
    "another name": {**SAID, "mcp_name": "count"},
    "a name of another case": {**SAID, "mcp_name": "Echo"},
    "two names": {**SAID, "mcp_name": "echo, echo"},
    "another name in Base64": {**SAID, "mcp_name": "=?base64?Y291bnQ=?="},
    "no Base64": {**SAID, "mcp_name": "=?base64?ZWNobw?="},
    "Base64 of another alphabet": {**SAID, "mcp_name": "=?base64?ZW-_bw==?="},
    "Base64 with bits to spare": {**SAID, "mcp_name": "=?base64?ZWNobx==?="},
    "Base64 of no UTF-8": {**SAID, "mcp_name": "=?base64?/w==?="},
    "a marker of another case": {**SAID, "mcp_name": "=?BASE64?ZWNobw==?="},
}


@pytest.mark.parametrize("name", MISMATCHES)
async def test_a_header_that_says_another_thing_than_the_body_is_refused(gate, name):
    _, handle = await gate.task()
    headers = {key: value for key, value in MISMATCHES[name].items() if value is not None}
    response = await gate.post(handle, ECHO, **headers)
    assert response.status_code == 400 and response.json()["id"] == "c-7"
    assert response.json()["error"]["code"] == -32020
    assert gate.workspace.requests == [] and not any(kind.startswith("call.") for kind in gate.kinds())


async def test_headers_that_say_what_the_body_says_are_not_refused(gate):
    _, handle = await gate.task()
    for name in ("echo", "=?base64?ZWNobw==?=", "  echo \t"):  # RFC 9110 5.5: space around a value is none of it
        lines = [f"mcp-protocol-version: {NEW}", "MCP-METHOD: tools/call", f"mcp-name:{name}"]
        assert (await raw(gate, handle, *lines))[0] == 200, name


async def raw(gate, handle, *lines, message=None):
    """Send a request of these header lines as they are; return the status and the JSON of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    body = json.dumps(message or ECHO).encode()
    head = ["POST /mcp/workspace HTTP/1.1", "host: localhost", f"authorization: Bearer {handle}",
            "content-type: application/json", f"content-length: {len(body)}", "connection: close", *lines]  # fmt: skip
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    answer = await reader.read(-1)
    writer.close()
    return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


async def test_a_mirrored_header_that_stands_twice_is_refused(gate):
    _, handle = await gate.task()
    lines = [f"mcp-protocol-version: {NEW}", "MCP-Method: tools/call", "Mcp-Name: echo"]
    assert (await raw(gate, handle, *lines))[0] == 200
    for twice in lines:
        status, answer = await raw(gate, handle, *lines, twice)
        assert (status, answer["id"], answer["error"]["code"]) == (400, "c-7", -32020)
        assert "stands twice" in answer["error"]["message"]
    assert gate.kinds().count("call.permitted") == 1


@pytest.mark.parametrize("versions", [(NEW, OLD), (OLD, NEW), (OLD, OLD), (NEW, NEW)])
async def test_two_versions_are_none_whichever_comes_first(gate, versions):
    """Which era a message is of is read from this header, so what is in front of us may have read the other."""
    _, handle = await gate.task()
    plain = {"jsonrpc": "2.0", "id": "c-7", "method": "tools/list"}
    lines = [f"mcp-protocol-version: {version}" for version in versions]
    for message in (ECHO, plain):
        status, answer = await raw(gate, handle, *lines, message=message)
        assert (status, answer["id"], answer["error"]["code"]) == (400, "c-7", -32020)
    assert not any(kind.startswith("call.") for kind in gate.kinds())


async def test_a_name_is_mirrored_only_where_there_is_one(gate):
    _, handle = await gate.task()
    response = await say(gate, handle, asked("tools/list"), mcp_name="echo")
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


# --- versions, methods and members -----------------------------------------------------------------


async def test_a_version_that_is_not_spoken_is_answered_with_those_that_are(gate):
    _, handle = await gate.task()
    known = [NEW, OLD, "2025-06-18", "2025-03-26", "2024-11-05"]
    for message in (asked("tools/list"), asked("ping", _meta={VERSION: "2099-01-01"})):
        response = await gate.post(handle, message, mcp_protocol_version="2099-01-01")
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["data"]) == (-32022, {"supported": known, "requested": "2099-01-01"})
    old = asked("tools/list", _meta={**META, VERSION: OLD})  # it is spoken behind initialize, not so
    error = (await gate.post(handle, old, **mirrors(old, OLD))).json()["error"]
    assert (error["code"], error["data"]["supported"]) == (-32022, [NEW])
    told = {"jsonrpc": "2.0", "method": "notifications/x"}
    response = await gate.post(handle, told, mcp_protocol_version="2099-01-01")
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32022)


METAS = [
    {},
    {VERSION: NEW},
    {"io.modelcontextprotocol/clientCapabilities": {}},
    {**META, "io.modelcontextprotocol/clientCapabilities": []},
    {**META, "io.modelcontextprotocol/clientCapabilities": None},
]


async def test_what_each_request_must_carry_is_asked_for(gate):
    _, handle = await gate.task()
    for meta in METAS:
        message = asked("tools/list", _meta=meta)
        response = await gate.post(handle, message, **mirrors(message))
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32602), meta


async def test_methods_of_the_other_era_and_those_that_are_not_built_are_not_there(gate):
    _, handle = await gate.task()
    for method in ("initialize", "ping", "subscriptions/listen", "resources/list", "tasks/get", "logging/setLevel"):
        response = await say(gate, handle, asked(method))
        assert (response.status_code, response.json()["error"]["code"]) == (404, -32601), method
    response = await say(gate, handle, asked("server/discover"), era=OLD)
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32601)


MEMBERS: list[dict[str, object]] = [
    {"inputResponses": {"a": {"action": "accept"}}},
    {"requestState": "s"},
    {"task": {}},
    {"x": 1},
]


async def test_members_that_are_not_built_are_refused_and_decide_nothing(gate):
    _, handle = await gate.task()
    for more in MEMBERS:
        message = call("echo", text="x")
        message["params"] |= more
        response = await say(gate, handle, message)
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32602), more
    assert gate.workspace.requests == [] and not any(kind.startswith("call.") for kind in gate.kinds())


async def test_the_newer_era_has_no_sessions(gate):
    _, handle = await gate.task()
    opened = (await gate.post(handle, INITIALIZE)).headers["mcp-session-id"]
    for session in (opened, "unknown", ""):
        response = await say(gate, handle, call("echo", text="x"), mcp_session_id=session, last_event_id="7")
        assert response.status_code == 200 and "mcp-session-id" not in response.headers
    for method in ("GET", "DELETE"):
        response = await gate.post(handle, None, method=method, mcp_protocol_version=NEW, mcp_session_id=opened)
        assert response.status_code == 405 and response.headers["allow"] == "POST"
    assert (await gate.post(handle, asked("ping"), mcp_session_id=opened)).status_code == 200, "it is still there"


async def test_of_a_stateless_client_notifications_are_nothing_and_responses_are_refused(gate):
    _, handle = await gate.task()
    running = asyncio.create_task(say(gate, handle, call("wait", id=5)))
    await until(lambda: gate.workspace.ran)
    session = (await gate.post(handle, INITIALIZE)).headers["mcp-session-id"]
    over = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5, "_meta": META}}
    for headers in ({"mcp_protocol_version": NEW}, {"mcp_protocol_version": NEW, "mcp_session_id": session}):
        assert (await gate.post(handle, over, **headers)).status_code == 202
    await asyncio.sleep(0.05)
    assert not running.done(), "anybody could name the request of another"
    response = await gate.post(handle, {"jsonrpc": "2.0", "id": 1, "result": {}}, mcp_protocol_version=NEW)
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32600)
    running.cancel()
    await asyncio.wait([running])


async def test_who_asks_how_it_is_spoken_here_is_told(gate):
    _, handle = await gate.task()
    told = (await say(gate, handle, asked("server/discover"))).json()["result"]
    assert told["supportedVersions"] == [NEW] and told["capabilities"] == {"tools": {"listChanged": False}}
    assert told["resultType"] == "complete" and told["cacheScope"] == "private" and told["ttlMs"] > 0
    assert told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "taskbound"
    assert (await say(gate, None, asked("server/discover"))).status_code == 401


async def test_a_task_that_ended_and_a_denial_are_results_of_either_era(gate):
    _, handle = await gate.task("counting")
    for era in ERAS:
        result = (await say(gate, handle, call("echo", text="x"), era=era)).json()["result"]
        assert result["isError"] and result["_meta"]["io.taskbound/decision"]["code"] == "outside_grants"
        assert (result.get("resultType"), "io.modelcontextprotocol/serverInfo" in result["_meta"]) == (
            ("complete", True) if era == NEW else (None, False)
        )


# --- what an upstream says -------------------------------------------------------------------------

TOOL = {
    "name": "echo",
    "description": "e",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


@asynccontextmanager
async def scripted(path, script, profiles=None):
    with served(script) as address:
        profiles = profiles or {"all": profile("echo", upstream="evil"), "bare": profile(upstream="evil")}
        async with gateways(path / "policy", profiles, {"evil": address}) as gate:
            script.seen.clear()
            yield gate


async def post_to(gate, handle, message, era=NEW, **headers):
    if era == NEW:
        message = stateless(message)
        headers = {**mirrors(message), **headers}
    return await gate.post(handle, message, path="/evil", **headers)


URL = {"mode": "url", "message": CANARY, "url": f"https://{CANARY}"}
ASKING = {
    "resultType": "input_required",
    "requestState": CANARY,
    "inputRequests": {"a": {"method": "elicitation/create", "params": URL}},
}


async def test_a_result_that_asks_for_input_is_a_failure_that_says_so_and_passes_nothing_on(tmp_path):
    script = Scripted([TOOL])
    async with scripted(tmp_path, script) as gate:
        _, handle = await gate.task()
        wanting = {"code": -32021, "message": CANARY, "data": {"requiredCapabilities": {"elicitation": {}}}}
        for said in (ASKING, {**ASKING, "content": []}, {"resultType": "input_required"}, wanting):
            script.told["tools/call"] = said
            for era in ERAS:
                response = await post_to(gate, handle, call("echo", text="x"), era)
                result = response.json()["result"]
                assert result["isError"] and result["content"][0]["text"].startswith("failed: input_required: evil: ")
                assert CANARY not in response.text
        await gate.gate.outcomes.drained()
        assert all(e.detail["is_error"] for e in gate.events() if e.kind == "call.completed")
        capabilities = [
            body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] for _, body in script.seen
        ]
        assert capabilities and not any(capabilities)


async def test_an_error_of_the_protocol_between_us_and_an_upstream_is_not_the_clients(tmp_path):
    script = Scripted([TOOL])
    async with scripted(tmp_path, script) as gate:
        _, handle = await gate.task()
        for code in (-32020, -32042, -32002, -32601, -32700):
            script.told["tools/call"] = {"code": code, "message": "no", "data": {"supported": ["1999-01-01"]}}
            for era in ERAS:
                response = await post_to(gate, handle, call("echo", text="x"), era)
                assert response.json()["error"] == {"code": -32603, "message": "no"}
        script.told["tools/call"] = {"code": -32602, "message": "no"}
        assert (await post_to(gate, handle, call("echo", text="x"))).json()["error"]["code"] == -32602


async def test_how_long_an_upstream_says_its_list_stays_widens_nothing(tmp_path):
    script = Scripted([TOOL])  # "public", for an hour
    async with scripted(tmp_path, script) as gate:
        _, handle = await gate.task()
        _, none = await gate.task("bare")
        listed = (await post_to(gate, handle, asked("tools/list"))).json()["result"]
        assert [tool["name"] for tool in listed["tools"]] == ["echo"]
        assert listed["cacheScope"] == "private" and listed["ttlMs"] <= 60_000
        assert (await post_to(gate, none, asked("tools/list"))).json()["result"]["tools"] == []
        assert (await post_to(gate, handle, call("echo", text="x"))).json()["result"]["isError"] is False
        script.told["tools/list"] = {**script.told["tools/list"], "tools": [{**TOOL, "description": "f"}]}
        denied = (await post_to(gate, handle, call("echo", text="x"))).json()["result"]
        assert denied["_meta"]["io.taskbound/decision"]["code"] == "tool_not_pinned"
        assert len(script.asked("tools/call")) == 1


async def test_what_only_the_newer_era_has_is_kept_from_who_cannot_read_it(tmp_path):
    tool = {**TOOL, "outputSchema": {"type": "array"}}
    script = Scripted([tool])
    said = {"io.modelcontextprotocol/serverInfo": {"name": CANARY}}
    script.told["tools/call"] |= {"structuredContent": [1], "_meta": said}
    async with scripted(tmp_path, script) as gate:
        _, handle = await gate.task()
        for era, schema, structured in ((OLD, None, None), (NEW, {"type": "array"}, [1])):
            (listed,) = (await post_to(gate, handle, asked("tools/list"), era)).json()["result"]["tools"]
            assert listed.get("outputSchema") == schema
            response = await post_to(gate, handle, call("echo", text="x"), era)
            assert response.json()["result"].get("structuredContent") == structured and CANARY not in response.text


MARKED = {
    "name": "echo",
    "description": "e",
    "inputSchema": {
        "type": "object",
        "properties": {
            "text": {"type": "string", "x-mcp-header": "Region"},
            "n": {"type": "integer", "x-mcp-header": "Count"},
        },
        "required": ["text"],
    },
}


async def test_arguments_that_headers_mirror_are_checked_before_and_mirrored_behind(tmp_path):
    granting = profile(upstream="evil", extra='[[grant]]\ntool = "evil/echo"\nwhen = { text = "any", n = "any" }')
    script = Scripted([MARKED])
    async with scripted(tmp_path, script, {"all": granting}) as gate:
        _, handle = await gate.task()
        for wrong in ({}, {"region": "y"}, {"region": "X"}, {"region": "x", "count": "1"}):
            wrong = {f"mcp_param_{name}": value for name, value in wrong.items()}
            refused = await post_to(gate, handle, call("echo", text="x"), **wrong)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32020), wrong
        assert script.seen == [] and not any(kind.startswith("call.") for kind in gate.kinds())
        wrapped = f"=?base64?{base64.b64encode('grüezi'.encode()).decode()}?="
        for text, shown in (("x", "x"), ("grüezi", wrapped), ("a\nb", "=?base64?YQpi?=")):
            shows = {"mcp_param_region": shown, "mcp_param_count": "7.0", "mcp_param_zone": "q"}
            response = await post_to(gate, handle, call("echo", text=text, n=7), **shows)
            assert response.json()["result"]["isError"] is False, text
            headers, body = script.asked("tools/call")[-1]
            assert (headers["mcp-param-region"], headers["mcp-param-count"]) == (shown, "7")
            assert "mcp-param-zone" not in headers and body["params"]["arguments"] == {"text": text, "n": 7}
        old = await post_to(gate, handle, call("echo", text="y"), OLD)  # the older era mirrors nothing
        assert old.json()["result"]["isError"] is False
        assert script.asked("tools/call")[-1][0]["mcp-param-region"] == "y"


# --- the list, now (T4.6) --------------------------------------------------------------------------


async def test_tasks_at_once_share_a_list_that_none_of_them_came_after(tmp_path):
    script = Scripted([TOOL])
    async with scripted(tmp_path, script) as gate:
        handles = [(await gate.task())[1] for _ in range(4)]
        await asyncio.gather(*(post_to(gate, one, call("echo", text="x")) for one in handles for _ in range(8)))
        assert len(script.asked("tools/call")) == 32 and len(script.asked("tools/list")) < 32
        assert 1 <= len(script.asked("server/discover")) <= 4, "how it speaks is known of the server, not of a session"
        await post_to(gate, handles[0], call("echo", text="x"))
        assert script.seen[-2][1]["method"] == "tools/list", "each call looks for itself"


# --- answers that nobody reads ---------------------------------------------------------------------


async def test_who_reads_slowest_makes_room(monkeypatch):
    monkeypatch.setattr(answer_module, "ROOM", 100)
    writing = answer_module.Writing()
    over = []

    async def one(name, size):
        try:
            async with asyncio.timeout(5) as limit:
                with writing.holding(limit, size):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            over.append(name)

    first = [asyncio.create_task(one(name, 40)) for name in "ab"]
    await asyncio.sleep(0.01)
    await asyncio.gather(*first, one("c", 55), one("d", 5))
    assert over == ["a"], "the oldest went, and the others had room"
    await one("alone", 1_000)
    assert over == ["a"] and not writing._held


async def unasked():
    raise AssertionError("nothing is received while it is answered")


@pytest.mark.parametrize("stops_at", [1, 2])
async def test_behind_a_message_that_was_stopped_amid_nothing_is_written(stops_at):
    """A client would take what comes behind for the rest of that event."""
    stuck = asyncio.Event()
    sent: list[bytes] = []

    async def send(message):
        if message["type"] == "http.response.body":
            if len(sent) == stops_at and not stuck.is_set():
                stuck.set()
                await asyncio.Event().wait()
            sent.append(message["body"])

    scope = {"headers": [(b"accept", b"text/event-stream")]}
    answer = answer_module.Answer(scope, unasked, send, answer_module.Writing())
    await answer.notify({"method": "short"})
    notifying = asyncio.create_task(answer.notify({"method": "long", "params": "x" * 2 * answer_module.PIECE}))
    await stuck.wait()
    notifying.cancel()
    await asyncio.wait([notifying])
    with pytest.raises(answer_module.Unread, match="while a message was written"):
        await answer.finish({"result": {}})
    assert len(sent) == stops_at and b'"result"' not in b"".join(sent)
