"""Connections to the store's database: how each is set up, and a few of them that are used again.

What the store relies on is asked for by each connection itself, where no setting of the role or of
the database can change it, and is then read back: a proxy between may have dropped it. Every wait
has a bound on both sides, so that a lock is never held for longer by a node that is gone, and
nobody waits for a database that hangs.

Off this machine the database has to show a certificate for its name, before it is shown anything: a
server in between could ask for the password, and say what the store says (SECURITY-DESIGN A11).

A connection on which anything went wrong is not used again, and those that waited beside it are
dropped too: after a restart of the database the next transaction starts anew.
"""

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from taskbound.core.errors import StoreUnavailable
from taskbound.core.secret import Secret
from taskbound.formats.libpq import is_verified

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_WITHIN = 3.0  # seconds, as everything here
ANSWER_WITHIN = 4.0  # of the client: longer than the server's own bounds, which leave the connection usable
WAIT_WITHIN = 3.0  # for a connection that others use
PATIENCE = 60.0  # of migrations: another node may be at them

SCHEMA = "taskbound, pg_temp"  # pg_catalog comes first by itself, a session's own temporary tables last
SETTINGS = {
    "application_name": "taskbound",
    "search_path": SCHEMA,
    "synchronous_commit": "on",  # D26: what is answered is on the disk
    "statement_timeout": "3000",
    "lock_timeout": "2500",
    # A node that stopped in the middle of a transaction holds its locks for no longer than this,
    # which is shorter than another waits for them.
    "idle_in_transaction_session_timeout": "2000",
    "client_connection_check_interval": "500",
    "jit": "off",
}  # fmt: skip
PATIENT = {"statement_timeout": "60000", "lock_timeout": "30000", "idle_in_transaction_session_timeout": "10000"}

# What may go wrong at the other end of a connection. ValueError, of a bad URL, is told apart: it quotes it.
FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
NO_URL = "the store's address is no URL of a PostgreSQL database"


class Link:
    """A connection, and whether the server warned on it: the answer to COMMIT says less than its warnings."""

    def __init__(self, at: "Connection") -> None:
        self.at, self.warned = at, False
        at.add_log_listener(self._heard)

    def _heard(self, _: Any, message: Any) -> None:
        self.warned = self.warned or message.severity_en == "WARNING"


async def connect(dsn: Secret, *, patient: bool = False) -> "Connection":
    """Return a connection to the primary that is set up. Raises StoreUnavailable."""
    try:
        if not is_verified(dsn.reveal(), os.environ):
            raise StoreUnavailable(
                "the database is not on this machine, and who it is would not be verified",
                hint="add to the store's address: ?sslmode=verify-full&sslrootcert=FILE",
            )
        at = await asyncpg.connect(
            dsn.reveal(),
            timeout=CONNECT_WITHIN,
            command_timeout=PATIENCE if patient else ANSWER_WITHIN,
            server_settings=SETTINGS | (PATIENT if patient else {}),
            # Never a replica, which is behind (D13), nor what is made read-only: nothing could be recorded.
            target_session_attrs=SessionAttribute.read_write,
            max_cached_statement_lifetime=0,  # what the store says is a small fixed set of statements
        )
    except FOREIGN as error:
        raise StoreUnavailable(f"the database cannot be reached: {type(error).__name__}") from None
    except ValueError:
        raise StoreUnavailable(NO_URL, hint="postgresql://USER:PASSWORD@HOST/DATABASE") from None
    try:
        kept = await at.fetchrow("SELECT current_setting('synchronous_commit'), current_setting('search_path')")
    except FOREIGN as error:
        at.terminate()
        raise StoreUnavailable(f"the database cannot be asked: {type(error).__name__}") from None
    if kept is None or tuple(kept) != (SETTINGS["synchronous_commit"], SCHEMA):
        at.terminate()
        raise StoreUnavailable(
            "something between here and the database drops the settings of a connection",
            hint="connect to PostgreSQL itself, not by way of a pooler",
        )
    return at


class Links:
    """At most `most` connections at a time, made when needed and kept."""

    def __init__(self, dsn: Secret, most: int) -> None:
        self._dsn, self._most = dsn, most
        self._places = asyncio.Semaphore(most)
        self._idle: list[Link] = []
        self._closed = False

    async def take(self) -> Link:
        """Return a connection that nobody else uses until it is given back. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(WAIT_WITHIN):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"all {self._most} connections to the database are in use") from None
        try:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            while self._idle:
                if not (link := self._idle.pop()).at.is_closed():
                    return link
            return Link(await connect(self._dsn))
        except BaseException:
            self._places.release()
            raise

    def give(self, link: Link) -> None:
        """Give back a connection on which nothing is open."""
        self._places.release()
        if self._closed:
            link.at.terminate()
        else:
            self._idle.append(link)

    def drop(self, link: Link) -> None:
        """Give back one that is not to be used again. The server undoes what it left open."""
        link.at.terminate()
        self._places.release()

    def distrust(self) -> None:
        """Close what nobody uses, without a word: it may lead to a server that is gone."""
        while self._idle:
            self._idle.pop().at.terminate()

    async def close(self) -> None:
        """Wait until what is in use was given back, and close everything. Who comes later gets StoreUnavailable."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * ANSWER_WITHIN):
                for _ in range(self._most):
                    await self._places.acquire()
        for _ in range(self._most):
            self._places.release()
        while self._idle:
            with suppress(*FOREIGN):  # it is closed either way
                await self._idle.pop().at.close(timeout=1)
