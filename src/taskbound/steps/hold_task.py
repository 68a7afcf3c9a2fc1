"""A task that is held by a heartbeat: its holder is heard, or lost (INTERFACES 10).

A heartbeat records nothing: when the last one came is known at the node that hears it, and to
nobody else. Lost is lost trust, so a node that forgot, because it was started again, gives one
grace more and no permit rests on it: each call is decided on the task as it is stored. Only what a
heartbeat changes is on record: that another node hears it from now on, and that the task is resumed.
"""

from collections.abc import Callable
from dataclasses import replace

from taskbound.core.call import Decision
from taskbound.core.errors import Denied
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import LIVE, end_tree, resume_tree, suspend_tree
from taskbound.ports import Transaction, World
from taskbound.prove import gather, not_theirs, prove, refuse, unseen

LOST = "no heartbeat"  # why it ended, or is suspended


async def hear_holder(
    world: World, door: Identity, asker: Claim | Identity, id: str, hear: Callable[[Task], None] = lambda task: None
) -> Task:
    """Take note that the holder of a task lives, and return the task.

    `hear` is told the task before it is committed: should the answer be lost, it is listened to all the same, and a
    holder that is not heard again is lost. Raises NotFound, and Denied for somebody else's task and for the caller's
    own once it ended.
    """
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = await tx.get(Task, id)
        refused = await unseen(world, tx, caller, id, task)
        if refused is None and task.heartbeat is None:
            return task  # held by a connection, or not at all
        if refused is None:
            deny = await not_theirs(world, tx, caller, task, "keep alive")
            if deny is None:
                task = await _heard(world, tx, caller, task)
                hear(task)
                return task
            refused = Denied(deny.reason, code=deny.code)
            await refuse(tx, await gather(world, tx, caller, "task/heartbeat", id), Decision((deny,), {}))
    raise refused


async def lose_holder(world: World, door: Identity, id: str) -> list[Task]:
    """End or suspend a task whose heartbeat this node hears no more; return what ended or is suspended now.

    Another node may hear it by now: then nothing is done. Raises NotFound.
    """
    async with world.store.transaction(door) as tx:
        task = await tx.get(Task, id, lock=True)
        if task.heartbeat is None or task.heartbeat.node != world.node:
            return []
        if task.heartbeat.on_lost == "suspend":
            return await suspend_tree(tx, door, id, LOST)
        return await end_tree(tx, door, id, LOST)


async def _heard(world: World, tx: Transaction, caller: Identity, task: Task) -> Task:
    held = task.heartbeat
    is_lost = task.state == "suspended" and task.reason == LOST
    if held is None or task.state not in LIVE or task.deadline <= tx.now or (held.node == world.node and not is_lost):
        return task  # as nearly always: nothing is locked
    if held.node != world.node:
        task = await tx.get(Task, task.id, lock=True)
        if task.state not in LIVE:  # it ended meanwhile
            return task
        task = advance(task, Kind.TASK_EXTENDED, heartbeat=replace(held, node=world.node))
        await tx.record(Kind.TASK_EXTENDED, task, by=caller, replaced="node")
    return await resume_tree(tx, caller, task.id, LOST)
