"""Lanes: all that runs by itself while the server does. What ends is cut at once, whatever else happens (S3, S9).

Ending what is due, taking back, sweeping, sealing and following are loops of their own: one that
fails is logged, waits, and goes on, and no other waits for it. They find their work in the store
and at the targets, so what is kept here in memory may be lost: a restart tries all of it at once.

Each target is a bulkhead (D25): its own few workers, so that one that hangs delays no other, and
cutting never waits for cleaning (D5). A lease is tried again for ever (D9). A target that fails is
probed with one lease at a time, and its first good answer starts everything that is due there.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from taskbound.core.errors import Conflict, StoreUnavailable, TaskboundError
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease
from taskbound.ports import Sink, Store, World
from taskbound.steps.close_task import close_task, ended_tasks
from taskbound.steps.count_denials import count_denials
from taskbound.steps.end_task import end_due_tasks
from taskbound.steps.follow_log import follow_log
from taskbound.steps.revoke_lease import clean_lease, cut_lease, due_leases, mark_due, mark_overdue, sweep_target
from taskbound.steps.seal_log import BATCH, seal_log

# Seconds, by the monotonic clock; which deadline has passed is for the store's clock to say.
LOOK = 0.25  # between two looks for what is due: the second line, the first is `wake`
CLOSE = 0.5  # between two looks for ended tasks of which nothing is out any more
ALARM = 1.0  # between two looks for what is overdue
COUNT = 1.0  # between two looks for storms of denials whose second is over
LAST_COUNT = 2.0  # at most, for those that run when the lanes stop
SEAL = 1.0  # between two checkpoints while there is something to seal
SWEEP = 60.0
STORE_AGAIN = 2.0  # at most, before what only needs the store is tried again
RETRY = 50.0  # at most, from the begin of one try of a lease or sink to the next: with the try itself below a minute
PROBE = 10.0  # at most, between two tries at a target that fails
CUT_WITHIN, CLEAN_WITHIN, SWEEP_WITHIN = 15.0, 90.0, 60.0  # a provider ends by itself before that; else it is given up

CUTTERS, CLEANERS = 8, 2  # workers per target
CLOSERS = 256  # ended tasks looked at in one pass
FAILING = 3  # failed tries in a row after which it is the target's trouble, not a lease's
READING = 0.0001  # seconds to wait per lease read: a large backlog takes a tenth of the loop, not all of it

log = structlog.get_logger()


@dataclass(slots=True)
class Progress:
    """How far the lanes are, for /metrics and /readyz; and the bell that wakes who takes back."""

    due: int = 0  # leases that are to be cut
    cut: int = 0  # leases that are cut and to be cleaned
    overdue: int = 0  # leases that are taken back late
    orphans_found: int = 0
    sealed: int = 0  # events under the newest checkpoint
    sealed_at: int = 0  # when all was last found sealed, and shown in both places; seconds since 1970; 0: not yet
    followed: dict[int, int] = field(default_factory=dict)  # by the number of the sink: the last index it has
    failures: dict[str, int] = field(default_factory=dict)  # by target: cuts, cleanings and sweeps that failed
    failing: set[str] = field(default_factory=set)  # targets that are only probed
    lane_failures: dict[str, int] = field(default_factory=dict)  # by lane
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something ended: look for what is due now. Doors call it after an end."""
        self.bell.set()


@dataclass(frozen=True, slots=True)
class Lanes:
    """Who the lanes are, and what they work with."""

    end: Identity
    revoke: Identity
    seal: Identity
    jitter: Callable[[], float]  # from 0 to below 1, so that what failed together is not tried again together
    sinks: Sequence[Sink] = ()
    progress: Progress = field(default_factory=Progress)


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
            log.error("lane_failed", lane=name, failed=failed, **_of(target), **_why(error))
        await asyncio.sleep(_backoff(lanes, failed, most) if failed else every)


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


async def _count(world: World, lanes: Lanes) -> None:
    await count_denials(world, lanes.end)


async def _count_last(world: World, lanes: Lanes) -> None:
    """State the counts of the storms that still run. What is denied from here on is counted by nobody."""
    try:
        async with asyncio.timeout(LAST_COUNT):
            await count_denials(world, lanes.end, all=True)
    except Exception as error:  # the stop goes on
        log.error("denials_not_counted", storms=len(world.denials), **_why(error))


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


@dataclass(slots=True, order=True)
class Job:
    """A lease to be taken back, and when it is tried."""

    at: float  # not before, by the loop's clock; 0 for one that was never tried
    number: int  # first come, first served
    lease: Lease = field(compare=False)
    failed: int = field(compare=False, default=0)  # tries


class Revoking:
    """The bulkheads by target, and the look for what is due."""

    def __init__(self, world: World, lanes: Lanes) -> None:
        self._world, self._lanes = world, lanes
        self.targets: dict[str, Bulkhead] = {}

    @property
    def workers(self) -> list["asyncio.Task[None]"]:
        return [worker for target in self.targets.values() for worker in target.workers]

    async def look(self) -> None:
        """Read what is due and hand it to its bulkhead; return when it is time to look again."""
        progress = self._lanes.progress
        progress.bell.clear()  # before reading: who rings from here on is heard the next time
        due = await due_leases(self._world, self._lanes.revoke)
        progress.cut = sum(lease.state == "cut" for lease in due)
        progress.due = len(due) - progress.cut
        for lease in sorted(due, key=lambda lease: (lease.due, lease.id)):
            if lease.target not in self.targets:  # also of one that is configured no more: it waits, and is overdue
                self.targets[lease.target] = Bulkhead(self._world, self._lanes, lease.target)
            self.targets[lease.target].offer(lease)
        for target in self.targets.values():
            target.start()
        await asyncio.sleep(READING * len(due))
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await progress.bell.wait()


class Bulkhead:
    """The due leases of one target, and the few workers that are at them."""

    def __init__(self, world: World, lanes: Lanes, name: str) -> None:
        self._world, self._lanes, self._name = world, lanes, name
        self._clock = asyncio.get_running_loop().time
        self._known: set[str] = set()  # leases that wait here or are worked at
        self._cuts: list[Job] = []  # heaps: what was never tried comes first
        self._cleans: list[Job] = []  # what was cut just now
        self._cutting = self._cleaning = self._count = 0
        self._failed = 0  # tries to cut, in a row
        self._probes, self._probe_at = 0, 0.0  # while it fails: how many there were, and when is the next
        self.workers: set[asyncio.Task[None]] = set()

    def offer(self, lease: Lease) -> None:
        """Take a due lease on, unless it is. One that was cut before is cut again: its name may have come back."""
        if lease.id not in self._known:
            self._known.add(lease.id)
            self._count += 1
            heapq.heappush(self._cuts, Job(0.0, self._count, lease))

    def start(self) -> None:
        """Begin all that may begin now."""
        while self._may_cut():
            self._cutting += 1
            self._work(self._cut(heapq.heappop(self._cuts)))
        while self._cleans and self._cleaning < CLEANERS and self._failed < FAILING:
            self._cleaning += 1
            self._work(self._clean(heapq.heappop(self._cleans)))

    def _may_cut(self) -> bool:
        if not self._cuts:
            return False
        first = self._cuts[0]
        if self._failed >= FAILING:
            # A lease that was never tried is a probe too: it need not wait for the next one.
            return self._cutting == 0 and (first.failed == 0 or self._probe_at <= self._clock())
        return self._cutting < CUTTERS and first.at <= self._clock()

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        worker = asyncio.create_task(work)
        self.workers.add(worker)
        worker.add_done_callback(self.workers.discard)

    async def _cut(self, job: Job) -> None:
        try:
            await self._try_to_cut(job)
        finally:
            self._cutting -= 1
        self.start()

    async def _try_to_cut(self, job: Job) -> None:
        begun = self._clock()
        try:
            async with asyncio.timeout(CUT_WITHIN):
                job.lease = await cut_lease(self._world, self._lanes.revoke, job.lease)
        except Exception as error:
            is_its_trouble = not isinstance(error, StoreUnavailable)
            self._failed += is_its_trouble
            begins_to_fail = is_its_trouble and self._failed == FAILING
            if begins_to_fail:
                self._lanes.progress.failing.add(self._name)
                self._probes = 0
            if begins_to_fail or (is_its_trouble and job.failed):  # a first try does not put the next probe off
                self._probes += 1
                self._probe_at = begun + _backoff(self._lanes, self._probes, PROBE)
            self._put_back(job, begun, "lease_not_cut", error)
            if begins_to_fail:
                log.error("target_failing", target=self._name)
        else:
            if job.lease.state == "cut":
                heapq.heappush(self._cleans, job)
            else:
                self._known.discard(job.lease.id)  # another was first
            self._answered()

    async def _clean(self, job: Job) -> None:
        begun = self._clock()
        try:
            async with asyncio.timeout(CLEAN_WITHIN):
                await clean_lease(self._world, self._lanes.revoke, job.lease)
        except Exception as error:
            self._put_back(job, begun, "lease_not_cleaned", error)
        else:
            self._known.discard(job.lease.id)
        finally:
            self._cleaning -= 1
        self.start()

    def _answered(self) -> None:
        """The target answers: when it had failed, all that is due there runs at once."""
        had_failed, self._failed = self._failed >= FAILING, 0
        if had_failed:
            self._lanes.progress.failing.discard(self._name)
            for job in self._cuts:
                job.at = 0.0
            heapq.heapify(self._cuts)
            log.info("target_answers", target=self._name)

    def _put_back(self, job: Job, begun: float, what: str, error: Exception) -> None:
        job.failed += 1
        job.at = begun + _backoff(self._lanes, job.failed, RETRY)
        heapq.heappush(self._cuts, job)
        failures = self._lanes.progress.failures
        failures[self._name] = failures.get(self._name, 0) + 1
        log.warning(what, lease=job.lease.id, target=self._name, failed=job.failed, **_why(error))


def _backoff(lanes: Lanes, failed: int, most: float) -> float:
    """Return the seconds to wait after so many failures in a row: 1, doubled each time, less up to a quarter."""
    return min(most, float(2 ** min(max(failed, 1) - 1, 16))) * (1 - lanes.jitter() / 4)


def _of(target: str) -> dict[str, str]:
    return {"target": target} if target else {}


def _why(error: BaseException) -> dict[str, str]:
    """Return what may be said of an error: our own sentences, and of others the type, for their text is foreign."""
    if isinstance(error, BaseExceptionGroup):
        return {"error": ", ".join(sorted({type(one).__name__ for one in error.exceptions}))}
    message = {"message": str(error)} if isinstance(error, TaskboundError) else {}
    return {"error": type(error).__name__, **message}
