"""The client that others copy: over a Unix socket and over TCP, against a real HTTP server."""

import json
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import taskbound_sdk
from taskbound_sdk import Client, Refused, Unreachable, from_environment
from tests.sdk.canned import canned

OPENED = {"task": "t1", "handle": "tbh_x", "gateway": "http://127.0.0.1:1/mcp"}


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path is short
        yield Path(folder)


@pytest.fixture(params=["unix", "tcp"])
def server(request, folder):
    with canned(folder / "api.sock" if request.param == "unix" else None) as server:
        yield server


def test_a_task_is_opened_leased_for_and_ended(server):
    server.answers |= {
        "POST /v1/tasks": (201, OPENED),
        "POST /v1/tasks/t1/leases": (201, {"lease": "l1"}),
        "POST /v1/tasks/t1/heartbeat": (200, {"state": "open"}),
        "POST /v1/tasks/t1/end": (200, {"ended": ["t1"]}),
    }
    assert Client(server.address).open_task(profile="nightly", set={"day": "1"}) == OPENED
    assert (server.last.body, server.last.authorization) == ({"profile": "nightly", "set": {"day": "1"}}, None)
    agent = Client(server.address, "tbh_x")
    assert agent.lease("t1", "shopdb/reader") == {"lease": "l1"}
    assert (server.last.body, server.last.authorization) == ({"lease": "shopdb/reader"}, "Bearer tbh_x")
    assert agent.heartbeat("t1") == {"state": "open"}
    assert agent.end_task("t1", "done") == {"ended": ["t1"]}
    assert server.last.body == {"reason": "done"}


def events(*messages):
    """Answer with a stream of these messages."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("connection", "close")
        handler.end_headers()
        for message in messages:
            handler.wfile.write(b": a comment\nevent: message\ndata: " + json.dumps(message).encode() + b"\r\n\r\n")
        handler.close_connection = True

    return answer


def test_a_tool_is_called_and_answered_in_json_or_as_events(server):
    agent = Client(server.address, "tbh_x")
    result = {"content": [{"type": "text", "text": "hello"}], "isError": False}
    answer = {"jsonrpc": "2.0", "id": 1, "result": result}
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
    for told in ((200, answer), events(progress, answer)):
        server.answers["POST /mcp/workspace"] = told
        assert agent.call_tool("workspace/echo", {"text": "hello"}) == result
        assert server.last.authorization == "Bearer tbh_x"
        assert (server.last.body["method"], server.last.body["params"]) == (
            "tools/call", {"name": "echo", "arguments": {"text": "hello"}},
        )  # fmt: skip
    assert agent.call_tool("workspace/echo") == result and server.last.body["params"]["arguments"] == {}


@pytest.mark.parametrize(
    ("told", "error", "description"),
    [
        ((200, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no such"}}), "-32602", "no such"),
        (events({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}}), "-32602", "no"),
        ((400, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "bad"}}), "-32600", "bad"),
        ((401, {"error": "invalid_token", "error_description": "it ended"}), "invalid_token", "it ended"),
        ((200, [1]), "internal", "HTTP 200"),
    ],
)
def test_a_call_without_a_result_is_refused(server, told, error, description):
    server.answers["POST /mcp/workspace"] = told
    with pytest.raises(Refused) as refused:
        Client(server.address, "tbh_x").call_tool("workspace/echo")
    assert (refused.value.error, refused.value.description) == (error, description)


def test_a_stream_that_breaks_off_is_no_answer(server):
    server.answers["POST /mcp/workspace"] = events({"jsonrpc": "2.0", "method": "notifications/progress"})
    with pytest.raises(Unreachable):
        Client(server.address, "tbh_x").call_tool("workspace/echo")


def test_an_id_cannot_reach_another_path(server):
    with pytest.raises(Refused):
        Client(server.address).end_task("../identities/human/x")
    assert server.last.path == "/v1/tasks/..%2Fidentities%2Fhuman%2Fx/end"


def test_an_answer_without_a_body_is_none(server):
    server.answers["GET /nothing"] = (204, None)
    assert Client(server.address).request("GET", "/nothing") is None


def test_a_refusal_is_raised_with_all_it_says(server):
    said = {"error": "outside_grants", "error_description": "not granted", "hint": "ask", "request": "r7"}
    server.answers["POST /v1/tasks"] = (403, said)
    for ask in (Client(server.address).open_task, Client(server.address).hold_task):
        with pytest.raises(Refused) as refused:
            ask(profile="x")
        told = refused.value
        assert (told.error, told.description, told.hint, told.status, told.request) == (
            "outside_grants", "not granted", "ask", 403, "r7",
        )  # fmt: skip
        assert str(told) == "not granted (outside_grants)"


@pytest.mark.parametrize("body", [b"[]", b"", b"null"])
def test_a_refusal_in_another_shape_is_still_one(server, body):
    server.answers["GET /odd"] = (500, body)
    with pytest.raises(Refused, match=r"HTTP 500 \(internal\)"):
        Client(server.address).request("GET", "/odd")


@pytest.mark.parametrize("body", [b"<html>", b'{"a":', b"\xff"])
def test_an_answer_that_is_not_json_is_no_answer(server, body):
    server.answers["GET /odd"] = (200, body)
    with pytest.raises(Unreachable, match="not JSON"):
        Client(server.address).request("GET", "/odd")


@pytest.mark.parametrize("address", ["unix:/nowhere/api.sock", "http://127.0.0.1:1", "ftp://x", "http://", "x"])
def test_where_nobody_answers_is_unreachable(address):
    with pytest.raises(Unreachable) as error:
        Client(address).request("GET", "/healthz")
    assert "taskbound up" in error.value.hint


@pytest.mark.parametrize("handle", ["tbh_\r\nHost: x", "tbh_\u20ac"])
def test_a_handle_that_is_no_header_is_not_sent(server, handle):
    with pytest.raises(Unreachable):
        Client(server.address, handle).request("GET", "/healthz")
    assert server.asked == []


def test_who_does_not_answer_in_time_or_in_http_is_unreachable(folder):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "mute"))
        listener.listen()
        with pytest.raises(Unreachable):
            Client(f"unix:{folder}/mute", timeout=0.1).request("GET", "/")

        def babble():
            connection, _ = listener.accept()
            connection.recv(100)  # of the first client
            connection.close()
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-x\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(Unreachable):
            Client(f"unix:{folder}/mute", timeout=5).request("GET", "/")
        thread.join(5)


class Holding:
    """The server's side of a task that is held: says lines, and learns that the client has gone."""

    def __init__(self) -> None:
        self.more, self.gone, self.over = threading.Event(), threading.Event(), threading.Event()
        self.said = b'{"task":"t1","state":"suspended"}\n'

    def __call__(self, handler) -> None:
        self.chunked = handler.protocol_version == "HTTP/1.1"
        handler.send_response(201)
        if self.chunked:
            handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        self.say(handler, json.dumps(OPENED).encode() + b"\n\n")
        while not self.over.wait(0.01):
            if self.more.is_set():
                self.more.clear()
                self.say(handler, self.said)
            if select.select([handler.connection], [], [], 0)[0]:
                assert handler.connection.recv(1) == b""
                self.gone.set()
                handler.close_connection = True
                return
        self.say(handler, b"")

    def say(self, handler, data: bytes) -> None:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)


def test_a_held_task_tells_its_news_and_ends_when_it_is_let_go(server):
    server.answers["POST /v1/tasks"] = holding = Holding()
    with Client(server.address, timeout=0.2).hold_task(profile="nightly") as held:
        assert server.last.body == {"profile": "nightly", "hold": True}
        assert held.task == OPENED
        # Longer than the timeout: silence is what is hoped for.
        assert select.select([held], [], [], 0.5)[0] == [] and not holding.gone.is_set()
        holding.more.set()
        assert select.select([held], [], [], 5)[0] == [held]
        assert next(held)["state"] == "suspended"
        threading.Timer(0.5, holding.more.set).start()
        assert next(held)["state"] == "suspended"
    assert holding.gone.wait(5)


def test_news_that_came_together_is_waiting_when_select_no_longer_tells_of_it(server):
    server.answers["POST /v1/tasks"] = holding = Holding()
    line = json.dumps(OPENED).encode() + b"\n"
    with Client(server.address).hold_task() as held:
        assert not held.waiting
        holding.said = line * 2
        holding.more.set()
        assert select.select([held], [], [], 5)[0] == [held]
        assert next(held) == OPENED and held.waiting
        assert select.select([held], [], [], 0)[0] == []
        assert next(held) == OPENED and not held.waiting
        holding.over.set()
        assert list(held) == [] and not held.waiting


def test_a_held_task_ends_the_iteration_when_the_server_ends_it(server):
    server.answers["GET /v1/tasks/t1/hold"] = holding = Holding()
    held = Client(server.address).reopen("t1")
    holding.over.set()
    assert list(held) == []
    held.close()


def test_a_server_that_says_nothing_of_a_held_task_is_unreachable(server):
    server.answers["POST /v1/tasks"] = (201, b"")
    with pytest.raises(Unreachable, match="before it said"):
        Client(server.address).hold_task()


def as_json(value, status=201):
    """An answer that says that it is JSON, as the server's do."""

    def answer(handler) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.end_headers()
        handler.wfile.write(json.dumps(value).encode())

    return answer


BEATS = OPENED | {"state": "open", "handle": "tbh_child", "deadline": "d", "heartbeat": {"every_s": 0.01, "grace_s": 6}}
BEAT, END = "POST /v1/tasks/t1/heartbeat", "POST /v1/tasks/t1/end"


@pytest.fixture
def beaten():
    """A server over TCP whose task is held by a heartbeat."""
    with canned() as server:
        server.answers["POST /v1/tasks"] = as_json(BEATS)
        server.answers[BEAT] = as_json({"task": "t1", "state": "open", "deadline": "d", "reason": ""}, 200)
        server.answers[END] = as_json({"ended": ["t1"]}, 200)
        yield server


def asked(server, what):
    return [one for one in list(server.asked) if f"{one.method} {one.path}" == what]


def within(holds, seconds=5.0):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_over_tcp_a_thread_holds_the_task_until_it_is_let_go(beaten):
    with Client(beaten.address, "tbh_parent").hold_task(profile="nightly") as held:
        assert beaten.asked[0].authorization == "Bearer tbh_parent" and beaten.asked[0].body["hold"] is True
        assert held.task == BEATS
        within(lambda: len(asked(beaten, BEAT)) > 3)
        assert {one.authorization for one in asked(beaten, BEAT)} == {"Bearer tbh_child"}
        assert not held.waiting and select.select([held], [], [], 0)[0] == []
        beaten.answers[BEAT] = as_json({"task": "t1", "state": "suspended", "deadline": "d", "reason": "r"}, 200)
        assert select.select([held], [], [], 5)[0] == [held]
        assert next(held) == {"task": "t1", "state": "suspended", "deadline": "d", "reason": "r"}
    assert asked(beaten, END)[0].body == {"reason": "let go"} and not held.waiting
    before = len(asked(beaten, BEAT))
    time.sleep(0.1)
    assert len(asked(beaten, BEAT)) <= before + 1, "it goes on beating"


@pytest.mark.parametrize(
    "over",
    [
        as_json({"task": "t1", "state": "ended", "deadline": "d", "reason": "enough"}, 200),
        as_json({"error": "invalid_token", "error_description": "task t1 ended"}, 401),
    ],
)
def test_over_tcp_the_end_of_the_task_ends_the_iteration(beaten, over):
    with Client(beaten.address, "tbh_parent").hold_task() as held:
        beaten.answers[BEAT] = over
        assert [line["state"] for line in held] == ["ended"]
        before = len(asked(beaten, BEAT))
        time.sleep(0.05)
        assert len(asked(beaten, BEAT)) == before


def test_over_tcp_a_server_that_is_away_or_in_trouble_is_asked_again(beaten):
    with Client(beaten.address, "tbh_parent").hold_task() as held:
        good = beaten.answers[BEAT]
        away = as_json({"error": "unavailable"}, 503), as_json({"error": "conflict"}, 409), as_json("", 200)
        for trouble in (*away, lambda handler: None):
            beaten.answers[BEAT] = trouble
            before = len(asked(beaten, BEAT))
            within(lambda before=before: len(asked(beaten, BEAT)) > before + 2)
        beaten.answers[BEAT] = good
        beaten.answers[END] = as_json({"error": "invalid_token"}, 401)
        assert not held.waiting


def test_over_tcp_a_heartbeat_without_an_answer_is_not_the_last_in_time(beaten):
    """A third of the grace is its time: two may be lost, and the third is heard."""
    beaten.answers["POST /v1/tasks"] = as_json(BEATS | {"heartbeat": {"every_s": 0.2, "grace_s": 0.6}})
    good, over = beaten.answers[BEAT], threading.Event()
    beaten.answers[BEAT] = lambda handler: over.wait(5)
    with Client(beaten.address, "tbh_parent").hold_task():
        began = time.monotonic()
        within(lambda: len(asked(beaten, BEAT)) > 2, 3)
        assert time.monotonic() - began < 0.95, "at 0.2, 0.4 and 0.6 s"
        beaten.answers[BEAT] = good
        over.set()


def test_a_server_that_holds_no_task_over_tcp_is_unreachable(beaten):
    beaten.answers["POST /v1/tasks"] = as_json(OPENED)
    with pytest.raises(Unreachable, match="how often"):
        Client(beaten.address, "tbh_parent").hold_task()


def test_inside_a_task_the_client_has_its_handle(server, folder, monkeypatch):
    config = folder / "mcp.json"
    servers = {"w": {"type": "http", "url": "x", "headers": {"Authorization": "Bearer tbh_mine"}}}
    config.write_text(json.dumps({"mcpServers": servers}))
    monkeypatch.setenv("TASKBOUND_URL", server.address)
    monkeypatch.setenv("TASKBOUND_MCP_CONFIG", str(config))
    server.answers["POST /v1/tasks/t1/end"] = (200, {"ended": []})
    from_environment().end_task("t1")
    assert server.last.authorization == "Bearer tbh_mine"
    for broken in ("{}", "[]", '{"mcpServers":{}}', "no JSON"):
        config.write_text(broken)
        with pytest.raises(Unreachable, match="names no file with a task's handle"):
            from_environment()


@pytest.mark.parametrize(
    ("variables", "euid", "expected"),
    [
        ({"TASKBOUND_HOME": "/a", "XDG_STATE_HOME": "/b"}, 1000, "/a"),
        ({"XDG_STATE_HOME": "/b"}, 1000, "/b/taskbound"),
        ({"HOME": "/home/x"}, 1000, "/home/x/.local/state/taskbound"),
        ({"HOME": "/root"}, 0, "/var/lib/taskbound"),
    ],
)
def test_every_part_finds_the_same_state_directory(variables, euid, expected, monkeypatch):
    from taskbound import app
    from taskbound.cli import answer

    for name in ("TASKBOUND_HOME", "XDG_STATE_HOME", "TASKBOUND_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.geteuid", lambda: euid)
    assert str(app.state_directory()) == str(answer.state_directory()) == expected
    with pytest.raises(Unreachable, match=f"{expected}/run/api.sock"):
        from_environment().request("GET", "/healthz")


def test_the_client_stands_alone():
    """It can be copied: one file, no import but the standard library."""
    code = "import sys, taskbound_sdk; print(*{m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names)"
    path = str(Path(taskbound_sdk.__file__).parents[1])
    done = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert set(done.stdout.split()) == {"__main__", "taskbound_sdk"}, done.stderr
