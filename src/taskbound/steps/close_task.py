"""Close a task: all is taken back, everything below it is closed, and its receipt is signed (INTERFACES 11).

*ended* was the loss of all authority, in one transaction; this says that nothing is left of it. The
receipt stands in the fact itself. What is read, signed and recorded is read again before it is
recorded: a lease that came back meanwhile keeps its task open to the next pass.
"""

import json
from datetime import datetime

from taskbound.core.call import Call
from taskbound.core.errors import NotFound
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import Lease
from taskbound.core.receipt import origin_of, render_receipt
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import LIVE
from taskbound.formats.note import Signature, VerifierKey, make_key, render_note
from taskbound.ports import Transaction, World
from taskbound.prove import prove, unseen


async def ended_tasks(world: World, lane: Identity, after: str, limit: int) -> list[str]:
    """Return tasks that ended and are not closed, by id, behind the one given."""
    async with world.store.transaction(lane) as tx:
        ended = await tx.find(Task, state="ended")
    return sorted(task.id for task in ended if task.id > after)[:limit]


async def close_task(world: World, lane: Identity, id: str) -> Task | None:
    """Close an ended task; return it, or None while something of it is still to be taken back.

    Two at once: one closes it. Raises NotFound; Unavailable where the receipt cannot be signed.
    """
    async with world.store.transaction(lane) as tx:
        task = await tx.get(Task, id)
        tree = await _taken_back(tx, task)
        if tree is None:
            return None
        leases = await _leases(tx, tree)
        calls = [call for one in tree for call in await tx.find(Call, task=one.id)]
    checkpoint = await world.log.checkpoint(lane)
    text = render_receipt(task, leases, calls, await _tokens(world, lane, tree), checkpoint)
    key = await _key(world, lane.org)
    note = render_note(text, [Signature(key.name, key.id, await world.keys.sign("receipt", text.encode()))])
    # A crash here leaves an ended task: the next pass makes its receipt anew.
    async with world.store.transaction(lane) as tx:
        if await tx.get(Task, id, lock=True) != task or await _taken_back(tx, task) != tree:
            return None
        if await _leases(tx, tree) != leases:
            return None
        closed = advance(task, Kind.TASK_CLOSED, receipt=note.decode())
        await tx.record(Kind.TASK_CLOSED, closed)
    return closed


async def read_receipt(world: World, door: Identity, asker: Claim | Identity, id: str) -> tuple[str, VerifierKey]:
    """Return the receipt of a closed task, and the key that signed it.

    Raises NotFound, also while the task is not closed (`not_closed`), and Denied for somebody else's.
    """
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        task = await tx.get(Task, id)
        refusal = await unseen(world, tx, caller, id, task)
    if refusal is not None:
        raise refusal
    if task.state == "ended":
        hint = "its leases are still being taken back: taskbound lease list"
        raise NotFound(f"task {id} ended and is not closed", code="not_closed", hint=hint)
    if task.state != "closed":
        hint = f"a receipt is made at the end: taskbound task end {id}"
        raise NotFound(f"task {id} is {task.state}", code="not_closed", hint=hint)
    return task.receipt, await _key(world, door.org)


async def _taken_back(tx: Transaction, task: Task) -> list[Task] | None:
    """Return the task and everything below it where nothing of it is out any more; None otherwise."""
    if task.state != "ended":
        return None
    for state in (*LIVE, "ended"):  # asked first, and of few: most that wait do so for a child
        if await tx.find(Task, parent=task.id, state=state):
            return None
    tree = [task]
    for one in tree:  # it grows while it is walked
        for child in await tx.find(Task, parent=one.id):
            if child.state != "closed":
                return None
            tree.append(child)
    if any(lease.state != "revoked" for lease in await _leases(tx, tree)):
        return None
    return tree


async def _leases(tx: Transaction, tree: list[Task]) -> list[Lease]:
    return [lease for one in tree for lease in await tx.find(Lease, task=one.id)]


async def _tokens(world: World, lane: Identity, tree: list[Task]) -> dict[str, datetime]:
    """Return until when each token of the tree would have worked; one whose event's body was erased is not known."""
    tokens: dict[str, datetime] = {}
    for one in tree:
        for fact in await world.log.about(lane, one.id):
            if fact.header.kind == Kind.TOKEN_ISSUED and fact.body:
                detail = json.loads(fact.body)["detail"]
                tokens[detail["token"]] = datetime.fromisoformat(detail["until"])
    return tokens


async def _key(world: World, org: str) -> VerifierKey:
    return make_key(origin_of(world.instance, org), (await world.keys.public())["receipt"])
