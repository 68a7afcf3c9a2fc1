"""A gateway in front of real MCP servers, served for real, in a world in memory; and the official SDK's client."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from taskbound import app
from taskbound.core.catalogue import pin_of
from taskbound.core.identity import Claim, door
from taskbound.edge import api, gateway
from taskbound.edge.claims import Holders
from taskbound.edge.http import application
from taskbound.plugins.net import Origin
from taskbound.plugins.providers.memory import MemoryTarget
from taskbound.plugins.upstreams.mcp_http import McpHttpUpstream
from taskbound.plugins.upstreams.mcp_http.known import Known
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.contracts.store import Clock
from tests.rig import ALICE, PEOPLE, POLICY
from tests.served import Quick
from tests.shop.targets import TARGETS

PROFILE = """\
purpose = "work"
owner = "human/alice"
review_by = 2027-05-01
life = "10m"
budget = {{ calls = 100, leases = 5 }}
{grants}
"""
PATIENT = 120.0  # seconds that nothing takes, however busy the machine is
ALL = ("echo", "count", "fail", "ask", "wait")
WHEN = {"echo": 'when = { text = "any" }', "count": 'when = { steps = "any" }'}


def profile(*tools: str, upstream: str = "workspace", extra: str = "") -> str:
    """Return the text of a profile that grants tools with any arguments."""
    grants = [f'[[grant]]\ntool = "{upstream}/{tool}"\n{WHEN.get(tool, "")}' for tool in tools]
    return PROFILE.format(grants="\n".join([*grants, extra]))


def write_tools(policy: Path, upstream: str, definitions: list[Mapping[str, Any]]) -> None:
    """Pin these definitions in the policy directory, as reviewed."""
    (policy / "tools").mkdir(exist_ok=True)
    known = {tool["name"]: dict(tool) for tool in definitions}
    (policy / f"tools/{upstream}.json").write_text(json.dumps(known))
    (policy / f"tools/{upstream}.toml").write_text(
        "\n".join(
            f'[{name}]\npin = "{pin_of(tool)}"\nreviewed = {{ by = "human/alice", on = 2026-11-24 }}\neffect = "read"\n'
            + ('arguments = { text = "object_id" }\n' if name == "echo" else "")
            for name, tool in known.items()
        )
    )


class Gateways:
    """One served gateway."""

    def __init__(self, world: Any, clock: Clock, gate: gateway.Gateway, port: int, origins: list[Origin]) -> None:
        self.world, self.clock, self.gate, self.port = world, clock, gate, port
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.origins = origins
        self.door = door(world.trust_domain, "door/test", "main")

    async def task(self, profile: str = "all", *, below: str | None = None, **fields: Any) -> tuple[str, str]:
        """Open a task for agent/support, or below the task with a handle; return its id and its handle."""
        ask = TaskAsk(profile, actor=None if below else "agent/support", **fields)
        task, handle = await open_task(self.world, self.door, self.claim(below) if below else ALICE, ask)
        return task.id, handle.reveal()

    def claim(self, handle: str) -> Claim:
        return Claim("main", handle=hashlib.sha256(handle.encode()).hexdigest())

    @asynccontextmanager
    async def client(self, handle: str, upstream: str = "workspace", **options: Any) -> AsyncIterator[Client]:
        """Give the official client, connected as the task; `upstream` "" is all of them."""
        url = f"{self.url}/{upstream}" if upstream else self.url
        headers = {"authorization": f"Bearer {handle}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=PATIENT, trust_env=False) as http,
            Client(streamable_http_client(url, http_client=http), **{"mode": "legacy", **options}) as client,
        ):
            yield client

    async def post(
        self, handle: str | None, message: Any, *, path: str = "/workspace", method: str = "POST", **headers: str
    ) -> httpx2.Response:
        """Send one raw request."""
        sent = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if handle is not None:
            sent["authorization"] = f"Bearer {handle}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = message if isinstance(message, bytes | None) else json.dumps(message).encode()
        async with httpx2.AsyncClient(timeout=PATIENT, trust_env=False) as http:
            return await http.request(method, self.url + path, content=body, headers=sent)

    def events(self) -> list[Any]:
        return list(self.world.store.events)

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.events()]


@asynccontextmanager
async def gateways(
    policy: Path, profiles: Mapping[str, str], upstreams: Mapping[str, str], *, pinned: bool = True, **options: Any
) -> AsyncIterator[Gateways]:
    """Serve a gateway before these upstreams (name -> address), whose tools are pinned as they are now."""
    origins = {name: Origin(f"{url}/mcp") for name, url in upstreams.items()}
    (policy / "organisation").mkdir(parents=True)
    (policy / "profiles").mkdir()
    (policy / "organisation/start.cedar").write_text((POLICY / "organisation/start.cedar").read_text())
    if pinned:
        for name, origin in origins.items():
            session = McpHttpUpstream(origin)
            write_tools(policy, name, await session.tools())
            await session.close()
    for name, text in profiles.items():
        (policy / f"profiles/{name}.toml").write_text(text)
    clock = Clock()
    bare = app.in_memory(policy, TARGETS, {"shopdb": MemoryTarget()}, clock=clock)
    idle = options.pop("idle", PATIENT)
    makers = {name: partial(McpHttpUpstream, origin, Known(), idle=idle) for name, origin in origins.items()}
    world = replace(bare, upstreams=makers)
    ours = door(world.trust_domain, "door/test", "main")
    for name, environment in PEOPLE:
        when: dict[str, str | int] = {"uid": 1000} if name == "human/alice" else {"script": f"/srv/{name}.py"}
        attestor = "operator" if name == "human/alice" else "unix"
        ask = RegistrationAsk(name, "human/alice", attestor, when, environment=environment)
        await register_identity(world, ours, ours, ask)
    holders = Holders()
    mcp_door = door(world.trust_domain, "door/gateway", "main")
    gate = gateway.application(world, mcp_door, holders, **options)
    whole = application(world, mcp_door, api.GATEWAY_ROUTES, holders=holders, mount={"/mcp": gate})
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(whole, log_level="critical", timeout_graceful_shutdown=1, server_header=False)
    server = Quick(config)
    server.capture_signals = _nothing  # type: ignore[method-assign, assignment]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield Gateways(world, clock, gate, listener.getsockname()[1], list(origins.values()))
    finally:
        server.should_exit = True
        await serving
        await gate.close()
        for origin in origins.values():
            await origin.close()


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
