"""How many facts a second the SQLite store makes durable on this disk, and how long one caller waits.

Each transaction is a decided call as the gateway makes it: the task is found by its handle, its
budget is read, `call.permitted` is recorded with two amounts. Raw SQLite (the same commits,
without our rows and bodies) made 3,489/s at 1 caller and 50,573/s at 64 (INTERFACES 12).
"""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from taskbound.core.call import Call
from taskbound.core.event import Kind
from taskbound.core.grant import Condition, Grant
from taskbound.core.identity import door
from taskbound.core.intent import Intent
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.store.sqlite import SqliteStore, open_store

GATEWAY = door("example.org", "door/gateway", "main")
CALLERS = (1, 16, 64)
SECONDS = 2.0


def _task(n: int) -> Task:
    now = datetime.now(UTC)
    grants = tuple(
        Grant(f"g{at}", "tools/call", f"crm/{tool}", (Condition("order_id", "String", True, "=", "order_id"),), calls=1)
        for at, tool in enumerate(("refund", "get_order", "look_up"))
    )
    id = f"t{n:020}"
    task = Task(
        id=id, org="main", actor="spiffe://example.org/agent/support", subject="spiffe://example.org/human/alice",
        intent=Intent("refund-order", "customer 4711 wants a refund", {"order_id": "4711"}), grants=grants, opened=now,
        deadline=now + timedelta(hours=1), due=now + timedelta(hours=1), handle=f"{n:064}", root=id,
    )  # fmt: skip
    return advance(task, Kind.TASK_OPENED)


async def _caller(store: SqliteStore, task: Task, run: str, until: float, waits: list[float]) -> None:
    n = 0
    while (start := perf_counter()) < until:
        n += 1
        async with store.transaction(GATEWAY) as tx:
            (found,) = await tx.find(Task, handle=task.handle)
            await tx.left(found.id)
            call = Call(
                f"c{run}{task.id[-8:]}{n:08}", "main", found.id, found.root, "tools/call", "crm/refund", tx.now,
                policy="0" * 64, grants=("g0",), state="permitted",
            )  # fmt: skip
            await tx.record(
                Kind.CALL_PERMITTED, call, spent={"calls": 1, "g0#calls": 1},
                projected={"args": {"order_id": "4711"}, "task": found.id}, permits=("start",), objections=(),
            )  # fmt: skip
        waits.append(perf_counter() - start)


async def _measure(directory: Path) -> dict[str, float]:
    store = open_store(directory / "taskbound.db", lambda: datetime.now(UTC))
    figures: dict[str, float] = {}
    tasks = [_task(n) for n in range(max(CALLERS))]
    async with store.transaction(GATEWAY) as tx:
        for task in tasks:
            await tx.record(Kind.TASK_OPENED, task, shared={"calls": 10**9, "g0#calls": 10**9})
    for callers in CALLERS:
        waits: list[float] = []
        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for task in tasks[:callers]:
                group.create_task(_caller(store, task, f"{callers:04}", start + SECONDS, waits))
        figures[f"durable calls a second, {callers} callers"] = len(waits) / (perf_counter() - start)
        waits.sort()
        figures[f"p50 ms, {callers} callers"] = waits[len(waits) // 2] * 1e3
        figures[f"p99 ms, {callers} callers"] = waits[len(waits) * 99 // 100] * 1e3
    await store.close()
    return figures


def measure(directory: Path | None = None) -> dict[str, float]:
    """Return the figures by name, measured on the disk of this directory, else of the temporary one."""
    with tempfile.TemporaryDirectory(dir=directory) as made:
        return asyncio.run(_measure(Path(made)))


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:40} {figure:10,.2f}")
