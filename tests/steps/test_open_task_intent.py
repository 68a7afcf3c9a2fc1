"""An intent alone grants what only reads; a key opens one task; naming a person is not acting for them; races."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import BudgetSpent, Conflict, Denied, InvalidRequest, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Process
from taskbound.core.intent import DEFAULT_BUDGET
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.open_task import TaskAsk, open_task
from tests.rig import ALICE, POLICY, Rig
from tests.store.stored import SqliteRig
from tests.stories.story import REFUND, claim_of

LOOK = TaskAsk(intent="see what order 4711 is about")
INSIDE = replace(LOOK, budget={"calls": 3, "leases": 0})
SUPPORT = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


async def permitted(rig, handle, resource, arguments):
    _, _, decision = await decide_call(rig.world, rig.door, claim_of(handle), CallAsk(resource, arguments))
    return decision.permitted


# --- an intent alone -----------------------------------------------------------------------------


async def test_an_intent_alone_grants_what_only_reads_and_nothing_else(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, LOOK)
    assert [(grant.resource, grant.conditions, grant.unnamed) for grant in task.grants] == [("crm/get_order", (), ())]
    assert (task.intent.text, task.intent.profile, task.intent.values) == (LOOK.intent, None, {})
    assert task.deadline - task.opened == timedelta(minutes=10)
    async with rig.store.transaction(rig.door) as tx:
        assert await tx.left(task.id) == DEFAULT_BUDGET
    for order in ("4711", "4712"):
        assert await permitted(rig, handle, "crm/get_order", {"id": order})
    assert not await permitted(rig, handle, "crm/refund", {"order_id": "4711", "amount": 1})
    assert not await permitted(rig, handle, "mail/send", {"to": ["a@example.org"], "body": "x"})
    rig.check()


async def test_beside_a_profile_the_text_grants_nothing(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, intent="read all orders"))
    assert [grant.resource for grant in task.grants] == ["crm/get_order", "crm/refund", "shopdb/reader"]
    assert not await permitted(rig, handle, "crm/get_order", {"id": "4712"})


@pytest.mark.parametrize("text", ["", "  \n", None])
async def test_an_intent_that_says_nothing_is_none(rig, text):
    with pytest.raises(InvalidRequest, match="needs a profile, an intent or"):
        await open_task(rig.world, rig.door, ALICE, TaskAsk(intent=text))


async def test_values_belong_to_a_profile(rig):
    with pytest.raises(InvalidRequest, match="values are set for a profile"):
        await open_task(rig.world, rig.door, ALICE, replace(LOOK, set={"order_id": "1"}))


@pytest.mark.parametrize("bad", [{"life": timedelta(hours=1)}, {"budget": {"calls": 1001}}, {"budget": {"rows": 1}}])
async def test_an_intent_alone_gets_no_more_than_the_default(rig, bad):
    with pytest.raises(InvalidRequest):
        await open_task(rig.world, rig.door, ALICE, replace(LOOK, **bad))
    task, _ = await open_task(rig.world, rig.door, ALICE, replace(LOOK, life=timedelta(minutes=1), budget={"calls": 2}))
    async with rig.store.transaction(rig.door) as tx:
        assert await tx.left(task.id) == {"calls": 2, "leases": 200}


@pytest.mark.parametrize("why", ["no tools", "another definition"])
async def test_where_nothing_only_reads_an_intent_alone_opens_nothing(tmp_path, why):
    policy = shutil.copytree(POLICY, tmp_path / "policy")
    if why == "no tools":
        shutil.rmtree(policy / "tools")
        shutil.rmtree(policy / "profiles")
    else:
        pins = (policy / "tools" / "crm.toml").read_text()
        (policy / "tools" / "crm.toml").write_text(pins.replace("sha256:f", "sha256:0", 1))
    rig = Rig(policy)
    await rig.people()
    before = len(rig.store.events)
    with pytest.raises(InvalidRequest, match="no pinned tool only reads") as refused:
        await open_task(rig.world, rig.door, ALICE, LOOK)
    assert "tools derive" in refused.value.hint and len(rig.store.events) == before


async def test_a_child_by_intent_alone_gets_what_its_parent_reads_with_its_parents_values(rig):
    parent, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    child, inner = await open_task(rig.world, rig.door, claim_of(handle), INSIDE)
    assert [grant.resource for grant in child.grants] == ["crm/get_order"]
    assert child.grants[0] == parent.grants[0] and child.intent.values == parent.intent.values
    assert await permitted(rig, inner, "crm/get_order", {"id": "4711"})
    assert not await permitted(rig, inner, "crm/get_order", {"id": "4712"}), "its parent may not either"
    assert not await permitted(rig, inner, "crm/refund", {"order_id": "4711", "amount": 1})
    with pytest.raises(InvalidRequest, match="the budget of a child must name calls, leases"):
        await open_task(rig.world, rig.door, claim_of(handle), LOOK)
    rig.check()


def detail(resource, when, **more):
    return {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": resource, "when": when, **more}


async def test_a_child_by_intent_alone_gets_the_calls_that_are_left(rig):
    """Each grant keeps its own limit, and one that is used up is not passed on."""
    once = detail("crm/get_order", {"id": '= "4711"'}, budget={"calls": 2})
    details = [detail("crm/get_order", {"id": '= "4712"'}), once]
    parent, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk(details=details))
    assert await permitted(rig, handle, "crm/get_order", {"id": "4711"})
    child, inner = await open_task(rig.world, rig.door, claim_of(handle), INSIDE)
    assert [(grant.root, grant.calls) for grant in child.grants] == [(0, None), (1, 1)]
    async with rig.store.transaction(rig.door) as tx:
        assert (await tx.left(parent.id))["g1#calls"] == 0
    again, _ = await open_task(rig.world, rig.door, claim_of(handle), INSIDE)
    assert [(grant.root, grant.calls) for grant in again.grants] == [(0, None)]
    assert await permitted(rig, inner, "crm/get_order", {"id": "4711"})
    assert not await permitted(rig, inner, "crm/get_order", {"id": "4711"})
    rig.check()


async def test_a_child_by_intent_alone_takes_each_limit_from_the_grant_that_has_it(rig):
    """The second grant is covered by the first as well, which has no limit that could be shared."""
    details = [detail("crm/get_order", {"id": "any"}), detail("crm/get_order", {"id": '= "4711"'}, budget={"calls": 2})]
    _, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk(details=details))
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), INSIDE)
    assert [(grant.root, grant.calls) for grant in child.grants] == [(0, None), (1, 2)]
    rig.check()


async def test_a_child_of_a_task_that_reads_nothing_gets_nothing(rig):
    when = {"order_id": "any", "amount": "any"}
    _, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk(details=[detail("crm/refund", when)]))
    with pytest.raises(InvalidRequest, match="holds no tool that only reads"):
        await open_task(rig.world, rig.door, claim_of(handle), INSIDE)


async def test_an_unknown_profile_names_the_nearest(rig):
    with pytest.raises(Denied, match="no profile 'refund-oder'") as denied:
        await open_task(rig.world, rig.door, ALICE, replace(REFUND, profile="refund-oder"))
    assert (denied.value.code, denied.value.hint) == ("unknown_profile", "did you mean 'refund-order'?")
    assert rig.store.events[-1].kind == Kind.CALL_DENIED


async def test_where_no_profile_is_written_it_is_told_where_to_read_how(rig, monkeypatch):
    monkeypatch.setattr(rig.world.policies, "_current", replace(rig.world.policies.current, profiles={}))
    with pytest.raises(Denied) as denied:
        await open_task(rig.world, rig.door, ALICE, REFUND)
    assert (denied.value.code, "docs/profiles.md" in denied.value.hint) == ("unknown_profile", True)


# --- idempotency keys ----------------------------------------------------------------------------


def opened(rig):
    return [event.id for event in rig.store.events if event.kind == Kind.TASK_OPENED]


async def test_a_request_that_is_repeated_gets_its_task_and_one_handle_lets_in(rig):
    """Whoever lost the answer goes on (D32). The first handle is not kept, so that another takes its place."""
    keyed = replace(REFUND, idempotency_key="order-4711")
    task, lost = await open_task(rig.world, rig.door, ALICE, keyed)
    for _ in range(2):
        again, handle = await open_task(rig.world, rig.door, ALICE, keyed)
        assert replace(again, handle="") == replace(task, handle="") and opened(rig) == [task.id]
        assert await permitted(rig, handle, "crm/get_order", {"id": "4711"})
        with pytest.raises(Unauthenticated, match="unknown"):
            await permitted(rig, lost, "crm/get_order", {"id": "4711"})
        lost = handle
    assert [event.kind for event in rig.store.events].count(Kind.TASK_EXTENDED) == 2
    assert "order-4711" not in repr(rig.store.things), "a key may be anything"
    rig.check()


async def test_a_child_that_cost_all_that_its_parent_had_is_answered_again(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    asked = replace(LOOK, budget={"calls": 20, "leases": 1}, idempotency_key="1")
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), asked)
    again, _ = await open_task(rig.world, rig.door, claim_of(handle), asked)
    assert again.id == child.id and len(opened(rig)) == 2
    rig.check()


async def test_a_key_is_for_one_request(rig):
    keyed = replace(REFUND, idempotency_key="1")
    task, handle = await open_task(rig.world, rig.door, ALICE, keyed)
    before = len(rig.store.events)
    for changes in ({"intent": "another"}, {"set": {"order_id": "4712", "max": "50"}}, {"actor": None},
                    {"life": timedelta(seconds=60)}, {"budget": {"calls": 1}}):  # fmt: skip
        with pytest.raises(Conflict, match=f"task {task.id} was opened|another task was opened") as conflict:
            await open_task(rig.world, rig.door, ALICE, replace(keyed, **changes))
        assert (conflict.value.code, conflict.value.status) == ("already_opened", 409), changes
        assert conflict.value.hint == "open a task with another key"
    assert len(rig.store.events) == before
    assert await permitted(rig, handle, "crm/get_order", {"id": "4711"}), "the first is as it was"


async def test_what_ended_or_is_held_is_not_opened_again(rig):
    keyed = replace(REFUND, idempotency_key="1")
    task, _ = await open_task(rig.world, rig.door, ALICE, keyed)
    with pytest.raises(Conflict, match="is held") as conflict:
        await open_task(rig.world, rig.door, ALICE, replace(keyed, holder=Process(4711, 1)))
    assert f"/v1/tasks/{task.id}/hold" in conflict.value.hint
    rig.clock.at = task.deadline  # over, though nobody has ended it yet
    with pytest.raises(Conflict, match="not to be opened again"):
        await open_task(rig.world, rig.door, ALICE, keyed)
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    with pytest.raises(Conflict, match="not to be opened again"):
        await open_task(rig.world, rig.door, ALICE, keyed)
    assert opened(rig) == [task.id]
    rig.check()


async def test_a_repeated_request_is_decided_anew(rig):
    """A policy that was loaded, a task that was suspended meanwhile: no handle then."""
    keyed = replace(REFUND, idempotency_key="1")
    task, handle = await open_task(rig.world, rig.door, ALICE, keyed)
    await open_task(rig.world, rig.door, ALICE, keyed)
    extended = [event for event in rig.store.events if event.kind == Kind.TASK_EXTENDED]
    assert extended[0].detail["decision"] and extended[0].detail["policy"] == rig.world.policies.current.version
    inside = replace(INSIDE, idempotency_key="2")
    handle = (await open_task(rig.world, rig.door, ALICE, keyed))[1]
    await open_task(rig.world, rig.door, claim_of(handle), inside)
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.TASK_SUSPENDED, advance(await tx.get(Task, task.id), Kind.TASK_SUSPENDED))
    with pytest.raises(Denied) as denied:
        await open_task(rig.world, rig.door, claim_of(handle), inside)
    assert denied.value.code == "task_suspended"


async def test_what_a_process_holds_is_not_taken_from_it(rig):
    keyed = replace(REFUND, idempotency_key="1")
    task, handle = await open_task(rig.world, rig.door, ALICE, keyed)
    with pytest.raises(Conflict, match="is held"):
        await open_task(rig.world, rig.door, ALICE, replace(keyed, held={task.id}))
    assert await permitted(rig, handle, "crm/get_order", {"id": "4711"})
    await open_task(rig.world, rig.door, ALICE, replace(keyed, held={"t" + "b" * 20}))


async def test_what_nothing_holds_is_not_given_to_who_wants_it_held(rig):
    """It would go on when its caller is gone. One that a heartbeat holds goes on being held so."""
    keyed = replace(REFUND, idempotency_key="1")
    task, handle = await open_task(rig.world, rig.door, ALICE, keyed)
    with pytest.raises(Conflict, match=f"task {task.id} was opened .*, and nothing holds it") as conflict:
        await open_task(rig.world, rig.door, ALICE, replace(keyed, beats=True))
    assert (conflict.value.code, conflict.value.hint) == ("already_opened", "open a task with another key")
    assert await permitted(rig, handle, "crm/get_order", {"id": "4711"})
    held, _ = await open_task(rig.world, rig.door, ALICE, replace(keyed, beats=True, idempotency_key="2"))
    again, _ = await open_task(rig.world, rig.door, ALICE, replace(keyed, beats=True, idempotency_key="2"))
    assert (again.id, again.heartbeat) == (held.id, held.heartbeat) and held.heartbeat


async def test_a_key_is_its_callers_and_its_tasks_own(rig):
    keyed = replace(REFUND, actor=None, idempotency_key="1")
    _, handle = await open_task(rig.world, rig.door, ALICE, keyed)
    await open_task(rig.world, rig.door, SUPPORT, keyed)
    await open_task(rig.world, rig.door, claim_of(handle), replace(INSIDE, idempotency_key="1"))
    await open_task(rig.world, rig.door, ALICE, replace(keyed, idempotency_key="2"))
    for _ in range(2):
        await open_task(rig.world, rig.door, ALICE, replace(keyed, idempotency_key=None))
    assert len(opened(rig)) == 6


async def test_a_refusal_uses_up_no_key(rig):
    with pytest.raises(Denied):
        await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor="agent/nobody", idempotency_key="1"))
    await open_task(rig.world, rig.door, ALICE, replace(REFUND, idempotency_key="1"))


@pytest.mark.parametrize("kept", ["in memory", "in a database file"])
async def test_many_at_once_with_one_key_open_one_task(kept, tmp_path):
    rig = Rig() if kept == "in memory" else SqliteRig(tmp_path / "taskbound.db")
    await rig.people()
    keyed = replace(REFUND, idempotency_key="1")
    tries = await asyncio.gather(*(open_task(rig.world, rig.door, ALICE, keyed) for _ in range(20)))
    assert len({task.id for task, _ in tries}) == 1
    assert sum([await lets(rig, handle) for _, handle in tries]) == 1
    rig.check()


async def lets(rig, handle):
    try:
        return await permitted(rig, handle, "crm/get_order", {"id": "4711"})
    except Unauthenticated:
        return False


# --- for whom ------------------------------------------------------------------------------------


async def test_nobody_acts_for_a_person_by_naming_them(rig):
    with pytest.raises(Denied, match="human/alice does not act for human/bob") as denied:
        await open_task(rig.world, rig.door, ALICE, replace(REFUND, subject="human/bob"))
    assert denied.value.code == "not_yours"
    assert [event.value.code for event in rig.store.events if event.kind == Kind.CALL_DENIED] == ["not_yours"]
    task, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, subject="human/alice"))
    assert task.subject == "spiffe://example.org/human/alice"
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), replace(INSIDE, subject="human/alice"))
    assert child.subject == task.subject
    with pytest.raises(Denied):
        await open_task(rig.world, rig.door, claim_of(handle), replace(INSIDE, subject="human/bob"))
    rig.check()


def test_a_key_that_cannot_be_kept_is_not_asked():
    with pytest.raises(InvalidRequest, match="the idempotency key has 257 bytes"):
        TaskAsk(intent="x", idempotency_key="k" * 257)


# --- races ---------------------------------------------------------------------------------------


class Racing:
    """A store in which others take of a parent's budget, for some times, between the look and the record."""

    def __init__(self, store, times) -> None:
        self._store, self.times = store, times

    @asynccontextmanager
    async def transaction(self, opener):
        async with self._store.transaction(opener) as tx:
            record = tx.record

            async def racing(kind, *args, **more):
                if kind is Kind.TASK_OPENED and self.times:
                    self.times -= 1
                    raise BudgetSpent("another was first")
                return await record(kind, *args, **more)

            tx.record = racing
            yield tx


@pytest.mark.parametrize("times", [1, 2])
async def test_a_race_for_a_budget_is_tried_once_more(rig, times):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    world, before = replace(rig.world, store=Racing(rig.store, times)), len(rig.store.events)
    if times == 1:
        await open_task(world, rig.door, claim_of(handle), replace(INSIDE, idempotency_key="1"))
        assert len(opened(rig)) == 2
    else:
        with pytest.raises(BudgetSpent):
            await open_task(world, rig.door, claim_of(handle), INSIDE)
        assert len(rig.store.events) == before
    rig.check()


async def test_a_budget_that_is_spent_is_denied_and_recorded_once(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    with pytest.raises(BudgetSpent):
        await open_task(rig.world, rig.door, claim_of(handle), replace(INSIDE, budget={"calls": 21, "leases": 0}))
    assert [event.value.code for event in rig.store.events if event.kind == Kind.CALL_DENIED] == ["budget_spent"]
