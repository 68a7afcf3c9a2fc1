"""The SQLite store keeps the store's contract; and what only a store on a disk can break."""

import asyncio
import contextlib
import multiprocessing
import random
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from taskbound.core.errors import Conflict, InvalidRequest, StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.lease import Lease, orphan
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.store import migrations
from taskbound.store.rows import TABLES
from taskbound.store.sqlite import commits, kept, open_store
from taskbound.store.sqlite.facts import REMEMBERED
from tests.contracts.store import *  # noqa: F403
from tests.contracts.store import GATEWAY, Clock, call, lease, task
from tests.notes import note
from tests.profile import trials
from tests.store.recorder import record_until_killed
from tests.store.stored import check, reading

SMALL = 1 << 16  # of a reserve, where it is not what is tested


@pytest.fixture
def path(tmp_path):
    return tmp_path / "taskbound.db"


@pytest.fixture
async def store(clock, path):
    store = open_store(path, clock, reserve=SMALL)
    yield store
    await store.close()


def commits_of(store, monkeypatch) -> list[int]:
    """How many members each COMMIT had that went to the thread, as they happen."""
    sizes: list[int] = []
    told = store.commits._committed

    def counted(group, error):
        sizes.append(len(group.members))
        told(group, error)

    monkeypatch.setattr(store.commits, "_committed", counted)
    return sizes


async def opened(store, id: str = "t" + "a" * 20, **shared: int) -> Task:
    made = task(id)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared=shared)
    return made


# --- groups ------------------------------------------------------------------------------------------


async def test_callers_share_commits(store, monkeypatch, path):
    made = await opened(store, calls=1000)
    sizes = commits_of(store, monkeypatch)

    async def caller(n: int) -> None:
        for m in range(5):
            async with store.transaction(GATEWAY) as tx:
                await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:010}{m:010}"), spent={"calls": 1})

    await asyncio.gather(*(caller(n) for n in range(40)))
    assert sum(sizes) == 200
    assert len(sizes) <= 10, sizes
    assert check(path).budgets["main", made.id, "calls"] == 800


async def fail_next_commit(tx) -> None:
    """Make the COMMIT of this group a real failure: a reference into nothing, which is looked at only there."""
    tx.execute("PRAGMA defer_foreign_keys = ON")
    tx.execute("INSERT INTO budgets VALUES ('main', 'nowhere', 'calls', 1)")
    tx._wrote = True


async def test_a_failed_commit_fails_every_member_and_leaves_nothing(store, path):
    made = await opened(store, calls=10)

    async def member(n: int) -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})
            if n == 3:
                await fail_next_commit(tx)

    async def reader() -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.left(made.id)

    outcomes = await asyncio.gather(*(member(n) for n in range(5)), reader(), return_exceptions=True)
    # Also who only read: it was what never became durable.
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 6
    assert all(isinstance(o, StoreUnavailable) and isinstance(o.__cause__, sqlite3.Error) for o in outcomes)
    assert check(path).budgets["main", made.id, "calls"] == 10
    await member(7)  # and the store goes on
    assert check(path).budgets["main", made.id, "calls"] == 9


async def test_who_comes_in_the_next_turn_shares_the_commit(store, monkeypatch):
    made = await opened(store, calls=1000)
    sizes = commits_of(store, monkeypatch)

    async def caller(n: int) -> None:
        for _ in range(n):
            await asyncio.sleep(0)  # a turn of the loop each
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})

    await asyncio.gather(*(caller(n) for n in range(2 * commits.MANY)))
    assert len(sizes) <= 4 and max(sizes) >= commits.MANY, "each turn brought one, and a group closes when it is large"


# --- what is kept ------------------------------------------------------------------------------------


async def state_of(store, made: Task) -> str:
    """The task's state as a decision would find it: by its handle, and by its id."""
    async with store.transaction(GATEWAY) as tx:
        (found,) = await tx.find(Task, handle=made.handle)
        assert await tx.get(Task, made.id) == found
    return str(found.state)


def end_behind(path: Path, made: Task) -> None:
    """Change the row as an operator's sqlite3 would."""
    with closing(sqlite3.connect(path)) as stranger, stranger:
        stranger.execute("UPDATE tasks SET state = 'ended' WHERE id = ?", (made.id,))


async def test_what_was_read_is_not_queried_again(store):
    made = await opened(store)
    said: list[str] = []
    assert await state_of(store, made) == "open"
    store.commits.db.set_trace_callback(said.append)
    assert await state_of(store, made) == "open"
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "1" * 20))
        assert (await tx.get(Task, made.id)).state == "open"
    assert [one for one in said if "FROM tasks" in one] == []


async def test_what_another_connection_commits_is_seen_at_once(store, path):
    made = await opened(store)
    assert await state_of(store, made) == "open"
    await asyncio.to_thread(end_behind, path, made)  # it waits until the loop has turned
    assert await state_of(store, made) == "ended"


async def test_control_without_a_look_at_the_version_a_task_that_ended_would_act(store, path, monkeypatch):
    made = await opened(store)
    assert await state_of(store, made) == "open"
    monkeypatch.setattr(store.commits.kept, "begin", lambda db: None)
    await asyncio.to_thread(end_behind, path, made)  # it waits until the loop has turned
    assert await state_of(store, made) == "open"


@pytest.mark.parametrize("lost", ["body", "commit"])
async def test_what_is_taken_back_is_not_kept(store, lost):
    made = await opened(store, calls=10)

    async def ends() -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_ENDED, advance(made, Kind.TASK_ENDED, due=None))
            assert (await tx.get(Task, made.id)).state == "ended"
            if lost == "body":
                raise ZeroDivisionError
            await fail_next_commit(tx)

    found = await asyncio.gather(
        state_of(store, made), ends(), state_of(store, made), return_exceptions=True
    )  # in one group
    assert isinstance(found[1], ZeroDivisionError if lost == "body" else StoreUnavailable)
    assert await state_of(store, made) == "open"


async def test_a_label_that_is_taken_back_is_not_kept(store):
    made = await opened(store, calls=10)

    async def reads(n: int, *, fails: bool = False) -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, replace(call(made, f"c{n:020}"), labels=("secret",)))
            assert await tx.labels(made.id) == {"secret"}
            if fails:
                raise ZeroDivisionError

    async def labels() -> set[str]:
        async with store.transaction(GATEWAY) as tx:
            return set(await tx.labels(made.id))

    assert await labels() == set()
    with pytest.raises(ZeroDivisionError):
        await reads(1, fails=True)
    assert await labels() == set()
    await reads(2)
    assert await labels() == {"secret"}


async def test_no_more_is_kept_than_has_room(store, monkeypatch):
    monkeypatch.setattr(kept, "MOST", 8)
    many = [await opened(store, f"t{n:020}") for n in range(20)]
    for made in many * 2:
        async with store.transaction(GATEWAY) as tx:
            assert await tx.get(Task, made.id) == made
        assert len(store.commits.kept._values) <= 8


class DeadDisk(sqlite3.Connection):
    """A connection whose next COMMIT in the thread does not come back until it may."""

    free: threading.Event | None = None

    def execute(self, sql, *values):
        if sql == "COMMIT" and self.free is not None and threading.current_thread().name == "taskbound-commit":
            assert self.free.wait(10)
        return super().execute(sql, *values)


async def test_a_commit_that_does_not_come_back_keeps_nobody_waiting(clock, path, monkeypatch):
    monkeypatch.setattr(commits, "COMMIT_SECONDS", 0.1)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=DeadDisk))
    store = open_store(path, clock, reserve=SMALL)
    made = await opened(store, calls=10)
    assert isinstance(store.commits.db, DeadDisk)
    store.commits.db.free = free = threading.Event()

    async def member(n: int) -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})

    async with asyncio.timeout(5):
        members = [asyncio.create_task(member(n)) for n in range(2)]
        await asyncio.sleep(0.02)
        waiting = [asyncio.create_task(member(n)) for n in range(2, 4)]
        outcomes = await asyncio.gather(*members, *waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
        with pytest.raises(StoreUnavailable, match="does not answer"):  # at once: nobody waits for a dead disk twice
            await member(4)
        free.set()  # it comes back after all, and what it had is there: that was not known, and nobody was told
        while store.commits._arrived is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        store.commits.db.free = None
        await member(5)
    assert check(path).budgets["main", made.id, "calls"] == 7
    await store.close()


async def test_a_store_on_a_dead_disk_is_closed_all_the_same(clock, path, monkeypatch):
    monkeypatch.setattr(commits, "COMMIT_SECONDS", 0.1)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=DeadDisk))
    store = open_store(path, clock, reserve=SMALL)
    assert isinstance(store.commits.db, DeadDisk)
    store.commits.db.free = free = threading.Event()
    async with asyncio.timeout(5):
        outcome = asyncio.gather(opened(store), return_exceptions=True)
        await asyncio.sleep(0)
        await store.close()
        assert [type(one) for one in await outcome] == [StoreUnavailable]
    free.set()


async def test_a_cancelled_member_breaks_nobody(store, path):
    made = await opened(store, calls=10)

    async def member(n: int) -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})

    members = [asyncio.create_task(member(n)) for n in range(3)]
    await asyncio.sleep(0)  # their bodies have run: they wait for the COMMIT
    late = [asyncio.create_task(member(n)) for n in range(3, 6)]
    await asyncio.sleep(0)  # these wait for their turn
    members[1].cancel()
    late[1].cancel()
    outcomes = await asyncio.gather(*members, *late, return_exceptions=True)
    assert [type(o) for o in outcomes] == [type(None), asyncio.CancelledError, type(None)] * 2
    kept = check(path)
    calls = {id for _, noun, id in kept.things if noun == "call"}
    assert {f"c{n:020}" for n in (0, 2, 3, 5)} <= calls, "what was acknowledged is there"
    assert kept.budgets["main", made.id, "calls"] == 10 - len(calls)


async def test_who_only_reads_waits_for_no_disk(store, monkeypatch):
    made = await opened(store)
    sizes = commits_of(store, monkeypatch)
    for _ in range(10):
        async with store.transaction(GATEWAY) as tx:
            assert await tx.get(Task, made.id) == made
    assert sizes == []


async def test_a_transaction_ends_with_its_block(store):
    made = await opened(store)
    async with store.transaction(GATEWAY) as tx:
        pass
    with pytest.raises(RuntimeError, match="outside its block"):
        await tx.get(Task, made.id)


async def test_a_store_that_is_closed_says_so(store, path, clock):
    made = await opened(store)
    waiting = asyncio.create_task(opened(store, "t" + "b" * 20))
    await asyncio.sleep(0)
    await store.close()
    await waiting
    with pytest.raises(StoreUnavailable, match="closed"):
        await opened(store)
    assert {id for _, _, id in check(path).things} == {made.id, "t" + "b" * 20}


async def test_a_strangers_lock_is_trouble_and_passes(store, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await opened(store)
        assert time.monotonic() - start < 1
        stranger.execute("ROLLBACK")
    await opened(store)


# --- facts -------------------------------------------------------------------------------------------


async def test_what_is_not_stored_cannot_be_referred_to(store, path):
    absent = task()
    for kind, thing in (
        (Kind.LEASE_REQUESTED, lease(absent)),
        (Kind.CALL_DENIED, replace(call(absent), state="denied")),
    ):
        with pytest.raises(Conflict):
            async with store.transaction(GATEWAY) as tx:
                await tx.record(kind, thing)
    assert check(path).things == {}


async def test_what_has_no_form_on_disk_is_refused(store):
    async with store.transaction(GATEWAY) as tx:
        with pytest.raises(InvalidRequest):
            await tx.record(Kind.TASK_OPENED, replace(task(), reason="\ud800"))
        with pytest.raises(InvalidRequest):
            await tx.record(Kind.TASK_OPENED, task(), shared={"calls": 2**63})
        with pytest.raises(InvalidRequest):
            await tx.get(Task, "\ud800")
        assert await tx.find(Task) == []


async def test_every_indexed_field_is_found_by_its_index(store, clock):
    db = store.commits.db

    async def plan_of(noun, **where) -> str:
        """How SQLite answers what `find` asked last."""
        asked: list[str] = []
        db.set_trace_callback(asked.append)
        async with store.transaction(GATEWAY) as tx:
            await tx.find(noun, **where)
        db.set_trace_callback(None)
        (sql,) = [sql for sql in asked if sql.startswith("SELECT")]
        return " ".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sql))

    for noun, table in TABLES.items():
        for name in noun.INDEXED:
            assert f"USING INDEX {table.name}_by_{name} (org=? AND {name}=?)" in await plan_of(noun, **{name: "x"})
        if "due" in table.columns:
            assert f"USING INDEX {table.name}_by_due (org=? AND due<?)" in await plan_of(noun, due=clock.at)
            both = await plan_of(noun, state="x", due=clock.at)
            assert f"USING INDEX {table.name}_by_state (org=? AND state=? AND due<?)" in both


async def test_one_time_values_are_forgotten_after_their_time_and_never_before(store, clock, path):
    until = clock.at + timedelta(minutes=5)
    async with store.transaction(GATEWAY) as tx:
        for n in range(10):
            await tx.once("proof", f"old {n}", until)
    clock.at = until
    for n in range(3):
        with pytest.raises(Exception, match="used before"):
            async with store.transaction(GATEWAY) as tx:
                await tx.once("proof", f"old {n}", until)
    clock.at = until + REMEMBERED + timedelta(seconds=1)
    for n in range(8):
        async with store.transaction(GATEWAY) as tx:
            await tx.once("proof", f"new {n}", clock.at + timedelta(minutes=5))
    with reading(path) as db:
        assert {value[:3] for (value,) in db.execute("SELECT value FROM once")} == {"new"}


# --- time --------------------------------------------------------------------------------------------


async def test_time_does_not_run_back_across_a_restart(store, clock, path):
    clock.advance(600)
    await opened(store)
    latest = clock.at
    await store.close()
    clock.advance(-3600)
    again = open_store(path, clock, reserve=SMALL)
    async with again.transaction(GATEWAY) as tx:
        assert tx.now == latest
    await again.close()


async def test_time_that_was_only_read_is_kept_within_a_second(store, clock, path):
    clock.advance(600)
    async with store.transaction(GATEWAY) as tx:
        pass
    clock.advance(0.9)
    async with store.transaction(GATEWAY) as tx:
        given = tx.now
    await store.close()
    clock.advance(-3600)
    again = open_store(path, clock, reserve=SMALL)
    async with again.transaction(GATEWAY) as tx:
        assert given - timedelta(seconds=1) <= tx.now <= given
    await again.close()


# --- opening -----------------------------------------------------------------------------------------


async def test_the_database_is_its_owners_alone(clock, tmp_path):
    path = tmp_path / "state" / "taskbound.db"
    store = open_store(path, clock, reserve=SMALL)
    await opened(store)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "taskbound.db": 0o600, "taskbound.db-wal": 0o600, "taskbound.db-shm": 0o600, "reserve": 0o600,
    }  # fmt: skip
    await store.close()


async def test_it_is_durable_by_its_settings(store):
    db = store.commits.db
    settings = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert settings == ["wal", 2, 1]


def test_a_directory_open_to_others_is_refused(clock, tmp_path):
    tmp_path.chmod(0o750)
    with pytest.raises(StoreUnavailable, match=r"open to others \(mode 0750\), expected 0700") as refused:
        open_store(tmp_path / "taskbound.db", clock)
    assert refused.value.hint == f"chmod 700 {tmp_path}"
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_refused(clock, path):
    path.write_bytes(b"no database at all, but long enough to be looked at as one" * 100)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_store(path, clock)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_store(path / "below", clock)


async def test_a_newer_database_is_refused_and_untouched(store, clock, path):
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7000")
    before = path.read_bytes()
    newest = max(migrations.shipped())
    with pytest.raises(StoreUnavailable, match=f"the database is at version 7000, this program knows {newest}"):
        open_store(path, clock, reserve=SMALL)
    assert path.read_bytes() == before


async def test_a_migration_happens_whole_or_not_at_all(store, clock, path, monkeypatch):
    made = await opened(store)
    await store.close()
    shipped = migrations.shipped()
    newest = max(shipped)
    broken = {**shipped, newest + 1: "CREATE TABLE more (id TEXT);\nINSERT INTO nowhere VALUES (1);\n"}
    monkeypatch.setattr("taskbound.store.sqlite.shipped", lambda: broken)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            open_store(path, clock, reserve=SMALL)
    with reading(path) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == newest
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone()[0] == 0
    broken[newest + 1] = "-- One; two.\nCREATE TABLE more (id TEXT); -- a table\nINSERT INTO more VALUES ('a;b');\n"
    for _ in range(2):  # the second time there is nothing to do
        again = open_store(path, clock, reserve=SMALL)
        async with again.transaction(GATEWAY) as tx:
            assert await tx.get(Task, made.id) == made
        await again.close()
    with reading(path) as db:
        assert db.execute("SELECT id FROM more").fetchall()[0][0] == "a;b"


async def test_a_lease_of_the_schema_before_overdue_reads_as_not_overdue(clock, tmp_path, monkeypatch):
    path = tmp_path / "old" / "taskbound.db"
    before = {number: text for number, text in migrations.shipped().items() if number < 3}
    monkeypatch.setattr("taskbound.store.sqlite.shipped", lambda: before)
    await open_store(path, clock, reserve=0).close()
    made = advance(orphan("l" + "a" * 20, "main", "abcdef", "shopdb", clock.at), Kind.LEASE_FELL_DUE)
    row = dict(zip(TABLES[Lease].columns, TABLES[Lease].row(made), strict=True))
    with closing(sqlite3.connect(path)) as db, db:
        known = {name for _, name, *_ in db.execute("PRAGMA table_info(leases)")}
        assert "overdue" in row.keys() - known
        row = {name: value for name, value in row.items() if name in known}
        columns = ", ".join(f'"{name}"' for name in row)
        db.execute(f"INSERT INTO leases ({columns}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    monkeypatch.undo()
    again = open_store(path, clock, reserve=0)
    async with again.transaction(GATEWAY) as tx:
        assert await tx.find(Lease, state="revoking") == [made]
        late = advance(made, Kind.LEASE_OVERDUE, overdue=tx.now)
        await tx.record(Kind.LEASE_OVERDUE, late)
        assert await tx.get(Lease, made.id) == late
    await again.close()


async def test_a_task_of_the_schema_before_idle_is_never_idle(clock, tmp_path, monkeypatch):
    path = tmp_path / "old" / "taskbound.db"
    before = {number: text for number, text in migrations.shipped().items() if number < 6}
    monkeypatch.setattr("taskbound.store.sqlite.shipped", lambda: before)
    await open_store(path, clock, reserve=0).close()
    made = task()
    row = dict(zip(TABLES[Task].columns, TABLES[Task].row(made), strict=True))
    assert row.pop("idle") is None and row.pop("heartbeat") == "null"
    with closing(sqlite3.connect(path)) as db, db:
        assert row.keys() == {name for _, name, *_ in db.execute("PRAGMA table_info(tasks)")}
        columns = ", ".join(f'"{name}"' for name in row)
        db.execute(f"INSERT INTO tasks ({columns}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    monkeypatch.undo()
    again = open_store(path, clock, reserve=0)
    async with again.transaction(GATEWAY) as tx:
        assert await tx.get(Task, made.id) == made
    await again.close()


# --- dying -------------------------------------------------------------------------------------------


def fork_server():
    """Children of a process that never had a thread (INTERFACES 13), with the modules loaded."""
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["tests.store.recorder", "pytest"])
    return fork


def is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as db:
        integrity = db.execute("PRAGMA integrity_check").fetchone()[0]
        return integrity == "ok" and db.execute("PRAGMA foreign_key_check").fetchall() == []


async def open_and_record(path: Path, clock: Clock) -> None:
    store = open_store(path, clock, reserve=SMALL)
    await opened(store, "t" + "o" * 20)
    await store.close()


def test_a_kill_while_it_is_made_leaves_what_opens_again(clock, tmp_path):
    """T2.8: migrations are repeated from wherever they stopped."""
    fork, chance = fork_server(), random.Random(1)
    stopped = set()
    for trial in range(trials(200, 40)):
        path = tmp_path / str(trial) / "taskbound.db"
        hear, say = fork.Pipe(duplex=False)
        process = fork.Process(target=record_until_killed, args=(path, say))
        process.start()
        while not path.exists():
            time.sleep(0.0002)
        time.sleep(chance.uniform(0, 0.015))
        process.kill()
        process.join()
        with closing(sqlite3.connect(path)) as db:
            stopped.add(db.execute("PRAGMA user_version").fetchone()[0])
        asyncio.run(open_and_record(path, clock))
        assert is_whole(path)
        check(path)
        hear.close()
        say.close()
    note("versions found:", stopped)
    assert 0 in stopped, "no kill was early enough"


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    """T2.8: a process that records is killed at a random moment; each id that it said is there."""
    fork = fork_server()
    chance = random.Random(0)
    acknowledged: list[str] = []
    total = 0
    for trial in range(trials(1000, 200)):
        path = tmp_path / f"{trial // 10}.db"  # ten kills each: all that it holds is read after every one
        if trial % 10 == 0:
            acknowledged = []
        hear, say = fork.Pipe(duplex=False)
        process = fork.Process(target=record_until_killed, args=(path, say))
        process.start()
        say.close()
        assert hear.recv() == "ready"
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        process.join()
        assert process.exitcode == -9, "it ended by itself"
        known = len(acknowledged)
        with contextlib.suppress(EOFError):
            while True:
                acknowledged.append(hear.recv())
        total += len(acknowledged) - known
        assert is_whole(path)
        kept = check(path).things
        for said in acknowledged:
            id = said.removeprefix("ended ")
            noun = {"t": "task", "c": "call", "l": "lease"}[id[0]]
            assert ("main", noun, id) in kept, f"{said} was acknowledged and is gone (trial {trial})"
            assert not said.startswith("ended ") or kept["main", noun, id]["state"] == "ended"
    assert total > 100, "it was killed before it did anything"
