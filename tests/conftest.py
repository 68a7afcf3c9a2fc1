"""Shared suites show what they compared when they fail; of the files, those that take longest begin."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.contracts import SUITES

# A worker takes the next file when it is done with one: a long one at the end would leave the other worker idle.
# One that is missing here only runs later.
LONGEST = (
    "faults/test_kill.py",
    "stories/test_serve.py",
    "core/test_policy_properties.py",
    "stories/test_up.py",
    "plugins/test_postgres_faults.py",
    "runner/test_agent_is_not_the_operator.py",
    "test_guards.py",
    "demo/test_demo.py",
    "store/test_state_equals_replay.py",
    "bench/test_bench.py",
    "store/test_sqlite.py",
    "runner/test_hiding.py",
    "stories/test_full_disk.py",
    "faults/test_race.py",
    "test_lanes.py",
    "faults/test_raise.py",
    "plugins/test_postgres_lacks.py",
    "plugins/test_mcp_http.py",
    "edge/test_gateway.py",
    "plugins/test_hostile_holder.py",
    "plugins/test_postgres_provider.py",
    "core/test_audit.py",
    "cli/test_commands.py",
    "runner/test_run.py",
    "faults/test_seal.py",
    "edge/test_gateway_eras.py",
    "cli/test_doctor.py",
    "secrets/test_canaries.py",
    "core/test_derive.py",
    "edge/test_http.py",
    "runner/test_terminal.py",
)
# Whoever starts the tests in the background of a script, or with nohup, starts them deaf to Ctrl-C and to the
# end of the terminal, and every program that they start.
for deaf, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(deaf) is signal.SIG_IGN:
        signal.signal(deaf, handler)

pytest_plugins = ["tests.notes"]
pytest.register_assert_rewrite(
    *(f"tests.contracts.{suite}" for suite in {*SUITES.values(), "parser"}), "tests.rig", "tests.logs"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


@pytest.fixture(autouse=True)
def log_as_it_comes() -> Iterator[None]:
    """A test that runs the command in this process leaves the log as it was."""
    yield
    structlog.reset_defaults()
