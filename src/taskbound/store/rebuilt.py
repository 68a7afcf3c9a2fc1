"""The state that the events lead to, compared with the state tables: a row that somebody edited is named (S5).

Each event's body holds the thing's new value, so the newest body about a thing is what its row must
say; budgets and labels follow from the amounts and labels in the bodies (INTERFACES 9 and 12). A
body is believed where its event's header commits to it; that the headers are those that were
sealed is for the log to show. What follows from a body that was erased is not compared, and counted.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taskbound.core.event import Event, Kind
from taskbound.core.identity import Identity
from taskbound.core.leaf import commitment
from taskbound.core.thing import noun_of
from taskbound.store.rows import TABLES, Table, body
from taskbound.store.sqlite import SqliteStore

Select = Callable[..., Awaitable[list[tuple[Any, ...]]]]  # a statement and its values, to rows

NEVER = datetime.min  # a moment that nobody looks at
PAGE = 1_000  # events at a time: a log may be larger than memory
_EVENTS = (
    "SELECT e.id, e.kind, e.noun, e.thing, e.commitment, b.salt, b.body FROM events e"
    " LEFT JOIN bodies b ON b.event = e.id AND b.org = e.org WHERE e.org = ? AND e.id > ? ORDER BY e.id LIMIT ?"
)


@dataclass(slots=True)
class Comparison:
    """What was found. `mismatches` are sentences; without any the tables say what the events say."""

    compared: int = 0  # rows
    erased: int = 0  # rows that no body is left for, and budgets and labels that follow from one
    mismatches: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Rebuilt:
    """What the events say."""

    things: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)  # noun, id -> event, JSON
    budgets: dict[str, dict[str, int]] = field(default_factory=dict)  # task -> quantity -> left
    labels: set[tuple[str, str]] = field(default_factory=set)  # root, label
    gaps: bool = False  # a body is gone: what its amounts and labels were is not known
    forged: list[str] = field(default_factory=list)


async def compare(store: SqliteStore, lane: Identity) -> Comparison:
    """Compare every row of the lane's organisation with what the events say of it."""
    async with store.transaction(lane) as tx:

        async def select(text: str, *values: Any) -> list[tuple[Any, ...]]:
            return tx.query(text, *values)

        return await compare_rows(select, tx.org)


async def compare_rows(select: Select, org: str) -> Comparison:
    """Compare every row of an organisation with what the events say of it, as `select` reads them at one moment.

    A statement's values stand in it as `?`.
    """
    found = Comparison()
    told = await _rebuilt(select, org)
    found.mismatches += told.forged
    for noun, table in TABLES.items():
        await _compare_things(select, org, noun_of(noun), table, told, found)
    amounts = await _rows(select, org, 'task, quantity, "left"', "budgets")
    budgets = {(task, name): left for task, name, left in amounts}
    labels = set(await _rows(select, org, "root, label", "labels"))
    if told.gaps:
        found.erased += len(budgets) + len(labels)
        return found
    found.compared += len(budgets) + len(labels)
    said = {(task, name): left for task, row in told.budgets.items() for name, left in row.items()}
    for task, name in sorted(budgets.keys() | said.keys()):
        if (stored := budgets.get((task, name))) != (left := said.get((task, name))):
            found.mismatches.append(f"budget of task {task}: {name} is {stored}, the log says {left}")
    for root, label in sorted(labels ^ told.labels):
        where = "only in the table" if (root, label) in labels else "only in the log"
        found.mismatches.append(f"label {label} of task {root} stands {where}")
    return found


async def _rows(select: Select, org: str, columns: str, table: str) -> list[tuple[Any, ...]]:
    return await select(f"SELECT {columns} FROM {table} WHERE org = ?", org)


async def _events(select: Select, org: str) -> AsyncIterator[tuple[Any, ...]]:
    last = 0
    while page := await select(_EVENTS, org, last, PAGE):
        for row in page:
            yield row
        last = page[-1][0]


async def _rebuilt(select: Select, org: str) -> _Rebuilt:
    told = _Rebuilt()
    async for row, kind, noun, id, committed, salt, text in _events(select, org):
        if salt is None or text is None:
            told.gaps = True
            told.things[noun, id] = (row, "")  # newer than what was said before, whatever it said
            continue
        if commitment(salt, text) != committed:
            told.forged.append(f"event {row} ({kind}, {id}): its body is not the one that its header commits to")
            continue
        said = json.loads(text)
        if (value := said["value"]) is None:
            continue
        told.things[noun, id] = (row, _packed(value))
        _count(told, kind, id, value, said)
    return told


def _packed(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _count(told: _Rebuilt, kind: str, id: str, value: dict[str, Any], said: dict[str, Any]) -> None:
    """Apply what an event did to budgets and labels."""
    parent = value.get("parent")
    for name, amount in said["spent"].items():
        _add(told, value["task"], name, -amount)
    for name, amount in said["shared"].items():
        told.budgets.setdefault(id, {})[name] = amount
        if parent is not None:
            _add(told, parent, name, -amount)
    if kind == Kind.TASK_ENDED and parent is not None:  # what is left of a child goes back by itself
        for name, amount in told.budgets.get(id, {}).items():
            told.budgets[id][name] = 0
            if amount:
                _add(told, parent, name, amount)
    if kind == Kind.CALL_PERMITTED:
        told.labels.update((value["root"], label) for label in value["labels"])


def _add(told: _Rebuilt, task: str, name: str, amount: int) -> None:
    left = told.budgets.setdefault(task, {})
    left[name] = left.get(name, 0) + amount


async def _compare_things(
    select: Select, org: str, noun: str, table: Table[Any], told: _Rebuilt, found: Comparison
) -> None:
    stored = set[str]()
    for row in await select(f"{table.select} WHERE org = ?", org):
        id = str(row[table.columns.index("id")])
        stored.add(id)
        event, said = told.things.get((noun, id), (0, None))
        if said is None:
            found.mismatches.append(f"{noun} {id}: its row stands there, and no event says so")
        elif not said:
            found.erased += 1
        else:
            found.compared += 1
            if different := _difference(table, row, json.loads(said)):
                found.mismatches.append(f"{noun} {id}: {different} (event {event})")
    for (of, id), (event, said) in told.things.items():
        if of == noun and said and id not in stored:
            found.mismatches.append(f"{noun} {id}: its row is gone (event {event})")
    if noun == "call":  # the index of calls names the event that decided it
        for id, event in await _rows(select, org, "id, event", table.name):
            known, said = told.things.get((noun, id), (event, None))
            if said and known != event:
                found.mismatches.append(f"call {id}: its row names event {event}, its decision is event {known}")


def _difference(table: Table[Any], row: tuple[Any, ...], said: dict[str, Any]) -> str:
    """Return which members of a row are not what was said; empty when none is. One that an old body lacks is new."""
    try:
        thing = table.thing(row)
        stored = json.loads(body(Event("", Kind.NODE_STARTED, NEVER, "", "", "", "", "", thing, {}, {}, {})))["value"]
    except Exception:  # whatever was written there
        return "its row cannot be read"
    names = [name for name, value in said.items() if stored.get(name) != value]
    if not names:
        return ""
    name = names[0]
    shown = f"{name} is {_short(stored.get(name))}, the log says {_short(said[name])}"
    return shown if len(names) == 1 else f"{shown}; so are {', '.join(names[1:])}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
