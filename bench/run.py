"""`make bench`: what a decision and a durable call cost on this machine (DESIGN 9, rows 1 and 2)."""

import os
import platform
from pathlib import Path

from bench import decide, store


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    print(machine())
    print("decide one call in process: Case to Decision, chain of 2, slice of 3, no decision cached")
    for name, row in decide.measure().items():
        print(
            f"  {name:44} p50 {row.p50:6.1f} µs   p99 {row.p99:6.1f} µs   {row.permitted:.0%} of {row.calls} permitted"
        )
    print("durable calls on SQLite: found by handle, budget read, permit recorded")
    for name, figure in store.measure().items():
        print(f"  {name:44} {figure:9.2f}")


if __name__ == "__main__":
    main()
