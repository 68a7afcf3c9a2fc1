"""Every row that was edited behind our back is named: the tables against what the events lead to (T7.4)."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.event import Kind
from taskbound.core.identity import door
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.erase_bodies import erase_bodies
from taskbound.steps.open_task import open_task
from taskbound.steps.seal_log import seal_log
from taskbound.store.rebuilt import compare
from taskbound.store.rows import TABLES
from taskbound.store.sqlite import open_store
from taskbound.store.sqlite_log import SqliteLog
from tests.contracts.store import finding
from tests.rig import ALICE
from tests.store.stored import SqliteRig
from tests.stories.story import REFUND, claim_of, one_task_from_open_to_end

LANE = door("example.org", "lane/doctor", "main")


@pytest.fixture
async def rig(tmp_path):
    """What a story leaves behind, a task that is open, and a finding."""
    rig = SqliteRig(tmp_path / "taskbound.db")
    await rig.people()
    await one_task_from_open_to_end(rig)
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await decide_call(rig.world, rig.door, claim_of(handle), CallAsk("crm/get_order", {"id": "4711"}))
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.FINDING_RAISED, finding())
    yield rig
    await rig.store.close()


async def test_what_nobody_edited_is_in_order(rig):
    found = await compare(rig.store, LANE)
    assert (found.mismatches, found.erased) == ([], 0)
    with closing(sqlite3.connect(rig.path)) as db:
        tables = [*(table.name for table in TABLES.values()), "budgets", "labels"]
        assert found.compared == sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


async def test_each_column_of_each_row_that_is_edited_is_found(rig):
    await rig.store.close()
    planted, missed = 0, []
    for table in TABLES.values():
        with closing(sqlite3.connect(rig.path)) as db:
            types = {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({table.name})")}
            columns = ", ".join(f'"{column}"' for column in types)  # without those that the database makes
            rows = db.execute(f"SELECT {columns} FROM {table.name}").fetchall()
            ids = {row[list(types).index("id")] for row in rows}
        for column, kind in types.items():
            new = f'coalesce("{column}", 0) + 1' if kind == "INTEGER" else f"coalesce(\"{column}\", '') || 'x'"
            write(rig.path, f'UPDATE {table.name} SET "{column}" = {new}')
            said = " ".join((await looked(rig)).mismatches)
            planted += len(ids)
            missed += [(table.name, column, id) for id in ids if id not in said]
            marks = ", ".join("?" * len(types))
            write(rig.path, f"DELETE FROM {table.name}")
            write(rig.path, f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", rows)
    assert (missed, planted > 200) == ([], True)
    assert (await looked(rig)).mismatches == [], "the edits were taken back"


def write(path, statement, rows=((),)):
    """Edit the database as who has a shell does: rules between tables are not kept."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.executemany(statement, rows).rowcount > 0, statement


async def looked(rig):
    """What a store opened anew finds."""
    store = open_store(rig.path, rig.clock, reserve=0)
    try:
        return await compare(store, LANE)
    finally:
        await store.close()


PLANTED = {
    "a grant more": (
        "UPDATE tasks SET grants = json_insert(grants, '$[#]', json_extract(grants, '$[0]')) WHERE state = 'open'",
        "grants is sha256:",
    ),
    "an ended task open again": ("UPDATE tasks SET state = 'open' WHERE state = 'ended'", 'state is "open"'),
    "a lease alive again": ("UPDATE leases SET state = 'active'", 'state is "active"'),
    "another group": ("UPDATE identities SET groups = '[\"admin\"]' WHERE kind = 'agent'", 'groups is ["admin"]'),
    "a row that cannot be read": ("UPDATE tasks SET intent = 'x' WHERE state = 'open'", "its row cannot be read"),
    "more to spend": ('UPDATE budgets SET "left" = "left" + 1', "budget of task"),
    "a budget gone": ("DELETE FROM budgets", "is None, the log says"),
    "a label forgotten": ("DELETE FROM labels", "stands only in the log"),
    "a label made up": ("INSERT INTO labels VALUES ('main', 't', 'secret')", "stands only in the table"),
    "an identity gone": ("DELETE FROM identities WHERE kind = 'agent'", "its row is gone"),
    "an identity made up": (
        "INSERT INTO identities SELECT 'imade', org, spiffe_id || 'x', kind, owner, purpose, environment, groups,"
        " attestor, \"when\", state FROM identities LIMIT 1",
        "no event says so",
    ),
    "a denial made a permit": ("UPDATE calls SET state = 'permitted' WHERE state = 'denied'", 'state is "permitted"'),
    "a call of another event": ("UPDATE calls SET event = event - 1", "its decision is event"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "says"), PLANTED.values(), ids=PLANTED)
async def test_an_edit_is_named(rig, statement, says):
    write(rig.path, statement)
    mismatches = (await looked(rig)).mismatches
    assert any(says in one for one in mismatches), mismatches


async def test_a_body_is_believed_only_where_its_header_commits_to_it(rig):
    with closing(sqlite3.connect(rig.path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER bodies_stay")  # who edits a row also edits the schema
    body = "CAST(replace(CAST(body AS TEXT), '4711', '4712') AS BLOB)"
    write(rig.path, f"UPDATE bodies SET body = {body} WHERE CAST(body AS TEXT) LIKE '%4711%'")
    mismatches = (await looked(rig)).mismatches
    assert any("its body is not the one that its header commits to" in one for one in mismatches)


async def test_what_follows_from_an_erased_body_is_counted_and_the_rest_still_compared(rig):
    rig.world = replace(rig.world, log=SqliteLog(rig.store))
    lane = door("example.org", "lane/seal", "main")
    await seal_log(rig.world, lane)
    rig.clock.advance(3600)
    task, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    await seal_log(rig.world, lane)
    assert await erase_bodies(rig.world, lane, door("example.org", "door/command", "main"), timedelta(minutes=30)) > 0
    found = await compare(rig.store, LANE)
    assert found.mismatches == [] and found.erased > 0 and found.compared > 0
    await rig.store.close()
    write(rig.path, "UPDATE tasks SET reason = 'x' WHERE id = ?", [(task.id,)])
    (mismatch,) = (await looked(rig)).mismatches
    assert task.id in mismatch
