"""A thing's life is a table: every fact leads to the state it says, or is refused (D4)."""

import pytest

from taskbound.core.call import Call
from taskbound.core.errors import IllegalTransition
from taskbound.core.event import Kind
from taskbound.core.finding import Finding
from taskbound.core.identity import Registration
from taskbound.core.lease import Lease
from taskbound.core.task import Task
from taskbound.core.thing import next_state, noun_of

NOUNS = (Registration, Task, Lease, Call, Finding)


@pytest.mark.parametrize("kind", Kind, ids=str)
@pytest.mark.parametrize("thing", NOUNS, ids=noun_of)
def test_a_fact_that_the_table_lacks_cannot_follow(thing, kind):
    for state, facts in thing.LIFECYCLE.items():
        if kind in facts:
            assert next_state(thing, state, kind) == facts[kind]
        else:
            with pytest.raises(IllegalTransition, match=state or "new"):
                next_state(thing, state, kind)


@pytest.mark.parametrize("thing", NOUNS, ids=noun_of)
def test_every_state_is_reached_from_creation_and_every_index_is_a_field(thing):
    reached: set[str] = set()
    known = {""}
    while known - reached:
        state = (known - reached).pop()
        reached.add(state)
        known |= set(thing.LIFECYCLE[state].values())
    assert reached == set(thing.LIFECYCLE)
    made = {"asked"} if thing is Task else set()  # a property of it, and a column that the database makes
    assert set(thing.INDEXED) <= set(thing.__dataclass_fields__) | made


def test_a_lease_reaches_revoked_only_through_cut():
    before = [state for state, facts in Lease.LIFECYCLE.items() if "revoked" in facts.values()]
    assert before == ["cut"]
    assert [state for state, facts in Lease.LIFECYCLE.items() if "cut" in facts.values()] == ["revoking", "cut"]


def test_what_ended_stays_without_authority():
    after, todo = set(), {"ended"}
    while todo:
        after |= todo
        todo = {state for s in todo for state in Task.LIFECYCLE[s].values()} - after
    assert after == {"ended", "closed"}
