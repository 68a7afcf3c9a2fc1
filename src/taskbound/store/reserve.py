"""The reserve: space on the disk that is kept for ending things (INTERFACES 2).

A file of allocated blocks lies beside the database. When the disk is full it is freed, so that
what lowers trust can still be recorded (`ENDS`); everything else is refused until there is room for
the reserve again. So on a full disk nothing is permitted and everything can be ended.
"""

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from taskbound.core.errors import StoreUnavailable
from taskbound.core.event import Kind

RESERVE = 16 << 20  # some ten thousand ends: more than the leases and tasks of a machine
NO_ROOM = 1 << 16  # with less than this a failed write of any kind means a full disk
NOTHING_NEW = "the disk is full: nothing new is permitted"

ENDS = frozenset({
    Kind.TASK_SUSPENDED, Kind.TASK_ENDED,
    Kind.LEASE_FELL_DUE, Kind.LEASE_CUT, Kind.LEASE_REVOKED, Kind.LEASE_OVERDUE,
    Kind.IDENTITY_SUSPENDED, Kind.IDENTITY_RETIRED, Kind.IDENTITY_OFFBOARDED,
    Kind.LOGIN_FELL_DUE, Kind.LOGIN_ENDED, Kind.LOGIN_OVERDUE,
    Kind.CALL_DENIED,
})  # fmt: skip


class Reserve:
    """The file, and whether it is held. With a size of 0 there is none, and a full disk stops everything."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self.held = False

    def require_room(self, kind: Kind) -> None:
        """Raises StoreUnavailable when the disk is full and the fact would be more than an end."""
        if self.held:
            return
        try:
            room = self._room()
            # A quarter beyond the reserve: on a disk that fills again at once it would only flap.
            if room >= self._size + self._size // 4 and self.take():
                return
        except OSError as error:
            raise StoreUnavailable(f"the disk failed: {error.strerror}") from error
        if kind not in ENDS:
            raise StoreUnavailable(NOTHING_NEW, hint="free space on it")
        # Whoever is denied chooses how often: denials may use half, the rest is for ending things.
        if kind is Kind.CALL_DENIED and room < self._size // 2:
            raise StoreUnavailable("the disk is full: no more denials are recorded", hint="free space on it")

    def is_needed_for(self, error: BaseException) -> bool:
        """Whether an error says that the disk is full. Not every call that SQLite makes tells it by that code."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return True
        return code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and self._room() < NO_ROOM

    def take(self) -> bool:
        """Allocate what is missing of it; return whether it is held."""
        if self._size:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(file, 0, self._size)  # really allocated: a sparse file would reserve nothing
                os.ftruncate(file, self._size)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self.free()  # as much as there was is better left for ending things
                return False
            finally:
                os.close(file)
        self.held = True
        return True

    def free(self) -> None:
        """Give the space back to the disk."""
        self.held = False
        with suppress(OSError):  # then there is less to end things with, and nothing better to do
            os.truncate(self._path, 0)

    def _room(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize
