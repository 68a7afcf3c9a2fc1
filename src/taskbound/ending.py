"""Ending or suspending a task, as steps share it: its subtree and every lease of it, in the step's own transaction.

After the commit nothing of it can act: each decision reads its task, and each lease is due to be
cut (S2). What the children had left of their budgets flows back up. Ending what has ended is success.
"""

from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease, fall_due
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import Transaction

LIVE = ("requested", "open", "suspended")


async def end_tree(tx: Transaction, by: Identity, id: str, reason: str) -> list[Task]:
    """End a task and everything below it; return what ended now, children first. Raises NotFound."""
    task = await tx.get(Task, id, lock=True)  # locked before its children and leases are read: none appears meanwhile
    if task.state not in LIVE:
        return []
    ended: list[Task] = []
    children = [child for state in LIVE for child in await tx.find(Task, parent=id, state=state)]
    for child in children:  # before its parent, so that budgets flow back up; below one that ended nothing lives
        ended += await end_tree(tx, by, child.id, reason)
    over = advance(task, Kind.TASK_ENDED, ended=tx.now, reason=reason, due=None)
    await tx.record(Kind.TASK_ENDED, over, by=by, reason=reason)
    # Only now: who asks for a lease takes of the budget, which is held from here on. Before it one more could come.
    await _take_back(tx, by, id, reason)
    return [*ended, over]


async def suspend_tree(tx: Transaction, by: Identity, id: str, reason: str) -> list[Task]:
    """Suspend a task and what is open below it; return what is suspended now. Raises NotFound.

    Its leases are taken back, since at their targets nobody reads the task; once it is resumed others may be asked for.
    """
    task = await tx.get(Task, id, lock=True)
    if task.state != "open":
        return []
    held = advance(task, Kind.TASK_SUSPENDED, reason=reason)
    await tx.record(Kind.TASK_SUSPENDED, held, by=by, reason=reason)
    below = [one for child in await tx.find(Task, parent=id, state="open")
             for one in await suspend_tree(tx, by, child.id, reason)]  # fmt: skip
    await _take_back(tx, by, id, reason)
    return [held, *below]


async def resume_tree(tx: Transaction, by: Identity, id: str, reason: str) -> Task:
    """Resume a task and what was suspended with it, for this reason; return it as it is then. Raises NotFound.

    A child that is held by a heartbeat of its own stays suspended until it is heard.
    """
    task = await tx.get(Task, id, lock=True)
    if task.state != "suspended" or task.reason != reason:
        return task
    task = advance(task, Kind.TASK_RESUMED, reason="")
    await tx.record(Kind.TASK_RESUMED, task, by=by)
    for child in await tx.find(Task, parent=id, state="suspended"):
        if child.heartbeat is None:
            await resume_tree(tx, by, child.id, reason)
    return task


async def _take_back(tx: Transaction, by: Identity, id: str, reason: str) -> None:
    for state in ("pending", "active"):
        for found in await tx.find(Lease, task=id, state=state):
            lease = await tx.get(Lease, found.id, lock=True)  # a lane at another node may have been at it meanwhile
            if lease.state == state:
                await tx.record(Kind.LEASE_FELL_DUE, fall_due(lease, tx.now), by=by, reason=reason)
