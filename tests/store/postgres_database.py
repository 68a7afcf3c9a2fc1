"""A database of its own for each module that tests the PostgreSQL store, emptied after each test.

The store's role is what its operator makes by the statements in the store's documentation: it owns
the database and is no superuser. Time is the test's: the node's clock, and what the store takes for
the database's, are the fixture `clock`; the database's own clock has tests of its own.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from taskbound.core.secret import Secret
from taskbound.store.postgres import PostgresStore, open_postgres
from tests.postgres import server as postgres
from tests.postgres.server import Server

ROLE, PASSWORD = "taskbound", "password-of-the-store"
MAKE_ROLE = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
        CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}';
    END IF;
END $$;
"""
TABLES = (
    "bodies", "events", "identities", "tasks", "leases", "calls", "findings", "budgets", "labels", "once", "tiles",
    "checkpoints", "installation",
)  # fmt: skip
# As replication would, so that no trigger refuses it; only a superuser may.
EMPTY = f"""
SET session_replication_role = replica;
{"".join(f"DELETE FROM taskbound.{table};" for table in TABLES)}
UPDATE taskbound.clock SET latest = 0;
"""


@dataclass(frozen=True)
class Database:
    server: Server
    name: str

    @property
    def dsn(self) -> Secret:
        return Secret(self.server.url(ROLE, PASSWORD, self.name))

    async def open(self, clock: Callable[[], datetime], dsn: Secret | None = None, **settings: Any) -> PostgresStore:
        async def read(_: object) -> datetime:
            return clock()

        return await open_postgres(self.dsn if dsn is None else dsn, clock, read_clock=read, **settings)

    async def superuser(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await self.server.superuser(self.name)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection of an operator, who may look at everything and change it too."""
        at = await self.superuser()
        try:
            await at.execute("SET search_path = taskbound")
            yield at
        finally:
            await at.close()

    async def empty(self) -> None:
        at = await self.superuser()
        try:
            if await at.fetchval("SELECT to_regclass('taskbound.version')"):
                await at.execute(EMPTY)
        finally:
            await at.close()


def new_database(server: Server) -> Database:
    database = Database(server, f"store_{uuid4().hex[:12]}")
    assert postgres._sql(server, "postgres", MAKE_ROLE) == 0
    assert postgres._sql(server, "postgres", f"CREATE DATABASE {database.name} OWNER {ROLE}") == 0
    return database


def drop_database(database: Database) -> None:
    assert postgres._sql(database.server, "postgres", f"DROP DATABASE {database.name} WITH (FORCE)") == 0


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[Database]:
    made = new_database(server)
    yield made
    drop_database(made)


@pytest.fixture
async def store(database: Database, clock: Callable[[], datetime]) -> AsyncIterator[PostgresStore]:
    store = await database.open(clock)
    yield store
    await store.close()
    await database.empty()


@pytest.fixture
def overlaps() -> bool:
    return True
