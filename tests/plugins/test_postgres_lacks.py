"""What a real PostgreSQL lacks is said, and each printed statement is what was missing."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from taskbound.app import new_password
from taskbound.core.errors import TargetUnavailable
from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres import PostgresProvider, sql
from taskbound.plugins.providers.postgres.lacks import PostgresCheck
from tests.contracts.checked import *  # noqa: F403
from tests.postgres.server import server  # noqa: F401
from tests.postgres.target import new_lease

PASSWORD = "password of the doctor's broker"
ROLES = ("doc_broker", "doc_owner", "doc quarantine", "doc_reader", "doc_writer")  # one that needs quoting
LOGIN = f"CREATE ROLE doc_broker LOGIN PASSWORD '{sql.scram_verifier(PASSWORD, b'salt of the doctor')}'"
FIT = (
    "ALTER ROLE doc_broker CREATEROLE",
    "GRANT pg_signal_backend TO doc_broker",
    'CREATE ROLE doc_owner NOLOGIN; CREATE ROLE "doc quarantine" NOLOGIN',
    'GRANT doc_owner, "doc quarantine" TO doc_broker WITH INHERIT TRUE, SET TRUE',
    "CREATE ROLE doc_reader NOLOGIN; CREATE ROLE doc_writer NOLOGIN",
    "GRANT doc_reader, doc_writer TO doc_broker WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
    "GRANT USAGE, CREATE ON SCHEMA public TO doc_writer",
    'GRANT USAGE, CREATE ON SCHEMA public TO doc_owner, "doc quarantine"',
)


@pytest.fixture
async def bare(server):  # noqa: F811
    """A server where only the broker's login was made, and a schema that leases are to write into."""
    superuser = await server.superuser("postgres")
    for database in ("doc", "doc other"):
        await superuser.execute(f'CREATE DATABASE "{database}"')
    inside = await server.superuser("doc")
    await superuser.execute(LOGIN)
    await superuser.execute("CREATE ROLE doc_writer NOLOGIN")
    await inside.execute("GRANT USAGE, CREATE ON SCHEMA public TO doc_writer")
    admin = Secret(f"postgresql://doc_broker:{quote(PASSWORD)}@127.0.0.1:{server.port}/doc")
    roles: dict[str, Any] = {"owner": "doc_owner", "quarantine": "doc quarantine"}
    provider = PostgresProvider(admin, instance="abcdef", node="doctor", epoch="e1", new_password=new_password, **roles)

    def check(of: Secret = admin) -> PostgresCheck:
        return PostgresCheck(of, member_of=("doc_reader", "doc_writer"), **roles)

    async def run(statement: str, database: str = "") -> None:
        at = await server.superuser(database or "doc")
        try:
            await at.execute(statement)
        finally:
            await at.close()

    async def state() -> list[tuple[object, ...]]:
        grants = "SELECT roleid::text, member::text, admin_option, set_option FROM pg_auth_members ORDER BY 1, 2"
        names = "SELECT rolname, rolsuper, rolcanlogin, rolcreaterole FROM pg_roles ORDER BY 1"
        schemas = "SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1"
        return [tuple(row) for query in (grants, names, schemas) for row in await inside.fetch(query)]

    async def issue() -> None:
        made = new_lease("doc_reader", "doc_writer")
        await provider.create(made)
        await provider.cut(made)
        await provider.clean(made)

    yield SimpleNamespace(
        check=check(),
        unreachable=check(Secret("postgresql://doc_broker:wrong@127.0.0.1:1/doc")),
        administer=lambda lack: run(lack.statement, lack.database),
        state=state,
        issue=issue,
        run=run,
        admin=admin,
        wrong=check(Secret(f"postgresql://doc_broker:wrong@127.0.0.1:{server.port}/doc")),
    )
    await provider.close()
    await inside.close()
    for database in ("doc", "doc other"):
        await superuser.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
    for role in await superuser.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'doc%'"):
        await superuser.execute(f'DROP ROLE "{role["rolname"]}"')
    await superuser.close()


@pytest.fixture
async def fit(bare):
    """One where everything is as it should be."""
    await bare.run("DROP OWNED BY doc_writer; DROP ROLE doc_writer")
    for statement in FIT:
        await bare.run(statement)
    assert await bare.check.lacks() == []
    return bare


# What somebody does to it, and how what is lacking then begins.
BROKEN = {
    "a superuser": (["ALTER ROLE doc_broker SUPERUSER BYPASSRLS"], ["the broker is a superuser, or may bypass"]),
    "a superuser alone": (
        ["REVOKE doc_owner FROM doc_broker; ALTER ROLE doc_broker SUPERUSER"],
        ["the broker is a superuser, or may bypass", "the broker is not a member of the owner role"],
    ),
    "no CREATEROLE": (["ALTER ROLE doc_broker NOCREATEROLE"], ["the broker may not make roles"]),
    "no signals": (["REVOKE pg_signal_backend FROM doc_broker"], ["the broker may not end sessions"]),
    "not of the owner": (["REVOKE doc_owner FROM doc_broker"], ["the broker is not a member of the owner role"]),
    "not by itself": (
        ['REVOKE "doc quarantine" FROM doc_broker', 'GRANT "doc quarantine" TO doc_broker WITH INHERIT FALSE'],
        ["the broker is not a member of the quarantine role doc quarantine with SET and INHERIT"],
    ),
    "quarantine logs in": (['ALTER ROLE "doc quarantine" LOGIN'], ["the quarantine role doc quarantine may log in"]),
    "quarantine is in": (['GRANT doc_reader TO "doc quarantine"'], ["the quarantine role doc quarantine is a member"]),
    "a role is gone": (
        ["DROP ROLE doc_reader"],
        ["there is no role doc_reader", "the broker may not grant role doc_reader"],
    ),
    "a role logs in": (["ALTER ROLE doc_reader LOGIN"], ["role doc_reader may log in"]),
    "a role with our rights": (["GRANT doc_owner TO doc_reader"], ["role doc_reader has the rights of doc_owner"]),
    "no ADMIN": (
        ["REVOKE ADMIN OPTION FOR doc_reader FROM doc_broker"],
        ["the broker may not grant role doc_reader"],
    ),
    "a role owns": (
        ["CREATE TABLE t (); ALTER TABLE t OWNER TO doc_writer"],
        ["role doc_writer owns something in doc that a lease could replace"],
    ),
    "a role owns by another": (
        ["CREATE ROLE doc_app NOLOGIN; GRANT doc_app TO doc_writer; CREATE TABLE t (); ALTER TABLE t OWNER TO doc_app"],
        ["role doc_writer owns something in doc that a lease could replace, as a member of doc_app"],
    ),
    "a schema closed": (
        ['CREATE SCHEMA "a b"; GRANT CREATE ON SCHEMA "a b" TO doc_writer'],
        ["a granted role may create in schema a b of doc, the owner or quarantine role may not"],
    ),
    "a database closed": (
        ["GRANT CREATE ON DATABASE doc TO doc_writer"],
        ["a granted role may make schemas in doc, and the quarantine role may not"],
    ),
    "the broker kept out": (
        ['REVOKE CONNECT ON DATABASE "doc other" FROM PUBLIC; GRANT CONNECT ON DATABASE "doc other" TO doc_reader'],
        ["leases may connect to doc other, and the broker may not"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("done", "said"), BROKEN.values(), ids=BROKEN)
async def test_what_is_lacking_is_said_and_mended_by_its_statement(fit, done, said):
    for statement in done:
        await fit.run(statement)
    lacks = await fit.check.lacks()
    assert len(lacks) == len(said) and all(lack.what.startswith(s) for lack, s in zip(lacks, said, strict=True)), lacks
    for lack in lacks:
        await fit.administer(lack)
    assert await fit.check.lacks() == []
    await fit.issue()


async def test_another_database_than_the_brokers_own_is_looked_at_too(fit):
    await fit.run("CREATE SCHEMA s; GRANT CREATE ON SCHEMA s TO doc_writer", "doc other")
    (lack,) = await fit.check.lacks()
    assert lack.database == "doc other" and "schema s of doc other" in lack.what
    await fit.administer(lack)
    assert await fit.check.lacks() == []


async def test_a_wrong_password_is_told_without_it(bare):
    with pytest.raises(TargetUnavailable, match="SQLSTATE 28P01") as refused:
        await bare.wrong.lacks()
    assert "wrong" not in str(refused.value)
