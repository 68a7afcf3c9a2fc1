"""Row 2 of DESIGN 9: `decide_call` with its durable event on SQLite: the whole step, from a handle to a permit."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

from bench.figures import Figure, at
from taskbound import app
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity, Registration, door
from taskbound.core.task import Task
from taskbound.ports import World
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.store.sqlite import open_store
from taskbound.store.sqlite_log import SqliteLog
from tests.shop.targets import TARGETS

POLICY = Path(__file__).parents[1] / "tests/shop/policy"
ASK = CallAsk("crm/get_order", {"id": "4711"})
CALLERS = (1, 16, 64)
SECONDS = 3.0
TOGETHER = 500  # tasks that are opened in one commit


@dataclass
class Site:
    """A world on SQLite, and the claims of the tasks that are open in it."""

    world: World
    door: Identity
    model: Task  # all others are its copies, with ids and handles of their own
    claims: list[Claim] = field(default_factory=list)

    async def open_tasks(self, count: int) -> None:
        """Open so many more tasks: their facts alone, not the steps that lead to them."""
        for start in range(0, count, TOGETHER):
            async with self.world.store.transaction(self.door) as tx:
                for _ in range(min(TOGETHER, count - start)):
                    _, digest = self.world.new_handle()
                    id = self.world.new_id("t")
                    task = replace(self.model, id=id, root=id, handle=digest)
                    await tx.record(Kind.TASK_OPENED, task, shared={"calls": 10**9, "leases": 0})
                    self.claims.append(Claim("main", handle=digest))

    async def decide(self, claim: Claim) -> None:
        """Decide one call. Raises RuntimeError unless it is permitted."""
        _, _, decision = await decide_call(self.world, self.door, claim, ASK)
        if not decision.permitted:
            raise RuntimeError(f"a figure of denials is none of permits: {decision.code}")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Site]:
    """Give a site on SQLite in a folder, with the demo's policy and nobody at work in it."""
    bare = app.in_memory(POLICY, TARGETS, {}, clock=lambda: datetime.now(UTC))
    store = open_store(folder / "state/taskbound.db", lambda: datetime.now(UTC))
    world = replace(bare, store=store, log=SqliteLog(store))
    ours = door("example.org", "door/gateway", "main")
    for name, environment in (("human/alice", ""), ("agent/support", "production")):
        ask = RegistrationAsk(name, "human/alice", "unix", {"script": name}, environment=environment)
        await register_identity(world, ours, ours, ask)
    try:
        async with store.transaction(ours) as tx:
            known = {one.kind: one for one in await tx.find(Registration, state="registered")}
        alice = Identity("main", known["human"].spiffe_id, "human", known["human"].spiffe_id, "", (), "unix")
        look_up = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/support")
        task, _ = await open_task(world, ours, alice, look_up)
        model = replace(task, deadline=task.opened + timedelta(hours=9), due=task.opened + timedelta(hours=9))
        yield Site(world, ours, model)
    finally:
        await store.close()


def measure(callers: tuple[int, ...] = CALLERS, seconds: float = SECONDS) -> list[Figure]:
    """Return the figures of row 2."""
    return asyncio.run(_measure(callers, seconds))


async def _measure(callers: tuple[int, ...], seconds: float) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder)) as site:
            await site.open_tasks(max(callers))
            claims = site.claims
            for count in callers:
                await _work(site, claims[:count], seconds / 10)
                began, start = process_time(), perf_counter()
                waits = await _work(site, claims[:count], seconds)
                rate, cpu = len(waits) / (perf_counter() - start), (process_time() - began) / len(waits)
                p50, p99 = at(waits, 0.5) * 1e3, at(waits, 0.99) * 1e3
                reach, reached = {1: ("p50 ≤ 0.6 ms", p50 <= 0.6), 64: ("≥ 10,000/s", rate >= 10_000)}.get(
                    count, ("", None)
                )
                said = f"{rate:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {cpu * 1e6:.0f} µs CPU"
                figures.append(Figure(f"decide_call durable on SQLite, {count} callers", said, reach, reached))
    return figures


async def _work(site: Site, claims: list[Claim], seconds: float) -> list[float]:
    until, waits = perf_counter() + seconds, list[float]()

    async def one(claim: Claim) -> None:
        while (start := perf_counter()) < until:
            await site.decide(claim)
            waits.append(perf_counter() - start)

    async with asyncio.TaskGroup() as group:
        for claim in claims:
            group.create_task(one(claim))
    return waits
