"""A pytest plug-in (`-p tests.skips`): a run that skips more than a handful of tests has not passed.

Workers count nothing: they report to the process that started them, and only that one has a terminal.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

ALLOWED = 5


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and sum(skips(session.config).values()) > ALLOWED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reasons = skips(config)
    verdict = "too many, the run fails" if reasons.total() > ALLOWED else f"{ALLOWED} are allowed"
    terminalreporter.write_line(f"skips: {reasons.total()} ({verdict})")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count} × {reason}")


def skips(config: pytest.Config) -> Counter[str]:
    """Return how often each reason was given in this run."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return Counter(reasons_of(reporter.stats.get("skipped", [])) if reporter else ())


def reasons_of(reports: list[Any]) -> Iterator[str]:
    for report in reports:
        _file, _line, reason = report.longrepr
        yield reason.removeprefix("Skipped: ")
