"""What a PostgreSQL server lacks for leases, each with the statement that its administrator runs (docs/postgres.md).

Everything that `create` would refuse is looked for, in each database that a lease could enter, and
also what only cutting and cleaning need. Nothing is changed. A broker that is a superuser is a
member of everything: then the memberships that it was granted itself are looked at, so that what it
lacks once it is none is said too.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from taskbound.core.errors import TargetUnavailable
from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres.sql import quote_ident
from taskbound.ports import Lack

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

OLDEST = 16
WITHIN = 5.0  # seconds to connect
LOOKED_WITHIN = 60.0  # seconds for all of it
FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

BROKER = """
SELECT rolname, rolsuper, rolbypassrls, rolreplication, rolcreaterole,
    current_setting('max_prepared_transactions') <> '0' AS prepares,
    pg_has_role('pg_signal_backend', 'USAGE') AS signals
FROM pg_roles WHERE rolname = current_user"""

# The broker's membership of a role: with SET and INHERIT, and with ADMIN.
MEMBER = """
SELECT role.oid, role.rolcanlogin, role.rolsuper, role.rolcreaterole, role.rolbypassrls,
    CASE WHEN broker.rolsuper THEN coalesce(bool_or(held.set_option AND held.inherit_option), false)
         ELSE pg_has_role(role.oid, 'SET') AND pg_has_role(role.oid, 'USAGE') END AS holds,
    CASE WHEN broker.rolsuper THEN coalesce(bool_or(held.admin_option), false)
         ELSE pg_has_role(role.oid, 'MEMBER WITH ADMIN OPTION') END AS grants
FROM pg_roles AS broker, pg_roles AS role
    LEFT JOIN pg_auth_members AS held
        ON held.roleid = role.oid AND held.member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
WHERE broker.rolname = current_user AND role.rolname = $1
GROUP BY role.oid, role.rolcanlogin, role.rolsuper, role.rolcreaterole, role.rolbypassrls, broker.rolsuper"""

ABOVE = """
SELECT above.rolname FROM pg_auth_members JOIN pg_roles AS above ON above.oid = roleid
    JOIN pg_roles AS below ON below.oid = member WHERE below.rolname = $1 ORDER BY 1"""

# Whose rights a stable role has, of those that it must not have.
RIGHTS = """
SELECT ours.rolname FROM pg_roles AS role, pg_roles AS ours
WHERE role.rolname = $1 AND NOT role.rolsuper AND ours.rolname = ANY ($2::text[]) AND ours.oid <> role.oid
    AND pg_has_role(role.oid, ours.oid, 'MEMBER') ORDER BY 1"""

# What a member of a stable role could replace: by the role that owns it, and the database it is in.
OWNED = """
SELECT DISTINCT holder.rolname AS owner, coalesce(datname, current_database()) AS database
FROM pg_roles AS role JOIN pg_roles AS holder ON holder.oid = role.oid OR pg_has_role(role.oid, holder.oid, 'USAGE')
    JOIN pg_shdepend ON refobjid = holder.oid LEFT JOIN pg_database ON pg_database.oid = dbid
WHERE role.rolname = $1 AND NOT role.rolsuper AND refclassid = 'pg_authid'::regclass AND deptype = 'o' ORDER BY 1, 2"""

DATABASES = """
SELECT datname, has_database_privilege(oid, 'CONNECT') AS connects,
    EXISTS (SELECT FROM pg_roles WHERE rolname = ANY ($1::text[])
            AND has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT')) AS entered,
    EXISTS (SELECT FROM pg_roles WHERE rolname = ANY ($1::text[])
            AND has_database_privilege(pg_roles.oid, pg_database.oid, 'CREATE'))
        AND NOT coalesce((SELECT has_database_privilege(pg_roles.oid, pg_database.oid, 'CREATE')
                          FROM pg_roles WHERE rolname = $2), false) AS closed
FROM pg_database WHERE datallowconn ORDER BY datname"""

# Where a member of the roles may make what the owner and quarantine roles could then not own.
CLOSED = """
SELECT nspname FROM pg_namespace JOIN pg_roles AS holder ON holder.oid = nspowner
WHERE NOT starts_with(holder.rolname, 'tb_') AND holder.rolname <> $3
    AND EXISTS (SELECT FROM pg_roles AS wanted WHERE wanted.rolname = ANY ($1::text[])
                AND has_schema_privilege(wanted.oid, pg_namespace.oid, 'CREATE'))
    AND (SELECT count(*) FROM pg_roles AS ours WHERE ours.rolname IN ($2, $3)
         AND has_schema_privilege(ours.oid, pg_namespace.oid, 'CREATE')) < 2
ORDER BY nspname"""


class PostgresCheck:
    """The port Checked, at one PostgreSQL server."""

    def __init__(self, admin: Secret, *, owner: str, quarantine: str, member_of: Sequence[str]) -> None:
        """`member_of` are the stable roles of all grants of the target."""
        self._admin, self._owner, self._quarantine = admin, owner, quarantine
        self._member_of = sorted(set(member_of))

    async def lacks(self) -> list[Lack]:
        try:
            async with asyncio.timeout(LOOKED_WITHIN), self._connection() as at:
                if (version := at.get_server_version()).major < OLDEST:
                    return [Lack(f"the server is PostgreSQL {version.major}, at least {OLDEST} is needed")]
                found = [lack async for lack in self._of_the_server(at)]
                broker = await at.fetchval("SELECT current_user")
                for row in await at.fetch(DATABASES, self._member_of, self._quarantine):
                    found += [lack async for lack in self._of_a_database(row, broker)]
                return found
        except FOREIGN as error:
            raise TargetUnavailable(f"the target gave no answer: {_sentence(error)}") from error

    async def _of_the_server(self, at: "Connection") -> AsyncIterator[Lack]:
        broker = await at.fetchrow(BROKER)
        assert broker is not None
        name = quote_ident(broker["rolname"])
        over = [word for word in ("super", "bypassrls", "replication") if broker[f"rol{word}"]]
        if over:
            words = " ".join("NOSUPERUSER" if word == "super" else f"NO{word.upper()}" for word in over)
            what = "the broker is a superuser, or may bypass row security or replicate"
            yield Lack(what, f"ALTER ROLE {name} {words};")
        if not broker["rolcreaterole"]:
            yield Lack("the broker may not make roles", f"ALTER ROLE {name} CREATEROLE;")
        if not broker["signals"]:
            yield Lack("the broker may not end sessions", f"GRANT pg_signal_backend TO {name};")
        if broker["prepares"]:
            what = "max_prepared_transactions is not 0: a prepared transaction outlives its session (restart after it)"
            yield Lack(what, "ALTER SYSTEM SET max_prepared_transactions = 0;")
        for which, role in (("owner", self._owner), ("quarantine", self._quarantine)):
            async for lack in self._of_ours(at, which, role, name):
                yield lack
        for role in self._member_of:
            async for lack in self._of_a_stable_role(at, role, broker["rolname"]):
                yield lack

    async def _of_ours(self, at: "Connection", which: str, role: str, broker: str) -> AsyncIterator[Lack]:
        """Look at the owner or the quarantine role."""
        named, known = quote_ident(role), await at.fetchrow(MEMBER, role)
        if known is None:
            yield Lack(f"there is no {which} role {role}", f"CREATE ROLE {named} NOLOGIN;")
        if known is None or not known["holds"]:
            what = f"the broker is not a member of the {which} role {role} with SET and INHERIT"
            yield Lack(what, f"GRANT {named} TO {broker} WITH INHERIT TRUE, SET TRUE;")
        if known is not None and which == "quarantine":
            if known["rolcanlogin"] or known["rolsuper"] or known["rolcreaterole"] or known["rolbypassrls"]:
                what = f"the quarantine role {role} may log in, make roles or bypass row security"
                yield Lack(what, f"ALTER ROLE {named} NOLOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS;")
            for row in await at.fetch(ABOVE, role):
                what = f"the quarantine role {role} is a member of {row['rolname']}"
                yield Lack(what, f"REVOKE {quote_ident(row['rolname'])} FROM {named};")

    async def _of_a_stable_role(self, at: "Connection", role: str, broker: str) -> AsyncIterator[Lack]:
        """Look at a role that leases become a member of."""
        named, known = quote_ident(role), await at.fetchrow(MEMBER, role)
        if role.startswith("tb_"):
            yield Lack(f"role {role} is named as leases are: grant another")
            return
        if known is None:
            yield Lack(f"there is no role {role}", f"CREATE ROLE {named} NOLOGIN;")
        elif known["rolcanlogin"] or known["rolsuper"]:
            what = f"role {role} may log in, or is a superuser: nobody but leases may have what it has"
            yield Lack(what, f"ALTER ROLE {named} NOLOGIN NOSUPERUSER;")
        if known is None or not known["grants"]:
            what = f"the broker may not grant role {role}"
            yield Lack(what, f"GRANT {named} TO {quote_ident(broker)} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;")
        for row in await at.fetch(RIGHTS, role, [broker, self._owner, self._quarantine]):
            what = f"role {role} has the rights of {row['rolname']}"
            yield Lack(what, f"REVOKE {quote_ident(row['rolname'])} FROM {named};")
        for row in await at.fetch(OWNED, role):
            if row["owner"] in (self._owner, self._quarantine, broker):
                continue  # said above
            what = f"role {role} owns something in {row['database']} that a lease could replace"
            statement = f"REASSIGN OWNED BY {named} TO {quote_ident(self._owner)};"
            if row["owner"] != role:
                what, statement = (
                    f"{what}, as a member of {row['owner']}",
                    f"REVOKE {quote_ident(row['owner'])} FROM {named};",
                )
            yield Lack(what, statement, row["database"])

    async def _of_a_database(self, row: "asyncpg.Record", broker: str) -> AsyncIterator[Lack]:
        """Look at a database that a lease could enter."""
        database, named = row["datname"], quote_ident(row["datname"])
        if not row["entered"]:
            return
        if row["closed"]:
            what = f"a granted role may make schemas in {database}, and the quarantine role may not"
            yield Lack(what, f"GRANT CREATE ON DATABASE {named} TO {quote_ident(self._quarantine)};", database)
        if not row["connects"]:
            what = f"leases may connect to {database}, and the broker may not: what they make there stays"
            yield Lack(what, f"GRANT CONNECT ON DATABASE {named} TO {quote_ident(broker)};", database)
            return
        async with self._connection(database) as there:
            for schema in await there.fetch(CLOSED, self._member_of, self._owner, self._quarantine):
                place = quote_ident(schema["nspname"])
                what = f"a granted role may create in schema {schema['nspname']} of {database}, the owner or quarantine"
                ours = f"{quote_ident(self._owner)}, {quote_ident(self._quarantine)}"
                statement = f"GRANT USAGE, CREATE ON SCHEMA {place} TO {ours};"
                yield Lack(f"{what} role may not", statement, database)

    @asynccontextmanager
    async def _connection(self, database: str | None = None) -> AsyncIterator["Connection"]:
        settings = {"application_name": "taskbound doctor", "search_path": "pg_catalog", "statement_timeout": "10000"}
        try:
            at = await asyncpg.connect(
                self._admin.reveal(), database=database, timeout=WITHIN, server_settings=settings
            )
        except ValueError:  # it would quote the URL
            raise TargetUnavailable("the admin login of the target is no URL of a PostgreSQL database") from None
        try:
            yield at
        finally:
            at.terminate()


def _sentence(error: BaseException) -> str:
    """Return what kind of trouble it was; the server's own words may hold anything."""
    state = getattr(error, "sqlstate", None)
    return f"SQLSTATE {state}" if state else type(error).__name__
