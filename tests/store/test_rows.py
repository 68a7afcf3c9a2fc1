"""A thing that was written comes back exactly: equal, and of the same types all the way down."""

import json
import timeit
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskbound.core.call
import taskbound.core.finding
import taskbound.core.identity
import taskbound.core.lease
import taskbound.core.task
from taskbound.core.call import Call
from taskbound.core.event import Event, Kind
from taskbound.core.finding import Finding, Issued, Spot
from taskbound.core.grant import Condition, Grant
from taskbound.core.identity import Registration
from taskbound.core.intent import Intent
from taskbound.core.lease import Lease, Recipe
from taskbound.core.task import Task
from taskbound.store.rows import TABLES, Table, body
from tests.notes import note
from tests.profile import trials

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LONG = st.integers(-(2**63), 2**63 - 1)
DECIMAL = st.decimals(allow_nan=False, allow_infinity=False)
MOMENT = st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
VALUE = st.one_of(
    TEXT, LONG, st.booleans(), DECIMAL, TEXTS,
    st.lists(LONG, max_size=3).map(tuple), st.lists(DECIMAL, max_size=3).map(tuple),
)  # fmt: skip


def maybe(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | some


CONDITION = st.builds(Condition, TEXT, TEXT, st.booleans(), TEXT, maybe(TEXT), maybe(VALUE))
GRANT = st.builds(
    Grant, TEXT, TEXT, TEXT, st.lists(CONDITION, max_size=3).map(tuple), TEXTS, maybe(LONG), st.booleans(), LONG
)
THING = st.one_of(
    st.builds(
        Registration, id=TEXT, org=TEXT, spiffe_id=TEXT, kind=TEXT, owner=TEXT, purpose=TEXT, environment=TEXT,
        groups=TEXTS, attestor=TEXT, when=st.dictionaries(TEXT, TEXT | LONG, max_size=3), state=TEXT,
    ),
    st.builds(
        Task, id=TEXT, org=TEXT, actor=TEXT, subject=maybe(TEXT),
        intent=st.builds(Intent, maybe(TEXT), maybe(TEXT), st.dictionaries(TEXT, VALUE, max_size=3)),
        grants=st.lists(GRANT, max_size=3).map(tuple), opened=MOMENT, deadline=MOMENT, due=maybe(MOMENT), handle=TEXT,
        root=TEXT, parent=maybe(TEXT), cause=maybe(TEXT), depth=LONG, act=TEXTS, ended=maybe(MOMENT), reason=TEXT,
        state=TEXT,
    ),
    st.builds(
        Lease, id=TEXT, org=TEXT, instance=TEXT, task=maybe(TEXT), target=TEXT, grant=TEXT,
        recipe=st.builds(Recipe, st.dictionaries(TEXT, TEXTS, max_size=3), TEXT),
        expires=MOMENT, create_by=MOMENT, due=maybe(MOMENT), activated=maybe(MOMENT), state=TEXT,
    ),
    st.builds(
        Call, id=TEXT, org=TEXT, task=maybe(TEXT), root=maybe(TEXT), action=TEXT, resource=TEXT, at=MOMENT, code=TEXT,
        policy=TEXT, grants=TEXTS, labels=TEXTS, state=TEXT,
    ),
    st.builds(
        Finding, id=TEXT, org=TEXT, seen_as=TEXT, case=TEXT, severity=TEXT, says=TEXT, subjects=TEXTS,
        places=st.lists(st.builds(Spot, TEXT, LONG), max_size=3).map(tuple),
        issued=st.lists(st.builds(Issued, TEXT, TEXT, TEXT, TEXT), max_size=3).map(tuple),
        owner=TEXT, next=TEXT, raised=MOMENT, kept=TEXT, accepted_by=TEXT, reason=TEXT, due=maybe(MOMENT), state=TEXT,
    ),
)  # fmt: skip


def typed(value: Any) -> Any:
    """The value with its types: 1 and True are equal, and so are Decimal("1.0") and Decimal("1.00"); these are not."""
    if is_dataclass(value):
        return type(value), [typed(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, tuple):
        return tuple, [typed(item) for item in value]
    if isinstance(value, Mapping):
        return Mapping, [(name, typed(item)) for name, item in value.items()]
    return type(value), str(value)


@settings(max_examples=trials(5_000, 400), deadline=None)
@given(THING)
def test_a_row_reads_as_the_thing_that_was_written(thing):
    table: Table[Any] = TABLES[type(thing)]
    row = tuple(table.row(thing))
    assert {type(part) for part in row} <= {str, int, type(None)}, "only what every database has"
    back = table.thing(row)
    assert back == thing
    assert typed(back) == typed(thing)
    assert table.thing(row) == thing, "read twice"


@settings(max_examples=trials(2_000, 200), deadline=None)
@given(THING, st.dictionaries(TEXT, VALUE, max_size=3))
def test_a_body_holds_all_of_the_thing(thing, detail):
    event = Event(
        "main", Kind.TASK_OPENED, datetime.now(UTC), "a", "b", "task", "t", "", thing, {"calls": 1}, {}, detail
    )
    said = json.loads(body(event))
    assert list(said) == ["value", "detail", "spent", "shared", "via"]
    assert list(said["value"]) == [field.name for field in fields(thing)]


def test_a_moment_of_another_zone_is_the_same_moment():
    at = datetime(2026, 3, 29, 1, 59, 59, 999999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    call = Call("c", "main", None, None, "a", "r", at)
    table = TABLES[Call]
    assert table.thing(tuple(table.row(call))) == call


def test_a_field_added_later_reads_as_its_default_from_an_old_row():
    table = TABLES[Task]
    row = dict(zip(table.columns, ["x"] * len(table.columns), strict=True)) | dict.fromkeys(
        ("opened", "deadline", "due", "ended"), 0
    )
    row |= {
        "act": "[]",
        "intent": '{"profile":null,"text":"old"}',
        "grants": '[{"id":"g0","action":"a","resource":"r"}]',
        "holder": "null",
        "heartbeat": "null",
    }
    task = table.thing(tuple(row.values()))
    assert task.intent == Intent(None, "old", {})
    assert task.grants == (Grant("g0", "a", "r"),)


def test_every_noun_has_a_table():
    core = taskbound.core
    modules = (core.call, core.finding, core.identity, core.lease, core.task)
    assert {noun for module in modules for noun in vars(module).values() if hasattr(noun, "LIFECYCLE")} == set(TABLES)


def test_a_type_that_nobody_thought_of_is_refused():
    @dataclass(frozen=True)
    class Odd:
        LIFECYCLE: ClassVar[Mapping[str, Mapping[Kind, str]]] = {}
        INDEXED: ClassVar[tuple[str, ...]] = ()
        id: str
        org: str
        state: str
        of: frozenset[str]

    with pytest.raises(TypeError, match="frozenset"):
        Table(Odd, "odds")


def test_a_task_with_three_grants_is_read_fast():
    conditions = tuple(Condition(name, "String", True, "=", name) for name in ("order_id", "amount", "currency"))
    grants = tuple(Grant(f"g{n}", "tools/call", f"crm/tool{n}", conditions, ("note",), 3) for n in range(3))
    now = datetime.now(UTC)
    intent = Intent("refund-order", "a refund", {"order_id": "4711", "max": Decimal("50")})
    task = Task("t", "main", "a", None, intent, grants, now, now, now, "h", "t", state="open")
    table = TABLES[Task]
    row = tuple(table.row(task))
    assert table.thing(row) == task
    fastest = min(timeit.repeat(lambda: table.thing(row), number=500, repeat=9)) / 500
    note(f"{fastest * 1e6:.1f} µs")
    assert fastest < 25e-6
