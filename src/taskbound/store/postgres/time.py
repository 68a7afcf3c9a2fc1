"""What time it is, when several nodes share one database (D12).

Deadlines are compared with the database's clock. So that no transaction pays a round trip for it,
a node looks at that clock once a second while it is busy, and between two looks lets its own clock
go on from there; where that was set meanwhile, it looks again first. A look counts from its *start*:
the node is then ahead of the database by at most the time that the look took, and never behind it: a
deadline may come that much early, never late.

Each look leaves the latest moment in the database, for a database whose own clock runs back, or
that is opened again somewhere else. So time never runs back on one node, and between nodes by no
more than the longest look, or a second after a database's clock was set back.

Where the two clocks differ by more than LIMIT, one of them is wrong, and nobody can say which:
nothing new is permitted, and everything can be ended (D12).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from taskbound.core.errors import StoreUnavailable
from taskbound.store.postgres.pool import FOREIGN, Links
from taskbound.store.rows import from_moment, to_moment

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

EACH = 1.0  # seconds from one look to the next
FRESH = 2.0  # an older one is not relied on: whoever comes waits for a new one (D13)
WITHIN = 1.0  # a look that takes longer says too little
JUMP = 1.0  # seconds by which the node's clock and its running time differ since the last look: the clock was set
LIMIT = timedelta(seconds=2)


async def database_clock(at: "Connection") -> datetime:
    moment: datetime = await at.fetchval("SELECT clock_timestamp()")
    return moment


class DatabaseTime:
    """The database's clock, as one node knows it. Looks by a connection of its own: transactions are not in its way."""

    def __init__(
        self,
        links: Links,
        clock: Callable[[], datetime],
        read: Callable[["Connection"], Awaitable[datetime]],
    ) -> None:
        self._links, self._clock, self._read = links, clock, read
        self._looked = float("-inf")  # when, monotonic
        self._here = datetime.min.replace(tzinfo=UTC)  # when, by the node's clock
        self._offset = timedelta()
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._looking: asyncio.Task[None] | None = None

    async def now(self) -> datetime:
        """Return the time. Raises StoreUnavailable when the database cannot be asked for it."""
        if not self._holds():
            await self._look()
        elif time.monotonic() - self._looked > EACH and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_again())
        self._latest = max(self._latest, self._clock() + self._offset)
        return self._latest

    @property
    def is_doubtful(self) -> bool:
        """Whether the node's clock and the database's differ too much for anything new."""
        return abs(self._offset) > LIMIT

    def _holds(self) -> bool:
        """Whether the last look is fresh, and the node's clock was not set since (or its machine suspended)."""
        age = time.monotonic() - self._looked
        return age <= FRESH and abs((self._clock() - self._here).total_seconds() - age) <= JUMP

    async def _look(self) -> None:
        """Wait for a look that begins now, or for the one that another began."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._measure())
        looking = self._looking
        await asyncio.shield(looking)
        if (
            not self._holds()
        ):  # it was one that nobody waited for, and it failed; or that began before the clock was set
            await self._measure()

    async def _look_again(self) -> None:
        with suppress(StoreUnavailable):  # whoever finds the last look too old will say so
            await self._measure()

    async def _measure(self) -> None:
        link = await self._links.take()
        try:
            async with asyncio.timeout(WITHIN):
                start, here = time.monotonic(), self._clock()
                there = from_moment(await self._read(link.at))
                # The last event too: its node may have been ahead of its last look.
                latest = await link.at.fetchval(
                    "UPDATE clock SET latest = greatest(latest, $1,"
                    " (SELECT at FROM events WHERE $2 ORDER BY id DESC LIMIT 1)) RETURNING latest",
                    there, self._looked == float("-inf"),
                )  # fmt: skip
        except BaseException as error:
            self._links.drop(link)
            if isinstance(error, FOREIGN):
                raise StoreUnavailable(f"the database's clock cannot be read: {type(error).__name__}") from error
            raise
        self._links.give(link)
        self._looked, self._here, self._offset = start, here, to_moment(latest) - here

    async def close(self) -> None:
        if self._looking is not None:
            with suppress(StoreUnavailable):
                await self._looking
        await self._links.close()
