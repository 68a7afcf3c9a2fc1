"""What a task costs: opened and first used; and whole, with a lease at a PostgreSQL, in its parts."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

import asyncpg
import uvloop

from bench.database import running
from bench.figures import Figure, at
from bench.installation import Installation, installed
from bench.load import connect
from demo.database import Database
from taskbound_sdk import Client

FIRST = 200  # tasks opened and used once
WHOLE, WARM_UP = 60, 10  # tasks with a lease
REFUSED_WITHIN = 10.0  # seconds, after which a login that still works is a failure of the product, not a figure

Parts = dict[str, list[float]]  # ms by part


@contextmanager
def timed(parts: Parts, name: str) -> Iterator[None]:
    start = perf_counter()
    yield
    parts[name].append((perf_counter() - start) * 1e3)


def measure(first: int = FIRST, whole: int = WHOLE, warm_up: int = WARM_UP) -> list[Figure]:
    """Return the figures of both."""
    return [*_first(first), *uvloop.run(_whole(whole, warm_up))]


# --- opened and first used ------------------------------------------------------------------------


def _first(count: int) -> list[Figure]:
    parts: Parts = defaultdict(list)

    async def use(at_: Installation, handle: str) -> None:
        connection = await connect(at_.port, "/mcp/echo", handle)
        with timed(parts, "first decision: decided, its upstream met, called and answered"):
            right = await connection.call()
        connection.close()
        if not right:
            raise RuntimeError("the first call was not answered as it should be")

    with installed() as at_:
        uvloop.run(use(at_, at_.open_task()["handle"]))
        parts.clear()
        for _ in range(count):
            with timed(parts, "open, asked over api.sock"):
                handle = at_.open_task()["handle"]
            uvloop.run(use(at_, handle))
    both = [sum(pair) for pair in zip(*parts.values(), strict=True)]
    return [*_told("task: ", parts), Figure(f"task: open + first decision ({count} tasks)", _ms(both))]


# --- whole, with a lease --------------------------------------------------------------------------


async def _whole(count: int, warm_up: int) -> list[Figure]:
    parts: Parts = defaultdict(list)
    async with running() as server:
        with installed(upstream=False, admin=server.admin) as at_:
            for n in range(warm_up + count):
                if n == warm_up:
                    parts.clear()
                await _one(at_, server, parts)
    total = [sum(values) for values in zip(*(parts[name] for name in _SUM), strict=True)]
    return [
        *_told("lease: ", parts),
        Figure(f"lease: whole task, until a login is refused ({count} tasks)", _ms(total)),
    ]


_SUM = ("open", "issue (role made)", "connect and query", "end → login refused, seen from outside")


async def _one(at_: Installation, server: Database, parts: Parts) -> None:
    with timed(parts, "open"):
        opened = await asyncio.to_thread(at_.open_task)
    agent = Client(f"http://127.0.0.1:{at_.port}", opened["handle"])
    with timed(parts, "issue (role made)"):
        lease = await asyncio.to_thread(agent.lease, opened["task"], "office/writer")
    login: Mapping[str, Any] = lease["credential"]
    with timed(parts, "connect and query"):
        connection = await server.login(login["user"], login["password"])
        rooms = await connection.fetch("SELECT name FROM rooms")
    if len(rooms) != 3:
        raise RuntimeError("the lease does not let its holder read")
    cut = asyncio.Event()
    connection.add_termination_listener(lambda _: cut.set())
    start = perf_counter()
    ended = asyncio.create_task(asyncio.to_thread(Client(at_.api).end_task, opened["task"]))
    cutting = asyncio.create_task(_when(cut, start))
    refused = await _refused(server, login, start)
    await ended
    parts["end → login refused, seen from outside"].append(refused)
    parts["end → open connection cut, seen from outside"].append(await cutting)
    connection.terminate()


async def _when(event: asyncio.Event, start: float) -> float:
    async with asyncio.timeout(REFUSED_WITHIN):
        await event.wait()
    return (perf_counter() - start) * 1e3


async def _refused(server: Database, login: Mapping[str, Any], start: float) -> float:
    """Return the ms after which a login is refused; each attempt begins when the one before is answered."""
    while perf_counter() - start < REFUSED_WITHIN:
        try:
            connection = await server.login(login["user"], login["password"])
        except asyncpg.InvalidAuthorizationSpecificationError:
            return (perf_counter() - start) * 1e3
        except (asyncpg.PostgresError, OSError):  # let in, and cut at once
            continue
        with suppress(Exception):
            connection.terminate()
    raise RuntimeError(f"the login still works {REFUSED_WITHIN:g} s after the end")


def _told(before: str, parts: Parts) -> list[Figure]:
    return [Figure(before + name, _ms(values)) for name, values in parts.items()]


def _ms(values: Sequence[float]) -> str:
    return f"p50 {at(values, 0.5):,.1f}, p99 {at(values, 0.99):,.1f} ms"
