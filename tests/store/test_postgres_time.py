"""What time it is when several nodes share one database (D12)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from taskbound.core.errors import StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.store.postgres import open_postgres
from taskbound.store.postgres import time as postgres_time
from tests.contracts.store import GATEWAY, Clock, clock, task  # noqa: F401
from tests.postgres.server import server  # noqa: F401
from tests.store.postgres_database import database, store  # noqa: F401

SECOND = timedelta(seconds=1)


async def now(store) -> datetime:  # noqa: F811
    async with store.transaction(GATEWAY) as tx:
        moment: datetime = tx.now
        return moment


@pytest.fixture
async def opened(database, clock, store):  # noqa: F811
    """Opens nodes, each with clocks of its own; closed after the test."""
    made = []

    async def open(own, read=None):
        settings = {} if read is None else {"read_clock": read}
        node = await open_postgres(database.dsn, own, **settings)
        made.append(node)
        return node

    await database.empty()  # no moment is kept from opening the fixture's store
    yield open
    for node in made:
        await node.close()


def reads(clock: Clock):  # noqa: F811
    async def read(_):
        return clock()

    return read


async def test_it_is_the_databases_clock_that_counts(opened):
    for wrong in (-3600, -5, 0, 5, 3600):
        node = await opened(lambda wrong=wrong: datetime.now(UTC) + timedelta(seconds=wrong))
        # Both clocks are this machine's here, so the true time is known.
        assert abs(await now(node) - datetime.now(UTC)) < SECOND


async def test_where_the_clocks_differ_nothing_new_is_permitted_and_everything_can_be_ended(opened):
    right = await opened(lambda: datetime.now(UTC))
    made = task(at=datetime.now(UTC))
    async with right.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made)
    for wrong in (-2.5, 2.5):
        node = await opened(lambda wrong=wrong: datetime.now(UTC) + timedelta(seconds=wrong))
        with pytest.raises(StoreUnavailable, match="clocks"):
            async with node.transaction(GATEWAY) as tx:
                await tx.record(Kind.TASK_OPENED, task("t" + "b" * 20))
    async with node.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_ENDED, advance(await tx.get(Task, made.id), Kind.TASK_ENDED, due=None))


async def test_a_clock_that_is_set_while_a_node_runs_moves_no_deadline(opened, clock):  # noqa: F811
    """Its own clock only carries the database's on: a jump of it is no time that passed."""
    for jump in (3600, -3600):
        own = Clock()
        node = await opened(own, reads(clock))
        assert await now(node) == clock()
        own.advance(jump)
        assert await now(node) == clock()
        own.advance(-jump)
        assert await now(node) == clock()


async def test_who_waited_for_a_connection_is_told_the_time_at_the_end_of_the_wait(database, clock, store):  # noqa: F811
    node = await database.open(clock, size=1)
    try:
        async with asyncio.timeout(5):
            link = await node.links.take()
            waiting = asyncio.create_task(now(node))
            await asyncio.sleep(0.01)
            clock.advance(0.9)  # a deadline passes meanwhile
            node.links.give(link)
            assert await waiting == clock()
    finally:
        await node.close()


async def test_who_is_not_told_the_time_gives_the_connection_back(database, clock, store, monkeypatch):  # noqa: F811
    node = await database.open(clock, size=1)
    try:
        with monkeypatch.context() as broken:
            broken.setattr(postgres_time, "FRESH", -1.0)
            broken.setattr(node.time, "_read", _unreadable)
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="clock cannot be read"):
                    await now(node)
        assert await now(node) == clock()
    finally:
        await node.close()


async def _unreadable(_: object) -> datetime:
    raise OSError("no clock")


async def test_a_node_is_never_behind_the_database_however_long_a_look_takes(opened, clock):  # noqa: F811
    async def slow(_):
        clock.advance(0.4)  # on its way there
        moment = clock()
        clock.advance(0.4)  # and back
        return moment

    node = await opened(clock, slow)
    assert await now(node) >= clock.at


async def test_time_does_not_run_back_when_the_databases_clock_does(opened):
    there, here = Clock(), Clock()
    node = await opened(here, reads(there))
    first = await now(node)
    there.advance(-3600)
    node.time._looked = float("-inf")
    assert await now(node) >= first
    again = await opened(here, reads(there))  # nor across a restart, nor at another node
    assert await now(again) >= first
    there.advance(7200)
    again.time._looked = float("-inf")
    assert await now(again) > first


async def test_time_does_not_run_back_behind_an_event_when_a_node_starts(opened):
    """It was stated between two looks; the database's clock has run back since."""
    there, here = Clock(), Clock()
    node = await opened(here, reads(there))
    here.advance(0.9)
    async with node.transaction(GATEWAY) as tx:
        stated = (await tx.record(Kind.NODE_STARTED, id="n")).at
    there.advance(-3600)
    again = await opened(Clock(), reads(there))
    assert await now(again) >= stated


async def test_time_does_not_run_back_when_a_nodes_clock_does_a_little(opened):
    there, here = Clock(), Clock()
    node = await opened(here, reads(there))
    here.advance(0.5)
    first = await now(node)
    here.advance(-0.4)
    assert await now(node) == first
    there.advance(-1)
    node.time._looked = float("-inf")
    assert await now(node) == first


async def test_a_nodes_clock_that_was_set_is_looked_past_at_once(opened):
    there, here = Clock(), Clock()
    node = await opened(here, reads(there))
    first = await now(node)
    for moved in (there, here):
        moved.advance(10)
    here.advance(-3600)
    assert await now(node) == first + timedelta(seconds=10)


async def test_a_busy_node_looks_again_and_nobody_waits_for_it(opened, monkeypatch):
    looks, there = [], Clock()

    async def counted(at):
        looks.append(at)
        return there()

    node = await opened(there, counted)
    for _ in range(3):
        await now(node)
    assert len(looks) == 1
    monkeypatch.setattr(postgres_time, "EACH", 0.0)
    await now(node)
    assert len(looks) == 1, "it was waited for"
    await asyncio.sleep(0.2)
    assert len(looks) == 2
    monkeypatch.setattr(postgres_time, "FRESH", -1.0)
    monkeypatch.setattr(postgres_time, "EACH", 100.0)
    await now(node)
    assert len(looks) > 2, "an old one was relied on"


async def test_those_who_wait_for_a_look_share_it(opened):
    looks, there = [], Clock()

    async def counted(at):
        looks.append(at)
        await asyncio.sleep(0.05)
        return there()

    node = await opened(there, counted)
    looks.clear()
    node.time._looked = float("-inf")
    await asyncio.gather(*(now(node) for _ in range(10)))
    assert len(looks) == 1
