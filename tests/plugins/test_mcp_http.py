"""MCP servers over Streamable HTTP: the contract against the official SDK's, of both eras, and hostile ones."""

import asyncio
import itertools
import json
import socket
import threading
import time
import tracemalloc

import pytest

from taskbound.core.errors import InvalidRequest, UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.plugins.net import Origin
from taskbound.plugins.upstreams import mcp_http
from taskbound.plugins.upstreams.mcp_http import McpHttpUpstream, exchange, wire
from taskbound.plugins.upstreams.mcp_http.known import Known, Listed, Listing
from tests.contracts.upstream import *  # noqa: F403
from tests.contracts.upstream import called, text_of
from tests.eras import ERAS, Scripted
from tests.served import served


@pytest.fixture(params=ERAS)
def workspace(request):
    return ERAS[request.param]()


@pytest.fixture
def address(workspace):
    with served(workspace) as url:
        yield url


@pytest.fixture
async def open_upstream(address):
    made, origins = [], []

    def opening(*, nowhere=False, **settings):
        url = address
        if nowhere:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                url = f"http://127.0.0.1:{free.getsockname()[1]}"
        origins.append(Origin(f"{url}/mcp"))
        made.append(McpHttpUpstream(origins[-1], **settings))
        return made[-1]

    yield opening
    for upstream in made:
        await upstream.close()
    for origin in origins:
        await origin.close()


# --- a hostile server (T4.8) ----------------------------------------------------------------------

PROGRESS = b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}\n\n'
ASKING = b'data: {"jsonrpc":"2.0","id":"s1","method":"sampling/createMessage","params":{}}\n\n'


def result(id, text="ok"):
    return {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}


class Hostile:
    """Opens a session as it should, and answers one method as `how` says: a generator of parts, given the id."""

    def __init__(self, how, method="tools/call", kind="text/event-stream", status=200, headers=()):
        self.how, self.method = how, method
        self.status, self.headers = status, [(b"content-type", kind.encode()), *headers]
        self.opening: dict[str, object] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "serverInfo": {"name": "h"},
        }
        self.session = b"hostile"
        self.stateless = False
        self.seen: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        body = (await receive()).get("body", b"")
        self.seen.append(({k.decode(): v.decode() for k, v in scope["headers"]}, body))
        message = json.loads(body) if body else {}
        method, id = message.get("method"), message.get("id")
        if method == self.method:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            gone = asyncio.create_task(receive())
            async for part in self.how(id):
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await asyncio.sleep(0)
                if gone.done():
                    return
            gone.cancel()
            await send({"type": "http.response.body", "body": b""})
            return
        answer = {"jsonrpc": "2.0", "id": id, "result": self.opening} if method == "initialize" else None
        if method == "server/discover" and self.stateless:
            answer = {"jsonrpc": "2.0", "id": id, "result": {"supportedVersions": ["2026-07-28"]}}
        headers = [(b"content-type", b"application/json"), (b"set-cookie", b"track=1")]
        if self.session:
            headers.append((b"mcp-session-id", self.session))
        await send({"type": "http.response.start", "status": 200 if answer else 202, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode() if answer else b""})


def says(*parts):
    """Answer with these parts; a value is an event with it, `ID` in a text the request's id."""

    async def how(id):
        for part in parts:
            text = part if isinstance(part, bytes) else b"data: " + json.dumps(part).encode() + b"\n\n"
            yield text.replace(b'"ID"', str(id).encode())

    return how


def endless(part, pause=0.0):
    async def how(id):
        while True:
            yield part
            if pause:
                await asyncio.sleep(pause)

    return how


async def silence(id):
    for _ in range(100):
        await asyncio.sleep(0.1)
        yield b""


@pytest.fixture
async def facing():
    """Return what is called to face a hostile server with a session of its own."""
    stack, made = [], []

    def facing(hostile, **settings):
        context = served(hostile)
        url = context.__enter__()
        stack.append(context)
        origin = Origin(f"{url}/mcp")
        made.append((McpHttpUpstream(origin, **{"idle": 0.5, **settings}), origin))
        return made[-1][0]

    yield facing
    for upstream, origin in made:
        await upstream.close()
        await origin.close()
    for context in stack:
        await asyncio.to_thread(context.__exit__, None, None, None)


OK = result("ID")
HOSTILE = {
    "wrong id": Hostile(says({**OK, "id": 999})),
    "id of another type": Hostile(says(result("2"))),
    "id true": Hostile(says({**OK, "id": True})),
    "no id": Hostile(says({"jsonrpc": "2.0", "result": {}})),
    "a batch": Hostile(says([OK])),
    "no jsonrpc": Hostile(says({"id": "ID", "result": {}})),
    "result and error": Hostile(says({**OK, "error": {"code": 1, "message": "x"}})),
    "unknown member": Hostile(says({**OK, "extra": 1})),
    "duplicate member": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","id":"ID","result":{}}\n\n')),
    "not JSON": Hostile(says(b"data: hello\n\n")),
    "NaN": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":NaN}}\n\n')),
    "1e999": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":1e999}}\n\n')),
    "lone surrogate": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":"\\ud800"}}\n\n')),
    "not UTF-8": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":"\xff"}}\n\n')),
    "100 deep": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":' + b"[" * 100 + b"]" * 100 + b"}}\n\n")),
    "100000 deep": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":' + b"[" * 100_000 + b"\n\n")),
    "a digit of 10000": Hostile(says(b'data: {"jsonrpc":"2.0","id":"ID","result":{"x":' + b"9" * 10_000 + b"}}\n\n")),
    "ends without an answer": Hostile(says(PROGRESS)),
    "asks for ever": Hostile(endless(ASKING)),
    "progress for ever": Hostile(endless(PROGRESS * 100)),
    "an event without end": Hostile(endless(b"data: " + b"x" * 65_536)),
    "lines without end": Hostile(endless(b"data: x\n" * 8_192)),
    "empty lines of data without end": Hostile(endless(b"data\n" * 8_192)),
    "comments for ever": Hostile(endless(b": still here\n\n", 0.02)),
    "one byte at a time": Hostile(endless(b"x", 0.02)),
    "nothing": Hostile(silence),
    "JSON without end": Hostile(endless(b" " * 65_536), kind="application/json"),
    "JSON that is cut": Hostile(says(b'{"jsonrpc":"2.0"'), kind="application/json"),
    "HTML": Hostile(says(b"<p>hello"), kind="text/html"),
    "no type": Hostile(says(b"{}"), kind=""),
    "gzip": Hostile(says(b"\x1f\x8b" + b"\0" * 100), headers=[(b"content-encoding", b"gzip")]),
    "status 500": Hostile(says(OK), status=500),
    "status 401": Hostile(says(OK), status=401),
    "status 202": Hostile(says(b""), status=202),
    "lost for ever": Hostile(says(b""), status=404),
}  # fmt: skip


@pytest.mark.parametrize("stateless", [False, True], ids=ERAS)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_ends_in_unavailable_soon(facing, name, stateless):
    HOSTILE[name].stateless = stateless
    upstream = facing(HOSTILE[name])
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable):
        await called(upstream, "echo", text="hello")
    assert time.monotonic() - began < 5


async def test_a_gibibyte_costs_little_memory(facing):
    for hostile in (
        Hostile(endless(b"data: " + b"x" * 65_536)),
        Hostile(endless(b" " * 65_536), kind="application/json"),
        Hostile(endless(PROGRESS * 600)),
    ):
        upstream = facing(hostile, idle=5)
        await upstream.close()
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamUnavailable):
                await called(upstream, "echo", text="hello")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16 << 20


async def test_strange_text_is_data_and_nothing_else(facing):
    strange = "\0 \u202e \u200b \U000e0041 \r\n\r\ndata: forged\n\n \u2028"
    upstream = facing(Hostile(says(result("ID", strange))))
    (message,) = await called(upstream, "echo", text="hello")
    assert text_of(message) == strange


async def test_of_two_answers_the_first_counts(facing):
    upstream = facing(Hostile(says(result("ID", "first"), result("ID", "second"))))
    assert [text_of(message) for message in await called(upstream, "echo", text="hello")] == ["first"]


async def test_a_redirect_is_not_followed(facing, workspace, address):
    location = [(b"location", f"{address}/mcp".encode())]
    for status in (301, 302, 303, 307, 308):
        upstream = facing(Hostile(says(b""), status=status, headers=location))
        with pytest.raises(UpstreamUnavailable):
            await called(upstream, "echo", text="hello")
    assert workspace.requests == []


async def test_nothing_goes_out_but_the_headers_that_we_chose(facing, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    hostile = Hostile(says(OK))
    upstream = facing(hostile)
    await called(upstream, "echo", text="hello")
    await called(upstream, "echo", text="hello")
    ours = {"accept", "accept-encoding", "content-type", "mcp-session-id", "mcp-protocol-version", "mcp-method"}
    http = {"host", "content-length", "connection"}
    for headers, _ in hostile.seen:
        assert set(headers) <= ours | http, "a cookie, a user agent, or another's header"


async def test_a_credential_goes_out_as_a_bearer_token_and_only_with_its_call(facing):
    hostile = Hostile(says(OK))
    upstream = facing(hostile)
    async for _ in upstream.call("echo", {}, Secret("key-1")):
        pass
    await called(upstream, "echo")
    calls = [headers.get("authorization") for headers, body in hostile.seen if b"tools/call" in body]
    assert calls == ["Bearer key-1", None]


async def test_a_server_that_authenticates_is_shown_the_credential_from_the_opening_to_the_end(facing):
    hostile = Hostile(says(page({"name": "a"})), method="tools/list")
    upstream = facing(hostile)
    await upstream.tools(Secret("key-1"))
    await upstream.close()
    assert len(hostile.seen) == 5, "discover, initialize, initialized, the list, and the end"
    assert {headers.get("authorization") for headers, _ in hostile.seen} == {"Bearer key-1"}


@pytest.mark.parametrize(
    ("opening", "session"),
    [
        ({"protocolVersion": "2026-07-28"}, b"s"),
        ({"protocolVersion": 5}, b"s"),
        ({}, b"s"),
        ({"protocolVersion": "2025-11-25"}, b"a b"),
        ({"protocolVersion": "2025-11-25"}, b"s" * 257),
    ],
)
async def test_a_session_that_is_no_session_is_not_begun(facing, opening, session):
    hostile = Hostile(says(OK))
    hostile.opening, hostile.session = opening, session
    with pytest.raises(UpstreamUnavailable):
        await called(facing(hostile), "echo", text="hello")


@pytest.mark.parametrize("version", ["2025-06-18", "2025-03-26", "2024-11-05"])
async def test_an_older_revision_that_the_server_names_is_spoken(facing, version):
    hostile = Hostile(says(OK))
    hostile.opening, hostile.session = {"protocolVersion": version}, b""
    await called(facing(hostile), "echo", text="hello")
    headers, _ = hostile.seen[-1]
    assert headers["mcp-protocol-version"] == version and "mcp-session-id" not in headers


def page(*tools, cursor=None):
    listed = {"tools": list(tools), **({"nextCursor": cursor} if cursor else {})}
    return {"jsonrpc": "2.0", "id": "ID", "result": listed}


async def million(id):
    yield b'data: {"jsonrpc":"2.0","id":' + str(id).encode() + b',"result":{"tools":['
    for n in range(1_000):
        yield b",".join(b'{"name":"t%d"}' % (n * 1_000 + m) for m in range(1_000)) + b","
    yield b'{"name":"last"}]}}\n\n'


async def heavy(id):
    """Yield one page of 3 MiB that has a next one: a list of several is beyond what is kept."""
    tools = [{"name": f"t{next(NAMES)}", "description": "x" * (3 << 20)}]
    answer = {"jsonrpc": "2.0", "id": id, "result": {"tools": tools, "nextCursor": "more"}}
    yield b"data: " + json.dumps(answer).encode() + b"\n\n"


NAMES = itertools.count()
LISTS = {
    "a million tools": million,
    "two of one name": says(page({"name": "a"}, {"name": "a"})),
    "no name": says(page({})),
    "a name that is no text": says(page({"name": 1})),
    "no object": says(page("a")),
    "no list": says({"jsonrpc": "2.0", "id": "ID", "result": {"tools": {}}}),
    "pages for ever": says(page(cursor="more")),
    "1001 tools": says(page(*({"name": f"t{n}"} for n in range(1_001)))),
    "an error": says({"jsonrpc": "2.0", "id": "ID", "error": {"code": -32603, "message": "no"}}),
}


@pytest.mark.parametrize("name", LISTS)
async def test_a_hostile_list_of_tools_ends_in_unavailable_soon(facing, name):
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable):
        await facing(Hostile(LISTS[name], method="tools/list"), idle=3).tools()
    assert time.monotonic() - began < 5


async def test_a_list_of_tools_has_a_bounded_size_over_all_its_pages(facing):
    hostile = Hostile(heavy, method="tools/list")
    with pytest.raises(UpstreamUnavailable, match="has more than 4194304 bytes"):
        await facing(hostile, idle=10).tools()
    assert sum(b"tools/list" in body for _, body in hostile.seen) == 2, "no page was read after that"


async def test_of_a_definition_only_known_members_are_read(facing):
    tool = {"name": "a", "description": "b", "inputSchema": {"type": "object"}, "icons": [{"src": "http://x"}], "x": 1}
    tools = await facing(Hostile(says(page(tool)), method="tools/list")).tools()
    assert tools == [{"name": "a", "description": "b", "inputSchema": {"type": "object"}}]


async def test_others_go_on_while_one_upstream_is_hostile(facing, workspace, open_upstream):
    honest, hostile = open_upstream(), facing(Hostile(endless(b"data: x\n" * 8_192)), idle=10)
    await honest.tools()
    storm = [asyncio.create_task(called(hostile, "echo", text="x")) for _ in range(4)]
    took = []
    for n in range(20):
        began = time.monotonic()
        await called(honest, "echo", text=str(n))
        took.append(time.monotonic() - began)
    assert sorted(took)[-2] < 1
    assert all(isinstance(one, UpstreamUnavailable) for one in await asyncio.gather(*storm, return_exceptions=True))


@pytest.mark.parametrize("url", ["", "ftp://a/b", "http://", "//a/b", "http://u:p@a/b", "http://a:99999/", "file:///x"])
def test_an_address_that_is_none_makes_no_origin(url):
    with pytest.raises(InvalidRequest):
        Origin(url)


async def test_a_header_that_nobody_chose_is_a_bug_and_never_sent(address):
    origin = Origin(address)
    with pytest.raises(ValueError, match="cookie does not go out"):
        async with origin.request("POST", {"cookie": "a=b"}):
            pass
    await origin.close()


# --- how a server speaks ---------------------------------------------------------------------------

TOOL = {"name": "echo", "description": "e", "inputSchema": {"type": "object"}}
UNSUPPORTED = {"code": -32022, "message": "Unsupported protocol version"}


def asked(hostile, method):
    return [body for _, body in hostile.seen if f'"method":"{method}"'.encode() in body]


async def answered_to_discovery(facing, status, kind, *parts):
    """Return the server, which answered the question how it speaks so, after one call."""
    hostile = Hostile(says(*parts), method="server/discover", status=status, kind=kind)
    hostile.opening = {"protocolVersion": "2025-11-25"}
    upstream = facing(hostile)
    with pytest.raises(UpstreamUnavailable):  # it answers no call
        await called(upstream, "echo", text="x")
    return hostile


OLD = "2025-11-25"
JSON, NOT_FOUND = "application/json", {"code": -32601, "message": "no"}


def text_with(id="ID", **answer):
    return json.dumps({"jsonrpc": "2.0", "id": id, **answer}).encode()


OLDER = {"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": [OLD]}}
OLD_ANSWERS = {
    "404": (404, JSON, b"{}"),
    "400 and text": (400, "text/plain", b"no"),
    "400 and nothing": (400, "", b""),
    "405": (405, "text/html", b"<p>"),
    "500": (500, "text/html", b"<p>"),
    "400 and another JSON": (400, JSON, b'{"error":"bad version"}'),
    "method not found": (200, JSON, text_with(error=NOT_FOUND)),
    "not found with 404": (404, JSON, text_with(error=NOT_FOUND)),
    "an error of its own": (400, JSON, text_with(None, error={"code": -32000, "message": "no"})),
    "an empty result": (200, JSON, text_with(result={})),
    "older ones alone": (200, "text/event-stream", OLDER),
    "older ones alone as an error": (400, JSON, text_with(error={**UNSUPPORTED, "data": {"supported": [OLD]}})),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_ANSWERS)
async def test_a_server_that_does_not_say_that_it_is_stateless_is_greeted(facing, name):
    hostile = await answered_to_discovery(facing, *OLD_ANSWERS[name])
    assert len(asked(hostile, "initialize")) == 1
    headers, body = hostile.seen[0]
    assert headers["mcp-protocol-version"] == "2026-07-28" and headers["mcp-method"] == "server/discover"
    assert json.loads(body)["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {}


NEITHER = {
    "no version that we know": text_with(result={"supportedVersions": ["2099-01-01"]}),
    "a mismatch": text_with(error={"code": -32020, "message": "no"}),
    "an error with none": text_with(error={**UNSUPPORTED, "data": {"supported": ["x"]}}),
}


@pytest.mark.parametrize("name", NEITHER)
async def test_a_stateless_server_that_we_cannot_speak_to_is_not_greeted(facing, name):
    hostile = await answered_to_discovery(facing, 400, "application/json", NEITHER[name])
    assert asked(hostile, "initialize") == []


async def test_how_a_server_speaks_is_known_of_all_its_sessions_until_it_speaks_otherwise(facing):
    script = Scripted([TOOL])
    known = Known()
    one, other = facing(script, known=known), facing(script, known=known)
    await one.tools()
    await other.tools()
    assert len(script.asked("server/discover")) == 1
    script.version = "2099-01-01"
    with pytest.raises(UpstreamUnavailable, match="lost the session: call again"):
        await called(one, "echo")
    with pytest.raises(UpstreamUnavailable, match="no revision of MCP that we know"):
        await called(one, "echo")
    script.version = "2026-07-28"
    assert (await called(one, "echo"))[-1]["result"]["content"]


async def test_an_error_with_a_status_of_its_own_is_an_answer(facing):
    script = Scripted([TOOL], **{"tools/call": {"code": -32602, "message": "no such tool"}})
    (message,) = await called(facing(script), "echo")
    assert message["error"] == {"code": -32602, "message": "no such tool"}


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
async def test_an_error_that_is_no_message_loses_what_was_known(facing, kind):
    hostile = Hostile(says(b"" if kind == "application/json" else b"data: no\n\n"), status=400, kind=kind)
    hostile.stateless = True
    upstream = facing(hostile)
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable, match=r"^the upstream answered 400: call again$"):
            await called(upstream, "echo")
    assert len(asked(hostile, "server/discover")) == 2 and len(asked(hostile, "tools/call")) == 2


async def test_a_stateless_server_that_asks_is_not_answered(facing):
    hostile = Hostile(says(b'data: {"jsonrpc":"2.0","id":9,"method":"ping"}\n\n', OK))
    hostile.stateless = True
    with pytest.raises(UpstreamUnavailable, match="asks where it may not"):
        await called(facing(hostile), "echo")
    assert [b"tools/call" in body for _, body in hostile.seen] == [False, True]


async def test_a_list_that_is_not_complete_is_none(facing):
    for kind in ("input_required", "task", 1):
        script = Scripted([TOOL])
        script.told["tools/list"] = {"resultType": kind, "tools": [TOOL]}
        with pytest.raises(UpstreamUnavailable, match="is not complete"):
            await facing(script).tools()


def marked(name, header):
    return {**TOOL, "name": name, "inputSchema": {"properties": {"a": {"type": "string", "x-mcp-header": header}}}}


async def test_a_tool_that_asks_for_an_impossible_header_is_not_offered_and_the_others_are(facing):
    script = Scripted([marked("good", "Good"), marked("bad", "x\r\nauthorization: y"), TOOL])
    upstream = facing(script)
    assert [tool["name"] for tool in await upstream.tools()] == ["good", "echo"]
    await called(upstream, "good", a="\r\nauthorization: y")
    await called(upstream, "bad", a="b")
    (good, _), (bad, _) = script.asked("tools/call")
    assert good["mcp-param-good"] == "=?base64?DQphdXRob3JpemF0aW9uOiB5?=" and "authorization" not in good
    assert not any(name.startswith("mcp-param-") for name in bad)


async def test_a_call_is_mirrored_by_the_definition_that_its_own_session_looked_at(facing):
    script, known = Scripted([marked("good", "One")]), Known()
    one, other = facing(script, known=known), facing(script, known=known)
    await one.tools()
    script.told["tools/list"] = {**script.told["tools/list"], "tools": [marked("good", "Other")]}
    await other.tools()
    await called(one, "good", a="b")
    ((headers, _),) = script.asked("tools/call")
    assert headers["mcp-param-one"] == "b" and "mcp-param-other" not in headers


# --- courtesies ------------------------------------------------------------------------------------


class Slow(Hostile):
    """Answers no call, and no notification of that method until it is let; `methods` are those of HTTP."""

    def __init__(self, waits):
        super().__init__(silence)
        self.waits, self.let, self.methods = waits, threading.Event(), list[str]()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.methods.append(scope["method"])
        message = await receive()

        async def again():
            return message

        if f'"{self.waits}"'.encode() in message.get("body", b""):
            self.seen.append(({}, message["body"]))
            while not self.let.is_set():  # noqa: ASYNC110  (of another thread)
                await asyncio.sleep(0.01)
        await super().__call__(scope, again, send)


async def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def test_notices_of_calls_that_are_given_up_take_a_bounded_number_of_connections(facing, monkeypatch):
    monkeypatch.setattr(mcp_http, "CLOSE_SECONDS", 60.0)
    slow, known = Slow("notifications/cancelled"), Known()
    sessions = [facing(slow, known=known, idle=60.0) for _ in range(4)]
    calls = [asyncio.create_task(called(one, "echo", text="x")) for one in sessions for _ in range(10)]
    await until(lambda: len(asked(slow, "tools/call")) == 40)
    for one in calls:
        one.cancel()
    await asyncio.wait(calls)
    assert len(known.notices) == mcp_http.NOTICES
    closing = [asyncio.create_task(one.close()) for one in sessions]
    await until(lambda: slow.methods.count("DELETE") == 4)
    assert len(asked(slow, "notifications/cancelled")) <= mcp_http.NOTICES
    slow.let.set()
    await asyncio.wait(closing)
    assert not known.notices


@pytest.mark.parametrize("waits", ["initialize", "notifications/initialized"])
async def test_a_session_that_is_closed_while_it_is_opened_is_ended(facing, waits):
    slow = Slow(waits)
    upstream = facing(slow, idle=60.0)
    looking = asyncio.create_task(upstream.tools())
    await until(lambda: asked(slow, waits))
    await upstream.close()
    assert "DELETE" not in slow.methods
    slow.let.set()
    with pytest.raises(UpstreamUnavailable, match="was closed"):
        await looking
    await until(lambda: "DELETE" in slow.methods)
    before = len(slow.seen)
    with pytest.raises(UpstreamUnavailable, match="was closed"):
        await upstream.tools()
    assert len(slow.seen) == before and asked(slow, "tools/list") == []


async def test_a_session_whose_opening_is_given_up_once_it_has_a_name_is_ended(facing):
    slow = Slow("notifications/initialized")
    looking = asyncio.create_task(facing(slow, idle=60.0).tools())
    await until(lambda: asked(slow, "notifications/initialized"))
    looking.cancel()
    await asyncio.wait([looking])
    await until(lambda: "DELETE" in slow.methods)
    slow.let.set()


# --- whose list, and how old -----------------------------------------------------------------------


async def test_a_list_is_never_older_than_the_question_and_answers_all_who_wait(facing):
    script = Scripted([TOOL])
    known = Known()
    sessions = [facing(script, known=known) for _ in range(8)]
    await sessions[0].tools()
    before = len(script.asked("tools/list"))
    lists = await asyncio.gather(*(session.tools() for session in sessions for _ in range(4)))
    assert all(one is lists[0] for one in lists)
    assert len(script.asked("tools/list")) - before <= 2, "the first, and one for all who came meanwhile"


FIRST = b'{"jsonrpc":"2.0","id":ID,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}'
LAST = b'{"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]},"jsonrpc":"2.0","id":ID}'
CHANGED = FIRST.replace(b"object", b"array")


def reading(monkeypatch):
    """Return what is appended to as texts are parsed."""
    parsed: list[bytes] = []

    async def noting(text):
        parsed.append(text)
        return await wire.read(text)

    monkeypatch.setattr(exchange, "read", noting)
    return parsed


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("stateless", [False, True])
@pytest.mark.parametrize("text", [FIRST, LAST])
async def test_an_answer_that_says_the_same_is_not_read_again(facing, monkeypatch, text, stateless, kind):
    texts = [text]

    async def how(id):
        said = texts[0].replace(b"ID", str(id).encode())
        yield b"data: " + said + b"\n\n" if kind == "text/event-stream" else said

    hostile = Hostile(how, method="tools/list", kind=kind)
    hostile.stateless = stateless
    upstream = facing(hostile)
    first = await upstream.tools()
    parsed = reading(monkeypatch)
    assert await upstream.tools() is first and parsed == [] and len(asked(hostile, "tools/list")) == 2
    texts[0] = CHANGED
    assert (await upstream.tools())[0]["inputSchema"] == {"type": "array"} and len(parsed) == 1
    for other in (FIRST, LAST):  # the same list in other words is the same list
        texts[0] = other
        second = await upstream.tools()
        assert second == first and len(parsed) == (2 if other == FIRST else 3)
    assert await upstream.tools() is second and len(parsed) == 3
    await upstream.close()
    assert asked(hostile, "notifications/cancelled") == []


WRONG_IDS = [
    FIRST.replace(b"ID", b"1"), FIRST.replace(b"ID", b'"ID"'), FIRST.replace(b"ID", b"ID.0"), LAST.replace(b"ID", b"1"),
    FIRST.replace(b"}}", b'},"id":ID}'), FIRST.replace(b',"result"', b' ,"id":ID,"result"'),
    FIRST.replace(b'"id":ID,', b"").replace(b'"a",', b'"a","id":ID,'), FIRST.replace(b"ID", b"null"),
    FIRST.replace(b"ID", b" 1"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_IDS)
@pytest.mark.parametrize("before", [FIRST, LAST, FIRST.replace(b"ID", b" ID")])
async def test_the_same_list_under_another_id_is_none(facing, before, wrong):
    texts = [before]

    async def how(id):
        yield texts[0].replace(b"ID", str(id).encode())

    upstream = facing(Hostile(how, method="tools/list", kind="application/json"))
    await upstream.tools()
    texts[0] = wrong
    with pytest.raises(UpstreamUnavailable):
        await upstream.tools()
    texts[0] = before
    await upstream.tools()


@pytest.mark.parametrize("text", [FIRST, LAST, FIRST.replace(b"ID", b" ID")])
async def test_the_answer_to_the_last_question_does_not_answer_this_one(facing, text):
    said = []

    async def how(id):
        said.append(text.replace(b"ID", str(id).encode()))
        yield said[0]

    upstream = facing(Hostile(how, method="tools/list", kind="application/json"))
    await upstream.tools()
    with pytest.raises(UpstreamUnavailable, match="another request"):
        await upstream.tools()


async def test_of_several_pages_each_is_read_each_time(facing):
    """The second page may change under a first one that does not."""
    pages: dict[str, tuple[list[str], str | None]] = {"": (["a"], "next"), "next": (["b"], None)}

    class Paged(Hostile):
        async def __call__(self, scope, receive, send):
            async def noting():
                message = await receive()
                if message.get("body"):
                    self.cursor = json.loads(message["body"]).get("params", {}).get("cursor", "")
                return message

            await super().__call__(scope, noting, send)

    async def how(id):
        names, cursor = pages[hostile.cursor]
        told = page(*({"name": name} for name in names), cursor=cursor)
        yield json.dumps({**told, "id": id}, separators=(",", ":")).encode()

    hostile = Paged(how, method="tools/list", kind="application/json")
    upstream = facing(hostile)
    for second in ("b", "c"):
        pages["next"] = ([second], None)
        assert [tool["name"] for tool in await upstream.tools()] == ["a", second]
    pages[""] = (["c"], None)  # as the last of two was
    assert [tool["name"] for tool in await upstream.tools()] == ["c"]
    pages[""], pages["next"] = ([], "next"), (["d"], None)  # nothing on the first page
    assert [tool["name"] for tool in await upstream.tools()] == ["d"]
    pages[""] = (["d"], None)
    assert [tool["name"] for tool in await upstream.tools()] == ["d"]
    pages[""], pages["next"] = (["d"], "next"), (["e"], None)
    assert [tool["name"] for tool in await upstream.tools()] == ["d", "e"]


async def test_a_list_that_was_asked_for_before_the_question_does_not_answer_it():
    listing, gate = Listing(), asyncio.Event()
    asked_for: list[int] = []

    async def ask():
        asked_for.append(len(asked_for))
        if len(asked_for) == 1:
            await gate.wait()
        return Listed(str(len(asked_for)).encode(), [{"n": len(asked_for)}])

    first = asyncio.create_task(listing.now(ask))
    await asyncio.sleep(0)
    later = [asyncio.create_task(listing.now(ask)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert (await first).tools == [{"n": 1}] and [(await one).tools for one in later] == [[{"n": 2}]] * 3
    assert len(asked_for) == 2


async def test_a_list_that_fails_fails_for_who_asked_and_others_ask_for_themselves():
    listing, count = Listing(), itertools.count()

    async def ask():
        await asyncio.sleep(0)
        if next(count) == 0:
            raise UpstreamUnavailable("gone")
        return Listed(b"x", [{"n": 1}])

    failed, *found = await asyncio.gather(*(listing.now(ask) for _ in range(3)), return_exceptions=True)
    assert isinstance(failed, UpstreamUnavailable)
    assert [one.tools for one in found if isinstance(one, Listed)] == [[{"n": 1}]] * 2


async def test_what_is_offered_to_a_credential_is_offered_to_no_other(facing):
    def offered(headers):
        return {"resultType": "complete", "tools": [{**TOOL, "name": headers.get("authorization", "nobody")[-1]}]}

    known, script = Known(), Scripted([], **{"tools/list": offered})
    shown = [(facing(script, known=known), credential) for credential in (Secret("a"), Secret("b"), None)]
    for _ in range(2):  # at once, and again
        lists = await asyncio.gather(*(session.tools(credential) for session, credential in shown))
        assert [one[0]["name"] for one in lists] == ["a", "b", "y"]
