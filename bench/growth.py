"""Growth: what one decision costs with more policies and with more open tasks.

With policies: `decide` in process, from a Case to a Decision, as row 1. With tasks: the step
`decide_call` on SQLite, from a handle to a durable permit, for callers drawn from all of them; its
CPU is what should stay flat, since its wait is mostly the disk's. A machine that is shared changes its
speed from minute to minute, so each count is measured in turns with 10 policies, and with a second store
of 10 tasks.
"""

import asyncio
import gc
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from bench import decide, durable
from bench.figures import Figure, at
from taskbound.core.call import decide as decide_in_process

POLICIES = (10, 100, 1_000, 10_000)
TASKS = (10, 1_000, 10_000, 100_000)
CALLS = 2_000
FEW = 10  # policies, and tasks of the store, beside
TURNS = 10
FLAT = 1.25  # times the least of the row: within what two runs of the same differ


def measure(policies: tuple[int, ...] = POLICIES, tasks: tuple[int, ...] = TASKS, calls: int = CALLS) -> list[Figure]:
    """Return the figures of the growth row."""
    return [*_by_policies(policies, calls), *asyncio.run(_by_tasks(tasks, calls))]


def _by_policies(counts: tuple[int, ...], calls: int) -> Iterator[Figure]:
    few, *many = (
        decide.cases(decimals=False, organisation=decide.policies(count), live_tasks=1_000) for count in (FEW, *counts)
    )
    found = []
    for count, cases in zip(counts, many, strict=True):
        turns = [
            [decide.timed(decide_in_process, of, max(calls // TURNS, 100)) for of in (few, cases)] for _ in range(TURNS)
        ]
        found.append(median(at(took, 0.5) / at(beside, 0.5) for beside, took in turns))
        took = sorted(one for _, turn in turns for one in turn)
        said = f"p50 {at(took, 0.5):.1f}, p99 {at(took, 0.99):.1f} µs; {found[-1]:.2f} of {FEW} beside it"
        yield Figure(f"growth: decide, {count:,} policies", said)
    yield _flat("policies", list(counts), found, f"times the p50 with {FEW}, median of {TURNS} turns")


async def _by_tasks(counts: tuple[int, ...], calls: int) -> list[Figure]:
    figures, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with durable.opened(Path(folder) / "few") as few, durable.opened(Path(folder) / "many") as many:
            await few.open_tasks(FEW)
            for count in counts:
                await many.open_tasks(count - len(many.claims))
                turns = [
                    (await _decide(few, calls // TURNS), await _decide(many, calls // TURNS)) for _ in range(TURNS)
                ]
                beside, cpu = (sum(turn[of][1] for turn in turns) / TURNS * 1e6 for of in (0, 1))
                waits = [wait for _, turn in turns for wait in turn[0]]
                found.append(cpu / beside)
                said = f"{cpu:.0f} µs CPU, p50 {at(waits, 0.5) * 1e3:.2f} ms, p99 {at(waits, 0.99) * 1e3:.2f} ms"
                said += f"; with {FEW} beside it {beside:.0f} µs"
                figures.append(Figure(f"growth: decide_call on SQLite, {count:,} open tasks, 1 caller", said))
    return [*figures, _flat("open tasks", list(counts), found, f"times the CPU with {FEW}")]


async def _decide(site: durable.Site, calls: int) -> tuple[list[float], float]:
    drawn = random.Random(len(site.claims)).choices(site.claims, k=calls + calls // 10)
    for claim in drawn[calls:]:
        await site.decide(claim)
    gc.collect()
    waits, began = [], process_time()
    for claim in drawn[:calls]:
        start = perf_counter()
        await site.decide(claim)
        waits.append(perf_counter() - start)
    return waits, (process_time() - began) / calls


def _flat(of: str, counts: list[int], values: list[float], unit: str) -> Figure:
    grown = max(values) / min(values)
    what = f"growth: flat from {counts[0]:,} to {counts[-1]:,} {of}"
    return Figure(what, f"{min(values):.3g} to {max(values):.3g} {unit}", f"≤ {FLAT:g} times", grown <= FLAT)
