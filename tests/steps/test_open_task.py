"""A task is opened with what its profile says, within policy, for an actor of the caller's; a child gets less."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import BudgetSpent, Denied, InvalidRequest, TaskEnded, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Registration
from taskbound.core.task import MAX_DEPTH, Task
from taskbound.core.thing import advance
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.open_task import TaskAsk, open_task
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

LOOK_UP = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 3, "leases": 0})


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


def denials(rig):
    return [(event.value.action, event.value.code) for event in rig.store.events if event.kind == "call.denied"]


async def test_a_task_has_its_profiles_grants_budget_and_life(rig):
    task, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    assert [grant.resource for grant in task.grants] == ["crm/get_order", "crm/refund", "shopdb/reader"]
    assert (task.actor, task.subject) == ("spiffe://example.org/agent/support", "spiffe://example.org/human/alice")
    assert task.deadline - task.opened == timedelta(minutes=10)
    async with rig.store.transaction(rig.door) as tx:
        assert await tx.left(task.id) == {"calls": 20, "leases": 2, "g1#calls": 1}
    rig.check()


async def test_the_handle_is_stored_as_its_digest_only(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    assert handle.reveal().startswith("tbh_") and len(handle.reveal()) == 47
    assert claim_of(handle).handle == task.handle
    assert handle.reveal() not in repr(rig.store.events) + repr(rig.store.things)


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (TaskAsk(), InvalidRequest, "needs a profile"),
        (TaskAsk("refund-order", {}, details=[]), InvalidRequest, "not both"),
        (TaskAsk("refund-order", {"order_id": "4711"}), InvalidRequest, "max"),
        (TaskAsk("refund-order", {"order_id": "x", "max": "5"}), InvalidRequest, "order_id"),
        (TaskAsk("refund-order", {"order_id": "1", "max": "201"}), InvalidRequest, "max"),
        (TaskAsk("refund-order", {"order_id": "1", "max": "5", "extra": "1"}), InvalidRequest, "extra"),
        (TaskAsk("refund-order", REFUND.set, life=timedelta(hours=1)), InvalidRequest, "life"),
        (TaskAsk("refund-order", REFUND.set, life=timedelta(0)), InvalidRequest, "life"),
        (TaskAsk("refund-order", REFUND.set, budget={"calls": 21}), InvalidRequest, "calls"),
        (TaskAsk("refund-order", REFUND.set, budget={"calls": -1}), InvalidRequest, "calls"),
        (TaskAsk("refund-order", REFUND.set, budget={"rows": 1}), InvalidRequest, "rows"),
        (TaskAsk("refund-order", REFUND.set, actor="not a name"), InvalidRequest, "name"),
        (TaskAsk(None, {"order_id": "1"}), InvalidRequest, "profile"),
    ],
)
async def test_a_bad_ask_is_refused_with_the_thing_named_and_nothing_happens(rig, ask, error, says):
    before = len(rig.store.events)
    with pytest.raises(error, match=says) as refused:
        await open_task(rig.world, rig.door, ALICE, ask)
    assert len(rig.store.events) == before and refused.value.hint


async def test_an_unknown_profile_is_denied_and_recorded(rig):
    with pytest.raises(Denied, match="no profile 'nowhere'"):
        await open_task(rig.world, rig.door, ALICE, TaskAsk("nowhere"))
    assert denials(rig) == [("task/open", "unknown_profile")]


async def bob(rig) -> Claim:
    name = "spiffe://example.org/human/bob"
    made = Registration("i" + "z" * 20, "main", name, "human", name, "", "", (), "operator", {"uid": 2000})
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.IDENTITY_REGISTERED, advance(made, Kind.IDENTITY_REGISTERED))
    return Claim("main", facts=Facts("operator", {"uid": 2000}))


def by_facts(name: str) -> Claim:
    return Claim("main", facts=Facts("unix", {"script": f"/srv/{name}.py"}))


@pytest.mark.parametrize(
    ("who", "actor", "code"),
    [
        (bob, "agent/support", "not_yours"),
        (by_facts("agent/tester"), "agent/support", "not_yours"),  # a dev agent, for its production sibling
        (by_facts("agent/support"), "human/alice", "not_yours"),  # nobody becomes the human who owns them
        (ALICE, "agent/nobody", "unknown_agent"),
    ],
    ids=["another human", "a sibling", "its owner", "nobody"],
)
async def test_nobody_opens_a_task_for_an_actor_that_is_not_theirs(rig, who, actor, code):
    claim = await who(rig) if callable(who) else who
    with pytest.raises(Denied) as denied:
        await open_task(rig.world, rig.door, claim, replace(REFUND, actor=actor))
    assert denied.value.code == code
    assert denials(rig) == [("task/open", code)]


async def test_an_agent_opens_a_task_for_itself(rig):
    task, _ = await open_task(rig.world, rig.door, by_facts("agent/helper"), replace(REFUND, actor=None))
    assert task.actor.endswith("agent/helper") and task.subject is None


async def test_a_task_is_handed_to_nobody_who_may_more(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor="agent/tester"))
    with pytest.raises(Denied, match="another environment"):
        await open_task(rig.world, rig.door, claim_of(handle), replace(LOOK_UP, actor="agent/helper"))
    with pytest.raises(Denied, match="to give work to"):
        await open_task(rig.world, rig.door, claim_of(handle), replace(LOOK_UP, actor="human/alice"))
    assert denials(rig) == [("task/delegate", "outside_grants"), ("task/delegate", "not_yours")]


async def test_a_child_never_gets_what_its_parent_lacks(rig):
    parent, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    agent = claim_of(handle)
    for wish in (
        TaskAsk("refund-order", REFUND.set, budget={"calls": 1, "leases": 0}),
        TaskAsk("look-up-order", {"order_id": "4712"}, budget={"calls": 1, "leases": 0}),
    ):
        with pytest.raises(Denied) as denied:
            await open_task(rig.world, rig.door, agent, wish)
        assert denied.value.code == "outside_grants"
    assert denials(rig) == [("task/delegate", "outside_grants")] * 2
    child, _ = await open_task(rig.world, rig.door, agent, LOOK_UP)
    with pytest.raises(BudgetSpent, match="2 calls left, 3 were asked"):
        await open_task(rig.world, rig.door, agent, LOOK_UP)
    assert denials(rig)[2:] == [("task/delegate", "budget_spent")]
    with pytest.raises(InvalidRequest, match="leases"):  # a child names what it takes of everything
        await open_task(rig.world, rig.door, agent, TaskAsk(details=[], budget={"calls": 1}))
    assert (child.parent, child.root, child.depth, child.act) == (parent.id, parent.id, 1, (parent.actor,))
    assert child.deadline <= parent.deadline
    rig.check()


async def test_delegation_ends_at_its_depth(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    for depth in range(1, MAX_DEPTH):
        wish = TaskAsk("look-up-order", LOOK_UP.set, budget={"calls": 4 - depth, "leases": 0})
        _, handle = await open_task(rig.world, rig.door, claim_of(handle), wish)
    with pytest.raises(Denied) as denied:
        await open_task(
            rig.world,
            rig.door,
            claim_of(handle),
            TaskAsk("look-up-order", LOOK_UP.set, budget={"calls": 0, "leases": 0}),
        )
    assert denied.value.code == "too_deep"


FREE = TaskAsk("look-up-order", LOOK_UP.set, budget={"calls": 0, "leases": 0})


async def test_a_task_has_no_more_children_at_once_than_can_be_ended_at_once(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    children = [(await open_task(rig.world, rig.door, claim_of(handle), FREE))[0] for _ in range(64)]
    with pytest.raises(Denied) as denied:
        await open_task(rig.world, rig.door, claim_of(handle), FREE)
    assert denied.value.code == "too_many_tasks" and denied.value.hint
    assert denials(rig) == [("task/delegate", "too_many_tasks")]
    await end_task(rig.world, rig.door, ALICE, children[0].id, "done")  # what ended makes room
    await open_task(rig.world, rig.door, claim_of(handle), FREE)
    rig.check()


async def test_a_root_has_no_more_below_it_at_once_than_can_be_ended_at_once(rig):
    root, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    parents = [(await open_task(rig.world, rig.door, claim_of(handle), FREE))[1] for _ in range(4)]
    for n in range(252):
        await open_task(rig.world, rig.door, claim_of(parents[n // 63]), FREE)
    with pytest.raises(Denied, match="256 tasks below task"):
        await open_task(rig.world, rig.door, claim_of(parents[3]), FREE)
    assert denials(rig) == [("task/delegate", "too_many_tasks")]
    _, another = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    await open_task(rig.world, rig.door, claim_of(another), FREE)  # of another root
    async with rig.store.transaction(rig.door) as tx:
        assert len(await tx.find(Task, root=root.id, state="open")) == 257


async def test_a_task_that_ended_delegates_nothing(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    with pytest.raises(TaskEnded):
        await open_task(rig.world, rig.door, claim_of(handle), LOOK_UP)
    assert denials(rig) == [("task/delegate", "task_ended")]


async def test_a_parent_is_named_by_who_acts_in_it(rig):
    task, _ = await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "4711"}))
    with pytest.raises(Denied, match="does not act in task"):
        await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", LOOK_UP.set, parent=task.id))


@pytest.mark.parametrize(
    "claim",
    [
        Claim("main"),
        Claim("main", handle="0" * 64),
        Claim("other", facts=Facts("operator", {"uid": 1000})),
        Claim("main", facts=Facts("operator", {"uid": 1001})),
    ],
)
async def test_who_proves_nothing_opens_nothing(rig, claim):
    with pytest.raises(Unauthenticated):
        await open_task(rig.world, rig.door, claim, REFUND)
    async with rig.store.transaction(rig.door) as tx:
        assert await tx.find(Task) == []


async def test_fifty_racing_children_never_overspend_and_the_rest_flows_back(rig):
    """Each child asks for a share and calls until it is denied; the root's 20 calls are never exceeded."""
    root, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    read = CallAsk("crm/get_order", {"id": "4711"})
    permitted = 0

    async def child(n: int) -> str:
        nonlocal permitted
        wish = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 1 + n % 3, "leases": 0})
        try:
            task, own = await open_task(rig.world, rig.door, claim_of(handle), wish)
        except BudgetSpent:
            return "refused"
        await asyncio.sleep(0)  # the memory store never suspends: here another child comes between
        while (await decide_call(rig.world, rig.door, claim_of(own), read))[2].permitted:
            permitted += 1
            await asyncio.sleep(0)
            if n % 4 == 0:
                break  # this one leaves a rest, where it had more than one call
        await end_task(rig.world, rig.door, ALICE, task.id, "done")
        return "ended"

    outcomes = await asyncio.gather(*(child(n) for n in range(50)))
    async with rig.store.transaction(rig.door) as tx:
        left = await tx.left(root.id)
    assert permitted + left["calls"] == 20, "calls were made or lost out of nothing"
    assert left["leases"] == 2 and left["g1#calls"] == 1
    assert outcomes.count("refused") and outcomes.count("ended")
    rig.check()
