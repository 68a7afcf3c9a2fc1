"""The block of a transaction: from entering it to leaving it, its place in a group, and its statements.

A block runs in the group that is open (commits.py). Its first write sets its savepoint.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from taskbound.core.errors import Conflict, InvalidRequest, TaskboundError
from taskbound.core.identity import Identity
from taskbound.store.sqlite.commits import Commits, Group

FOREIGN = (sqlite3.Error, UnicodeEncodeError, OverflowError)  # what a statement can raise
STRAYED = "the body of a transaction awaited something other than its transaction"


class Block:
    """One look at the store, from entering its block to leaving it; leaving waits for the shared COMMIT."""

    def __init__(self, commits: Commits, opener: Identity) -> None:
        self.opener, self.org = opener, opener.org
        self.now: datetime
        self.group: Group
        self.strayed = self.saved = self.stated = False
        self.commits = commits
        self._db: sqlite3.Connection | None = None  # only while the block runs
        self._wrote = False

    async def __aenter__(self) -> Self:
        commits = self.commits
        await commits.turn()
        self.group = commits.enter(self)
        self._db = commits.db
        self.now = commits.now()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        commits, group = self.commits, self.group
        self._db = None
        if self.strayed:
            if kind is None:
                raise RuntimeError(STRAYED)
            return
        commits.leave(self, keep=kind is None)
        if kind is not None:
            return
        if self.stated:
            group.mark = self.now  # opening reads the last event's moment
        if self._wrote:
            group.writes = True
        if group.writes:
            committed = asyncio.get_running_loop().create_future()
            group.members.append(committed)
            await committed

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query gives."""
        db = self.open()
        try:
            return db.execute(sql, values).fetchall()
        except FOREIGN as error:
            raise self.translated(error) from error

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run a statement that gives no rows. Leaving the block will wait for its COMMIT."""
        db = self.open()
        try:
            self.begin_writing(db)
            return db.execute(sql, values)
        except FOREIGN as error:
            raise self.translated(error) from error

    def execute_many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement for each of the rows; return how many rows of the table it changed."""
        db = self.open()
        try:
            self.begin_writing(db)
            return db.executemany(sql, rows).rowcount
        except FOREIGN as error:
            raise self.translated(error) from error

    def begin_writing(self, db: sqlite3.Connection) -> None:
        """Set the savepoint, unless it is set already. Before every write."""
        self._wrote = True
        if not self.saved:
            db.execute("SAVEPOINT body")
            self.saved = True

    def open(self) -> sqlite3.Connection:
        """Return the connection, which is this transaction's while its body runs."""
        if self.strayed:
            raise RuntimeError(STRAYED)
        if self._db is None:
            raise RuntimeError("a transaction is used outside its block")
        if self.group.failed is not None:
            raise self.commits.trouble(self.group.failed) from self.group.failed
        return self._db

    def translated(self, error: Exception) -> TaskboundError:
        """Return what a foreign error means to us."""
        if not isinstance(error, sqlite3.Error):
            return InvalidRequest("a text with a lone surrogate, or a number of more than 64 bits")
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return Conflict("what is not stored cannot be referred to")
        return self.commits.statement_failed(self.group, error)
