"""A pytest plug-in (`-p tests.skips`): a run that skips more than a handful of tests has not passed, nor one
in which a test was expected to fail: what fails is mended, or is no test.

A test that was deselected counts as skipped (SECURITY-DESIGN part D, rule 5), whatever deselected it: a word in
PYTEST_ADDOPTS or in pyproject.toml does it as quietly as a mark. Only `make test` loads this plug-in: who picks tests
by hand, with `pytest -k`, is not judged.

Workers judge nothing: they report to the process that started them, and only that one has a terminal. What was
deselected does not come with the reports, so each says it when it ends; all deselect the same tests.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

ALLOWED = 5


DESELECTED = pytest.StashKey[int]()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if items:
        items[0].config.stash[DESELECTED] = items[0].config.stash.get(DESELECTED, 0) + len(items)


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[DESELECTED] = getattr(node, "workeroutput", {}).get("deselected", 0)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    too_many = sum(skips(session.config).values()) > ALLOWED or xfails(session.config)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["deselected"] = session.config.stash.get(DESELECTED, 0)
    elif exitstatus == pytest.ExitCode.OK and too_many:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reasons = skips(config)
    verdict = "too many, the run fails" if reasons.total() > ALLOWED else f"{ALLOWED} are allowed"
    terminalreporter.write_line(f"skips: {reasons.total()} ({verdict})")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count} × {reason}")
    if expected := xfails(config):
        terminalreporter.write_line(f"xfails: {expected} (none is allowed, the run fails)")


def skips(config: pytest.Config) -> Counter[str]:
    """Return how often each reason was given in this run, and how many tests were deselected."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    counted = Counter(reasons_of(reporter.stats.get("skipped", [])) if reporter else ())
    return counted + Counter(deselected=config.stash.get(DESELECTED, 0))  # the sum has no zero


def xfails(config: pytest.Config) -> int:
    """Return how many tests of this run were expected to fail, whether they did or not."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return sum(len(reporter.stats.get(outcome, [])) for outcome in ("xfailed", "xpassed")) if reporter else 0


def reasons_of(reports: list[Any]) -> Iterator[str]:
    for report in reports:
        _file, _line, reason = report.longrepr
        yield reason.removeprefix("Skipped: ")
