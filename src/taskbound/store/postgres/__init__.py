"""The PostgreSQL store: one database, many nodes (D12, D13, D26, INTERFACES 12).

A transaction is one of the server's, at READ COMMITTED: each statement sees what is committed when
it begins. What that leaves open is closed where it matters, and only there:

- A fact is one statement, conditional on the stored state (sql.py). A value that the body
  read before must still be the stored one, else Conflict: nobody writes over what they never saw.
- `get(lock=True)` holds the row until the end; a task's with its root's, root first. So opens,
  ends, activations and approvals in one tree happen one after the other, and never wait in a circle.
- Who spends holds the rows of the budget, and then asks whether its task is open, in one
  statement with the fact; who ends or suspends holds the same rows. So a call is committed before
  the end of its task, or it spends nothing: BudgetSpent, and decided again it is `task_ended`.
- Who opens a task holds the registrations that it read of who acts in it and whom it is for, as they
  were read, else Conflict: who suspends one comes before, or finds the task and ends it. Who opens a
  child waits for nobody there: who suspends holds the name first, then the trees; it has its tree already.
- Two that wait for each other all the same: the server ends one, which gets Conflict.

Until the first lock or write there is no BEGIN, so who only reads pays for none and holds nothing.
A body that awaits anything but its transaction has strayed: its connection is closed at once, so
that nobody waits for its locks, and it gets RuntimeError. A COMMIT without an answer is
StoreUnavailable: what it did is not known, and it is never said to have happened.

What the database needs, and no superuser:

    CREATE ROLE taskbound LOGIN PASSWORD '...';
    CREATE DATABASE taskbound OWNER taskbound;
    REVOKE CONNECT ON DATABASE taskbound FROM PUBLIC;

Everything is in the schema `taskbound`, made at the first start. Connect to the server itself, not
by way of a pooler of transactions. Contract suite: tests/contracts/store.py.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

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
from taskbound.core.identity import Identity, Registration
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import Thing, event_about, next_state, noun_of
from taskbound.store.migrations import migrate_postgres, shipped
from taskbound.store.postgres import sql
from taskbound.store.postgres.name import Name
from taskbound.store.postgres.pool import FOREIGN, Link, Links, connect
from taskbound.store.postgres.time import DatabaseTime, database_clock
from taskbound.store.reserve import ENDS
from taskbound.store.rows import TABLES, Table, body, from_moment, quoted

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T", bound=Thing)

OLDEST = 160000  # server_version_num: 16
REMEMBERED = timedelta(hours=1)  # one-time values are kept so much longer than they could be used
BARRED = ("suspended", "ended")  # states of a task into which no call in flight may slip
STRAYED = "the body of a transaction awaited something other than its transaction"
UNFIT = "a text that has no form in the database, or a number of more than 64 bits"
MEANWHILE = "another transaction was at the same at this moment"
CONTESTED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError)


async def open_postgres(
    dsn: Secret,
    clock: Callable[[], datetime],
    *,
    size: int = 16,
    read_clock: Callable[["Connection"], Awaitable[datetime]] = database_clock,
) -> "PostgresStore":
    """Open the database, and bring its schema up to date. `clock` is the node's own; `size` connections at most.

    Raises StoreUnavailable: no such database, a replica, one of a newer program, a server older than 16.
    """
    at = await connect(dsn, patient=True)
    try:
        version = int(await at.fetchval("SHOW server_version_num"))
        if version < OLDEST:
            raise StoreUnavailable(
                f"the server is PostgreSQL {version // 10000}, at least 16 is needed", hint="update PostgreSQL"
            )
        await migrate_postgres(at, shipped("postgres"))
    except asyncpg.InsufficientPrivilegeError:
        raise StoreUnavailable(
            "the store's role may not make its schema", hint="ALTER DATABASE ... OWNER TO the role"
        ) from None
    except FOREIGN as error:
        raise StoreUnavailable(f"the database cannot be prepared: {type(error).__name__}") from error
    finally:
        at.terminate()
    store = PostgresStore(dsn, Links(dsn, size), DatabaseTime(Links(dsn, 1), clock, read_clock))
    try:
        await store.time.now()
    except BaseException:
        await store.close()
        raise
    return store


class PostgresStore:
    """Everything in one database, which other nodes use too."""

    def __init__(self, dsn: Secret, links: Links, time: DatabaseTime) -> None:
        self._dsn, self.links, self.time = dsn, links, time
        self._name: Name | None = None

    def transaction(self, opener: Identity) -> "PostgresTransaction":
        """Open a transaction as this identity, for its organisation."""
        return PostgresTransaction(self, opener)

    async def instance(self, fresh: str) -> str:
        """Return the installation's six characters: those given, where none were kept before, by any node."""
        if not re.fullmatch(r"[a-z2-7]{6}", fresh):
            raise ValueError("an instance is six characters of [a-z2-7]")
        link = await self.links.take()
        try:
            await link.at.execute(
                "INSERT INTO installation (one, instance) VALUES (1, $1) ON CONFLICT DO NOTHING", fresh
            )
            kept: str = await link.at.fetchval("SELECT instance FROM installation")
        except BaseException as error:
            self.links.drop(link)
            if isinstance(error, FOREIGN):
                raise StoreUnavailable(f"the instance cannot be read: {type(error).__name__}") from error
            raise
        self.links.give(link)
        return kept

    async def hold(self, node: str) -> None:
        """Hold a node's name for as long as the store is open. Raises Unavailable where another process holds it."""
        name = Name(self._dsn, node)
        await name.take()
        self._name = name

    def require_name(self) -> None:
        """Raises StoreUnavailable where this process held a node's name, and another has it or may have it."""
        if self._name is not None:
            self._name.require()

    async def close(self) -> None:
        """Wait for the transactions that run, and close. Whoever comes later gets StoreUnavailable."""
        await self.links.close()
        await self.time.close()
        if self._name is not None:  # last: who has the name next finds nothing of ours under way
            await self._name.close()


class PostgresTransaction:
    """One look at the store, from entering its block to leaving it; leaving waits for COMMIT."""

    def __init__(self, store: PostgresStore, opener: Identity) -> None:
        self.opener, self.org = opener, opener.org
        self.now: datetime
        self.strayed = False
        self._store = store
        self._link: Link | None = None  # only while the block runs
        self._begun = self._lost = False  # BEGIN was sent; the connection is not to be used again
        self._failed: TaskboundError | None = None  # what ended it before its end
        self._sentinel: asyncio.Handle | None = None
        self._seen: dict[tuple[str, str], int] = {}  # by table and id: the version of the row that was read
        self._people: dict[str, Registration] = {}  # that were read, by SPIFFE ID

    async def __aenter__(self) -> "PostgresTransaction":
        self._store.require_name()
        link = await self._store.links.take()
        try:
            self.now = await self._store.time.now()  # only now: what it decides on is read later than that
        except BaseException:
            self._store.links.give(link)
            raise
        self._link = link
        self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwatch()
        link, self._link = self._link, None
        assert link is not None
        links = self._store.links
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
                links.drop(link)
            else:
                links.give(link)

    async def _commit(self, link: Link) -> None:
        if not self._begun:
            return
        link.warned = False
        try:
            answer = await link.at.execute("COMMIT")
        except BaseException as error:
            self._lost = True
            if isinstance(error, FOREIGN):
                self._store.links.distrust()
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

    # --- straying ------------------------------------------------------------------------------------

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

    # --- statements ----------------------------------------------------------------------------------

    async def query(self, text: str, *values: Any) -> list[Any]:
        """Return the rows that a statement gives."""
        if self.strayed:
            raise RuntimeError(STRAYED)
        if self._link is None:
            raise RuntimeError("a transaction is used outside its block")
        if self._failed is not None:
            raise self._failed
        if any(isinstance(value, str) and "\0" in value for value in values):
            raise InvalidRequest(UNFIT)
        self._unwatch()
        try:
            return await self._link.at.fetch(text, *values)
        except FOREIGN as error:
            raise self._translated(error) from error
        finally:
            if not self.strayed:
                self._watch()

    async def write(self, text: str, *values: Any) -> list[Any]:
        """Run a statement that locks or writes, and return the rows that it gives. Leaving the block commits it."""
        if not self._begun:
            self._store.require_name()  # again: its process may have been stopped since the block was entered
            self._begun = True  # from when it is sent
            await self.query("BEGIN ISOLATION LEVEL READ COMMITTED")
        return await self.query(text, *values)

    def _translated(self, error: Exception) -> TaskboundError:
        """Return what a foreign error means to us. The transaction is over, unless the statement was never sent."""
        if isinstance(error, asyncpg.DataError) and getattr(error, "severity", None) is None:
            return InvalidRequest(UNFIT)
        if not isinstance(error, asyncpg.PostgresError):  # the connection is gone, or what it does is unknown
            self._lost = True
            self._store.links.distrust()
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

    # --- reading -------------------------------------------------------------------------------------

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        if not lock:
            rows = await self.query(sql.GET[noun], self.org, id)
        elif noun is Task:
            rows = await self.write(sql.LOCK_TREE, self.org, id)
        else:
            rows = await self.write(sql.LOCK[noun], self.org, id)
        for thing in self._things(noun, rows):
            if thing.id == id:
                return thing
        raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")

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
        if due is not None and "due" not in TABLES[noun].columns:
            raise TypeError(f"{noun_of(noun)} is never due")
        if newest and "at" not in TABLES[noun].columns:
            raise TypeError(f"{noun_of(noun)} happens at no moment")
        values: list[Any] = [self.org]
        text = f"{sql.READS[noun]} WHERE org = $1"
        for name, value in where.items():
            if value is None:
                text += f" AND {quoted(name)} IS NULL"
            else:
                values.append(value)
                text += f" AND {quoted(name)} = ${len(values)}"
        if due is not None:
            values.append(from_moment(due))
            text += f" AND due <= ${len(values)}"
        if after is not None:
            values.append(after)
            text += f" AND id > ${len(values)}"
        text += " ORDER BY at DESC, id" if newest else " ORDER BY id"
        if limit is not None:
            values.append(limit)
            text += f" LIMIT ${len(values)}"
        return self._things(noun, await self.query(text, *values))

    async def count(self, noun: type[Thing], state: str) -> int:
        sql = f"SELECT count(*) FROM {TABLES[noun].name} WHERE org = $1 AND state = $2"
        return int((await self.query(sql, self.org, state))[0][0])

    def _things(self, noun: type[T], rows: Sequence[Any]) -> list[T]:
        table: Table[T] = TABLES[noun]
        things = []
        for version, *row in rows:
            thing = table.thing(tuple(row))
            if noun is not Call:  # is never written again
                self._seen[table.name, thing.id] = version
            if isinstance(thing, Registration):
                self._people[thing.spiffe_id] = thing
            things.append(thing)
        return things

    async def left(self, task: str) -> dict[str, int]:
        rows = await self.query('SELECT quantity, "left" FROM budgets WHERE org = $1 AND task = $2', self.org, task)
        return dict(rows)

    async def labels(self, root: str) -> frozenset[str]:
        rows = await self.query("SELECT label FROM labels WHERE org = $1 AND root = $2", self.org, root)
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
        if kind not in ENDS and self._store.time.is_doubtful:
            raise StoreUnavailable(
                "the clocks of the node and of the database differ: nothing new is permitted", hint="set both by NTP"
            )
        if thing is not None and thing.org != self.org:
            raise Conflict(f"{noun_of(thing)} {thing.id} belongs to another organisation")
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
        said = sql.Statement()
        if thing is not None:
            await self._keep(said, event, thing)
        if isinstance(thing, Task) and event.kind is Kind.TASK_OPENED:
            await self._hold_people(thing, event.by)
        try:
            text, salt = body(event), os.urandom(32)
        except UnicodeEncodeError as error:
            raise InvalidRequest(UNFIT) from error
        said.state(event, from_moment(event.at), hashlib.sha256(salt + text).digest(), salt, text)
        if isinstance(thing, Call) and thing.root and thing.labels:
            said.label(self.org, thing.root, thing.labels)
        await self._move(said, event)
        rows = await self.write(said.sql, *said.values)
        if thing is not None:
            if not rows:
                raise await self._refusal(event, thing)
            self._seen[TABLES[type(thing)].name, thing.id] = rows[0]["version"]
        if isinstance(thing, Registration):
            self._people[thing.spiffe_id] = thing
        return event

    async def _keep(self, said: sql.Statement, event: Event, thing: Thing) -> None:
        """Say how the thing becomes its table's newest value."""
        sources = sql.sources_of(thing, event.kind)
        if not sources:
            raise await self._refusal(event, thing)
        seen = self._seen.get((TABLES[type(thing)].name, thing.id))
        said.keep(thing, sources, seen=seen, needs=_needs(event, sources))

    async def _hold_people(self, task: Task, by: str) -> None:
        """Hold the registrations that were read of whom a task is for, acts or opens it, and of their owners.

        Raises Conflict if one is not as it was read: to be attested changes none.
        """
        names = {by, task.actor, task.subject or task.actor}
        names |= {self._people[name].owner for name in names if name in self._people}
        read = {one.id: one for name in names if (one := self._people.get(name))}
        if read:
            hold = sql.HOLD if task.parent is None else sql.HOLD_IF_FREE
            rows = await self.write(hold, self.org, list(read))
            held = [TABLES[Registration].thing(tuple(row)) for _, *row in rows]  # not noted as read by the body
            if {one.id: one for one in held} != read:
                raise Conflict("somebody whom the task is for was changed meanwhile", hint="try again")

    async def _move(self, said: sql.Statement, event: Event) -> None:
        """Say how the budgets change, and lock what is taken from until then. Raises BudgetSpent."""
        thing = event.value
        if event.spent:
            await self._require_left(thing.task, event.spent)
            said.take(self.org, thing.task, event.spent)
        if event.shared:
            if thing.parent is not None:
                await self._require_left(thing.parent, event.shared)
                said.take(self.org, thing.parent, event.shared)
            said.give(self.org, thing.id, event.shared, afresh=True)
        if isinstance(thing, Task) and thing.state in BARRED:
            parent = thing.parent if event.kind is Kind.TASK_ENDED else None
            held = [thing.id] if parent is None else [parent, thing.id]
            rows = await self.write(sql.LOCK_BUDGETS, self.org, held, None)
            rest = {quantity: left for task, quantity, left in rows if task == thing.id and left}
            if parent is not None and rest:
                said.give(self.org, parent, rest, afresh=False)
                said.empty(self.org, thing.id)

    async def _require_left(self, task: str, amounts: Mapping[str, int]) -> None:
        """Lock the rows of these quantities until the end. Raises BudgetSpent where one has less."""
        rows = await self.write(sql.LOCK_BUDGETS, self.org, [task], list(amounts))
        left = {quantity: number for _, quantity, number in rows}
        for quantity, amount in amounts.items():
            if amount < 0 or quantity not in left or left[quantity] < amount:
                raise BudgetSpent(f"task {task} has {left.get(quantity, 0)} {quantity} left, {amount} were asked")

    async def _refusal(self, event: Event, thing: Thing) -> TaskboundError:
        """Return why the fact was not stated: what it would have changed is read again."""
        rows = await self.query(sql.STATE[type(thing)], self.org, thing.id)
        state = rows[0]["state"] if rows else ""
        following = next_state(thing, state, event.kind, thing.id)
        if following != thing.state:
            return Conflict(f"{noun_of(thing)} {thing.id} would become {following} by {event.kind}, not {thing.state}")
        task, is_open = _needs(event, sql.sources_of(thing, event.kind))
        if task is not None:
            about = await self.query(sql.STATE[Task], self.org, task)
            if not about:
                return Conflict("what is not stored cannot be referred to")
            if is_open and about[0]["state"] != "open":
                message = f"task {task} is {about[0]['state']}"
                return BudgetSpent(f"{message}: nothing of it is spent any more") if _pays(event) else Conflict(message)
        return Conflict(f"{noun_of(thing)} {thing.id} was changed meanwhile", hint="try again")

    async def once(self, purpose: str, value: str, until: datetime) -> None:
        try:
            digest = hashlib.sha256(value.encode()).digest()
        except UnicodeEncodeError as error:
            raise InvalidRequest(UNFIT) from error
        # Each takes away up to two that nobody can use any more, so the table stays as small as what is in use.
        first = await self.write(
            "WITH gone AS (DELETE FROM once WHERE (org, purpose, value) IN"
            " (SELECT org, purpose, value FROM once WHERE org = $1 AND until < $2 LIMIT 2 FOR UPDATE SKIP LOCKED))"
            " INSERT INTO once (org, purpose, value, until) VALUES ($1, $3, $4, $5)"
            " ON CONFLICT DO NOTHING RETURNING true",
            self.org, from_moment(self.now - REMEMBERED), purpose, digest, from_moment(until),
        )  # fmt: skip
        if not first:
            raise Replayed(f"this {purpose} was used before")


def _pays(event: Event) -> str | None:
    """Return the task that the fact takes from."""
    if event.shared:
        parent: str | None = event.value.parent
        return parent
    task: str | None = event.value.task if event.spent else None
    return task


def _needs(event: Event, sources: set[str]) -> tuple[str | None, bool]:
    """Return the task that is to exist for the fact, and whether it is to be open."""
    thing = event.value
    if payer := _pays(event):
        return payer, True
    if "" not in sources:
        return None, False
    task = thing.parent if isinstance(thing, Task) else getattr(thing, "task", None)
    return task, event.kind is Kind.CALL_PERMITTED
