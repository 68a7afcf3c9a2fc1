"""The memory provider presents dead credentials as a real one does, and forgets them in time."""

from datetime import timedelta

from tests.contracts.probes import *  # noqa: F403
from tests.contracts.provider import fresh
from tests.plugins.test_memory_provider import target  # noqa: F401


async def test_it_is_forgotten_60_seconds_after_the_first_cut(target):  # noqa: F811
    made = fresh(target)
    await target.provider.create(made)
    target.clock.advance(30)
    await target.provider.cut(made)
    target.clock.advance(59)
    await target.provider.cut(made)  # again: it prolongs nothing
    assert await target.provider.probe(made) is not None
    target.clock.advance(2)
    assert await target.provider.probe(made) is None


async def test_without_a_cut_it_is_forgotten_60_seconds_after_it_expired(target):  # noqa: F811
    made = fresh(target)
    await target.provider.create(made)
    target.clock.advance((made.expires - target.clock() + timedelta(seconds=61)).total_seconds())
    assert await target.provider.probe(made) is None
