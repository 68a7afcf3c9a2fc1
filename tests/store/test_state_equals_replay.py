"""The state rebuilt from the rows of `events` and `bodies` equals the tables, after each step (D19, INTERFACES 9)."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

import tests.faults.test_crash as crash
from taskbound.steps.count_denials import count_denials
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_due_tasks
from taskbound.steps.open_task import open_task
from tests.postgres.server import server  # noqa: F401
from tests.profile import FULL
from tests.rig import ALICE
from tests.store.postgres_database import database  # noqa: F401
from tests.store.stored import PostgresRig, SqliteRig, reading
from tests.stories.story import REFUND, claim_of, one_task_from_open_to_end


@pytest.fixture
async def rig(tmp_path):
    rig = SqliteRig(tmp_path / "taskbound.db")
    await rig.people()
    yield rig
    await rig.store.close()


async def test_after_each_step_of_the_story(rig):
    await one_task_from_open_to_end(rig, rig.check)
    with reading(rig.path) as db:
        kinds = Counter(kind for (kind,) in db.execute("SELECT kind FROM events"))
        assert db.execute("SELECT count(*) FROM calls").fetchone()[0] == kinds["call.permitted"] + kinds["call.denied"]
    assert (kinds["task.opened"], kinds["lease.revoked"], kinds["call.permitted"]) == (2, 1, 2)
    assert await rig.restart_later() == [], "the sweep found an orphan"
    rig.check()


async def a_storm(rig):
    """An agent that is denied the same over and over: one call, and a fact that counts the rest."""
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    for _ in range(5):
        await decide_call(rig.world, rig.door, claim_of(handle), CallAsk("crm/get_order", {"id": "4712"}))
    assert await count_denials(rig.world, rig.lane, all=True) == 1
    assert [noun for _, noun, _ in rig.held().things].count("call") == 1
    rig.check()


async def test_a_storm_of_denials_changes_one_row(rig):
    await a_storm(rig)


async def an_idle_task(rig):
    """A task that is busy, so that it is due later, and then idle."""
    policies = rig.world.policies.current
    idle = replace(policies.profiles["refund-order"], idle=timedelta(minutes=2))

    class Changed:
        current = replace(policies, profiles={"refund-order": idle})

    world = replace(rig.world, policies=Changed())
    task, handle = await open_task(world, rig.door, ALICE, REFUND)
    for advanced, state in ((90, "open"), (90, "open"), (119, "open"), (1, "ended")):
        rig.clock.advance(advanced)
        if advanced == 90:
            await decide_call(world, rig.door, claim_of(handle), CallAsk("crm/get_order", {"id": "4711"}))
        await end_due_tasks(world, rig.lane)
        rig.check()
        assert rig.held().things["main", "task", task.id]["state"] == state
    assert rig.held().things["main", "task", task.id]["reason"] == "idle"


async def test_a_task_that_is_idle_ends(rig):
    await an_idle_task(rig)


FORGERIES = [
    "UPDATE tasks SET reason = 'another' WHERE parent IS NULL",
    "UPDATE leases SET due = 1",
    'UPDATE budgets SET "left" = "left" + 1 WHERE quantity = \'calls\'',
    "INSERT INTO labels VALUES ('main', 't', 'secret')",
    "UPDATE calls SET code = ''",
    "UPDATE calls SET event = event - 1",
    "DELETE FROM identities WHERE kind = 'agent'",
]
STAYS = ["UPDATE events SET at = 0", "DELETE FROM events", "UPDATE bodies SET body = x'00'"]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_control_a_changed_table_is_found_out(rig, forgery):
    await one_task_from_open_to_end(rig)
    with closing(sqlite3.connect(rig.path)) as db:
        assert db.execute(forgery).rowcount > 0
        db.commit()
    with pytest.raises(AssertionError):
        rig.check()


@pytest.mark.parametrize("statement", STAYS)
async def test_a_fact_stays_as_it_was_stated(rig, statement):
    with closing(sqlite3.connect(rig.path)) as db, pytest.raises(sqlite3.IntegrityError, match=r"never"):
        db.execute(statement)


@crash.SIDES
async def test_a_crash_leaves_no_credential_behind(monkeypatch, tmp_path, after):
    """The crash test of the memory store, with the store closed and opened again at each restart."""
    rigs: list[SqliteRig] = []

    def rig(crash_at: int, after: bool) -> SqliteRig:
        rigs.append(SqliteRig(tmp_path / f"{crash_at}.db", crash_at, after))
        return rigs[-1]

    monkeypatch.setattr(crash, "Rig", rig)
    await crash.test_a_crash_leaves_no_credential_behind(after)
    for used in rigs:
        await used.store.close()


# --- over PostgreSQL ---------------------------------------------------------------------------------


@pytest.fixture
async def shared(database):  # noqa: F811
    rig = PostgresRig(database)
    await rig.people()
    yield rig
    await rig.store.close()


async def test_after_each_step_of_the_story_over_postgres(shared):
    await one_task_from_open_to_end(shared, shared.check)
    async with shared.database.reading() as at:
        kinds = Counter(row["kind"] for row in await at.fetch("SELECT kind FROM events"))
        assert await at.fetchval("SELECT count(*) FROM calls") == kinds["call.permitted"] + kinds["call.denied"]
    assert (kinds["task.opened"], kinds["lease.revoked"], kinds["call.permitted"]) == (2, 1, 2)
    assert await shared.restart_later() == [], "the sweep found an orphan"
    shared.check()


async def test_a_storm_of_denials_changes_one_row_over_postgres(shared):
    await a_storm(shared)


async def test_a_task_that_is_idle_ends_over_postgres(shared):
    await an_idle_task(shared)


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_control_a_changed_table_is_found_out_over_postgres(shared, forgery):
    await one_task_from_open_to_end(shared)
    async with shared.database.reading() as at:
        assert await at.execute(forgery) not in ("UPDATE 0", "DELETE 0")
    with pytest.raises(AssertionError):
        shared.check()


@pytest.mark.parametrize("statement", [*STAYS, "TRUNCATE events CASCADE", "DELETE FROM tasks"])
async def test_a_fact_stays_as_it_was_stated_in_postgres(shared, statement):
    await one_task_from_open_to_end(shared)
    async with shared.database.reading() as at:
        with pytest.raises(asyncpg.RaiseError, match=r"never"):
            await at.execute(statement.replace("x'00'", "'\\x00'"))


@pytest.mark.parametrize("after", [False, True] if FULL else [True])
async def test_a_crash_leaves_no_credential_behind_over_postgres(monkeypatch, database, after):  # noqa: F811
    rigs: list[PostgresRig] = []

    def rig(crash_at: int, after: bool) -> PostgresRig:
        rigs.append(PostgresRig(database, crash_at, after))
        return rigs[-1]

    monkeypatch.setattr(crash, "Rig", rig)
    await crash.test_a_crash_leaves_no_credential_behind(after)
    for used in rigs:
        await used.store.close()
