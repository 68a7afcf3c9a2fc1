"""`make bench`: the figures of DESIGN 9 on this machine, as one table.

    python -m bench.run [--markdown] [ROW …]     or ROWS=gateway,memory make bench

A row's whole is measured in one run. Quiet the machine before it: other work makes every figure worse.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from time import perf_counter

from bench import decide, discover, durable, gateway, graph, growth, log, memory, store, task
from bench.figures import Figure, as_markdown, as_text, machine

ROWS: Mapping[str, Callable[[], list[Figure]]] = {
    "decide": decide.measure,    # row 1
    "durable": durable.measure,  # row 2
    "store": store.measure,
    "log": log.measure,          # T7.8
    "gateway": gateway.measure,  # row 5
    "task": task.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "graph": graph.measure,
    "discover": discover.measure,
}  # fmt: skip


def chosen(words: list[str], environment: str) -> list[str]:
    """Return the rows that are asked for, all where none is. Raises SystemExit for one that there is not."""
    rows = words or [word for word in environment.split(",") if word]
    if strange := [row for row in rows if row not in ROWS]:
        raise SystemExit(f"there is no row {strange[0]!r}\nhint: {', '.join(ROWS)}")
    return rows or list(ROWS)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("bench.run", description="Measure what DESIGN 9 names.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument("--markdown", action="store_true", help="a table for docs/figures.md")
    asked = parser.parse_args(words)
    rows, figures, about = chosen(asked.rows, os.environ.get("ROWS", "")), list[Figure](), machine()
    for row in rows:
        start = perf_counter()
        figures += (found := ROWS[row]())
        print(f"{row}: {perf_counter() - start:.0f} s", *as_text(found), sep="\n  ", file=sys.stderr, flush=True)
    table = as_markdown(figures) if asked.markdown else as_text(figures)
    print("\n".join([about, "", *table]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
