"""A task with `idle` ends when nothing happened in it for so long, and not before (INTERFACES 3)."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import Denied
from taskbound.core.event import Kind
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_due_tasks, end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

READ, OTHER = CallAsk("crm/get_order", {"id": "4711"}), CallAsk("crm/get_order", {"id": "4712"})
IDLE = timedelta(minutes=2)  # of a life of ten


def with_idle(rig, **idle):
    """Profiles of the rig's world, by the first word of their name, end their tasks when idle."""
    policies = rig.world.policies.current
    profiles = {name: replace(one, idle=idle.get(name.partition("-")[0])) for name, one in policies.profiles.items()}

    class Changed:
        current = replace(policies, profiles=profiles)

    rig.world = replace(rig.world, policies=Changed())


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    with_idle(made, refund=IDLE)
    return made


@pytest.fixture
async def agent(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    return claim_of(handle)


async def looked(rig, seconds):
    """Return what the lane ends after so many seconds more, by depth and reason."""
    rig.clock.advance(seconds)
    ended = [(task.depth, task.reason) for task in await end_due_tasks(rig.world, rig.lane)]
    rig.check()
    return ended


async def called(rig, agent, ask=READ):
    _, _, decision = await decide_call(rig.world, rig.door, agent, ask)
    return decision.code


async def child_of(rig, agent):
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 3, "leases": 0})
    _, handle = await open_task(rig.world, rig.door, agent, wish)
    return claim_of(handle)


def extended(rig):
    return sum(event.kind == Kind.TASK_EXTENDED for event in rig.store.events)


async def test_a_task_in_which_nothing_happens_ends(rig, agent):
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(0, "idle")]
    assert await called(rig, agent) == "task_ended"
    assert extended(rig) == 0


async def test_a_task_without_idle_lives_until_its_deadline(rig):
    with_idle(rig)
    await open_task(rig.world, rig.door, ALICE, REFUND)
    assert await looked(rig, 599) == []
    assert await looked(rig, 1) == [(0, "deadline")]


async def test_a_busy_task_lives_until_its_deadline(rig, agent):
    for _ in range(9):
        assert await looked(rig, 60) == []
        assert await called(rig, agent) == ""
    assert await looked(rig, 59) == []
    assert await looked(rig, 1) == [(0, "deadline")]
    assert 1 <= extended(rig) <= 8, "it is asked when it is due, not at each call"


@pytest.mark.parametrize(("ask", "code"), [(READ, ""), (OTHER, "outside_grants")], ids=["permitted", "denied"])
async def test_a_call_is_something_that_happens_however_it_is_decided(rig, agent, ask, code):
    rig.clock.advance(100)
    assert await called(rig, agent, ask) == code
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(0, "idle")]


async def test_a_lease_is_something_that_happens(rig, agent):
    rig.clock.advance(100)
    await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(0, "idle")]


async def test_a_lease_that_is_refused_is_something_that_happens(rig, agent):
    rig.clock.advance(100)
    with pytest.raises(Denied):
        await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/admin"))
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(0, "idle")]


async def test_what_happens_in_a_child_happens_in_the_task(rig, agent):
    rig.clock.advance(60)
    child = await child_of(rig, agent)
    assert await looked(rig, 50) == []
    grandchild = await child_of(rig, child)
    assert await looked(rig, 100) == []
    assert await called(rig, grandchild) == ""
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(2, "idle"), (1, "idle"), (0, "idle")], "all of it ends with the root"


async def test_the_end_of_a_child_is_something_that_happens(rig, agent):
    child = await child_of(rig, agent)
    rig.clock.advance(100)
    async with rig.store.transaction(rig.door) as tx:
        (task,) = [one for one in await tx.find(Task) if one.depth]
    await end_task(rig.world, rig.door, child, task.id, "done")
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(0, "idle")]


async def test_what_happens_beside_a_child_does_not_keep_it(rig, agent):
    with_idle(rig, refund=IDLE, look=IDLE)
    await child_of(rig, agent)
    rig.clock.advance(100)
    assert await called(rig, agent) == ""
    assert await looked(rig, 20) == [(1, "idle")]
    assert await called(rig, agent) == ""


async def test_what_happens_in_another_task_does_not_keep_it(rig, agent):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    rig.clock.advance(100)
    assert await called(rig, claim_of(handle)) == ""
    assert await looked(rig, 20) == [(0, "idle")]
    assert await called(rig, agent) == "task_ended"
    assert await called(rig, claim_of(handle)) == ""


async def test_a_suspended_task_is_asked_too(rig, agent):
    async with rig.store.transaction(rig.door) as tx:
        (task,) = await tx.find(Task)
        await tx.record(Kind.TASK_SUSPENDED, advance(task, Kind.TASK_SUSPENDED))
    rig.clock.advance(100)
    assert await called(rig, agent) == "task_suspended"
    assert await looked(rig, 119) == []
    assert await looked(rig, 1) == [(0, "idle")]
    assert extended(rig) == 1


async def test_one_that_is_busy_stops_no_other(rig, agent):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    rig.clock.advance(60)
    assert await called(rig, agent) == ""
    assert await looked(rig, 60) == [(0, "idle")]
    assert await called(rig, claim_of(handle)) == "task_ended"
    assert await called(rig, agent) == ""


async def test_one_that_ended_after_it_was_found_due_stays_as_it_is(rig, agent):
    """Another node, or its agent, was faster than the lane."""
    rig.clock.advance(100)
    assert await called(rig, agent) == ""
    rig.clock.advance(20)

    class Overtaken:
        looks = 0

        @asynccontextmanager
        async def transaction(self, opener):
            async with rig.store.transaction(opener) as tx:
                yield tx
            self.looks += 1
            if self.looks == 1:
                (task,) = await tx.find(Task)
                await end_task(rig.world, rig.door, agent, task.id, "done")

    assert await end_due_tasks(replace(rig.world, store=Overtaken()), rig.lane) == []
    assert [one.reason for one in rig.store.things.values() if isinstance(one, Task)] == ["done"]
    rig.check()
