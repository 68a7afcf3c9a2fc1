"""The memory provider keeps the provider's contract."""

from types import SimpleNamespace

import pytest

from taskbound.app import new_password
from taskbound.plugins.providers.memory import MemoryProvider, MemoryTarget
from tests.contracts.provider import *  # noqa: F403
from tests.contracts.store import Clock


@pytest.fixture
def target():
    clock, logins = Clock(), MemoryTarget()

    async def lets_in(lease, secret):
        return logins.accepts(lease.name, secret.reveal())

    async def plant(name):
        logins.logins[name] = "0" * 64

    provider = MemoryProvider(logins, "abcdef", clock, new_password)
    return SimpleNamespace(provider=provider, clock=clock, instance="abcdef", lets_in=lets_in, plant=plant)


async def test_it_polices_its_caller(target):
    made = fresh(target)  # noqa: F405
    await target.provider.create(made)
    with pytest.raises(RuntimeError, match="must be cut"):
        await target.provider.clean(made)
