"""T7.7: what cannot be recorded is refused within a second, through the steps, and nothing comes of it.

The events are read-only, locked by a stranger, on a full disk, or their place is gone; whatever is
asked (a task, a call, a credential) raises StoreUnavailable, which is a 503, the target makes no
login, and all goes on when the trouble is over. A sink that hangs holds up nobody: it reads what
is durable already.
"""

import asyncio
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from taskbound.core.errors import StoreUnavailable
from taskbound.core.identity import door
from taskbound.lanes import run_lanes
from taskbound.lanes.progress import Lanes
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import open_task
from taskbound.store.sqlite import open_store
from taskbound.store.sqlite_log import SqliteLog
from tests.rig import ALICE, Rig
from tests.store.stored import SqliteRig
from tests.stories.story import REFUND, claim_of

READ, READER = CallAsk("crm/get_order", {"id": "4711"}), LeaseAsk("shopdb/reader")
WITHIN = 1.0  # seconds


@pytest.fixture
async def rig(tmp_path):
    made = SqliteRig(tmp_path / "taskbound.db")
    await made.people()
    yield made
    await made.store.close()


@contextmanager
def read_only(rig):
    """No row can be added to the events any more: another program has seen to that."""
    with closing(sqlite3.connect(rig.path)) as db:
        db.execute("CREATE TRIGGER no BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'it is read-only'); END")
        yield
        db.execute("DROP TRIGGER no")


@contextmanager
def locked(rig):
    """Another program writes, and does not come to an end."""
    with closing(sqlite3.connect(rig.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@contextmanager
def without_table(rig):
    """The table has another name: what is there is no log of ours."""
    with closing(sqlite3.connect(rig.path)) as db:
        db.execute("ALTER TABLE bodies RENAME TO moved")
        yield
        db.execute("ALTER TABLE moved RENAME TO bodies")


async def asks(rig, agent, task):
    """Each thing that may be asked; the last is an end, which gives nothing but must be as durable."""
    world, at = rig.world, rig.door
    yield "open", open_task(world, at, ALICE, REFUND)
    yield "delegate", open_task(world, at, agent, REFUND)
    yield "call", decide_call(world, at, agent, READ)
    yield "denied call", decide_call(world, at, agent, CallAsk("crm/get_order", {"id": "1"}))
    yield "lease", issue_lease(world, at, agent, READER)
    yield "end", end_task(world, at, agent, task.id, "done")


@pytest.mark.parametrize("trouble", [read_only, locked, without_table], ids=lambda one: one.__name__)
async def test_what_cannot_be_recorded_is_refused_at_once_and_nothing_comes_of_it(rig, trouble):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    agent = claim_of(handle)
    before = len(rig.crossings.names)
    with trouble(rig):
        async for what, asked in asks(rig, agent, task):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable) as refused:
                await asyncio.wait_for(asked, 5)
            assert time.monotonic() - begun < WITHIN, what
            assert refused.value.status == 503 and "read-only" not in str(refused.value), what
    assert rig.targets["shopdb"].logins == {}
    assert not any(name.startswith("provider") for name in rig.crossings.names[before:]), "the target was asked"
    rig.check()
    lease, credential = await issue_lease(rig.world, rig.door, agent, READER)  # the control: it goes on
    assert rig.targets["shopdb"].accepts(lease.name, credential.reveal())
    rig.check()


async def test_a_credential_whose_delivery_cannot_be_recorded_is_kept_back_and_taken_back(rig):
    """The trouble comes while the target makes it: who asked gets an error, and the pending lease is found later."""
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    provider = rig.world.providers["shopdb"]._provider
    create, trouble = provider.create, read_only(rig)

    async def broken(lease):
        made = await create(lease)
        await asyncio.sleep(0.01)  # until the commit before it has let go of the file
        trouble.__enter__()
        return made

    provider.create = broken
    with pytest.raises(StoreUnavailable):
        await issue_lease(rig.world, rig.door, claim_of(handle), READER)
    assert len(rig.targets["shopdb"].logins) == 1
    await asyncio.sleep(0.01)
    trouble.__exit__(None, None, None)
    assert await rig.restart_later() == [], "its lease explains it"
    assert rig.targets["shopdb"].logins == {}
    rig.check()


class Hanging:
    """A sink that takes what it is sent, and never says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def last(self) -> int:
        return -1

    async def send(self, facts) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_a_sink_that_hangs_holds_up_nobody(rig, monkeypatch):
    monkeypatch.setattr("taskbound.lanes.SEAL", 0.02)
    sink, stopping = Hanging(), asyncio.Event()
    end, revoke, seal = (door("example.org", f"lane/{name}", "main") for name in ("end", "revoke", "seal"))
    lanes = Lanes(end, revoke, seal, jitter=lambda: 0.5, sinks=[sink])
    world = replace(rig.world, store=rig.store, log=SqliteLog(rig.store))
    running = asyncio.create_task(run_lanes(world, lanes, stopping))
    await asyncio.wait_for(sink.asked.wait(), 5)
    for _ in range(20):
        begun = time.monotonic()
        task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
        _, _, decision = await decide_call(rig.world, rig.door, claim_of(handle), READ)
        assert decision.permitted
        await issue_lease(rig.world, rig.door, claim_of(handle), READER)
        await end_task(rig.world, rig.door, ALICE, task.id, "done")
        lanes.progress.wake()
        assert time.monotonic() - begun < WITHIN
    begun = time.monotonic()
    while rig.targets["shopdb"].logins:
        assert time.monotonic() - begun < 5, "what ended is not taken back"
        await asyncio.sleep(0.01)
    assert lanes.progress.sealed > 0 and set(lanes.progress.followed.values()) <= {-1}, "sealing waits for no sink"
    stopping.set()
    await asyncio.wait_for(running, 5)


async def test_on_a_full_disk_nothing_is_given_and_everything_can_be_ended(tmp_path):
    from tests.store import test_full_disk as small  # skips where no small disk can be mounted

    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    assert small.mounted(disk)
    try:
        rig = Rig(store=lambda clock: open_store(disk / "taskbound.db", clock, reserve=small.SIZE))
        await rig.people()
        task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
        agent = claim_of(handle)
        small.fill(disk)
        permitted = 0
        with suppress(StoreUnavailable):  # what was allotted to the file already is used first
            while permitted < 20_000:
                await open_task(rig.world, rig.door, ALICE, REFUND)
                permitted += 1
        assert permitted < 20_000, "the disk never got full"
        refused = 0
        async for what, asked in asks(rig, agent, task):
            begun = time.monotonic()
            try:
                await asyncio.wait_for(asked, 5)
                assert what in ("denied call", "end"), f"{what} was accepted"
            except StoreUnavailable as full:
                refused += 1
                assert full.status == 503 and what != "end", what
            assert time.monotonic() - begun < WITHIN, what
        assert refused >= 4 and rig.targets["shopdb"].logins == {}
        await rig.store.close()
    finally:
        small.unmount(disk)
