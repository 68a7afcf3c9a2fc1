"""Equal denials within a second are one call and one count; whatever differs is recorded (INTERFACES 8 and 9)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskbound.core.call import Call
from taskbound.core.identity import door
from taskbound.core.storm import REASONS, Denials, Refusal, key_of

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
AGENT, OTHER = (door("example.org", f"agent/{name}", "main") for name in ("support", "other"))
DENIED = Call(
    "c1", "main", "t1", "t1", "tools/call", "crm/refund", AT, code="outside_grants", policy="p1", state="denied"
)
ASKED = {"order_id": "4711", "amount": 1}
KEY = key_of(DENIED, AGENT, ASKED)


def later(seconds):
    return AT + timedelta(seconds=seconds)


def counts(denials, now=None, org="main"):
    return [(storm.first.id, storm.count, storm.until) for storm in denials.over(org, now)]


OTHERS = {
    "another task": key_of(replace(DENIED, task="t2"), AGENT, ASKED),
    "no task": key_of(replace(DENIED, task=None), AGENT, ASKED),
    "another one asks": key_of(DENIED, OTHER, ASKED),
    "another tool": key_of(replace(DENIED, resource="crm/get_order"), AGENT, ASKED),
    "another action": key_of(replace(DENIED, action="lease/issue"), AGENT, ASKED),
    "other arguments": key_of(DENIED, AGENT, {**ASKED, "amount": 2}),
    "a text for a number": key_of(DENIED, AGENT, {**ASKED, "amount": "1"}),
    "one argument more": key_of(DENIED, AGENT, {**ASKED, "note": None}),
    "another code": key_of(replace(DENIED, code="task_ended"), AGENT, ASKED),
    "another policy": key_of(replace(DENIED, policy="p2"), AGENT, ASKED),
    "another organisation": key_of(replace(DENIED, org="other"), AGENT, ASKED),
    "no canonical form": key_of(DENIED, AGENT, {"amount": float("nan")}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_differs_is_no_repetition(other):
    denials = Denials()
    denials.recorded(KEY, DENIED, AGENT)
    assert denials.repeated(OTHERS[other], AT) is None
    assert denials.repeated(KEY, AT) == DENIED


def test_arguments_are_equal_in_whatever_order_they_stand():
    assert key_of(replace(DENIED, id="c2"), AGENT, {"amount": 1.0, "order_id": "4711"}) == KEY


def test_the_first_in_a_second_is_recorded_and_those_that_follow_are_counted():
    denials = Denials()
    assert denials.repeated(KEY, AT) is None
    denials.recorded(KEY, DENIED, AGENT)
    assert [denials.repeated(KEY, later(s)) for s in (0, 0.5, 0.999)] == [DENIED] * 3
    assert denials.repeated(KEY, later(1)) is None, "its second is over"
    again = replace(DENIED, id="c2", at=later(1))
    denials.recorded(KEY, again, AGENT)
    assert denials.repeated(KEY, later(1.5)) == again
    assert counts(denials, later(1.9)) == [("c1", 3, later(0.999))]
    assert counts(denials, later(2)) == [("c1", 3, later(0.999)), ("c2", 1, later(1.5))]


def test_a_count_is_told_until_it_is_stated_and_a_denial_that_nothing_repeated_never():
    denials = Denials()
    denials.recorded(KEY, DENIED, AGENT)
    assert counts(denials, later(5)) == [] and not denials
    denials.recorded(KEY, replace(DENIED, id="c2", at=later(5)), AGENT)
    denials.repeated(KEY, later(5))
    assert counts(denials, org="other") == []
    told = denials.over("main", later(6))
    assert counts(denials, later(6)) == [("c2", 1, later(5))] and denials
    denials.stated(told)
    assert counts(denials) == [] and not denials


def test_of_two_that_are_recorded_at_once_one_counts():
    denials = Denials()
    denials.recorded(KEY, DENIED, AGENT)
    denials.repeated(KEY, AT)
    denials.recorded(KEY, replace(DENIED, id="c2"), AGENT)
    assert denials.repeated(KEY, AT) == DENIED
    assert counts(denials) == [("c1", 2, AT)]


def test_where_there_is_no_room_each_is_recorded():
    denials = Denials(most=2)
    for n in range(3):
        key = key_of(DENIED, AGENT, {"n": n})
        denials.recorded(key, replace(DENIED, id=f"c{n}"), AGENT)
    assert [denials.repeated(key_of(DENIED, AGENT, {"n": n}), AT) is None for n in range(3)] == [False, False, True]
    for second in range(1, 5):  # counts that nobody states take room too
        denials.recorded(KEY, replace(DENIED, at=later(second)), AGENT)
        denials.repeated(KEY, later(second))
    assert len(denials) == 2
    denials.stated(denials.over("main", None))
    assert not denials
    denials.recorded(KEY, DENIED, AGENT)
    assert denials.repeated(KEY, AT) == DENIED, "there is room again"


# --- what was shown at a door and refused ----------------------------------------------------------------


def refusal(reason="unknown", seconds=0.0, id="r1"):
    return Refusal(id, "main", later(seconds), "a task handle", "invalid_token", reason)


def test_another_reason_is_no_repetition_and_of_very_many_the_rest_are_one():
    denials = Denials()
    firsts = [denials.is_first(refusal(f"reason {n}"), AGENT) for n in range(REASONS)]
    assert all(firsts) and not denials.is_first(refusal("reason 3"), AGENT)
    rest = [denials.is_first(refusal(f"reason {n}"), AGENT) for n in range(REASONS, 100)]
    assert rest == [True] + [False] * (99 - REASONS)
    assert denials.is_first(refusal("reason 3"), OTHER), "another door has its own"


def test_what_comes_while_its_equal_is_noted_waits_for_nothing_and_is_counted():
    denials = Denials()
    with denials.noting(AGENT, "a task handle", "invalid_token", "unknown") as first:
        assert first
        for _ in range(3):
            with denials.noting(AGENT, "a task handle", "invalid_token", "unknown") as again:
                assert not again
        with denials.noting(AGENT, "a task handle", "invalid_token", "another") as other:
            assert other
        assert denials.is_first(refusal(), AGENT)
    assert counts(denials) == [("r1", 3, AT)]
    with denials.noting(AGENT, "a task handle", "invalid_token", "unknown") as first:
        assert first, "it is over"
