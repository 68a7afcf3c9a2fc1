"""A storm of equal denials is the first of them and one count; a permit is none of it (INTERFACES 9)."""

import asyncio
from dataclasses import replace

import pytest

from taskbound.core.errors import StoreUnavailable
from taskbound.core.storm import Denials
from taskbound.steps.close_task import close_task
from taskbound.steps.count_denials import count_denials
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.explain import explain
from taskbound.steps.open_task import open_task
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

READ, OTHER = CallAsk("crm/get_order", {"id": "4711"}), CallAsk("crm/get_order", {"id": "4712"})


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


@pytest.fixture
async def agent(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    return claim_of(handle)


async def asked(rig, who, ask=OTHER):
    _, call, decision = await decide_call(rig.world, rig.door, who, ask)
    return call.id, decision.code


def denials(rig):
    """Calls that were recorded, and counts by the call that they belong to."""
    facts = [event for event in rig.store.events if event.kind == "call.denied"]
    counts = [(event.id, event.detail["count"]) for event in facts if event.value is None]
    return [event.id for event in facts if event.value is not None], counts


async def test_a_storm_is_one_call_and_one_count(rig, agent):
    first = await asked(rig, agent)
    for n in range(99):
        rig.clock.advance(0.01)
        assert await asked(rig, agent) == first, n
    assert denials(rig) == ([first[0]], [])
    assert await count_denials(rig.world, rig.lane) == 0, "its second is not over"
    rig.clock.advance(0.01)
    assert await count_denials(rig.world, rig.lane) == 1
    assert denials(rig) == ([first[0]], [(first[0], 99)])
    said = rig.store.events[-1]
    assert (said.noun, said.value, said.by, said.via) == (
        "call", None, "spiffe://example.org/agent/support", rig.lane.spiffe_id,
    )  # fmt: skip
    assert (said.detail["resource"], said.detail["code"]) == ("crm/get_order", "outside_grants")
    assert (said.detail["until"] - said.detail["since"]).total_seconds() == pytest.approx(0.99)
    assert await count_denials(rig.world, rig.lane) == 0
    rig.check()


async def test_who_asks_why_is_told_how_many_there_were(rig, agent):
    for _ in range(4):
        id, _ = await asked(rig, agent)
    assert (await explain(rig.world, rig.door, ALICE, id))["repeated"] == 0
    await count_denials(rig.world, rig.lane, all=True)
    told = await explain(rig.world, rig.door, ALICE, f"d{id[1:]}")
    assert (told["repeated"], told["decision"]["code"], told["what"]["resource"]) == (
        3, "outside_grants", "crm/get_order",
    )  # fmt: skip


async def test_each_second_has_its_first(rig, agent):
    ids = []
    for _ in range(3):
        ids += [(await asked(rig, agent))[0] for _ in range(5)]
        rig.clock.advance(1)
    assert [ids[5 * n : 5 * n + 5] for n in range(3)] == [[ids[5 * n]] * 5 for n in range(3)] and len(set(ids)) == 3
    await count_denials(rig.world, rig.lane)
    assert denials(rig) == (ids[::5], [(id, 4) for id in ids[::5]])


async def test_permits_are_recorded_one_by_one(rig, agent):
    ids = [await asked(rig, agent, READ) for _ in range(5)]
    assert len({id for id, _ in ids}) == 5 and {code for _, code in ids} == {""}
    assert not rig.world.denials
    rig.check()


async def test_the_first_denial_after_an_end_is_recorded_though_a_storm_was_on(rig, agent):
    id, _ = await asked(rig, agent)
    call = rig.store.things["main", "call", id]
    await end_task(rig.world, rig.door, agent, call.task, "done")
    refused, code = await asked(rig, agent)
    assert code == "task_ended" and denials(rig)[0] == [id, refused]
    assert await asked(rig, agent) == (refused, "task_ended")
    await count_denials(rig.world, rig.lane, all=True)
    closed = await close_task(rig.world, rig.lane, call.task)
    assert closed is not None and '"refused_by":"presented"' in closed.receipt, "a count does not disturb it"
    rig.check()


async def test_another_ones_denial_is_not_counted_as_an_agents(rig, agent):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    first, other, without = [await asked(rig, who) for who in (agent, claim_of(handle), ALICE)]
    assert len({first[0], other[0], without[0]}) == 3
    assert rig.store.things["main", "call", other[0]].task != rig.store.things["main", "call", first[0]].task


async def test_parallel_ones_are_each_recorded_or_counted(rig, agent):
    answers = await asyncio.gather(*(asked(rig, agent) for _ in range(50)))
    await count_denials(rig.world, rig.lane, all=True)
    recorded, counts = denials(rig)
    assert {id for id, _ in answers} == set(recorded)
    assert len(recorded) + sum(count for _, count in counts) == 50


async def test_what_could_not_be_recorded_is_repeated_by_nobody(rig, agent):
    """An answer names a call that stands in the log, also after the commit of the first failed."""

    class Failing:
        failed = 0

        def transaction(self, opener):
            return Fails(rig.store.transaction(opener))

    class Fails:
        def __init__(self, inner):
            self.inner = inner

        async def __aenter__(self):
            return await self.inner.__aenter__()

        async def __aexit__(self, *_):
            Failing.failed += 1
            failure = StoreUnavailable("the commit failed")
            await self.inner.__aexit__(StoreUnavailable, failure, None)
            raise failure

    with pytest.raises(StoreUnavailable):
        await decide_call(replace(rig.world, store=Failing()), rig.door, agent, OTHER)
    assert Failing.failed == 1 and not rig.world.denials and denials(rig) == ([], [])
    id, _ = await asked(rig, agent)
    assert denials(rig) == ([id], [])
    await asked(rig, agent)
    with pytest.raises(StoreUnavailable):
        await count_denials(replace(rig.world, store=Failing()), rig.lane, all=True)
    assert await count_denials(rig.world, rig.lane) == 1, "it is stated the next time"
    assert denials(rig) == ([id], [(id, 1)])


async def test_a_flood_of_different_storms_is_counted_in_parts_and_beyond_the_room_one_by_one(rig, agent):
    world = replace(rig.world, denials=Denials(most=300))
    for _ in range(2):
        for n in range(310):
            await decide_call(world, rig.door, agent, CallAsk("crm/get_order", {"id": f"x{n}"}))
    assert len(denials(rig)[0]) == 320
    assert await count_denials(world, rig.lane, all=True) == 300
    assert len(denials(rig)[1]) == 300 and not world.denials
