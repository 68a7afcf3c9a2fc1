"""A lane: a few connections of one purpose, so that one kind of work never waits for another (D25).

A connection on which anything went wrong is not used again, and those that waited beside it are
dropped too: after a restart of the target the next call starts anew.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


class Lane:
    """At most `most` connections at a time, made when needed and kept."""

    def __init__(self, connect: Callable[[], Awaitable["Connection"]], most: int) -> None:
        self._connect, self._places = connect, asyncio.Semaphore(most)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        """Give a connection that nobody else uses meanwhile."""
        async with self._places:
            connection = self._kept() or await self._connect()
            try:
                yield connection
            except BaseException:  # also when cancelled: what it was doing is unknown
                connection.terminate()
                self.drop()
                raise
            self._idle.append(connection)

    def _kept(self) -> "Connection | None":
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
        return None

    def drop(self) -> None:
        """Close what nobody uses, without a word to the target."""
        while self._idle:
            self._idle.pop().terminate()

    async def close(self) -> None:
        """Close what nobody uses."""
        while self._idle:
            with suppress(Exception):  # it is closed either way
                await self._idle.pop().close(timeout=1)
