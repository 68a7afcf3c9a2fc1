"""The name of a node, held in the database for as long as its process runs: no two nodes have one name.

A state directory that is copied with its file `node` makes a second process of the same name, and each would
end what agents hold at the other. So a process holds an advisory lock for its name, of a connection of its own;
who comes second is refused before it writes anything. When the connection is lost, or nothing is heard of it for
SURE seconds, nothing is read or written here until the lock is held again: another may have it by then.

Where a machine vanishes without a word, the server learns it within GONE seconds, and the name is free.
"""

import asyncio
import hashlib
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from taskbound.core.errors import StoreUnavailable, Unavailable
from taskbound.core.secret import Secret
from taskbound.store.postgres.pool import FOREIGN, connect

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

AGAIN = 0.2  # seconds between two tries to take it
TRIES = 15  # at the start: the server may not have learned yet that the process before us is gone
LOOK = 2.0  # seconds between two looks whether the connection is still there
# Seconds, of the server, without a word from here. It asks after 5, and then every 3. The other bound is for an answer
# on its way, beside which it would not ask, and TCP alone would try for a quarter of an hour.
GONE = 14
ALIVE = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;"
    f" SET tcp_user_timeout = '{GONE}s'"
)
# Seconds that a look counts, from its start. Less than GONE: where the network falls silent, this node has stopped
# before another can have its name. More than a look without an answer, and a connection in its place: LOOK,
# ANSWER_WITHIN and CONNECT_WITHIN are 9.
SURE = 10.0


def _clock() -> float:
    """Return seconds, also those for which the machine slept: the server does not wait for it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Name:
    """The name of one node, as this process holds it."""

    def __init__(self, dsn: Secret, name: str) -> None:
        self._dsn, self._name = dsn, name
        digest = hashlib.sha256(f"taskbound node {name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._at: Connection | None = None
        self._watch: asyncio.Task[None] | None = None
        self._looked = float("-inf")  # when the last look began that found it ours
        self._lost = asyncio.Event()  # the connection, so that it is made again at once
        self._is_taken = False  # by another process, when we looked last

    async def take(self) -> None:
        """Hold the name until `close`. Raises Unavailable where another process holds it, and StoreUnavailable."""
        for _ in range(TRIES):
            await self._try()
            if not self._is_taken:
                break
            await asyncio.sleep(AGAIN)
        else:
            raise Unavailable(
                f"another process serves this database as node {self._name}",
                code="already_running",
                hint="stop it first; or remove the file `node` where the state directory was copied",
            )
        self._watch = asyncio.create_task(self._watching())

    def require(self) -> None:
        """Raises StoreUnavailable where another process has the name that this one held, or may have it."""
        if self._is_taken:
            raise StoreUnavailable("another process serves as this node", hint="stop one of the two")
        if self._at is None or self._at.is_closed() or _clock() - self._looked > SURE:
            raise StoreUnavailable("whether this node still has its name is not known")

    async def close(self) -> None:
        """Let go of it."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        self._drop()

    async def _watching(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), LOOK)
                await asyncio.sleep(AGAIN)
            self._lost.clear()
            with suppress(StoreUnavailable, *FOREIGN):  # who asks the store is told so
                if not await self._is_held():
                    await self._try()

    async def _is_held(self) -> bool:
        """Return whether the connection is there. One that is not has lost the lock, or will, and is dropped."""
        if self._at is None:
            return False
        start = _clock()
        try:
            await self._at.fetchval("SELECT 1")
        except FOREIGN:
            self._drop()
            return False
        self._looked = start
        return True

    async def _try(self) -> None:
        at = await connect(self._dsn)
        try:
            await at.execute(ALIVE)
            at.add_termination_listener(lambda _: self._lost.set())
            start = _clock()
            held = bool(await at.fetchval("SELECT pg_try_advisory_lock($1)", self._key))
        except BaseException as error:
            at.terminate()
            if isinstance(error, FOREIGN):
                raise StoreUnavailable(f"the node's name cannot be held: {type(error).__name__}") from error
            raise
        self._is_taken = not held
        if held:
            self._at, self._looked = at, start
        else:
            at.terminate()

    def _drop(self) -> None:
        at, self._at = self._at, None
        if at is not None:
            at.terminate()
