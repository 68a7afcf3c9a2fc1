"""The composition root: from a configuration to a world. The only file that knows all names.

Clock and randomness enter here and nowhere else: steps get the time from their transaction and
ids from their world.
"""

import base64
import hashlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskbound.core.catalogue import Target
from taskbound.core.identity import Identity, door
from taskbound.core.secret import Secret
from taskbound.plugins.archives.directory import DirectoryArchive
from taskbound.plugins.checkpoints.files import CheckpointFiles
from taskbound.plugins.checkpoints.memory import MemoryCheckpoints
from taskbound.plugins.keys.local import LocalKeys
from taskbound.plugins.keys.memory import MemoryKeys
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.plugins.providers.memory import MemoryProvider, MemoryTarget
from taskbound.plugins.sinks.file import FileSink
from taskbound.ports import Sink, World
from taskbound.steps.erase_bodies import erase_bodies
from taskbound.steps.export_log import export_log
from taskbound.steps.follow_log import follow_log
from taskbound.steps.seal_log import seal_log
from taskbound.store.memory import MemoryStore
from taskbound.store.memory_log import MemoryLog
from taskbound.store.sqlite import open_store
from taskbound.store.sqlite_log import SqliteLog

PURPOSES = ("log",)  # what we sign for; each has a key of its own


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
        trust_domain=trust_domain,
        instance=instance,
        new_id=new_id,
        new_handle=new_handle,
    )


@asynccontextmanager
async def open_state(state: Path, second: Path, *, clock: Callable[[], datetime] = now) -> AsyncIterator[World]:
    """Give the world kept in a state directory, made when there is none (INTERFACES 2): store, log, keys, policy.

    Until `up` comes it has no targets, and one process at a time may have it open.
    """
    store = open_store(state / "taskbound.db", clock)
    try:
        yield World(
            store=store,
            log=SqliteLog(store),
            keys=LocalKeys(state / "keys", PURPOSES),
            checkpoints=CheckpointFiles(second),
            policies=PolicyFiles(state / "policy", {}),
            providers={},
            trust_domain=f"{socket.gethostname()}.local",
            instance=_instance(state / "instance"),
            new_id=new_id,
            new_handle=new_handle,
        )
    finally:
        await store.close()


def _instance(path: Path) -> str:
    """Return the installation's name, made once (INTERFACES 1)."""
    fresh = path.with_name(f".instance.{os.getpid()}")
    if not path.exists():
        fresh.write_text(_letters(30))
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_text()


async def audit_export(world: World, org: str, directory: Path) -> int:
    """Seal what is committed and export the log; return how many events that are."""
    lane = await _sealed(world, org)
    return await export_log(world, lane, DirectoryArchive(directory))


async def audit_erase(world: World, org: str, older_than: timedelta) -> int:
    """Erase the bodies of older events, and seal the facts that say so; return how many."""
    lane = await _sealed(world, org)
    erased = await erase_bodies(world, lane, door(world.trust_domain, "door/command", org), older_than)
    await _sealed(world, org)
    return erased


async def audit_tail(world: World, org: str, sink: Sink | Path) -> None:
    """Seal what is committed, and send to the sink, or append to the file, what it does not have yet."""
    lane = await _sealed(world, org)
    sink = FileSink(sink) if isinstance(sink, Path) else sink
    await follow_log(world, lane, await sink.last(), [sink])


async def _sealed(world: World, org: str) -> Identity:
    """Seal everything that is committed; return the lane that did."""
    lane, size = door(world.trust_domain, "lane/seal", org), -1
    while (sealed := await seal_log(world, lane)).size > size:
        size = sealed.size
    return lane
