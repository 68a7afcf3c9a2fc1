"""A fault before or after each crossing by which the log goes out, or loses bodies: nothing is lost that was said.

What test_crash and test_seal do not cross: each file of an export (`Archive.write`), each batch that a sink takes
(`Sink.last`, `Sink.send`), each removal of bodies (`Log.erase`). Every crossing fails once before and once after its
effect, by a crash and by the error that the port has. Then the same is asked again, as it is after a restart, and
what comes out is what comes out without a fault. Each has a control: the order that is forbidden is found out.
"""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from taskbound.core.audit import verify
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.event import Kind
from taskbound.core.leaf import parse_leaf, parse_ranges, render_ranges
from taskbound.lanes import Following
from taskbound.lanes.progress import Lanes
from taskbound.plugins.archives.directory import DirectoryArchive
from taskbound.plugins.sinks.file import FileSink
from taskbound.steps import erase_bodies as erasing
from taskbound.steps import follow_log as following
from taskbound.steps.erase_bodies import erase_bodies
from taskbound.steps.export_log import export_log
from tests.faults.failing import AWAY, Failing
from tests.logs import Counted, Files, log_rig
from tests.notes import note
from tests.postgres.server import server  # noqa: F401
from tests.rig import Crash, Crossings
from tests.store.postgres_database import Database, database  # noqa: F401

SIDES = pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
EVENTS = 300  # a full tile of 256, and a partial one
FAULTS = (Crash, Unavailable)


# --- an export ---------------------------------------------------------------------------------------


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def exports(tmp_path: Path, after: bool, export) -> list[tuple[str, bool, bool]]:
    """Return, per crossing and fault: its name, whether what is there is right or said to be none, if all came again.

    A folder with a checkpoint is an export; one without is none.
    """
    seen: list[tuple[str, bool, bool]] = []
    async with log_rig("memory", tmp_path) as rig:
        await rig.state(EVENTS)
        await rig.seal()
        world, whole, before = rig.world(), await rig.export(), await rig.log.checkpoint(rig.lane)
        for error in FAULTS:
            for crossing in count(1):
                folder, again = (tmp_path / f"{error.__name__}{crossing}{part}" for part in ("first", "again"))
                crossings = Failing(crash_at=crossing, after=after, error=error(AWAY))
                try:
                    await export(world, rig.lane, Counted("archive", DirectoryArchive(folder), crossings))
                    break
                except error as raised:
                    assert str(raised) == AWAY  # as the archive said it
                found = files_in(folder)
                assert all(whole[path].startswith(data) for path, data in found.items())
                honest = "checkpoint" not in found or verify(Files(found), rig.key).problems == []
                if found:
                    with pytest.raises(InvalidRequest, match="is not empty"):
                        DirectoryArchive(folder)
                await export(world, rig.lane, DirectoryArchive(again))
                seen.append((crossings.names[-1], honest, files_in(again) == whole))
        assert await rig.log.checkpoint(rig.lane) == before and len(rig.store.events) == EVENTS
    return seen


@SIDES
async def test_a_fault_while_an_export_is_written_leaves_none_that_looks_whole(tmp_path, after):
    seen = await exports(tmp_path, after, export_log)
    note(f"{len(seen)} × archive.write")
    assert {name for name, *_ in seen} == {"archive.write"} and len(seen) >= 2 * 9, "an export lost a crossing"
    assert [verdict for verdict in seen if verdict[1:] != (True, True)] == []


async def checkpoint_first(world, lane, archive):
    """The order that makes a whole export of a part: the checkpoint, then what it speaks of."""

    class Rest:
        async def write(self, path, data):
            if path != "checkpoint":
                await archive.write(path, data)

    await archive.write("checkpoint", await world.log.checkpoint(lane))
    return await export_log(world, lane, Rest())


@SIDES
async def test_control_an_export_that_begins_with_its_checkpoint_is_found_out(tmp_path, after):
    seen = await exports(tmp_path, after, checkpoint_first)
    assert [name for name, honest, _ in seen if not honest], "nothing was found"


# --- a sink ------------------------------------------------------------------------------------------


class Hasty(Following):
    """A lane that moves its position before the sink has what lies behind it."""

    async def follow(self) -> None:
        lane, sink = self._lanes.seal, self._lanes.sinks[self._number]
        start = (await sink.last() if self._last is None else self._last) + 1
        facts = await self._world.log.read(lane, start, start + following.BATCH)
        self._last = self._lanes.progress.followed[self._number] = start + len(facts) - 1
        if facts:
            await sink.send(facts)


def lines_of(path: Path) -> list[int]:
    return [parse_leaf(line)[0] for line in path.read_bytes().splitlines()] if path.exists() else []


async def follows(tmp_path: Path, after: bool, lane: type[Following]) -> list[tuple[str, bool, bool]]:
    """Return, per crossing and fault: its name, whether what was said to be sent is there, in order, and all later."""
    seen: list[tuple[str, bool, bool]] = []
    async with log_rig("memory", tmp_path) as rig:
        await rig.state(EVENTS)
        await rig.seal()
        for error in FAULTS:
            for crossing in count(1):
                path = tmp_path / f"{error.__name__}{crossing}.jsonl"
                crossings = Failing(crash_at=crossing, after=after, error=error(AWAY))
                sink = Counted("sink", FileSink(path), crossings)
                lanes = Lanes(rig.lane, rig.lane, rig.lane, lambda: 0.0, sinks=[sink])
                running, failed = lane(rig.world(), lanes, 0), False
                for _ in range(10):  # looks, of which one fails
                    try:
                        await running.follow()
                    except error as raised:
                        assert str(raised) == AWAY
                        failed = True
                        said, there = lanes.progress.followed.get(0, -1), lines_of(path)
                        honest = there == list(range(len(there))) and said < len(there)
                        if error is Crash:  # what it knew by itself is gone
                            running = lane(rig.world(), lanes, 0)
                if not failed:
                    assert lines_of(path) == list(range(EVENTS))
                    break
                seen.append((crossings.names[crossing - 1], honest, lines_of(path) == list(range(EVENTS))))
    return seen


@SIDES
async def test_a_fault_at_a_sink_loses_no_event_and_sends_none_out_of_order(tmp_path, after, monkeypatch):
    monkeypatch.setattr(following, "BATCH", 100)
    seen = await follows(tmp_path, after, Following)
    crossed = Counter(name for name, *_ in seen)
    note(f"{len(seen)} crossings: {', '.join(f'{n} × {name}' for name, n in crossed.items())}")
    assert crossed == {"sink.last": 2, "sink.send": 2 * 3}
    assert [verdict for verdict in seen if verdict[1:] != (True, True)] == []


async def test_control_a_lane_that_counts_what_it_has_not_sent_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "BATCH", 100)
    seen = await follows(tmp_path, False, Hasty)
    assert {name for name, honest, whole in seen if not (honest and whole)} == {"sink.send"}


# --- bodies that are erased --------------------------------------------------------------------------

OLD = timedelta(seconds=5)
BODIES, BATCH = 60, 24


async def remove_in_memory(log, store, lane, indexes) -> None:
    for index in indexes:
        log._bodies[log.order[lane.org][index]] = None


async def remove_in_postgres(log, store, lane, indexes) -> None:
    async with store.transaction(lane) as tx:
        await tx.write(
            'DELETE FROM bodies USING events WHERE bodies.event = events.id AND events.org = $1'
            ' AND events."index" = ANY ($2::bigint[]) RETURNING true',
            lane.org, list(indexes),
        )  # fmt: skip


REMOVE = {"memory": remove_in_memory, "postgres": remove_in_postgres}


class Twice:
    """A log that removes bodies first, and says so in a second transaction."""

    def __init__(self, log, store, crossings: Crossings, remove) -> None:
        self._log, self._store, self._crossings, self._remove = log, store, crossings, remove

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def erase(self, lane, indexes, by, reason):
        text, named = render_ranges(indexes)
        await self._remove(self._log, self._store, lane, indexes[:named])
        self._crossings.before("log.erase")
        async with self._store.transaction(lane) as tx:
            await tx.record(Kind.BODY_ERASED, by=by, id=text, reason=reason)
        self._crossings.done()
        return named


async def erasures(
    kind: str, tmp_path: Path, after: bool, beside: Database | None, *, twice: bool = False
) -> list[tuple[str, bool, bool]]:
    """Return, per crossing and fault: its name, whether all that is gone was said to be, if the rest goes later, once.

    What is gone and was not said is found as anybody finds it: by the export.
    """
    seen: list[tuple[str, bool, bool]] = []
    for error in FAULTS:
        for crossing in count(1):
            async with log_rig(kind, tmp_path / f"{error.__name__}{crossing}", beside) as rig:
                await rig.state(BODIES)
                await rig.seal()
                rig.clock.advance(60)
                crossings = Failing(crash_at=crossing, after=after, error=error(AWAY))
                log: Any = Counted("log", rig.log, crossings)
                if twice:
                    log = Twice(rig.log, rig.store, crossings, REMOVE[kind])
                try:
                    await erase_bodies(replace(rig.world(), log=log), rig.lane, rig.lane, OLD)
                    break
                except error as raised:
                    assert str(raised) == AWAY
                left = len(await rig.log.bodies(rig.lane, rig.clock.at - OLD, BODIES))
                await rig.seal()
                honest = verify(Files(await rig.export()), rig.key).problems == []
                erased = await erase_bodies(rig.world(), rig.lane, rig.lane, OLD)
                size = (await rig.seal()).size
                stated = [
                    index
                    for fact in await rig.log.read(rig.lane, BODIES, size)
                    for run in parse_ranges(fact.header.id)
                    for index in run
                ]
                converges = (
                    erased == left
                    and sorted(stated) == list(range(BODIES))
                    and await rig.log.bodies(rig.lane, rig.clock.at - OLD, BODIES) == []
                    and verify(Files(await rig.export()), rig.key).problems == []
                )
                seen.append((crossings.names[-1], honest, converges))
    return seen


def database_for(kind: str, request: pytest.FixtureRequest) -> Database | None:
    """Return a PostgreSQL database, where that is what the log is kept in: elsewhere no server is started."""
    found: Database | None = request.getfixturevalue("database") if kind == "postgres" else None
    return found


@SIDES
@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_a_fault_while_bodies_are_erased_leaves_none_that_is_gone_unsaid(
    kind, tmp_path, after, monkeypatch, request
):
    monkeypatch.setattr(erasing, "BATCH", BATCH)
    seen = await erasures(kind, tmp_path, after, database_for(kind, request))
    crossed = Counter(name for name, *_ in seen)
    note(f"{len(seen)} crossings: {', '.join(f'{n} × {name}' for name, n in crossed.items())}")
    assert crossed == {"log.bodies": 2 * 4, "log.erase": 2 * 3}
    assert [verdict for verdict in seen if verdict[1:] != (True, True)] == []


@pytest.mark.parametrize("kind", REMOVE)
async def test_control_bodies_that_are_gone_before_it_is_said_are_found_out(kind, tmp_path, monkeypatch, request):
    monkeypatch.setattr(erasing, "BATCH", BATCH)
    seen = await erasures(kind, tmp_path, False, database_for(kind, request), twice=True)
    assert seen and all(not honest for _, honest, _ in seen)
