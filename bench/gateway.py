"""Row 5 of DESIGN 9: a call through the gateway against the same call to the same MCP server without it.

Load generator and stub share one core. The other has `taskbound up`, and the peer: a plain proxy that
decides and records nothing (bench/peer.py). Direct, through the gateway and through the peer alternate in
one run; each connection of the gateway has a session and a task of its own. Every call is decided,
recorded durably before it goes out, and its outcome recorded after.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.figures import Figure, spread
from bench.installation import Installation, cores, cpu_of, end, installed, launch, line_of

CONNECTIONS = (1, 16, 64)
SECONDS = 4.0
REPETITIONS = 3
WARM_UP = 30  # calls on each connection
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds, in which the kernel counts CPU: what took less is told as one


@dataclass(frozen=True)
class Run:
    """What one run of the load generator found."""

    rate: float  # calls a second
    p50: float  # ms
    p99: float
    cpu: float  # ms of `up` a call
    calls: int  # with those of the warm-up
    errors: int


def run(cpu: Callable[[], float], core: int | None, plan: dict[str, Any]) -> Run:
    """Make the calls of a plan (bench.load), and return what was found; `cpu` tells what the product has used."""
    generator = launch([sys.executable, "-m", "bench.load"], core)
    try:
        assert generator.stdin is not None
        print(json.dumps(plan), file=generator.stdin, flush=True)
        line_of(generator)
        before = cpu()
        print("go", file=generator.stdin, flush=True)
        found = json.loads(line_of(generator))
        time.sleep(0.1)  # outcomes are recorded after the answer: they belong to the calls
        used = max(cpu() - before, TICK)
    finally:
        end(generator)
    calls = found["calls"]
    made = calls + found["warmed"]
    p50, p99 = (found[one] * 1e3 for one in ("p50", "p99"))
    return Run(calls / found["seconds"], p50, p99, used * 1e3 / calls, made, found["errors"])


def measure(
    connections: tuple[int, ...] = CONNECTIONS, seconds: float = SECONDS, repetitions: int = REPETITIONS
) -> list[Figure]:
    """Return the figures of the gateway row."""
    pinned = cores()
    load = pinned[0] if pinned else None
    direct: dict[int, list[Run]] = {count: [] for count in connections}
    through: dict[int, list[Run]] = {count: [] for count in connections}
    peers: dict[int, list[Run]] = {count: [] for count in connections}
    with installed(pinned=pinned) as at_, _peer(at_, pinned) as (peer, peer_port):
        handles = [at_.open_task()["handle"] for _ in range(max(connections))]
        for _ in range(repetitions):
            for count in connections:
                plan = {"warm_up": WARM_UP, "seconds": seconds}
                to_stub = {"port": at_.stub_port, "path": "/mcp", "connections": [None] * count}
                direct[count].append(run(at_.cpu, load, plan | to_stub | {"seconds": seconds / 2}))
                to_gateway = {"port": at_.port, "path": "/mcp/echo", "connections": handles[:count]}
                through[count].append(run(at_.cpu, load, plan | to_gateway))
                to_peer = {"port": peer_port, "path": "/mcp", "connections": [None] * count}
                peers[count].append(run(lambda: cpu_of(peer), load, plan | to_peer | {"seconds": seconds / 2}))
        made = sum(run.calls for runs in through.values() for run in runs)
        counted = {kind: _settled(at_, kind, made) for kind in ("call.permitted", "call.completed")}
    figures = [_rate(count, direct[count], through[count]) for count in connections]
    if 1 in connections:
        added = [run.p50 - one.p50 for run, one in zip(through[1], direct[1], strict=True)]
        figures.append(
            Figure("gateway: added p50 at 1 connection", f"{spread(added, 2)} ms", "≤ 1 ms", median(added) <= 1)
        )
    for count in connections:
        cpu = [run.cpu for run in through[count]]
        what = f"gateway: CPU of `up` per call at {count}"
        figures.append(Figure(what, f"{spread(cpu, 3)} ms", "≤ 0.5 ms", median(cpu) <= 0.5))
    figures += [_beside(count, through[count], peers[count]) for count in connections]
    errors = sum(run.errors for runs in (*through.values(), *direct.values(), *peers.values()) for run in runs)
    figures.append(Figure(f"gateway: errors, up to {max(connections)} sessions", f"{errors}", "0", errors == 0))
    said = ", ".join(f"{number:,} {kind}" for kind, number in counted.items())
    exact = set(counted.values()) == {made}
    figures.append(Figure("gateway: events counted against calls made", f"{said}; {made:,} calls", "equal", exact))
    where = (
        f"load and stub on core {pinned[0]}, `up` on core {pinned[1]}"
        if pinned
        else "one core: nothing could be pinned"
    )
    return [*figures, Figure("gateway: where it ran", where)]


def _rate(count: int, direct: list[Run], through: list[Run]) -> Figure:
    rate, plain = [run.rate for run in through], median(run.rate for run in direct)
    waits = f"p50 {median(run.p50 for run in through):.2f}, p99 {median(run.p99 for run in through):.2f} ms"
    said = f"{spread(rate)}/s, {waits}; direct {plain:,.0f}/s, p50 {median(run.p50 for run in direct):.2f} ms"
    wanted = count == 16
    return Figure(
        f"gateway: echo of 200 bytes, {count} connections",
        said,
        "≥ 1,500/s" if wanted else "",
        median(rate) >= 1_500 if wanted else None,
    )


def _beside(count: int, through: list[Run], peers: list[Run]) -> Figure:
    """Return the peer's figure, and whether `up` needs no more CPU and is no slower (docs/decisions/0021)."""
    ours, theirs = median(run.cpu for run in through), [run.cpu for run in peers]
    rates = median(run.rate for run in through) / (rate := median(run.rate for run in peers))
    said = f"{spread(theirs, 3)} ms CPU, {rate:,.0f}/s, p50 {median(run.p50 for run in peers):.2f} ms"
    said += f"; `up` needs {(share := ours / median(theirs)):.2f} of its CPU, at {rates:.2f} of its rate"
    return Figure(
        f"gateway: peer, a proxy that decides and records nothing, {count} connections",
        said,
        "CPU ≤ 1, rate ≥ 1",
        share <= 1 and rates >= 1,
    )


@contextmanager
def _peer(at_: Installation, pinned: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    """Give a peer before the same stub, on the core of `up`: its process and its port."""
    peer = launch([sys.executable, "-m", "bench.peer", str(at_.stub_port)], pinned[1] if pinned else None)
    try:
        yield peer.pid, int(json.loads(line_of(peer))["port"])
    finally:
        end(peer)


def _settled(at_: Installation, kind: str, wanted: int) -> int:
    """Return how many facts of the kind there are, once as many as wanted are, or after 5 s."""
    until = time.monotonic() + 5
    while (found := at_.events(kind)) < wanted and time.monotonic() < until:
        time.sleep(0.05)
    return found
