"""A fact moves amounts only where there is somebody to move them from and to."""

from datetime import UTC, datetime
from typing import Any

import pytest

from taskbound.core.event import Kind
from taskbound.core.thing import event_about
from tests.contracts.store import lease, task

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
ABOUT: dict[str, Any] = {"org": "main", "at": AT, "by": "b", "via": "v", "request": ""}


@pytest.mark.parametrize(
    ("thing", "kind", "spent", "shared", "sentence"),
    [
        (None, Kind.POLICY_LOADED, {"calls": 1}, {}, "is about no task"),
        (task(at=AT), Kind.TASK_ENDED, {"calls": 1}, {}, "is about no task"),  # it is one
        (None, Kind.POLICY_LOADED, {}, {"calls": 1}, "shares no budget"),
        (task(at=AT), Kind.TASK_ENDED, {}, {"calls": 1}, "shares no budget"),
        (lease(task(at=AT)), Kind.LEASE_REQUESTED, {}, {"leases": 1}, "shares no budget"),
    ],
)
def test_a_fact_that_cannot_move_an_amount_is_none(thing, kind, spent, shared, sentence):
    with pytest.raises(TypeError, match=sentence):
        event_about(thing, kind, {"id": "x"}, spent=spent, shared=shared, **ABOUT)


def test_a_lease_spends_of_its_task_and_a_task_shares_when_it_opens():
    asked = event_about(lease(task(at=AT)), Kind.LEASE_REQUESTED, {}, spent={"leases": 1}, shared={}, **ABOUT)
    opened = event_about(task(at=AT), Kind.TASK_OPENED, {}, spent={}, shared={"calls": 2}, **ABOUT)
    assert (asked.spent, opened.shared) == ({"leases": 1}, {"calls": 2})
