"""A call is permitted only if no check objects, and each check objects to what it is there for."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from taskbound.core.call import Ask, Call, Case, Decision, decide
from taskbound.core.catalogue import pin_of, read_tool
from taskbound.core.cedar import parse_policies
from taskbound.core.errors import Denied
from taskbound.core.event import Kind
from taskbound.core.grant import Condition, Grant
from taskbound.core.identity import Identity
from taskbound.core.intent import Intent
from taskbound.core.policy import PolicySet
from taskbound.core.task import Task
from taskbound.core.thing import advance

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AGENT = Identity(
    "main", "spiffe://example.org/agent/nightly", "agent", "spiffe://example.org/human/alice", "dev", (), "handle",
    task="t0",
)  # fmt: skip
EVERYTHING = PolicySet(tuple(parse_policies('@id("admin-all") permit(principal, action, resource);')))
BOTH = frozenset({"free_text", "secret"})


def tool(effect: str = "read"):
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    definition = {"name": "act", "inputSchema": schema}
    entry = {
        "pin": pin_of(definition),
        "reviewed": {"by": "human/alice", "on": date(2026, 11, 24)},
        "effect": effect,
        "arguments": {"id": "object_id"},
        "result": {"id": "attested"},
    }
    return read_tool("up", "act", entry, definition)


def grant(place: int = 0, only: str | None = None, **fields: Any) -> Grant:
    condition = Condition("id", "String", True, "any" if only is None else "=", literal=only)
    made = Grant(f"g{place}", "tools/call", "up/act", (condition,), root=place, pin=tool().pin)
    return replace(made, **fields)


def chain(*grants: tuple[Grant, ...]) -> tuple[Task, ...]:
    """Tasks from the root down, each with these grants."""
    tasks = (
        Task(
            id=f"t{depth}",
            org="main",
            actor=AGENT.spiffe_id,
            subject=None,
            intent=Intent(None, None, {}),
            grants=held,
            opened=NOW,
            deadline=NOW + timedelta(minutes=10),
            due=NOW + timedelta(minutes=10),
            handle=str(depth),
            root="t0",
            parent=f"t{depth - 1}" if depth else None,
            depth=depth,
        )
        for depth, held in enumerate(grants)
    )
    return tuple(advance(task, Kind.TASK_OPENED) for task in tasks)


def case(*grants: tuple[Grant, ...], action: str = "tools/call", resource: str = "up/act", **fields: Any) -> Case:
    tasks = chain(*grants)
    last = tasks[-1].id
    made: dict[str, Any] = {
        "call": Call("c0", "main", last, "t0", action, resource, NOW),
        "caller": replace(AGENT, task=last),
        "chain": tasks,
        "about": tool(),
        "policies": EVERYTHING,
        "version": "v",
        "now": NOW,
        "arguments": {"id": "1"},
        "left": {"calls": 5, "leases": 5},
    }
    return Case(**{**made, **fields})


def test_what_is_granted_is_permitted_and_spends_one_call():
    decision = decide(case((grant(),)))
    assert (decision.permitted, decision.code, decision.spent) == (True, "", {"calls": 1})


def test_a_decision_that_says_nothing_permits_nothing():
    silent = Decision((), {})
    assert not silent.permitted
    with pytest.raises((Denied, IndexError)):
        silent.require_permit()


# --- asking a person -----------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_a_grant_that_asks_is_never_used_silently(level):
    held = [(grant(),), (grant(),)]
    held[level] = (grant(ask=True),)
    decision = decide(case(*held))
    assert (decision.permitted, decision.code) == (False, "approval_required")
    assert [type(one) for one in decision.objections] == [Ask]
    assert (decision.grants, decision.spent) == ((), {})
    with pytest.raises(Denied) as denied:
        decision.require_permit()
    assert denied.value.code == "approval_required"


@pytest.mark.parametrize("asking", [0, 1])
def test_nobody_is_asked_for_what_another_level_refuses(asking):
    held = [(grant(ask=True),), (grant(only="2"),)]
    decision = decide(case(*(held if asking == 0 else held[::-1])))
    assert decision.code == "outside_grants"


def test_nobody_is_asked_for_what_policy_refuses():
    nothing = PolicySet(())
    assert decide(case((grant(ask=True),), policies=nothing)).code == "not_permitted"


# --- labels and sending --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "labels", "code"),
    [
        ("send", BOTH, "approval_required"),
        ("send", BOTH | {"member_text"}, "approval_required"),
        ("send", frozenset({"secret"}), ""),
        ("send", frozenset({"free_text"}), ""),
        ("send", frozenset(), ""),
        ("read", BOTH, ""),
    ],
    ids=["both", "both and more", "secret", "free_text", "nothing", "no send"],
)
def test_after_a_secret_and_outsiders_text_a_send_asks(effect, labels, code):
    decision = decide(case((grant(),), about=tool(effect), labels=labels))
    assert decision.code == code
    assert [one.code for one in decision.objections] == (["flow_unsafe"] if code else [])


# --- pins ----------------------------------------------------------------------------------------


def test_a_definition_that_nobody_pinned_does_not_act():
    decision = decide(case((grant(),), about=replace(tool(), pinned=False)))
    assert decision.code == "tool_not_pinned"


@pytest.mark.parametrize("level", [0, 1])
def test_a_grant_says_nothing_of_a_definition_pinned_since(level):
    held = [(grant(),), (grant(),)]
    held[level] = (grant(pin="sha256:" + "0" * 64),)
    assert decide(case(*held)).code == "tool_changed"


# --- administration ------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "code"), [("t0", "not_permitted"), (None, "")], ids=["inside", "outside"])
def test_administration_is_done_outside_every_task(task, code):
    made = case((grant(),), action="identity/register", resource="agent/new", about=None)
    made = replace(made, caller=replace(AGENT, task=task), chain=made.chain if task else ())
    assert decide(made).code == code


# --- which grant is used -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "left", "used", "code"),
    [
        ((grant(0, ask=True), grant(1)), {}, "g1", ""),
        ((grant(0), grant(1, ask=True)), {}, "g0", ""),
        ((grant(0), grant(1)), {}, "g0", ""),
        ((grant(0, calls=1), grant(1, calls=2)), {"g0#calls": 1, "g1#calls": 2}, "g0", ""),
        ((grant(0, calls=1), grant(1, calls=2)), {"g0#calls": 0, "g1#calls": 2}, "g1", ""),
        ((grant(0, calls=1), grant(1, calls=2)), {"g1#calls": 1}, "g1", ""),
        ((grant(0, only="2"), grant(1)), {}, "g1", ""),
        ((grant(0, calls=1), grant(1, ask=True)), {"g0#calls": 0}, None, "approval_required"),
        ((grant(0, calls=1), grant(1, calls=1)), {"g0#calls": 0, "g1#calls": 0}, None, "budget_spent"),
        ((grant(0, calls=1),), {}, None, "budget_spent"),
    ],
)
def test_the_first_grant_with_budget_left_that_asks_nobody_is_used(held, left, used, code):
    decision = decide(case(held, left={"calls": 5, **left}))
    assert decision.code == code
    assert [one.id for one in decision.grants] == ([used] if used else [])
    limited = [one for one in held if one.id == used and one.calls is not None]
    assert decision.spent == ({"calls": 1, **{f"g{one.root}#calls": 1 for one in limited}} if used else {})


def test_what_is_left_is_a_matter_of_the_acting_task():
    """Its parent's limited grant counts nothing here: the child holds its own share."""
    decision = decide(case((grant(calls=1),), (grant(calls=1),), left={"calls": 1, "g0#calls": 1}))
    assert (decision.permitted, decision.spent) == (True, {"calls": 1, "g0#calls": 1})
    assert decide(case((grant(calls=1),), (grant(1),), left={"calls": 1})).permitted
    assert decide(case((grant(),), (grant(),), left={"calls": 0})).code == "budget_spent"
