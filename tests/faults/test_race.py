"""T1.6: a task ends while its credential is being made; nobody holds one that works.

Each race delays its create at a random point (before it, before the target's COMMIT, after it) by
0–200 ms. Its task ends, in turn, while the create waits there; after the answer; and at a random
moment within one and a half times what an answer took, so that anything may come first. The first
two wait for what they name, so there are races however slow the machine is. Many race at once, in
one process with one store, one provider and a lane that takes back what is due. The judge logs in
for real: 2 s after the end no delivered password lets in. The control delivers what was made
although its task had ended.
"""

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from statistics import fmean

import asyncpg

from taskbound import app
from taskbound.core.errors import TargetUnavailable, TaskEnded
from taskbound.core.identity import door
from taskbound.core.lease import Lease
from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres import PostgresProvider
from taskbound.ports import World
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.revoke_lease import due_leases, mark_due, revoke_lease, sweep_target
from taskbound.store.sqlite import open_store
from tests.notes import note
from tests.postgres.server import Server, running
from tests.profile import trials
from tests.rig import ALICE, PEOPLE, POLICY
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of

RACES, CONTROL, AT_ONCE = trials(1000, 200), trials(100, 33), 40
MOST, REVOKED_WITHIN = 0.2, 2.0  # seconds: a create waits, a login must be dead
WAITS = ("before create", "before COMMIT", "after create")
ENDINGS = ("while it waits", "after the answer", "at any time")
REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)
DOOR, LANE = (door("example.org", name, "main") for name in ("door/gateway", "lane/revoke"))

running_race: ContextVar["Race | None"] = ContextVar("running_race", default=None)


async def wait_at(point: str) -> None:
    if (race := running_race.get()) is not None and race.point == point:
        race.is_waiting.set()
        await asyncio.sleep(race.waits)
        if race.ending == "while it waits":
            await race.has_ended.wait()


class SlowProvider:
    """A provider that waits where the race says, and remembers what it made for it."""

    def __init__(self, provider: PostgresProvider) -> None:
        self._provider = provider

    def __getattr__(self, name: str):
        return getattr(self._provider, name)

    async def create(self, lease: Lease) -> Secret:
        await wait_at("before create")
        credential = await self._provider.create(lease)
        if (race := running_race.get()) is not None:
            race.made = lease, credential
        await wait_at("after create")
        return credential


@dataclass
class Race:
    """How one race went."""

    point: str  # at which its create waits
    waits: float  # seconds, or longer: until its task has ended
    ending: str
    ends: float  # seconds, where it ends at any time
    is_waiting: asyncio.Event = field(default_factory=asyncio.Event)
    has_answer: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    made: tuple[Lease, Secret] | None = None
    asked: float = 0.0
    ended: float = 0.0
    answer: str = ""  # to who asked for the lease
    answered: float = 0.0
    delivered: tuple[Lease, Secret] | None = None
    alive: bool = False  # a login with it succeeded after its time

    @property
    def order(self) -> str:
        return "end first" if self.ended < self.answered else "answer first"


async def race(world: World, server: Server, seen: Race, *, careless: bool) -> Race:
    task, handle = await open_task(world, DOOR, ALICE, REFUND)
    agent = claim_of(handle)
    running_race.set(seen)

    async def ask() -> None:
        seen.asked = time.monotonic()
        try:
            seen.delivered = await issue_lease(world, DOOR, agent, LeaseAsk("shopdb/reader"))
            seen.answer = "delivered"
        except (TaskEnded, TargetUnavailable) as error:
            seen.answer = f"{type(error).__name__}, {'made' if seen.made else 'not made'}"
            if careless:
                seen.delivered = seen.made
        seen.answered = time.monotonic()
        seen.is_waiting.set()  # no longer, or never, if it was refused before
        seen.has_answer.set()

    async def end() -> None:
        match seen.ending:
            case "while it waits":
                await seen.is_waiting.wait()
            case "after the answer":
                await seen.has_answer.wait()
            case _:
                await asyncio.sleep(seen.ends)
        await end_task(world, DOOR, agent, task.id, "done")
        seen.ended = time.monotonic()
        seen.has_ended.set()

    await asyncio.gather(ask(), end())
    await asyncio.sleep(max(0.0, seen.ended + REVOKED_WITHIN - time.monotonic()))
    if seen.delivered:
        lease, credential = seen.delivered
        try:
            session = await server.login(lease.name, credential.reveal())
        except REFUSED:
            pass
        else:
            seen.alive = True
            session.terminate()
    return seen


async def take_back(world: World) -> None:
    """What the lane does, over and over: each due lease in a task of its own."""
    busy: dict[str, asyncio.Task[None]] = {}
    while True:
        await mark_due(world, LANE)
        for lease in await due_leases(world, LANE):
            if lease.id not in busy or busy[lease.id].done():
                busy[lease.id] = asyncio.create_task(revoke_lease(world, LANE, lease))
        await asyncio.sleep(0.05)


@asynccontextmanager
async def world_at(server: Server, tmp_path):
    """Give a world with a SQLite store and a target whose creates wait, and its lane running."""
    folder = tmp_path / "state"
    store = open_store(folder / "taskbound.db", app.now, reserve=1 << 16)
    bare = app.in_memory(POLICY, TARGETS, {})
    provider = PostgresProvider(
        server.admin,
        owner="shop_owner",
        quarantine="shop_quarantine",
        instance=bare.instance,
        node="n1",
        epoch=app.new_id("e")[:9],
        new_password=app.new_password,
    )
    world = replace(bare, store=store, providers={"shopdb": SlowProvider(provider)})
    for name, environment in PEOPLE:
        is_alice = name == "human/alice"
        when: dict[str, str | int] = {"uid": 1000} if is_alice else {"script": f"/srv/{name}.py"}
        attestor = "operator" if is_alice else "unix"
        await register_identity(
            world, DOOR, DOOR, RegistrationAsk(name, "human/alice", attestor, when, environment=environment)
        )
    lane = asyncio.create_task(take_back(world))
    try:
        yield world
        assert not lane.done(), "the lane died"
    finally:
        lane.cancel()
        with suppress(asyncio.CancelledError):
            await lane
        await provider.close()
        await store.close()


async def races(world: World, server: Server, count: int, *, careless: bool = False) -> list[Race]:
    seed = int.from_bytes(os.urandom(4), "big")
    chance, seen = random.Random(seed), list[Race]()
    note("seed:", seed)

    todo = iter(range(count))

    async def one_after_the_other() -> None:
        await asyncio.sleep(chance.uniform(0, REVOKED_WITHIN))  # out of step with the others
        for n in todo:  # shared: each number is taken once
            took = [r.answered - r.asked for r in seen if r.ending == "after the answer"] or [2 * MOST]
            ends = chance.uniform(0, 1.5 * fmean(took))
            drawn = Race(chance.choice(WAITS), chance.uniform(0, MOST), ENDINGS[n % len(ENDINGS)], ends)
            # A task of its own: what the race says of itself is seen by it alone.
            seen.append(await asyncio.create_task(race(world, server, drawn, careless=careless)))

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return seen


def slow_commits(monkeypatch) -> None:
    """Make a create wait before it sends its COMMIT, where its race says so."""
    execute = asyncpg.Connection.execute

    async def slow(self, query, *args, **more):
        if query == "COMMIT":
            await wait_at("before COMMIT")
        return await execute(self, query, *args, **more)

    monkeypatch.setattr(asyncpg.Connection, "execute", slow)


async def names_left(world: World, server: Server) -> set[str]:
    judge = await server.superuser()
    rows = await judge.fetch("SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", f"tb_{world.instance}_")
    await judge.close()
    return {name for (name,) in rows}


async def test_what_is_made_while_its_task_ends_is_never_held_and_alive(tmp_path, monkeypatch):
    slow_commits(monkeypatch)
    server = running()
    async with world_at(server, tmp_path) as world:
        start = time.monotonic()
        seen = await races(world, server, RACES)
        note(f"{time.monotonic() - start:.1f} s of racing")
        spread = sorted(Counter((r.point, r.ending, r.order, r.answer) for r in seen).items())
        note(
            ", ".join(f"{n} × {point} / {ending} / {order} / {answer}" for (point, ending, order, answer), n in spread)
        )
        assert len(seen) == RACES
        assert [r for r in seen if r.alive] == [], "delivered, and alive 2 s after its task ended"
        assert [r for r in seen if r.ending == "while it waits" and r.answer == "delivered"] == []
        answers = Counter(r.answer for r in seen)
        assert answers["delivered"] >= RACES / 5 and answers["TaskEnded, made"] >= RACES / 5, f"no race: {answers}"
        # What nobody was given is taken back too, once a late create is out of the question.
        end = time.monotonic() + 12
        while left := await names_left(world, server):
            assert time.monotonic() < end, left
            await asyncio.sleep(0.1)
        assert await sweep_target(world, LANE, "shopdb") == []


async def test_control_delivering_without_a_second_look_is_found_out(tmp_path, monkeypatch):
    slow_commits(monkeypatch)
    server = running()
    async with world_at(server, tmp_path) as world:
        seen = await races(world, server, CONTROL, careless=True)
        alive = sum(r.alive for r in seen)
        note(f"control: {alive} of {len(seen)} alive after the end")
        assert alive >= CONTROL / 10
