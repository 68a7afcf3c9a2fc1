"""A database that is away, hangs, loses an answer or takes nothing: StoreUnavailable in a bounded time (D26, D31).

Nothing is permitted then, nothing is told to have happened that may not have, and once the
database is back the next transaction works.
"""

import asyncio
import time
from contextlib import asynccontextmanager

import asyncpg
import pytest

from taskbound.core.errors import StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.store.postgres import pool as postgres_pool
from taskbound.store.postgres import time as postgres_time
from tests.contracts.store import GATEWAY, clock, task  # noqa: F401
from tests.postgres.proxy import proxy_before
from tests.postgres.server import server  # noqa: F401
from tests.store.postgres_database import PASSWORD, ROLE, database, store  # noqa: F401
from tests.store.test_postgres_races import held

SLACK = 3.0  # seconds beyond the bound, for a machine that has other things to do


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Bounds as small as a test likes them."""
    monkeypatch.setattr(postgres_pool, "CONNECT_WITHIN", 0.5)
    monkeypatch.setattr(postgres_pool, "ANSWER_WITHIN", 0.5)
    monkeypatch.setattr(postgres_pool, "WAIT_WITHIN", 0.5)


@pytest.fixture
async def proxy(server):  # noqa: F811
    async with proxy_before(server) as made:
        yield made


@pytest.fixture
async def far(proxy, database, clock, store):  # noqa: F811
    """A store that reaches its database by way of the proxy."""
    url = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{proxy.port}/{database.name}?sslmode=disable"
    made = await database.open(clock, Secret(url))
    yield made
    await proxy.up()
    await made.close()


async def opens(store, letter: str = "a") -> Task:  # noqa: F811
    made = task("t" + letter * 20)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made)
    return made


async def ids(database) -> set[str]:  # noqa: F811
    async with database.reading() as at:
        events = {row["thing"] for row in await at.fetch("SELECT thing FROM events")}
        assert {row["id"] for row in await at.fetch("SELECT id FROM tasks")} == events
    return events


@asynccontextmanager
async def refused_within(seconds: float):
    start = time.monotonic()
    with pytest.raises(StoreUnavailable):
        yield
    assert time.monotonic() - start < seconds + SLACK


async def test_a_database_that_is_away_and_back(far, proxy, database):  # noqa: F811
    await opens(far)
    await proxy.down()
    async with refused_within(0.5):
        await opens(far, "b")
    async with refused_within(0.5), far.transaction(GATEWAY) as tx:
        await tx.find(Task)
    await proxy.up()
    await opens(far, "c")
    assert await ids(database) == {"t" + "a" * 20, "t" + "c" * 20}


async def test_a_database_that_is_away_when_a_node_starts(proxy, database, clock):  # noqa: F811
    await proxy.down()
    url = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{proxy.port}/{database.name}?sslmode=disable"
    async with refused_within(0.5):
        await database.open(clock, Secret(url))
    await proxy.up()
    proxy.hang()
    async with refused_within(0.5):
        await database.open(clock, Secret(url))


async def test_a_connection_that_breaks_in_the_middle(far, proxy, database):  # noqa: F811
    async with refused_within(0.5), held(far) as tx:
        await tx.record(Kind.TASK_OPENED, task())
        await proxy.down()
        await tx.find(Task)
    await proxy.up()
    assert await ids(database) == set()
    await opens(far)


async def test_a_connection_that_breaks_before_commit_arrives(far, proxy, database):  # noqa: F811
    async with refused_within(0.5), held(far) as tx:
        await tx.record(Kind.TASK_OPENED, task())
        proxy.cut_off = b"COMMIT"
    proxy.cut_off = None
    assert await ids(database) == set()
    await opens(far)


async def test_an_answer_to_commit_that_is_lost_is_never_success(far, proxy, database):  # noqa: F811
    with pytest.raises(StoreUnavailable, match="whether it happened is not known"):
        async with held(far) as tx:
            await tx.record(Kind.TASK_OPENED, task())
            proxy.lose = 1
    assert proxy.lost == 1
    assert await ids(database) == {"t" + "a" * 20}, "it had happened"
    async with far.transaction(GATEWAY) as tx:
        assert (await tx.get(Task, "t" + "a" * 20)).state == "open"


async def test_a_database_that_hangs_in_the_middle(far, proxy, database):  # noqa: F811
    async with held(far), held(far), held(far):
        pass
    assert len(far.links._idle) == 3
    async with refused_within(0.5), held(far) as tx:
        await tx.record(Kind.TASK_OPENED, task())
        proxy.hang()
        await tx.find(Task)
    assert far.links._idle == [], "each of them would be waited for in its turn"
    async with refused_within(2):  # and whoever comes next
        await opens(far, "b")
    await proxy.up()
    await opens(far, "c")
    assert await ids(database) == {"t" + "c" * 20}


async def test_a_database_that_hangs_at_commit(far, proxy, database):  # noqa: F811
    with pytest.raises(StoreUnavailable, match="whether it happened is not known"):
        async with held(far) as tx:
            await tx.record(Kind.TASK_OPENED, task())
            proxy.hang()
    await proxy.up()


async def test_a_server_that_ends_the_sessions(store, database):  # noqa: F811
    await opens(store)
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = $2"
    async with database.reading() as at, refused_within(0.5), held(store) as tx:
        await tx.record(Kind.TASK_OPENED, task("t" + "b" * 20))
        await at.execute(end, database.name, ROLE)
        await tx.find(Task)
    await opens(store, "c")
    assert await ids(database) == {"t" + "a" * 20, "t" + "c" * 20}


async def test_a_database_that_was_made_read_only(store, database, clock):  # noqa: F811
    async with database.reading() as at:
        await at.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
        try:
            async with refused_within(0.5):
                await database.open(clock)
            while store.links._idle:  # a connection from before is not told
                store.links._idle.pop().at.terminate()
            async with refused_within(0.5):
                await opens(store)
        finally:
            await at.execute("SET default_transaction_read_only = off")
            await at.execute(f"ALTER DATABASE {database.name} RESET default_transaction_read_only")
    await opens(store, "b")
    link = await store.links.take()
    await link.at.execute("SET default_transaction_read_only = on")
    store.links.give(link)
    async with refused_within(0.5):
        await opens(store, "c")
    assert await ids(database) == {"t" + "b" * 20}


# --- durability --------------------------------------------------------------------------------------


@asynccontextmanager
async def role_without_durability(database):  # noqa: F811
    async with database.reading() as at:
        await at.execute(f"ALTER ROLE {ROLE} IN DATABASE {database.name} SET synchronous_commit = off")
        await at.execute(f"ALTER ROLE {ROLE} IN DATABASE {database.name} SET search_path = public")
        try:
            yield
        finally:
            await at.execute(f"ALTER ROLE {ROLE} IN DATABASE {database.name} RESET ALL")


async def test_no_setting_of_the_role_makes_a_commit_less_durable(database, clock, store):  # noqa: F811
    async with role_without_durability(database):
        again = await database.open(clock)
        async with again.transaction(GATEWAY) as tx:
            assert (await tx.query("SELECT current_setting('synchronous_commit')"))[0][0] == "on"
            assert (await tx.query("SELECT current_setting('search_path')"))[0][0] == postgres_pool.SCHEMA
        await again.close()


async def test_a_database_that_would_not_be_verified_is_not_even_connected_to(monkeypatch):
    async def never(*args, **settings):
        raise AssertionError("it was connected to")

    monkeypatch.setattr(asyncpg, "connect", never)
    with pytest.raises(StoreUnavailable, match="would not be verified"):
        await postgres_pool.connect(Secret("postgresql://a:b@db.example/x"))


@pytest.mark.parametrize("dropped", ["synchronous_commit", "search_path"])
async def test_a_connection_that_did_not_get_its_settings_is_refused(database, clock, monkeypatch, store, dropped):  # noqa: F811
    """As by a pooler that drops what it does not know."""
    passed = {name: value for name, value in postgres_pool.SETTINGS.items() if name != dropped}
    connect = asyncpg.connect

    async def pooled(*args, **settings):
        return await connect(*args, **settings | {"server_settings": passed})

    monkeypatch.setattr(asyncpg, "connect", pooled)
    async with role_without_durability(database):
        with pytest.raises(StoreUnavailable, match="drops the settings"):
            await database.open(clock)


async def test_a_commit_that_the_server_warns_about_is_no_success(store, database):  # noqa: F811
    """As when it gave up to wait for a standby: it is committed here, and maybe nowhere else."""
    async with database.reading() as at:
        await at.execute("""
            CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE WARNING 'only here'; RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER warns AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION warn()""")
        try:
            with pytest.raises(StoreUnavailable, match="did not commit as it was told to"):
                await opens(store)
        finally:
            await at.execute("DROP TRIGGER warns ON tasks; DROP FUNCTION warn()")
    await opens(store, "b")


async def test_a_commit_that_fails_is_no_success(store, database):  # noqa: F811
    async with database.reading() as at:
        await at.execute("""
            CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION refuse('not now')""")
        try:
            with pytest.raises(StoreUnavailable):
                await opens(store)
        finally:
            await at.execute("DROP TRIGGER fails ON tasks")
    assert await ids(database) == set()


async def test_an_aborted_transaction_that_commits_is_no_success(store, database):  # noqa: F811
    """The server answers ROLLBACK to the COMMIT of one, and says no more."""
    with pytest.raises(StoreUnavailable, match="did not commit as it was told to"):
        async with held(store) as tx:
            await tx.record(Kind.TASK_OPENED, task())
            with pytest.raises(asyncpg.PostgresError):
                await tx._block._link.at.execute("SELECT 1/0")
    assert await ids(database) == set()


# --- other nodes, and too many -------------------------------------------------------------------------


async def test_a_node_that_stops_in_the_middle_holds_nobody_for_long(store, database, clock, monkeypatch):  # noqa: F811
    monkeypatch.setattr(postgres_pool, "ANSWER_WITHIN", 4.0)
    waiting = await database.open(clock)  # with a client's patience, which is longer than the stopped node may hold on
    made = await opens(waiting)
    monkeypatch.setitem(postgres_pool.SETTINGS, "idle_in_transaction_session_timeout", "300")
    stopped = await database.open(clock)
    with pytest.raises(StoreUnavailable, match="InterfaceError"):  # closed by the server
        async with held(stopped) as tx:
            await tx.get(Task, made.id, lock=True)
            start = time.monotonic()
            async with waiting.transaction(GATEWAY) as other:  # waits for the lock, which the server takes away
                read = await other.get(Task, made.id, lock=True)
                await other.record(Kind.TASK_ENDED, advance(read, Kind.TASK_ENDED, due=None))
            assert time.monotonic() - start < 1 + SLACK
            await tx.record(Kind.TASK_EXTENDED, advance(read, Kind.TASK_EXTENDED, reason="too late"))
    async with store.transaction(GATEWAY) as tx:
        assert (await tx.get(Task, made.id)).state == "ended"
    await waiting.close()
    await stopped.close()


async def test_the_bounds_of_the_server_are_shorter_than_those_of_the_client():
    """So that who waits for a lock outlasts a stopped node, and gets the server's answer, not its own."""
    settings = {name: int(value) / 1000 for name, value in postgres_pool.SETTINGS.items() if name.endswith("_timeout")}
    assert settings["idle_in_transaction_session_timeout"] < settings["lock_timeout"] < settings["statement_timeout"]


async def test_who_finds_no_free_connection_is_told_so(database, clock, store):  # noqa: F811
    small = await database.open(clock, size=1)
    async with held(small) as tx:
        async with refused_within(0.5):
            await opens(small)
        await tx.find(Task)
    await opens(small, "b")
    await small.close()


async def test_a_lock_that_is_not_given_is_refused_in_time(store, database, monkeypatch, clock):  # noqa: F811
    monkeypatch.setitem(postgres_pool.SETTINGS, "lock_timeout", "200")
    other = await database.open(clock)
    made = await opens(store)
    async with held(store) as tx:
        await tx.get(Task, made.id, lock=True)
        async with refused_within(0.5), other.transaction(GATEWAY) as waiting:
            await waiting.get(Task, made.id, lock=True)
        async with other.transaction(GATEWAY) as reading:
            assert (await reading.get(Task, made.id)).state == "open"
    await other.close()


# --- time --------------------------------------------------------------------------------------------


async def test_a_time_that_cannot_be_read_any_more_stops_everything(far, proxy, monkeypatch):
    await opens(far)
    monkeypatch.setattr(postgres_time, "FRESH", 0.0)
    proxy.hang()
    async with refused_within(1), far.transaction(GATEWAY):
        pass
    await proxy.up()
    await asyncio.sleep(0)
    await opens(far, "b")
