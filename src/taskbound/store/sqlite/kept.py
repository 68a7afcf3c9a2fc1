"""Kept: what was read of the database and is still what it says, so that a query is not made again.

Rows alone, and never a decision (D17): each call is decided anew, on what its own transaction finds here or there.
It is what a query would give, because a body runs inside BEGIN IMMEDIATE, where no other connection can write:
`PRAGMA data_version`, asked there, is another number once another connection has committed anything, an operator's
`sqlite3` too; and on this connection `record` alone writes such rows, and says so here. From then until its group
is over nothing is kept, so that a rollback finds nothing to take back.
"""

import sqlite3
from typing import Any

MOST = 4_096  # things and labels; beyond it all begins anew


class Kept:
    """What was read, by what it was asked with."""

    def __init__(self) -> None:
        self._values: dict[tuple[Any, ...], Any] = {}
        self._version = -1
        self._is_changing = False  # something that may be kept was written, and is not committed yet
        self.get = self._values.get

    def begin(self, db: sqlite3.Connection) -> None:
        """State that a group begins. Behind its BEGIN IMMEDIATE, and before any body."""
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version != self._version or self._is_changing:
            self._values.clear()
        self._version, self._is_changing = version, False

    def keep(self, key: tuple[Any, ...], value: Any) -> None:
        """Keep what a query gave, unless this group may still take it back."""
        if self._is_changing:
            return
        if len(self._values) >= MOST:
            self._values.clear()
        self._values[key] = value

    def forget(self) -> None:
        """State that something is written which a query may have given."""
        self._is_changing = True
        self._values.clear()
