"""A node's name is one process's: who comes second is refused, and who lost it to another is told (serve)."""

import asyncio

import pytest

from taskbound.core.errors import StoreUnavailable, Unavailable
from taskbound.core.event import Kind
from taskbound.core.secret import Secret
from taskbound.store.postgres import name as names
from taskbound.store.postgres import pool
from tests.contracts.store import GATEWAY, clock, task  # noqa: F401
from tests.postgres.proxy import Proxy, proxy_before
from tests.postgres.server import server  # noqa: F401
from tests.store.postgres_database import PASSWORD, ROLE, database, store  # noqa: F401

LOOK = names.LOOK  # as it is outside of these tests

HOLDERS = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(names, "AGAIN", 0.02)
    monkeypatch.setattr(names, "LOOK", 0.05)


@pytest.fixture
async def other(database, clock, store):  # noqa: F811
    made = await database.open(clock)
    yield made
    await made.close()


async def works(store) -> bool:  # noqa: F811
    try:
        async with store.transaction(GATEWAY):
            return True
    except StoreUnavailable:
        return False


async def until(holds) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in the database
            await asyncio.sleep(0.02)


async def cut(database) -> None:  # noqa: F811
    """End every connection that holds a name, as a restart of the database does."""
    at = await database.superuser()
    await at.execute(f"SELECT pg_terminate_backend(pid) FROM ({HOLDERS}) AS held")
    await at.close()


async def test_a_second_process_of_the_name_is_refused(store, other):  # noqa: F811
    await store.hold("abcdef")
    with pytest.raises(Unavailable, match="node abcdef") as refused:
        await other.hold("abcdef")
    assert refused.value.code == "already_running" and "remove the file" in refused.value.hint
    assert await works(store) and await works(other)  # who was refused holds nothing, and is told so at its start
    await other.hold("ghijkl")


async def test_the_name_is_free_when_its_process_ends(store, other):  # noqa: F811
    await store.hold("abcdef")
    waiting = asyncio.create_task(other.hold("abcdef"))
    await asyncio.sleep(0.05)
    await store.close()
    await waiting


async def test_the_name_is_held_until_nothing_is_under_way(store, other):  # noqa: F811
    await store.hold("abcdef")
    link = await store.links.take()  # as a transaction does
    closing = asyncio.create_task(store.close())
    with pytest.raises(Unavailable):
        await other.hold("abcdef")
    store.links.give(link)
    await closing
    await other.hold("abcdef")


async def test_a_lost_connection_takes_the_name_again(store, other, database):  # noqa: F811
    await store.hold("abcdef")
    await cut(database)

    async def is_held() -> bool:
        at = await database.superuser()
        try:
            return len(await at.fetch(HOLDERS)) == 1
        finally:
            await at.close()

    await until(is_held)
    await until(lambda: works(store))
    with pytest.raises(Unavailable):
        await other.hold("abcdef")


async def test_a_lost_connection_is_made_again_at_once(store, database, monkeypatch):  # noqa: F811
    monkeypatch.setattr(names, "LOOK", 600)
    await store.hold("abcdef")
    await asyncio.sleep(0.05)
    await cut(database)
    await until(lambda: works(store))


async def test_a_node_whose_name_another_took_does_nothing_more(store, other, database):  # noqa: F811
    await store.hold("abcdef")
    store._name._watch.cancel()  # the other is to hold it before the first looks again
    await cut(database)
    await other.hold("abcdef")
    assert not await works(store), "it has lost the name, whether it looked or not"
    store._name._watch = asyncio.create_task(store._name._watching())

    async def is_barred() -> bool:
        return not await works(store)

    await until(is_barred)
    assert await works(other)
    await other.close()

    async def is_back() -> bool:
        return await works(store)

    await until(is_back)  # the other is gone, so the name is its own again


# --- a name of which nobody knows whose it is -----------------------------------------------------------


@pytest.fixture
async def proxy(store, server, database):  # noqa: F811
    """Between a node's name and the database, and between nothing else: whoever lets transactions in could."""
    async with proxy_before(server) as made:
        store._dsn = Secret(f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{made.port}/{database.name}?sslmode=disable")
        yield made
        await store.close()  # before the proxy, which it uses


async def is_unknown(store) -> bool:  # noqa: F811
    try:
        async with store.transaction(GATEWAY):
            return False
    except StoreUnavailable as error:
        return "is not known" in str(error)


@pytest.fixture
def brief(monkeypatch):
    """Bounds as small as a test likes them."""
    monkeypatch.setattr(names, "SURE", 0.5)
    for name in ("CONNECT_WITHIN", "ANSWER_WITHIN"):
        monkeypatch.setattr(pool, name, 1.0)


async def broken(proxy: Proxy) -> None:
    await proxy.down()


async def silent(proxy: Proxy) -> None:
    proxy.hang()


@pytest.mark.parametrize("fault", [broken, silent])
async def test_a_node_that_cannot_know_whether_its_name_is_its_own_does_nothing_more(store, proxy, brief, fault):  # noqa: F811
    await store.hold("abcdef")
    await until(lambda: works(store))
    await fault(proxy)

    async def is_noticed() -> bool:
        return store._name._at is None

    await until(is_noticed)
    await until(lambda: is_unknown(store))
    await proxy.up()
    await until(lambda: works(store))


async def test_what_began_before_writes_nothing_when_the_name_is_gone(store, proxy, monkeypatch):  # noqa: F811
    await store.hold("abcdef")
    monkeypatch.setattr(names, "LOOK", 60)
    with pytest.raises(StoreUnavailable, match="is not known"):
        async with store.transaction(GATEWAY) as tx:  # its process stops here for a while
            monkeypatch.setattr(names, "SURE", 0)
            await tx.record(Kind.TASK_OPENED, task())


async def test_a_silent_node_stops_before_the_server_gives_its_name_away(store):  # noqa: F811
    await store.hold("abcdef")
    rows = await store._name._at.fetch("SELECT name, setting::int FROM pg_settings WHERE name ~ '^tcp_'")
    of = dict(rows)
    idle, asking = of["tcp_keepalives_idle"], of["tcp_keepalives_interval"] * of["tcp_keepalives_count"]
    assert idle + asking == names.GONE == of["tcp_user_timeout"] / 1000
    assert LOOK + pool.ANSWER_WITHIN + pool.CONNECT_WITHIN < names.SURE < names.GONE
