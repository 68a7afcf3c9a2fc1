"""The memory store's log keeps the log's contract."""

import pytest

from taskbound.store.memory import MemoryStore
from taskbound.store.memory_log import MemoryLog
from tests.contracts.log import *  # noqa: F403


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


@pytest.fixture
def log(store):
    return MemoryLog(store)
