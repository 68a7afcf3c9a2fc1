"""A real PostgreSQL for the benchmarks, as durable as one in service: the demo's server, with fsync and no log of
statements.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from demo import database

AS_IN_SERVICE = {"fsync": "on", "log_statement": "none"}
ROLE, PASSWORD = "bench_store", "of-a-server-that-lives-for-a-minute"


@asynccontextmanager
async def running() -> AsyncIterator[database.Database]:
    """Give a running server with the database `office`, and an empty one that `store_url` leads to."""
    with patch.dict(database.SETTINGS, AS_IN_SERVICE):
        server = await database.start()
    try:
        judge = await server.judge()
        await judge.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        await judge.execute(f"CREATE DATABASE store OWNER {ROLE}")
        await judge.close()
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def store_url(server: database.Database) -> str:
    """Return where a store may keep everything."""
    return f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/store"
