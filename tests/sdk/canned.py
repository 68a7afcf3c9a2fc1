"""A real HTTP server in a thread: it gives canned answers and remembers what it was asked.

On a Unix socket it speaks HTTP/1.1, on a loopback port HTTP/1.0, where each answer ends its connection.
"""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = tuple[int, Any] | Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    authorization: str | None
    body: Any


@dataclass
class Canned:
    """Answers by "METHOD /path?query"; what has none is 404, as the API says it."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @property
    def last(self) -> Asked:
        return self.asked[-1]


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


@contextmanager
def canned(socket: Path | None = None) -> Iterator[Canned]:
    """Serve on a Unix socket, or on a loopback port."""
    place: Canned

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if socket else "HTTP/1.0"

        def do(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            place.asked.append(Asked(self.command, self.path, self.headers["authorization"], body))
            missing = (404, {"error": "not_found", "error_description": f"no {self.path}", "hint": "", "request": "r1"})
            answer = place.answers.get(f"{self.command} {self.path}", missing)
            if callable(answer):
                return answer(self)
            status, value = answer
            data = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do

        def log_message(self, format: str, *args: Any) -> None: ...

    server: socketserver.BaseServer
    if socket:
        server, address = _Unix(str(socket), Handler), f"unix:{socket}"
    else:
        server = _Tcp(("127.0.0.1", 0), Handler)
        address = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    place = Canned(address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
