"""The memory store keeps the store's contract."""

import pytest

from taskbound.store.memory import MemoryStore
from tests.contracts.store import *  # noqa: F403


@pytest.fixture
def store(clock):
    return MemoryStore(clock)
