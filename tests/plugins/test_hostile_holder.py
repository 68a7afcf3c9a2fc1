"""A hostile holder of a lease at PostgreSQL cannot outlive its task, by nothing that it does or makes (A1.7, T1.8)."""

import asyncio
import re
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import pytest

from taskbound.app import now
from taskbound.core.errors import TargetUnavailable
from taskbound.plugins.providers.postgres import FOREIGN, PostgresProvider, sql
from tests.notes import note
from tests.postgres.server import server  # noqa: F401
from tests.postgres.target import at, new_lease  # noqa: F401
from tests.profile import trials


async def leased(at, *roles):  # noqa: F811
    made = new_lease(*roles)
    return made, (await at.provider.create(made)).reveal()


async def taken_back(at, lease):  # noqa: F811
    await at.provider.cut(lease)
    await at.provider.clean(lease)


# Cut: whatever its sessions do


async def open_cursor(session, name):
    await session.execute("BEGIN; DECLARE c CURSOR FOR SELECT * FROM orders; FETCH 10 FROM c")


async def idle_in_transaction(session, name):
    await session.execute("BEGIN; SELECT * FROM orders LIMIT 1; SET idle_in_transaction_session_timeout = 0")


async def sleeping(session, name):
    session.going_on = asyncio.ensure_future(session.execute("SELECT pg_sleep(30)"))


async def listening(session, name):
    await session.execute("LISTEN something")


async def holding_its_own_role(session, name):
    await session.execute(f"BEGIN; ALTER ROLE {name} PASSWORD 'another'")


async def deaf(session, name):
    """Asks for more than the network holds and never reads it: the server is blocked writing to it."""
    session._transport.pause_reading()
    session.going_on = asyncio.ensure_future(session.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))


TRICKS = [open_cursor, idle_in_transaction, sleeping, listening, holding_its_own_role, deaf]


class Session(asyncpg.Connection):
    """One that may remember what it is waiting for."""

    going_on = None


async def login(at, name, password):  # noqa: F811
    return await asyncpg.connect(at.server.url(name, password), connection_class=Session)


@pytest.mark.parametrize("trick", TRICKS)
async def test_nothing_is_read_after_the_cut(at, trick):  # noqa: F811
    for _ in range(trials(50, 5)):
        made, password = await leased(at, "shop_writer")
        sessions = [await login(at, made.name, password) for _ in range(2)]
        for session in sessions:
            if trick is not holding_its_own_role or session is sessions[0]:  # the second would wait for the first
                await trick(session, made.name)
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await at.provider.cut(made)
        assert time.monotonic() - started < 2
        assert await at.sessions(made.name) == 0
        for session in sessions:
            if session.going_on is None:
                for question in ("FETCH 10 FROM c", "SELECT * FROM orders", "COMMIT"):
                    with pytest.raises(FOREIGN):
                        await session.fetch(question)
            session.terminate()
            if session.going_on is not None:
                await asyncio.wait((session.going_on,))
                assert session.going_on.exception() is not None
        assert not await at.server.lets_in(made.name, password)
        await at.provider.clean(made)


async def test_a_session_that_holds_its_own_role_stops_a_cut_that_only_alters_it(at, monkeypatch):  # noqa: F811
    """The control: why sessions are ended beside the attempt."""
    made, password = await leased(at)
    session = await login(at, made.name, password)
    await holding_its_own_role(session, made.name)

    async def only_alter(self, at, name, oid):
        await at.execute(f"ALTER ROLE {name} NOLOGIN")

    with monkeypatch.context() as patched:
        patched.setattr(PostgresProvider, "_forbid_login", only_alter)
        with pytest.raises(TargetUnavailable):
            await at.provider.cut(made)
        assert await at.sessions(made.name) == 1
    await taken_back(at, made)
    session.terminate()


STORMS = {
    "reading": "SELECT * FROM orders LIMIT 1",
    "altering-itself": "ALTER ROLE CURRENT_USER PASSWORD '{password}'",
    "holding-its-own-role": "BEGIN; ALTER ROLE CURRENT_USER PASSWORD '{password}'; SELECT pg_sleep(5)",
}


def storm(url, statement, stop, counted):
    """Log in again and again, from a thread of its own."""

    async def run():
        while not stop.is_set():
            try:
                session = await asyncpg.connect(url, timeout=5)
                counted.append(1)
                await session.execute(statement, timeout=2)
                session.terminate()
            except FOREIGN:
                await asyncio.sleep(0.001)

    asyncio.run(run())


@pytest.mark.parametrize("statement", STORMS.values(), ids=STORMS.keys())
async def test_a_storm_of_logins_does_not_survive_the_cut(at, statement):  # noqa: F811
    logins: list[int] = []
    slowest = 0.0
    for _ in range(trials(30, 3)):
        made, password = await leased(at, "shop_reader")
        stop, url = threading.Event(), at.server.url(made.name, password)
        asked = (url, statement.format(password=password), stop, logins)
        threads = [threading.Thread(target=storm, args=asked) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            await asyncio.sleep(0.3)
            started = time.monotonic()
            await at.provider.cut(made)
            slowest = max(slowest, time.monotonic() - started)
            end = now()
            assert await at.sessions(made.name) == 0
            await asyncio.sleep(0.2)
            assert await at.sessions(made.name) == 0
        finally:
            stop.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        assert statements_after(at.server.log, made.name, end) == []
        await at.provider.clean(made)
    note(f"cut in a storm: at most {slowest * 1000:.0f} ms, {len(logins)} logins")
    assert slowest < 2 and logins


def statements_after(log, name, end):
    """The target's own log is the judge: what this role stated later."""
    found = re.findall(rf"^(\S+ \S+) UTC {name} LOG:  (?:statement|execute).*", log.read_text(errors="replace"), re.M)
    return [when for when in found if datetime.fromisoformat(when).replace(tzinfo=UTC) > end]


# Clean: whatever it made

ORDINARY = {
    "table result": "CREATE TABLE result AS SELECT * FROM orders",
    "table keyed": "CREATE TABLE keyed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz, CHECK (true))"
    "; ALTER TABLE keyed DROP CONSTRAINT keyed_check; CREATE UNIQUE INDEX ON keyed (at)",
    'table "odd""name"': 'CREATE UNLOGGED TABLE "odd""name" (a text[], b jsonb NOT NULL)',
    "sequence counter": "CREATE SEQUENCE counter",
    "table made.inside": "CREATE SCHEMA made CREATE TABLE inside (id int)",
}
# What it is called, and how it is made. `evil` reads what a lease may not.
SELF_ACTING = {
    "function public.evil()": """CREATE FUNCTION evil() RETURNS int LANGUAGE sql SECURITY DEFINER
        AS 'SELECT amount FROM public.salaries LIMIT 1'""",
    "procedure public.act()": "CREATE PROCEDURE act() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "function public.fire()": """CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM public.evil(); RETURN NEW; END'""",
    "function public.pure(integer)": """CREATE FUNCTION pure(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN PERFORM public.evil(); RETURN i; END'""",
    "aggregate public.total(integer)": "CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)",
    "view public.peek": "CREATE VIEW peek AS SELECT * FROM salaries",
    "materialized view public.kept": "CREATE MATERIALIZED VIEW kept AS SELECT id FROM orders",
    "table public.triggered": "CREATE TABLE triggered (i int); CREATE TRIGGER t BEFORE INSERT ON triggered"
    " FOR EACH ROW EXECUTE FUNCTION fire()",
    "table public.ruled": "CREATE TABLE ruled (i int); CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT evil()",
    "table public.guarded": "CREATE TABLE guarded (i int); CREATE POLICY p ON guarded USING (evil() > 0)",
    "table public.secured": "CREATE TABLE secured (i int); ALTER TABLE secured ENABLE ROW LEVEL SECURITY",
    "table public.defaulting": "CREATE TABLE defaulting (i int, j int DEFAULT evil())",
    "table public.counting": "CREATE TABLE counting (i serial)",
    "table public.generated": "CREATE TABLE generated (i int, j int GENERATED ALWAYS AS (pure(i)) STORED)",
    "table public.checked": "CREATE TABLE checked (i int CHECK (pure(i) > 0))",
    "table public.expressed": "CREATE TABLE expressed (i int); CREATE INDEX ON expressed (pure(i))",
    "table public.partial": "CREATE TABLE partial (i int); CREATE INDEX ON partial (i) WHERE pure(i) > 0",
    "table public.estimated": "CREATE TABLE estimated (i int); CREATE STATISTICS s ON (pure(i)) FROM estimated",
    "type public.positive": "CREATE DOMAIN positive AS int CHECK (pure(VALUE) > 0)",
    "table public.typed": "CREATE TABLE typed (i positive)",
    "table public.nested": "CREATE TABLE nested (i positive[])",
    "type public.mood": "CREATE TYPE mood AS ENUM ('x')",
    "table public.parted": "CREATE TABLE parted (i int) PARTITION BY RANGE (i)",
    "table public.part": "CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (2)",
    "table public.parent": "CREATE TABLE parent (i int)",
    "table public.child": "CREATE TABLE child () INHERITS (parent)",
    "table public.pointed": "CREATE TABLE pointed (i int PRIMARY KEY)",
    "table public.pointing": "CREATE TABLE pointing (i int REFERENCES pointed ON DELETE CASCADE)",
    "type public.span": "CREATE TYPE span AS RANGE (SUBTYPE = int)",
    "table public.spanning": "CREATE TABLE spanning (i span)",
    "type public.pair": "CREATE TYPE pair AS (a int, b int)",
    "operator public.###(integer,integer)": "CREATE OPERATOR ### (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)",
    "collation public.order_of_mine": 'CREATE COLLATION order_of_mine FROM "C"',
    "text search dictionary public.words": "CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple)",
    "text search configuration public.search": "CREATE TEXT SEARCH CONFIGURATION search (PARSER = default)",
    "conversion public.turned": "CREATE CONVERSION turned FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
    "publication told": "CREATE PUBLICATION told FOR TABLE result",
    "schema made": None,  # made above, with a table in it
}
GENEROUS = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class
                WHERE relowner = current_user::regrole AND relkind IN ('r', 'v', 'm', 'p') LOOP
        EXECUTE format('GRANT ALL ON %s TO PUBLIC', name);
        EXECUTE format('GRANT ALL ON %s TO shop_reader, shop_writer WITH GRANT OPTION', name);
    END LOOP;
    FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE proowner = current_user::regrole LOOP
        EXECUTE format('GRANT ALL ON ROUTINE %s TO PUBLIC, shop_reader, shop_writer', name);
    END LOOP;
END $$"""
MORE = """
GRANT ALL ON SCHEMA made TO PUBLIC;
GRANT TRIGGER, REFERENCES (id) ON result TO shop_writer;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO PUBLIC;
DO $$ BEGIN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', lo_from_bytea(0, 'large')); END $$;
"""


async def everything(at, made, password):  # noqa: F811
    """Let the holder make one of each, and give it all to everybody, in two databases."""
    for database in ("shop", "shop2"):
        superuser = await at.server.superuser(database)
        await superuser.execute(f"GRANT CREATE ON DATABASE {database} TO shop_writer, shop_quarantine")
        await superuser.execute(f"SET ROLE shop_owner; GRANT SELECT (id) ON orders TO {made.name} WITH GRANT OPTION")
        session = await at.server.login(made.name, password, database)
        for statement in [*ORDINARY.values(), *filter(None, SELF_ACTING.values())]:
            await session.execute(statement)
        await session.execute(GENEROUS)
        await session.execute(MORE)
        await session.execute("GRANT SELECT (id) ON orders TO PUBLIC")
        await session.close()
        await superuser.execute(f"CREATE POLICY of_the_lease ON orders TO {made.name} USING (true); RESET ROLE")
        await superuser.close()


OWNED = """
SELECT (pg_identify_object(classid, objid, 0)).type || ' ' || (pg_identify_object(classid, objid, 0)).identity AS what
FROM pg_shdepend WHERE refobjid = $1::regrole AND deptype = 'o'
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""


COLUMN_GRANTS = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attacl IS NOT NULL"
DANGLING = """
SELECT count(*) FROM pg_shdepend
WHERE refclassid = 'pg_authid'::regclass AND refobjid NOT IN (SELECT oid FROM pg_authid)"""


async def owned(superuser, role):
    return {row["what"].replace("public.", "") for row in await superuser.fetch(OWNED, role)}


async def test_data_becomes_the_owners_and_what_could_act_is_quarantined_in_each_database(at):  # noqa: F811
    made, password = await leased(at, "shop_writer")
    try:
        await everything(at, made, password)
    finally:
        for database in ("shop", "shop2"):
            await at.superuser.execute(f"REVOKE CREATE ON DATABASE {database} FROM shop_writer")
    await taken_back(at, made)
    assert not await at.exists(made.name)
    expected = {what.replace("public.", "") for what in SELF_ACTING}
    for database in ("shop", "shop2"):
        superuser = await at.server.superuser(database)
        theirs = {"table orders", "table salaries", "sequence keyed_id_seq"}
        assert await owned(superuser, "shop_owner") == {*ORDINARY, *theirs}
        quarantined = await owned(superuser, "shop_quarantine")
        assert quarantined >= expected
        assert {one.split()[0] for one in quarantined - expected} <= {"large", "sequence", "statistics", "type"}
        assert any(one.startswith("large object") for one in quarantined)
        assert await superuser.fetchval(DANGLING) == 0
        assert await superuser.fetchval("SELECT count(*) FROM pg_default_acl") == 0
        assert await superuser.fetchval("SELECT count(*) FROM pg_policy WHERE polname = 'of_the_lease'") == 0
        assert await superuser.fetchval(COLUMN_GRANTS) == 0
        await superuser.close()
    reported = {what.replace("public.", "") for what in at.quarantined[made.id]}
    assert expected <= reported and not reported & {*ORDINARY, "sequence keyed_id_seq"}


READS = [
    "SELECT * FROM salaries",
    "SELECT * FROM peek",
    "SELECT evil()",
    "CALL act()",
    "SELECT * FROM kept",
    "SELECT * FROM parted",
    "INSERT INTO triggered VALUES (1)",
    "INSERT INTO ruled VALUES (1)",
    "INSERT INTO defaulting VALUES (1)",
    "CREATE VIEW again AS SELECT evil()",  # made, but see below
]


async def refusals(session):
    """Return what of READS is refused to this session."""
    found = []
    for statement in READS:
        try:
            await session.fetch(statement)
            if statement.startswith("CREATE VIEW"):
                await session.fetch("SELECT * FROM again")
        except asyncpg.InsufficientPrivilegeError:
            found.append(statement)
    return found


async def give_all_to_the_owner(self, at, lease, oid):  # noqa: F811
    """The control: what a provider does that thinks of data only."""
    await at.execute(f"REASSIGN OWNED BY {lease.name} TO shop_owner; DROP OWNED BY {lease.name}")


@pytest.mark.parametrize("guarded", [True, False], ids=["as-built", "control"])
async def test_a_later_lease_reads_nothing_through_what_an_earlier_one_left(at, monkeypatch, guarded):  # noqa: F811
    if not guarded:
        monkeypatch.setattr(PostgresProvider, "_clean_database", give_all_to_the_owner)
        for database in ("shop", "shop2"):
            superuser = await at.server.superuser(database)
            await superuser.execute(f"GRANT CREATE ON DATABASE {database} TO taskbound_broker, shop_owner")
            await superuser.close()
    made, password = await leased(at, "shop_writer")
    session = await at.server.login(made.name, password)
    for statement in [*ORDINARY.values(), *filter(None, SELF_ACTING.values())]:
        if "SCHEMA made" not in statement and "PUBLICATION" not in statement:  # it may make none
            await session.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.execute("SELECT evil()")
    await session.execute(GENEROUS)
    await session.close()
    try:
        await taken_back(at, made)
        later, password = await leased(at, "shop_writer")
        session = await at.server.login(later.name, password)
        refused = await refusals(session)
        if guarded:
            assert refused == READS
        else:
            assert "SELECT * FROM peek" not in refused and "SELECT evil()" not in refused
            assert await session.fetchval("SELECT amount FROM peek") == await session.fetchval("SELECT evil()") == 4711
        await session.close()
        await taken_back(at, later) if guarded else await at.provider.cut(later)
    finally:
        for database in ("shop", "shop2"):
            await at.superuser.execute(f"REVOKE CREATE ON DATABASE {database} FROM taskbound_broker, shop_owner")


@pytest.mark.parametrize("guarded", [True, False], ids=["as-built", "control"])
async def test_no_later_lease_hangs_a_trigger_on_data_that_became_the_owners(at, monkeypatch, guarded):  # noqa: F811
    if not guarded:
        monkeypatch.setattr(sql, "withdrawals", lambda granted, ordinary: [])
    made, password = await leased(at, "shop_writer")
    session = await at.server.login(made.name, password)
    await session.execute("CREATE TABLE trap (i int); GRANT ALL ON trap TO PUBLIC, shop_writer")
    await session.close()
    await taken_back(at, made)

    later, password = await leased(at, "shop_writer")
    session = await at.server.login(later.name, password)
    await session.execute("CREATE TABLE loot (amount int); GRANT ALL ON loot TO PUBLIC")
    await session.execute(
        """CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO loot SELECT amount FROM public.salaries; RETURN NEW; END'"""
    )
    trigger = "CREATE TRIGGER t BEFORE INSERT ON trap FOR EACH ROW EXECUTE FUNCTION fire()"
    if guarded:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(trigger)
        await session.execute("INSERT INTO trap VALUES (1)")  # what was granted by name stays granted
    else:
        await session.execute(trigger)
        await at.superuser.execute("SET ROLE shop_owner; INSERT INTO trap VALUES (1); RESET ROLE")
        assert await session.fetchval("SELECT amount FROM loot") == 4711, "the control does not leak"
    await session.close()
    await taken_back(at, later)


async def test_cleaning_waits_for_nobody_for_ever_and_succeeds_once_the_lock_is_gone(at):  # noqa: F811
    made, password = await leased(at, "shop_writer")
    session = await at.server.login(made.name, password)
    await session.execute("CREATE TABLE held (i int)")
    await session.close()
    reader = await at.server.superuser()
    await reader.execute("BEGIN; SELECT * FROM held")
    await at.provider.cut(made)
    started = time.monotonic()
    with pytest.raises(TargetUnavailable):
        await at.provider.clean(made)
    assert time.monotonic() - started < 3
    assert await at.exists(made.name) and not await at.server.lets_in(made.name, password)
    await reader.close()
    await at.provider.clean(made)
    assert not await at.exists(made.name)
    assert "table held" in await owned(at.superuser, "shop_owner")


async def test_cleaning_ends_at_its_own_limit_too_and_leaves_no_half(at, monkeypatch):  # noqa: F811
    made, password = await leased(at, "shop_writer")
    session = await at.server.login(made.name, password)
    await session.execute("CREATE TABLE held (i int); CREATE TABLE other (i int)")
    await session.close()
    await at.provider.cut(made)
    reader = await at.server.superuser()
    await reader.execute("BEGIN; SELECT * FROM held")
    monkeypatch.setattr("taskbound.plugins.providers.postgres.CLEAN_WITHIN", 0.2)
    started = time.monotonic()
    with pytest.raises(TargetUnavailable):
        await at.provider.clean(made)
    assert time.monotonic() - started < 0.6
    await reader.close()
    monkeypatch.undo()
    assert {"table held", "table other"} <= await owned(at.superuser, made.name)
    await at.provider.clean(made)
    assert not await at.exists(made.name)


async def test_cleaning_refuses_rather_than_guesses(at):  # noqa: F811
    made, password = await leased(at, "shop_writer")
    session = await at.server.login(made.name, password)
    with pytest.raises(TargetUnavailable, match="must be cut"):
        await at.provider.clean(made)
    await session.execute("CREATE FUNCTION odd() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE plain (i int)")
    await at.provider.cut(made)
    await at.superuser.execute("REVOKE CREATE ON SCHEMA public FROM shop_quarantine")
    with pytest.raises(TargetUnavailable):
        await at.provider.clean(made)
    assert await at.exists(made.name) and {"function odd()", "table plain"} <= await owned(at.superuser, made.name)
    await at.superuser.execute("GRANT CREATE ON SCHEMA public TO shop_quarantine")
    other = await at.server.superuser("shop2")
    await other.execute(f"GRANT SELECT ON orders TO {made.name}")
    await at.superuser.execute("REVOKE CONNECT ON DATABASE shop2 FROM PUBLIC")
    try:
        with pytest.raises(TargetUnavailable, match="cannot connect"):
            await at.provider.clean(made)
    finally:
        await at.superuser.execute("GRANT CONNECT ON DATABASE shop2 TO PUBLIC")
    await other.close()
    await at.provider.clean(made)
    assert not await at.exists(made.name)
    await at.provider.clean(made)


async def test_two_leases_that_grant_each_other_things_are_cleaned_in_any_order(at):  # noqa: F811
    await at.superuser.execute("GRANT CREATE ON DATABASE shop TO shop_writer, shop_quarantine")
    (one, first), (two, second) = await leased(at, "shop_writer"), await leased(at, "shop_writer")
    await at.superuser.execute("REVOKE CREATE ON DATABASE shop FROM shop_writer")
    await at.superuser.execute(f"GRANT CREATE ON DATABASE shop TO {one.name}")
    session = await at.server.login(one.name, first)
    await session.execute("CREATE SCHEMA made CREATE TABLE shared (i int)")
    await session.execute(
        f"GRANT ALL ON made.shared TO {two.name} WITH GRANT OPTION; GRANT ALL ON SCHEMA made TO PUBLIC"
    )
    await session.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {two.name}")
    await session.close()
    session = await at.server.login(two.name, second)
    await session.execute("CREATE TABLE made.inside (i int); CREATE VIEW made.looking AS SELECT 1")
    await session.execute(f"GRANT ALL ON made.inside TO {one.name}; GRANT SELECT ON made.shared TO shop_reader")
    await session.close()
    for lease in (two, one):  # the second while the schema is still the first's
        await at.provider.cut(lease)
    await at.provider.clean(two)
    with pytest.raises(TargetUnavailable):
        await at.provider.clean(one)  # what an administrator granted by hand is not ours to take back ...
    await at.superuser.execute(f"REVOKE CREATE ON DATABASE shop FROM {one.name}")
    await at.provider.clean(one)  # ... and once it is gone, nothing is in the way
    assert {"table made.shared", "table made.inside"} <= await owned(at.superuser, "shop_owner")
    assert {"schema made", "view made.looking"} <= await owned(at.superuser, "shop_quarantine")
    await at.superuser.execute("SET ROLE shop_owner; SELECT * FROM made.inside; SELECT * FROM made.shared; RESET ROLE")


async def test_more_tables_than_a_server_has_locks_are_cleaned_all_the_same(at):  # noqa: F811
    made, password = await leased(at, "shop_writer")
    session, tables = await at.server.login(made.name, password), trials(20_000, 1200)
    for _ in range(tables // 400):
        await session.execute(
            """DO $$ BEGIN FOR i IN 1..400 LOOP
            EXECUTE format('CREATE TABLE many_%s (i int)', (SELECT count(*) FROM pg_class)); END LOOP; END $$"""
        )
    await session.close()
    await taken_back(at, made)
    question = "SELECT count(*) FROM pg_tables WHERE starts_with(tablename, 'many_') AND tableowner = 'shop_owner'"
    assert await at.superuser.fetchval(question) == tables
    names = [row["name"] for row in await at.superuser.fetch("SELECT tablename AS name FROM pg_tables")]
    names = [name for name in names if name.startswith("many_")]
    for start in range(0, len(names), 1000):  # nor does a superuser drop them at once
        await at.superuser.execute("DROP TABLE " + ", ".join(names[start : start + 1000]))


async def test_a_changed_password_dies_with_the_lease(at):  # noqa: F811
    made, password = await leased(at)
    session = await at.server.login(made.name, password)
    await session.execute(f"ALTER ROLE {made.name} PASSWORD 'of the holder'")
    await session.close()
    assert await at.server.lets_in(made.name, "of the holder")
    await at.provider.cut(made)
    assert not await at.server.lets_in(made.name, "of the holder")


@pytest.mark.parametrize("guarded", [True, False], ids=["as-built", "control"])
async def test_what_a_lease_puts_in_the_way_is_not_run_by_the_broker(at, monkeypatch, guarded):  # noqa: F811
    """Functions of the same names as those that the broker uses stand in public, and are not met."""
    if not guarded:
        real = asyncpg.connect

        def connect(*args, server_settings=None, **named):
            settings = (server_settings or {}) | {"search_path": "public, pg_catalog"}
            return real(*args, server_settings=settings, **named)

        monkeypatch.setattr(asyncpg, "connect", connect)
    made, password = await leased(at, "shop_writer")
    session = await at.server.login(made.name, password)
    await session.execute("CREATE TABLE ran (who text); GRANT ALL ON ran TO PUBLIC")
    for signature in ("format(text, name, name)", "starts_with(name, text)", "quote_ident(name)"):
        await session.execute(
            f"""CREATE FUNCTION public.{signature} RETURNS boolean LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN true; END'"""
        )
    await session.close()
    if guarded:
        await at.provider.names()
        await taken_back(at, made)
    else:
        at.provider._cutting.drop()
        with suppress(TargetUnavailable):
            await at.provider.names()
    monkeypatch.undo()
    await at.superuser.execute("SET search_path = pg_catalog")
    assert (await at.superuser.fetchval("SELECT count(*) FROM public.ran") == 0) == guarded
