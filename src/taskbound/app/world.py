"""Worlds: what steps are given, in memory or kept in a state directory; with the clock and the ids of it all."""

import hashlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from taskbound.app.issuers import issuer, sparing
from taskbound.app.places import admin_login, kept_name, only_one, second_place, secret, static_folder
from taskbound.core.catalogue import Target
from taskbound.core.config import Config, TargetConfig
from taskbound.core.identity import Identity
from taskbound.core.organisation import operator_policy
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.secret import Secret
from taskbound.core.storm import Denials
from taskbound.formats.spiffe import make
from taskbound.lanes import quarantined
from taskbound.plugins.attestors.unix import UnixAttestor
from taskbound.plugins.checkpoints.files import CheckpointFiles
from taskbound.plugins.checkpoints.memory import MemoryCheckpoints
from taskbound.plugins.issuers.postgres import PostgresIssuer
from taskbound.plugins.issuers.redis import RedisIssuer
from taskbound.plugins.keys.local import LocalKeys
from taskbound.plugins.keys.memory import MemoryKeys
from taskbound.plugins.net import Origin
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.plugins.providers.memory import MemoryProvider, MemoryTarget
from taskbound.plugins.providers.postgres import PostgresProvider
from taskbound.plugins.providers.static import StaticProvider
from taskbound.plugins.upstreams.mcp_http import McpHttpUpstream
from taskbound.plugins.upstreams.mcp_http.known import Known
from taskbound.ports import Log, Provider, Store, Upstream, World
from taskbound.store.memory import MemoryStore
from taskbound.store.memory_log import MemoryLog
from taskbound.store.postgres import open_postgres
from taskbound.store.postgres.log import PostgresLog
from taskbound.store.sqlite import SqliteStore, open_store
from taskbound.store.sqlite_log import SqliteLog

PURPOSES = ("log", "receipt", "token")  # what we sign for; each has a key of its own


def now() -> datetime:
    """Return the wall clock, in UTC."""
    return datetime.now(UTC)


_LETTER = b"abcdefghijklmnopqrstuvwxyz234567" * 8  # of each byte; every letter eight times, so all are equally likely


def _letters(count: int) -> str:
    """Return random letters, 5 bits each."""
    return os.urandom(count).translate(_LETTER).decode()


def new_id(kind: str) -> str:
    """Return a new id: the kind's letter and 100 random bits as 20 characters of a-z2-7 (INTERFACES 1)."""
    return kind + _letters(20)


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
    known: PolicyDir | None = None,
) -> World:
    """Return a world that forgets when the process ends: memory store, memory targets by name, a policy directory.

    `known` is what was read from the directory before; without it the directory is read.
    """
    instance = _letters(6)
    policies = PolicyFiles(policy, targets)
    policies.adopt(known or policies.read())
    store = MemoryStore(clock)
    return World(
        store=store,
        log=MemoryLog(store),
        keys=MemoryKeys(PURPOSES),
        checkpoints=MemoryCheckpoints(),
        policies=policies,
        providers={name: MemoryProvider(target, instance, clock, new_password) for name, target in logins.items()},
        issuers={},
        upstreams={},
        attestor=None,
        trust_domain=trust_domain,
        operator=None,
        instance=instance,
        node="",
        new_id=new_id,
        new_handle=new_handle,
        denials=Denials(),
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
async def open_shared(
    database: Secret, state: Path, second: Path, *, clock: Callable[[], datetime] = now
) -> AsyncIterator[World | None]:
    """Give the world of a database that nodes share, for who only reads its log; None where no node ever was.

    It has no name of a node, no targets, no upstreams and no operator. Raises StoreUnavailable.
    """
    shared = await open_postgres(database, clock, migrating=False)
    try:
        instance = await shared.kept_instance()
        policies, domain = PolicyFiles(state / "policy", {}), f"{socket.gethostname()}.local"
        log = PostgresLog(shared)
        yield None if instance is None else _world(shared, log, state, second, policies, domain, instance, "")
    finally:
        await shared.close()


@asynccontextmanager
async def open_world(
    config: Config,
    state: Path,
    *,
    operator: str,
    lane: Identity,
    database: Secret | None = None,
    clock: Callable[[], datetime] = now,
) -> AsyncIterator[World]:
    """Give the world of `up`, with configured targets and upstreams; with a `database` that of one node of `serve`.

    `operator` is the name of who owns the state directory; in `up` they administer by a policy that is built in,
    with `serve` by what the files permit (docs/decisions/0011). Raises Unavailable, InvalidRequest.
    """
    targets = {resource: target for one in config.targets for resource, target in one.targets().items()}
    built_in = "" if database is not None else operator_policy(operator)
    policies = PolicyFiles(state / "policy", targets, built_in)
    (state / "policy").mkdir(mode=0o700, exist_ok=True)
    second = second_place(config)
    async with AsyncExitStack() as stack:
        if database is not None:
            shared = await open_postgres(database, clock)
            stack.push_async_callback(shared.close)
            node = kept_name(state / "node", _letters(6))
            await shared.hold(node)
            instance = await shared.instance(_letters(6))
            kept = _world(shared, PostgresLog(shared), state, second, policies, config.trust_domain, instance, node)
        else:
            own = open_store(state / "taskbound.db", clock)
            stack.push_async_callback(own.close)
            kept = _kept(own, state, second, policies, config.trust_domain)
        providers, upstreams = dict[str, Provider](), dict[str, Callable[[], Upstream]]()
        asks = list[PostgresIssuer | RedisIssuer]()
        for target in config.targets:
            if target.provider == "static":
                providers[target.name] = StaticProvider(static_folder(state, target.name), kept.instance, clock)
                continue
            providers[target.name] = provider = _postgres(target, kept, lane)
            stack.push_async_callback(provider.close)
            asks += _issuer(admin_login(target))
        asks += [issuer(secret(reference), os.environ) for reference in config.servers]
        for upstream in config.upstreams:
            origin = Origin(upstream.url, secret(upstream.ca).reveal() if upstream.ca else None)
            stack.push_async_callback(origin.close)
            upstreams[upstream.name] = partial(McpHttpUpstream, origin, Known())
        yield replace(
            kept,
            providers=providers,
            issuers=sparing(asks, _issuer(database) if database is not None else ()),
            upstreams=upstreams,
            attestor=UnixAttestor(),
            operator=str(make(config.trust_domain, operator)),
        )


def _kept(store: SqliteStore, state: Path, second: Path, policies: PolicyFiles, trust_domain: str) -> World:
    instance = kept_name(state / "instance", _letters(6))
    return _world(store, SqliteLog(store), state, second, policies, trust_domain, instance, "")


def _world(
    store: Store,
    log: Log,
    state: Path,
    second: Path,
    policies: PolicyFiles,
    trust_domain: str,
    instance: str,
    node: str,
) -> World:
    return World(
        store=store,
        log=log,
        keys=LocalKeys(state / "keys", PURPOSES),
        checkpoints=CheckpointFiles(second),
        policies=policies,
        providers={},
        issuers={},
        upstreams={},
        attestor=None,
        trust_domain=trust_domain,
        operator=None,
        instance=instance,
        node=node,
        new_id=new_id,
        new_handle=new_handle,
        denials=Denials(),
    )


def _issuer(address: Secret) -> list[PostgresIssuer | RedisIssuer]:
    """Return what asks a server about its logins; none where its address is none: who leases there says so."""
    try:
        return [PostgresIssuer(address)]
    except ValueError:
        return []


def _postgres(target: TargetConfig, world: World, lane: Identity) -> PostgresProvider:
    return PostgresProvider(
        admin_login(target),
        owner=target.owner,
        quarantine=target.quarantine,
        instance=world.instance,
        node=world.node or "up",
        epoch=_letters(12),
        new_password=new_password,
        on_quarantine=partial(quarantined, world.store, lane),
    )
