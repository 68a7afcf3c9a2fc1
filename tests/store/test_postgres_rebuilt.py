"""Every row of a shared database that was edited behind our back is named, and nothing is written to find it (T7.4)."""

import asyncpg
import pytest

from taskbound.core.errors import StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.secret import Secret
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.open_task import open_task
from taskbound.store.postgres import open_postgres, snapshot
from taskbound.store.rebuilt import compare_rows
from taskbound.store.rows import TABLES
from tests.contracts.store import finding
from tests.postgres.server import server  # noqa: F401
from tests.rig import ALICE
from tests.store.postgres_database import database  # noqa: F401
from tests.store.stored import PostgresRig
from tests.store.test_rebuilt import PLANTED
from tests.stories.story import REFUND, claim_of, one_task_from_open_to_end

OTHER = ("a grant more",)  # said in the SQL of SQLite
EDITS = {name: planted for name, planted in PLANTED.items() if name not in OTHER}


@pytest.fixture
async def rig(database):  # noqa: F811
    """What a story leaves behind, a task that is open, and a finding."""
    rig = PostgresRig(database)
    await rig.people()
    await one_task_from_open_to_end(rig)
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await decide_call(rig.world, rig.door, claim_of(handle), CallAsk("crm/get_order", {"id": "4711"}))
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.FINDING_RAISED, finding())
    yield rig
    await rig.store.close()


async def looked(rig):
    async with snapshot(rig.database.dsn) as select:
        return await compare_rows(select, "main")


async def test_what_nobody_edited_is_in_order(rig):
    found = await looked(rig)
    assert (found.mismatches, found.erased) == ([], 0)
    async with rig.database.reading() as at:
        tables = [*(table.name for table in TABLES.values()), "budgets", "labels"]
        assert found.compared == sum([await at.fetchval(f"SELECT count(*) FROM {table}") for table in tables]) > 20


@pytest.mark.parametrize(("statement", "says"), EDITS.values(), ids=EDITS)
async def test_an_edit_is_named(rig, statement, says):
    async with rig.database.reading() as at:
        await at.execute("SET session_replication_role = replica")  # rules between tables are not kept
        assert int((await at.execute(statement)).split()[-1]) > 0
    mismatches = (await looked(rig)).mismatches
    assert any(says in one for one in mismatches), mismatches


async def test_a_snapshot_is_of_one_moment_and_writes_nothing(rig):
    async with snapshot(rig.database.dsn) as select:
        before = await select("SELECT count(*) FROM tasks WHERE org = ? AND state <> ?", "main", "")
        await open_task(rig.world, rig.door, ALICE, REFUND)
        assert await select("SELECT count(*) FROM tasks WHERE org = ? AND state <> ?", "main", "") == before
    with pytest.raises(StoreUnavailable, match="ReadOnlySQLTransactionError"):
        async with snapshot(rig.database.dsn) as select:
            await select("UPDATE tasks SET reason = ? RETURNING id", "x")


async def test_a_database_of_another_version_is_not_migrated_by_who_only_looks(rig, database):  # noqa: F811
    at = await asyncpg.connect(database.dsn.reveal())
    try:
        newest = await at.fetchval("UPDATE taskbound.version SET number = number - 1 RETURNING number + 1")
        with pytest.raises(StoreUnavailable, match=f"at version {newest - 1}, this program needs {newest}"):
            await open_postgres(Secret(database.dsn.reveal()), rig.clock, migrating=False)
        assert await at.fetchval("SELECT number FROM taskbound.version") == newest - 1
    finally:
        await at.execute("UPDATE taskbound.version SET number = $1", newest)
        await at.close()
