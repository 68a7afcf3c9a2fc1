"""The PostgreSQL store's log keeps the log's contract, also with several sealers."""

import pytest

from taskbound.store.postgres.log import PostgresLog
from tests.contracts.log import *  # noqa: F403
from tests.postgres.server import server  # noqa: F401
from tests.store.postgres_database import database, store  # noqa: F401


@pytest.fixture
def log(store):  # noqa: F811
    return PostgresLog(store)
