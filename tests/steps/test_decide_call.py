"""Every call is decided on the task as it is at that moment, and recorded before anything goes out."""

import asyncio
from dataclasses import replace

import pytest

from taskbound.core import call as calls
from taskbound.core.errors import StoreUnavailable, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Registration
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.open_task import TaskAsk, open_task
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

READ = CallAsk("crm/get_order", {"id": "4711"})


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


@pytest.fixture
async def agent(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    return claim_of(handle)


async def code_of(rig, who, ask):
    _, call, decision = await decide_call(rig.world, rig.door, who, ask)
    assert rig.store.events[-1].value == call, "what is answered is what was recorded"
    assert call.code == decision.code
    rig.check()
    return decision.code


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (READ, ""),
        (CallAsk("crm/get_order", {"id": "4712"}), "outside_grants"),
        (CallAsk("crm/get_order", {}), "invalid_argument"),
        (CallAsk("crm/get_order", {"id": 4711}), "invalid_argument"),
        (CallAsk("crm/get_order", {"id": "4711", "__extn": {"fn": "ip", "arg": "1.1.1.1"}}), "invalid_argument"),
        (CallAsk("crm/get_order", {"id": {"__extn": {"fn": "decimal", "arg": "1.0"}}}), "invalid_argument"),
        (CallAsk("crm/get_order", {"id": "4711", "other": 1}), "invalid_argument"),
        (CallAsk("crm/refund", {"order_id": "4711", "amount": 50}), ""),
        (CallAsk("crm/refund", {"order_id": "4711", "amount": 50.0001}), "outside_grants"),
        (CallAsk("crm/refund", {"order_id": "4711", "amount": 1.00001}), "invalid_argument"),
        (CallAsk("crm/refund", {"order_id": "4711", "amount": float("nan")}), "invalid_argument"),
        (CallAsk("crm/refund", {"order_id": "4711", "amount": 10**30}), "invalid_argument"),
        (CallAsk("crm/nothing", {}), "unknown_tool"),
        (CallAsk("mail/send", {"to": "x@example.org", "body": "hello"}), "outside_grants"),
    ],
)
async def test_a_call_is_decided_on_tool_and_arguments(rig, agent, ask, code):
    assert await code_of(rig, agent, ask) == code


async def test_without_a_task_nothing_is_called(rig):
    assert await code_of(rig, ALICE, READ) == "no_task"


async def test_a_grants_budget_is_spent_and_then_denied(rig, agent):
    refund = CallAsk("crm/refund", {"order_id": "4711", "amount": 1})
    assert await code_of(rig, agent, refund) == ""
    assert await code_of(rig, agent, refund) == "budget_spent"
    assert await code_of(rig, agent, READ) == ""


async def test_a_tasks_budget_is_spent_and_then_denied(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, budget={"calls": 1}))
    assert await code_of(rig, claim_of(handle), READ) == ""
    assert await code_of(rig, claim_of(handle), READ) == "budget_spent"


async def test_a_task_that_ended_cannot_act_however_it_ended(rig, agent):
    rig.clock.advance(599)
    assert await code_of(rig, agent, READ) == ""
    rig.clock.advance(1)
    assert await code_of(rig, agent, READ) == "task_ended", "its deadline has passed, though no lane has run"


async def test_a_suspended_task_waits_and_a_suspended_parent_stops_its_children(rig, agent):
    child, handle = await open_task(
        rig.world, rig.door, agent, TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 1, "leases": 0})
    )
    async with rig.store.transaction(rig.door) as tx:
        parent = await tx.get(Task, child.parent)
        await tx.record(Kind.TASK_SUSPENDED, advance(parent, Kind.TASK_SUSPENDED))
    assert await code_of(rig, agent, READ) == "task_suspended"
    assert await code_of(rig, claim_of(handle), READ) == "task_suspended"
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.TASK_RESUMED, advance(await tx.get(Task, child.parent), Kind.TASK_RESUMED))
    assert await code_of(rig, claim_of(handle), READ) == ""


async def test_a_suspended_identity_proves_nothing(rig, agent):
    async with rig.store.transaction(rig.door) as tx:
        (support,) = await tx.find(Registration, spiffe_id="spiffe://example.org/agent/support")
        await tx.record(Kind.IDENTITY_SUSPENDED, advance(support, Kind.IDENTITY_SUSPENDED))
    with pytest.raises(Unauthenticated, match="suspended"):
        await decide_call(rig.world, rig.door, agent, READ)


@pytest.mark.parametrize("check", calls.CHECKS, ids=lambda check: check.__name__)
async def test_a_check_that_breaks_denies(rig, agent, monkeypatch, check):
    def broken(case, answer):
        raise KeyError("x")

    broken.__name__ = check.__name__
    monkeypatch.setattr(calls, "CHECKS", tuple(broken if c is check else c for c in calls.CHECKS))
    assert await code_of(rig, agent, READ) == "check_failed"


async def test_an_engine_that_breaks_denies(rig, agent, monkeypatch):
    def broken(policies, request):
        raise RuntimeError("x")

    monkeypatch.setattr(calls, "authorize", broken)
    assert await code_of(rig, agent, READ) == "check_failed"


async def test_what_cannot_be_recorded_is_not_answered(rig, agent, monkeypatch):
    class Broken:
        def transaction(self, opener):
            raise StoreUnavailable("the store is away")

    with pytest.raises(StoreUnavailable):
        await decide_call(replace(rig.world, store=Broken()), rig.door, agent, READ)


async def test_labels_reach_policy_and_stay_with_the_tree(rig, agent):
    assert await code_of(rig, agent, READ) == ""
    _, _, decision = await decide_call(rig.world, rig.door, agent, READ)
    assert decision.context["labels"] == ["free_text"], "what the first answer may have carried"


async def test_parallel_calls_never_overspend(rig, agent):
    refund = CallAsk("crm/refund", {"order_id": "4711", "amount": 1})
    answers = await asyncio.gather(*(decide_call(rig.world, rig.door, agent, refund) for _ in range(20)))
    assert sorted(decision.code for _, _, decision in answers) == [""] + ["budget_spent"] * 19
    rig.check()
