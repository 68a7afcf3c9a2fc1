"""Look things up: who asks sees its own tasks; all else is administration (`audit/read`), decided by the engine.

Inside a task its own is the task and what is below it. Outside, what somebody acts in, what is for
them, and what those they own act in. Reading changes nothing, so only a refusal is recorded.
"""

from collections.abc import Sequence
from typing import TypeVar

from taskbound.core.call import Decision, Deny, decide
from taskbound.core.identity import Claim, Identity
from taskbound.core.leaf import Fact
from taskbound.core.task import Task
from taskbound.core.thing import Thing, noun_of
from taskbound.formats.note import parse_note
from taskbound.formats.tlog import parse_checkpoint
from taskbound.ports import World
from taskbound.prove import gather, is_own, owned_by, prove, refuse, unseen

T = TypeVar("T", bound=Thing)


async def look_up_task(world: World, door: Identity, asker: Claim | Identity, id: str) -> Task:
    """Return a task. Raises NotFound, Denied for somebody else's."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = await tx.get(Task, id)
        refusal = await unseen(world, tx, caller, id, task)
    if refusal is not None:
        raise refusal
    return task


async def look_up_tasks(
    world: World, door: Identity, asker: Claim | Identity, state: str | None, after: str, limit: int
) -> list[Task]:
    """Return the tasks that the caller may see, by id, behind the id given. Raises Denied for a task that ended."""
    states = [state] if state else [known for known in Task.LIFECYCLE if known]
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        case = await gather(world, tx, caller, "audit/read", "tasks")
        decision = decide(case)
        if decision.code == "task_ended":
            await refuse(tx, case, decision)
        else:
            found = [task for one in states for task in await tx.find(Task, state=one) if task.id > after]
            if not decision.permitted:
                owned = await owned_by(tx, caller)
                found = [task for task in found if await is_own(tx, case, task, owned)]
            return sorted(found, key=lambda task: task.id)[:limit]
    decision.require_permit()
    return []


async def look_up(
    world: World, door: Identity, asker: Claim | Identity, noun: type[T], states: Sequence[str]
) -> list[T]:
    """Return the things of a noun in these states, by id. Raises Denied for who may not read them all."""
    await permit_administration(world, door, asker, "audit/read", noun_of(noun))
    async with world.store.transaction(door) as tx:
        return sorted([one for state in states for one in await tx.find(noun, state=state)], key=lambda one: one.id)


async def read_log(world: World, door: Identity, asker: Claim | Identity, after: int, limit: int) -> Sequence[Fact]:
    """Return the sealed events behind an index, oldest first. Raises Denied for who may not read them."""
    await permit_administration(world, door, asker, "audit/read", "log")
    note = await world.log.checkpoint(door)
    size = parse_checkpoint(parse_note(note)[0]).size if note else 0
    return await world.log.read(door, after + 1, min(size, after + 1 + limit)) if after + 1 < size else []


async def permit_administration(
    world: World, door: Identity, asker: Claim | Identity, action: str, resource: str
) -> None:
    """Return where policy lets the caller do what a lane or a port then does. Raises Denied."""
    async with world.store.transaction(door) as tx:
        case = await gather(world, tx, await prove(tx, asker), action, resource)
        decision = decide(case)
        if not decision.permitted:
            await refuse(tx, case, decision)
    decision.require_permit()


async def require_acting(world: World, door: Identity, asker: Claim | Identity, action: str, id: str) -> None:
    """Return where the caller's task is the one named; without a task the next step says so. Raises Denied."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        if caller.task in (None, id):
            return
        denied = Decision((Deny("not_yours", f"{caller.name} does not act in task {id[:32]}"),), {})
        await refuse(tx, await gather(world, tx, caller, action, id[:64]), denied)
    denied.require_permit()


async def count_tasks(world: World, door: Identity) -> int:
    """Return how many tasks are open. Raises Unavailable."""
    async with world.store.transaction(door) as tx:
        return len(await tx.find(Task, state="open"))
