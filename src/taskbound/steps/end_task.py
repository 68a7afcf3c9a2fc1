"""End a task: the whole subtree and every lease of it, in one transaction (`ending`).

A task that has `idle` ends when nothing happened in it for so long. What happens: a call is decided
either way, a lease is asked for or given, a child opens or ends, or any of this in a child that
lives. A heartbeat records nothing and is none of it, nor is what the holder of a lease does at its
target: we do not see it.
"""

from datetime import datetime

from taskbound.core.call import Call, Decision
from taskbound.core.errors import Denied, bounded
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import CREATE_WINDOW, Lease
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import LIVE, end_tree
from taskbound.ports import Transaction, World
from taskbound.prove import gather, not_theirs, prove, refuse


async def end_task(world: World, door: Identity, asker: Claim | Identity, id: str, reason: str) -> list[Task]:
    """End a task and everything below it; return what ended now. Raises NotFound, Denied for somebody else's task."""
    bounded("the reason", reason, 1024)
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = await tx.get(Task, id, lock=True)
        refusal = await not_theirs(world, tx, caller, task, "end")
        if refusal is None:
            return await end_tree(tx, caller, task.id, reason)
        case = await gather(world, tx, caller, "task/end", id)
        await refuse(tx, case, Decision((refusal,), {}))
    raise Denied(refusal.reason, code=refusal.code)


async def end_due_tasks(world: World, lane: Identity) -> list[Task]:
    """End every task whose deadline has passed, or that was idle, each in a transaction of its own; return what ended.

    Raises ExceptionGroup of what could not be ended, after every other was.
    """
    async with world.store.transaction(lane) as tx:
        due = [task.id for state in LIVE for task in await tx.find(Task, due=tx.now, state=state)]
    ended: list[Task] = []
    failed: list[Exception] = []
    for id in due:
        try:
            async with world.store.transaction(lane) as tx:
                ended += await _end_due(tx, lane, id)
        except Exception as error:  # one that cannot be ended stops no other (S3)
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(due)} due tasks could not be ended", failed)
    return ended


async def _end_due(tx: Transaction, lane: Identity, id: str) -> list[Task]:
    """End the task, unless something happened in it since it was asked last: then it is due later."""
    task = await tx.get(Task, id, lock=True)
    if task.due is None or tx.now < task.due:  # ended, or busy, meanwhile
        return []
    if task.deadline <= tx.now:
        return await end_tree(tx, lane, id, "deadline")
    due = task.due_after(await _last_in(tx, task))
    if due <= tx.now:
        return await end_tree(tx, lane, id, "idle")
    await tx.record(Kind.TASK_EXTENDED, advance(task, Kind.TASK_EXTENDED, due=due))
    return []


async def _last_in(tx: Transaction, task: Task) -> datetime:
    """Return when something last happened in a task, or below it."""
    moments = [task.opened]
    moments += [call.at for call in await tx.find(Call, task=task.id, newest=True, limit=1)]
    for lease in await tx.find(Lease, task=task.id):
        moments += [lease.create_by - CREATE_WINDOW, lease.activated or task.opened]
    for child in await tx.find(Task, parent=task.id):
        moments.append(child.ended or await _last_in(tx, child))
    return max(moments)
