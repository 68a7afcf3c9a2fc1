"""Bodies are erased by age and by class; what a class does not hold stays."""

import asyncio
from datetime import timedelta

import pytest

from taskbound.core.errors import Conflict, InvalidRequest
from taskbound.steps import erase_bodies as module
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.erase_bodies import erase_bodies, erase_body
from taskbound.steps.open_task import open_task
from taskbound.steps.seal_log import seal_log
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    _, handle = await open_task(made.world, made.door, ALICE, REFUND)
    for order in ("4711", "4712", "4711"):
        await decide_call(made.world, made.door, claim_of(handle), CallAsk("crm/get_order", {"id": order}))
        made.clock.advance(10)
    while (await seal_log(made.world, made.lane)).size < len(made.store.events):
        pass
    return made


async def bodies(rig):
    facts = await rig.world.log.read(rig.lane, 0, 1000)
    return [(str(fact.header.kind), fact.body is not None) for fact in facts]


async def test_the_arguments_of_old_calls_are_erased_and_nothing_else(rig, monkeypatch):
    monkeypatch.setattr(module, "READ", 2)  # several looks, one fact
    before = await bodies(rig)
    assert [kind for kind, _ in before][-3:] == ["call.permitted", "call.denied", "call.permitted"]
    assert await erase_bodies(rig.world, rig.lane, rig.door, timedelta(seconds=15), "arguments") == 2
    after = await bodies(rig)
    gone = {at for at, (kind, whole) in enumerate(after) if not whole}
    assert gone == {len(before) - 3, len(before) - 2}
    erased = [event for event in rig.store.events if event.kind == "body.erased"]
    assert [event.detail["reason"] for event in erased] == ["arguments older than 0:00:15"]
    assert await erase_bodies(rig.world, rig.lane, rig.door, timedelta(seconds=15), "arguments") == 0
    await seal_log(rig.world, rig.lane)
    assert await erase_bodies(rig.world, rig.lane, rig.door, timedelta(seconds=15)) == len(before) - 3


@pytest.mark.parametrize("of", ["arguments", ""])
async def test_what_another_run_took_meanwhile_keeps_nothing_else_of_the_batch(rig, monkeypatch, of):
    """Two runs of other ages or classes overlap: each takes its own, and none gives up what the other left."""
    calls = [at for at, (kind, _) in enumerate(await bodies(rig)) if kind.startswith("call.")]
    erase = rig.world.log.erase
    taken: list[int] = []

    async def late(lane, indexes, by, reason):
        if not taken:
            taken.append(await erase(lane, [calls[1]], by, "another run"))
        return await erase(lane, indexes, by, reason)

    monkeypatch.setattr(rig.world.log, "erase", late)
    whole = len(calls if of else await bodies(rig))
    assert await erase_bodies(rig.world, rig.lane, rig.door, timedelta(0), of) == whole - 1
    assert not any(there for kind, there in await bodies(rig) if kind.startswith("call."))


async def test_a_conflict_that_stays_is_told(rig, monkeypatch):
    async def never(lane, indexes, by, reason):
        raise Conflict("another transaction was at the same at this moment")

    monkeypatch.setattr(rig.world.log, "erase", never)
    async with asyncio.timeout(5):
        with pytest.raises(Conflict):
            await erase_bodies(rig.world, rig.lane, rig.door, timedelta(0))


async def test_a_class_that_there_is_not_erases_nothing(rig):
    with pytest.raises(InvalidRequest, match="there is no class 'intents'") as refused:
        await erase_bodies(rig.world, rig.lane, rig.door, timedelta(0), "intents")
    assert refused.value.hint == "known: arguments"


async def test_one_event_is_erased_alone_and_once(rig):
    before = await bodies(rig)
    await erase_body(rig.world, rig.lane, rig.door, 2)
    after = await bodies(rig)
    assert before[2][1] and after == [*before[:2], (before[2][0], False), *before[3:]]
    assert (rig.store.events[-1].kind, rig.store.events[-1].id) == ("body.erased", "2")
    for gone in (2, 999):  # erased already, and not sealed
        with pytest.raises(Conflict):
            await erase_body(rig.world, rig.lane, rig.door, gone)
