"""Worlds: what steps are given, in memory or kept in a state directory; with the clock and the ids of it all."""

import base64
import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from taskbound.app.places import instance_of, only_one, second_place, secret
from taskbound.core.catalogue import Target
from taskbound.core.config import Config, TargetConfig
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease
from taskbound.core.policy_dir import operator_policy
from taskbound.core.secret import Secret
from taskbound.formats.spiffe import make
from taskbound.lanes import quarantined
from taskbound.plugins.attestors.unix import UnixAttestor
from taskbound.plugins.checkpoints.files import CheckpointFiles
from taskbound.plugins.checkpoints.memory import MemoryCheckpoints
from taskbound.plugins.keys.local import LocalKeys
from taskbound.plugins.keys.memory import MemoryKeys
from taskbound.plugins.net import Origin
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.plugins.providers.memory import MemoryProvider, MemoryTarget
from taskbound.plugins.providers.postgres import PostgresProvider
from taskbound.plugins.upstreams.mcp_http import McpHttpUpstream
from taskbound.ports import Provider, Upstream, World
from taskbound.store.memory import MemoryStore
from taskbound.store.memory_log import MemoryLog
from taskbound.store.sqlite import SqliteStore, open_store
from taskbound.store.sqlite_log import SqliteLog

PURPOSES = ("log", "receipt")  # what we sign for; each has a key of its own


def now() -> datetime:
    """Return the wall clock, in UTC."""
    return datetime.now(UTC)


def _letters(bits: int) -> str:
    return base64.b32encode(secrets.token_bytes((bits + 7) // 8)).decode().lower()[: bits // 5]


def new_id(kind: str) -> str:
    """Return a new id: the kind's letter and 100 random bits as 20 characters of a-z2-7 (INTERFACES 1)."""
    return kind + _letters(100)


def new_handle() -> tuple[Secret, str]:
    """Return a new task handle of 256 random bits, and its SHA-256 (INTERFACES 5)."""
    handle = "tbh_" + secrets.token_urlsafe(32)
    return Secret(handle), hashlib.sha256(handle.encode()).hexdigest()


def new_password() -> Secret:
    """Return a new password of 192 random bits for a leased login."""
    return Secret(secrets.token_urlsafe(24))


def in_memory(
    policy: Path,
    targets: Mapping[str, Target],
    logins: Mapping[str, MemoryTarget],
    *,
    trust_domain: str = "example.org",
    clock: Callable[[], datetime] = now,
) -> World:
    """Return a world that forgets when the process ends: memory store, memory targets by name, a policy directory."""
    instance = _letters(30)
    policies = PolicyFiles(policy, targets)
    policies.load()
    store = MemoryStore(clock)
    return World(
        store=store,
        log=MemoryLog(store),
        keys=MemoryKeys(PURPOSES),
        checkpoints=MemoryCheckpoints(),
        policies=policies,
        providers={name: MemoryProvider(target, instance, clock, new_password) for name, target in logins.items()},
        upstreams={},
        attestor=None,
        trust_domain=trust_domain,
        operator=None,
        instance=instance,
        new_id=new_id,
        new_handle=new_handle,
    )


@asynccontextmanager
async def open_state(state: Path, second: Path, *, clock: Callable[[], datetime] = now) -> AsyncIterator[World]:
    """Give the world kept in a state directory, for who works on its log while no `up` runs.

    It has no targets, no upstreams and no operator. Raises Unavailable while another process has it.
    """
    with only_one(state):
        store = open_store(state / "taskbound.db", clock)
        try:
            yield _kept(store, state, second, PolicyFiles(state / "policy", {}), f"{socket.gethostname()}.local")
        finally:
            await store.close()


@asynccontextmanager
async def open_world(
    config: Config, state: Path, *, operator: str, lane: Identity, clock: Callable[[], datetime] = now
) -> AsyncIterator[World]:
    """Give the world of `up`: what is kept in the state directory, with configured targets and upstreams.

    `operator` is the name of the human who administers it. Raises Unavailable, InvalidRequest.
    """
    targets = {resource: target for one in config.targets for resource, target in one.targets().items()}
    policies = PolicyFiles(state / "policy", targets, operator_policy(operator))
    (state / "policy").mkdir(mode=0o700, exist_ok=True)
    second = Path(config.checkpoints) if config.checkpoints else second_place()
    async with AsyncExitStack() as stack:
        store = open_store(state / "taskbound.db", clock)
        stack.push_async_callback(store.close)
        kept = _kept(store, state, second, policies, config.trust_domain)
        providers, upstreams = dict[str, Provider](), dict[str, Callable[[], Upstream]]()
        for target in config.targets:
            providers[target.name] = provider = _postgres(target, kept.instance, partial(quarantined, store, lane))
            stack.push_async_callback(provider.close)
        for upstream in config.upstreams:
            origin = Origin(upstream.url, secret(upstream.ca).reveal() if upstream.ca else None)
            stack.push_async_callback(origin.close)
            upstreams[upstream.name] = partial(McpHttpUpstream, origin)
        yield replace(
            kept,
            providers=providers,
            upstreams=upstreams,
            attestor=UnixAttestor(),
            operator=str(make(config.trust_domain, operator)),
        )


def _kept(store: SqliteStore, state: Path, second: Path, policies: PolicyFiles, trust_domain: str) -> World:
    return World(
        store=store,
        log=SqliteLog(store),
        keys=LocalKeys(state / "keys", PURPOSES),
        checkpoints=CheckpointFiles(second),
        policies=policies,
        providers={},
        upstreams={},
        attestor=None,
        trust_domain=trust_domain,
        operator=None,
        instance=instance_of(state / "instance", _letters(30)),
        new_id=new_id,
        new_handle=new_handle,
    )


def _postgres(
    target: TargetConfig, instance: str, on_quarantine: Callable[[Lease, tuple[str, ...]], Awaitable[None]]
) -> PostgresProvider:
    return PostgresProvider(
        secret(target.admin),
        owner=target.owner,
        quarantine=target.quarantine,
        instance=instance,
        node="up",
        epoch=_letters(60),
        new_password=new_password,
        on_quarantine=on_quarantine,
    )
