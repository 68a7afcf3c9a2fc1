"""A broker made to be killed: one real process per trial, forked from a server with the modules loaded.

`python -m tests.faults.broker` reads one line per job and forks one child for each; the server
itself never has a thread or a loop (INTERFACES 13). A child opens the state directory of its job,
with a store and a provider of its own, and does the job: `prepare` (register who is in it), `work`
(from a task's opening to its last revocation) or `restart` (what a broker does when it starts).
It dies by SIGKILL, sent by itself at a named point or by the server after a delay, which
begins when the lease is about to be asked for. What a child
says goes to stdout, one line each; the server adds how it ended, after all that it said.
"""

import asyncio
import ctypes
import gc
import json
import os
import select
import signal
import time
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from taskbound import app
from taskbound.core.identity import door
from taskbound.core.lease import Lease
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.ending import LIVE
from taskbound.plugins.providers.postgres import PostgresProvider
from taskbound.ports import World
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.revoke_lease import due_leases, mark_due, revoke_lease, sweep_target
from taskbound.store.sqlite import open_store
from tests.faults.test_crash import target_first
from tests.rig import ALICE, PEOPLE, POLICY
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of

DOOR, LANE = (door("example.org", name, "main") for name in ("door/gateway", "lane/revoke"))
WORKS = 0.03  # seconds in which the holder works with its credential before the task ends


@dataclass
class Points:
    """The named points of a run, and the one to die at."""

    die_at: tuple[str, str] | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)
    inside: str = ""  # the method of the provider that runs

    def __call__(self, name: str, side: str) -> None:
        self.seen.append((name, side))
        if self.die_at == (name, side):
            os.kill(os.getpid(), signal.SIGKILL)


class NamedStore:
    """A store whose commits are points, named after the last fact that they hold."""

    def __init__(self, store: Any, point: Points) -> None:
        self._store, self._point = store, point

    @asynccontextmanager
    async def transaction(self, opener):
        name = "read"
        async with self._store.transaction(opener) as tx:
            record = tx.record

            async def noted(kind, *args, **more):
                nonlocal name
                name = f"commit {kind}"
                return await record(kind, *args, **more)

            tx.record = noted
            yield tx
            self._point(name, "before")
        self._point(name, "after")


class NamedProvider:
    """A provider whose methods are points."""

    def __init__(self, provider: PostgresProvider, point: Points) -> None:
        self._provider, self._point = provider, point

    def __getattr__(self, name: str):
        async def crossed(*args):
            self._point(name, "before")
            self._point.inside = name
            answer = await getattr(self._provider, name)(*args)
            self._point.inside = ""
            self._point(name, "after")
            return answer

        return crossed


def name_statements(point: Points) -> None:
    """Make points of the statements that change the target: before, sent but unanswered, answered."""
    execute = asyncpg.Connection.execute

    async def named(self, query, *args, **more):
        name = f"{point.inside}: {' '.join(query.replace(';', ' ').split()[:2])}"
        point(name, "before")
        running = asyncio.ensure_future(execute(self, query, *args, **more))
        for _ in range(2):
            await asyncio.sleep(0)  # the first step of `execute` hands its bytes to the kernel
        point(name, "sent")
        answer = await running
        point(name, "after")
        return answer

    asyncpg.Connection.execute = named  # type: ignore[method-assign]


def say(job: dict[str, Any], **what: Any) -> None:
    line = json.dumps({"n": job["n"], **what}).encode() + b"\n"
    assert len(line) <= select.PIPE_BUF, "longer lines of two processes could mix"
    os.write(1, line)


@asynccontextmanager
async def opened(bare: World, admin: str, job: dict[str, Any]):
    """Give the world of the job's state directory. Each process has an epoch of its own."""
    store = open_store(Path(job["folder"]) / "taskbound.db", app.now, reserve=1 << 16)
    provider = PostgresProvider(
        Secret(admin),
        owner="shop_owner",
        quarantine="shop_quarantine",
        instance=job["instance"],
        node="n1",
        epoch=app.new_id("e")[:9],
        new_password=app.new_password,
    )
    try:
        yield replace(bare, store=store, providers={"shopdb": provider}, instance=job["instance"])
    finally:
        await provider.close()
        await store.close()


async def prepare(world: World, job: dict[str, Any]) -> None:
    for name, environment in PEOPLE:
        is_alice = name == "human/alice"
        when: dict[str, str | int] = {"uid": 1000} if is_alice else {"script": f"/srv/{name}.py"}
        ask = RegistrationAsk(name, "human/alice", "operator" if is_alice else "unix", when, environment=environment)
        await register_identity(world, DOOR, DOOR, ask)


async def work(world: World, job: dict[str, Any]) -> None:
    """One task with one lease, from before the intent to after its revocation."""
    point = Points(tuple(job["die_at"]) if job.get("die_at") else None)
    name_statements(point)
    world = replace(
        world,
        store=NamedStore(world.store, point),
        providers={name: NamedProvider(one, point) for name, one in world.providers.items()},  # type: ignore[arg-type]
    )
    issue = target_first if job.get("target_first") else issue_lease
    task, handle = await open_task(world, DOOR, ALICE, REFUND)
    agent = claim_of(handle)
    say(job, said="ready")
    os.write(job["ready"], os.getpid().to_bytes(4, "big"))
    lease, credential = await issue(world, DOOR, agent, LeaseAsk("shopdb/reader"))
    point("deliver", "before")
    say(job, said="delivered", name=lease.name, password=credential.reveal())
    point("deliver", "after")
    await asyncio.sleep(WORKS)
    await end_task(world, DOOR, agent, task.id, "done")
    for due in await due_leases(world, LANE):
        await revoke_lease(world, LANE, due)
    say(job, said="finished")
    for name, side in point.seen if job.get("list") else ():
        say(job, said="point", name=name, side=side)


async def leases(world: World) -> dict[str, tuple[str, bool]]:
    """Return each lease's state, and whether it ever was active, by its name at the target."""
    async with world.store.transaction(LANE) as tx:
        return {one.name: (one.state, one.activated is not None) for one in await tx.find(Lease)}


async def restart(world: World, job: dict[str, Any]) -> None:
    """Say what is found, end what was going on, run each lane once, and say what is left."""
    say(job, said="found", leases=await leases(world))
    async with world.store.transaction(LANE) as tx:
        live = [task.id for state in LIVE for task in await tx.find(Task, state=state)]
    for id in live:
        await end_task(world, LANE, LANE, id, "restarted")
    await mark_due(world, LANE)
    orphans = await sweep_target(world, LANE, "shopdb")
    for due in await due_leases(world, LANE):
        await revoke_lease(world, LANE, due)
    say(job, said="left", leases=await leases(world), orphans=len(orphans))


JOBS = {"prepare": prepare, "work": work, "restart": restart}


async def do(bare: World, admin: str, job: dict[str, Any]) -> None:
    async with opened(bare, admin, job) as world:
        await JOBS[job["do"]](world, job)


def child(bare: World, admin: str, job: dict[str, Any]) -> None:
    """Do the job in this process, and end it."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asyncio.run(do(bare, admin, job))
        status = 0
    except BaseException:
        say(job, said="failed", trace=traceback.format_exc()[-3000:])
    finally:
        os._exit(status)


def serve(admin: str) -> None:
    """Fork a child for each job until there are no more."""
    bare = app.in_memory(POLICY, TARGETS, {})
    assert len(os.listdir("/proc/self/task")) == 1, "a thread before the fork"
    gc.freeze()  # a child's collector does not copy what it shares
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    hear_ready, ready = os.pipe()  # a child that is about to ask for its lease writes its pid, in one piece
    running: dict[int, tuple[dict[str, Any], float]] = {}  # by pid: the job, and when to kill it
    text, more = b"", True
    while more or running:
        wait = min((at for _, at in running.values()), default=float("inf")) - time.monotonic()
        heard = [woken, hear_ready, *([0] if more else [])]
        heard = select.select(heard, [], [], max(0.0, wait) if wait < 60 else None)[0]
        if woken in heard:
            os.read(woken, 4096)
        if hear_ready in heard:
            pid = int.from_bytes(os.read(hear_ready, 4), "big")
            if pid in running and "kill_after" in running[pid][0]:
                running[pid] = (running[pid][0], time.monotonic() + running[pid][0]["kill_after"])
        if 0 in heard:
            got = os.read(0, 1 << 16)
            more = bool(got)
            *lines, text = (text + got).split(b"\n")
            for line in lines:
                job = json.loads(line)
                if (pid := os.fork()) == 0:
                    child(bare, admin, {**job, "ready": ready})
                running[pid] = (job, float("inf"))
        for pid, (job, at) in list(running.items()):
            if time.monotonic() >= at:
                os.kill(pid, signal.SIGKILL)  # ours until it is reaped below
                running[pid] = (job, float("inf"))
        for pid in list(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                say(running.pop(pid)[0], said="ended", status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve(os.environ["TARGET_ADMIN"])
