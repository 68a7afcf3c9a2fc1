"""Shared suites show what they compared when they fail."""

import pytest

pytest.register_assert_rewrite("tests.contracts.store", "tests.contracts.provider", "tests.rig")
