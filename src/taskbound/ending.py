"""Ending a task, as steps share it: the whole subtree and every lease of it, inside the step's own transaction.

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
    for state in ("pending", "active"):
        for found in await tx.find(Lease, task=id, state=state):
            lease = await tx.get(Lease, found.id, lock=True)  # a lane at another node may have been at it meanwhile
            if lease.state == state:
                await tx.record(Kind.LEASE_FELL_DUE, fall_due(lease, tx.now), by=by, reason=reason)
    return [*ended, over]
