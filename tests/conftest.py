"""Shared suites show what they compared when they fail."""

import pytest

PORTS = ("store", "provider", "log", "keys", "checkpoints", "sink", "upstream", "probes")

pytest.register_assert_rewrite(*(f"tests.contracts.{port}" for port in PORTS), "tests.rig", "tests.logs")
