"""The SQLite store's log keeps the log's contract, and what it erases is gone from the file."""

import sqlite3

import pytest

from taskbound.store.sqlite import open_store
from taskbound.store.sqlite_log import SqliteLog
from tests.contracts.log import *  # noqa: F403
from tests.contracts.log import LANE, seal, state


@pytest.fixture
async def store(clock, tmp_path):
    store = open_store(tmp_path / "state" / "taskbound.db", clock)
    yield store
    await store.close()


@pytest.fixture
def log(store):
    return SqliteLog(store)


async def test_what_has_returned_is_durable(store, log, tmp_path):
    """Another connection sees it before the loop turns once more."""
    await state(store, 2)
    other = sqlite3.connect(tmp_path / "state" / "taskbound.db")
    count = (
        'SELECT (SELECT count("index") FROM events), (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM bodies)'
    )
    assert other.execute(count).fetchone() == (0, 0, 2)
    await log.extend(LANE, 0, await log.unsealed(LANE, 10), {}, after=None)
    assert other.execute(count).fetchone() == (2, 0, 2)
    await log.publish(LANE, b"one", after=None)
    assert other.execute(count).fetchone() == (2, 1, 2)
    await log.erase(LANE, [0, 1], LANE, "")
    assert other.execute(count).fetchone() == (2, 1, 1)
    other.close()


async def test_an_erased_body_is_gone_from_the_file(store, log, tmp_path):
    await state(store, 1, note="canary-to-be-erased")
    await state(store, 1, note="canary-that-stays")
    await seal(log)
    await log.erase(LANE, [0], LANE, "")
    await store.close()
    held = b"".join(file.read_bytes() for file in (tmp_path / "state").iterdir() if file.name != "reserve")
    assert b"canary-to-be-erased" not in held
    assert b"canary-that-stays" in held
