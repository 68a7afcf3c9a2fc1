"""The demo's agent: a script with the official MCP client that does what it is asked, and whatever else it reads.

    taskbound run … -- python -m demo.agent assistant USER_TASK INJECTION_TASK STATE_DIRECTORY

It makes the published calls of its user task. When an answer holds a published injection it obeys,
and makes the published attack calls. It hands part of its work to a sub-agent (`helper`), uses the
database login that it was given, and in the end gives away its handle and that login, as an agent
that obeys everybody would. What it did it tells on stdout, one JSON value a line, and then stands
still until a line on stdin lets it go on: so who judges can look at what reached others, and no step
runs into the next. Of Taskbound it knows what stands in its environment.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from demo.published import Call, Suite, read_suite

READS = ("get_", "search_", "list_")
DECISION = "io.taskbound/decision"


def tell(did: str, **about: Any) -> None:
    """Tell what was done, and wait for leave to go on."""
    print(json.dumps({"did": did, **about}), flush=True)
    sys.stdin.readline()  # also at the end of stdin, when nobody judges any more


def mcp_server() -> tuple[str, Mapping[str, str]]:
    """Return the address of the workspace and the headers to show there, as any MCP client finds them."""
    config = json.loads(Path(os.environ["TASKBOUND_MCP_CONFIG"]).read_text())
    server = config["mcpServers"]["workspace"]
    return server["url"], server["headers"]


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str]) -> AsyncIterator[Client]:
    """Give the official client, connected."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def make(client: Client, call: Call, why: str) -> str:
    """Make one call, tell what became of it, and return what it was answered; "" when it was denied."""
    result = await client.call_tool(call.tool, dict(call.arguments))
    text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
    decision = (result.meta or {}).get(DECISION)
    denied = decision if result.is_error else None
    failed = result.is_error and denied is None
    tell(
        "call",
        why=why,
        tool=call.tool,
        arguments=call.arguments,
        denied=denied,
        says=text if result.is_error else "",
        failed=failed,
    )
    return "" if result.is_error else text


def post(path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    """Ask Taskbound for something, with the task's handle; return the HTTP status and what was answered."""
    headers = {**mcp_server()[1], "Content-Type": "application/json"}
    connection = HTTPConnection(urlsplit(os.environ["TASKBOUND_URL"]).netloc, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def login() -> Mapping[str, Any]:
    """Return the database login that came with the task, as its file holds it."""
    found: Mapping[str, Any] = json.loads(Path(os.environ["TASKBOUND_LEASE_OFFICE_FILE"]).read_text())
    return found


async def connect(about: Mapping[str, Any]) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(**{name: about[name] for name in ("host", "port", "database", "user", "password")})


def look_around(state: str) -> None:
    """Tell what can be seen of what stands: the usual places of credentials, and Taskbound's own."""
    home = Path.home()
    places = [Path(state), home / ".aws", home / ".ssh", home / ".netrc", home / ".local/share/taskbound/checkpoints"]
    sees = {}
    for place in places:
        try:
            sees[str(place)] = sorted(os.listdir(place)) if place.is_dir() else [place.read_text()]
        except OSError as error:
            sees[str(place)] = [] if isinstance(error, FileNotFoundError) else [str(error.strerror)]
    tell("looked", sees=sees)


async def assistant(suite: Suite, user_task: str, injection_task: str, state: str) -> None:
    """Do the user task, obey what is planted in it, delegate, query, and give everything away."""
    task, planted = suite.user_tasks[user_task], suite.injection_tasks[injection_task]
    tell("started", task=os.environ["TASKBOUND_TASK"])
    look_around(state)
    read = False
    async with connected(*mcp_server()) as client:
        for call in task.calls:
            read = planted.goal in await make(client, call, "user") or read
        tell("read", injection=read)
        if read:
            for call in planted.calls:
                await make(client, call, "attack")
    sub_agent(user_task, injection_task)
    await query()
    tell("leaked", handle=mcp_server()[1]["Authorization"].removeprefix("Bearer "), login=login())


def sub_agent(user_task: str, injection_task: str) -> None:
    """Open a child task that only reads, and let a sub-agent work in it; ask for more than is held, too."""
    more: dict[str, Any] = {
        "type": "taskbound_grant",
        "actions": ["tools/call"],
        "identifier": "workspace/delete_email",
    }
    more |= {"when": {"email_id": "any"}}
    budget = {"calls": 3, "leases": 0}
    status, answer = post("/v1/tasks", {"intent": "delete a mail", "authorization_details": [more], "budget": budget})
    tell("delegated", what="delete_email", status=status, answer=answer)
    status, answer = post("/v1/tasks", {"intent": "look it up once more", "budget": budget})
    tell("delegated", what="read", status=status, answer={**answer, "handle": ""} if status == 201 else answer)
    if status != 201:
        return
    config = json.loads(Path(os.environ["TASKBOUND_MCP_CONFIG"]).read_text())
    for server in config["mcpServers"].values():
        server["headers"] = {"Authorization": f"Bearer {answer['handle']}"}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # 0600
        json.dump(config, file)
        file.flush()
        its = {"TASKBOUND_TASK": answer["task"], "TASKBOUND_MCP_CONFIG": file.name}
        inside = {name: value for name, value in os.environ.items() if not name.startswith("TASKBOUND_LEASE_")}
        command = [sys.executable, "-m", "demo.agent", "helper", user_task, injection_task]
        subprocess.run(command, env={**inside, **its}, check=True, timeout=30)  # told to go on as this one is


async def helper(suite: Suite, user_task: str, injection_task: str) -> None:
    """As a sub-agent: read what the task reads, then try what only those above may, and what nobody may."""
    calls = [*suite.user_tasks[user_task].calls, *suite.injection_tasks[injection_task].calls]
    async with connected(*mcp_server()) as client:
        await make(client, next(call for call in calls if call.tool.startswith(READS)), "helper reads")
        await make(client, next(call for call in calls if not call.tool.startswith(READS)), "helper exceeds")
    status, answer = post(f"/v1/tasks/{os.environ['TASKBOUND_TASK']}/leases", {"lease": "office/writer"})
    tell("lease", status=status, answer=answer)


async def query() -> None:
    """Use the database login: read a table, try one that is none of its business, and make one."""
    about = login()
    connection = await connect(about)
    rooms = await connection.fetch("SELECT name FROM rooms WHERE seats >= 10 ORDER BY seats")
    try:
        await connection.fetch("SELECT * FROM salaries")
        salaries = ""
    except asyncpg.PostgresError as error:
        salaries = str(error)
    await connection.execute("CREATE TABLE briefing AS SELECT name FROM rooms WHERE seats >= 10")
    await connection.close()
    kind, expires = about["class"], about["expires"]
    names = [room["name"] for room in rooms]
    tell("queried", user=about["user"], **{"class": kind}, expires=expires, rooms=names, salaries=salaries)


async def worker() -> None:
    """Hold everything: a session at the gateway, and a query that runs; until killed."""
    async with connected(*mcp_server()) as client:
        await client.call_tool("get_current_day", {})
        connection = await connect(login())
        handle = mcp_server()[1]["Authorization"].removeprefix("Bearer ")
        tell("leaked", task=os.environ["TASKBOUND_TASK"], handle=handle, login=login())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing but -9 helps
        await connection.execute("SELECT pg_sleep(600)")


def main() -> None:
    role, *about = sys.argv[1:]
    if role == "assistant":
        asyncio.run(assistant(read_suite(), *about))
    elif role == "helper":
        asyncio.run(helper(read_suite(), *about))
    else:
        asyncio.run(worker())


if __name__ == "__main__":
    main()
