"""Facts: `record`, the one write verb, and `once`.

`record` writes the event, its body, the thing's row and the budgets in a savepoint of their own, so that
a refused fact leaves nothing even when the body catches the refusal.
"""

import hashlib
import os
import sqlite3
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from taskbound.core.call import Call
from taskbound.core.errors import BudgetSpent, Conflict, Replayed
from taskbound.core.event import Event, Kind
from taskbound.core.identity import Identity
from taskbound.core.task import Task
from taskbound.core.thing import Thing, event_about, next_state, noun_of
from taskbound.store.rows import TABLES, Table, body, from_moment, quoted
from taskbound.store.sqlite.block import FOREIGN
from taskbound.store.sqlite.reading import Reading

REMEMBERED = timedelta(hours=1)  # one-time values are kept so much longer than they could be used
# Nouns that no fact leads anywhere: what is stored under an id was recorded there, and cannot be again.
WRITTEN_ONCE = frozenset(noun for noun in TABLES if not any(noun.LIFECYCLE[state] for state in noun.LIFECYCLE if state))


class SqliteTransaction(Reading):
    """A block that reads and records."""

    async def record(
        self,
        kind: Kind,
        thing: Thing | None = None,
        *,
        by: Identity | None = None,
        spent: Mapping[str, int] = {},
        shared: Mapping[str, int] = {},
        **detail: object,
    ) -> Event:
        self.commits.reserve.require_room(kind)
        new = thing is not None and self._require_follows(kind, thing)
        event = event_about(
            thing,
            kind,
            detail,
            org=self.org,
            at=self.now,
            by=(by or self.opener).spiffe_id,
            via=self.opener.spiffe_id,
            request=self.opener.facts.get("request", ""),
            spent=spent,
            shared=shared,
        )
        db = self.open()
        first = not self.saved  # the first thing that a body writes can be undone with the body's own savepoint
        try:
            try:
                self.begin_writing(db)
                if not first:
                    db.execute("SAVEPOINT fact")
                row = self._state(db, event)
                if thing is not None:
                    self._keep(db, thing, row, new=new)
                self._move(db, event)
                if not first:
                    db.execute("RELEASE fact")
            except FOREIGN as error:
                raise self.translated(error) from error
        except BaseException:
            # A body may catch a refusal and go on: nothing of the fact may be left.
            if self._db is not None and self.group.failed is None and self.saved:
                self.execute("ROLLBACK TO body" if first else "ROLLBACK TO fact")
                if not first:
                    self.execute("RELEASE fact")
            raise
        self.stated = True
        return event

    def _require_follows(self, kind: Kind, thing: Thing) -> bool:
        """Return whether the thing is new. Raises Conflict unless its stored state leads by the fact to its state."""
        if thing.org != self.org:
            raise Conflict(f"{noun_of(thing)} {thing.id} belongs to another organisation")
        if type(thing) in WRITTEN_ONCE and next_state(thing, "", kind, thing.id) == thing.state:
            return True  # one that is stored already is refused by its key
        name = TABLES[type(thing)].name
        rows = self.query(f"SELECT state FROM {name} WHERE org = ? AND id = ?", self.org, thing.id)
        state = next_state(thing, rows[0][0] if rows else "", kind, thing.id)
        if state != thing.state:
            raise Conflict(f"{noun_of(thing)} {thing.id} would become {state} by {kind}, not {thing.state}")
        return not rows

    def _state(self, db: sqlite3.Connection, event: Event) -> int:
        """Write the event and its body; return the event's row."""
        text, salt = body(event), os.urandom(32)
        row = db.execute(
            _EVENT,
            (
                event.org, event.kind.value, from_moment(event.at), event.by, event.noun, event.id, event.request,
                hashlib.sha256(salt + text).digest(),
            ),
        ).lastrowid  # fmt: skip
        db.execute("INSERT INTO bodies (event, org, salt, body) VALUES (?, ?, ?, ?)", (row, event.org, salt, text))
        assert row is not None
        return row

    def _keep(self, db: sqlite3.Connection, thing: Thing, event: int, *, new: bool) -> None:
        """Make the thing its table's newest value."""
        noun = type(thing)
        values = TABLES[noun].row(thing)
        if isinstance(thing, Call):
            values.append(event)
            if thing.root and not self.labels_of(thing.root).issuperset(thing.labels):
                self.commits.kept.forget()
                rows = [(self.org, thing.root, label) for label in thing.labels]
                db.executemany("INSERT OR IGNORE INTO labels (org, root, label) VALUES (?, ?, ?)", rows)
        else:
            self.commits.kept.forget()
        if new:
            try:
                db.execute(_INSERT[noun], values)
            except sqlite3.IntegrityError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                    raise
                raise Conflict(f"there is a {noun_of(thing)} {thing.id} already") from error
        else:
            db.execute(_UPDATE[noun], (*values, self.org, thing.id))

    def _move(self, db: sqlite3.Connection, event: Event) -> None:
        """Change the budget rows as the fact says. Raises BudgetSpent."""
        thing = event.value
        for quantity, amount in event.spent.items():
            self._take(db, thing.task, quantity, amount)
        for quantity, amount in event.shared.items():
            if thing.parent is not None:
                self._take(db, thing.parent, quantity, amount)
            db.execute(
                'INSERT INTO budgets (org, task, quantity, "left") VALUES (?, ?, ?, ?)'
                ' ON CONFLICT (org, task, quantity) DO UPDATE SET "left" = excluded."left"',
                (self.org, thing.id, quantity, amount),
            )
        if event.kind is Kind.TASK_ENDED and isinstance(thing, Task) and thing.parent is not None:
            db.execute(
                'INSERT INTO budgets (org, task, quantity, "left")'
                ' SELECT org, ?, quantity, "left" FROM budgets WHERE org = ? AND task = ? AND "left" > 0'
                ' ON CONFLICT (org, task, quantity) DO UPDATE SET "left" = "left" + excluded."left"',
                (thing.parent, self.org, thing.id),
            )
            db.execute('UPDATE budgets SET "left" = 0 WHERE org = ? AND task = ?', (self.org, thing.id))

    def _take(self, db: sqlite3.Connection, task: str, quantity: str, amount: int) -> None:
        if not db.execute(_TAKE, (amount, self.org, task, quantity)).rowcount:
            rows = db.execute(_LEFT, (self.org, task, quantity)).fetchall()
            left = rows[0][0] if rows else 0
            raise BudgetSpent(f"task {task} has {left} {quantity} left, {amount} were asked")

    async def once(self, purpose: str, value: str, until: datetime) -> None:
        # Each takes away up to two that nobody can use any more, so the table stays as small as what is in use.
        self.execute(
            "DELETE FROM once WHERE (org, purpose, value) IN"
            " (SELECT org, purpose, value FROM once WHERE org = ? AND until < ? LIMIT 2)",
            self.org, from_moment(self.now - REMEMBERED),
        )  # fmt: skip
        first = self.execute(
            "INSERT OR IGNORE INTO once (org, purpose, value, until) VALUES (?, ?, ?, ?)",
            self.org, purpose, value, from_moment(until),
        )  # fmt: skip
        if not first.rowcount:
            raise Replayed(f"this {purpose} was used before")


_EVENT = 'INSERT INTO events (org, kind, at, "by", noun, thing, request, commitment) VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
_TAKE = (
    'UPDATE budgets SET "left" = "left" - ?1'
    ' WHERE org = ?2 AND task = ?3 AND quantity = ?4 AND "left" >= ?1 AND ?1 >= 0'
)
_LEFT = 'SELECT "left" FROM budgets WHERE org = ? AND task = ? AND quantity = ?'


def _insert(table: Table[Any]) -> str:
    columns = (*table.columns, "event") if table.noun is Call else table.columns
    return f"INSERT INTO {table.name} ({', '.join(map(quoted, columns))}) VALUES ({', '.join('?' * len(columns))})"


def _update(table: Table[Any]) -> str:
    columns = (*table.columns, "event") if table.noun is Call else table.columns
    return f"UPDATE {table.name} SET {', '.join(f'{quoted(c)} = ?' for c in columns)} WHERE org = ? AND id = ?"


_INSERT = {noun: _insert(table) for noun, table in TABLES.items()}
_UPDATE = {noun: _update(table) for noun, table in TABLES.items()}
