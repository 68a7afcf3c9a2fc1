"""The SQLite store: embedded and durable (D26, INTERFACES 12).

One connection, one process at a time. Transactions share commits (commits.py); their bodies run one
after the other, so nothing here needs a lock, and each write is conditional by what it reads in the
same transaction. The block of a transaction is told in block.py, what it reads in reading.py, what it
records in facts.py, how things become rows in rows.py. Contract suite: tests/contracts/store.py.
"""

import os
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from taskbound.core.errors import StoreUnavailable
from taskbound.core.identity import Identity
from taskbound.store.migrations import migrate, shipped
from taskbound.store.reserve import RESERVE, Reserve
from taskbound.store.sqlite.commits import Commits
from taskbound.store.sqlite.facts import SqliteTransaction as SqliteTransaction

STRICT_TABLES = (3, 37)  # the SQLite version that types columns


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
        self.commits = Commits(db, clock, reserve)

    def transaction(self, opener: Identity) -> SqliteTransaction:
        """Open a transaction as this identity, for its organisation."""
        return SqliteTransaction(self.commits, opener)

    async def close(self) -> None:
        """Finish the commit that runs, and close the database. Whoever comes later gets StoreUnavailable."""
        await self.commits.close()
