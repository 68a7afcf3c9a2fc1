"""The block of a transaction: from entering it to leaving it, its connection, and its statements.

Until the first lock or write there is no BEGIN, so who only reads pays for none and holds nothing.
A body that awaits anything but its transaction has strayed: its connection is closed at once, so
that nobody waits for its locks, and it gets RuntimeError. A COMMIT without an answer is
StoreUnavailable: what it did is not known, and it is never said to have happened.
"""

import asyncio
from datetime import datetime
from typing import Any

import asyncpg

from taskbound.core.errors import Conflict, InvalidRequest, StoreUnavailable, TaskboundError
from taskbound.store.postgres.name import Name
from taskbound.store.postgres.pool import FOREIGN, Link, Links
from taskbound.store.postgres.time import DatabaseTime

STRAYED = "the body of a transaction awaited something other than its transaction"
UNFIT = "a text that has no form in the database, or a number of more than 64 bits"
MEANWHILE = "another transaction was at the same at this moment"
CONTESTED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError)


class Block:
    """The block of one transaction."""

    def __init__(self, links: Links, time: DatabaseTime, name: Name | None) -> None:
        self.now: datetime
        self.strayed = False
        self._links, self._time, self._name = links, time, name
        self._link: Link | None = None  # only while the block runs
        self._begun = self._lost = False  # BEGIN was sent; the connection is not to be used again
        self._failed: TaskboundError | None = None  # what ended it before its end
        self._sentinel: asyncio.Handle | None = None

    async def enter(self) -> None:
        """Take a connection, and the time. Raises StoreUnavailable."""
        self._require_name()
        link = await self._links.take()
        try:
            self.now = await self._time.now()  # only now: what it decides on is read later than that
        except BaseException:
            self._links.give(link)
            raise
        self._link = link
        self._watch()

    async def leave(self, kind: type[BaseException] | None) -> None:
        """Commit, or undo what a body that raised has done, and give the connection back. Raises StoreUnavailable."""
        self._unwatch()
        link, self._link = self._link, None
        assert link is not None
        try:
            if self.strayed:
                self._lost = True
                if kind is None:
                    raise RuntimeError(STRAYED)
            elif kind is None and self._failed is None:
                await self._commit(link)
            elif kind is None or issubclass(kind, Exception):
                await self._roll_back(link)
            else:  # cancelled, or worse: what the connection was doing is unknown
                self._lost = True
            if kind is None and self._failed is not None:
                raise self._failed
        except BaseException as trouble:
            self._lost = self._lost or not isinstance(trouble, TaskboundError)
            raise
        finally:
            if self._lost or link.at.is_closed():
                self._links.drop(link)
            else:
                self._links.give(link)

    async def _commit(self, link: Link) -> None:
        if not self._begun:
            return
        link.warned = False
        try:
            answer = await link.at.execute("COMMIT")
        except BaseException as error:
            self._lost = True
            if isinstance(error, FOREIGN):
                self._links.distrust()
                raise StoreUnavailable("COMMIT failed: whether it happened is not known") from error
            raise
        # An aborted transaction answers ROLLBACK. A warning says that it is durable here and not where it is to be.
        if answer != "COMMIT" or link.warned:
            self._lost = True
            raise StoreUnavailable("the database did not commit as it was told to")

    async def _roll_back(self, link: Link) -> None:
        if not self._begun or self._lost:
            return
        try:
            await link.at.execute("ROLLBACK")
        except FOREIGN:  # the server does it when the connection is closed
            self._lost = True

    def _require_name(self) -> None:
        if self._name is not None:
            self._name.require()

    def _watch(self) -> None:
        # Runs when the loop turns before the body asks for anything more, or ends.
        self._sentinel = asyncio.get_running_loop().call_soon(self._stray)

    def _unwatch(self) -> None:
        if self._sentinel is not None:
            self._sentinel.cancel()
            self._sentinel = None

    def _stray(self) -> None:
        self.strayed = True
        if self._link is not None:
            self._link.at.terminate()  # at once: others may wait for what it holds

    async def query(self, text: str, *values: Any) -> list[Any]:
        """Return the rows that a statement gives."""
        link = self.open()
        if any(isinstance(value, str) and "\0" in value for value in values):
            raise InvalidRequest(UNFIT)
        self._unwatch()
        try:
            return await link.at.fetch(text, *values)
        except FOREIGN as error:
            raise self._translated(error) from error
        finally:
            if not self.strayed:
                self._watch()

    def open(self) -> Link:
        """Return the connection, which is this transaction's while its body runs and nothing failed."""
        if self.strayed:
            raise RuntimeError(STRAYED)
        if self._link is None:
            raise RuntimeError("a transaction is used outside its block")
        if self._failed is not None:
            raise self._failed
        return self._link

    async def write(self, text: str, *values: Any) -> list[Any]:
        """Run a statement that locks or writes, and return the rows that it gives. Leaving the block commits it."""
        if not self._begun:
            self._require_name()  # again: its process may have been stopped since the block was entered
            self._begun = True  # from when it is sent
            await self.query("BEGIN ISOLATION LEVEL READ COMMITTED")
        return await self.query(text, *values)

    def _translated(self, error: Exception) -> TaskboundError:
        """Return what a foreign error means to us. The transaction is over, unless the statement was never sent."""
        if isinstance(error, asyncpg.DataError) and getattr(error, "severity", None) is None:
            return InvalidRequest(UNFIT)
        if not isinstance(error, asyncpg.PostgresError):  # the connection is gone, or what it does is unknown
            self._lost = True
            self._links.distrust()
        self._failed = self._meaning(error)
        return self._failed

    def _meaning(self, error: Exception) -> TaskboundError:
        if isinstance(error, asyncpg.DataError | asyncpg.ProgramLimitExceededError):
            return InvalidRequest(UNFIT)
        if isinstance(error, asyncpg.ForeignKeyViolationError):
            return Conflict("what is not stored cannot be referred to")
        if isinstance(error, CONTESTED):
            return Conflict(MEANWHILE, hint="try again")
        return StoreUnavailable(f"the store failed: {type(error).__name__}")
