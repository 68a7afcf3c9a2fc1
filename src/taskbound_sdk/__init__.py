"""A client for Taskbound: open a task, work in it, end it. One file, the standard library, no dependency.

    with Client("unix:/home/alice/.local/state/taskbound/run/api.sock").hold_task(profile="nightly") as held:
        agent = Client("http://127.0.0.1:8441", held.task["handle"])
        lease = agent.lease(held.task["task"], "shopdb/reader")
        result = agent.call_tool("workspace/search", {"query": "refunds"})

Inside of `taskbound run` it is `from_environment()` that gives such an `agent`. The wire is plain
HTTP/1.1 with JSON. What the server refuses is `Refused`, with its own code and hint; what it does not
answer is `Unreachable`.
"""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

ANSWER_LIMIT = 64 << 20  # bytes
GONE = (401, 403, 404)  # of an answer to a heartbeat: there is nothing more to hold; whatever else it is may pass
MCP = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


class Refused(Exception):
    """The server said no: `error` is the standard's code, `hint` what to do."""

    def __init__(self, error: str, description: str, hint: str = "", status: int = 0, request: str = "") -> None:
        super().__init__(f"{description} ({error})")
        self.error, self.description, self.hint, self.status, self.request = error, description, hint, status, request


class Unreachable(Exception):
    """Nobody answered, or not in HTTP and JSON."""

    hint = "is it running? taskbound up"


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError as error:
            error.filename = self._path
            raise


class Client:
    """Requests to one server: `unix:/path/api.sock` as oneself, or `http://127.0.0.1:8441` with a task's handle."""

    def __init__(self, address: str, handle: str | None = None, timeout: float = 10.0) -> None:
        self._address, self._handle, self._timeout = address, handle, timeout

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON value of the answer, None without one. Raises Refused, Unreachable."""
        connection, response, _ = self._asked(method, path, body)
        try:
            return _value(response)
        finally:
            connection.close()

    def open_task(self, **body: Any) -> dict[str, Any]:
        """Open a task (profile, set, intent, actor, life_s, budget, …: `POST /v1/tasks`); return what was granted."""
        opened: dict[str, Any] = self.request("POST", "/v1/tasks", body)
        return opened

    def hold_task(self, **body: Any) -> "Held":
        """Open a task that ends when it is let go, or this process dies.

        On the Unix socket the connection holds it; over TCP a thread does, that sends heartbeats.
        """
        return self._held("POST", "/v1/tasks", {**body, "hold": True})

    def reopen(self, task: str) -> "Held":
        """Hold a task again, after the server was away."""
        return self._held("GET", f"/v1/tasks/{quote(task, safe='')}/hold")

    def end_task(self, task: str, reason: str = "") -> dict[str, Any]:
        """End a task and everything below it. Ending what has ended is success."""
        ended: dict[str, Any] = self.request("POST", f"/v1/tasks/{quote(task, safe='')}/end", {"reason": reason})
        return ended

    def lease(self, task: str, resource: str) -> dict[str, Any]:
        """Return a credential for a target, "shopdb/reader", that lives as long as the task. It is shown once."""
        path = f"/v1/tasks/{quote(task, safe='')}/leases"
        issued: dict[str, Any] = self.request("POST", path, {"lease": resource})
        return issued

    def heartbeat(self, task: str) -> dict[str, Any]:
        """Say that one is still at work; return the task's state and deadline."""
        state: dict[str, Any] = self.request("POST", f"/v1/tasks/{quote(task, safe='')}/heartbeat", {})
        return state

    def call_tool(
        self, tool: str, arguments: Mapping[str, Any] | None = None, timeout: float = 120.0
    ) -> dict[str, Any]:
        """Call a tool, "workspace/search", in the task whose handle is shown; return its result as MCP has it.

        One request over Streamable HTTP (MCP 2025-11-25), without a session. A denial is a result too: `isError`, and
        why in `_meta["io.taskbound/decision"]`. Raises Refused where there is no result, Unreachable.
        """
        upstream, _, name = tool.partition("/")
        params = {"name": name, "arguments": dict(arguments or {})}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        connection, response, _ = self._asked("POST", f"/mcp/{quote(upstream, safe='')}", message, MCP, timeout)
        try:
            is_stream = response.headers.get_content_type() == "text/event-stream"
            answer = _last_event(response) if is_stream else _value(response)
            result: dict[str, Any] = answer["result"]
            return result
        except (LookupError, TypeError):
            raise _refused(answer, response.status) from None
        finally:
            connection.close()

    def _held(self, method: str, path: str, body: object = None) -> "Held":
        connection, response, wire = self._asked(method, path, body)
        if response.status >= 400:
            try:
                _value(response)
            finally:
                connection.close()
        if "ndjson" not in response.headers.get("Content-Type", "ndjson"):
            try:
                opened: dict[str, Any] = _value(response)
            finally:
                connection.close()
            return Beating(Client(self._address, opened.get("handle"), self._timeout), opened)
        wire.settimeout(None)  # from here on silence is what is hoped for
        return Held(connection, response, wire)

    def _asked(
        self, method: str, path: str, body: object, more: Mapping[str, str] = {}, timeout: float | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, socket.socket]:
        connection = _connection(self._address, timeout or self._timeout)
        headers = {"Accept": "application/json, application/x-ndjson", **more}
        if self._handle is not None:
            headers["Authorization"] = f"Bearer {self._handle}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            connection.request(method, path, data, headers)
            wire: socket.socket = connection.sock  # which the connection forgets when the answer is its last
            return connection, connection.getresponse(), wire
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a handle that is no header
            connection.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"no answer from {self._address}: {reason}") from error


class Held:
    """A task that is held: `task` is what was opened; iterating gives what happens to it.

    The iteration ends when the task has, or when the server is gone: `Client.reopen` tells which.
    """

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, wire: socket.socket
    ) -> None:
        self._connection, self._response, self._wire = connection, response, wire
        self._lines: http.client.HTTPResponse | BufferedReader = response
        self.task: dict[str, Any] = {}
        try:
            self.task = next(self, {})
        finally:
            if not self.task:
                self.close()
        if not self.task:
            raise Unreachable("the server ended its answer before it said what was opened")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next line; wait for it."""
        try:
            line = self._lines.readline(ANSWER_LIMIT)
            while line in (b"\n", b"\r\n"):
                line = self._lines.readline(ANSWER_LIMIT)
            if not line:
                raise StopIteration
            told: dict[str, Any] = json.loads(line)
            return told
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unreachable(f"the answer broke off: {type(error).__name__}") from error

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def waiting(self) -> bool:
        """Whether a line came together with one that was read; `fileno` does not tell of those."""
        if (buffer := self._buffer()) is None:
            return False
        self._wire.setblocking(False)
        try:
            # What is left of the line before, when nothing has come yet, is the end of its chunk.
            return bool(buffer.peek().strip())
        except OSError:
            return True  # the next line says what is wrong
        finally:
            self._wire.setblocking(True)

    def _buffer(self) -> BufferedReader | None:
        """Return what was received and not yet read; None when it is all over."""
        return None if self._response.isclosed() else self._response.fp

    def fileno(self) -> int:
        """Return the file that is readable when there is news: select on it while nothing is `waiting`."""
        return self._wire.fileno()

    def close(self) -> None:
        """Let go: the task ends."""
        self._response.close()
        self._connection.close()
        self._wire.close()


class Beating(Held):
    """A task that is held by a heartbeat, for as long as this process lives and does not let go.

    While the server is away the thread goes on: it is heard again in time, or the task has ended.
    """

    def __init__(self, client: Client, opened: dict[str, Any]) -> None:
        if not opened.get("heartbeat"):
            raise Unreachable("the server does not say how often it wants to hear of the task")
        self.task = opened
        # What has no answer by then is lost: two may be, and the next is still in time.
        within = min(client._timeout, opened["heartbeat"]["grace_s"] / 3)
        self._heart = Client(client._address, client._handle, within)
        self._client, self._over = client, threading.Event()
        self._wire, self._teller = socket.socketpair()
        self._lines: BufferedReader = self._wire.makefile("rb")
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        id, every = self.task["task"], self.task["heartbeat"]["every_s"]
        known = self.task.get("state"), self.task.get("deadline")
        due = time.monotonic() + every
        with self._teller as teller, suppress(OSError):  # let go while something is told
            while not self._over.wait(due - time.monotonic()):
                due = time.monotonic() + every
                try:
                    told = self._heart.heartbeat(id)
                except Unreachable:
                    continue
                except Refused as refused:
                    if refused.status not in GONE:
                        continue
                    told = {"task": id, "state": "ended", "reason": str(refused)}
                if not isinstance(told, dict):
                    continue
                if known != (known := (told.get("state"), told.get("deadline"))):
                    teller.sendall(json.dumps(told).encode() + b"\n")
                if known[0] in ("ended", "closed"):
                    return

    def _buffer(self) -> BufferedReader | None:
        return None if self._lines.closed else self._lines

    def close(self) -> None:
        """Let go: the task ends."""
        self._over.set()
        with suppress(Refused, Unreachable):  # it had ended; or it ends because nobody is heard
            self._client.end_task(self.task["task"], "let go")
        self._lines.close()
        self._wire.close()


def plain(text: object) -> str:
    """Return a text as it may be shown on a terminal, whoever wrote it: what steers one is spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))


def from_environment() -> Client:
    """Return the client of the task that this process runs in, else of the machine's own server. Raises Unreachable."""
    if url := os.environ.get("TASKBOUND_URL"):
        return Client(url, _handle_of(os.environ.get("TASKBOUND_MCP_CONFIG", "")))
    return Client(f"unix:{_state() / 'run/api.sock'}")


def _state() -> Path:
    if home := os.environ.get("TASKBOUND_HOME"):
        return Path(home).absolute()
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base).absolute() / "taskbound"
    return Path("/var/lib/taskbound") if os.geteuid() == 0 else Path.home() / ".local/state/taskbound"


def _handle_of(config: str) -> str:
    """Return the handle that stands in the MCP configuration which `taskbound run` wrote."""
    try:
        servers: Mapping[str, Any] = json.loads(Path(config).read_bytes())["mcpServers"]
        authorization = next(iter(servers.values()))["headers"]["Authorization"]
        return str(authorization).removeprefix("Bearer ")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        raise Unreachable(f"TASKBOUND_MCP_CONFIG names no file with a task's handle: {config!r}") from None


def _connection(address: str, timeout: float) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _Unix(address.removeprefix("unix:"), timeout)
    try:
        parts = urlsplit(address)
        if parts.scheme == "https" and parts.hostname:
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout)
        if parts.scheme == "http" and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    except ValueError:  # a port that is none
        pass
    raise Unreachable(f"{address!r} is no address of a server, such as http://127.0.0.1:8441")


def _value(response: http.client.HTTPResponse) -> Any:
    try:
        data = response.read(ANSWER_LIMIT)
        value = json.loads(data) if data else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(f"the answer is not JSON (HTTP {response.status})") from error
    if response.status < 400:
        return value
    raise _refused(value, response.status)


def _refused(value: object, status: int) -> Refused:
    """Return the refusal that an answer says: the server's own (`error`, `hint`), or that of JSON-RPC."""
    told = value if isinstance(value, dict) else {}
    error, text = told.get("error", "internal"), told.get("error_description", f"HTTP {status}")
    if isinstance(error, dict):  # JSON-RPC 2.0, 5.1
        error, text = error.get("code", "internal"), error.get("message", text)
    return Refused(str(error), str(text), str(told.get("hint", "")), status, str(told.get("request", "")))


def _last_event(response: http.client.HTTPResponse) -> Any:
    """Return the response that ends a stream of events; what comes before it is progress. Raises Unreachable."""
    data = b""
    try:
        while line := response.readline(ANSWER_LIMIT):
            field, _, value = line.rstrip(b"\r\n").partition(b":")
            if field == b"data":
                data += value.removeprefix(b" ") + b"\n"
            elif not field and not value and data:  # a blank line: the event is whole
                message, data = json.loads(data), b""
                if isinstance(message, dict) and "id" in message and "method" not in message:
                    return message
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(f"the answer broke off: {type(error).__name__}") from error
    raise Unreachable("the answer ended before it said how the call went")
