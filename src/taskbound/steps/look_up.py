"""Look things up: who asks sees its own tasks; all else is administration (`audit/read`), decided by the engine.

Inside a task its own is the task and what is below it. Outside, what somebody acts in, what is for
them, and what those they own act in. Reading changes nothing, so only a refusal is recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from taskbound.core.call import Case, Decision, Deny, decide
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity, Registration
from taskbound.core.leaf import Fact
from taskbound.core.task import Task
from taskbound.core.thing import Thing, noun_of
from taskbound.formats.note import parse_note
from taskbound.formats.tlog import parse_checkpoint
from taskbound.ports import Transaction, World
from taskbound.prove import gather, is_own, owned_by, prove, refuse, unseen

T = TypeVar("T", bound=Thing)

PAGE = 500  # tasks read at a time where not each is the caller's


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
    """Return the tasks that the caller may see, by id, behind the id given. Raises Denied for a task that ended.

    However many there are, no more than a page of them is read at a time.
    """
    where: dict[str, Any] = {"state": state} if state else {}
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        case = await gather(world, tx, caller, "audit/read", "tasks")
        decision = decide(case)
        if decision.code in ("task_ended", "check_failed"):
            await refuse(tx, case, decision)
        else:
            if decision.permitted:
                return await tx.find(Task, after=after, limit=limit, **where)
            if case.call.root is not None:  # inside a task nothing of another tree is its own
                where["root"] = case.call.root
            return await _own(tx, case, await owned_by(tx, caller), after, limit, where)
    decision.require_permit()
    return []


async def _own(
    tx: Transaction, case: Case, owned: Sequence[str], after: str, limit: int, where: Mapping[str, Any]
) -> list[Task]:
    """Return those of the tasks that are the caller's, read page by page."""
    own: list[Task] = []
    while len(own) < limit:
        page = await tx.find(Task, after=after, limit=PAGE, **where)
        own += [task for task in page if await is_own(tx, case, task, owned)]
        if len(page) < PAGE:
            break
        after = page[-1].id
    return own[:limit]


async def look_up(
    world: World, door: Identity, asker: Claim | Identity, noun: type[T], states: Sequence[str], after: str, limit: int
) -> list[T]:
    """Return things of a noun in these states, by id, behind the id given. Raises Denied for who may not read all."""
    await permit_administration(world, door, asker, "audit/read", noun_of(noun))
    async with world.store.transaction(door) as tx:
        pages = [await tx.find(noun, state=state, after=after, limit=limit) for state in states]
    return sorted((one for page in pages for one in page), key=lambda one: one.id)[:limit]


@dataclass(frozen=True, slots=True)
class Life:
    """A registration, with when it began and ended, and whether it ever acted in a task."""

    of: Registration
    since: datetime | None  # None: its event is not in this log
    until: datetime | None  # None: it is not retired
    has_worked: bool


async def look_up_lives(world: World, door: Identity, asker: Claim | Identity, after: str, limit: int) -> list[Life]:
    """Return registrations with their lives, by id, behind the id given. Raises Denied for who may not read all."""
    states = [state for state in Registration.LIFECYCLE if state]
    found = await look_up(world, door, asker, Registration, states, after, limit)
    async with world.store.transaction(door) as tx:
        worked = {one.id: bool(await tx.find(Task, actor=one.spiffe_id, limit=1)) for one in found}
    lives = []
    for one in found:
        facts = [(fact.header.kind, fact.header.at) for fact in await world.log.about(door, one.id)]
        began = [at for kind, at in facts if kind == Kind.IDENTITY_REGISTERED]
        ended = [at for kind, at in facts if kind in (Kind.IDENTITY_RETIRED, Kind.IDENTITY_OFFBOARDED)]
        lives.append(Life(one, min(began, default=None), max(ended, default=None), worked[one.id]))
    return lives


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
        return await tx.count(Task, "open")
