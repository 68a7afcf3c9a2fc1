"""Running: the calls that are under way, each of which is stopped when its client or its task is gone.

Every decision reads its task; a call that runs made its decision before. So all tasks with a running
call are read again each POLL seconds, in one transaction, and the calls of one that may no longer act
are stopped (S2: within a second). When the store cannot be read for STALE seconds, nobody knows that
a task still lives, and all are stopped.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from taskbound.core.identity import Identity
from taskbound.edge.gateway.sessions import UpstreamSessions
from taskbound.formats.mcp import Id
from taskbound.ports import World
from taskbound.prove import chain_of

POLL = 0.25
STALE = 2.0  # the bound for what is served from what was read before (D17, `max_staleness`)
RARELY = 20  # tasks with no running call are read at each as many polls, to close their sessions

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Running:
    """One call under way."""

    task: str
    client: str  # id of the client's session; "" without one
    id: Id  # of the client's request
    is_call: bool  # a tools/call; others are counted apart, so that many calls do not stop a ping
    work: asyncio.Task[None]
    is_out: bool = False  # permitted, and on its way: before that its own decision says that its task ended
    stopped: str = ""  # the code of why


class RunningCalls:
    """The calls under way, and the watch over their tasks."""

    def __init__(self, world: World, door: Identity, upstreams: UpstreamSessions) -> None:
        self._world, self._door, self._upstreams = world, door, upstreams
        self._calls: set[Running] = set()
        self._count: Counter[tuple[str, bool]] = Counter()
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(
        self, task: str, client: str, id: Id, is_call: bool, work: Coroutine[Any, Any, None]
    ) -> AsyncIterator[Running]:
        """Give the call as it runs in a task of its own, which is over when the block is left."""
        call = Running(task, client, id, is_call, asyncio.create_task(work))
        self._calls.add(call)
        self._count[task, is_call] += 1
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watching())
        try:
            yield call
        finally:
            if not call.work.done():
                call.work.cancel()
                await asyncio.wait([call.work])
            self._calls.discard(call)
            self._count[task, is_call] -= 1
            if not self._count[task, is_call]:
                del self._count[task, is_call]

    def count(self, task: str, is_call: bool) -> int:
        """Return how many requests of a task are under way that are calls, or that are none."""
        return self._count[task, is_call]

    def went_out(self) -> None:
        """State that the call that this is said in was permitted, and goes to its upstream now."""
        this = asyncio.current_task()
        for call in self._calls:
            call.is_out |= call.work is this

    def stop(self, code: str, which: Callable[[Running], bool]) -> None:
        """Stop the running calls of which it is true."""
        for call in self._calls:
            if not call.stopped and not call.work.done() and which(call):
                call.stopped = code
                call.work.cancel()

    def stop_task(self, task: str, code: str) -> None:
        """Stop the calls of a task that are out, and close its sessions with upstreams."""
        self.stop(code, lambda call: call.task == task and call.is_out)
        self._upstreams.close_task(task)

    async def _watching(self) -> None:
        loop = asyncio.get_running_loop()
        turn, read = 0, loop.time()
        while self._calls or self._upstreams:
            await asyncio.sleep(POLL)
            turn += 1
            tasks = {call.task for call in self._calls} | (self._upstreams.tasks() if not turn % RARELY else set())
            try:
                for task, code in (await self._closed(tasks)).items():
                    self.stop_task(task, code)
                read = loop.time()
            except Exception as error:  # whatever it is: nobody knows that a task still lives
                if loop.time() - read > STALE:
                    log.warning("running calls stopped: the store cannot be read", error=type(error).__name__)
                    self.stop("store_unavailable", lambda call: True)
            self._upstreams.close_idle()

    async def _closed(self, tasks: set[str]) -> dict[str, str]:
        """Return which of the tasks may no longer act, with the code of why."""
        found: dict[str, str] = {}
        if tasks:
            async with self._world.store.transaction(self._door) as tx:
                for task in tasks:
                    for one in await chain_of(tx, task):
                        if code := one.why_not_open(tx.now):
                            found[task] = code
        return found

    async def close(self) -> None:
        """Stop everything, and return when it is over."""
        self.stop("stopping", lambda call: True)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._upstreams.close()
