"""What a new task never gets: a dead actor, more life than its parent, another subject, a limit twice, unkept text."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import Denied, InvalidRequest, NotFound
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Registration
from taskbound.core.thing import advance
from taskbound.steps.end_task import end_task
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

LOOK_UP = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 3, "leases": 0})
HELPER = Claim("main", facts=Facts("unix", {"script": "/srv/agent/helper.py"}))


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


def last_denial(rig):
    event = rig.store.events[-1]
    assert event.kind == Kind.CALL_DENIED
    return event


async def state_to(rig, name, kind):
    async with rig.store.transaction(rig.door) as tx:
        (found,) = await tx.find(Registration, spiffe_id=f"spiffe://example.org/{name}")
        await tx.record(kind, advance(found, kind))


async def refused_and_silent(rig, who, ask, error):
    before = len(rig.store.events)
    with pytest.raises(error) as refused:
        await open_task(rig.world, rig.door, who, ask)
    assert len(rig.store.events) == before, "nothing was recorded"
    rig.check()
    return refused.value


def detail(amount: str, calls: int):
    when = {"order_id": '= "4711"', "amount": amount}
    wish = {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "crm/refund"}
    return {**wish, "when": when, "budget": {"calls": calls}}


# --- the actor -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.IDENTITY_SUSPENDED, Kind.IDENTITY_RETIRED])
@pytest.mark.parametrize("inside", [False, True], ids=["root", "child"])
async def test_nobody_who_is_not_live_gets_work(rig, kind, inside):
    who, ask = ALICE, replace(REFUND, actor="agent/helper")
    if inside:
        _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
        who, ask = claim_of(handle), replace(LOOK_UP, actor="agent/helper")
    await state_to(rig, "agent/helper", kind)
    with pytest.raises(Denied) as denied:
        await open_task(rig.world, rig.door, who, ask)
    assert (denied.value.code, last_denial(rig).value.code) == ("not_live", "not_live")
    rig.check()


# --- a child -------------------------------------------------------------------------------------


async def test_a_child_never_lives_longer_than_its_parent(rig):
    parent, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    early, _ = await open_task(
        rig.world, rig.door, claim_of(handle), replace(LOOK_UP, budget={"calls": 1, "leases": 0})
    )
    assert early.deadline == early.opened + timedelta(minutes=5)
    rig.clock.advance(400)
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), LOOK_UP)
    assert (child.deadline, child.due) == (parent.deadline, parent.deadline)


async def test_a_child_is_for_whom_its_parent_is(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    child, own = await open_task(rig.world, rig.door, claim_of(handle), replace(LOOK_UP, actor="agent/helper"))
    wish = replace(LOOK_UP, actor="agent/support", budget={"calls": 1, "leases": 0})
    grandchild, _ = await open_task(rig.world, rig.door, claim_of(own), wish)
    assert child.subject == grandchild.subject == "spiffe://example.org/human/alice"
    _, handle = await open_task(rig.world, rig.door, HELPER, replace(REFUND, actor=None))
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), LOOK_UP)
    assert child.subject is None, "the agent's own work stays its own"


async def test_who_acted_before_stands_nearest_first(rig):
    ask = RegistrationAsk("agent/third", "human/alice", "unix", {"script": "/srv/third.py"}, environment="production")
    await register_identity(rig.world, rig.door, rig.door, ask)
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    assert task.act == ()
    for calls, actor in ((3, "agent/helper"), (2, "agent/third"), (1, "agent/support")):
        wish = TaskAsk("look-up-order", LOOK_UP.set, actor=actor, budget={"calls": calls, "leases": 0})
        task, handle = await open_task(rig.world, rig.door, claim_of(handle), wish)
    above = ("agent/third", "agent/helper", "agent/support")
    assert (task.depth, task.act) == (3, tuple(f"spiffe://example.org/{name}" for name in above))


async def test_two_grants_never_share_the_limit_of_the_one_they_descend_from(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, TaskAsk(details=[detail("<= 50", 5)]))
    both = TaskAsk(details=[detail("<= 10", 2), detail("= 20", 2)], budget={"leases": 0})
    with pytest.raises(Denied, match="descend from one") as denied:
        await open_task(rig.world, rig.door, claim_of(handle), both)
    assert (denied.value.code, last_denial(rig).value.code) == ("outside_grants", "outside_grants")
    alone = TaskAsk(details=[detail("<= 10", 2)], budget={"leases": 0})
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), alone)
    assert [grant.calls for grant in child.grants] == [2]
    rig.check()


# --- what is asked -------------------------------------------------------------------------------


async def test_an_unknown_cause_is_refused(rig):
    await refused_and_silent(rig, ALICE, replace(REFUND, cause="t" + "z" * 20), NotFound)
    first, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    task, _ = await open_task(rig.world, rig.door, ALICE, replace(REFUND, cause=first.id))
    assert (task.cause, task.parent) == (first.id, None)


@pytest.mark.parametrize("profile", ["", "none"])
async def test_a_task_without_a_profile_names_none(rig, profile):
    refused = await refused_and_silent(rig, ALICE, TaskAsk(profile), InvalidRequest)
    assert refused.code == "unknown_profile"


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("intent", "x" * 16_385),
        ("intent", "ü" * 8_193),  # bytes are kept, not characters
        ("intent", "a\ud800b"),
        *((member, text) for member in ("profile", "actor", "parent", "cause") for text in ("x" * 513, "\udfff")),
    ],
    ids=lambda text: ascii(text[:8]),
)
async def test_text_that_cannot_be_kept_is_refused(rig, member, text):
    before = len(rig.store.events)
    with pytest.raises(InvalidRequest, match=r"at most|lone surrogate"):
        await open_task(rig.world, rig.door, ALICE, replace(REFUND, **{member: text}))
    assert len(rig.store.events) == before


async def test_an_intent_as_long_as_may_be_is_kept(rig):
    task, _ = await open_task(rig.world, rig.door, ALICE, replace(REFUND, intent="ü" * 8_192))
    assert task.intent.text == "ü" * 8_192


@pytest.mark.parametrize(
    "ask",
    [
        TaskAsk(details=[detail("= 5", 1001)]),
        TaskAsk(details=[detail("= 5", 600), detail("= 6", 600)]),
        TaskAsk(details=[], budget={"calls": 1001}),
        TaskAsk(details=[], budget={"leases": 201}),
        TaskAsk(details=[detail("= 5", 3)], budget={"calls": 4}),
    ],
    ids=["one", "together", "calls", "leases", "more than the details name"],
)
async def test_details_ask_for_no_more_than_the_default_budget(rig, ask):
    await refused_and_silent(rig, ALICE, ask, InvalidRequest)


async def test_details_get_what_they_name_and_the_default_of_the_rest(rig):
    task, _ = await open_task(rig.world, rig.door, ALICE, TaskAsk(details=[detail("= 5", 1000)]))
    async with rig.store.transaction(rig.door) as tx:
        assert await tx.left(task.id) == {"calls": 1000, "leases": 200, "g0#calls": 1000}


# --- ending what is not one's own ----------------------------------------------------------------


async def test_a_denied_end_is_recorded_with_its_reason_and_the_policy_in_force(rig):
    task, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    with pytest.raises(Denied) as denied:
        await end_task(rig.world, rig.door, HELPER, task.id, "mischief")
    event = last_denial(rig)
    assert (event.value.action, event.value.resource, event.value.code) == ("task/end", task.id, "not_yours")
    assert event.value.policy == rig.world.policies.current.version
    assert event.by == "spiffe://example.org/agent/helper"
    assert event.detail["decision"]["objections"] == [["not_yours", str(denied.value)]]
    rig.check()
