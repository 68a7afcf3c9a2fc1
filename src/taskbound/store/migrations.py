"""Migrations: the numbered files under `schema/` bring a database to the version of this program.

Each file is one transaction together with the number it leaves in the database, so a process that
dies in the middle leaves the version before, and the next start does it again (T2.8). A database
of a newer program is refused: what its columns mean is not known here. On PostgreSQL several nodes
may start at once: one migrates, under an advisory lock, and the others find it done.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

from taskbound.core.errors import StoreUnavailable

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

ONE_AT_A_TIME = 0x7461736B626F756E  # the advisory lock's number: "taskboun"


def shipped(engine: str = "sqlite") -> dict[int, str]:
    """Return the migrations for an engine by number, in order."""
    found = files("taskbound.store").joinpath("schema", engine).iterdir()
    numbered = {int(file.name[:4]): file for file in found if file.name.endswith(".sql")}
    return {number: numbered[number].read_text("utf-8") for number in sorted(numbered)}


def migrate(db: sqlite3.Connection, migrations: Mapping[int, str]) -> None:
    """Apply what the database lacks. Raises StoreUnavailable for a newer database, sqlite3.Error."""
    newest = max(migrations)
    for number, text in migrations.items():
        db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()  # read again: another process may have been first
            _require_known(version, newest)
            if version < number:
                for statement in _statements(text):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


async def migrate_postgres(at: "Connection", migrations: Mapping[int, str]) -> None:
    """Apply what the database lacks. Raises StoreUnavailable for a newer database, asyncpg.PostgresError."""
    newest = max(migrations)
    if await _version(at) == newest:
        return
    for number, text in migrations.items():
        async with at.transaction():
            await at.execute("SELECT pg_advisory_xact_lock($1)", ONE_AT_A_TIME)
            version = await _version(at)  # read again: another node may have been first
            _require_known(version, newest)
            if version < number:
                await at.execute(text)
                await at.execute("UPDATE version SET number = $1", number)


async def require_current(at: "Connection", migrations: Mapping[int, str]) -> None:
    """Change nothing. Raises StoreUnavailable for a database that is not at the version of this program."""
    newest = max(migrations)
    version = await _version(at)
    _require_known(version, newest)
    if version < newest:
        raise StoreUnavailable(
            f"the database is at version {version}, this program needs {newest}", hint="a node that starts migrates it"
        )


async def _version(at: "Connection") -> int:
    # Not to_regclass: it may remember that there was none, from before another node's commit.
    made = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'taskbound' AND tablename = 'version')"
    if not await at.fetchval(made):
        return 0
    version: int = await at.fetchval("SELECT number FROM taskbound.version")
    return version


def _require_known(version: int, newest: int) -> None:
    if version > newest:
        raise StoreUnavailable(
            f"the database is at version {version}, this program knows {newest}",
            hint="start the newer program, or restore a backup from before it",
        )


def _statements(text: str) -> Iterator[str]:
    # Not executescript: it commits first, and the version would no longer be part of the transaction.
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
