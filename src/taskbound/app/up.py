"""`taskbound up`: everything on one machine, in one process; `serve`: one node of several on one database (DESIGN 3).

Both run store, doors and lanes; with a database nothing is registered or pinned by its first use.
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
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from taskbound.app import audit
from taskbound.app.disk import room, watch
from taskbound.app.listen import Listener, Server, bound, share
from taskbound.app.places import located, login, only_one, tell_places
from taskbound.app.world import open_world
from taskbound.core.config import Config
from taskbound.core.errors import Conflict, InvalidRequest, Refused, Unavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Identity, door
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.edge import api, claims, gateway, http, oauth
from taskbound.ending import LIVE
from taskbound.lanes import run_lanes
from taskbound.lanes.progress import Lanes, Progress
from taskbound.ports import World
from taskbound.prove import registered
from taskbound.steps.load_policy import load_policy, warnings_of
from taskbound.steps.register_identity import RegistrationAsk, register_identity, resume_identity
from taskbound.steps.require_keys import require_keys
from taskbound.steps.require_trust_domain import require_trust_domain

log = structlog.get_logger()

ORG = "main"  # the one there is, until several nodes are built (DESIGN 10)
PR_SET_DUMPABLE = 4
SESSION_KEYS = "SSLKEYLOGFILE"  # the variable by which Python, and not it alone, writes down the keys of TLS


async def up(
    config: Config,
    state: Path,
    *,
    announce: Callable[[Mapping[str, Any]], None],
    file: Path | None = None,
    database: Secret | None = None,
    production: bool = False,
    resume_operator: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT; `announce` is told once what listens. SIGHUP loads the policy again.

    `file` is where the configuration was read, if not in the state directory.

    An operator who was suspended stays so, and nobody administers, unless `resume_operator`.

    Raises Unavailable (an address is taken, another process works on the state directory) and
    InvalidRequest (the configuration) before anything is changed.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    logged = os.environ.pop(SESSION_KEYS, None)  # before the first TLS context, which would open it
    os.umask(0o077)  # exports and policy files too are their owner's
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is one, and the usual 1024 are soon gone
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(state))
        listeners: dict[str, list[Listener]] = {"api": [], "gateway": []}
        operator = f"human/{login()}"
        lane = door(config.trust_domain, "lane/revoke", ORG)
        with located(file or state / "taskbound.toml"):
            for which, listener in bound(config, state):
                listeners[which].append(listener)
                stack.callback(listener.socket.close)
            world = await stack.enter_async_context(
                open_world(config, state, operator=operator, lane=lane, database=database)
            )
        start = door(world.trust_domain, "door/start", ORG)
        await require_trust_domain(world, start)
        tell_places(config, file, state, world.node)
        production = production or database is not None
        warnings = [*await _begun(world, start, operator, resume_operator), *_warnings(config, state)]
        if logged:
            warnings.append(f"{SESSION_KEYS} is set, and not followed: who has session keys reads what was sent")
        stopping = asyncio.Event()
        _listen_to_signals(world, start, stopping)
        async with _serving(world, listeners, stopping, config, state, production=production):
            announce({
                "state": str(state),
                "node": world.node,
                "api": [one.address if one.certificate is None else one.url for one in listeners["api"]],
                "gateway": _here(listeners["gateway"]),
                "beyond": _beyond(listeners["gateway"]) or None,
                "trust_domain": world.trust_domain,
                "operator": operator,
                "policy": world.policies.current.version,
                "warnings": warnings,
            })  # fmt: skip
            await stopping.wait()
        async with world.store.transaction(start) as tx:
            await tx.record(Kind.NODE_STOPPED, id=world.instance, node=world.node)


def _here(gateways: Sequence[Listener]) -> str:
    """Return the MCP address for this machine: of a listener on loopback, where there is one."""
    here = next((one for one in gateways if one.certificate is None), gateways[0])
    return f"{here.url}/mcp"


def _beyond(gateways: Sequence[Listener]) -> str:
    """Return the MCP address for who is not on this machine; "" where nothing listens for them."""
    return next((f"{one.url}/mcp" for one in gateways if one.certificate), "")


def _warnings(config: Config, state: Path) -> Iterator[str]:
    if not any(one.startswith("unix:") and state / one[5:] == state / "run/api.sock" for one in config.api):
        yield "the command reaches it by unix:run/api.sock alone: without it in `api` of [listen] nobody administers"
    yield "no witness is set: whoever can write the log and its second place can rewrite both"
    if config.checkpoints is None:
        yield "the second place of checkpoints is on the same disk as the log: set `checkpoints` to another"


async def _begun(world: World, start: Identity, operator: str, resume: bool) -> list[str]:
    """Record the start, register the operator at the first one, load the policy; return what people should know."""
    known: list[str] = []
    try:
        await require_keys(world, start)
    except Conflict as error:
        if world.node:  # it would sign what no other node accepts
            hint = "copy keys/ of a node that runs into this node's state directory"
            raise InvalidRequest(f"{error}", code="invalid_config", hint=hint) from None
        known.append(f"{error}: nothing new can be sealed; {error.hint}")
    async with world.store.transaction(start) as tx:
        await tx.record(Kind.NODE_STARTED, id=world.instance, node=world.node)
    with suppress(Conflict):  # registered at an earlier start
        when: dict[str, str | int] = {"name": operator} if world.node else {"uid": os.getuid()}
        ask = RegistrationAsk(operator, operator, "operator", when, purpose="operator of this machine")
        await register_identity(world, start, start, ask)
    if resume:
        await resume_identity(world, start, start, operator)
    async with world.store.transaction(start) as tx:
        state = (await registered(tx, str(world.operator))).state
    if state != "registered":
        known.append(f"{operator} is {state}: nobody administers; taskbound up --resume-operator")
    try:
        before = world.policies.current
        known += warnings_of(await load_policy(world, start, start), before)
    except Refused as error:
        return [*known, f"the policy is not in force, so nothing is permitted: {error}"]
    if len(world.policies.current.organisation.policies) <= 1:  # the operator's own is built in
        known.append("there is no policy, so nothing is permitted: taskbound policy init, then taskbound policy load")
    return known


def _listen_to_signals(world: World, start: Identity, stopping: asyncio.Event) -> None:
    loop, reloads = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def reload() -> None:
        try:
            before = world.policies.current
            policies = await load_policy(world, start, start)
            for warning in warnings_of(policies, before):
                log.warning("policy_warning", warning=warning)
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
    listeners: Mapping[str, Sequence[Listener]],
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
    sinks = [audit.file_sink(Path(path)) for path in config.sinks]
    lanes = Lanes(end, revoke, seal, jitter=random.random, sinks=sinks, progress=progress)
    holders = claims.Holders(ORG)
    await _expect(world, doors["api"], holders)
    site = http.Site(
        gateway=lambda: _here(listeners["gateway"]),
        gateway_beyond=lambda: _beyond(listeners["gateway"]),
        registers_actors=not production,
        export=lambda directory: audit.audit_export(world, ORG, directory),
        erase=lambda which, of: audit.audit_erase(world, ORG, which, of),
        upstreams={one.name: _shown(one.url) for one in config.upstreams},
        measures=lambda: _measures(lanes, state),
        wake=progress.wake,
    )
    credentials = {
        one.name: f"{one.credential.target}/{one.credential.grant}" for one in config.upstreams if one.credential
    }
    mcp = gateway.application(world, doors["gateway"], holders, credentials=credentials, may_add=not production)
    apps = {
        "api": http.application(world, doors["api"], (*api.ROUTES, *oauth.ROUTES), holders=holders, site=site),
        "gateway": http.application(
            world,
            doors["gateway"],
            (*api.GATEWAY_ROUTES, *oauth.ROUTES),
            holders=holders,
            site=site,
            mount={"/mcp": mcp},
        ),
    }
    groups = [
        (apps[which], certificate, [one.socket for one in of if one.certificate is certificate])
        for which, of in listeners.items()
        for certificate in {one.certificate for one in of}
    ]
    limit = share(sum(any(one.family != socket.AF_UNIX for one in sockets) for _, _, sockets in groups))
    servers = [(Server(app, certificate, limit=limit), sockets) for app, certificate, sockets in groups]
    async with asyncio.TaskGroup() as running:
        running.create_task(run_lanes(world, lanes, stopping))
        beside = [
            running.create_task(api.end_unclaimed(world, doors["api"], holders)),
            running.create_task(api.lose_silent(world, doors["api"], holders, progress.wake)),
            running.create_task(watch(state)),
        ]
        for server, listening in servers:
            running.create_task(server.serve(sockets=listening))
        while not all(server.started for server, _ in servers):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            stopping.set()
            for task in beside:
                task.cancel()
            for server, _ in servers:
                server.should_exit = True
    await mcp.close()  # what it records last is recorded while the store is open


async def _expect(world: World, door: Identity, holders: claims.Holders) -> None:
    """Say which tasks were held before this start.

    Whoever held them has 6 s to come back (INTERFACES 6), or as long as may go by without a heartbeat.
    """
    async with world.store.transaction(door) as tx:
        live = [task for state in LIVE for task in await tx.find(Task, state=state)]
    for task in live:
        if task.holder is not None and task.holder.node == world.node:
            holders.expect(replace(task.holder, node=""), task)
        if task.heartbeat is not None and task.heartbeat.node == world.node:
            holders.hear(task)  # suspended or not: with whatever is above it, it may have been, and end by itself


def _shown(url: str) -> str:
    """Return an upstream's address without what may be a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _measures(lanes: Lanes, state: Path) -> dict[str, float]:
    disk, progress = room(state), lanes.progress
    followed = [progress.followed.get(number, -1) for number in range(len(lanes.sinks))]
    age = time.time() - progress.sealed_at if progress.sealed_at else float("inf")
    return {
        "overdue_leases": progress.overdue,
        "due_leases": progress.due,
        "orphans_found": progress.orphans_found,
        "sealed_events": progress.sealed,
        "sink_lag_events": max((progress.sealed - 1 - last for last in followed), default=0),
        "checkpoint_age_seconds": age,
        "disk_free_bytes": disk.free,
        "disk_used_ratio": disk.used,
    }
