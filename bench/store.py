"""How many facts a second a store makes durable on this disk, and how long one caller waits: SQLite and PostgreSQL.

Each transaction is a decided call as the gateway makes it: the task is found by its handle, its
budget is read, `call.permitted` is recorded with two amounts. Raw SQLite (the same commits,
without our rows and bodies) made 3,489/s at 1 caller and 50,573/s at 64 (INTERFACES 12).
"""

import asyncio
import importlib
import inspect
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from bench.database import running, store_url
from bench.figures import Figure, at
from taskbound.core.call import Call
from taskbound.core.event import Kind
from taskbound.core.grant import Condition, Grant
from taskbound.core.identity import door
from taskbound.core.intent import Intent
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import Store
from taskbound.store.sqlite import open_store

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


async def _caller(store: Store, task: Task, run: str, until: float, waits: list[float]) -> None:
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


async def _measure(store: Store, name: str, callers: tuple[int, ...], seconds: float) -> list[Figure]:
    figures = []
    tasks = [_task(n) for n in range(max(callers))]
    async with store.transaction(GATEWAY) as tx:
        for task in tasks:
            await tx.record(Kind.TASK_OPENED, task, shared={"calls": 10**9, "g0#calls": 10**9})
    for count in callers:
        await _together(store, tasks[:count], f"w{count:03}", seconds / 10)
        began, start = process_time(), perf_counter()
        waits = await _together(store, tasks[:count], f"{count:04}", seconds)
        rate, cpu = len(waits) / (perf_counter() - start), (process_time() - began) / len(waits)
        said = (
            f"{rate:,.0f}/s, p50 {at(waits, 0.5) * 1e3:.2f}, p99 {at(waits, 0.99) * 1e3:.2f} ms, {cpu * 1e6:.0f} µs CPU"
        )
        figures.append(Figure(f"store alone, durable calls on {name}, {count} callers", said))
    return figures


async def _together(store: Store, tasks: list[Task], run: str, seconds: float) -> list[float]:
    waits: list[float] = []
    until = perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(_caller(store, task, run, until, waits))
    return waits


def measure(callers: tuple[int, ...] = CALLERS, seconds: float = SECONDS) -> list[Figure]:
    """Return the figures of both stores."""
    return asyncio.run(_both(callers, seconds))


async def _both(callers: tuple[int, ...], seconds: float) -> list[Figure]:
    with tempfile.TemporaryDirectory() as made:
        sqlite = open_store(Path(made) / "state/taskbound.db", lambda: datetime.now(UTC))
        figures = await _measure(sqlite, "SQLite", callers, seconds)
        await sqlite.close()
    postgres = _postgres()
    if postgres is None:
        return [*figures, Figure("store alone, durable calls on PostgreSQL", "not built")]
    async with running() as server:
        store = await postgres(Secret(store_url(server)), lambda: datetime.now(UTC))
        figures += await _measure(store, "PostgreSQL", callers, seconds)
        await store.close()
    return figures


def _postgres() -> Callable[[Secret, Callable[[], datetime]], Any] | None:
    """Return what opens the PostgreSQL store, None where there is none yet."""
    try:
        module = importlib.import_module("taskbound.store.postgres")
    except ModuleNotFoundError:
        return None
    made = getattr(module, "open_postgres", None) or getattr(module, "open_store", None)
    if made is None:
        return None

    async def opened(dsn: Secret, clock: Callable[[], datetime]) -> Any:
        store = made(dsn, clock)
        return await store if inspect.isawaitable(store) else store

    return opened
