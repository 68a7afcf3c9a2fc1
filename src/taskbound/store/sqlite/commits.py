"""Shared commits: many transactions, one COMMIT (D26, INTERFACES 12).

A *group* is BEGIN IMMEDIATE, the bodies of its members one after the other on the event loop, each
in a savepoint, and one COMMIT (with its fsync) in a thread. There is no timer: a group closes at the
first turn of the loop in which nobody came, or when MANY are in it, and whoever arrives while its COMMIT
runs is in the next one; so the busier the store, the larger the groups.

A body sees what earlier members of its own group recorded, before that is durable. This is sound
because members share one fate: they become durable by one COMMIT or fail together with
StoreUnavailable, and no answer leaves a block before that. A body that only read, and had no
writer before it in its group, saw what is committed, and waits for nothing.

A body that awaits anything but its transaction has strayed: others would run inside its savepoint.
The loop turns only when a body suspends, and each turn first looks at the open group; so a strayed
body is found at once, its work is undone, and it gets RuntimeError.

A COMMIT that does not come back (a dead disk) is given up after COMMIT_SECONDS: its members, and whoever
comes until it does come back, get StoreUnavailable. Whether it was durable nobody knows then, so nobody is told
that it was.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Protocol

from taskbound.core.errors import StoreUnavailable
from taskbound.store.reserve import NOTHING_NEW, Reserve
from taskbound.store.rows import from_moment, to_moment
from taskbound.store.sqlite.kept import Kept

COMMIT_SECONDS = 5.0  # a disk that is only slow has synced long before
MANY = 64  # bodies for which one COMMIT more no longer matters
MARK_LAG = timedelta(seconds=1)  # a clock may differ by as much before anybody must care (D12)


class Body(Protocol):
    """What runs inside a group."""

    group: "Group"
    strayed: bool
    saved: bool  # its savepoint is set, before its first write; one that only reads needs none


class Group:
    """Members of one COMMIT, by the futures on which they wait for it."""

    __slots__ = ("bodies", "failed", "looked", "mark", "members", "writes")

    def __init__(self) -> None:
        self.bodies = self.looked = 0  # that have entered, and had when it was looked at last
        self.members: list[asyncio.Future[None]] = []
        self.writes = False  # a member left something to commit
        self.mark: datetime | None = None  # the latest moment that is durable with it
        self.failed: BaseException | None = None


class Commits:
    """The connection, whose turn it is, and the time that goes with a turn."""

    def __init__(self, db: sqlite3.Connection, clock: Callable[[], datetime], reserve: Reserve) -> None:
        self.db: sqlite3.Connection | None = db
        self._clock = clock
        self.reserve = reserve
        self.kept = Kept()
        self._closed: SimpleQueue[tuple[asyncio.AbstractEventLoop, Group] | None] = SimpleQueue()  # groups to commit
        # A daemon: a COMMIT that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._committing, args=(db,), name="taskbound-commit", daemon=True)
        self._patience: asyncio.TimerHandle | None = None  # while a COMMIT runs
        self._hangs = False
        self._group: Group | None = None  # open: between its BEGIN and its COMMIT
        self._inside: Body | None = None  # which runs
        self._arrived: list[asyncio.Future[None]] | None = None  # while a COMMIT runs: who waits for its end
        # Events carry the time across a restart; where only reads happen the table `clock` follows within MARK_LAG.
        latest, stated = db.execute(
            "SELECT latest, (SELECT at FROM events ORDER BY id DESC LIMIT 1) FROM clock"
        ).fetchone()
        self._latest = self._marked = to_moment(max(latest, stated or 0))
        self._thread.start()

    def now(self) -> datetime:
        """Return the time. A clock that runs back must not revive what was due (D12)."""
        self._latest = max(self._clock(), self._latest)
        return self._latest

    async def turn(self) -> None:
        """Return when no COMMIT has the connection. Raises StoreUnavailable when one does not come back."""
        while self._arrived is not None:
            if self._hangs:
                raise _hanging()
            free = asyncio.get_running_loop().create_future()
            self._arrived.append(free)  # a future of one's own: to cancel it harms nobody else
            await free

    def enter(self, body: Body) -> Group:
        """Begin a body in the open group, or in a new one. Only when the connection is free."""
        if self.db is None:
            raise StoreUnavailable("the store is closed")
        if self._inside is not None:
            self._expel()
        if self._group is None:
            try:
                if self.db.in_transaction:  # a rollback that failed is tried again
                    self.db.execute("ROLLBACK")
                self.db.execute("BEGIN IMMEDIATE")
                self.kept.begin(self.db)
            except sqlite3.Error as error:
                raise self.trouble(error) from error
            self._group = Group()
            loop = asyncio.get_running_loop()
            # Runs in each turn: after all bodies that are ready now, and before any that suspends can go on.
            loop.call_soon(self._close_group, loop, self._group)
        self._inside = body
        self._group.bodies += 1
        return self._group

    def leave(self, body: Body, *, keep: bool) -> None:
        """End the body inside: its savepoint is released, or undone. Raises StoreUnavailable when the group failed."""
        self._inside, group = None, body.group
        if body.saved and group.failed is None and self.db is not None:
            try:
                if not keep:
                    self.db.execute("ROLLBACK TO body")
                self.db.execute("RELEASE body")
            except sqlite3.Error as error:
                # Whether the body is in the transaction is now unknown: nothing of it may be committed.
                self._fail(group, error)
        if keep and group.failed is not None:
            raise self.trouble(group.failed) from group.failed

    def _expel(self) -> None:
        body = self._inside
        assert body is not None
        body.strayed = True
        self.leave(body, keep=False)

    def _close_group(self, loop: asyncio.AbstractEventLoop, group: Group) -> None:
        if self._inside is not None:
            self._expel()
        if self._group is not group or self.db is None:  # it failed as a whole meanwhile
            return
        if group.looked < group.bodies < MANY:  # somebody came: the next may be ready too
            group.looked = group.bodies
            loop.call_soon(self._close_group, loop, group)
            return
        self._group = None
        try:
            if self._latest > max(group.mark or self._marked, self._marked) + MARK_LAG:
                self.db.execute("UPDATE clock SET latest = ?", (from_moment(self._latest),))
                group.writes, group.mark = True, self._latest
            if not group.writes:
                self.db.execute("COMMIT")  # nothing was written, so nothing is synced
                return
        except sqlite3.Error as error:
            self._fail(group, error)
            return
        self._arrived = []
        self._patience = loop.call_later(COMMIT_SECONDS, self._give_up, group)
        self._closed.put((loop, group))

    def _committing(self, db: sqlite3.Connection) -> None:
        """The thread: commit one group after the other. Nobody else uses the connection meanwhile."""
        while (closed := self._closed.get()) is not None:
            loop, group = closed
            error: BaseException | None = None
            try:
                db.execute("COMMIT")
            except BaseException as raised:
                error = raised
                with suppress(sqlite3.Error):  # else it is tried again before the next BEGIN
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            try:
                loop.call_soon_threadsafe(self._committed, group, error)
            except RuntimeError:  # the loop was closed: nobody is left to tell, and the next one finds the store free
                self._arrived = None

    def _give_up(self, group: Group) -> None:
        """The COMMIT does not come back. Nobody waits for it any longer, and nobody is told that it succeeded."""
        self._hangs = True
        waiting, self._arrived = [*group.members, *(self._arrived or ())], []
        for one in waiting:
            if not one.done():
                one.set_exception(_hanging())

    def _committed(self, group: Group, error: BaseException | None) -> None:
        arrived, self._arrived = self._arrived, None
        self._hangs = False
        if self._patience is not None:
            self._patience.cancel()
        if error is not None:
            self._fail(group, error)
        else:
            self._marked = max(group.mark or self._marked, self._marked)
            for member in group.members:
                if not member.done():  # cancelled: it will not learn that its work is durable
                    member.set_result(None)
        for free in arrived or ():  # after the members: who comes back at once is in the same group
            if not free.done():
                free.set_result(None)

    def _fail(self, group: Group, error: BaseException) -> None:
        """Keep nothing of the group, and tell every member. Only when no COMMIT runs."""
        group.failed = error
        if self._group is group:
            self._group = None
        with suppress(sqlite3.Error):  # else it is tried again before the next BEGIN
            if self.db is not None and self.db.in_transaction:
                self.db.execute("ROLLBACK")
        for member in group.members:
            if not member.done():
                failure = self.trouble(error)
                failure.__cause__ = error
                member.set_exception(failure)

    def trouble(self, error: BaseException) -> StoreUnavailable:
        """Return what a foreign error means to us; free the reserve if it means that the disk is full."""
        if not self.reserve.is_needed_for(error):
            return StoreUnavailable(f"the store failed: {type(error).__name__}")
        self.reserve.free()
        return StoreUnavailable(NOTHING_NEW, hint="free space on it")

    def statement_failed(self, group: Group, error: sqlite3.Error) -> StoreUnavailable:
        """Return what a failed statement of a body means; the body, or its whole group, is lost."""
        if self.db is None or not self.db.in_transaction:  # SQLite itself has rolled the whole group back
            self._fail(group, error)
        return self.trouble(error)

    async def close(self) -> None:
        """Finish the commit that runs, and close the connection."""
        try:
            while self._group is not None or self._arrived is not None:
                await self.turn()
                await asyncio.sleep(0)  # an open group closes when the loop turns
        except StoreUnavailable:  # the connection is still the thread's: the end of the process closes it
            self.db = None
        if self.db is not None:
            db, self.db = self.db, None
            self._closed.put(None)
            self._thread.join()
            db.close()


def _hanging() -> StoreUnavailable:
    return StoreUnavailable("the disk does not answer", hint="what was asked may have been recorded: look before again")
