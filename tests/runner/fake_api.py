"""The wire of tasks and leases (INTERFACES 6) on a real Unix socket, played by a few lines."""

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

HANDLE = "tbh_" + "H" * 43
PASSWORD = "lease-password-canary"
LEASE_GRANT = {
    "id": "g1",
    "said": "log in as shopdb/reader",
    "text": "",
    "actions": ["lease/issue"],
    "resources": ["shopdb/reader"],
    "ask": False,
    "budget": {},
}
TOOL_GRANT = {
    "id": "g2",
    "said": "call crm/refund",
    "text": "",
    "actions": ["tools/call"],
    "resources": ["crm/refund"],
    "ask": False,
    "budget": {},
}


class FakeApi:
    """One task after the other; `say` sends a line to whoever holds it."""

    def __init__(self, path: Path, owner: int | None = None) -> None:
        self.path, self.owner = path, owner
        self.asked: list[tuple[str, str, Any, str | None]] = []  # method, path, body, Authorization
        self.grants = [LEASE_GRANT, TOOL_GRANT]
        self.calls: list[dict[str, Any]] = []  # the newest first
        self.looked: list[str] = []
        self.refuses: dict[str, tuple[int, str, str]] = {}  # the end of a path -> status, code, description
        self.let_go = threading.Event()  # the connection that held the task came to its end
        self.held = threading.Event()
        self._send: Callable[[bytes], None] | None = None
        self._cut: Callable[[], None] | None = None

    def start(self) -> "FakeApi":
        self.path.unlink(missing_ok=True)
        api = self

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                api.answer(self, None)

            def do_POST(self) -> None:
                api.answer(self, json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "null"))

        self._server = Server(str(self.path), Handler)
        self.path.chmod(0o600)
        if self.owner is not None:
            os.chown(self.path, self.owner, self.owner)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Go away as a killed server does: the socket refuses, and what was open is cut."""
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink(missing_ok=True)
        if self._cut:
            self._cut()

    def say(self, **line: Any) -> None:
        assert self._send
        self._send(json.dumps(line).encode() + b"\n")

    def called(self, end: str) -> list[Any]:
        return [body for _, path, body, _ in self.asked if path.endswith(end)]

    def answer(self, request: Any, body: Any) -> None:
        if request.path.startswith("/v1/calls"):  # asked when all is over, and no part of it
            self.looked.append(request.path)
            return self._whole(request, 200, {"calls": self.calls})
        self.asked.append((request.command, request.path, body, request.headers.get("authorization")))
        for end, (status, code, description) in self.refuses.items():
            if request.path.endswith(end):
                said = {"error": code, "error_description": description, "hint": "a hint", "request": "r" + "a" * 20}
                return self._whole(request, status, said)
        if request.path.endswith("/leases"):
            target, _, grant = body["lease"].partition("/")
            credential = {"host": "127.0.0.1", "port": 5432, "database": "shop", "user": "tb_x", "password": PASSWORD}
            lease = {"lease": "l" + "a" * 20, "target": target, "grant": grant, "class": "cut now"}
            return self._whole(request, 201, {**lease, "expires": "2030-01-01T00:00:00Z", "credential": credential})
        if request.path.endswith("/end"):
            if self._send and body["reason"] != "quiet":
                self.say(task="t" + "a" * 20, state="ended", reason=body["reason"])
            return self._whole(request, 200, {"ended": ["t" + "a" * 20]})
        self._hold(request, 200 if request.command == "GET" else 201)

    def _whole(self, request: Any, status: int, value: Any) -> None:
        text = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    def _hold(self, request: Any, status: int) -> None:
        request.send_response(status)
        request.send_header("content-type", "application/x-ndjson")
        request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        task: dict[str, Any] = {
            "task": "t" + "a" * 20,
            "state": "open",
            "deadline": "2030-01-01T00:00:00Z",
            "grants": self.grants,
        }
        task |= {"handle": HANDLE, "token": None, "gateway": "http://127.0.0.1:8441/mcp", "registered": True}

        def send(data: bytes) -> None:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            request.wfile.flush()

        send(json.dumps(task).encode() + b"\n")
        self._send, self._cut = send, lambda: request.connection.shutdown(socket.SHUT_RDWR)
        self.let_go.clear()
        self.held.set()
        with suppress(OSError):
            request.connection.recv(1)
        self._send = self._cut = None
        self.held.clear()
        self.let_go.set()
        request.close_connection = True
