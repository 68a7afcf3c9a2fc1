"""Lanes: all that runs by itself while the server does. What ends is cut at once, whatever else happens (S3, S9).

Ending what is due, taking back, sweeping, sealing and following are loops of their own: one that
fails is logged, waits, and goes on, and no other waits for it. They find their work in the store
and at the targets, so what is kept here in memory may be lost: a restart tries all of it at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease
from taskbound.lanes.progress import LOOK, PROBE, RETRY, Lanes, why
from taskbound.lanes.revoking import Revoking
from taskbound.ports import Store, World
from taskbound.steps.accept_risk import reopen_expired
from taskbound.steps.close_task import close_task, ended_tasks
from taskbound.steps.count_denials import count_denials
from taskbound.steps.end_task import end_due_tasks
from taskbound.steps.follow_log import follow_log
from taskbound.steps.revoke_lease import mark_due, mark_overdue, sweep_target
from taskbound.steps.seal_log import BATCH, seal_log

# Seconds, by the monotonic clock.
CLOSE = 0.5  # between two looks for ended tasks of which nothing is out any more
ALARM = 1.0  # between two looks for what is overdue
COUNT = 1.0  # between two looks for storms of denials whose second is over
REOPEN = 10.0  # between two looks for accepted risks whose day is over
LAST_COUNT = 2.0  # at most, for those that run when the lanes stop
SEAL = 1.0  # between two checkpoints while there is something to seal
SWEEP = 60.0
SWEEP_WITHIN = 60.0  # a provider ends by itself before that; else it is given up
STORE_AGAIN = 2.0  # at most, before what only needs the store is tried again

CLOSERS = 256  # ended tasks looked at in one pass

log = structlog.get_logger()


async def run_lanes(world: World, lanes: Lanes, stopping: asyncio.Event) -> None:
    """Run every lane until `stopping` is set. What is going on then is left where it is, as after a crash.

    Raises RuntimeError when a lane ends by itself, which none does: without it, what ends would not be cut.
    """
    revoking = Revoking(world, lanes)
    each = partial(_each, lanes)
    running: list[asyncio.Task[Any]] = [
        asyncio.create_task(lane)
        for lane in (
            each("end", LOOK, STORE_AGAIN, partial(_end, world, lanes)),
            each("expire", LOOK, STORE_AGAIN, partial(_expire, world, lanes)),
            each("close", CLOSE, STORE_AGAIN, Closing(world, lanes).close),
            each("alarm", ALARM, STORE_AGAIN, partial(_alarm, world, lanes)),
            each("revoke", 0.0, STORE_AGAIN, revoking.look),
            each("count", COUNT, STORE_AGAIN, partial(_count, world, lanes)),
            each("reopen", REOPEN, REOPEN, partial(_reopen, world, lanes)),
            each("seal", SEAL, PROBE, Sealing(world, lanes).seal),
            *(
                each("sweep", SWEEP, SWEEP, partial(_sweep, world, lanes, name), target=name)
                for name in world.providers
            ),
            *(each("follow", SEAL, RETRY, Following(world, lanes, n).follow) for n in range(len(lanes.sinks))),
        )
    ]
    told = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait({told, *running}, return_when=asyncio.FIRST_COMPLETED)
        for lane in done - {told}:
            raise RuntimeError("a lane ended by itself") from (None if lane.cancelled() else lane.exception())
    finally:
        running += [told, *revoking.workers]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await _count_last(world, lanes)


async def quarantined(store: Store, lane: Identity, lease: Lease, things: tuple[str, ...]) -> None:
    """State, before it is so, that what a lease made stays at its target in quarantine. What a provider is given."""
    async with store.transaction(lane) as tx:
        about = {"target": lease.target, "task": lease.task, "things": things}
        await tx.record(Kind.FINDING_RAISED, id=lease.id, finding="quarantined", about=about)


async def _each(
    lanes: Lanes, name: str, every: float, most: float, work: Callable[[], Awaitable[None]], target: str = ""
) -> None:
    """Do the work for ever, with a pause after each pass; a longer one, up to `most`, after passes that failed."""
    failed = 0
    while True:
        try:
            await work()
            failed = 0
        except Exception as error:
            failed += 1
            counted = lanes.progress.failures if target else lanes.progress.lane_failures
            counted[target or name] = counted.get(target or name, 0) + 1
            log.error("lane_failed", lane=name, failed=failed, **_of(target), **why(error))
        await asyncio.sleep(lanes.pause(failed, most) if failed else every)


async def _end(world: World, lanes: Lanes) -> None:
    for task in await end_due_tasks(world, lanes.end):
        log.info("task_ended", task=task.id, reason=task.reason)
        lanes.progress.wake()


async def _expire(world: World, lanes: Lanes) -> None:
    if await mark_due(world, lanes.revoke):
        lanes.progress.wake()


async def _alarm(world: World, lanes: Lanes) -> None:
    late = await mark_overdue(world, lanes.revoke)
    lanes.progress.overdue = len(late)
    for lease in late:
        if lease.overdue is None:  # until now
            log.error("lease_overdue", lease=lease.id, target=lease.target, state=lease.state, due=str(lease.due))


async def _reopen(world: World, lanes: Lanes) -> None:
    for finding in await reopen_expired(world, lanes.end):
        log.info("finding_open_again", finding=finding.id)


async def _count(world: World, lanes: Lanes) -> None:
    await count_denials(world, lanes.end)


async def _count_last(world: World, lanes: Lanes) -> None:
    """State the counts of the storms that still run. What is denied from here on is counted by nobody."""
    try:
        async with asyncio.timeout(LAST_COUNT):
            await count_denials(world, lanes.end, all=True)
    except Exception as error:  # the stop goes on
        log.error("denials_not_counted", storms=len(world.denials), **why(error))


async def _sweep(world: World, lanes: Lanes, target: str) -> None:
    async with asyncio.timeout(SWEEP_WITHIN):
        adopted = await sweep_target(world, lanes.revoke, target)
    if adopted:
        lanes.progress.orphans_found += len(adopted)
        log.error("orphans_found", target=target, leases=[lease.id for lease in adopted])
        lanes.progress.wake()


class Closing:
    """The closing of ended tasks, some in each pass and each in its turn: one that waits holds up no other."""

    def __init__(self, world: World, lanes: Lanes) -> None:
        self._world, self._lane = world, lanes.end
        self._after = ""

    async def close(self) -> None:
        ended = await ended_tasks(self._world, self._lane, self._after, CLOSERS)
        self._after = ended[-1] if len(ended) == CLOSERS else ""
        failed: list[Exception] = []
        while ended:
            parents: dict[str, None] = {}  # which may have waited for these alone; each is tried once for all of them
            for id in ended:
                try:
                    closed = await close_task(self._world, self._lane, id)
                except Exception as error:  # one that cannot be closed stops no other
                    failed.append(error)
                    continue
                if closed:
                    log.info("task_closed", task=closed.id)
                    if closed.parent:
                        parents[closed.parent] = None
            ended = list(parents)
        if failed:
            raise ExceptionGroup(f"{len(failed)} tasks could not be closed", failed)


class Sealing:
    """The sealing of one log. It signs where there is something to sign, and finishes what failed."""

    def __init__(self, world: World, lanes: Lanes) -> None:
        self._world, self._lanes = world, lanes
        self._owing = True  # an earlier pass, or an earlier process, may have stopped halfway

    async def seal(self) -> None:
        world, lane, progress = self._world, self._lanes.seal, self._lanes.progress
        while self._owing or await world.log.unsealed(lane, 1):
            self._owing = True
            try:
                sealed = await seal_log(world, lane)
            except Conflict:  # another was first, an export for one: the next pass looks again
                return
            self._owing, before, progress.sealed = False, progress.sealed, sealed.size
            if sealed.size - before < BATCH:
                break
        async with world.store.transaction(lane) as tx:
            progress.sealed_at = int(tx.now.timestamp())


class Following:
    """One sink, and how far it is. After a failure it says itself what it has."""

    def __init__(self, world: World, lanes: Lanes, number: int) -> None:
        self._world, self._lanes, self._number = world, lanes, number
        self._last: int | None = None

    async def follow(self) -> None:
        sink = self._lanes.sinks[self._number]
        last, self._last = self._last, None
        if last is None:
            last = await sink.last()
        self._last = await follow_log(self._world, self._lanes.seal, last, [sink])
        self._lanes.progress.followed[self._number] = self._last


def _of(target: str) -> dict[str, str]:
    return {"target": target} if target else {}
