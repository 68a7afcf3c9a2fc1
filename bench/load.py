"""A load generator for MCP over HTTP/1.1: each connection makes its next call when the last one is answered.

`python -m bench.load` reads a plan, one JSON line: {"port", "path", "connections": [handle or null, …],
"warm_up", "seconds"}. It opens a session per connection, makes `warm_up` calls on each, prints
"ready", waits for a line, works for `seconds`, and prints {"calls", "warmed", "seconds", "errors", "p50", "p99"}: two
counts, seconds, a count, and how many seconds calls waited. What is not the echo of what was sent is an error.
"""

import asyncio
import json
import re
import sys
from time import perf_counter
from typing import Any

import uvloop

from bench.figures import at

TEXT = "x" * 200
_HEAD = re.compile(rb"HTTP/1.1 ([0-9]{3}).*?\r\ncontent-length: *([0-9]+)", re.IGNORECASE | re.DOTALL)
_SESSION = re.compile(rb"\r\nmcp-session-id: *([!-~]+)", re.IGNORECASE)
_RIGHT = f'"text":"{TEXT}"'.encode()


class Connection(asyncio.Protocol):
    """One connection that is kept, and one MCP session on it."""

    def __init__(self, port: int, path: str, handle: str | None) -> None:
        self._headers = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        self._headers += "accept: application/json, text/event-stream\r\n"
        self._headers += f"authorization: Bearer {handle}\r\n" if handle else ""
        self._read, self._answered, self._id = bytearray(), asyncio.get_running_loop().create_future(), 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        if (end := self._read.find(b"\r\n\r\n")) < 0:
            return
        head = _HEAD.match(self._read, 0, end)
        size = end + 4 + int(head[2]) if head else len(self._read)
        if len(self._read) >= size and not self._answered.done():
            status = int(head[1]) if head else 0
            self._answered.set_result((status, bytes(self._read[: end + 4]), bytes(self._read[end + 4 : size])))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(ConnectionError("the connection was closed"))

    async def post(self, message: dict[str, Any]) -> tuple[int, bytes, bytes]:
        """Send a message and return status, head and body of the answer."""
        body = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()
        self._read.clear()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(f"{self._headers}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer: tuple[int, bytes, bytes] = await self._answered
        return answer

    def close(self) -> None:
        self._transport.close()

    async def begin(self) -> None:
        """Open the session."""
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
        status, head, body = await self.post({"id": 0, "method": "initialize", "params": client})
        if status != 200:
            raise ConnectionError(f"initialize was answered {status}: {body[:300]!r}")
        self._headers += "mcp-protocol-version: 2025-11-25\r\n"
        if session := _SESSION.search(head):
            self._headers += f"mcp-session-id: {session[1].decode()}\r\n"
        await self.post({"method": "notifications/initialized"})

    async def call(self) -> bool:
        """Make one call; return whether it was answered as it should be."""
        self._id += 1
        params = {"name": "echo", "arguments": {"text": TEXT}}
        status, _, body = await self.post({"id": self._id, "method": "tools/call", "params": params})
        return status == 200 and _RIGHT in body and b'"isError":false' in body


async def connect(port: int, path: str, handle: str | None) -> Connection:
    """Return a connection with an open session."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(port, path, handle), "127.0.0.1", port)
    await connection.begin()
    return connection


async def _warm_up(connection: Connection, calls: int) -> bool:
    return all([await connection.call() for _ in range(calls)])


async def _work(connection: Connection, until: float, waits: list[float], errors: list[str]) -> None:
    while (start := perf_counter()) < until:
        try:
            right = await connection.call()
        except OSError as error:
            errors.append(type(error).__name__)
            return
        waits.append(perf_counter() - start)
        if not right:
            errors.append("wrong answer")


async def _main(plan: dict[str, Any]) -> dict[str, Any]:
    opening = (connect(plan["port"], plan["path"], handle) for handle in plan["connections"])
    connections = await asyncio.gather(*opening)  # at once: a server closes a connection that is long idle
    right = await asyncio.gather(*(_warm_up(one, plan["warm_up"]) for one in connections))
    errors, waits = ["wrong answer while warming up" for one in right if not one], list[float]()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    start = perf_counter()
    async with asyncio.TaskGroup() as group:
        for one in connections:
            group.create_task(_work(one, start + plan["seconds"], waits, errors))
    took = perf_counter() - start
    warmed = len(connections) * plan["warm_up"]
    # Not each wait: what does not fit into the pipe at once is cut where Python writes unbuffered.
    waited = {"p50": at(waits, 0.5), "p99": at(waits, 0.99)}
    return {"calls": len(waits), "warmed": warmed, "seconds": took, "errors": len(errors), **waited}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_main(json.loads(sys.stdin.readline())))), flush=True)
