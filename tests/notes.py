"""A pytest plug-in: what a test that passed found out is read at the end of a run, one line a test.

A `print` of a test that passes is seen by nobody. `note` prints too, so that a test which fails shows it where it
failed; and it goes along with the test's report, from the worker that ran it to the process with the terminal.
"""

from typing import Any

import pytest

running: list[pytest.Item] = []  # the test that runs in this process, if any


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    running.append(item)
    try:
        return (yield)
    finally:
        running.remove(item)


def note(*words: object) -> None:
    """Note a short line about the test that runs: a seed, a count, a figure, what was swept."""
    line = " ".join(str(word) for word in words)
    print(line)
    for item in running:
        item.user_properties.append(("note", line))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    noted: dict[str, list[str]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        lines = [line for name, line in getattr(report, "user_properties", ()) if name == "note"]
        if len(lines) > len(noted.get(report.nodeid, ())):  # the report of its end holds what those before it hold
            noted[report.nodeid] = lines
    if noted:
        terminalreporter.section("noted by the tests")
    for test, lines in sorted(noted.items()):
        terminalreporter.write_line(f"{test.removeprefix('tests/').replace('.py::test_', ' ')}: {'; '.join(lines)}")
