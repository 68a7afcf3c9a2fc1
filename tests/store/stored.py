"""What a database says, read twice by two programs that share nothing with the store.

`replayed` reads the rows of `events` and `bodies` and nothing else, and applies the rules of
INTERFACES 9 and 12 as the simplest program that is right. `tables` reads the state tables by its
own SQL. Both answer in the same plain values, so that equal means equal. The statements are the
same for every database. `SqliteRig` is the rig on a database file, `PostgresRig` on a PostgreSQL
database, with this comparison after each step.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskbound.core.lease import Lease
from taskbound.store.sqlite import open_store
from tests.rig import CountedStore, Rig

if TYPE_CHECKING:
    from tests.store.postgres_database import Database

TABLES = {"identity": "identities", "task": "tasks", "lease": "leases", "call": "calls"}
MOMENTS = {"opened", "deadline", "due", "ended", "expires", "create_by", "activated", "overdue", "cut", "cleaned", "at"}
EVENTS = (
    "SELECT id, events.org, kind, at, noun, thing, commitment, salt, body"
    " FROM events LEFT JOIN bodies ON event = id AND bodies.org = events.org ORDER BY id"
)
ALL = "SELECT * FROM {}"
Select = Callable[[str], Iterable[Any]]  # a statement to its rows
NESTED = {"intent", "grants", "act", "groups", "when", "recipe", "labels", "holder", "heartbeat"}


@dataclass
class Stored:
    things: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    budgets: dict[tuple[str, str, str], int] = field(default_factory=dict)
    labels: set[tuple[str, str, str]] = field(default_factory=set)
    calls: dict[tuple[str, str], int] = field(default_factory=dict)  # to the row of its event


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A second connection, as an operator's: it sees what is committed."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        yield db


def moment(text: str | None) -> int | None:
    if text is None:
        return None
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def replayed(select: Select, overlaps: bool = False) -> Stored:
    """Return the state that the events lead to. Each body is the one that its header commits to.

    Where transactions overlap, one that began before another may be recorded after it.
    """
    state = Stored()
    quantities: set[str] = set()  # of budgets
    last = 0
    for row in select(EVENTS):
        assert hashlib.sha256(row["salt"] + row["body"]).digest() == row["commitment"]
        assert row["at"] >= last or overlaps, "time ran back"
        last, org = row["at"], row["org"]
        said = json.loads(row["body"])
        assert set(said) == {"value", "detail", "spent", "shared", "via"}
        value = said["value"]
        if value is not None:
            assert (value["org"], value["id"]) == (org, row["thing"])
            plain = {name: moment(part) if name in MOMENTS else part for name, part in value.items()}
            state.things[org, row["noun"], row["thing"]] = plain
        for quantity, amount in said["spent"].items():
            state.budgets[org, value["task"], quantity] -= amount
        for quantity, amount in said["shared"].items():
            quantities.add(quantity)
            state.budgets[org, row["thing"], quantity] = amount
            if value["parent"] is not None:
                state.budgets[org, value["parent"], quantity] -= amount
        if row["kind"] == "task.ended" and value["parent"] is not None:
            for quantity in quantities:
                if amount := state.budgets.get((org, row["thing"], quantity)):
                    state.budgets[org, row["thing"], quantity] = 0
                    parent = (org, value["parent"], quantity)
                    state.budgets[parent] = state.budgets.get(parent, 0) + amount
        if row["kind"] in ("call.permitted", "call.denied") and value is not None:
            state.calls[org, row["thing"]] = row["id"]
            state.labels |= {(org, value["root"], label) for label in value["labels"]}
    return state


def tables(select: Select) -> Stored:
    """Return what the state tables hold."""
    state = Stored()
    for noun, table in TABLES.items():
        for row in select(ALL.format(table)):
            plain = {name: json.loads(row[name]) if name in NESTED else row[name] for name in row.keys()}  # noqa: SIM118
            if noun == "call":
                state.calls[row["org"], row["id"]] = plain.pop("event")
            if noun == "task":  # made by the database from the intent
                assert plain.pop("asked") == (plain["intent"]["asked"] or None)
            state.things[row["org"], noun, row["id"]] = plain
    state.budgets = {(row["org"], row["task"], row["quantity"]): row["left"] for row in select(ALL.format("budgets"))}
    state.labels = {(row["org"], row["root"], row["label"]) for row in select(ALL.format("labels"))}
    return state


def check(path: Path) -> Stored:
    """State equals replay, at one moment. Return it."""
    with reading(path) as db:
        db.execute("BEGIN")  # both are read from one snapshot, whatever a server writes meanwhile
        return compared(tables(db.execute), replayed(db.execute))


async def check_postgres(database: "Database") -> Stored:
    """State equals replay, at one moment. Return it."""
    async with database.reading() as at:
        rows = {}
        async with at.transaction(isolation="repeatable_read"):
            for statement in (EVENTS, *(ALL.format(table) for table in (*TABLES.values(), "budgets", "labels"))):
                rows[statement] = await at.fetch(statement)
    return compared(tables(rows.__getitem__), replayed(rows.__getitem__, overlaps=True))


def compared(held: Stored, told: Stored) -> Stored:
    assert told.things == held.things
    assert told.budgets == held.budgets
    assert told.labels == held.labels
    assert told.calls == held.calls
    return held


class DurableRig(Rig):
    """The rig, on a store that outlives its process."""

    def held(self) -> Stored:
        """State equals replay. Return it."""
        raise NotImplementedError

    async def reopen(self) -> None:
        raise NotImplementedError

    async def restart_later(self) -> list[Lease]:
        await self.store.close()
        await self.reopen()
        counted = self.world.store
        assert isinstance(counted, CountedStore)
        counted.store = self.store
        return await super().restart_later()

    def names_with_a_lease(self) -> set[str]:
        return {
            f"tb_{lease['instance']}_{id[1:]}" for (_, noun, id), lease in self.held().things.items() if noun == "lease"
        }

    def check(self) -> None:
        held = self.held()
        present = self.names_at_targets()
        assert present <= self.names_with_a_lease()
        for (org, noun, id), lease in held.things.items():
            if noun == "lease" and lease["state"] == "active":
                assert held.things[org, "task", lease["task"]]["state"] in ("open", "suspended"), (
                    f"{id} outlived its task"
                )
            if noun == "lease" and lease["state"] == "revoked":
                assert f"tb_{lease['instance']}_{id[1:]}" not in present


class SqliteRig(DurableRig):
    """The rig, on a database file."""

    def __init__(self, path: Path, crash_at: int | None = None, after: bool = False) -> None:
        self.path = path
        super().__init__(crash_at=crash_at, after=after, store=lambda clock: open_store(path, clock, reserve=1 << 16))

    def held(self) -> Stored:
        return check(self.path)

    async def reopen(self) -> None:
        self.store = open_store(self.path, self.clock, reserve=1 << 16)


class PostgresRig(DurableRig):
    """The rig, on a PostgreSQL database, which is emptied when its people come."""

    def __init__(self, database: "Database", crash_at: int | None = None, after: bool = False) -> None:
        self.database = database
        super().__init__(crash_at=crash_at, after=after)

    async def people(self) -> None:
        await self.database.empty()
        await self.reopen()
        counted = self.world.store
        assert isinstance(counted, CountedStore)
        counted.store = self.store
        await super().people()

    def held(self) -> Stored:
        # A story's steps are told without waiting; the database is asked from beside.
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(asyncio.run, check_postgres(self.database)).result()

    async def reopen(self) -> None:
        self.store = await self.database.open(self.clock)
