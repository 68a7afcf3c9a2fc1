"""The composition root: from a configuration to a world. The only file that knows all names.

Clock and randomness enter here and nowhere else: steps get the time from their transaction and
ids from their world.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from taskbound.core.catalogue import Target
from taskbound.core.secret import Secret
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.plugins.providers.memory import MemoryProvider, MemoryTarget
from taskbound.ports import World
from taskbound.store.memory import MemoryStore


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
    return World(
        store=MemoryStore(clock),
        policies=policies,
        providers={name: MemoryProvider(target, instance, clock, new_password) for name, target in logins.items()},
        trust_domain=trust_domain,
        instance=instance,
        new_id=new_id,
        new_handle=new_handle,
    )
