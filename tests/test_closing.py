"""What ended is closed by itself within about a second, and not before all of it is taken back (INTERFACES 11)."""

from contextlib import asynccontextmanager
from dataclasses import replace

from taskbound import lanes as module
from taskbound.steps.close_task import close_task
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from tests.rig import ALICE
from tests.stories.story import REFUND, claim_of
from tests.test_lanes import due, lanes_of, quick, rig, running, until  # noqa: F401

READER = LeaseAsk("shopdb/reader")


async def opened(rig, ask=REFUND, asker=ALICE):  # noqa: F811
    task, handle = await open_task(rig.world, rig.door, asker, ask)
    return task, claim_of(handle)


def is_closed(rig, task):  # noqa: F811
    return lambda: rig.store.things["main", "task", task.id].state == "closed"


async def test_a_whole_tree_is_closed_within_about_a_second(rig):  # noqa: F811
    task, agent = await opened(rig)
    await issue_lease(rig.world, rig.door, agent, READER)
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    child, _ = await opened(rig, wish, agent)
    async with running(rig) as lanes:
        await end_task(rig.world, rig.door, ALICE, task.id, "done")
        lanes.progress.wake()
        await until(is_closed(rig, task), 1.5)
        closed = [event.id for event in rig.store.events if event.kind == "task.closed"]
        assert closed == [child.id, task.id]
    rig.check()


async def test_no_receipt_is_made_while_a_target_is_down_and_one_is_made_when_it_is_back(rig):  # noqa: F811
    task, agent = await opened(rig)
    other, _ = await opened(rig)
    await issue_lease(rig.world, rig.door, agent, READER)
    rig.providers["shopdb"].mode["cut"] = "down"
    async with running(rig) as lanes:
        for one in (task, other):
            await end_task(rig.world, rig.door, ALICE, one.id, "done")
        lanes.progress.wake()
        await until(is_closed(rig, other), 1.5)  # nothing of this one is out
        assert rig.store.things["main", "task", task.id].state == "ended"
        rig.providers["shopdb"].mode["cut"] = "up"
        await until(is_closed(rig, task), 5)
    assert "not_presented: the target's provider cannot" in rig.store.things["main", "task", task.id].receipt
    rig.check()


async def test_what_a_process_left_ended_is_closed_by_the_next(rig):  # noqa: F811
    task, _ = await opened(rig)
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    async with running(rig):
        await until(is_closed(rig, task), 1.5)


async def test_many_that_wait_starve_none_behind_them(rig, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "CLOSERS", 3)
    monkeypatch.setattr(module, "CLOSE", 0.02)
    rig.providers["shopdb"].mode["cut"] = "down"
    waiting = [await opened(rig) for _ in range(7)]
    for _, agent in waiting:
        await issue_lease(rig.world, rig.door, agent, READER)
    free = [await opened(rig) for _ in range(7)]
    async with running(rig):
        for task, _ in (*waiting, *free):
            await end_task(rig.world, rig.door, ALICE, task.id, "done")
        for task, _ in free:
            await until(is_closed(rig, task), 2)
    assert not any(is_closed(rig, task)() for task, _ in waiting)


async def test_a_parent_is_tried_once_for_all_its_children(rig, monkeypatch):  # noqa: F811
    parent, agent = await opened(rig)
    free = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 0, "leases": 0})
    children = [(await opened(rig, free, agent))[0] for _ in range(20)]
    await end_task(rig.world, rig.door, ALICE, parent.id, "done")
    tried: list[str] = []

    async def counted(world, lane, id):
        tried.append(id)
        return await close_task(world, lane, id)

    monkeypatch.setattr(module, "close_task", counted)
    await module.Closing(rig.world, lanes_of(rig)).close()
    assert is_closed(rig, parent)() and all(is_closed(rig, child)() for child in children)
    assert tried.count(parent.id) <= 2 and len(tried) <= 22  # in its turn, and after them


async def test_a_parent_that_waits_for_one_child_reads_none_of_those_that_are_closed(rig):  # noqa: F811
    parent, agent = await opened(rig)
    free = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 0, "leases": 0})
    children = [(await opened(rig, free, agent))[0] for _ in range(20)]
    await end_task(rig.world, rig.door, ALICE, parent.id, "done")
    for child in children[1:]:
        await close_task(rig.world, rig.lane, child.id)
    read: list[str] = []

    class Counting:
        @asynccontextmanager
        async def transaction(self, opener):
            async with rig.store.transaction(opener) as tx:
                find = tx.find

                async def counted(noun, **where):
                    found = await find(noun, **where)
                    read.extend(one.id for one in found)
                    return found

                tx.find = counted
                yield tx

    assert await close_task(replace(rig.world, store=Counting()), rig.lane, parent.id) is None
    assert read == [children[0].id]


async def test_one_that_cannot_be_closed_stops_no_other(rig, monkeypatch):  # noqa: F811
    tasks = [(await opened(rig))[0] for _ in range(3)]
    broken = min(task.id for task in tasks)

    async def fails(world, lane, id):
        if id == broken:
            raise RuntimeError("a bug")
        return await close_task(world, lane, id)

    monkeypatch.setattr(module, "close_task", fails)
    async with running(rig) as lanes:
        for task in tasks:
            await end_task(rig.world, rig.door, ALICE, task.id, "done")
        for task in tasks:
            if task.id != broken:
                await until(is_closed(rig, task), 2)
        assert lanes.progress.lane_failures["close"] >= 1
    assert rig.store.things["main", "task", broken].state == "ended"


async def test_an_orphan_belongs_to_no_receipt(rig):  # noqa: F811
    task, _ = await opened(rig)
    await due(rig)
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    async with running(rig):
        await until(is_closed(rig, task), 1.5)
    assert '"leases":[]' in rig.store.things["main", "task", task.id].receipt
