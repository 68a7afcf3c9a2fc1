"""The doors of a world in memory, served for real on a Unix socket and on loopback; and a client that sends bytes."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from taskbound.core.identity import door
from taskbound.core.organisation import operator_policy
from taskbound.edge import api
from taskbound.edge.claims import Holders
from taskbound.edge.connection import PeerProtocol
from taskbound.edge.http import Route, Site, application
from taskbound.plugins.attestors.unix import UnixAttestor
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.ports import World
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.rig import PEOPLE, POLICY, Rig
from tests.served import Quick
from tests.shop.targets import TARGETS

OFFERED = json.loads((POLICY / "tools/crm.json").read_text())
REFUND = {"profile": "refund-order", "set": {"order_id": "4711", "max": "50"}}


class Crm:
    """An upstream that offers what the demo pinned."""

    async def tools(self, credential: Any = None) -> list[Mapping[str, Any]]:
        return list(OFFERED.values())

    async def call(self, tool: str, arguments: Mapping[str, Any], credential: Any) -> AsyncGenerator[Any, None]:
        raise AssertionError("nothing is called here")
        yield

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Doors:
    """What a test knows of a served world."""

    def __init__(self, rig: Rig, world: World, holders: Holders, unix: str, api_port: int, gateway_port: int) -> None:
        self.rig, self.world, self.holders = rig, world, holders
        self.unix, self.api_port, self.gateway_port = unix, api_port, gateway_port
        self.exported: list[Path] = []

    async def connect(self, to: str = "unix") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if to == "unix":
            return await asyncio.open_unix_connection(self.unix)
        return await asyncio.open_connection("127.0.0.1", self.api_port if to == "tcp" else self.gateway_port)

    async def ask(
        self, method: str, path: str, body: Any = None, *, to: str = "unix", handle: str = "", **headers: str
    ) -> Answer:
        """Send one request and read its answer."""
        lines = {"host": "localhost", "connection": "close"}
        if body is not None:
            lines["content-type"] = "application/json"
        if handle:
            lines["authorization"] = f"Bearer {handle}"
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return await self.send(
            f"{method} {path} HTTP/1.1\r\n{head}content-length: {len(data)}\r\n\r\n".encode() + data, to
        )

    async def send(self, data: bytes, to: str = "unix") -> Answer:
        """Send bytes and read one answer, as far as the server gives one; status 0 when it gives none."""
        answers = await self.exchange(data, to, most=1)
        return answers[0] if answers else Answer(0, {}, b"")

    async def exchange(self, data: bytes, to: str = "unix", *, within: float = 5.0, most: int = 9) -> list[Answer]:
        """Send bytes, and read every answer until the server closes or is silent."""
        reader, writer = await self.connect(to)
        try:
            writer.write(data)
            answers: list[Answer] = []
            try:
                while len(answers) < most:
                    answers.append(await read_answer(reader, within if not answers else 0.3))
            except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
                pass
            return answers
        finally:
            writer.close()

    async def task(self, **ask: Any) -> dict[str, Any]:
        """Open a task of alice's agent over the Unix socket."""
        answer = await self.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/support"} | ask)
        assert answer.status == 201, answer.body
        told: dict[str, Any] = answer.json
        return told

    def denials(self) -> list[Any]:
        return [event.value for event in self.rig.store.events if event.kind == "call.denied"]


async def read_answer(reader: asyncio.StreamReader, within: float = 5.0) -> Answer:
    async with asyncio.timeout(within):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)


@asynccontextmanager
async def served(
    *,
    ancestry: bool = True,
    routes: Sequence[Route] = api.ROUTES,
    mount: Mapping[str, Any] = {},
    limit: int = 100,
    **site: Any,
) -> AsyncIterator[Doors]:
    """Serve alice's world; she is who runs this process. Without `ancestry` nobody asks who stands above a peer."""
    rig = Rig()
    attestor = UnixAttestor()
    if not ancestry:

        class NobodyAbove(UnixAttestor):
            async def ancestors(self, peer: Any) -> Any:
                return ()

            async def is_confined(self, peer: Any) -> bool:
                return False

        attestor = NobodyAbove()
    written = tempfile.TemporaryDirectory()  # registering writes a file of it
    policy = Path(shutil.copytree(POLICY, f"{written.name}/policy"))
    policies = PolicyFiles(policy, TARGETS, operator_policy("human/alice"))
    policies.load()
    world = replace(
        rig.world,
        store=rig.store,
        policies=policies,
        attestor=attestor,
        operator="spiffe://example.org/human/alice",
        upstreams={"crm": Crm},
    )
    ours = door("example.org", "door/start", "main")
    for name, environment in PEOPLE:
        person = name == "human/alice"
        when: dict[str, str | int] = {"uid": os.geteuid()} if person else {"script": f"/srv/{name}.py"}
        ask = RegistrationAsk(name, "human/alice", "operator" if person else "unix", when, environment=environment)
        await register_identity(world, ours, ours, ask)
    holders = Holders()
    told = Site(**{"gateway": lambda: "http://127.0.0.1:8441/mcp", "registers_actors": True, **site})
    door_api, door_gateway = (door("example.org", f"door/{name}", "main") for name in ("api", "gateway"))
    apps = [application(world, door_api, routes, holders=holders, site=told, mount=mount)]
    apps += [apps[0], application(world, door_gateway, api.GATEWAY_ROUTES, holders=holders, site=told)]
    with tempfile.TemporaryDirectory() as directory:
        unix = f"{directory}/api.sock"
        where: list[dict[str, Any]] = [{"uds": unix}, {"port": 0}, {"port": 0}]
        servers = [Quick(configuration(app, limit, **at)) for app, at in zip(apps, where, strict=True)]
        tasks = [asyncio.create_task(server._serve()) for server in servers]
        while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.002)
        ports = [server.servers[0].sockets[0].getsockname()[1] for server in servers[1:]]
        try:
            yield Doors(rig, world, holders, unix, *ports)
        finally:
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*tasks)
            written.cleanup()
    rig.check()


def configuration(app: Any, limit: int, **where: Any) -> uvicorn.Config:
    """As `up` serves it."""
    return uvicorn.Config(
        app,
        **where,
        http=partial(PeerProtocol, limit=limit),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
