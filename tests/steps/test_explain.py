"""From one effect back to person, intent, agents, decision, policy and log; nothing for who may not see it (N13)."""

import io
import json
import shlex
from contextlib import redirect_stdout
from dataclasses import replace

import pytest

from taskbound.cli import main
from taskbound.core.call import TASK_ACTIONS, Ask, Call, Decision, Deny
from taskbound.core.errors import Denied, NotFound
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Process
from taskbound.core.lease import orphan
from taskbound.core.organisation import operator_policy
from taskbound.core.policy_dir import read_policy_dir
from taskbound.core.schema import RESOURCE_TYPES
from taskbound.core.thing import advance
from taskbound.steps import explain as explain_module
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.explain import explain, list_calls
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.look_up import permit_administration
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.seal_log import seal_log
from tests.denials import denial_codes
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

ORDER = CallAsk("crm/get_order", {"id": "4711"})
HELPER = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


@pytest.fixture
async def task(rig):
    """The demo's task, and its agent."""
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    return task, claim_of(handle)


async def called(rig, agent, ask=ORDER):
    _, call, _ = await decide_call(rig.world, rig.door, agent, ask)
    return call


async def why(rig, id, asker=ALICE):
    told = await explain(rig.world, rig.door, asker, id)
    return json.loads(json.dumps(told))  # it has a JSON form


def with_policies(rig, **changed):
    policies = replace(rig.world.policies.current, **changed)

    class Changed:
        current = policies

    return replace(rig.world, policies=Changed())


async def test_a_permit_leads_back_to_person_intent_agent_grant_and_policy(rig, task):
    task, agent = task
    call = await called(rig, agent)
    told = await why(rig, f"d{call.id[1:]}")
    assert told == await why(rig, call.id), "the id as people see it, and as it is stored"
    assert (told["id"], told["person"]) == (f"d{call.id[1:]}", "human/alice")
    assert told["what"] == {
        "kind": "call", "action": "tools/call", "resource": "crm/get_order", "arguments": {"id": "4711"},
    }  # fmt: skip
    (level,) = told["chain"]
    assert (level["task"], level["actor"], level["state"]) == (task.id, "agent/support", "open")
    assert level["intent"]["profile"] == "refund-order"
    assert level["intent"]["values"] == {"max": "50.0", "order_id": "4711"}
    assert level["intent"]["text"] == "customer 4711 wants a refund"
    (grant,) = level["grants"]
    assert grant["used"] and 'context.grant["0"].order_id' in grant["text"] and grant["id"] == call.grants[0]
    assert told["decision"]["permitted"] and told["decision"]["permits"] == ["start"]
    assert told["policy"] == {"version": rig.world.policies.current.version, "in_force": True}
    assert (told["event"]["kind"], told["event"]["index"], told["event"]["sealed"]) == ("call.permitted", None, False)
    assert (told["erased"], told["hint"], told["command"]) == (False, "", "")


async def test_it_says_whether_the_event_is_sealed_under_a_checkpoint(rig, task):
    call = await called(rig, task[1])
    sealed = await seal_log(rig.world, rig.lane)
    later = await called(rig, task[1])
    event = (await why(rig, call.id))["event"]
    assert event["index"] is not None and event["sealed"] and event["checkpoint"] == sealed.size
    assert not (await why(rig, later.id))["event"]["sealed"]
    (fact,) = await rig.world.log.read(rig.lane, event["index"], event["index"] + 1)
    assert fact.header.id == call.id, "the place is that of the event"


@pytest.mark.parametrize(
    ("ask", "code", "hint", "command"),
    [
        (CallAsk("crm/get_order", {"id": "4712"}), "outside_grants", 'id = "4711"',
         "taskbound task open --profile refund-order --set max=… order_id=…"),
        (CallAsk("mail/send", {}), None, None, None),
        (CallAsk("crm/nothing", {}), "unknown_tool", "which tools", "taskbound tools list"),
    ],
)  # fmt: skip
async def test_a_denial_says_why_and_what_would_unblock_it(rig, task, ask, code, hint, command):
    call = await called(rig, task[1], ask)
    told = await why(rig, call.id)
    assert not told["decision"]["permitted"] and told["decision"]["code"] == call.code
    assert told["decision"]["reason"]
    if code is not None:
        assert (call.code, told["command"]) == (code, command) and hint in told["hint"]


async def test_a_denial_shows_what_was_granted_instead(rig, task):
    call = await called(rig, task[1], CallAsk("crm/get_order", {"id": "4712"}))
    (level,) = (await why(rig, call.id))["chain"]
    assert [grant["used"] for grant in level["grants"]] == [False]


async def test_the_profile_that_grants_it_is_named_else_what_to_add(rig, task):
    agent = task[1]
    _, handle = await open_task(rig.world, rig.door, agent, HELPER)
    refund = CallAsk("crm/refund", {"order_id": "4711", "amount": 10})
    call = await called(rig, claim_of(handle), refund)
    told = await why(rig, call.id)
    assert told["decision"]["code"] == "outside_grants"
    assert "profile refund-order grants it" in told["hint"]
    assert told["command"] == "taskbound task open --profile refund-order --set max=… order_id=…"
    world = with_policies(rig, profiles={})
    told = await explain(world, rig.door, ALICE, call.id)
    assert told["hint"] == (
        'no profile grants it: add [[grant]] tool = "crm/refund" to profiles/look-up-order.toml, below it '
        'when = { amount = "<= …", order_id = "any" }, with its value in place of each …: \'amount\' a decimal'
    )
    assert told["command"] == "taskbound policy load"


async def test_no_other_profile_is_named_to_who_is_in_a_task(rig, task):
    _, handle = await open_task(rig.world, rig.door, task[1], HELPER)
    helper = claim_of(handle)
    call = await called(rig, helper, CallAsk("crm/refund", {"order_id": "4711", "amount": 10}))
    told = await why(rig, call.id, helper)
    (listed,) = await list_calls(rig.world, rig.door, helper, None, "denied", 10)
    for one in (told, listed):
        assert (one["command"], bool(one["hint"])) == ("", True)
        assert "refund-order" not in one["hint"]


async def test_where_a_profile_binds_nothing_it_is_the_profile_that_is_to_be_changed(rig, task):
    call = await called(rig, task[1], CallAsk("crm/get_order", {"id": "4712"}))
    profiles = rig.world.policies.current.profiles
    bare = {"refund-order": replace(profiles["refund-order"], parameters={})}
    told = await explain(with_policies(rig, profiles=bare), rig.door, ALICE, call.id)
    assert told["hint"] == 'it was granted id = "4711": change its [[grant]] in profiles/refund-order.toml'
    assert told["command"] == "taskbound policy load"


async def test_the_parameter_that_binds_it_is_named(rig, task):
    told = await why(rig, (await called(rig, task[1], CallAsk("crm/get_order", {"id": "4712"}))).id)
    assert told["hint"] == 'it was granted id = "4711": open a task with another order_id'


async def test_only_what_differed_is_named_with_its_bound_and_what_the_profile_takes(rig, task):
    asked = await called(rig, task[1], CallAsk("crm/refund", {"order_id": "4711", "amount": 900}))
    told = await why(rig, asked.id)
    assert told["hint"] == (
        "it was granted amount <= 50, and max of profile refund-order is at most 200: change profiles/refund-order.toml"
    )
    assert told["command"] == "taskbound policy load"
    (listed,) = await list_calls(rig.world, rig.door, ALICE, task[0].id, "denied", 10)
    assert (listed["hint"], listed["command"]) == (told["hint"], told["command"])
    told = await why(rig, (await called(rig, task[1], CallAsk("crm/refund", {"order_id": "4711", "amount": 60}))).id)
    assert told["hint"] == "it was granted amount <= 50: open a task with another max"
    noted = CallAsk("crm/refund", {"order_id": "4711", "amount": 5, "note": "please"})
    told = await why(rig, (await called(rig, task[1], noted)).id)
    assert told["hint"] == "it was granted without note: change its [[grant]] in profiles/refund-order.toml"


async def test_of_what_was_granted_above_it_a_task_is_told_nothing(rig, task):
    wide = replace(
        task[0].grants[1],
        conditions=tuple(replace(one, operator="any", parameter=None) for one in task[0].grants[1].conditions),
    )
    child = replace(task[0], id="t" + "z" * 20, parent=task[0].id, grants=(wide,), depth=1)
    call = replace(await called(rig, task[1], CallAsk("crm/refund", {"order_id": "4711", "amount": 60})))
    args = {"projected": {"args": {"order_id": "4711", "amount": {"__extn": {"fn": "decimal", "arg": "60.0"}}}}}
    policies = rig.world.policies.current
    assert explain_module._differing(call, (task[0], child), policies, args, names=False) is None
    assert explain_module._differing(call, (task[0], child), policies, args, names=True) is not None


async def test_who_used_run_is_told_to_run_again(rig):
    held = replace(REFUND, holder=Process(1, 1))
    _, handle = await open_task(rig.world, rig.door, ALICE, held)
    told = await why(rig, (await called(rig, claim_of(handle), CallAsk("crm/get_order", {"id": "4712"}))).id)
    assert told["command"] == "taskbound run --profile refund-order --set max=… order_id=… -- PROGRAM"


async def test_nobody_is_told_to_permit_administration_inside_a_task(rig, task):
    with pytest.raises(Denied):
        await permit_administration(rig.world, rig.door, task[1], "tool/pin", "crm")
    (event,) = [event for event in rig.store.events if event.kind is Kind.CALL_DENIED]
    told = await why(rig, event.id)
    outside = ("it is administration: do it outside of every task", "taskbound tools list")
    assert (told["hint"], told["command"]) == outside


async def test_what_an_ended_task_was_refused_needs_a_new_one(rig, task):
    task, agent = task
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    told = await why(rig, (await called(rig, agent)).id)
    assert (told["decision"]["code"], told["hint"]) == ("task_ended", "open a new task")
    assert told["command"].startswith("taskbound task open --profile refund-order")
    assert " ended at 2" in told["decision"]["reason"]


async def test_a_forbid_is_named(rig):
    """alice's tester is of another environment than the shop's database: nhi8 forbids it."""
    ask = replace(REFUND, actor="agent/tester")
    _, handle = await open_task(rig.world, rig.door, ALICE, ask)
    with pytest.raises(Denied):
        await issue_lease(rig.world, rig.door, claim_of(handle), LeaseAsk("shopdb/reader"))
    call = [event.value for event in rig.store.events if event.kind == "call.denied"][-1]
    told = await why(rig, call.id)
    assert (told["decision"]["code"], "nhi8" in told["decision"]["reason"]) == ("forbidden", True)
    assert "organisation/" in told["hint"]


async def test_a_tool_that_changed_is_to_be_pinned(rig, task):
    call = await called(rig, task[1], replace(ORDER, offered="sha256:another"))
    told = await why(rig, call.id)
    assert (told["decision"]["code"], told["command"]) == ("tool_not_pinned", "taskbound tools derive crm --write")


async def test_a_lease_leads_back_to_who_it_was_given_for(rig, task):
    task, agent = task
    lease, credential = await issue_lease(rig.world, rig.door, agent, LeaseAsk("shopdb/reader"))
    told = await why(rig, lease.id)
    assert (told["person"], told["what"]["resource"], told["what"]["state"]) == (
        "human/alice",
        "shopdb/reader",
        "active",
    )
    assert told["what"]["name"] == lease.name
    (grant,) = told["chain"][0]["grants"]
    assert grant["used"] and "shopdb/reader" in grant["text"]
    assert told["event"]["kind"] == "lease.requested" and told["decision"]["permits"] == ["start"]
    assert told["policy"] == {"version": rig.world.policies.current.version, "in_force": True}
    assert credential.reveal() not in json.dumps(told)


async def test_an_orphan_was_asked_for_by_nobody(rig):
    async with rig.store.transaction(rig.lane) as tx:
        lease = advance(orphan("l" + "a" * 20, "main", rig.world.instance, "shopdb", tx.now), Kind.LEASE_FELL_DUE)
        await tx.record(Kind.LEASE_FELL_DUE, lease, reason="orphan")
    told = await explain(rig.world, rig.door, rig.lane, lease.id)
    assert (told["person"], told["chain"], told["event"], told["erased"]) == (None, [], None, False)


async def test_a_task_leads_back_to_who_opened_it_and_what_it_was_granted(rig, task):
    parent, agent = task
    child, _ = await open_task(rig.world, rig.door, agent, HELPER)
    told = await why(rig, child.id)
    assert [level["actor"] for level in told["chain"]] == ["agent/support", "agent/helper"]
    assert [len(level["grants"]) for level in told["chain"]] == [0, len(child.grants)]
    assert (told["what"]["action"], told["event"]["kind"]) == ("task/delegate", "task.opened")
    assert told["policy"]["version"] == rig.world.policies.current.version
    assert (await why(rig, parent.id))["what"]["action"] == "task/open"


async def test_an_erased_body_is_said_and_the_index_row_is_still_told(rig, task):
    permitted, denied = await called(rig, task[1]), await called(rig, task[1], CallAsk("crm/get_order", {"id": "4712"}))
    await seal_log(rig.world, rig.lane)
    for call in (permitted, denied):
        index = (await why(rig, call.id))["event"]["index"]
        assert await rig.world.log.erase(rig.lane, [index], rig.lane, "asked") == 1
    told = await why(rig, permitted.id)
    assert told["erased"] and told["what"]["arguments"] is None and told["decision"]["permits"] == []
    assert told["decision"]["permitted"] and told["chain"][0]["grants"][0]["used"], "the row has the grant"
    assert told["policy"]["version"] == rig.world.policies.current.version and told["event"]["sealed"]
    told = await why(rig, denied.id)
    assert (told["erased"], told["decision"]["code"], told["decision"]["reason"]) == (True, "outside_grants", "")
    assert told["command"], "what unblocks it is no secret of the body"


async def test_a_policy_that_was_replaced_is_not_in_force(rig, task):
    call = await called(rig, task[1])
    told = await explain(with_policies(rig, version="another"), rig.door, ALICE, call.id)
    assert told["policy"] == {"version": call.policy, "in_force": False}


async def test_an_agent_sees_what_is_its_own_and_nothing_of_what_stands_above(rig, task):
    parent, agent = task
    _, handle = await open_task(rig.world, rig.door, agent, HELPER)
    helper = claim_of(handle)
    call = await called(rig, helper, CallAsk("crm/get_order", {"id": "4712"}))
    told = await why(rig, call.id, helper)
    above, own = told["chain"]
    assert (above["task"], above["intent"], above["grants"]) == (parent.id, None, [])
    assert own["intent"]["profile"] == "look-up-order" and own["grants"]
    assert "customer 4711 wants a refund" not in json.dumps(told)
    assert (told["command"], bool(told["hint"])) == ("", True)
    assert (await why(rig, call.id, agent))["chain"][0]["intent"] is not None, "its parent sees both"
    with pytest.raises(Denied):
        await why(rig, parent.id, helper)


async def test_nobody_elses_effect_is_told(rig, task):
    call = await called(rig, task[1])
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    bob = RegistrationAsk("human/bob", "human/bob", "operator", {"uid": 1001})
    await register_identity(rig.world, rig.door, rig.door, bob)
    for stranger in (claim_of(handle), Claim("main", facts=Facts("operator", {"uid": 1001}))):
        with pytest.raises(Denied):
            await why(rig, call.id, stranger)
    denials = [event.value for event in rig.store.events if event.kind == "call.denied"]
    assert [denial.action for denial in denials[-2:]] == ["audit/read"] * 2


async def test_what_happened_in_no_task_is_for_who_reads_the_log(rig):
    with pytest.raises(Denied):
        await open_task(rig.world, rig.door, ALICE, replace(REFUND, profile="nothing"))
    (call,) = [event.value for event in rig.store.events if event.kind == "call.denied"]
    with pytest.raises(Denied):
        await why(rig, call.id)
    current = rig.world.policies.current
    world = with_policies(
        rig, organisation=read_policy_dir(current.files, current.targets, operator_policy("human/alice")).organisation
    )
    told = await explain(world, rig.door, ALICE, call.id)
    assert (told["person"], told["chain"]) == ("human/alice", [])
    assert told["decision"]["code"] == "unknown_profile"
    assert told["hint"] == "known: look-up-order, refund-order; see which profiles there are, or write one"


@pytest.mark.parametrize(("names", "near"), [(True, "did you mean 'refund-order'?"), (False, "see which")])
def test_a_misspelt_profile_is_told_to_people_with_the_nearest(rig, names, near):
    denied = Call("c1", "main", None, None, "task/open", "refund_order", rig.clock.at, code="unknown_profile")
    hint, _ = explain_module._unblocking(denied, (), rig.world.policies.current, {}, names=names)
    assert hint.startswith(near) and "refund_order" not in hint


@pytest.mark.parametrize("id", ["", "x", "f" + "a" * 20, "c" + "a" * 20, "l1", "t", "d'; --", "i" + "a" * 20])
async def test_what_there_is_not_cannot_be_explained(rig, id):
    with pytest.raises(NotFound) as missing:
        await why(rig, id)
    is_id = id == "c" + "a" * 20
    assert ("is no id" in str(missing.value)) is not is_id
    hint = "see which there are: taskbound call list" if is_id else explain_module.IDS
    assert missing.value.hint == hint


def is_a_command(command):
    """Whether it is typed so: a command that there is, with a verb of its own, and options of that verb's."""
    words = shlex.split(command)
    asked = [*words[1 : 2 if words[1] in ("up", "doctor") else 3], "--help"]
    told = io.StringIO()
    with redirect_stdout(told):
        status = main(asked)
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    return words[0] == "taskbound" and status == 0 and all(option in told.getvalue() for option in options)


def test_a_command_that_there_is_not_is_told_apart():
    assert is_a_command("taskbound lease list") and not is_a_command("taskbound leases")
    assert not is_a_command("taskbound lease lists") and not is_a_command("taskbound lease list --of x")


@pytest.mark.parametrize("action", sorted(set(RESOURCE_TYPES) - TASK_ACTIONS))
def test_administration_inside_a_task_has_a_command_too(rig, action):
    denied = Call("c1", "main", "t1", "t1", action, "x", rig.clock.at, code="not_permitted", state="denied")
    hint, command = explain_module._unblocking(denied, (), rig.world.policies.current, {}, names=True)
    assert hint == "it is administration: do it outside of every task" and is_a_command(command)


@pytest.mark.parametrize("code", sorted(denial_codes()))
def test_each_denial_has_a_plain_hint_and_a_command(rig, code):
    denied = Call("c1", "main", "t1", "t1", "tools/call", "crm/refund", rig.clock.at, code=code, state="denied")
    hint, command = explain_module._unblocking(denied, (), rig.world.policies.current, {}, names=True)
    assert hint and is_a_command(command), code
    said = Decision((Ask("grant_asks", "x") if code == "approval_required" else Deny(code, "x"),), {})
    assert said.hint and said.refusal().hint == said.hint, code
