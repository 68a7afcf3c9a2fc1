"""Memory of `taskbound up`: idle, and with open tasks, each opened through the API and used through the gateway."""

import asyncio
import json
from typing import Any

import uvloop

from bench.figures import Figure
from bench.installation import AGENT, Installation, installed
from bench.load import connect

TASKS = 10_000
AT_ONCE = 16  # connections that open tasks, and then work in them
IDLE_MB, FULL_MB = 120.0, 400.0  # DESIGN 9


def measure(tasks: int = TASKS) -> list[Figure]:
    """Return the figures of the memory row."""
    with installed() as at:
        uvloop.run(_work(at, 1))  # it has met its upstream, and answered
        idle = at.memory()
        uvloop.run(_work(at, tasks - 1))
        full = at.memory()
    return [
        _figure("memory of `up`, idle", idle, IDLE_MB),
        _figure(f"memory of `up`, {tasks:,} open tasks, each of which made a call", full, FULL_MB),
    ]


def _figure(what: str, told: dict[str, float], most: float) -> Figure:
    said = ", ".join(f"{name} {value:,.0f} MB" for name, value in told.items())
    return Figure(what, said, f"≤ {most:.0f} MB", told["RSS"] <= most)


async def _work(at: Installation, tasks: int) -> None:
    async with asyncio.TaskGroup() as group:
        for n in range(min(AT_ONCE, tasks)):
            group.create_task(_open_and_call(at, len(range(n, tasks, AT_ONCE))))


async def _open_and_call(at: Installation, tasks: int) -> None:
    reader, writer = await asyncio.open_unix_connection(f"{at.state}/run/api.sock")
    for _ in range(tasks):
        opened = await _post(reader, writer, "/v1/tasks", {"profile": "bench", "actor": AGENT})
        connection = await connect(at.port, "/mcp/echo", opened["handle"])
        if not await connection.call():
            raise RuntimeError("a call was not answered as it should be")
        connection.close()
    writer.close()


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: Any) -> Any:
    """Return what the API answers to one request on a connection that is kept."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    writer.write(head.encode() + b"\r\n\r\n" + data)
    told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    size = int(told.partition("content-length:")[2].split()[0])
    answer = json.loads(await reader.readexactly(size))
    if not told.startswith("http/1.1 2"):
        raise RuntimeError(f"{path} was answered {answer}")
    return answer
