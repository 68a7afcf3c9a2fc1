"""How full the disk of the state directory is, and who is told so (INTERFACES 2).

On a full disk nothing is permitted, so it is said before: from FULL on `up` warns in its log, once, and `doctor` and
the metric `disk_used_ratio` show it at any time.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

FULL = 0.8  # used of a disk: the alarm of INTERFACES 2
LOOK = 60.0  # seconds between two looks

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Room:
    """What a disk has for us, in bytes, and what of it is left: what is kept for root is neither, as with df(1)."""

    free: int
    total: int

    @property
    def used(self) -> float:
        """Return the share that is not left to us, from 0 to 1."""
        return 1 - self.free / self.total if self.total else 1.0


def room(state: Path) -> Room:
    """Raises OSError."""
    about = os.statvfs(state)
    used = about.f_blocks - about.f_bfree
    return Room(about.f_bavail * about.f_frsize, (used + about.f_bavail) * about.f_frsize)


async def watch(state: Path, every: float = LOOK) -> None:
    """Look at once and then again and again; say once that the disk became full, and once that it has room again."""
    full = False
    while True:
        full = _look(state, full)
        await asyncio.sleep(every)


def _look(state: Path, full: bool) -> bool:
    """Tell what has changed since it was full or not; return whether it is."""
    try:
        now = room(state)
    except OSError as error:  # nothing that ends waits for this
        log.warning("disk_not_read", error=str(error.strerror))
        return full
    about = {"used": f"{now.used:.0%}", "free_mib": now.free >> 20}
    if now.used >= FULL and not full:
        hint = "make room before it is full: then nothing new is permitted"
        log.warning("disk_nearly_full", state=str(state), **about, hint=hint)
    elif now.used < FULL and full:
        log.info("disk_has_room", **about)
    return now.used >= FULL
