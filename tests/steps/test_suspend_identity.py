"""Who is suspended or retired loses everything in one transaction: their tasks, and those of all they answer for."""

import shutil
from dataclasses import replace

import pytest

from taskbound.core.errors import Conflict, Denied, IllegalTransition, InvalidRequest, NotFound, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Registration
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import end_tree
from taskbound.steps import register_identity as steps
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import (
    RegistrationAsk,
    register_identity,
    resume_identity,
    retire_identity,
    suspend_identity,
)
from taskbound.store.memory import MemoryTransaction
from tests.rig import ALICE, POLICY, Crash, Rig
from tests.stories.story import REFUND, claim_of

BOB = Claim("main", facts=Facts("operator", {"uid": 2000}))
SUPPORT = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))
BOT = Claim("main", facts=Facts("unix", {"script": "/srv/bot.py"}))
LOOK_UP = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 1, "leases": 0})
READ = CallAsk("crm/get_order", {"id": "4711"})
ALICE_ID = "spiffe://example.org/human/alice"


async def made(policy=POLICY, **options):
    """Alice and hers, bob and his bot; a policy that permits everybody to suspend unless it is the demo's."""
    rig = Rig(policy, **options)
    await rig.people()
    world = replace(rig.world, store=rig.store)
    for ask in (
        RegistrationAsk("human/bob", "human/bob", "operator", {"uid": 2000}),
        RegistrationAsk("agent/bot", "human/bob", "unix", {"script": "/srv/bot.py"}, environment="production"),
    ):
        await register_identity(world, rig.door, rig.door, ask)
    return rig


@pytest.fixture
async def rig():
    return await made()


@pytest.fixture
async def permissive(tmp_path):
    policy = shutil.copytree(POLICY, tmp_path / "policy")
    permit = 'permit(principal, action == Action::"identity/suspend", resource);'
    (policy / "organisation" / "admin.cedar").write_text(f'@id("admin-suspend")\n{permit}\n')
    return await made(policy)


async def work(rig):
    """Alice's agent in a task with a lease and a child, an agent of hers on its own, alice herself; and bob's bot."""
    world = replace(rig.world, store=rig.store)
    task, handle = await open_task(world, rig.door, ALICE, REFUND)
    await issue_lease(world, rig.door, claim_of(handle), LeaseAsk("shopdb/reader"))
    child, _ = await open_task(world, rig.door, claim_of(handle), LOOK_UP)
    alone, _ = await open_task(world, rig.door, SUPPORT, TaskAsk("look-up-order", {"order_id": "1"}))
    own, _ = await open_task(world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "2"}))
    bots, bot = await open_task(world, rig.door, BOT, TaskAsk("look-up-order", {"order_id": "4711"}))
    return {"task": task.id, "child": child.id, "alone": alone.id, "own": own.id, "bot's": bots.id}, handle, bot


def live(rig, tasks):
    return {name for name, id in tasks.items() if rig.store.things[("main", "task", id)].state == "open"}


def facts_since(rig, before):
    return [(event.kind, event.by) for event in rig.store.events[before:]]


@pytest.mark.parametrize("end", [suspend_identity, retire_identity])
async def test_a_human_loses_every_task_and_lease_of_theirs_and_of_all_they_own_at_once(rig, end):
    tasks, handle, bot = await work(rig)
    before = len(rig.store.events)
    rig.crossings.names.clear()
    known, ended = await end(rig.world, rig.door, rig.door, "human/alice")
    assert rig.crossings.names == ["store.commit"], "one transaction"
    assert known.state == ("suspended" if end is suspend_identity else "retired")
    assert {task.id for task in ended} == {tasks[name] for name in ("task", "child", "alone", "own")}
    assert live(rig, tasks) == {"bot's"}
    (lease,) = rig.leases()
    assert (lease.state, lease.due) == ("revoking", rig.clock.at)
    said = rig.store.events[before:]
    assert {event.at for event in said} == {rig.clock.at}
    assert {event.value.reason for event in said if event.kind == Kind.TASK_ENDED} == {f"human/alice is {known.state}"}
    for who in (ALICE, SUPPORT):  # nor does anything new begin
        with pytest.raises(Unauthenticated):
            await open_task(rig.world, rig.door, who, replace(REFUND, actor=None))
    _, _, refused = await decide_call(rig.world, rig.door, claim_of(handle), READ)
    assert refused.code == "task_ended"
    _, _, decision = await decide_call(rig.world, rig.door, claim_of(bot), READ)
    assert decision.permitted, "control: who has nothing to do with her goes on"
    rig.check()


async def test_a_crash_before_the_commit_leaves_all_live_and_after_it_nothing():
    for after in (False, True):
        rig = await made(crash_at=1, after=after)
        rig.crossings.crash_at = None
        tasks, _, _ = await work(rig)
        rig.crossings.crash_at = len(rig.crossings.names) + 1
        before = len(rig.store.events)
        with pytest.raises(Crash):
            await suspend_identity(rig.world, rig.door, rig.door, "human/alice")
        assert live(rig, tasks) == ({"bot's"} if after else set(tasks))
        assert {lease.state for lease in rig.leases()} == ({"revoking"} if after else {"active"})
        assert (len(rig.store.events) == before) is not after
        rig.check()
        await rig.restart_later()
        assert rig.names_at_targets() == set()


async def test_control_a_transaction_for_each_task_would_be_found_out(monkeypatch):
    """What the crash test would see of an implementation that ends each task in a transaction of its own."""
    rig = await made()
    tasks, _, _ = await work(rig)

    async def on_its_own(tx, by, id, reason):
        async with rig.world.store.transaction(rig.door) as own:
            return await end_tree(own, by, id, reason)

    monkeypatch.setattr(steps, "end_tree", on_its_own)
    rig.crossings.crash_at = len(rig.crossings.names) + 3
    with pytest.raises(Crash):
        await suspend_identity(rig.world, rig.door, rig.door, "human/alice")
    assert {"bot's"} < live(rig, tasks) < set(tasks)


async def test_an_agent_loses_what_it_acts_in_and_its_owner_nothing_else(rig):
    tasks, _, _ = await work(rig)
    _, ended = await suspend_identity(rig.world, rig.door, rig.door, "agent/support")
    assert {task.id for task in ended} == {tasks[name] for name in ("task", "child", "alone")}
    assert live(rig, tasks) == {"own", "bot's"}
    await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor="agent/helper"))
    with pytest.raises(Denied) as denied:
        await open_task(rig.world, rig.door, ALICE, REFUND)
    assert denied.value.code == "not_live"
    rig.check()


async def test_a_human_loses_what_was_opened_for_them_though_its_actor_has_another_owner_by_now(rig):
    tasks, _, _ = await work(rig)
    async with rig.store.transaction(rig.door) as tx:
        (support,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/support")
        anew = advance(support, Kind.IDENTITY_REGISTERED, owner="spiffe://example.org/human/bob")
        await tx.record(Kind.IDENTITY_REGISTERED, anew)
    _, ended = await suspend_identity(rig.world, rig.door, rig.door, "human/alice")
    assert {task.id for task in ended} == {tasks[name] for name in ("task", "child", "own")}
    await suspend_identity(rig.world, rig.door, rig.door, "human/bob")
    assert live(rig, tasks) == set()
    rig.check()


async def test_tasks_are_locked_from_the_root_down_whoever_ends_them(rig, monkeypatch):
    """As `end_task` does: two that end one tree never wait for each other."""
    tasks, _, _ = await work(rig)
    get, locked = MemoryTransaction.get, []

    async def noted(tx, noun, id, *, lock=False):
        if lock and id not in locked:
            locked.append(id)
        return await get(tx, noun, id, lock=lock)

    monkeypatch.setattr(MemoryTransaction, "get", noted)
    await suspend_identity(rig.world, rig.door, rig.door, "human/alice")
    assert locked.index(tasks["task"]) < locked.index(tasks["child"])


async def test_a_helper_is_taken_out_of_a_task_that_goes_on(rig):
    tasks, _, _ = await work(rig)
    async with rig.store.transaction(rig.door) as tx:
        before = (await tx.left(tasks["task"]))["calls"]
    await suspend_identity(rig.world, rig.door, rig.door, "agent/helper")
    assert live(rig, tasks) == {"task", "alone", "own", "bot's"}
    async with rig.store.transaction(rig.door) as tx:
        assert (await tx.left(tasks["task"]))["calls"] == before + 1, "what it had left flows back"
    rig.check()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (suspend_identity, suspend_identity),
        (retire_identity, retire_identity),
        (resume_identity, resume_identity),
    ],
)
async def test_what_is_so_already_is_success_and_no_event(rig, first, again):
    await work(rig)
    await first(rig.world, rig.door, rig.door, "human/alice")
    before = len(rig.store.events)
    answer = await again(rig.world, rig.door, rig.door, "human/alice")
    assert answer[1] == [] if isinstance(answer, tuple) else answer.state == "registered"
    assert len(rig.store.events) == before


async def test_who_is_resumed_may_begin_anew_and_nothing_ended_comes_back(rig):
    tasks, handle, _ = await work(rig)
    await suspend_identity(rig.world, rig.door, rig.door, "human/alice")
    assert (await resume_identity(rig.world, rig.door, rig.door, "human/alice")).state == "registered"
    assert live(rig, tasks) == {"bot's"}
    _, _, decision = await decide_call(rig.world, rig.door, claim_of(handle), READ)
    assert decision.code == "task_ended"
    await open_task(rig.world, rig.door, ALICE, REFUND)
    rig.check()


async def test_who_is_retired_stays_retired(rig):
    await retire_identity(rig.world, rig.door, rig.door, "agent/bot")
    for move in (suspend_identity, resume_identity):
        with pytest.raises(IllegalTransition):
            await move(rig.world, rig.door, rig.door, "agent/bot")
    with pytest.raises(Conflict):
        ask = RegistrationAsk("agent/bot", "human/bob", "unix", {"script": "/srv/bot.py"})
        await register_identity(rig.world, rig.door, rig.door, ask)


# --- who may ------------------------------------------------------------------------------------


async def denied(rig, who, name, move=suspend_identity):
    """The denial is raised, it is the last thing recorded, and nothing else happened."""
    before = len(rig.store.events)
    with pytest.raises(Denied) as refused:
        await move(rig.world, rig.door, who, name)
    (event,) = rig.store.events[before:]
    assert (event.kind, event.value.action, event.value.resource) == (Kind.CALL_DENIED, "identity/suspend", name)
    assert event.value.code == refused.value.code
    rig.check()
    return refused.value.code


@pytest.mark.parametrize("move", [suspend_identity, resume_identity, retire_identity])
async def test_without_a_permit_nobody_but_our_own_parts_does_it(rig, move):
    assert await denied(rig, ALICE, "agent/support", move) == "not_permitted"
    assert await denied(rig, ALICE, "human/alice", move) == "not_permitted"


async def test_a_human_does_it_to_themself_and_to_what_they_own(permissive):
    rig = permissive
    tasks, _, _ = await work(rig)
    assert await denied(rig, ALICE, "agent/bot") == "not_yours"
    assert await denied(rig, ALICE, "human/bob") == "not_yours"
    assert await denied(rig, SUPPORT, "agent/helper") == "not_yours", "an agent is not its owner"
    assert await denied(rig, SUPPORT, "human/alice") == "not_yours"
    assert await denied(rig, SUPPORT, "agent/support"), "nor its own"
    await suspend_identity(rig.world, rig.door, ALICE, "agent/support")
    assert (await resume_identity(rig.world, rig.door, ALICE, "agent/support")).is_live
    known, ended = await suspend_identity(rig.world, rig.door, ALICE, "human/alice")
    assert (known.state, rig.store.events[-1].by) == ("suspended", ALICE_ID)
    assert {task.id for task in ended} == {tasks["own"]}
    with pytest.raises(Unauthenticated):
        await resume_identity(rig.world, rig.door, ALICE, "human/alice")
    rig.check()


async def test_the_operator_does_it_to_everybody(permissive):
    rig = permissive
    tasks, _, _ = await work(rig)
    rig.world = replace(rig.world, operator=ALICE_ID)
    await suspend_identity(rig.world, rig.door, ALICE, "human/bob")
    assert live(rig, tasks) == {"task", "child", "alone", "own"}
    assert await denied(rig, SUPPORT, "human/bob") == "not_yours", "what it owns is no operator"
    ask = RegistrationAsk("agent/new", "human/alice", "unix", {"script": "/srv/new.py"})
    with pytest.raises(Denied):  # to register is another permit
        await register_identity(rig.world, rig.door, ALICE, ask)


async def test_a_task_does_it_to_nobody(permissive):
    _, handle = await open_task(permissive.world, permissive.door, ALICE, replace(REFUND, actor=None))
    assert await denied(permissive, claim_of(handle), "human/alice") == "not_permitted"


async def test_a_name_that_nobody_has_is_not_found(rig):
    for name, error in (("human/carol", NotFound), ("human/../x", InvalidRequest), ("", InvalidRequest)):
        with pytest.raises(error):
            await suspend_identity(rig.world, rig.door, rig.door, name)


async def test_our_own_doors_are_nobody_that_could_be_suspended(rig):
    with pytest.raises(NotFound):
        await suspend_identity(rig.world, rig.door, rig.door, "taskbound/door/gateway")
    async with rig.store.transaction(rig.door) as tx:
        assert await tx.find(Task) == []
