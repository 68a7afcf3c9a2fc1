"""Who asks is proven by exactly one live registration, each proof once; and what is decided on it is recorded."""

import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import Conflict, InvalidRequest, Replayed, StoreUnavailable, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, OneTime, Registration, Token, door, proof_of
from taskbound.core.thing import advance
from taskbound.prove import gather, prove
from taskbound.steps.decide_call import CallAsk, Outcome, complete_call, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.contracts.store import Clock
from tests.rig import ALICE, POLICY, Rig
from tests.stories.story import REFUND, claim_of

READ = CallAsk("crm/get_order", {"id": "4711"})
REFUND_CALL = CallAsk("crm/refund", {"order_id": "4711", "amount": 1})
LOOK_UP = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 2, "leases": 0})
SUPPORT = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


async def proven(rig, claim):
    async with rig.store.transaction(rig.door) as tx:
        return await prove(tx, claim)


async def register(rig, name, when, owner="human/alice"):
    ask = RegistrationAsk(name, owner, "unix", when, environment="production")
    return await register_identity(rig.world, rig.door, rig.door, ask)


async def state_to(rig, name, *kinds):
    async with rig.store.transaction(rig.door) as tx:
        (found,) = await tx.find(Registration, spiffe_id=f"spiffe://example.org/{name}")
        for kind in kinds:
            found = advance(found, kind)
            await tx.record(kind, found)


# --- one-time values -----------------------------------------------------------------------------


def once(rig, claim=ALICE):
    return replace(claim, spend=(OneTime("proof", "x", rig.clock.at + timedelta(minutes=1)),))


async def test_a_proof_works_once(rig):
    await open_task(rig.world, rig.door, once(rig), REFUND)
    before = len(rig.store.events)
    with pytest.raises(Replayed):
        await open_task(rig.world, rig.door, once(rig), REFUND)
    with pytest.raises(Replayed):  # whoever shows it
        await open_task(rig.world, rig.door, once(rig, SUPPORT), replace(REFUND, actor=None))
    assert len(rig.store.events) == before


async def test_a_proof_is_used_with_a_recorded_denial_and_given_back_with_a_refused_transaction(rig):
    with pytest.raises(InvalidRequest):
        await open_task(rig.world, rig.door, once(rig), replace(REFUND, set={}))
    _, call, _ = await decide_call(rig.world, rig.door, once(rig), READ)
    assert call.code == "no_task", "the refused transaction took nothing"
    with pytest.raises(Replayed):
        await decide_call(rig.world, rig.door, once(rig), READ)


@pytest.mark.parametrize(("after", "good"), [(-11, 0), (-10, 1), (0, 1), (60, 1), (61, 0)])
async def test_a_proof_of_a_key_has_a_window_and_works_once_in_all_of_it(rig, after, good):
    made = rig.clock.at + timedelta(minutes=1)
    proof = proof_of("key", "id", made, timedelta(seconds=60), timedelta(seconds=10))
    claim = replace(ALICE, spend=(proof,))
    rig.clock.at = made + timedelta(seconds=after)
    for n in range(2):
        if n < good:
            await proven(rig, claim)
        else:
            with pytest.raises(Unauthenticated) as refused:
                await proven(rig, claim)
            assert refused.value.code == "invalid_dpop_proof"


async def test_a_proof_is_remembered_to_the_last_moment_in_which_it_would_work(rig):
    made = rig.clock.at + timedelta(seconds=10)  # by a clock that goes before ours
    claim = replace(ALICE, spend=(proof_of("key", "id", made, timedelta(seconds=60), timedelta(seconds=10)),))
    await proven(rig, claim)
    for _ in range(14):
        rig.clock.at += timedelta(seconds=5)
        for n in range(3):  # others come and go: what nobody can use any more is forgotten
            await proven(rig, replace(ALICE, spend=(OneTime("proof", f"{rig.clock.at} {n}", rig.clock.at),)))
        with pytest.raises(
            Unauthenticated, match="used before" if rig.clock.at <= made + timedelta(seconds=60) else ""
        ):
            await proven(rig, claim)


# --- tokens --------------------------------------------------------------------------------------


async def token_of(rig, **changes):
    task, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    at = rig.clock.at
    token = Token("j1", "main", task.id, task.actor, "key", at, at + timedelta(seconds=300))
    return task, Claim("main", token=replace(token, **changes), key="key")


async def test_a_token_proves_who_works_in_its_task(rig):
    task, claim = await token_of(rig)
    caller = await proven(rig, claim)
    assert (caller.name, caller.task, caller.assurance) == ("agent/support", task.id, "token")


@pytest.mark.parametrize(
    "changes",
    [
        {"org": "other"},
        {"task": "t" + "z" * 20},
        {"actor": "spiffe://example.org/agent/helper"},
        {"key": "another"},
        {"until": Clock().at},
        {"since": Clock().at + timedelta(seconds=3)},  # the times of two nodes may differ by 2
    ],
)
async def test_a_token_that_says_something_else_proves_nothing(rig, changes):
    _, claim = await token_of(rig, **changes)
    with pytest.raises(Unauthenticated) as refused:
        await proven(rig, claim)
    assert refused.value.code == "invalid_token"


async def test_a_token_lives_until_its_moment_and_no_longer(rig):
    _, claim = await token_of(rig)
    rig.clock.at += timedelta(seconds=299)
    await proven(rig, claim)
    rig.clock.at += timedelta(seconds=1)
    with pytest.raises(Unauthenticated, match="expired"):
        await proven(rig, claim)


@pytest.mark.parametrize("kind", [Kind.IDENTITY_SUSPENDED, Kind.IDENTITY_RETIRED])
async def test_a_token_of_who_may_not_act_proves_nothing(rig, kind):
    _, claim = await token_of(rig)
    await state_to(rig, "agent/support", kind)
    with pytest.raises(Unauthenticated):
        await proven(rig, claim)


async def test_a_call_with_the_token_of_an_ended_task_is_denied_and_recorded(rig):
    task, claim = await token_of(rig)
    caller = await proven(rig, claim)
    await end_task(rig.world, rig.door, ALICE, task.id, "asked")
    for asker in (claim, caller):  # also where it was proven a moment before the end
        _, call, decision = await decide_call(rig.world, rig.door, asker, READ)
        assert (decision.code, call.state, call.task) == ("task_ended", "denied", task.id)


# --- facts ---------------------------------------------------------------------------------------


async def test_two_registrations_that_match_prove_nothing(rig):
    assert (await proven(rig, SUPPORT)).name == "agent/support"
    await register(rig, "agent/twin", {"script": "/srv/agent/support.py"})
    with pytest.raises(Unauthenticated, match="2 registrations match"):
        await proven(rig, SUPPORT)


async def test_a_suspended_registration_is_still_a_doubt(rig):
    await register(rig, "agent/twin", {"script": "/srv/agent/support.py"})
    await state_to(rig, "agent/twin", Kind.IDENTITY_SUSPENDED)
    with pytest.raises(Unauthenticated, match="2 registrations match"):
        await proven(rig, SUPPORT)


async def test_a_retired_registration_does_not_block_its_facts(rig):
    await state_to(rig, "agent/support", Kind.IDENTITY_RETIRED)
    with pytest.raises(Unauthenticated, match="0 registrations match"):
        await proven(rig, SUPPORT)
    await register(rig, "agent/heir", {"script": "/srv/agent/support.py"})
    assert (await proven(rig, SUPPORT)).name == "agent/heir"


@pytest.mark.parametrize("shown", [True, "1", 1.0], ids=repr)
async def test_a_fact_of_another_type_is_another_fact(rig, shown):
    await register(rig, "agent/first", {"uid": 1})
    assert (await proven(rig, Claim("main", facts=Facts("unix", {"uid": 1})))).name == "agent/first"
    with pytest.raises(Unauthenticated):
        await proven(rig, Claim("main", facts=Facts("unix", {"uid": shown})))


@pytest.mark.parametrize("kinds", [(Kind.IDENTITY_SUSPENDED,), (Kind.IDENTITY_RETIRED,), (Kind.IDENTITY_OFFBOARDED,)])
async def test_nobody_acts_for_an_owner_who_is_not_live(rig, kinds):
    assert (await proven(rig, SUPPORT)).owner.endswith("human/alice")
    await state_to(rig, "human/alice", *kinds)
    with pytest.raises(Unauthenticated, match="owner of agent/support") as refused:
        await proven(rig, SUPPORT)
    hint = "stop taskbound up, then: taskbound up --resume-operator"  # alice is the operator
    assert refused.value.hint == (hint if kinds == (Kind.IDENTITY_SUSPENDED,) else "")


async def test_who_is_suspended_is_told_so_and_who_else_can_resume_them(rig):
    await register(rig, "human/bob", {"uid": 7}, owner="human/bob")
    await state_to(rig, "human/bob", Kind.IDENTITY_SUSPENDED)
    with pytest.raises(Unauthenticated, match=r"^human/bob is suspended") as refused:
        await proven(rig, Claim("main", facts=Facts("unix", {"uid": 7})))
    assert refused.value.hint == "taskbound identity resume human/bob"


async def test_an_identity_of_another_organisation_is_refused(rig):
    mine = await proven(rig, SUPPORT)
    assert await proven(rig, mine) is mine
    for foreign in (replace(mine, org="other"), door("example.org", "door/gateway", "other")):
        with pytest.raises(Unauthenticated, match="another organisation"):
            await proven(rig, foreign)


async def test_what_an_upstream_offers_now_is_part_of_the_case(rig):
    async with rig.store.transaction(rig.door) as tx:
        caller = await prove(tx, SUPPORT)
        for pin in (None, "00"):
            case = await gather(rig.world, tx, caller, "tools/call", READ.resource, READ.arguments, offered_pin=pin)
            assert case.offered_pin == pin


# --- labels: of the whole tree -------------------------------------------------------------------


async def family(rig):
    """A root task and its child; the claims of both."""
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    _, own = await open_task(rig.world, rig.door, claim_of(handle), LOOK_UP)
    return claim_of(handle), claim_of(own)


@pytest.mark.parametrize("reader", [0, 1], ids=["parent", "child"])
async def test_what_one_task_read_all_of_its_tree_has_read(rig, reader):
    both = await family(rig)
    _, _, first = await decide_call(rig.world, rig.door, both[reader], READ)
    assert (first.permitted, first.context["labels"]) == (True, [])
    for who in both:
        _, _, decision = await decide_call(rig.world, rig.door, who, READ)
        assert decision.context["labels"] == ["free_text"]
    stranger, _ = await family(rig)
    _, _, decision = await decide_call(rig.world, rig.door, stranger, READ)
    assert decision.context["labels"] == [], "another tree has read nothing"
    rig.check()


@pytest.mark.parametrize("reader", [0, 1], ids=["parent", "child"])
async def test_policy_sees_the_labels_of_the_tree(tmp_path, reader):
    policy = shutil.copytree(POLICY, tmp_path / "policy")
    forbid = (
        'forbid(principal, action == Action::"tools/call", resource) when { context.labels.contains("free_text") };'
    )
    (policy / "organisation" / "labels.cedar").write_text(f'@id("clean-only")\n{forbid}\n')
    rig = Rig(policy)
    await rig.people()
    both = await family(rig)
    _, _, first = await decide_call(rig.world, rig.door, both[reader], READ)
    assert first.permitted
    for who in both:
        _, call, decision = await decide_call(rig.world, rig.door, who, READ)
        assert (call.code, "clean-only" in decision.objections[0].reason) == ("forbidden", True)
    rig.check()


# --- the race for the last of a budget -----------------------------------------------------------


class Overtaken:
    """A store in which another takes a step between the look and the record of the first permitted call."""

    def __init__(self, store, meanwhile) -> None:
        self._store, self._meanwhile = store, meanwhile

    @asynccontextmanager
    async def transaction(self, opener):
        async with self._store.transaction(opener) as tx:
            record = tx.record

            async def late(kind, *args, **details):
                if kind is Kind.CALL_PERMITTED and self._meanwhile:
                    meanwhile, self._meanwhile = self._meanwhile, None
                    await meanwhile()
                return await record(kind, *args, **details)

            tx.record = late
            yield tx


async def test_who_loses_the_last_of_a_budget_is_denied_and_recorded(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    agent, winners = claim_of(handle), []

    async def other():
        winners.append(await decide_call(rig.world, rig.door, agent, REFUND_CALL))

    overtaken = replace(rig.world, store=Overtaken(rig.store, other))
    _, call, decision = await decide_call(overtaken, rig.door, agent, REFUND_CALL)
    assert [won.permitted for _, _, won in winners] == [True]
    assert (decision.permitted, call.code, call.state) == (False, "budget_spent", "denied")
    calls = [event for event in rig.store.events if event.noun == "call"]
    assert [event.kind for event in calls] == [Kind.CALL_PERMITTED, Kind.CALL_DENIED]
    assert calls[-1].value == call
    rig.check()


# --- what cannot be committed is not answered ----------------------------------------------------


class NeverCommits:
    """A store that goes away at the commit."""

    def __init__(self, store) -> None:
        self._store = store

    @asynccontextmanager
    async def transaction(self, opener):
        async with self._store.transaction(opener) as tx:
            yield tx
            raise StoreUnavailable("the store went away at the commit")


@pytest.mark.parametrize("what", ["permitted call", "denied call", "task", "child", "lease", "end", "outcome"])
async def test_what_is_not_committed_is_not_answered(rig, what):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    agent = claim_of(handle)
    caller, call, _ = await decide_call(rig.world, rig.door, agent, READ)
    world, before, crossed = replace(rig.world, store=NeverCommits(rig.store)), len(rig.store.events), len(names(rig))
    with pytest.raises(StoreUnavailable):
        match what:
            case "permitted call":
                await decide_call(world, rig.door, agent, READ)
            case "denied call":
                await decide_call(world, rig.door, ALICE, READ)
            case "task":
                await open_task(world, rig.door, ALICE, REFUND)
            case "child":
                await open_task(world, rig.door, agent, LOOK_UP)
            case "lease":
                await issue_lease(world, rig.door, agent, LeaseAsk("shopdb/reader"))
            case "end":
                await end_task(world, rig.door, ALICE, task.id, "done")
            case _:
                await complete_call(world, rig.door, caller, call, Outcome(False, 1))
    assert (len(rig.store.events), len(names(rig))) == (before, crossed), "nothing happened, here or at a target"
    rig.check()


def names(rig):
    return [name for name in rig.crossings.names if name.startswith("provider.")]


# --- outcomes ------------------------------------------------------------------------------------


def outcomes(rig):
    return [event.id for event in rig.store.events if event.kind == Kind.CALL_COMPLETED]


async def test_a_call_has_one_outcome(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    caller, call, _ = await decide_call(rig.world, rig.door, claim_of(handle), READ)
    await complete_call(rig.world, rig.door, caller, call, Outcome(False, 1))
    with pytest.raises(Conflict):
        await complete_call(rig.world, rig.door, caller, call, Outcome(True, 2))
    assert outcomes(rig) == [call.id]


async def test_a_call_that_was_denied_has_no_outcome(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    caller, call, _ = await decide_call(rig.world, rig.door, claim_of(handle), CallAsk("crm/get_order", {"id": "1"}))
    with pytest.raises(Conflict, match="was denied"):
        await complete_call(rig.world, rig.door, caller, call, Outcome(False, 1))
    assert outcomes(rig) == []
