"""Running: the calls that are under way, each of which is stopped when its client or its task is gone.

Every decision reads its task; a call that runs made its decision before. So all tasks with a running
call are read again each POLL seconds, and the calls of one that may no longer act are stopped (S2: within
a second). Of a task that was not read for STALE seconds nobody knows that it still lives, and its calls are
stopped.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from taskbound.core.identity import Identity
from taskbound.edge.gateway.asked import Asked
from taskbound.edge.gateway.sessions import UpstreamSessions
from taskbound.formats.mcp import Id
from taskbound.ports import World
from taskbound.prove import chain_of

CALLS = 32  # of one task under way: each may take a connection of its upstream's 256, and hold an answer of 4 MiB
# Of a root task and all below it: another tree has the other half of an upstream's connections. A child has, with all
# below it, at most as many as are still free for its parent: one branch takes half of them, and its siblings find the
# other. A task that is alone at the last of four levels (steps/open_task.py) still has its CALLS.
TREE_CALLS = 128
PROMPT_SECONDS = 0.1  # that a call runs before anybody looks whether its client is still there
POLL = 0.25
STALE = 2.0  # the bound for what is served from what was read before (D17, `max_staleness`)
AT_ONCE = 32  # tasks that are read in one transaction; of those without a running call, whose sessions wait, at a poll

log = structlog.get_logger()


class TooMany(Exception):
    """As many calls are under way as may be; says whose."""


@dataclass(eq=False, slots=True)
class Running:
    """One call under way: all that is done for it in the task that serves its request."""

    asked: Asked
    id: Id  # of the client's request
    is_call: bool  # a tools/call; others are counted apart, so that many calls do not stop a ping
    work: asyncio.Task[Any]
    began: float  # of the loop's clock; whatever is decided on it is read later
    watch: asyncio.Task[None] | asyncio.TimerHandle | None = None  # over its client
    stopped: str = ""  # the code of why

    @property
    def counted(self) -> list[tuple[str, str, bool]]:
        """What it counts for."""
        line = self.asked.line
        return [("of", line[-1], self.is_call), *(("below", task, self.is_call) for task in line)]

    def stop(self, code: str) -> None:
        """Leave the block it runs in, from where it waits now."""
        if not self.stopped:
            self.stopped = code
            self.work.cancel()


class RunningCalls:
    """The calls under way, and the watch over their tasks."""

    def __init__(self, world: World, door: Identity, upstreams: UpstreamSessions) -> None:
        self._world, self._door, self._upstreams = world, door, upstreams
        self._calls: set[Running] = set()
        self._count: Counter[tuple[str, str, bool]] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._turn = ""  # the last task without a running call that was read

    @contextmanager
    def running(self, asked: Asked, id: Id, is_call: bool, gone: Callable[[], Awaitable[None]]) -> Iterator[Running]:
        """Give what runs in the block as a call that can be stopped: then the block is left, and nothing is raised.

        `gone` returns when the client is gone. Raises TooMany.
        """
        work = asyncio.current_task()
        assert work is not None
        call = Running(asked, id, is_call, work, asyncio.get_running_loop().time())
        counted = call.counted
        self._require_room(counted)
        for one in counted:
            self._count[one] += 1
        self._calls.add(call)
        call.watch = asyncio.get_running_loop().call_later(PROMPT_SECONDS, _watch_client, call, gone)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watching())
        try:
            yield call
        except asyncio.CancelledError:
            if not call.stopped or work.cancelling() > 1:  # by the server too
                raise
        finally:
            if call.stopped:
                work.uncancel()
            call.watch.cancel()
            self._calls.discard(call)
            for one in counted:
                self._count[one] -= 1
                if not self._count[one]:
                    del self._count[one]

    def _require_room(self, counted: list[tuple[str, str, bool]]) -> None:
        own, *levels = counted
        if self._count[own] >= CALLS:
            raise TooMany(f"too_many_calls: {CALLS} of task {own[1]} are under way: wait for their answers")
        room = TREE_CALLS
        for level in levels:
            count = self._count[level]
            if count >= room:
                many = f"{count} of task {level[1]} and below it are under way, and its siblings need the rest"
                raise TooMany(f"too_many_calls: {many}: wait for their answers")
            room -= count

    def stop(self, code: str, which: Callable[[Running], bool]) -> None:
        """Stop the running calls of which it is true."""
        for call in self._calls:
            if which(call):
                call.stop(code)

    def stop_task(self, task: str, code: str) -> None:
        """Stop the calls of a task that are out, and close its sessions with upstreams."""
        self.stop(code, lambda call: call.asked.task == task and call.asked.is_out)
        self._upstreams.close_task(task)

    async def _watching(self) -> None:
        clock = asyncio.get_running_loop().time
        seen: dict[str, float] = {}  # when each task with a running call was last read; a new one was, to decide on it
        while self._calls or self._upstreams:
            await asyncio.sleep(POLL)
            began: dict[str, float] = {}
            for call in (one for one in self._calls if not one.stopped):
                began[call.asked.task] = min(call.began, began.get(call.asked.task, call.began))
            seen = {task: seen.get(task, first) for task, first in began.items()}
            oldest = sorted(seen, key=seen.__getitem__)
            try:
                async with asyncio.timeout_at(min(seen.values(), default=clock()) + STALE):  # it may hang
                    for start in range(0, len(oldest), AT_ONCE):
                        await self._look(oldest[start : start + AT_ONCE], seen)
                    await self._look(self._next_idle(seen), {})
            except Exception as error:  # whatever it is: of some nobody knows that they still live
                late = {task for task, read in seen.items() if clock() - read >= STALE}
                if late:
                    log.warning("running calls stopped: their tasks were not read", error=type(error).__name__)
                for call in self._calls:
                    if call.asked.task in late:
                        call.stop("store_unavailable")
                seen = {task: read for task, read in seen.items() if task not in late}  # what comes is decided anew
            self._upstreams.close_idle()

    def _next_idle(self, running: Container[str]) -> list[str]:
        """Return the next tasks that have a session with an upstream and no running call, in turn."""
        idle = sorted(task for task in self._upstreams.tasks() if task not in running)
        found = ([task for task in idle if task > self._turn] or idle)[:AT_ONCE]
        self._turn = found[-1] if found else ""
        return found

    async def _look(self, tasks: Sequence[str], seen: dict[str, float]) -> None:
        """Stop what runs for those of the tasks that may no longer act; note when they were read."""
        start = asyncio.get_running_loop().time()
        closed: dict[str, str] = {}  # with the code of why
        if tasks:
            async with self._world.store.transaction(self._door) as tx:
                for task in tasks:
                    for one in await chain_of(tx, task):
                        if code := one.why_not_open(tx.now):
                            closed[task] = code
        seen.update(dict.fromkeys(tasks, start))
        for task, code in closed.items():
            self.stop_task(task, code)

    async def close(self) -> None:
        """Stop everything, and return when it is over."""
        self.stop("stopping", lambda call: True)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._upstreams.close()


def _watch_client(call: Running, gone: Callable[[], Awaitable[None]]) -> None:
    async def watching() -> None:
        await gone()
        call.stop("client_gone")

    call.watch = asyncio.create_task(watching())
