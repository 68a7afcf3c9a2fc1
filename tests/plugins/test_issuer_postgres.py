"""The PostgreSQL issuer: its contract, and what only PostgreSQL has. At a real server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from taskbound.core.secret import Secret
from taskbound.plugins.issuers.postgres import PostgresIssuer
from taskbound.plugins.providers.postgres import sql
from taskbound.posture.sighting import Principal
from tests.contracts.issuer import *  # noqa: F403
from tests.contracts.issuer import WORD
from tests.postgres.server import Server, server  # noqa: F401

ADMIN, ADMIN_PASSWORD = "issuer_admin", "admin-password-of-the-tests"


@dataclass
class Entered:
    connection: Any

    async def is_there(self) -> bool:
        try:
            return bool(await self.connection.fetchval("SELECT true"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False


@dataclass
class Place:
    server: Server
    root: Any
    own: str = ADMIN
    entered: list[Entered] = field(default_factory=list)

    def issuer(self, login: str = "", password: str = "") -> PostgresIssuer:
        return PostgresIssuer(Secret(self.server.url(login or ADMIN, password or ADMIN_PASSWORD)))

    async def make(self, login: str, password: str) -> None:
        await self.root.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}'")

    async def enter(self, login: str, password: str) -> Entered:
        self.entered.append(Entered(await self.server.login(login, password)))
        return self.entered[-1]

    async def exists(self, login: str) -> bool:
        return bool(await self.root.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", login))

    def address(self, port: int) -> PostgresIssuer:
        return PostgresIssuer(Secret(f"postgresql://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{port}/shop"))


@pytest.fixture
async def at(server: Server) -> AsyncIterator[Place]:  # noqa: F811
    root = await server.superuser()
    await root.execute(f"DROP ROLE IF EXISTS {ADMIN}; CREATE ROLE {ADMIN} SUPERUSER LOGIN PASSWORD '{ADMIN_PASSWORD}'")
    place = Place(server, root)
    yield place
    for one in place.entered:
        one.connection.terminate()
    for row in await root.fetch("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'contract_')"):
        name = sql.quote_ident(row["rolname"])
        await root.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    await root.execute(f"DROP ROLE {ADMIN}")
    await root.close()


async def test_a_session_that_holds_its_own_role_is_ended(at: Place) -> None:
    """Who altered its own password in a transaction that is open holds the row that NOLOGIN has to change."""
    await at.make("contract_holds", WORD)
    session = await at.enter("contract_holds", WORD)
    await session.connection.execute("BEGIN; ALTER ROLE contract_holds PASSWORD 'Zq7-second-31'")
    await at.issuer().kill("contract_holds")
    assert not await session.is_there()
    assert await at.issuer().probe("contract_holds", Secret(WORD)) == "dead"
    assert await at.issuer().probe("contract_holds", Secret("Zq7-second-31")) == "dead"


@pytest.mark.parametrize(
    ("more", "url", "standing"),
    [
        ("", "/no_such_database", "alive"),
        ("CONNECTION LIMIT 0", "/shop", "alive"),
        ("VALID UNTIL '2001-01-01'", "/shop", "dead"),
        ("NOLOGIN", "/shop", "dead"),
    ],
)
async def test_who_proves_a_password_is_alive_whatever_else_is_refused(
    at: Place, more: str, url: str, standing: str
) -> None:
    await at.make("contract_more", WORD)
    await at.root.execute(f"ALTER ROLE contract_more {more}") if more else None
    issuer = PostgresIssuer(Secret(f"postgresql://127.0.0.1:{at.server.port}{url}"))
    assert await issuer.probe("contract_more", Secret(WORD)) == standing


async def test_a_machine_that_may_not_ask_does_not_know(at: Place) -> None:
    """28000 is said to a dead login, and to every login from where pg_hba.conf has no line."""
    await at.make("contract_far", WORD)
    rules = at.server.folder / "data" / "pg_hba.conf"
    was = rules.read_text()
    try:
        rules.write_text(f"host all contract_far 127.0.0.1/32 reject\n{was}")
        await at.root.execute("SELECT pg_reload_conf()")
        for _ in range(200):  # the server reads its file in a moment
            if (said := await at.issuer().probe("contract_far", Secret(WORD))) != "alive":
                break
            await asyncio.sleep(0.05)
        assert said == "unknown"
    finally:
        rules.write_text(was)
        await at.root.execute("SELECT pg_reload_conf()")


CATALOGUE = """
SELECT md5(string_agg(line, '|' ORDER BY line)) FROM (
    SELECT a::text AS line FROM pg_authid AS a UNION ALL SELECT m::text FROM pg_auth_members AS m
    UNION ALL SELECT c::text FROM pg_class AS c WHERE relkind <> 'i' UNION ALL SELECT d.datname FROM pg_database AS d
    UNION ALL SELECT s::text FROM pg_settings AS s WHERE source <> 'session') AS lines"""


async def test_looking_changes_nothing(at: Place) -> None:
    """The same catalogue before and after, and nothing in the server's log but reading."""
    await at.make("contract_app", WORD)
    await at.root.execute("GRANT shop_reader TO contract_app")
    before = await at.root.fetchval(CATALOGUE)
    start = at.server.log.stat().st_size
    seen = await at.issuer().look()
    assert await at.root.fetchval(CATALOGUE) == before
    said = at.server.log.read_bytes()[start:].decode()
    mine = [line.partition(f" {ADMIN} LOG:  ")[2] for line in said.splitlines() if f" {ADMIN} LOG:  " in line]
    verbs = {line.partition(": ")[2].split(" ")[0].strip(";\n") for line in mine}
    assert verbs - {""} <= {"BEGIN", "SET", "SELECT", "SAVEPOINT", "RELEASE", "COMMIT"}, verbs
    assert "READ ONLY" in said and "ERROR" not in said
    assert WORD not in repr(seen) and "SCRAM" not in repr(seen)
    tables = [one.why for one in seen.unread]
    assert tables == ["tables of postgres, shop2 were not looked at: name each with --postgres"]
    by_name = {one.facts["login"]: one for one in seen.sightings if isinstance(one, Principal)}
    app, reader, admin = by_name["contract_app"], by_name["shop_reader"], by_name[ADMIN]
    assert app.facts["member_of"] == (reader.id,) and app.facts["sessions"] == 0 and app.facts["password"] is True
    assert reader.facts["may"] == (f"SELECT on shop.public.orders at postgresql://127.0.0.1:{at.server.port}",)
    assert admin.facts["everything"] and admin.facts["sessions"] == 1 and not app.facts["everything"]


async def test_what_the_login_may_not_read_is_said_and_the_rest_is_read(at: Place) -> None:
    await at.make("contract_weak", WORD)
    seen = await at.issuer("contract_weak", WORD).look()
    said = {one.why for one in seen.unread}
    assert {"pg_hba.conf cannot be read (SQLSTATE 42501)"} < said
    assert "which roles have a password cannot be read (SQLSTATE 42501)" in said
    known = {one.facts["login"]: one.facts for one in seen.sightings if isinstance(one, Principal)}
    assert known[ADMIN]["everything"] and known[ADMIN]["password"] is None


async def test_who_is_refused_or_answers_in_no_time_is_said(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (refused,) = (await at.issuer("contract_nobody", "Zq7-wrong-31").look()).unread
    assert refused.why.startswith("it refuses the login (SQLSTATE 28P01)") and "Zq7" not in repr(refused)
    monkeypatch.setattr("taskbound.plugins.issuers.postgres.LOOK_WITHIN", 0.0)
    (late,) = (await at.issuer().look()).unread
    assert late.why == "it gave no answer in time"


async def test_a_list_that_takes_too_long_costs_that_list(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskbound.plugins.issuers.postgres.STATEMENT_WITHIN", "1s")
    monkeypatch.setattr("taskbound.plugins.issuers.postgres.ACTIVE", "SELECT pg_sleep(9)")
    seen = await at.issuer().look()
    assert "who is connected cannot be read (SQLSTATE 57014)" in [one.why for one in seen.unread]
    known = [one.facts for one in seen.sightings if isinstance(one, Principal)]
    assert len(known) > 5 and not any("sessions" in facts for facts in known)


async def test_what_is_looked_at_is_the_catalogue_whatever_lies_in_the_way(at: Place) -> None:
    """A role may be given a search path in which somebody else's view comes before the catalogue's."""
    await at.root.execute(f"ALTER ROLE {ADMIN} SET search_path = public, pg_catalog")
    await at.root.execute("CREATE VIEW public.pg_roles AS SELECT * FROM pg_catalog.pg_roles WHERE rolname = 'postgres'")
    try:
        seen = await at.issuer().look()
        assert await at.issuer().probe(ADMIN, None) == "alive"
    finally:
        await at.root.execute("DROP VIEW public.pg_roles")
    assert ADMIN in [one.facts["login"] for one in seen.sightings if isinstance(one, Principal)]


async def test_a_name_is_a_name_whatever_is_in_it(at: Place) -> None:
    odd = """contract_"odd'; --"""
    for name in ("contract_even", f'"{odd.replace(chr(34), chr(34) * 2)}"'):
        await at.make(name, WORD)
    await at.issuer().kill(odd)
    assert [await at.issuer().probe(name, None) for name in (odd, "contract_even")] == ["dead", "alive"]


async def test_who_was_let_in_before_it_was_forbidden_and_shows_after_it_is_gone(
    at: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbid(issuer: PostgresIssuer, connection: Any, login: str) -> None:
        await connection.execute(f"ALTER ROLE {login} NOLOGIN")  # ends nobody

    monkeypatch.setattr(PostgresIssuer, "_forbid", forbid)
    await at.make("contract_late", WORD)
    session = await at.enter("contract_late", WORD)
    await at.issuer().kill("contract_late")
    assert not await session.is_there()
