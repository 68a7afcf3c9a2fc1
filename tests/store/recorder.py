"""A process that records as fast as it can, and says what was acknowledged; made to be killed."""

import asyncio
import os
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from taskbound.core.event import Kind
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import Store
from taskbound.store.postgres import open_postgres
from taskbound.store.sqlite import open_store
from tests.contracts.store import GATEWAY, call, lease, task

CALLERS = 6


async def _work(store: Store, prefix: str, said: Connection) -> None:
    """Open a task, record a call and a lease in it, delegate, end both; say each id once it is durable."""
    for n in range(10_000):
        made = task(f"t{prefix}{n:05}", at=datetime.now(UTC))
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, made, shared={"calls": 5, "leases": 1})
        said.send(made.id)
        child = task(f"t{prefix}{n:05}k", made, at=datetime.now(UTC))
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, child, shared={"calls": 2})
            await tx.once("proof", child.id, tx.now)
        said.send(child.id)
        asked = call(child, f"c{prefix}{n:05}", labels=("free_text",))
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, asked, spent={"calls": 1})
        said.send(asked.id)
        login = lease(made, f"l{prefix}{n:05}")
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.LEASE_REQUESTED, login, spent={"leases": 1})
        said.send(login.id)
        async with store.transaction(GATEWAY) as tx:
            for one in (child, made):
                over = advance(await tx.get(Task, one.id), Kind.TASK_ENDED, due=None, ended=tx.now)
                await tx.record(Kind.TASK_ENDED, over, reason="done")
        said.send("ended " + made.id)


async def _run(store: Store, said: Connection) -> None:
    run = os.urandom(4).hex()
    said.send("ready")
    await asyncio.gather(*(_work(store, f"{run}{caller}", said) for caller in range(CALLERS)))


def _now() -> datetime:
    return datetime.now(UTC)


def record_until_killed(path: Path, said: Connection) -> None:
    async def run() -> None:
        await _run(open_store(path, _now, reserve=1 << 16), said)

    asyncio.run(run())


def record_in_postgres_until_killed(url: str, said: Connection) -> None:
    async def run() -> None:
        await _run(await open_postgres(Secret(url), _now), said)

    asyncio.run(run())
