"""End a task: the whole subtree and every lease of it, in one transaction.

After the commit nothing of it can act: each decision reads its task, and each lease is due to be
cut. What the children had left of their budgets flows back up. Ending what has ended is success.
"""

from taskbound.core.call import Decision, Deny
from taskbound.core.errors import Denied
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import Lease, fall_due
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import Transaction, World
from taskbound.prove import chain_of, gather, prove, refuse, registered

LIVE = ("requested", "open", "suspended")


async def end_task(world: World, door: Identity, asker: Claim | Identity, id: str, reason: str) -> list[Task]:
    """End a task and everything below it; return what ended now. Raises NotFound, Denied for somebody else's task."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = await tx.get(Task, id, lock=True)
        refusal = await _refusal(tx, caller, task)
        if refusal is None:
            return await _end(tx, caller, task.id, reason)
        case = await gather(world, tx, caller, "task/end", id)
        await refuse(tx, case, Decision((refusal,), {}))
    raise Denied(refusal.reason, code=refusal.code)


async def end_due_tasks(world: World, lane: Identity) -> list[Task]:
    """End every task whose deadline has passed, each in a transaction of its own; return what ended.

    Raises ExceptionGroup of what could not be ended, after every other was.
    """
    async with world.store.transaction(lane) as tx:
        due = [task.id for state in LIVE for task in await tx.find(Task, due=tx.now, state=state)]
    ended: list[Task] = []
    failed: list[Exception] = []
    for id in due:
        try:
            async with world.store.transaction(lane) as tx:
                ended += await _end(tx, lane, id, "deadline")
        except Exception as error:  # one that cannot be ended stops no other (S3)
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(due)} due tasks could not be ended", failed)
    return ended


async def _refusal(tx: Transaction, caller: Identity, task: Task) -> Deny | None:
    """Only who works in the task or above it, the human it is for, and the human behind its actor may end it."""
    if caller.is_ours:
        return None
    if caller.task is not None:
        mine = caller.task in {above.id for above in await chain_of(tx, task.id)}
    else:
        mine = caller.spiffe_id in {task.subject, task.actor, (await registered(tx, task.actor)).owner}
    return None if mine else Deny("not_yours", f"task {task.id} is not {caller.name}'s to end")


async def _end(tx: Transaction, caller: Identity, id: str, reason: str) -> list[Task]:
    task = await tx.get(Task, id, lock=True)  # locked before its children and leases are read: none appears meanwhile
    if task.state not in LIVE:
        return []
    ended: list[Task] = []
    for child in await tx.find(Task, parent=id):  # before its parent, so that budgets flow back up
        ended += await _end(tx, caller, child.id, reason)
    for state in ("pending", "active"):
        for lease in await tx.find(Lease, task=id, state=state):
            await tx.record(Kind.LEASE_FELL_DUE, fall_due(lease, tx.now), by=caller, reason=reason)
    over = advance(task, Kind.TASK_ENDED, ended=tx.now, reason=reason, due=None)
    await tx.record(Kind.TASK_ENDED, over, by=caller, reason=reason)
    return [*ended, over]
