"""Where the CPU of a gateway call goes: `up` under cProfile while 16 connections call through it.

`python -m bench.profile` prints the functions with the most time of their own, as microseconds a
call, and the packages they belong to. The profiler makes Python's own functions about twice as slow
and leaves C as it is: it shows what to look at, never what it costs.
"""

import pstats
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.gateway import WARM_UP, run
from bench.installation import cores, installed

CONNECTIONS = 16


def profile(seconds: float, lines: int) -> list[str]:
    """Return the lines of both tables."""
    pinned = cores()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stats"
        command = [sys.executable, "-m", "bench.profile", "up", str(file)]
        with installed(pinned=pinned, command=command) as at:
            handles = [at.open_task()["handle"] for _ in range(CONNECTIONS)]
            plan = {"port": at.port, "path": "/mcp/echo", "connections": handles, "warm_up": WARM_UP}
            calls = run(at.cpu, pinned[0] if pinned else None, plan | {"seconds": seconds}).calls
        stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    own: list[tuple[float, int, str]] = []
    packages: dict[str, float] = defaultdict(float)
    for (path, line, name), (_, count, took, *_) in stats.items():
        where = _where(path)
        own.append((took, count, f"{where}:{line} {name}" if line else name))
        packages[where.partition("/")[0] if not where.startswith("taskbound") else where] += took
    told = [f"{calls:,} calls; microseconds of its own and times, a call"]
    told += [f"{took / calls * 1e6:8.1f} {n / calls:7.1f}  {what}" for took, n, what in sorted(own)[: -lines - 1 : -1]]
    by_package = sorted(((took, where) for where, took in packages.items()), reverse=True)
    return [*told, "by module", *(f"{took / calls * 1e6:8.1f}  {where}" for took, where in by_package[:lines])]


def _where(path: str) -> str:
    for root in ("site-packages/", "src/", "lib/python"):
        if root in path:
            return path.rpartition(root)[2]
    return path


def _up(file: str) -> None:
    """Be `taskbound up --json`, and leave the profile in a file."""
    import cProfile
    import time

    from taskbound.cli import main

    watch = cProfile.Profile(time.thread_time)  # the CPU of the loop's thread, whoever else runs meanwhile
    try:
        watch.runcall(main, ["up", "--json"])
    finally:
        watch.dump_stats(file)


if __name__ == "__main__":
    if sys.argv[1:2] == ["up"]:
        _up(sys.argv[2])
    else:
        print("\n".join(profile(8.0, 40)))
