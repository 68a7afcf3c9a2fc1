"""A fast MCP server with one tool, `echo`: what a gateway costs is seen beside it. A process of its own.

It speaks just enough HTTP/1.1 and MCP 2025-11-25 for a client that keeps its connections: bodies
with a length, one JSON answer each. `python -m bench.stub` prints its address as JSON and runs
until it is ended. A GET tells how many calls it answered.
"""

import asyncio
import json
import re
from typing import Any

import msgspec
import uvloop

TOOL = {
    "name": "echo",
    "description": "Return the text.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
_calls = 0


class Stub(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        self._transport, self._read = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (head := self._read.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._read, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._read) < end:
                return
            body, is_get = bytes(self._read[head + 4 : end]), self._read.startswith(b"GET ")
            del self._read[:end]
            answer = {"calls": _calls} if is_get else _answer(_decode(body)) if body else None
            text = b"" if answer is None else _encode(answer)
            status = b"202 Accepted" if answer is None else b"200 OK\r\ncontent-type: application/json"
            self._transport.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(text), text))


def _answer(message: dict[str, Any]) -> dict[str, Any] | None:
    global _calls
    match message:
        case {"method": "tools/call", "id": id, "params": {"arguments": {"text": text}}}:
            _calls += 1
            result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False}
        case {"method": "tools/list", "id": id}:
            result = {"tools": [TOOL]}
        case {"method": "initialize", "id": id}:
            result = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "stub", "version": "1"},
            }
        case _:
            return None
    return {"jsonrpc": "2.0", "id": id, "result": result}


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
