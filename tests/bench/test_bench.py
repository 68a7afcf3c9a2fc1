"""Each row of `make bench` runs, with tiny counts: what it prints on a quiet machine is no matter of a test."""

import sys
import threading

import pytest

from bench import decide, discover, durable, gateway, graph, growth, log, memory, run, store, task
from bench.figures import Figure, as_markdown, as_text, at, machine, spread
from bench.installation import cpu_of

ROWS = {
    "decide": lambda: decide.measure(20, 40),
    "durable": lambda: durable.measure((1, 2), 0.05),
    "store": lambda: store.measure((1, 2), 0.05),
    "log": lambda: log.measure(20),
    "gateway": lambda: gateway.measure((1, 2), 0.4, 1),
    "task": lambda: task.measure(2, 2, 0),
    "memory": lambda: memory.measure(3),
    "growth": lambda: growth.measure((10, 20), (2, 4), 10),
    "graph": lambda: graph.measure(100, 5, 1),
    "discover": lambda: discover.measure(3_000_000, 40),
}


def test_every_row_is_tried_here():
    assert list(ROWS) == list(run.ROWS)


def test_the_rows_run():
    """Side by side: most of what they do is waiting for programs to start."""
    found: dict[str, list[Figure] | Exception] = {}

    def measure(row: str) -> None:
        try:
            found[row] = ROWS[row]()
        except Exception as error:
            found[row] = error

    threads = [threading.Thread(target=measure, args=(row,)) for row in ROWS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in [row for row, told in found.items() if isinstance(told, Exception)]:
        measure(row)  # alone: beside all others it may have waited for longer than it would
    assert {row: told for row, told in found.items() if isinstance(told, Exception) or not told} == {}
    figures = {one.what: one for told in found.values() if not isinstance(told, Exception) for one in told}
    # These do not hang on how fast the machine is.
    assert figures["gateway: errors, up to 2 sessions"].reached
    assert figures["gateway: events counted against calls made"].reached
    assert figures["memory of `up`, idle"].reached
    assert figures["discover: planted and found"].reached


def test_a_row_that_there_is_not_is_refused():
    with pytest.raises(SystemExit, match="no row 'gatway'\nhint: decide, "):
        run.chosen(["gatway"], "")
    assert run.chosen([], "memory,gateway") == ["memory", "gateway"]
    assert run.chosen(["store"], "memory") == ["store"]
    assert run.chosen([], "") == list(run.ROWS)


def test_rows_are_told_as_text_and_as_markdown(monkeypatch, capsys):
    figures = [Figure("quick", "1 ms", "≤ 2 ms", True), Figure("slow | late", "12 ms", "≤ 2 ms", False)]
    assert as_text(figures) == [
        "quick        1 ms   ≤ 2 ms  reached",
        "slow | late  12 ms  ≤ 2 ms  NOT REACHED",
    ]
    monkeypatch.setattr(run, "ROWS", {"one": lambda: [*figures, Figure("told", "3")]})
    assert run.main(["--markdown", "one"]) == 0
    about, _, *table = capsys.readouterr().out.splitlines()
    assert (
        "Python 3." in about and "cores" in about and about.partition(", load")[0] == machine().partition(", load")[0]
    )
    assert table == [*as_markdown(figures), "| told | 3 |  | stated |"]
    assert table[3] == "| slow / late | 12 ms | ≤ 2 ms | NOT REACHED |"


def test_shares_and_spreads():
    assert (at([3, 1, 2], 0.5), at(range(100), 0.99), at([7], 0.99)) == (2, 99, 7)
    assert (spread([1500.0]), spread([1, 3, 2.0], 1)) == ("1,500", "2.0 (1.0 to 3.0)")


def test_the_cpu_of_a_process_is_what_the_kernel_counts():
    import os
    import time

    before, began = cpu_of(os.getpid()), time.process_time()
    while time.process_time() - began < 0.05:
        pass
    assert cpu_of(os.getpid()) - before >= 0.03  # it counts in hundredths
    assert sys.platform == "linux"
