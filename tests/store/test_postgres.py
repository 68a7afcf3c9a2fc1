"""The PostgreSQL store keeps the store's contract; and what only a store on a server can break."""

import asyncio
import contextlib
import json
import multiprocessing
import random
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from taskbound.core.errors import Conflict, InvalidRequest, NotFound, StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Registration
from taskbound.core.lease import Lease
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.store import migrations
from taskbound.store.postgres import sql
from taskbound.store.postgres.facts import REMEMBERED
from taskbound.store.rows import TABLES
from tests.contracts.store import *  # noqa: F403
from tests.contracts.store import ELSEWHERE, GATEWAY, call, lease, task
from tests.postgres import server as postgres
from tests.postgres.server import server  # noqa: F401
from tests.profile import trials
from tests.store.postgres_database import PASSWORD, ROLE, database, drop_database, new_database, overlaps, store  # noqa: F401
from tests.store.recorder import record_in_postgres_until_killed
from tests.store.stored import check_postgres


async def opened(store, id: str = "t" + "a" * 20, **shared: int) -> Task:  # noqa: F811
    made = task(id)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared=shared)
    return made


@pytest.fixture
def fresh(server):  # noqa: F811
    """A database in which nothing is yet."""
    made = new_database(server)
    yield made
    drop_database(made)


# --- reading -----------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the database is asked, in order."""
    texts = list[str]()
    for name in ("fetch", "execute"):
        real = getattr(asyncpg.Connection, name)

        async def counted(at, text, *values, real=real, **settings):
            texts.append(text)
            return await real(at, text, *values, **settings)

        monkeypatch.setattr(asyncpg.Connection, name, counted)
    return texts


async def test_a_decision_asks_five_times_however_deep_its_task(store, asked):  # noqa: F811
    actor = "spiffe://example.org/agent/nightly"
    known = advance(
        Registration("i" + "a" * 20, "main", actor, "agent", actor, "", "", (), "unix", {}), Kind.IDENTITY_REGISTERED
    )
    top = await opened(store, calls=5)
    middle, made = task("t" + "b" * 20, top), task("t" + "c" * 20, replace(top, id="t" + "b" * 20, depth=1))
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.IDENTITY_REGISTERED, known)
        await tx.record(Kind.TASK_OPENED, middle, shared={"calls": 4})
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 3})
    asked.clear()
    async with store.transaction(GATEWAY) as tx:  # as `prove` and `gather` ask
        (found,) = await tx.find(Task, handle=made.handle)
        assert [await tx.get(Task, one.id) for one in (found, middle, top)] == [made, middle, top]
        assert await tx.find(Registration, spiffe_id=actor) == [known]
        assert (await tx.labels(top.id), await tx.left(made.id)) == (frozenset(), {"calls": 3})
        await tx.record(Kind.CALL_PERMITTED, call(made), spent={"calls": 1})
    assert [text.split(" ", 1)[0] for text in asked] == ["WITH", "BEGIN", "SELECT", "WITH", "COMMIT"]


def touched(plan: dict[str, Any]) -> float:
    """Return how many rows of tables a plan has read, as EXPLAIN (ANALYZE, FORMAT JSON) shows it."""
    own: float = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Relation Name" in plan else 0
    return own * float(plan["Actual Loops"]) + sum(touched(part) for part in plan.get("Plans", ()))


@pytest.mark.parametrize("column", ["id", "handle"])
async def test_a_task_is_read_by_its_keys_however_many_there_are(store, database, column):  # noqa: F811
    actor = "spiffe://example.org/agent/nightly"
    known = Registration("i" + "a" * 20, "main", actor, "agent", actor, "", "", (), "unix", {})
    made = task("t" + "b" * 20, await opened(store, calls=5))
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.IDENTITY_REGISTERED, advance(known, Kind.IDENTITY_REGISTERED))
        await tx.record(Kind.TASK_OPENED, made)
    async with database.reading() as at:
        for table, field in (("tasks", "handle"), ("identities", "spiffe_id")):
            other = f"jsonb_build_object('id', 'more' || n, '{field}', 'more' || n)"
            names = "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0"
            columns = [row[0] for row in await at.fetch(f"{names} AND attgenerated = ''", f"taskbound.{table}")]
            filled = ", ".join(f"(jsonb_populate_record({table}, {other})).{column}" for column in columns)
            await at.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {filled}"
                f" FROM {table}, generate_series(1, 3000) AS n ON CONFLICT DO NOTHING"
            )
        await at.execute("ANALYZE")
        text = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.WORK[column]}"
        (plan,) = json.loads(await at.fetchval(text, "main", getattr(made, column)))
    assert 0 < touched(plan["Plan"]) < 50


async def test_who_acts_in_no_name_that_is_known_is_asked_for(store):  # noqa: F811
    made = await opened(store)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.get(Task, made.id) == made
        assert await tx.find(Registration, spiffe_id=made.actor) == []
        with pytest.raises(NotFound):
            await tx.get(Task, "t" + "z" * 20)


async def test_two_tasks_of_one_handle_are_both_found(store):  # noqa: F811
    top = await opened(store)
    same = replace(task("t" + "b" * 20, top), handle=top.handle)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, same)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.find(Task, handle=top.handle) == [top, same]
    async with store.transaction(ELSEWHERE) as tx:
        assert await tx.find(Task, handle=top.handle) == []


async def test_what_is_known_is_told_to_nobody_after_the_end(store):  # noqa: F811
    made = await opened(store, calls=1)
    async with store.transaction(GATEWAY) as tx:
        await tx.get(Task, made.id)
    for ask in (lambda: tx.get(Task, made.id), lambda: tx.left(made.id), lambda: tx.labels(made.id)):
        with pytest.raises(RuntimeError, match="outside its block"):
            await ask()


# --- facts -------------------------------------------------------------------------------------------


async def test_what_is_not_stored_cannot_be_referred_to_and_the_body_may_go_on(store, database):  # noqa: F811
    absent = task()
    below = task("t" + "b" * 20, absent)
    async with store.transaction(GATEWAY) as tx:
        for kind, thing in (
            (Kind.LEASE_REQUESTED, lease(absent)),
            (Kind.CALL_DENIED, replace(call(absent), state="denied")),
            (Kind.CALL_PERMITTED, call(absent)),
            (Kind.TASK_OPENED, below),
        ):
            with pytest.raises(Conflict, match="what is not stored"):
                await tx.record(kind, thing)
        await tx.record(Kind.TASK_OPENED, absent)
    assert {id for _, _, id in (await check_postgres(database)).things} == {absent.id}


async def test_what_has_no_form_in_the_database_is_refused_and_the_body_may_go_on(store, database):  # noqa: F811
    async with store.transaction(GATEWAY) as tx:
        for changed in ({"reason": "\ud800"}, {"reason": "a\0b"}, {"depth": 2**63}):
            with pytest.raises(InvalidRequest):
                await tx.record(Kind.TASK_OPENED, replace(task(), **changed))
        with pytest.raises(InvalidRequest):
            await tx.record(Kind.TASK_OPENED, task(), shared={"calls": 2**63})
        for id in ("\ud800", "\0"):
            with pytest.raises(InvalidRequest):
                await tx.get(Task, id)
            with pytest.raises(InvalidRequest):
                await tx.find(Task, handle=id)
        with pytest.raises(InvalidRequest):
            await tx.once("proof", "\ud800", tx.now)
        await tx.once("proof", "\0", tx.now)
        kept = replace(task(), intent=replace(task().intent, text="a\0b"))  # nested: JSON has a form for it
        await tx.record(Kind.TASK_OPENED, kept)
        assert await tx.get(Task, kept.id) == kept
    await check_postgres(database)


async def test_text_is_text_whatever_it_says(store, database):  # noqa: F811
    names = ("'; DROP TABLE tasks; --", '" OR true --', "$1", "%s", "\\'; SELECT pg_sleep(9)", "{}", "a" * 5000)
    async with store.transaction(GATEWAY) as tx:
        for n, name in enumerate(names):
            made = replace(task(f"t{n}"), reason=name, actor=name[:200], intent=replace(task().intent, text=name))
            await tx.record(Kind.TASK_OPENED, made, shared={name[:200]: 1}, note=name)
            await tx.once(name[:200], name, tx.now)
            asked = call(made, f"c{n}", labels=(name[:200],))
            await tx.record(Kind.CALL_PERMITTED, asked, spent={name[:200]: 1})
            assert await tx.get(Task, made.id) == made
            assert await tx.find(Task, actor=name[:200]) == [made]
            assert await tx.left(made.id) == {name[:200]: 0}
            assert await tx.labels(made.root) == {name[:200]}
            with pytest.raises(NotFound):
                await tx.get(Task, name)
    await check_postgres(database)


async def test_an_indexed_text_that_is_too_long_is_refused(store):  # noqa: F811
    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz234567", k=9000))
    with pytest.raises(InvalidRequest):
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, replace(task(), actor=noise))
    await opened(store)


async def test_every_indexed_field_has_its_index(store, database):  # noqa: F811
    async with database.reading() as at:
        indexes = {row["indexname"]: row["indexdef"] for row in await at.fetch("SELECT * FROM pg_indexes")}
    for noun, table in TABLES.items():
        for name in noun.INDEXED:
            assert f"(org, {name}" in indexes[f"{table.name}_by_{name}"]
        if "due" in table.columns:
            assert "(org, due)" in indexes[f"{table.name}_by_due"]
            assert "(org, state, due)" in indexes[f"{table.name}_by_state"]


async def test_a_column_is_as_wide_as_what_it_holds(store, database):  # noqa: F811
    async with database.reading() as at:
        rows = await at.fetch(
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'taskbound'"
        )
    types = {(row["table_name"], row["column_name"]): row["data_type"] for row in rows}
    for table in TABLES.values():
        for column in table.columns:
            assert types[table.name, column] == ("bigint" if column in table.numbers else "text")


async def test_one_time_values_are_forgotten_after_their_time_and_never_before(store, clock, database):  # noqa: F811
    until = clock.at + timedelta(minutes=5)
    async with store.transaction(GATEWAY) as tx:
        for n in range(10):
            await tx.once("proof", f"old {n}", until)
    clock.at = until
    for n in range(3):
        with pytest.raises(Conflict, match="used before"):
            async with store.transaction(GATEWAY) as tx:
                await tx.once("proof", f"old {n}", until)
    clock.at = until + REMEMBERED + timedelta(seconds=1)
    for n in range(8):
        async with store.transaction(GATEWAY) as tx:
            await tx.once("proof", f"new {n}", clock.at + timedelta(minutes=5))
    async with database.reading() as at:
        assert await at.fetchval("SELECT count(*) FROM once WHERE until = (SELECT min(until) FROM once)") == 8


# --- transactions ------------------------------------------------------------------------------------


async def test_a_transaction_ends_with_its_block(store):  # noqa: F811
    made = await opened(store)
    async with store.transaction(GATEWAY) as tx:
        pass
    with pytest.raises(RuntimeError, match="outside its block"):
        await tx.get(Task, made.id)


async def test_who_only_reads_begins_nothing(store, database):  # noqa: F811
    made = await opened(store)
    async with database.reading() as at, store.transaction(GATEWAY) as tx:
        tx._block._watch = lambda: None
        tx._block._unwatch()
        await tx.get(Task, made.id)
        state = await at.fetchval("SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid = $1",
                                  tx._block._link.at.get_server_pid())  # fmt: skip
        assert state == "idle"


async def test_a_failed_statement_fails_its_transaction_even_when_the_body_goes_on(store, database):  # noqa: F811
    made = await opened(store, calls=5)
    with pytest.raises(StoreUnavailable):
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made), spent={"calls": 1})
            with contextlib.suppress(StoreUnavailable):
                await tx.query("SELECT no_such_thing()")
    assert (await check_postgres(database)).budgets["main", made.id, "calls"] == 5
    await opened(store, "t" + "b" * 20)


async def test_a_cancelled_transaction_leaves_nothing_and_takes_no_place(database, clock):  # noqa: F811
    small = await database.open(clock, size=2)
    made = await opened(small, calls=100)

    async def act(n: int) -> None:
        async with small.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})

    chance, done = random.Random(2), 0
    for n in range(30):
        acting = asyncio.create_task(act(n))
        await asyncio.sleep(chance.uniform(0, 0.01))
        acting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await acting
            done += 1
    await asyncio.gather(*(act(n) for n in range(100, 104)))
    kept = await check_postgres(database)
    calls = len(kept.calls)
    assert done + 4 <= calls <= 34 and kept.budgets["main", made.id, "calls"] == 100 - calls
    await small.close()
    await database.empty()


async def test_what_was_cancelled_in_the_middle_is_not_committed_by_whoever_comes_next(database, clock):  # noqa: F811
    small = await database.open(clock, size=1)
    with pytest.raises(asyncio.CancelledError):
        async with small.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, task())
            raise asyncio.CancelledError
    await opened(small, "t" + "b" * 20)
    assert {id for _, _, id in (await check_postgres(database)).things} == {"t" + "b" * 20}
    await small.close()
    await database.empty()


async def test_who_strays_loses_the_connection_before_it_wakes(store):  # noqa: F811
    """So that nobody waits for its locks until the server ends it."""
    with pytest.raises(RuntimeError, match="awaited"):
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, task())
            await asyncio.sleep(0)
            assert tx._block._link.at.is_closed()


async def test_a_store_that_is_closed_says_so(database, clock):  # noqa: F811
    store = await database.open(clock)  # noqa: F811
    await opened(store)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await opened(store, "t" + "b" * 20)
    await database.empty()


async def test_two_organisations_share_nothing(store):  # noqa: F811
    made = await opened(store, calls=1)
    async with store.transaction(ELSEWHERE) as tx:
        with pytest.raises(Conflict):
            await tx.record(Kind.CALL_PERMITTED, replace(call(made), org="other"), spent={})
        assert await tx.labels(made.root) == frozenset()


async def test_the_instance_is_the_first_nodes(store, database, clock):  # noqa: F811
    other = await database.open(clock)
    first, second = await asyncio.gather(store.instance("abcdef"), other.instance("zzzzzz"))
    assert first == second and first in ("abcdef", "zzzzzz")
    assert await other.instance("yyyyyy") == first
    with pytest.raises(ValueError):
        await store.instance("ABCDEF")
    async with database.reading() as at:
        with pytest.raises(asyncpg.RaiseError, match="never changes"):
            await at.execute("UPDATE installation SET instance = 'zzzzzz'")
    await other.close()


# --- opening -----------------------------------------------------------------------------------------


async def test_the_role_is_no_superuser_and_others_see_nothing(store, database, server):  # noqa: F811
    async with database.reading() as at:
        row = await at.fetchrow("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = $1", ROLE)
        assert not any(row)
        await at.execute("DO $$ BEGIN CREATE ROLE stranger; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        await at.execute("SET ROLE stranger")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await at.fetch("SELECT * FROM taskbound.tasks")


async def test_several_nodes_start_at_once_on_an_empty_database(fresh, clock):
    stores = await asyncio.gather(*(fresh.open(clock) for _ in range(5)))
    made = await opened(stores[0])
    async with stores[4].transaction(GATEWAY) as tx:
        assert await tx.get(Task, made.id) == made
    await asyncio.gather(*(one.close() for one in stores))
    assert (await check_postgres(fresh)).things


async def test_a_newer_database_is_refused(store, database, clock):  # noqa: F811
    newest = max(migrations.shipped("postgres"))
    async with database.reading() as at:
        await at.execute("UPDATE version SET number = 7000")
        with pytest.raises(StoreUnavailable, match=f"the database is at version 7000, this program knows {newest}"):
            await database.open(clock)
        await at.execute("UPDATE version SET number = $1", newest)


async def test_a_migration_happens_whole_or_not_at_all(store, clock, database, monkeypatch):  # noqa: F811
    made = await opened(store)
    shipped = migrations.shipped("postgres")
    newest = max(shipped)
    broken = {**shipped, newest + 1: "CREATE TABLE more (id text);\nINSERT INTO nowhere VALUES (1);\n"}
    monkeypatch.setattr("taskbound.store.postgres.shipped", lambda _: broken)
    async with database.reading() as at:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await database.open(clock)
        assert await at.fetchval("SELECT number FROM version") == newest
        assert await at.fetchval("SELECT to_regclass('taskbound.more')") is None
        broken[newest + 1] = "CREATE TABLE more (id text); -- a table\nINSERT INTO more VALUES ('a;b');\n"
        for again in await asyncio.gather(*(database.open(clock) for _ in range(3))):
            async with again.transaction(GATEWAY) as tx:
                assert await tx.get(Task, made.id) == made
            await again.close()
        assert [row["id"] for row in await at.fetch("SELECT id FROM more")] == ["a;b"]
        await at.execute("DROP TABLE more")
        await at.execute("UPDATE version SET number = $1", newest)


async def test_a_database_of_the_schema_before_idle_gains_it(fresh, clock, monkeypatch):
    before = {number: text for number, text in migrations.shipped("postgres").items() if number < 2}
    monkeypatch.setattr("taskbound.store.postgres.shipped", lambda _: before)
    await (await fresh.open(clock)).close()
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'tasks' AND column_name = 'idle'"
    async with fresh.reading() as at:
        assert await at.fetchval(columns) == 0
    monkeypatch.undo()
    stores = await asyncio.gather(*(fresh.open(clock) for _ in range(2)))
    made = await opened(stores[1])
    await asyncio.gather(*(one.close() for one in stores))
    async with fresh.reading() as at:
        assert await at.fetchval(columns) == 1
        assert await at.fetchval("SELECT idle FROM tasks WHERE id = $1", made.id) is None


async def test_a_role_that_may_not_make_the_schema_is_told_what_it_lacks(fresh, clock):
    assert postgres._sql(fresh.server, "postgres", f"ALTER DATABASE {fresh.name} OWNER TO postgres") == 0
    with pytest.raises(StoreUnavailable, match="may not make its schema") as refused:
        await fresh.open(clock)
    assert "OWNER" in refused.value.hint


@pytest.mark.parametrize("url", ["no url at all", "postgresql://u:canary-secret@127.0.0.1:notaport/x"])
async def test_an_address_that_is_none_is_not_quoted(database, clock, url):  # noqa: F811
    with pytest.raises(StoreUnavailable) as refused:
        await database.open(clock, Secret(url))
    assert "canary" not in str(refused.value) and refused.value.__cause__ is None


async def test_a_wrong_password_is_not_quoted(database, clock, server):  # noqa: F811
    with pytest.raises(StoreUnavailable) as refused:
        await database.open(clock, Secret(server.url(ROLE, "canary-secret", database.name)))
    assert "canary" not in str(refused.value) and PASSWORD not in str(refused.value)


# --- dying -------------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_a_kill(fresh):
    """T2.8: a process that records is killed at a random moment; each id that it said is there."""
    fork = multiprocessing.get_context("forkserver")  # of a process that never had a thread (INTERFACES 13)
    fork.set_forkserver_preload(["tests.store.recorder", "pytest"])
    chance, acknowledged = random.Random(0), []
    url = fresh.dsn.reveal()
    for trial in range(trials(200, 8)):
        hear, say = fork.Pipe(duplex=False)
        process = fork.Process(target=record_in_postgres_until_killed, args=(url, say))
        process.start()
        say.close()
        assert hear.recv() == "ready"
        acknowledged += [hear.recv() for _ in range(chance.randrange(30))]
        time.sleep(chance.uniform(0, 0.005))
        process.kill()
        process.join()
        assert process.exitcode == -9, "it ended by itself"
        with contextlib.suppress(EOFError):
            while True:
                acknowledged.append(hear.recv())
        kept = asyncio.run(check_postgres(fresh)).things
        for said in acknowledged:
            id = said.removeprefix("ended ")
            noun = {"t": "task", "c": "call", "l": "lease"}[id[0]]
            assert ("main", noun, id) in kept, f"{said} was acknowledged and is gone (trial {trial})"
            assert not said.startswith("ended ") or kept["main", noun, id]["state"] == "ended"
    assert len(acknowledged) > 20, "it was killed before it did anything"


async def test_every_lease_comes_back_as_it_went_in(store):  # noqa: F811
    made = await opened(store, leases=1)
    async with store.transaction(GATEWAY) as tx:
        login = lease(made)
        await tx.record(Kind.LEASE_REQUESTED, login, spent={"leases": 1})
        login = advance(login, Kind.LEASE_ACTIVATED, activated=tx.now, due=login.expires)
        await tx.record(Kind.LEASE_ACTIVATED, login)
        assert await tx.get(Lease, login.id, lock=True) == login
