"""Ending a task ends everything below it, and only who has to do with it may end it."""

from dataclasses import replace

import pytest

from taskbound.core.errors import Denied, InvalidRequest, NotFound, TaskEnded
from taskbound.core.identity import Claim, Facts
from taskbound.core.lease import SETTLE
from taskbound.core.task import Task
from taskbound.ending import end_tree
from taskbound.steps.end_task import end_due_tasks, end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.revoke_lease import due_leases, revoke_lease, sweep_target
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

LOOK_UP = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 1, "leases": 0})
HELPER = Claim("main", facts=Facts("unix", {"script": "/srv/agent/helper.py"}))


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


async def states(rig):
    async with rig.store.transaction(rig.door) as tx:
        return {task.depth: task.state for task in await tx.find(Task)}


async def tree(rig, depth=3):
    """Open a task and a line of children below it; return the claims, root first, and the root's id."""
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    claims = [claim_of(handle)]
    for left in range(depth - 1, 0, -1):
        wish = TaskAsk("look-up-order", LOOK_UP.set, budget={"calls": left, "leases": 0})
        _, handle = await open_task(rig.world, rig.door, claims[-1], wish)
        claims.append(claim_of(handle))
    return claims, task.id


async def test_the_whole_subtree_ends_in_one_transaction(rig):
    _, root = await tree(rig)
    ended = await end_task(rig.world, rig.door, ALICE, root, "done")
    assert [task.depth for task in ended] == [2, 1, 0]
    assert len({task.ended for task in ended}) == 1
    assert await states(rig) == {0: "ended", 1: "ended", 2: "ended"}
    assert await end_task(rig.world, rig.door, ALICE, root, "again") == [], "ending what has ended is success"
    rig.check()


async def test_an_end_reads_none_of_the_children_that_ended_before(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    free = replace(LOOK_UP, budget={"calls": 0, "leases": 0})
    children = [(await open_task(rig.world, rig.door, claim_of(handle), free))[0] for _ in range(10)]
    for child in children[1:]:
        await end_task(rig.world, rig.door, ALICE, child.id, "done")
    read: list[str] = []
    async with rig.store.transaction(rig.door) as tx:
        get = tx.get

        async def counted(noun, id, **more):
            read.append(id)
            return await get(noun, id, **more)

        tx.get = counted
        ended = await end_tree(tx, rig.door, task.id, "done")
    assert [one.id for one in ended] == [children[0].id, task.id] == read[::-1]
    rig.check()


async def test_a_child_ends_alone_and_gives_back_what_it_had_left(rig):
    claims, root = await tree(rig)
    async with rig.store.transaction(rig.door) as tx:
        (child,) = await tx.find(Task, parent=root)
        before = (await tx.left(root))["calls"]
    await end_task(rig.world, rig.door, claims[1], child.id, "done")
    assert await states(rig) == {0: "open", 1: "ended", 2: "ended"}
    async with rig.store.transaction(rig.door) as tx:
        assert (await tx.left(root))["calls"] == before + 2
    rig.check()


async def test_nobody_ends_a_task_that_is_not_theirs(rig):
    claims, root = await tree(rig)
    other, _ = await open_task(rig.world, rig.door, HELPER, TaskAsk("look-up-order", {"order_id": "1"}))
    for who, id in ((claims[1], root), (claims[0], other.id), (HELPER, root)):
        with pytest.raises(Denied) as denied:
            await end_task(rig.world, rig.door, who, id, "mischief")
        assert denied.value.code == "not_yours"
        assert rig.store.events[-1].value.code == "not_yours", "the attempt is in the log"
    assert await states(rig) == {0: "open", 1: "open", 2: "open"}
    with pytest.raises(NotFound):
        await end_task(rig.world, rig.door, ALICE, "t" + "z" * 20, "")


@pytest.mark.parametrize("who", ["subject", "owner", "actor-inside", "actor-outside", "ours"])
async def test_who_has_to_do_with_it_ends_it(rig, who):
    if who == "owner":
        opener = HELPER
        task, handle = await open_task(rig.world, rig.door, opener, TaskAsk("look-up-order", {"order_id": "1"}))
    else:
        task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    support = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))
    caller = {"actor-inside": claim_of(handle), "actor-outside": support, "ours": rig.lane}.get(who, ALICE)
    assert [ended.id for ended in await end_task(rig.world, rig.door, caller, task.id, "done")] == [task.id]


async def test_the_operator_ends_what_is_somebody_elses_but_not_from_inside_a_task(rig):
    bob = RegistrationAsk("human/bob", "human/bob", "operator", {"uid": 2000})
    await register_identity(rig.world, rig.door, rig.door, bob)
    who = Claim("main", facts=Facts("operator", {"uid": 2000}))
    _, root = await tree(rig)
    _, handle = await open_task(rig.world, rig.door, who, TaskAsk("look-up-order", {"order_id": "1"}))
    with pytest.raises(Denied):  # control
        await end_task(rig.world, rig.door, who, root, "done")
    rig.world = replace(rig.world, operator="spiffe://example.org/human/bob")
    with pytest.raises(Denied):
        await end_task(rig.world, rig.door, claim_of(handle), root, "done")
    assert len(await end_task(rig.world, rig.door, who, root, "done")) == 3


@pytest.mark.parametrize("reason", ["x" * 1025, "\ud800"], ids=["long", "surrogate"])
async def test_a_reason_that_cannot_be_kept_is_refused(rig, reason):
    _, root = await tree(rig)
    with pytest.raises(InvalidRequest):
        await end_task(rig.world, rig.door, ALICE, root, reason)
    assert await states(rig) == {0: "open", 1: "open", 2: "open"}


async def test_a_task_ends_at_its_deadline(rig):
    await tree(rig)
    rig.clock.advance(299)
    assert await end_due_tasks(rig.world, rig.lane) == []
    rig.clock.advance(1)
    assert [task.depth for task in await end_due_tasks(rig.world, rig.lane)] == [2, 1], "children lived shorter"
    rig.clock.advance(300)
    assert [task.depth for task in await end_due_tasks(rig.world, rig.lane)] == [0]
    rig.check()


async def test_a_task_that_ends_while_its_credential_is_made_delivers_none(rig):
    """T1.6 at the memory target: the provider's create ends the task before it returns."""
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    provider = rig.world.providers["shopdb"]
    create = provider._provider.create

    async def ends_meanwhile(lease):
        credential = await create(lease)
        await end_task(rig.world, rig.door, ALICE, task.id, "meanwhile")
        return credential

    provider._provider.create = ends_meanwhile
    with pytest.raises(TaskEnded):
        await issue_lease(rig.world, rig.door, claim_of(handle), LeaseAsk("shopdb/reader"))
    (lease,) = rig.leases()
    assert lease.state == "revoking"
    assert await due_leases(rig.world, rig.lane) == [], "never activated: not cut before create_by plus settle"
    rig.clock.advance((lease.create_by - rig.clock.at + SETTLE).total_seconds())
    for due in await due_leases(rig.world, rig.lane):
        await revoke_lease(rig.world, rig.lane, due)
    assert rig.names_at_targets() == set()
    rig.check()


async def test_a_lease_never_outlives_its_task_or_its_targets_limit(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    lease, _ = await issue_lease(rig.world, rig.door, claim_of(handle), LeaseAsk("shopdb/reader"))
    assert lease.expires == task.deadline
    assert (lease.state, lease.due, len(lease.name)) == ("active", lease.expires, 30)


async def test_the_sweep_takes_orphans_and_leaves_strangers(rig):
    target = rig.targets["shopdb"]
    planted = {f"tb_{rig.world.instance}_" + f"{n:020}".replace("0", "a").replace("1", "b") for n in (0, 1)}
    strangers = {"tb_zzzzzz_" + "a" * 20, "postgres", "tb_" + rig.world.instance}
    target.logins |= dict.fromkeys(planted | strangers, "0" * 64)
    adopted = await sweep_target(rig.world, rig.lane, "shopdb")
    assert {lease.name for lease in adopted} == planted
    assert await sweep_target(rig.world, rig.lane, "shopdb") == [], "adopted names are explained"
    for due in await due_leases(rig.world, rig.lane):
        await revoke_lease(rig.world, rig.lane, due)
    assert set(target.logins) == strangers
    rig.check()
    target.logins |= dict.fromkeys(planted, "0" * 64)  # a restored target brings them back
    assert {lease.name for lease in await sweep_target(rig.world, rig.lane, "shopdb")} == planted
    for due in await due_leases(rig.world, rig.lane):
        await revoke_lease(rig.world, rig.lane, due)
    assert set(target.logins) == strangers
