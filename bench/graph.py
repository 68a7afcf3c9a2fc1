"""What an agent can reach in a large organisation: building the graph of what was seen, and asking it (issue 4)."""

import gc
from collections.abc import Iterator
from datetime import date
from time import perf_counter

from bench.figures import Figure, at, spread
from taskbound.app.graph import drawn
from taskbound.posture.graph import HOLDER, IDENTITY, Graph, reach
from taskbound.posture.sighting import Credential, Holder, Place, Principal, Sighting

DAY = date(2031, 5, 1)
IDENTITIES = 100_000
REACH = 0.2  # seconds, at most (issue 4)
RUNS = (("agent", "mcp:s"), ("pipeline", "ci:w"), ("workload", "env:v"))  # kinds of holders, and how their names begin
ASKED = 200  # questions, spread over all holders


def measure(identities: int = IDENTITIES, asked: int = ASKED, times: int = 3) -> list[Figure]:
    """Build the graph, then ask it from holders all over it, and from the one that reaches everything."""
    sightings, building = list(seen(identities)), list[float]()
    graph = drawn((), DAY)
    for _ in range(times):
        del graph
        gc.collect()
        start = perf_counter()
        graph = drawn(sightings, DAY)
        building.append(perf_counter() - start)
    edges = len(graph.places)
    (widest,) = graph.named("agent:all@hub", HOLDER)
    holders = [number for number, one in enumerate(graph.things) if one.kind == HOLDER]
    some = holders[:: max(len(holders) // asked, 1)]
    narrow = [_asked(graph, one) for one in some]
    wide = [_asked(graph, widest) for _ in range(max(times * 3, 1))]
    size = f"{sum(one.kind == IDENTITY for one in graph.things):,} identities, {edges:,} edges"
    common, worst = at(narrow, 0.99), max(wide)
    reached = f"{len(reach(graph, widest).found):,}"
    return [
        Figure(f"graph: built, {len(graph.things):,} vertices, {size}", f"{spread(building, 1)} s"),
        Figure(f"graph: reach, p99 of {len(some)} holders", f"{common * 1000:.2f} ms", "≤ 200 ms", common <= REACH),
        Figure(f"graph: reach of {reached} vertices, slowest", f"{worst * 1000:.0f} ms", "≤ 200 ms", worst <= REACH),
    ]


def _asked(graph: Graph, start: int) -> float:
    began = perf_counter()
    reach(graph, start)
    return perf_counter() - began


def seen(identities: int) -> Iterator[Sighting]:
    """Yield what a scan sees of so many cloud users: each with an owner, a key, holders in files, and a target."""
    hub = Holder("agent", "agent:all@hub", "hub")
    for n in range(identities):
        user, mark, repository = f"aws:user/svc-{n}", f"{n:064x}", f"r{n % (identities // 50 or 1)}"
        listed = Place("keys.csv", n + 2)
        yield Principal(user, "aws-iam-user", listed, {"owner": f"p{n % 2000}@corp.example"})
        yield Principal(f"aws-key:svc-{n}/1", "aws-access-key", listed, {"of": user, "mark": mark})
        for turn, (kind, name) in enumerate(RUNS):
            holder = Holder(kind, f"{name}{(n + turn * 7) % 40}@{repository}", repository)
            place = Place(f"{repository}/{name[-1]}{n % 9}.json", n % 400 + 1)
            yield _held(mark, place, holder, f"db{n % 3000}.corp.example:5432")
        yield _held(mark, Place("hub/all.json", n + 1), hub, "")  # and one agent holds everything


def _held(mark: str, place: Place, holder: Holder, target: str) -> Credential:
    return Credential(mark, "aws-secret-access-key", mark[-4:], place, holder, "config", target=target)
