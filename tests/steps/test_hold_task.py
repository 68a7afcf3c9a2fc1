"""A task that is held by a heartbeat lives as long as its holder is heard, and no longer (INTERFACES 10)."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import Denied, NotFound, TaskboundError
from taskbound.core.event import Kind
from taskbound.core.identity import Process
from taskbound.core.lease import Lease
from taskbound.core.task import Heartbeat, Task
from taskbound.core.thing import advance
from taskbound.steps import hold_task
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.hold_task import hear_holder, lose_holder
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

READ = CallAsk("crm/get_order", {"id": "4711"})
CHILD = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 3, "leases": 0})


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    made.world = replace(made.world, node="north")
    return made


def graced(rig, on_lost=None, **seconds):
    """Profiles, by the first word of their name, ask for a heartbeat."""
    policies = rig.world.policies.current
    grace = {name: timedelta(seconds=one) for name, one in seconds.items()}
    profiles = {
        name: replace(one, heartbeat_grace=grace.get(name.partition("-")[0]), on_lost=on_lost)
        for name, one in policies.profiles.items()
    }

    class Changed:
        current = replace(policies, profiles=profiles)

    rig.world = replace(rig.world, policies=Changed())


async def opened(rig, by=ALICE, ask=REFUND, **changes):
    task, handle = await open_task(rig.world, rig.door, by, replace(ask, **changes))
    return task, claim_of(handle)


async def called(rig, agent):
    _, _, decision = await decide_call(rig.world, rig.door, agent, READ)
    return decision.code


def stored(rig, task):
    return rig.store.things["main", "task", task.id]


def kinds(rig, since=0):
    return [event.kind for event in rig.store.events[since:]]


@asynccontextmanager
async def nothing_recorded(rig):
    before = len(rig.store.events)
    yield
    assert kinds(rig, before) == []


@pytest.mark.parametrize(
    ("grace", "changes", "held"),
    [
        ({}, {}, None),
        ({}, {"beats": True}, Heartbeat(6, "end", "north")),
        ({"refund": 90}, {}, Heartbeat(90, "end", "north")),
        ({"refund": 90}, {"beats": True}, Heartbeat(90, "end", "north")),
        ({"refund": 90}, {"holder": Process(7, 7)}, None),  # the connection holds it
    ],
)
async def test_a_task_is_held_by_what_it_was_opened_with(rig, grace, changes, held):
    graced(rig, **grace)
    task, _ = await opened(rig, **changes)
    assert stored(rig, task).heartbeat == task.heartbeat == held
    assert (stored(rig, task).holder is not None) == ("holder" in changes)


def test_two_of_three_heartbeats_may_be_lost():
    assert [Heartbeat(grace).every for grace in (3, 6, 90)] == [1, 2, 30]


async def test_a_heartbeat_records_nothing(rig):
    task, agent = await opened(rig, beats=True)
    async with nothing_recorded(rig):
        for asker in (agent, ALICE):  # who works in it, and the human that it is for
            assert await hear_holder(rig.world, rig.door, asker, task.id) == task


async def test_a_lost_holder_ends_the_task_and_all_below_it(rig):
    task, agent = await opened(rig, beats=True)
    child, below = await opened(rig, agent, CHILD)
    lease, _ = await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    assert [one.id for one in await lose_holder(rig.world, rig.door, task.id)] == [child.id, task.id]
    assert (stored(rig, task).state, stored(rig, task).reason) == ("ended", "no heartbeat")
    assert rig.store.things["main", "lease", lease.id].state == "revoking"
    assert [await called(rig, one) for one in (agent, below)] == ["task_ended", "task_ended"]
    with pytest.raises(TaskboundError) as refused:
        await hear_holder(rig.world, rig.door, agent, task.id)
    assert refused.value.code in ("task_ended", "invalid_token")
    assert await lose_holder(rig.world, rig.door, task.id) == []
    rig.check()


async def test_a_lost_holder_may_suspend_until_it_is_heard(rig):
    graced(rig, "suspend", refund=90)
    task, agent = await opened(rig)
    child, below = await opened(rig, agent, CHILD)
    lease, _ = await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    assert [one.id for one in await lose_holder(rig.world, rig.door, task.id)] == [task.id, child.id]
    assert [(stored(rig, one).state, stored(rig, one).reason) for one in (task, child)] == [
        ("suspended", "no heartbeat")
    ] * 2
    assert rig.store.things["main", "lease", lease.id].state == "revoking", "its target does not ask us"
    assert [await called(rig, one) for one in (agent, below)] == ["task_suspended", "task_suspended"]
    with pytest.raises(Denied):
        await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    assert await lose_holder(rig.world, rig.door, task.id) == []
    rig.check()

    assert (await hear_holder(rig.world, rig.door, agent, task.id)).state == "open"
    assert [(stored(rig, one).state, stored(rig, one).reason) for one in (task, child)] == [("open", "")] * 2
    assert [await called(rig, one) for one in (agent, below)] == ["", ""]
    await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    async with nothing_recorded(rig):
        await hear_holder(rig.world, rig.door, agent, task.id)
    rig.check()


async def test_a_child_with_a_heartbeat_of_its_own_is_resumed_by_that(rig):
    graced(rig, "suspend", refund=90)
    task, agent = await opened(rig)
    child, below = await opened(rig, agent, CHILD, beats=True)
    await lose_holder(rig.world, rig.door, task.id)
    await hear_holder(rig.world, rig.door, agent, task.id)
    assert (stored(rig, task).state, stored(rig, child).state) == ("open", "suspended")
    await hear_holder(rig.world, rig.door, below, child.id)
    assert stored(rig, child).state == "open"


async def test_a_child_of_a_suspended_task_is_not_let_in_by_its_own_heartbeat(rig):
    graced(rig, "suspend", refund=90)
    task, agent = await opened(rig)
    child, below = await opened(rig, agent, CHILD, beats=True)
    await lose_holder(rig.world, rig.door, task.id)
    await hear_holder(rig.world, rig.door, below, child.id)
    assert (stored(rig, child).state, await called(rig, below)) == ("open", "task_suspended")


async def test_what_was_suspended_for_another_reason_is_not_resumed(rig):
    graced(rig, "suspend", refund=90)
    task, agent = await opened(rig)
    async with rig.store.transaction(rig.lane) as tx:
        await tx.record(Kind.TASK_SUSPENDED, advance(await tx.get(Task, task.id), Kind.TASK_SUSPENDED, reason="odd"))
    async with nothing_recorded(rig):
        assert (await hear_holder(rig.world, rig.door, agent, task.id)).state == "suspended"
        assert await lose_holder(rig.world, rig.door, task.id) == []


async def test_a_heartbeat_after_the_deadline_resumes_nothing(rig):
    graced(rig, "suspend", refund=90)
    task, _ = await opened(rig)
    await lose_holder(rig.world, rig.door, task.id)
    rig.clock.advance(600)
    async with nothing_recorded(rig):
        assert (await hear_holder(rig.world, rig.door, ALICE, task.id)).state == "suspended"


async def test_the_node_that_hears_it_is_the_one_that_may_lose_it(rig):
    task, agent = await opened(rig, beats=True)
    south = replace(rig.world, node="south")
    async with nothing_recorded(rig):
        assert await lose_holder(south, rig.door, task.id) == []
    before = len(rig.store.events)
    assert (await hear_holder(south, rig.door, agent, task.id)).heartbeat == Heartbeat(6, "end", "south")
    assert kinds(rig, before) == [Kind.TASK_EXTENDED]
    async with nothing_recorded(rig):
        await hear_holder(south, rig.door, agent, task.id)
        assert await lose_holder(rig.world, rig.door, task.id) == [], "it is heard elsewhere"
    assert [one.state for one in await lose_holder(south, rig.door, task.id)] == ["ended"]


async def test_a_task_that_ends_while_another_node_hears_it_is_told_as_ended(rig):
    """It was read as open, and is over when it is locked."""
    task, _ = await opened(rig, beats=True)
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    south = replace(rig.world, node="south")
    async with nothing_recorded(rig), rig.store.transaction(rig.door) as tx:
        assert (await hold_task._heard(south, tx, rig.door, task)).state == "ended"


async def test_nobody_keeps_a_task_alive_that_is_not_theirs(rig):
    task, agent = await opened(rig, beats=True)
    _, below = await opened(rig, agent, CHILD)
    other, beside = await opened(rig)
    for asker, id in ((below, task.id), (beside, task.id), (agent, other.id)):
        before = len(rig.store.events)
        with pytest.raises(Denied):
            await hear_holder(rig.world, rig.door, asker, id)
        assert kinds(rig, before) == [Kind.CALL_DENIED]
    with pytest.raises(NotFound):
        await hear_holder(rig.world, rig.door, ALICE, "t" + "a" * 20)


async def test_who_may_only_see_it_does_not_keep_it_alive(rig, monkeypatch):
    """As an auditor, who sees every task and is nobody's holder."""

    async def seen(*_):
        return None

    monkeypatch.setattr(hold_task, "unseen", seen)
    task, _ = await opened(rig, beats=True)
    _, auditor = await opened(rig)
    before = len(rig.store.events)
    with pytest.raises(Denied, match="is not agent/support's to keep alive"):
        await hear_holder(rig.world, rig.door, auditor, task.id)
    (denied,) = rig.store.events[before:]
    assert (denied.kind, denied.value.action, denied.value.code) == (Kind.CALL_DENIED, "task/heartbeat", "not_yours")


async def test_leases_asked_for_while_it_is_suspended_do_not_appear(rig):
    graced(rig, "suspend", refund=90)
    task, agent = await opened(rig)
    await lose_holder(rig.world, rig.door, task.id)
    with pytest.raises(Denied, match="suspended"):
        await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    async with rig.store.transaction(rig.lane) as tx:
        assert await tx.find(Lease, task=task.id) == []
