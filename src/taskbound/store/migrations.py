"""Migrations: the numbered files under `schema/` bring a database to the version of this program.

Each file is one transaction together with the number it leaves in the database, so a process that
dies in the middle leaves the version before, and the next start does it again (T2.8). A database
of a newer program is refused: what its columns mean is not known here.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files

from taskbound.core.errors import StoreUnavailable


def shipped() -> dict[int, str]:
    """Return the migrations for SQLite by number, in order."""
    found = files("taskbound.store").joinpath("schema", "sqlite").iterdir()
    numbered = {int(file.name[:4]): file for file in found if file.name.endswith(".sql")}
    return {number: numbered[number].read_text("utf-8") for number in sorted(numbered)}


def migrate(db: sqlite3.Connection, migrations: Mapping[int, str]) -> None:
    """Apply what the database lacks. Raises StoreUnavailable for a newer database, sqlite3.Error."""
    newest = max(migrations)
    for number, text in migrations.items():
        db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()  # read again: another process may have been first
            if version > newest:
                raise StoreUnavailable(
                    f"the database is at version {version}, this program knows {newest}",
                    hint="start the newer program, or restore a backup from before it",
                )
            if version < number:
                for statement in _statements(text):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


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
