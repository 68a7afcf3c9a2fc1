"""The SQLite store: embedded and durable (D26, INTERFACES 12).

One connection, one process at a time. Transactions share commits (commits.py); their bodies are
savepoints that run one after the other, so nothing here needs a lock, and each write is
conditional by what it reads in the same transaction. `record` writes the event, its body, the
thing's row and the budgets in a savepoint of their own, so that a refused fact leaves nothing
even when the body catches the refusal. How things become rows is told in rows.py. Contract suite:
tests/contracts/store.py.
"""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from taskbound.core.call import Call
from taskbound.core.errors import (
    BudgetSpent,
    Conflict,
    InvalidRequest,
    NotFound,
    Replayed,
    StoreUnavailable,
    TaskboundError,
)
from taskbound.core.event import Event, Kind
from taskbound.core.identity import Identity
from taskbound.core.task import Task
from taskbound.core.thing import Thing, event_about, next_state, noun_of
from taskbound.store.commits import Commits, Group
from taskbound.store.migrations import migrate, shipped
from taskbound.store.reserve import RESERVE, Reserve
from taskbound.store.rows import TABLES, Table, body, from_moment, quoted

T = TypeVar("T", bound=Thing)

STRICT_TABLES = (3, 37)  # the SQLite version that types columns
REMEMBERED = timedelta(hours=1)  # one-time values are kept so much longer than they could be used
FOREIGN = (sqlite3.Error, UnicodeEncodeError, OverflowError)  # what a statement can raise
# Nouns that no fact leads anywhere: what is stored under an id was recorded there, and cannot be again.
WRITTEN_ONCE = frozenset(noun for noun in TABLES if not any(noun.LIFECYCLE[state] for state in noun.LIFECYCLE if state))
STRAYED = "the body of a transaction awaited something other than its transaction"


def open_store(path: Path, clock: Callable[[], datetime], *, reserve: int = RESERVE) -> "SqliteStore":
    """Open the database, made (0600, in a directory 0700) when there is none, and bring its schema up to date.

    Raises StoreUnavailable: a directory open to others, a database of a newer program, no database.
    """
    if sqlite3.sqlite_version_info < STRICT_TABLES:
        raise StoreUnavailable(f"SQLite is {sqlite3.sqlite_version}, at least 3.37 is needed", hint="update SQLite")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.parent.stat().st_mode & 0o777
        if mode & 0o077:
            raise StoreUnavailable(
                f"{path.parent} is open to others (mode {mode:04o}), expected 0700", hint=f"chmod 700 {path.parent}"
            )
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        kept = Reserve(path.with_name("reserve"), reserve)
        try:
            db = _connect(path)
        except sqlite3.Error as error:
            if not kept.is_needed_for(error):
                raise
            kept.free()  # a disk that is full to its last byte has no room for the log either
            db = _connect(path)
        try:
            kept.take()
            return SqliteStore(db, clock, kept)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit: BEGIN and COMMIT are ours. The connection goes to the thread and back, never to both.
    db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreUnavailable(
                f"{path} cannot have a write-ahead log, its journal is {mode!r}", hint="use a local disk"
            )
        db.execute("PRAGMA synchronous = FULL")  # with NORMAL a committed intent can vanish at power loss (D26)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA temp_store = MEMORY")  # savepoints need no room on a full disk
        migrate(db, shipped())
        # From here on statements run on the event loop: better a 503 than a loop that waits for a stranger's lock.
        db.execute("PRAGMA busy_timeout = 100")
    except BaseException:
        db.close()
        raise
    return db


class SqliteStore:
    """Everything in one database file."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], datetime], reserve: Reserve) -> None:
        self.reserve = reserve
        self.commits = Commits(db, clock, reserve)

    def transaction(self, opener: Identity) -> "SqliteTransaction":
        """Open a transaction as this identity, for its organisation."""
        return SqliteTransaction(self, opener)

    async def close(self) -> None:
        """Finish the commit that runs, and close the database. Whoever comes later gets StoreUnavailable."""
        await self.commits.close()


class SqliteTransaction:
    """One look at the store, from entering its block to leaving it; leaving waits for the shared COMMIT."""

    def __init__(self, store: SqliteStore, opener: Identity) -> None:
        self.opener, self.org = opener, opener.org
        self.now: datetime
        self.group: Group
        self.strayed = self.saved = False
        self._commits, self._reserve = store.commits, store.reserve
        self._db: sqlite3.Connection | None = None  # only while the block runs
        self._wrote = self._stated = False
        self._read: dict[tuple[type[Any], str], Any] = {}  # by noun and id; a chain begins with who was proved by it

    async def __aenter__(self) -> "SqliteTransaction":
        commits = self._commits
        await commits.turn()
        self.group = commits.enter(self)
        self._db = commits.db
        self.now = commits.now()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        commits, group = self._commits, self.group
        self._db = None
        if self.strayed:
            if kind is None:
                raise RuntimeError(STRAYED)
            return
        commits.leave(self, keep=kind is None)
        if kind is not None:
            return
        if self._stated:
            group.mark = self.now  # opening reads the last event's moment
        if self._wrote:
            group.writes = True
        if group.writes:
            committed = asyncio.get_running_loop().create_future()
            group.members.append(committed)
            await committed

    # --- statements ----------------------------------------------------------------------------------

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query gives."""
        db = self._open()
        try:
            return db.execute(sql, values).fetchall()
        except FOREIGN as error:
            raise self._translated(error) from error

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run a statement that gives no rows. Leaving the block will wait for its COMMIT."""
        db = self._open()
        try:
            self._writes(db)
            return db.execute(sql, values)
        except FOREIGN as error:
            raise self._translated(error) from error

    def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement for each of the rows; return how many rows of the table it changed."""
        db = self._open()
        try:
            self._writes(db)
            return db.executemany(sql, rows).rowcount
        except FOREIGN as error:
            raise self._translated(error) from error

    def _writes(self, db: sqlite3.Connection) -> None:
        self._wrote = True
        self._read.clear()
        if not self.saved:
            db.execute("SAVEPOINT body")
            self.saved = True

    def _open(self) -> sqlite3.Connection:
        """Return the connection, which is this transaction's while its body runs."""
        if self.strayed:
            raise RuntimeError(STRAYED)
        if self._db is None:
            raise RuntimeError("a transaction is used outside its block")
        if self.group.failed is not None:
            raise self._commits.trouble(self.group.failed) from self.group.failed
        return self._db

    def _translated(self, error: Exception) -> TaskboundError:
        if not isinstance(error, sqlite3.Error):
            return InvalidRequest("a text with a lone surrogate, or a number of more than 64 bits")
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return Conflict("what is not stored cannot be referred to")
        return self._commits.statement_failed(self.group, error)

    # --- reading -------------------------------------------------------------------------------------

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        if (read := self._read.get((noun, id))) is not None:
            self._open()
            return cast(T, read)
        table: Table[T] = TABLES[noun]
        rows = self.query(table.by_id, self.org, id)
        if not rows:
            raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")
        return table.thing(rows[0])

    async def find(
        self,
        noun: type[T],
        *,
        due: datetime | None = None,
        after: str | None = None,
        limit: int | None = None,
        newest: bool = False,
        **where: object,
    ) -> list[T]:
        if unknown := set(where) - set(noun.INDEXED):
            raise TypeError(f"{noun_of(noun)} is not indexed by {', '.join(sorted(unknown))}")
        table: Table[T] = TABLES[noun]
        sql = _find(noun, tuple(where), due is not None, after is not None, newest, limit is not None)
        more = (due and from_moment(due), after, limit)
        values = [self.org, *where.values(), *(one for one in more if one is not None)]
        things = [table.thing(row) for row in self.query(sql, *values)]
        if len(things) == 1:
            self._read[noun, things[0].id] = things[0]
        return things

    async def count(self, noun: type[Thing], state: str) -> int:
        sql = f"SELECT count(*) FROM {TABLES[noun].name} WHERE org = ? AND state = ?"
        return int(self.query(sql, self.org, state)[0][0])

    async def left(self, task: str) -> dict[str, int]:
        return dict(self.query('SELECT quantity, "left" FROM budgets WHERE org = ? AND task = ?', self.org, task))

    async def labels(self, root: str) -> frozenset[str]:
        rows = self.query("SELECT label FROM labels WHERE org = ? AND root = ?", self.org, root)
        return frozenset(label for (label,) in rows)

    # --- writing -------------------------------------------------------------------------------------

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
        self._reserve.require_room(kind)
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
        # The first thing that a body writes can be undone with the body's own savepoint.
        first = not self.saved
        if not first:
            self.execute("SAVEPOINT fact")
        try:
            row = self._state(event)
            if thing is not None:
                self._keep(thing, row, new=new)
            self._move(event)
        except BaseException:
            # A body may catch a refusal and go on: nothing of the fact may be left.
            if self._db is not None and self.group.failed is None:
                if not first:
                    self.execute("ROLLBACK TO fact")
                    self.execute("RELEASE fact")
                elif self.saved:
                    self.execute("ROLLBACK TO body")
            raise
        if not first:
            self.execute("RELEASE fact")
        self._stated = True
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

    def _state(self, event: Event) -> int:
        """Write the event and its body; return the event's row."""
        try:
            text, salt = body(event), os.urandom(32)
        except UnicodeEncodeError as error:
            raise self._translated(error) from error
        row = self.execute(
            'INSERT INTO events (org, kind, at, "by", noun, thing, request, commitment)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            event.org, event.kind.value, from_moment(event.at), event.by, event.noun, event.id, event.request,
            hashlib.sha256(salt + text).digest(),
        ).lastrowid  # fmt: skip
        self.execute("INSERT INTO bodies (event, org, salt, body) VALUES (?, ?, ?, ?)", row, event.org, salt, text)
        assert row is not None
        return row

    def _keep(self, thing: Thing, event: int, *, new: bool) -> None:
        """Make the thing its table's newest value."""
        table = TABLES[type(thing)]
        values = table.row(thing)
        if isinstance(thing, Call):
            values.append(event)
            for label in thing.labels if thing.root else ():
                sql = "INSERT OR IGNORE INTO labels (org, root, label) VALUES (?, ?, ?)"
                self.execute(sql, self.org, thing.root, label)
        if new:
            try:
                self.execute(_INSERT[type(thing)], *values)
            except StoreUnavailable as error:
                if getattr(error.__cause__, "sqlite_errorcode", 0) != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                    raise
                raise Conflict(f"there is a {noun_of(thing)} {thing.id} already") from error
        else:
            self.execute(_UPDATE[type(thing)], *values, self.org, thing.id)

    def _move(self, event: Event) -> None:
        """Change the budget rows as the fact says. Raises BudgetSpent."""
        thing = event.value
        if event.spent:
            for quantity, amount in event.spent.items():
                self._take(thing.task, quantity, amount)
        for quantity, amount in event.shared.items():
            if thing.parent is not None:
                self._take(thing.parent, quantity, amount)
            self.execute(
                'INSERT INTO budgets (org, task, quantity, "left") VALUES (?, ?, ?, ?)'
                ' ON CONFLICT (org, task, quantity) DO UPDATE SET "left" = excluded."left"',
                self.org, thing.id, quantity, amount,
            )  # fmt: skip
        if isinstance(thing, Task) and event.kind is Kind.TASK_ENDED and thing.parent is not None:
            self.execute(
                'INSERT INTO budgets (org, task, quantity, "left")'
                ' SELECT org, ?, quantity, "left" FROM budgets WHERE org = ? AND task = ? AND "left" > 0'
                ' ON CONFLICT (org, task, quantity) DO UPDATE SET "left" = "left" + excluded."left"',
                thing.parent, self.org, thing.id,
            )  # fmt: skip
            self.execute('UPDATE budgets SET "left" = 0 WHERE org = ? AND task = ?', self.org, thing.id)

    def _take(self, task: str, quantity: str, amount: int) -> None:
        taken = self.execute(
            'UPDATE budgets SET "left" = "left" - ?1'
            ' WHERE org = ?2 AND task = ?3 AND quantity = ?4 AND "left" >= ?1 AND ?1 >= 0',
            amount, self.org, task, quantity,
        )  # fmt: skip
        if not taken.rowcount:
            rows = self.query(
                'SELECT "left" FROM budgets WHERE org = ? AND task = ? AND quantity = ?', self.org, task, quantity
            )
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


@lru_cache
def _find(noun: type[Any], where: tuple[str, ...], due: bool, after: bool, newest: bool, limit: bool) -> str:
    """Return the query that finds things. Raises TypeError for one that there cannot be."""
    table = TABLES[noun]
    if due and "due" not in table.columns:
        raise TypeError(f"{noun_of(noun)} is never due")
    if newest and "at" not in table.columns:
        raise TypeError(f"{noun_of(noun)} happens at no moment")
    sql = "".join((f"{table.select} WHERE org = ?", *(f' AND "{name}" IS ?' for name in where)))
    sql += (" AND due <= ?" if due else "") + (" AND id > ?" if after else "")
    # +id: to have the order for nothing, the planner would walk the whole organisation by its key. That
    # is what is wanted where only the first of all are asked for.
    sql += " ORDER BY at DESC, +id" if newest else " ORDER BY +id" if where or not limit else " ORDER BY id"
    return sql + (" LIMIT ?" if limit else "")


def _insert(table: Table[Any]) -> str:
    columns = (*table.columns, "event") if table.noun is Call else table.columns
    return f"INSERT INTO {table.name} ({', '.join(map(quoted, columns))}) VALUES ({', '.join('?' * len(columns))})"


def _update(table: Table[Any]) -> str:
    columns = (*table.columns, "event") if table.noun is Call else table.columns
    return f"UPDATE {table.name} SET {', '.join(f'{quoted(c)} = ?' for c in columns)} WHERE org = ? AND id = ?"


_INSERT = {noun: _insert(table) for noun, table in TABLES.items()}
_UPDATE = {noun: _update(table) for noun, table in TABLES.items()}
