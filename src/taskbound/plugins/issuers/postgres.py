"""Roles of a PostgreSQL server: whether they are let in, how they end, what each one may do.

Looking is one read-only transaction, with a limit for each statement; it asks for no parameter of the session, so that
a pooler before the server lets it. What the login may not read is said, and the rest is read all the same.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from taskbound.core.errors import Unavailable
from taskbound.core.secret import Secret
from taskbound.ports import Standing
from taskbound.posture.catalogues import postgres as catalogue
from taskbound.posture.catalogues.postgres import NAMED, Catalogue, Grant, Line, Role
from taskbound.posture.seen import Seen, Unread

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

WITHIN = 10.0  # seconds for a probe, or to end a login, connecting included
LOOK_WITHIN = 30.0
STATEMENT_WITHIN = "5s"
MOST = 50_000  # rows of each list
LOOK = 0.02  # between two looks at what is to be gone
AGAIN = 0.05  # a login that was let in before NOLOGIN was committed shows among the sessions by then
FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
CONTESTED = (asyncpg.LockNotAvailableError, asyncpg.InternalServerError)  # the second: "tuple concurrently updated"
T = TypeVar("T")
NO_URL = "no address of a PostgreSQL database"

ENTERS = "SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = $1"
SESSIONS = """
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE usesysid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)"""

ROLES = f"""
SELECT rolname AS name, rolcanlogin AS enters, rolsuper AS is_super, rolcreaterole AS creates_roles,
    rolcreatedb AS creates_databases, rolreplication AS replicates, rolbypassrls AS bypasses, oid = 10 AS is_first,
    coalesce(rolvaliduntil <= now(), false) AS is_over, rolconnlimit AS connections,
    CASE WHEN isfinite(rolvaliduntil) THEN rolvaliduntil END AS expires
FROM pg_roles ORDER BY rolname LIMIT {MOST}"""
MEMBERS = f"""
SELECT member.rolname AS member, role.rolname AS role
FROM pg_auth_members AS held JOIN pg_roles AS member ON member.oid = held.member
    JOIN pg_roles AS role ON role.oid = held.roleid
WHERE coalesce((to_jsonb(held) ->> 'inherit_option')::bool OR (to_jsonb(held) ->> 'set_option')::bool, true)
ORDER BY 1, 2 LIMIT {MOST}"""  # since 16 there are memberships of which nothing can be used
# The verifier itself is not read.
PASSWORDS = f"""
SELECT rolname AS name, rolpassword IS NOT NULL AS has_password, coalesce(starts_with(rolpassword, 'md5'), false) AS md5
FROM pg_authid ORDER BY rolname LIMIT {MOST}"""
ACTIVE = "SELECT usename AS name, count(*) AS sessions FROM pg_stat_activity WHERE usename IS NOT NULL GROUP BY usename"
GRANTS = f"""
SELECT role, schema, privileges, count(*) AS tables, (array_agg(name ORDER BY name))[1:{NAMED}] AS names
FROM (
    SELECT coalesce(holder.rolname, '') AS role, nspname AS schema, c.relname::text AS name,
        array_agg(DISTINCT one.privilege_type ORDER BY one.privilege_type) AS privileges
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
        aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS one
        LEFT JOIN pg_roles AS holder ON holder.oid = grantee
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname <> 'information_schema' AND NOT starts_with(nspname, 'pg_')
    GROUP BY 1, 2, 3) AS granted
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT {MOST}"""
LINES = f"""
SELECT line_number AS number, type, auth_method AS method, coalesce(address, '') AS address, database AS databases,
    user_name AS users, coalesce(to_jsonb(line) ->> 'file_name', '') AS file
FROM pg_hba_file_rules AS line WHERE error IS NULL ORDER BY 7, 1 LIMIT {MOST}"""
OTHERS = """
SELECT datname FROM pg_database
WHERE datallowconn AND NOT datistemplate AND datname <> current_database() ORDER BY datname"""


class PostgresIssuer:
    """Asks one server, whose address is a URL with the login to ask with; without a password it can only probe."""

    def __init__(self, admin: Secret) -> None:
        """Raises ValueError where it is no address of a PostgreSQL; it is not quoted."""
        self._admin = admin
        try:
            self._url = urlsplit(admin.reveal())
            _ = "," in self._url.netloc or self._url.port  # of several hosts each has its own
            self._query = {name: values[-1] for name, values in parse_qs(self._url.query).items()}
        except ValueError:
            raise ValueError(NO_URL) from None
        if self._url.scheme not in ("postgresql", "postgres"):
            raise ValueError(NO_URL)

    @property
    def name(self) -> str:
        """Return how it is called in a report: postgresql://host:port. Of several hosts the first."""
        place = self._url.netloc.rpartition("@")[2] or self._query.get("host") or os.environ.get("PGHOST", "localhost")
        host, colon, port = place.split(",")[0].rpartition(":")
        if not colon or port.endswith("]"):
            host, port = place.split(",")[0], ""
        port = port or (self._query.get("port") or os.environ.get("PGPORT", "5432")).split(",")[0]
        host = unquote(host)
        return f"postgresql://{'localhost' if host.startswith('/') or not host else host}:{port}"

    @property
    def login(self) -> str:
        """Return the login that it asks with, as libpq finds it; "" where that is the user of this process."""
        return unquote(self._url.username or "") or self._query.get("user") or os.environ.get("PGUSER", "")

    async def probe(self, login: str, password: Secret | None) -> Standing:
        if not login:
            return "unknown"  # the environment's would be taken for it
        try:
            async with asyncio.timeout(WITHIN):
                if password is None:
                    async with self._connected() as at:
                        return "alive" if await at.fetchval(ENTERS, login) else "dead"
                let_in = await self._connect(user=login, password=password.reveal())
        except asyncpg.PostgresError as refusal:
            return "unknown" if password is None else _standing(refusal)
        except (*FOREIGN, ValueError):
            return "unknown"
        let_in.terminate()
        return "alive"

    async def kill(self, login: str) -> None:
        try:
            async with asyncio.timeout(WITHIN), self._connected() as at:
                if login == await at.fetchval("SELECT current_user"):
                    raise Unavailable("that is the login it is asked with", hint="ask with another login")
                if await at.fetchval(ENTERS, login) is None:
                    return
                await self._forbid(at, login)
                await _until_none(at, login)
                await asyncio.sleep(AGAIN)
                await _until_none(at, login)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.ReservedNameError) as refused:
            hint = "ask with a login that may alter the role, and is a member of pg_signal_backend"
            raise Unavailable(f"the login it is asked with may not end {login}", hint=hint) from refused
        except (*FOREIGN, ValueError) as error:
            raise Unavailable(f"{self.name} gave no answer") from (None if isinstance(error, ValueError) else error)

    async def look(self) -> Seen:
        """Return the roles and what they may do. Reads alone, in one read-only transaction. Never raises."""
        try:
            async with asyncio.timeout(LOOK_WITHIN), self._connected() as at:
                return await _looked(at, self.name)
        except (*FOREIGN, ValueError) as error:
            return Seen(unread=(Unread(self.name, self._trouble(error)),))

    async def _forbid(self, at: "Connection", login: str) -> None:
        """Forbid logins. A session that altered its own role holds its row: sessions are ended beside the attempt."""
        async with self._connected() as beside:
            await at.execute("SET lock_timeout = '500ms'")
            name = '"' + login.replace('"', '""') + '"'
            while True:
                attempt = asyncio.ensure_future(at.execute(f"ALTER ROLE {name} NOLOGIN"))
                try:
                    while not attempt.done():
                        await beside.fetch(SESSIONS, login)
                        await asyncio.wait((attempt,), timeout=LOOK)
                    attempt.result()
                    return
                except CONTESTED:
                    continue
                finally:
                    attempt.cancel()
                    with suppress(asyncio.CancelledError, *FOREIGN):
                        await attempt

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["Connection"]:
        at = await self._connect()
        try:
            yield at
            await at.close(timeout=1.0)
        finally:
            at.terminate()  # where it is not closed yet

    async def _connect(self, user: str | None = None, password: str | None = None) -> "Connection":
        return await asyncpg.connect(
            self._admin.reveal(), user=user, password=password, timeout=WITHIN, statement_cache_size=0
        )

    def _trouble(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return "it gave no answer in time"
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
            return (
                f"it refuses the login (SQLSTATE {error.sqlstate}); the password is taken from PGPASSWORD or PGPASSFILE"
            )
        if isinstance(error, asyncpg.PostgresError):
            return f"it refuses (SQLSTATE {error.sqlstate})"
        if isinstance(error, OSError):
            return "it cannot be reached, or who it is could not be verified"
        return "what answers there is no PostgreSQL, or the address is none"


def _standing(refusal: asyncpg.PostgresError) -> Standing:
    """Return what a refused login says. A server says who it is before it is asked for a database or for room.

    28000 is said where pg_hba.conf has no line for this machine too: others may be let in. Which of the two it is
    says the routine that it came from; texts are in the server's language.
    """
    routine = getattr(refusal, "server_source_function", "") or ""
    if isinstance(refusal, asyncpg.InvalidPasswordError):
        return "dead"
    if isinstance(refusal, asyncpg.InvalidAuthorizationSpecificationError):
        return "dead" if routine == "InitializeSessionUserId" else "unknown"
    let_in = (asyncpg.InvalidCatalogNameError, asyncpg.InsufficientPrivilegeError)  # to no such database
    if isinstance(refusal, let_in) or routine in ("InitializeSessionUserId", "CheckMyDatabase"):
        return "alive"
    return "unknown"


async def _until_none(at: "Connection", login: str) -> None:
    """End the sessions of a login until none is left."""
    while await at.fetch(SESSIONS, login):  # noqa: ASYNC110 - no event of ours says that a session is gone
        await asyncio.sleep(LOOK)


async def _looked(at: "Connection", name: str) -> Seen:
    unread: list[Unread] = []

    async def rows(what: str, statement: str) -> "list[asyncpg.Record] | None":
        """Return a list; None, and it is said, where the login may not read it."""
        try:
            async with at.transaction():  # a savepoint: a refusal costs this list alone
                found = await at.fetch(statement)
        except asyncpg.PostgresError as refusal:
            unread.append(Unread(name, f"{what} cannot be read (SQLSTATE {refusal.sqlstate})"))
            return None
        if len(found) == MOST:
            unread.append(Unread(name, f"{what}: only the first {MOST:,} are read"))
        return found

    async with at.transaction(isolation="repeatable_read", readonly=True):
        await at.execute(f"SET LOCAL statement_timeout = '{STATEMENT_WITHIN}'")
        await at.execute("SET LOCAL lock_timeout = '1s'; SET LOCAL search_path = pg_catalog, pg_temp")
        database = str(await at.fetchval("SELECT current_database()"))
        roles = await rows("its roles", ROLES)
        passwords = await rows("which roles have a password", PASSWORDS)
        members = await rows("who is a member of which role", MEMBERS)
        active = await rows("who is connected", ACTIVE)
        grants = await rows(f"what is granted in {database}", GRANTS)
        lines = await rows("pg_hba.conf", LINES)
        others = [str(row["datname"]) for row in await rows("its databases", OTHERS) or ()]
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        unread.append(Unread(name, f"tables of {shown} were not looked at: name each with --postgres"))
    known = {str(row["name"]): dict(row) for row in passwords or ()}
    sessions = None if active is None else {str(row["name"]): int(row["sessions"]) for row in active}
    read = Catalogue(
        name,
        database,
        [_role(dict(row), known) for row in roles or ()],
        [(str(row["member"]), str(row["role"])) for row in members or ()],
        sessions,
        [_made(Grant, dict(row)) for row in grants or ()],
        [_made(Line, dict(row)) for row in lines or ()],
    )
    return Seen(catalogue.sightings(read), unread=tuple(unread), servers=1)


def _role(row: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Role:
    role = _made(Role, row)
    if (password := known.get(role.name)) is not None:
        return replace(role, has_password=bool(password["has_password"]), is_md5=bool(password["md5"]))
    return role


def _made(noun: Callable[..., T], row: Mapping[str, Any]) -> T:
    return noun(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
