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

The block of a transaction is told in block.py, what it reads in reading.py, what it records in facts.py.

What the database needs, and no superuser:

    CREATE ROLE taskbound LOGIN PASSWORD '...';
    CREATE DATABASE taskbound OWNER taskbound;
    REVOKE CONNECT ON DATABASE taskbound FROM PUBLIC;

Everything is in the schema `taskbound`, made at the first start. Connect to the server itself, not
by way of a pooler of transactions. Contract suite: tests/contracts/store.py.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg

from taskbound.core.errors import StoreUnavailable
from taskbound.core.identity import Identity
from taskbound.core.secret import Secret
from taskbound.store.migrations import migrate_postgres, require_current, shipped
from taskbound.store.postgres.facts import PostgresTransaction as PostgresTransaction
from taskbound.store.postgres.name import Name
from taskbound.store.postgres.pool import FOREIGN, Links, connect
from taskbound.store.postgres.time import DatabaseTime, database_clock

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

OLDEST = 160000  # server_version_num: 16


async def open_postgres(
    dsn: Secret,
    clock: Callable[[], datetime],
    *,
    size: int = 16,
    read_clock: Callable[["Connection"], Awaitable[datetime]] = database_clock,
    migrating: bool = True,
) -> "PostgresStore":
    """Open the database, and bring its schema up to date. `clock` is the node's own; `size` connections at most.

    Without `migrating` nothing is changed, and a database of another version refused.

    Raises StoreUnavailable: no such database, a replica, one of a newer program, a server older than 16.
    """
    at = await connect(dsn, patient=True)
    try:
        version = int(await at.fetchval("SHOW server_version_num"))
        if version < OLDEST:
            raise StoreUnavailable(
                f"the server is PostgreSQL {version // 10000}, at least 16 is needed", hint="update PostgreSQL"
            )
        await (migrate_postgres if migrating else require_current)(at, shipped("postgres"))
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


@asynccontextmanager
async def snapshot(dsn: Secret) -> AsyncIterator[Callable[..., Awaitable[list[tuple[Any, ...]]]]]:
    """Give what reads the database as it was at one moment, whatever nodes write meanwhile; it can write nothing.

    It takes a statement, with `?` for each of its values, and these. Raises StoreUnavailable.
    """
    at = await connect(dsn, patient=True)

    async def select(text: str, *values: Any) -> list[tuple[Any, ...]]:
        numbers = count(1)
        return [tuple(row) for row in await at.fetch(re.sub(r"\?", lambda _: f"${next(numbers)}", text), *values)]

    try:
        async with at.transaction(isolation="repeatable_read", readonly=True):
            yield select
    except FOREIGN as error:
        raise StoreUnavailable(f"the database cannot be read: {type(error).__name__}") from error
    finally:
        at.terminate()


class PostgresStore:
    """Everything in one database, which other nodes use too."""

    def __init__(self, dsn: Secret, links: Links, time: DatabaseTime) -> None:
        self._dsn, self.links, self.time = dsn, links, time
        self._name: Name | None = None

    def transaction(self, opener: Identity) -> PostgresTransaction:
        """Open a transaction as this identity, for its organisation."""
        return PostgresTransaction(self.links, self.time, self._name, opener)

    async def kept_instance(self) -> str | None:
        """Return the installation's six characters; None where no node was ever started."""
        async with snapshot(self._dsn) as select:
            kept = await select("SELECT instance FROM installation")
        return kept[0][0] if kept else None

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

    async def close(self) -> None:
        """Wait for the transactions that run, and close. Whoever comes later gets StoreUnavailable."""
        await self.links.close()
        await self.time.close()
        if self._name is not None:  # last: who has the name next finds nothing of ours under way
            await self._name.close()
