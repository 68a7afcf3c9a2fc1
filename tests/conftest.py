"""Shared suites show what they compared when they fail."""

from collections.abc import Iterator

import pytest
import structlog

PORTS = ("store", "provider", "log", "keys", "checkpoints", "sink", "upstream", "probes")

pytest.register_assert_rewrite(*(f"tests.contracts.{port}" for port in PORTS), "tests.rig", "tests.logs")


@pytest.fixture(autouse=True)
def log_as_it_comes() -> Iterator[None]:
    """A test that runs the command in this process leaves the log as it was."""
    yield
    structlog.reset_defaults()
