"""What a request may look like: hosts, origins, paths, heads and bodies, over raw sockets (T4.2, T4.7)."""

import asyncio
import json
from contextlib import suppress

import pytest

from taskbound.core.errors import Unavailable
from taskbound.edge import request
from taskbound.edge.claims import Rule
from taskbound.edge.connection import HEAD_LIMIT
from taskbound.edge.http import Route, json_response
from tests.edge.doors import REFUND, read_answer, served

REACHED: list[tuple[str, object, dict[str, str]]] = []  # what got to a handler: path, body, headers


async def echo(knock):
    REACHED.append((knock.params["what"], knock.body, dict(knock.headers)))
    return json_response({"what": knock.params["what"], "body": knock.body, "peer": knock.peer is not None})


async def broken(knock):
    raise ValueError("postgresql://shop:hunter2@db")


ROUTES = (
    Route("POST", "/v1/echo/{what}", echo, Rule.PUBLIC),
    Route("GET", "/v1/echo/{what}", echo, Rule.PUBLIC),
    Route("GET", "/v1/echo/literal", broken, Rule.PUBLIC),
    Route("GET", "/v1/broken", broken, Rule.PUBLIC),
)


@pytest.fixture
async def doors():
    REACHED.clear()
    async with served(routes=ROUTES) as doors:
        yield doors


# --- Host and Origin (T4.7) ------------------------------------------------------------------------

STRANGERS = [
    "evil.example",
    "evil.example:8440",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost.",
    "127.0.0.2",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0.0.0.0",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::1",
    "::1",
    "10.0.0.1",
    "169.254.169.254",
    "localhost:8440:1",
    "localhost:x",
    "localhost:999999",
    "127.0.0.1:",
]
MALFORMED = [
    "localhost/",
    "localhost/evil.example",
    "localhost?x",
    "localhost#x",
    "user@localhost",
    "evil.example@localhost",
    "localhost@evil.example",
    "localhost\\@evil.example",
    "localhost, evil.example",
    "localhost evil.example",
    "",
    "lócalhost",
]
HERE = ["localhost", "LOCALHOST", "localhost:8440", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8441"]


@pytest.mark.parametrize("host", STRANGERS)
async def test_a_page_that_rebound_its_name_to_this_machine_is_refused(doors, host):
    answer = await doors.ask("GET", "/v1/echo/x", to="tcp", host=host)
    assert answer.status == 403 and not REACHED


@pytest.mark.parametrize("host", MALFORMED)
@pytest.mark.parametrize("to", ["tcp", "unix"])
async def test_a_host_that_is_none_is_refused_everywhere(doors, host, to):
    answer = await doors.ask("GET", "/v1/echo/x", to=to, host=host.encode().decode("latin-1") if host else "")
    assert answer.status == 400 and not REACHED


@pytest.mark.parametrize("host", HERE)
async def test_this_machine_has_these_names(doors, host):
    assert (await doors.ask("GET", "/v1/echo/x", to="tcp", host=host)).status == 200


async def test_a_unix_socket_has_no_name(doors):
    answer = await doors.ask("GET", "/v1/echo/x", host="taskbound")
    assert (answer.status, answer.json["peer"]) == (200, True)


@pytest.mark.parametrize(
    "lines", ["", "host: localhost\r\nhost: localhost\r\n", "host: localhost\r\nHost: evil.example\r\n"]
)
async def test_one_host_is_named_and_no_second(doors, lines):
    for version in ("1.0", "1.1"):
        answer = await doors.send(f"GET /v1/echo/x HTTP/{version}\r\n{lines}\r\n".encode(), "tcp")
        assert answer.status == 400 and not REACHED


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "http://evil.example#localhost",
        "file://",
        "chrome-extension://abcdef",
        "http://localhost, http://evil.example",
        "localhost",
        "http://127.0.0.2",
    ],
)
@pytest.mark.parametrize("to", ["tcp", "unix"])
async def test_a_page_of_another_origin_is_refused(doors, origin, to):
    answer = await doors.ask("POST", "/v1/echo/x", {}, to=to, origin=origin)
    assert answer.status == 403 and not REACHED


async def test_a_page_of_this_machine_is_let_in(doors):
    for origin in ("http://localhost:6274", "http://127.0.0.1", "https://[::1]:1"):
        assert (await doors.ask("POST", "/v1/echo/x", {}, to="tcp", origin=origin)).status == 200


async def test_no_host_and_no_forwarded_header_changes_who_asks():
    spoofed = {
        "x_forwarded_for": "127.0.0.1",
        "x_forwarded_host": "localhost",
        "forwarded": "for=127.0.0.1;host=localhost",
        "x_real_ip": "127.0.0.1",
        "x_remote_user": "human/alice",
        "x_original_url": "/healthz",
        "x_rewrite_url": "/healthz",
        "taskbound_peer": "0",
        "x_http_method_override": "GET",
    }
    async with served() as doors:
        opened = await doors.task()
        for host in HERE:
            for headers in ({}, spoofed):
                answer = await doors.ask("POST", "/v1/policy/load", to="tcp", host=host, **headers)
                assert answer.status == 401  # over TCP nobody is known without a handle
                answer = await doors.ask(
                    "POST", "/v1/policy/load", to="tcp", host=host, handle=opened["handle"], **headers
                )
                assert answer.status == 403
                answer = await doors.ask("POST", "/v1/policy/load", host=host, **headers)
                assert answer.status == 200


async def test_a_wrong_authorization_never_falls_back_to_the_peer():
    async with served() as doors:
        assert (await doors.ask("GET", "/v1/tasks")).status == 200  # the control: the peer is the operator
        for shown in ("", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "tbh_" + "A" * 43, "Bearer tbh_" + "A" * 42):
            answer = await doors.ask("GET", "/v1/tasks", authorization=shown)
            assert answer.status == 401, shown
        twice = (
            b"GET /v1/tasks HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer x\r\nauthorization: Bearer x\r\n\r\n"
        )
        assert (await doors.send(twice)).status == 400


# --- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/echo/a%20b", 200),
        ("/v1/echo/a%2Fb", 200),  # decoded after the split: one segment
        ("/v1/echo/..", 400),
        ("/v1/echo/%2e%2e", 400),
        ("/v1/echo/.", 400),
        ("/v1/echo/x/../x", 400),
        ("/v1//echo/x", 400),
        ("//v1/echo/x", 400),
        ("/v1/echo/", 400),
        ("/v1/echo/a%00b", 400),
        ("/v1/echo/%ff", 400),
        ("/v1/echo/%c0%ae", 400),
        ("/v1/echo/%", 400),
        ("/v1/echo/%zz", 400),
        ("/v1/echo/\xff", 400),
        ("/v1/echo", 404),
        ("/v1/echo/x/y", 404),
        ("/V1/echo/x", 404),
        ("/", 400),
        ("*", 400),
        ("http://localhost/v1/echo/x", 400),
        ("http://evil.example/v1/echo/x", 400),
        ("/v1/echo/x#y", 400),
        ("/v1/echo/x?a=1&a=2", 400),
        ("/v1/echo/x?a", 400),
        ("/v1/echo/x?a=%ff", 400),
        ("/v1/echo/x?a=1", 200),
    ],
)
async def test_a_path_is_read_one_way(doors, path, status):
    answer = await doors.send(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode("latin-1"), "tcp")
    assert answer.status == status
    assert [what for what, _, _ in REACHED] == {"/v1/echo/a%20b": ["a b"], "/v1/echo/a%2Fb": ["a/b"]}.get(
        path, ["x"] if status == 200 else []
    )


async def test_a_method_that_an_address_does_not_take_is_told_which_it_takes(doors):
    answer = await doors.ask("PUT", "/v1/echo/x", to="tcp")
    told = answer.json
    assert (answer.status, answer.headers["allow"], told["error"]) == (405, "GET, POST", "method_not_allowed")
    for method in ("OPTIONS", "DELETE", "TRACE", "PATCH"):
        assert (await doors.ask(method, "/v1/echo/x", to="tcp")).status == 405
    connect = b"CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n"
    assert (await doors.send(connect, "tcp")).status == 400


# --- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "description"),
    [
        (b"{", "the body is malformed: not JSON at line 1 column 2"),
        (b'{"a":1,"a":2}', "the body is malformed: member 'a' stands twice in one object"),
        (b'{"a":NaN}', "the body is malformed: NaN is not a JSON number"),
        (b'{"a":1e999}', "the body is malformed: a number is too large for a double"),
        (b"[" * 100 + b"]" * 100, "the body is malformed: the text is nested deeper than 64"),
        (b"\xff", "the body is malformed: the text is not UTF-8"),
        (b'"\\ud800"', "the body is malformed: the text is not UTF-8"),
        (b"{} {}", "the body is malformed: not JSON at line 1 column 4"),
    ],
)
async def test_a_body_that_could_be_read_two_ways_is_refused(doors, body, description):
    answer = await doors.ask("POST", "/v1/echo/x", body, to="tcp")
    told = answer.json
    assert told.pop("request")[0] == "r"
    hint = "send one JSON object, in UTF-8"
    assert (answer.status, told) == (400, {"error": "invalid_request", "error_description": description, "hint": hint})
    assert not REACHED


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data", "text/json"]
)
async def test_a_body_that_a_page_could_send_unasked_is_refused(doors, kind):
    answer = await doors.ask("POST", "/v1/echo/x", {}, to="tcp", content_type=kind)
    assert (answer.status, answer.json["error"]) == (415, "unsupported_media_type")


async def test_a_body_has_a_size(doors):
    most = json.dumps("x" * (request.BODY_LIMIT - 2)).encode()
    assert (await doors.ask("POST", "/v1/echo/x", most, to="tcp")).status == 200
    assert (await doors.ask("POST", "/v1/echo/x", most + b" ", to="tcp")).status == 413
    head = b"POST /v1/echo/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    declared = await doors.send(head + b"content-length: 99999999999\r\n\r\n{", "tcp")
    assert (declared.status, declared.headers["connection"]) == (413, "close")
    chunk = b"%x\r\n" % (1 << 16) + b" " * (1 << 16) + b"\r\n"
    chunked = await doors.send(head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 17, "tcp")
    assert chunked.status == 413


async def test_a_body_has_a_time(doors, monkeypatch):
    monkeypatch.setattr(request, "BODY_SECONDS", 0.2)
    head = (
        b"POST /v1/echo/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    )
    answer = await doors.send(head, "tcp")
    assert (answer.status, answer.json["error"], answer.headers["connection"]) == (408, "request_timeout", "close")


async def test_get_takes_no_body(doors):
    assert (await doors.ask("GET", "/v1/echo/x", {}, to="tcp")).status == 400


async def test_a_bug_of_ours_tells_nothing(doors, capsys):
    answer = await doors.ask("GET", "/v1/broken", to="tcp")
    told = answer.json
    request = told.pop("request")
    assert (answer.status, told) == (
        500,
        {"error": "internal", "error_description": "internal error", "hint": "see the server's log"},
    )
    logged = capsys.readouterr().out
    assert request in logged and "hunter2" in logged and b"hunter2" not in answer.body


async def test_a_store_that_is_away_is_said_so_with_when_to_come_back():
    class Away:
        def transaction(self, opener):
            raise Unavailable("the store is closed", code="store_unavailable")

    async with served() as doors:
        object.__setattr__(doors.world, "store", Away())
        answer = await doors.ask("GET", "/readyz")
        assert (answer.status, answer.headers["retry-after"], answer.json["error"]) == (503, "1", "store_unavailable")
        assert (await doors.ask("POST", "/v1/tasks", REFUND)).status == 503


# --- heads that two readers would read differently (T4.2) ------------------------------------------

INNER = b"GET /v1/echo/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
CHUNKED = [
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: Chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b" Transfer-Encoding: chunked",
    b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding\x00: chunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: chunked;q=1",
]
LENGTHS = [
    b"Content-Length: 0",
    b"Content-Length: 2",
    b"Content-Length: 2\r\nContent-Length: 2",
    b"Content-Length: 2\r\nContent-Length: 60",
    b"Content-Length: 2, 2",
    b"Content-Length: +2",
    b"Content-Length: -2",
    b"Content-Length: 0x2",
    b"Content-Length: 2 2",
    b"Content-Length:\r\n 2",
    b"Content-Length: 2\x0b",
    b"Content-Length : 2",
    b"Content_Length: 60",
    b"Content-Length: 99999999999999999999999999",
    b"Content-Length: ",
]
BODIES = [b"{}" + INNER, b"0\r\n\r\n" + INNER, b"2\r\n{}\r\n0\r\n\r\n" + INNER, b"2;x\n{}\r\n0\r\n\r\n" + INNER]


def smuggled():
    start = b"POST /v1/echo/outer HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    for length in LENGTHS:
        yield start + length + b"\r\n\r\n" + BODIES[0]
        for coding in CHUNKED:
            for body in BODIES[:2]:
                yield start + length + b"\r\n" + coding + b"\r\n\r\n" + body
    for coding in CHUNKED:
        for body in BODIES:
            yield start + coding + b"\r\n\r\n" + body
    for line in (
        b"x: y\n",
        b"x: y\r",
        b"\r\n folded",
        b": y\r\n",
        b"x y: z\r\n",
        b"x\xe9: y\r\n",
        b"x: \x00\r\n",
        b"x\r\n",
    ):
        yield start + line + b"content-length: 2\r\n\r\n{}"


def plain(data: bytes) -> bool:
    """Whether RFC 9112 reads it one way, and as two requests: then both may be answered, the inner as itself."""
    head = data.partition(b"\r\n\r\n")[0]
    lines = [line.lower() for line in head.split(b"\r\n")[3:]]
    lines = [line for line in lines if b"_" not in line.partition(b":")[0]]  # names that mean nothing to anybody here
    lengths = ([b"content-length: 2"], [b"content-length: 0"])
    return lines in lengths or [line.replace(b"\t", b" ") for line in lines] in (
        [b"transfer-encoding: chunked"],
        [],
    )


async def test_no_request_hides_in_another(doors):
    cases = list(dict.fromkeys(smuggled()))
    assert len(cases) > 200
    served_twice = 0
    for number, data in enumerate(cases):
        REACHED.clear()
        answers = await doors.exchange(data, "tcp", within=0.5)
        inner = [what for what, _, _ in REACHED].count("smuggled")
        if inner:
            served_twice += 1
            assert plain(data), (number, data)  # it was a second request, sent as one
        assert all(answer.status in (200, 400, 404, 408, 413, 415, 501) for answer in answers), (data, answers)
        after = await doors.ask("POST", f"/v1/echo/marker{number}", {"n": number}, to="tcp")
        assert after.json["body"] == {"n": number}
    assert served_twice  # the control: what is plainly two requests is two


async def test_requests_on_one_connection_do_not_mix(doors):
    reader, writer = await doors.connect("tcp")
    for number in range(20):
        body = json.dumps({"n": number}).encode()
        head = f"POST /v1/echo/{number} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    for number in range(20):
        answer = await read_answer(reader)
        assert (answer.json["what"], answer.json["body"]) == (str(number), {"n": number})
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"x: " + b"a" * (64 << 10) + b"\r\n",
        b"".join(b"x%d: y\r\n" % n for n in range(10_000)),
        b"".join(b"x: y\r\n" for _ in range(101)) + b"x: y\r\n",
        b"a" * HEAD_LIMIT + b": x\r\n",
    ],
    ids=["one large", "10,000", "101", "a large name"],
)
async def test_a_head_has_a_size(doors, head):
    request = b"GET /v1/echo/x HTTP/1.1\r\nhost: localhost\r\n" + head
    for ending in (b"\r\n", b""):  # also one that never ends
        answer = await doors.send(request + ending, "tcp")
        assert answer.status == 400 or (not ending and answer.status in (0, 400))
    assert not REACHED
    line = b"GET /v1/echo/" + b"a" * (64 << 10) + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"
    assert (await doors.send(line, "tcp")).status == 400


async def test_a_header_that_never_ends_is_not_kept(doors):
    answer = await doors.send(b"GET /v1/echo/x HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * (2 * HEAD_LIMIT), "tcp")
    assert answer.status == 400


async def test_a_head_has_a_time(doors, monkeypatch):
    monkeypatch.setattr("taskbound.edge.connection.HEAD_SECONDS", 0.2)
    for sent in (b"", b"GET /v1/echo/x HTTP/1.1\r\nhost:"):
        reader, writer = await doors.connect("tcp")
        writer.write(sent)
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()


async def test_connections_over_tcp_have_a_limit_and_the_unix_socket_is_served_beyond_it():
    async with served(routes=ROUTES, limit=8) as doors:
        idle = [await doors.connect("tcp") for _ in range(8)]
        for _ in range(12):
            reader, writer = await doors.connect("tcp")
            async with asyncio.timeout(1):
                with suppress(ConnectionResetError):
                    assert await reader.read() == b"", "it is closed at once"
            writer.close()
        plenty = [await doors.connect() for _ in range(12)]
        assert (await doors.ask("GET", "/v1/echo/x")).status == 200
        for _, writer in (*idle[:1], *plenty):
            writer.close()
        await asyncio.sleep(0.1)
        assert (await doors.ask("GET", "/v1/echo/x", to="tcp")).status == 200  # one went, another may come
        for _, writer in idle[1:]:
            writer.close()


async def test_what_stands_in_authorization_and_cookie_reaches_no_handler(doors):
    await doors.ask("GET", "/v1/echo/x", to="tcp", authorization="Bearer x", cookie="a=b", x="y")
    (_, _, headers) = REACHED[0]
    assert headers == {"host": "localhost", "connection": "close", "x": "y", "content-length": "0"}


async def test_a_mounted_application_gets_what_is_below_it_and_only_from_this_machine(doors):
    async def below(scope, receive, send, request, segments):
        assert request[0] == "r" and segments[0] == "mcp"
        await json_response({"raw": scope["raw_path"].decode()})(scope, receive, send)

    async with served(routes=ROUTES, mount={"/mcp": below}) as doors:
        assert (await doors.ask("POST", "/mcp/crm", {}, to="tcp")).json == {"raw": "/mcp/crm"}
        assert (await doors.ask("GET", "/mcp", to="tcp")).json == {"raw": "/mcp"}
        assert (await doors.ask("GET", "/mcpx", to="tcp")).status == 404
        assert (await doors.ask("POST", "/mcp", {}, to="tcp", host="evil.example")).status == 403
        assert (await doors.ask("POST", "/mcp", {}, to="tcp", origin="http://evil.example")).status == 403
        assert (await doors.ask("POST", "/mcp/../v1", {}, to="tcp")).status == 400
