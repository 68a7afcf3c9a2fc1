"""End a task: the whole subtree and every lease of it, in one transaction.

After the commit nothing of it can act: each decision reads its task, and each lease is due to be
cut. What the children had left of their budgets flows back up. Ending what has ended is success.
"""

from taskbound.core.call import Call
from taskbound.core.errors import Denied
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import Lease, fall_due
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import Transaction, World
from taskbound.prove import chain_of, prove, registered

LIVE = ("requested", "open", "suspended")


async def end_task(world: World, door: Identity, asker: Claim | Identity, id: str, reason: str) -> list[Task]:
    """End a task and everything below it; return what ended now. Raises NotFound, Denied for somebody else's task."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = await tx.get(Task, id, lock=True)
        ended: list[Task] = []
        allowed = await _may_end(tx, caller, task)
        if allowed:
            ended = await _end(tx, caller, task, reason)
        else:
            call = Call(
                world.new_id("c"), tx.org, caller.task, None, "task/end", id, tx.now, "not_yours", state="denied"
            )
            await tx.record(Kind.CALL_DENIED, call, by=caller)
    if not allowed:
        raise Denied(f"task {id} is not {caller.name}'s to end", code="not_yours")
    return ended


async def end_due_tasks(world: World, lane: Identity) -> list[Task]:
    """End every task whose deadline has passed; return what ended."""
    ended: list[Task] = []
    async with world.store.transaction(lane) as tx:
        for state in LIVE:
            for task in await tx.find(Task, due=tx.now, state=state):
                ended += await _end(tx, lane, await tx.get(Task, task.id, lock=True), "deadline")
    return ended


async def _may_end(tx: Transaction, caller: Identity, task: Task) -> bool:
    """Whether the caller works in the task or above it, or is the human it is for or the human behind its actor."""
    if caller.is_ours:
        return True
    if caller.task is not None:
        return caller.task in {above.id for above in await chain_of(tx, task.id)}
    return caller.spiffe_id in {task.subject, task.actor, (await registered(tx, task.actor)).owner}


async def _end(tx: Transaction, caller: Identity, task: Task, reason: str) -> list[Task]:
    if task.state not in LIVE:
        return []
    ended: list[Task] = []
    for child in await tx.find(Task, parent=task.id):  # before its parent, so that budgets flow back up
        ended += await _end(tx, caller, child, reason)
    for state in ("pending", "active"):
        for lease in await tx.find(Lease, task=task.id, state=state):
            await tx.record(Kind.LEASE_FELL_DUE, fall_due(lease, tx.now), by=caller, reason=reason)
    over = advance(await tx.get(Task, task.id), Kind.TASK_ENDED, ended=tx.now, reason=reason, due=None)
    await tx.record(Kind.TASK_ENDED, over, by=caller, reason=reason)
    return [*ended, over]
