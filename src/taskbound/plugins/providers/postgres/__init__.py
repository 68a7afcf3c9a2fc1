"""The PostgreSQL provider: a lease is a role that may log in until it expires (D1–D12, INTERFACES 11).

Its login is a role that is not a superuser: with CREATEROLE it makes and alters only roles of its
own. A lease gets membership of stable roles and nothing else, so taking it back is the same for
every lease. Cutting forbids logins and ends sessions and waits for no lock, not even one that the
lease holds on its own role. Cleaning gives ordinary data to the owner role and all that could act
by itself to the quarantine role, in each database; then the role is gone.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

from taskbound.core.errors import StillLetIn, TargetUnavailable
from taskbound.core.lease import CREATE_WINDOW, Lease
from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres import sql
from taskbound.plugins.providers.postgres.held import Held
from taskbound.plugins.providers.postgres.lane import Lane

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

CONNECT_WITHIN = 5.0  # seconds, as everything measured here
CUT_WITHIN = CONNECT_WITHIN + 5.0
CLEAN_WITHIN = 60.0
AT_ONCE = 500  # relations given away in one transaction: a server has room for some thousands of locks
LOOK = 0.01  # between two looks at what is to be gone
AGAIN = 0.05  # a login that was let in before NOLOGIN was committed shows among the sessions by then (D7)
NO_URL = "the admin login of the target is no URL of a PostgreSQL database"
FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
CONTESTED = (asyncpg.LockNotAvailableError, asyncpg.InternalServerError)  # the second: "tuple concurrently updated"


class PostgresProvider:
    """Makes and takes back roles at one PostgreSQL server, version 16 or newer.

    `on_quarantine` is told what a lease made that was not given to the owner role, and that is
    committed only when it has returned: it may hear the same again, and misses nothing.
    """

    def __init__(
        self,
        admin: Secret,
        *,
        owner: str,
        quarantine: str,
        instance: str,
        node: str,
        epoch: str,
        new_password: Callable[[], Secret],
        on_quarantine: Callable[[Lease, tuple[str, ...]], Awaitable[None]] | None = None,
    ) -> None:
        self._mark = f"tb/{instance}/{node}/{epoch}"
        # PostgreSQL cuts an application_name at 63 bytes: two epochs would look alike.
        if not re.fullmatch(r"tb(/[!-.0-~]+){3}", self._mark) or len(self._mark) > 63:
            raise ValueError("instance, node and epoch are to be short and of printable ASCII without '/'")
        self._admin, self._new_password, self._on_quarantine = admin, new_password, on_quarantine
        self._owner, self._quarantine = owner, quarantine
        self._prefix, self._node = f"tb_{instance}_", f"tb/{instance}/{node}/"
        self._taken_over, self._taking_over = False, asyncio.Lock()
        self._held = Held()
        self._creating = Lane(
            lambda: self._connect(statement=2000, lock=1000, idle=sql.COMMIT_WITHIN // sql.MILLISECOND), 4
        )
        self._cutting = Lane(lambda: self._connect(statement=2000, lock=50), 8)
        self._cleaning = Lane(lambda: self._connect(statement=10_000, lock=1000), 2)

    async def create(self, lease: Lease) -> Secret:
        name, member_of = self._name(lease), _member_of(lease)
        password = self._new_password()
        # The salt is drawn like a password of its own: random, and no function of the secret.
        salt = hashlib.sha256(self._new_password().reveal().encode()).digest()[:16]
        verifier = sql.scram_verifier(password.reveal(), salt)
        async with self._asked(f"create {name}", CREATE_WINDOW.total_seconds()), self._creating.connection() as at:
            await self._require_fit(at, member_of)
            statements = sql.create_statements(
                name,
                exists=await at.fetchval(sql.OID, name) is not None,
                verifier=verifier,
                expires=lease.expires,
                create_by=lease.create_by,
                member_of=member_of,
            )
            await at.execute(";\n".join(statements))
            # A crash up to here leaves nothing. COMMIT is sent by itself, so that it is so (D3).
            self._held.keep(lease, password)
            await at.execute("COMMIT")
        return password

    async def cut(self, lease: Lease) -> None:
        name = self._name(lease)
        self._held.end(lease)
        async with self._asked(f"cut {name}", CUT_WITHIN), self._cutting.connection() as at:
            oid = await at.fetchval(sql.OID, name)
            if oid is not None:
                await self._forbid_login(at, name, oid)
                await _until_none(at, sql.SESSIONS, oid)
                await asyncio.sleep(AGAIN)
                await _until_none(at, sql.SESSIONS, oid)

    async def clean(self, lease: Lease) -> None:
        name = self._name(lease)
        async with self._asked(f"clean {name}", CLEAN_WITHIN), self._cleaning.connection() as at:
            role = await at.fetchrow("SELECT oid, rolcanlogin FROM pg_roles WHERE rolname = $1", name)
            if role is None:
                return self._held.forget(lease)
            if role["rolcanlogin"]:
                raise TargetUnavailable(f"{name} may still log in: it must be cut before it is cleaned")
            await _until_none(at, sql.SESSIONS, role["oid"])
            here = await at.fetchval("SELECT current_database()")
            for database, reachable in await at.fetch(sql.DATABASES, role["oid"]):
                if not reachable:
                    raise TargetUnavailable(f"{name} has something in a database that the broker cannot connect to")
                if database == here:
                    await self._clean_database(at, lease, role["oid"])
                else:
                    async with self._elsewhere(database) as there:
                        await self._clean_database(there, lease, role["oid"])
            await at.execute(f"DROP ROLE {name}")
        self._held.forget(lease)

    async def probe(self, lease: Lease) -> str | None:
        name = self._name(lease)
        if (secret := self._held.of(lease)) is None:
            return None
        try:
            # Where the broker's own login works, and as the holder would: the password is what is refused.
            let_in = await asyncpg.connect(
                self._admin.reveal(),
                user=name,
                password=secret.reveal(),
                timeout=CONNECT_WITHIN,
                server_settings={"application_name": self._mark},
            )
        except asyncpg.InvalidAuthorizationSpecificationError as refusal:  # class 28, of authentication
            return f"refused, SQLSTATE {refusal.sqlstate}"
        except (*FOREIGN, ValueError):  # the second would quote the URL
            raise TargetUnavailable(f"the target gave no answer to the login of {name}") from None
        let_in.terminate()
        raise StillLetIn(f"the target let {name} in after it was cut", hint="look at the target: its login must end")

    async def names(self) -> set[str]:
        async with self._asked("list names", CUT_WITHIN), self._cutting.connection() as at:
            return {row["rolname"] for row in await at.fetch(sql.NAMES, self._prefix)}

    def address(self, lease: Lease) -> Mapping[str, str | int]:
        """Return where the lease's login works: where the admin login does, by its URL. Raises TargetUnavailable."""
        try:
            url = urlsplit(self._admin.reveal())
            asked = dict(parse_qsl(url.query))
            # Of several servers the first: it is also the one that we try first.
            place = (url.netloc.rpartition("@")[2] or asked.get("host", "localhost")).split(",")[0]
            host, colon, port = place.rpartition(":")
            if not colon or port.endswith("]"):
                host, port = place, ""
            return {
                "host": unquote(host.strip("[]")),
                "port": int(port or asked.get("port", "5432").split(",")[0]),
                "database": unquote(url.path.lstrip("/")) or asked.get("dbname") or unquote(url.username or ""),
                "user": lease.name,
            }
        except ValueError:  # it would quote the URL
            raise TargetUnavailable(NO_URL) from None

    async def close(self) -> None:
        """Close the connections, and forget what was given out."""
        self._held.clear()
        for lane in (self._creating, self._cutting, self._cleaning):
            await lane.close()

    async def _forbid_login(self, at: "Connection", name: str, oid: int) -> None:
        """Forbid logins, whatever the sessions of the role do meanwhile.

        A session that has altered its own role, say its password, holds the row that is to be
        altered here. So sessions are ended beside the attempt until it has succeeded.
        """
        try:
            return await _no_login(at, name)
        except CONTESTED:
            pass
        beside = await self._connect(statement=2000, lock=50)
        try:
            await at.execute("SET lock_timeout = 1000")
            while True:
                attempt = asyncio.ensure_future(_no_login(at, name))
                try:
                    while not attempt.done():
                        await beside.fetch(sql.SESSIONS, oid)
                        await asyncio.wait((attempt,), timeout=LOOK)
                finally:
                    await _finished(attempt)
                if not isinstance(attempt.exception(), CONTESTED):
                    attempt.result()
                    break
            await at.execute("RESET lock_timeout")
        finally:
            beside.terminate()

    async def _clean_database(self, at: "Connection", lease: Lease, oid: int) -> None:
        """Give away what the lease made in this database, and take back what it was granted."""
        quarantine = sql.quote_ident(self._quarantine)
        relations = [made for made in await at.fetch(sql.MADE, oid) if made["is_relation"]]
        while len(relations) > AT_ONCE:
            part, relations = relations[:AT_ONCE], relations[AT_ONCE:]
            async with _transaction(at):
                await self._open_schemas(at, part)
                for made in part:
                    await at.execute(f"ALTER TABLE {made['identity']} OWNER TO {quarantine}")
                await self._sort(at, lease, part)
        async with _transaction(at):
            rest = await at.fetch(sql.MADE, oid)
            await self._open_schemas(at, rest)
            await at.execute(f"REASSIGN OWNED BY {lease.name} TO {quarantine}")
            await self._sort(at, lease, rest)
            await at.execute(f"DROP OWNED BY {lease.name}")

    async def _open_schemas(self, at: "Connection", made: "Sequence[asyncpg.Record]") -> None:
        """Let the owner and quarantine roles own things in schemas that a lease made, this one or another."""
        for row in await at.fetch(sql.LEASED_SCHEMAS, [thing["schema"] for thing in made], self._quarantine):
            to = f"{sql.quote_ident(self._owner)}, {sql.quote_ident(self._quarantine)}"
            await at.execute(f"GRANT USAGE, CREATE ON SCHEMA {row['name']} TO {to}")

    async def _sort(self, at: "Connection", lease: Lease, made: "Sequence[asyncpg.Record]") -> None:
        """Give ordinary data, all in quarantine and locked by now, to the owner role; report the rest."""
        classes, ids = [thing["classid"] for thing in made], [thing["objid"] for thing in made]
        found = await at.fetch(sql.ORDINARY, classes, ids, self._owner)
        ordinary = {(row["classid"], row["oid"]): row for row in found}
        for granted in await at.fetch(sql.GRANTED, classes, ids, [self._owner, self._quarantine]):
            is_ordinary = (granted["classid"], granted["objid"]) in ordinary
            for statement in sql.withdrawals(dict(granted), ordinary=is_ordinary):
                await at.execute(statement)
        for row in found:
            await at.execute(f"ALTER {row['kind']} {row['name']} OWNER TO {sql.quote_ident(self._owner)}")
        kept = await at.fetch(sql.KEPT, classes, ids, self._quarantine)
        if kept and self._on_quarantine is not None:
            await self._on_quarantine(lease, tuple(row["thing"] for row in kept))

    async def _require_fit(self, at: "Connection", member_of: tuple[str, ...]) -> None:
        """Raises TargetUnavailable where what is made could not be taken back whole: taking back is still tried."""
        if at.get_server_version().major < 16:
            raise TargetUnavailable("the server is older than PostgreSQL 16")
        unfit = await at.fetchrow(sql.UNFIT, self._owner, self._quarantine)
        assert unfit is not None
        for holds, complaint in zip(unfit, sql.COMPLAINTS, strict=True):
            if holds:
                raise TargetUnavailable(complaint)
        for row in await at.fetch(sql.UNSTABLE, member_of, self._owner, self._quarantine):
            raise TargetUnavailable(
                f"role {row['wanted']} is not fit to be granted: it is absent, may log in, owns something, "
                "or has the rights of the owner, the quarantine or the broker"
            )
        for row in await at.fetch(sql.NOT_OPEN, member_of, self._owner, self._quarantine):
            raise TargetUnavailable(
                f"a role to be granted may create in {row['place']}, and the owner or quarantine role may not"
            )

    @asynccontextmanager
    async def _asked(self, what: str, within: float) -> AsyncIterator[None]:
        """Bound what is asked of the target, end the old epoch first, and say whose trouble it was."""
        try:
            async with asyncio.timeout(within):
                await self._take_over()
                yield
        except FOREIGN as error:
            if getattr(error, "sqlstate", "") == sql.TOO_LATE:
                raise TargetUnavailable(f"the target's clock says that it is too late to {what}") from error
            raise TargetUnavailable(f"the target failed to {what}") from error

    async def _take_over(self) -> None:
        """End what an earlier process of this node is still doing at the target, before anything else (D3)."""
        async with self._taking_over:
            if not self._taken_over:
                async with self._cutting.connection() as at:
                    await _until_none(at, sql.OLD_EPOCHS, self._node, self._mark)
                self._taken_over = True

    async def _connect(
        self, *, statement: int, lock: int, idle: int = 10_000, database: str | None = None
    ) -> "Connection":
        """Return a connection with these limits, in milliseconds."""
        settings = {
            "application_name": self._mark,
            "search_path": "pg_catalog",
            "statement_timeout": str(statement),
            "lock_timeout": str(lock),
            "idle_in_transaction_session_timeout": str(idle),
            "default_transaction_read_only": "off",
        }
        try:
            return await asyncpg.connect(
                self._admin.reveal(), database=database, timeout=CONNECT_WITHIN, server_settings=settings
            )
        except ValueError:  # it would quote the URL
            raise TargetUnavailable(NO_URL) from None

    @asynccontextmanager
    async def _elsewhere(self, database: str) -> AsyncIterator["Connection"]:
        """Give a connection to another database of the same server, for once."""
        there = await self._connect(statement=10_000, lock=1000, database=database)
        try:
            yield there
        finally:
            there.terminate()

    def _name(self, lease: Lease) -> str:
        """Return the lease's name, which needs no quoting. Raises TargetUnavailable for what another instance made."""
        if not re.fullmatch(rf"{self._prefix}[a-z2-7]{{20}}", lease.name):
            raise TargetUnavailable(f"lease {lease.id} is of another instance: its name is not ours to touch")
        return lease.name


def _member_of(lease: Lease) -> tuple[str, ...]:
    member_of = tuple(lease.recipe.grant.get("member_of", ()))
    if not member_of or lease.recipe.grant.keys() != {"member_of"}:
        raise TargetUnavailable(f"grant {lease.grant} of {lease.target} is to have member_of, and nothing else")
    return member_of


@asynccontextmanager
async def _transaction(at: "Connection") -> AsyncIterator[None]:
    """A transaction that ends with the connection when anything goes wrong: nobody waits for a ROLLBACK."""
    await at.execute("BEGIN")
    yield
    await at.execute("COMMIT")


async def _no_login(at: "Connection", name: str) -> None:
    await at.execute(f"ALTER ROLE {name} NOLOGIN")


async def _until_none(at: "Connection", sessions: str, *arguments: object) -> None:
    """End the sessions, and again until there is none. The caller's time is the limit."""
    while await at.fetch(sessions, *arguments):  # noqa: ASYNC110 - no event of ours says that a session is gone
        await asyncio.sleep(LOOK)


async def _finished(attempt: "asyncio.Future[None]") -> None:
    """Wait until an attempt is over, also when its result is no longer wanted."""
    if not attempt.done():
        attempt.cancel()
    await asyncio.wait((attempt,))
