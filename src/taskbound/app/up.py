"""`taskbound up`: everything on one machine, in one process: store, doors and lanes (DESIGN 3).

What listens is bound before anything is opened, so that an occupied address changes nothing. The
process cannot be looked into by others of its user (`PR_SET_DUMPABLE` 0, INTERFACES 10). Broken
policy files do not stop it: nothing is permitted until they are mended and loaded.
"""

import asyncio
import ctypes
import os
import random
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from taskbound.app import audit
from taskbound.app.places import login, only_one
from taskbound.app.world import open_world
from taskbound.core.config import Config
from taskbound.core.errors import Conflict, InvalidRequest, Refused, Unavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Identity, door
from taskbound.core.task import Task
from taskbound.edge import api, gateway, http
from taskbound.edge.connection import PeerProtocol
from taskbound.ending import LIVE
from taskbound.lanes import Lanes, Progress, run_lanes
from taskbound.ports import World
from taskbound.prove import registered
from taskbound.steps.load_policy import load_policy
from taskbound.steps.register_identity import RegistrationAsk, register_identity, resume_identity

log = structlog.get_logger()

ORG = "main"  # the one there is, until several nodes are built (DESIGN 10)
SUN_PATH = 107  # bytes that the kernel takes for the path of a Unix socket
PR_SET_DUMPABLE = 4
GRACE = 1  # seconds for what runs when the process is told to stop


class _Server(uvicorn.Server):
    """A server whose process's signals belong to somebody else."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(address: str, state: Path) -> tuple[socket.socket, str]:
    """Return a bound socket and its address as people write it. Raises Unavailable, InvalidRequest."""
    if address.startswith("unix:"):
        path = state / address.removeprefix("unix:")
        if len(os.fsencode(path)) > SUN_PATH:
            hint = "choose a shorter TASKBOUND_HOME"
            raise InvalidRequest(f"{path} is too long for a socket", code="invalid_config", hint=hint)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of a process that died: `only_one` says that there is no other
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))  # nobody else passes the directory, 0700, until the mode is set
        path.chmod(0o600)
        return listener, f"unix:{path}"
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        hint = "stop what listens there, or choose another address under [listen] (port 0: any)"
        raise Unavailable(f"{address}: {error.strerror}", code="address_in_use", hint=hint) from None
    return listener, f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


async def up(
    config: Config,
    state: Path,
    *,
    announce: Callable[[Mapping[str, Any]], None],
    production: bool = False,
    resume_operator: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT; `announce` is told once what listens. SIGHUP loads the policy again.

    An operator who was suspended stays so, and nobody administers, unless `resume_operator`.

    Raises Unavailable (an address is taken, another process works on the state directory) and
    InvalidRequest (the configuration) before anything is changed.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.umask(0o077)  # exports and policy files too are their owner's
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is one, and the usual 1024 are soon gone
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(state))
        sockets: dict[str, list[tuple[socket.socket, str]]] = {"api": [], "gateway": []}
        for which, address in (*(("api", one) for one in config.api), ("gateway", config.gateway)):
            sockets[which].append(bound := bind(address, state))
            stack.callback(bound[0].close)
        operator = f"human/{login()}"
        lane = door(config.trust_domain, "lane/revoke", ORG)
        world = await stack.enter_async_context(open_world(config, state, operator=operator, lane=lane))
        start = door(world.trust_domain, "door/start", ORG)
        warnings = [*await _begun(world, start, operator, resume_operator), *_warnings(config)]
        stopping = asyncio.Event()
        _listen_to_signals(world, start, stopping)
        address = f"http://{sockets['gateway'][0][1]}/mcp"
        async with _serving(world, sockets, address, stopping, config, state, production=production):
            announce({
                "state": str(state),
                "api": [one for _, one in sockets["api"]],
                "gateway": address,
                "trust_domain": world.trust_domain,
                "operator": operator,
                "policy": world.policies.current.version,
                "warnings": warnings,
            })  # fmt: skip
            await stopping.wait()
        async with world.store.transaction(start) as tx:
            await tx.record(Kind.NODE_STOPPED, id=world.instance)


def _warnings(config: Config) -> Iterator[str]:
    yield "no witness is set: whoever can write the log and its second place can rewrite both"
    if config.checkpoints is None:
        yield "the second place of checkpoints is on the same disk as the log: set `checkpoints` to another"


async def _begun(world: World, start: Identity, operator: str, resume: bool) -> list[str]:
    """Record the start, register the operator at the first one, load the policy; return what people should know."""
    async with world.store.transaction(start) as tx:
        await tx.record(Kind.NODE_STARTED, id=world.instance)
    with suppress(Conflict):  # registered at an earlier start
        ask = RegistrationAsk(operator, operator, "operator", {"uid": os.getuid()}, purpose="operator of this machine")
        await register_identity(world, start, start, ask)
    if resume:
        await resume_identity(world, start, start, operator)
    async with world.store.transaction(start) as tx:
        state = (await registered(tx, str(world.operator))).state
    known = (
        [] if state == "registered" else [f"{operator} is {state}: nobody administers; taskbound up --resume-operator"]
    )
    try:
        await load_policy(world, start, start)
    except Refused as error:
        return [*known, f"the policy is not in force, so nothing is permitted: {error}"]
    if len(world.policies.current.organisation.policies) <= 1:  # the operator's own is built in
        known.append("there is no policy, so nothing is permitted: taskbound policy init, then taskbound policy load")
    return known


def _listen_to_signals(world: World, start: Identity, stopping: asyncio.Event) -> None:
    loop, reloads = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def reload() -> None:
        try:
            policies = await load_policy(world, start, start)
            log.info("policy_loaded", version=policies.version)
        except (Refused, Unavailable) as error:  # the old one stays in force
            log.error("policy_refused", code=error.code, reason=str(error))

    def reloading() -> None:
        reloads.add(task := asyncio.create_task(reload()))
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reloading)


@asynccontextmanager
async def _serving(
    world: World,
    sockets: Mapping[str, Sequence[tuple[socket.socket, str]]],
    address: str,
    stopping: asyncio.Event,
    config: Config,
    state: Path,
    *,
    production: bool,
) -> AsyncIterator[None]:
    """Run doors and lanes while the block runs."""
    doors = {name: door(world.trust_domain, f"door/{name}", ORG) for name in ("api", "gateway")}
    progress = Progress()
    end, revoke, seal = (door(world.trust_domain, f"lane/{name}", ORG) for name in ("end", "revoke", "seal"))
    lanes = Lanes(end, revoke, seal, jitter=random.random, progress=progress)
    holders = http.Holders(ORG)
    await _expect(world, doors["api"], holders)
    site = http.Site(
        gateway=lambda: address,
        registers_actors=not production,
        export=lambda directory: audit.audit_export(world, ORG, directory),
        erase=lambda age: audit.audit_erase(world, ORG, age),
        measures=lambda: _measures(progress, state),
        wake=progress.wake,
    )
    credentials = {
        one.name: f"{one.credential.target}/{one.credential.grant}" for one in config.upstreams if one.credential
    }
    mcp = gateway.application(world, doors["gateway"], holders, credentials=credentials, may_add=not production)
    apps = {
        "api": http.application(world, doors["api"], api.ROUTES, holders=holders, site=site),
        "gateway": http.application(
            world, doors["gateway"], api.GATEWAY_ROUTES, holders=holders, site=site, mount={"/mcp": mcp}
        ),
    }
    servers = [(_server(apps[name]), [one for one, _ in bound]) for name, bound in sockets.items()]
    async with asyncio.TaskGroup() as running:
        running.create_task(run_lanes(world, lanes, stopping))
        unclaimed = running.create_task(api.end_unclaimed(world, doors["api"], holders))
        for server, listening in servers:
            running.create_task(server.serve(sockets=listening))
        while not all(server.started for server, _ in servers):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            stopping.set()
            unclaimed.cancel()
            for server, _ in servers:
                server.should_exit = True
    await mcp.close()  # what it records last is recorded while the store is open


async def _expect(world: World, door: Identity, holders: http.Holders) -> None:
    """Say which tasks were held before this start: whoever held them has 6 s to come back (INTERFACES 6)."""
    async with world.store.transaction(door) as tx:
        held = [task for state in LIVE for task in await tx.find(Task, state=state) if task.holder]
    for task in held:
        holders.expect(task.holder, task)


def _server(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        )
    )


def _measures(progress: Progress, state: Path) -> dict[str, float]:
    disk = os.statvfs(state)
    age = time.time() - progress.sealed_at if progress.sealed_at else float("inf")
    return {
        "overdue_leases": progress.overdue,
        "due_leases": progress.due,
        "orphans_found": progress.orphans_found,
        "sealed_events": progress.sealed,
        "checkpoint_age_seconds": age,
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
    }
