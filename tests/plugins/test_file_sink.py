"""The file sink keeps the sink's contract, and goes on after a crash in the middle of a line."""

import json

import pytest

from taskbound.core.errors import Unavailable
from taskbound.core.leaf import parse_leaf
from taskbound.plugins.sinks.file import FileSink
from tests.contracts.sink import *  # noqa: F403
from tests.contracts.sink import facts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
def sink(path):
    return FileSink(path)


@pytest.fixture
def indexes(path):
    return lambda: [json.loads(line)["index"] for line in path.read_text().splitlines()]


async def test_a_line_is_the_leaf(sink, path):
    await sink.send(facts(0, 2))
    assert [parse_leaf(line) for line in path.read_bytes().splitlines()] == [(f.index, f.header) for f in facts(0, 2)]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_it_goes_on_wherever_a_crash_has_cut_the_file(sink, path, indexes):
    await sink.send(facts(0, 3))
    whole = path.read_bytes()
    for at in range(len(whole) + 1):
        path.write_bytes(whole[:at])
        await FileSink(path).send(facts(await FileSink(path).last() + 1, 5))
        assert indexes() == [0, 1, 2, 3, 4], at


async def test_a_file_of_something_else_is_not_continued(sink, path):
    path.write_text("dear diary\n")
    with pytest.raises(Unavailable):
        await sink.last()
    assert path.read_text() == "dear diary\n"
