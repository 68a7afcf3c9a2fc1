"""How the demo's lines are judged: by a gateway's answers, PostgreSQL, the process table and the exported log."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
import httpx2

from demo.agent import DECISION
from demo.stage import COMMAND, DoesNotHold, Stage


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 10) -> float | None:
    """Return after how many ms `what()` became true; None when it did not."""
    began = perf_counter()
    while perf_counter() - began < seconds:
        if await what():
            return (perf_counter() - began) * 1000
        await asyncio.sleep(0.005)
    return None


async def is_cut(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    try:
        await connection.fetchval("SELECT 1", timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return True  # the last is asyncpg's own surprise, when the session ends in the middle of an answer
    return False


def denial(said: Mapping[str, Any]) -> str | None:
    return None if said["denied"] is None else str(said["denied"].get("code"))


async def shown(at: Stage, handle: str) -> str:
    """Return what the gateway says to a call with this handle, sent plainly: "permitted", or the code of why not."""
    call = {"name": "get_current_day", "arguments": {}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"Authorization": f"Bearer {handle}", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{at.gateway}/workspace", json=asked, headers=headers)
    text = answer.text.partition("data: ")[2] if "event-stream" in answer.headers["content-type"] else answer.text
    said = json.loads(text)
    if "result" not in said:
        return f"{answer.status_code} {said['error']}"
    decision = said["result"].get("_meta", {}).get(DECISION)
    return "permitted" if not said["result"].get("isError") else str(decision["code"] if decision else said["result"])


def text_of(arguments: Mapping[str, Any]) -> str:
    """Return a call's arguments for one line."""
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return text if len(text) <= 140 else f"{text[:139]}…"


def agent_below(above: int) -> int:
    """Return the process of the agent below a `taskbound run`. Raises DoesNotHold when there is none."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents[int(text.split()[0])] = int(text.rpartition(")")[2].split()[1])
    for pid in parents:
        line, parent = b"", pid
        while parent and parent != above:
            parent = parents.get(parent, 0)
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes() if parent == above and pid != above else b""
        except OSError:
            continue
        if b"demo.agent" in line and not line.startswith(os.fsencode(COMMAND)) and b"taskbound\0run" not in line:
            return pid
    raise DoesNotHold("no agent runs below taskbound run")


def surroundings(pid: int, places: Iterable[str]) -> tuple[Mapping[str, str], list[str], list[str]]:
    """Return a process's namespaces, which of the places hold anything in its file system, and its variables' names.

    As /proc says, which asks the kernel and not the process.
    """
    process = Path(f"/proc/{pid}")
    kinds = {kind: os.readlink(process / "ns" / kind) for kind in ("user", "mnt", "pid")}
    held = [place for place in places if _holds(process / "root" / place.lstrip("/"))]
    variables = [one.partition("=")[0] for one in os.fsdecode((process / "environ").read_bytes()).split("\0") if one]
    return kinds, held, variables


def _holds(path: Path) -> bool:
    try:
        return bool(os.listdir(path) if path.is_dir() else path.read_text().strip())
    except OSError:
        return False


def exported(export: Path) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the headers and bodies of an exported log, read by what is published of its format (C2SP tlog-tiles)."""
    headers: list[Mapping[str, Any]] = []
    for bundle in sorted(path for path in (export / "tile/entries").rglob("*") if path.is_file()):
        data = bundle.read_bytes()
        while data:
            size = int.from_bytes(data[:2], "big")
            headers.append(json.loads(data[2 : 2 + size]))
            data = data[2 + size :]
    bodies: dict[int, Mapping[str, Any]] = {}
    for line in (export / "bodies.jsonl").read_text().splitlines():
        found = json.loads(line)
        body = found["body"]
        bodies[found["index"]] = json.loads(body) if isinstance(body, str) else body
    return [(header, bodies.get(header["index"], {})) for header in headers]
