"""The keys of an installation stay what they are, and a start with others is noticed."""

from dataclasses import replace

import pytest

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.plugins.keys.memory import MemoryKeys
from taskbound.steps.require_keys import require_keys
from tests.rig import Rig


def added(rig):
    return [event.id for event in rig.store.events if event.kind is Kind.KEY_ADDED]


async def test_keys_are_recorded_at_the_first_start_and_not_again():
    rig = Rig()
    for _ in range(3):
        await require_keys(rig.world, rig.door)
    assert added(rig) == sorted(await rig.world.keys.public())


async def test_another_key_is_refused_each_time():
    rig = Rig()
    await require_keys(rig.world, rig.door)
    other = replace(rig.world, keys=MemoryKeys(list(await rig.world.keys.public())))
    for _ in range(2):
        with pytest.raises(Conflict, match="not the one that signed") as refused:
            await require_keys(other, rig.door)
        assert refused.value.code == "other_keys"
    await require_keys(rig.world, rig.door)


async def test_a_key_for_a_new_purpose_is_added():
    rig = Rig()
    log = MemoryKeys(["log"])
    await require_keys(replace(rig.world, keys=log), rig.door)
    both = MemoryKeys(["log", "receipt"])
    both._keys["log"] = log._keys["log"]
    await require_keys(replace(rig.world, keys=both), rig.door)
    assert added(rig) == ["log", "receipt"]
