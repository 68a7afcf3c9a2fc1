"""The contract of `Sink` (ports.py): at least once and in order. Every sink passes every test here.

A module that runs it imports `*` and gives the fixtures `sink` and `indexes`, a function that
returns the indexes of what has arrived, in the order of arrival.
"""

from datetime import UTC, datetime

from taskbound.core.leaf import Fact, Header


def facts(start: int, end: int) -> list[Fact]:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    return [
        Fact(n + 7, n, Header("main", "node.started", at, "by", "node", f"n{n}", "", b"\x01" * 32), b"s" * 32, b"{}")
        for n in range(start, end)
    ]


async def test_it_says_where_it_stands(sink, indexes):
    assert await sink.last() == -1
    await sink.send(facts(0, 3))
    assert await sink.last() == 2
    await sink.send(facts(3, 4))
    assert (await sink.last(), indexes()) == (3, [0, 1, 2, 3])


async def test_what_comes_again_leaves_no_gap_and_no_disorder(sink, indexes):
    await sink.send(facts(0, 5))
    await sink.send(facts(2, 7))
    await sink.send(facts(0, 7))
    await sink.send([])
    assert await sink.last() == 6
    assert sorted(set(indexes())) == list(range(7))
