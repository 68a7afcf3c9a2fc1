"""Revoking: what is due is taken back at its target, and trouble with one target stays there.

Each target is a bulkhead (D25): its own few workers, so that one that hangs delays no other, and
cutting never waits for cleaning (D5). A lease is tried again for ever (D9). A target that fails is
probed with one lease at a time, and its first good answer starts everything that is due there.
"""

import asyncio
import heapq
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from taskbound.core.errors import StoreUnavailable
from taskbound.core.lease import Lease
from taskbound.lanes.progress import LOOK, PROBE, RETRY, Lanes, why
from taskbound.ports import World
from taskbound.steps.revoke_lease import clean_lease, cut_lease, due_leases

CUT_WITHIN, CLEAN_WITHIN = 15.0, 90.0  # seconds; a provider ends by itself before that; else it is given up
CUTTERS, CLEANERS = 8, 2  # workers per target
FAILING = 3  # failed tries in a row after which it is the target's trouble, not a lease's
READING = 0.0001  # seconds to wait per lease read: a large backlog takes a tenth of the loop, not all of it

log = structlog.get_logger()


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
                self._probe_at = begun + self._lanes.pause(self._probes, PROBE)
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
        job.at = begun + self._lanes.pause(job.failed, RETRY)
        heapq.heappush(self._cuts, job)
        failures = self._lanes.progress.failures
        failures[self._name] = failures.get(self._name, 0) + 1
        log.warning(what, lease=job.lease.id, target=self._name, failed=job.failed, **why(error))
