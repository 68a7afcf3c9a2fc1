"""The contract of `Log` (ports.py, INTERFACES 9). Every store's log passes every test here.

A module that runs it imports `*` from tests/contracts/store.py's fixtures and gives the fixtures
`clock`, `store` (empty) and `log` (the log over it).
"""

import asyncio
from datetime import timedelta

import pytest

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.core.identity import door, for_request
from taskbound.core.leaf import commitment, parse_ranges
from tests.contracts.store import Clock

LANE = door("example.org", "lane/seal", "main")
OTHER = door("example.org", "lane/seal", "other")
A, B = b"a" * 32, b"b" * 32


@pytest.fixture
def clock():
    return Clock()


async def state(store, n: int, lane=LANE, **detail) -> None:
    for at in range(n):
        async with store.transaction(for_request(lane, "r1")) as tx:
            await tx.record(Kind.NODE_STARTED, id=f"n{at}", **detail)


async def seal(log, lane=LANE, limit=100) -> int:
    facts, start = await log.unsealed(lane, limit), await log.appended(lane)
    await log.extend(lane, start, facts, {}, after=await log.checkpoint(lane))
    return len(facts)


async def test_what_is_committed_is_unsealed_in_order_with_its_body(store, log):
    await state(store, 3, note="x")
    facts = await log.unsealed(LANE, 10)
    assert [fact.header.id for fact in facts] == ["n0", "n1", "n2"]
    assert [fact.index for fact in facts] == [None] * 3
    for fact in facts:
        assert (fact.header.org, fact.header.kind, fact.header.noun) == ("main", "node.started", "node")
        assert (fact.header.by, fact.header.request) == (LANE.spiffe_id, "r1")
        assert fact.salt is not None and fact.body is not None and len(fact.salt) == 32
        assert commitment(fact.salt, fact.body) == fact.header.commitment
        assert b'"note":"x"' in fact.body
    assert [fact.header.id for fact in await log.unsealed(LANE, 2)] == ["n0", "n1"]
    assert facts == await log.unsealed(LANE, 10), "it is the same each time"
    assert len({fact.salt for fact in facts}) == 3


async def test_what_was_not_committed_is_never_seen(store, log):
    with pytest.raises(ZeroDivisionError):
        async with store.transaction(LANE) as tx:
            await tx.record(Kind.NODE_STARTED, id="n")
            raise ZeroDivisionError
    assert await log.unsealed(LANE, 10) == []


async def test_places_are_given_once_and_are_dense(store, log):
    await state(store, 3)
    facts = await log.unsealed(LANE, 2)
    await log.extend(LANE, 0, facts, {(0, 0): A + B}, after=None)
    assert await log.appended(LANE) == 2
    assert [fact.header.id for fact in await log.unsealed(LANE, 10)] == ["n2"]
    assert await seal(log) == 1
    sealed = await log.read(LANE, 0, 10)
    assert [(fact.index, fact.header.id) for fact in sealed] == [(0, "n0"), (1, "n1"), (2, "n2")]
    assert [fact.header for fact in sealed[:2]] == [fact.header for fact in facts]
    assert [fact.index for fact in await log.read(LANE, 1, 2)] == [1]
    assert await log.read(LANE, 3, 10) == []


async def test_of_two_who_extend_one_wins_and_the_other_changes_nothing(store, log):
    await state(store, 4)
    facts = await log.unsealed(LANE, 10)
    results = await asyncio.gather(
        log.extend(LANE, 0, facts[:3], {(0, 0): A}, after=None),
        log.extend(LANE, 0, facts[:3], {(0, 0): B}, after=None),
        return_exceptions=True,
    )
    assert {type(result) for result in results} == {type(None), Conflict}
    won = A if results[0] is None else B
    assert (await log.appended(LANE), await log.tile(LANE, 0, 0)) == (3, won)
    for start, chosen in ((2, facts[3:]), (4, facts[3:]), (3, facts[2:])):
        with pytest.raises(Conflict):
            await log.extend(LANE, start, chosen, {(0, 0): won + B}, after=None)
    with pytest.raises(Conflict):  # what is not under the checkpoint yet is signed before more is added
        await log.extend(LANE, 3, facts[3:], {(0, 0): won + B}, after=b"another")
    assert (await log.appended(LANE), await log.tile(LANE, 0, 0)) == (3, won)


async def test_a_tile_only_grows(store, log):
    await state(store, 3)
    facts = await log.unsealed(LANE, 10)
    await log.extend(LANE, 0, facts[:1], {(0, 0): A, (1, 0): B}, after=None)
    await log.extend(LANE, 1, facts[1:2], {(0, 0): A + B}, after=None)
    assert (await log.tile(LANE, 0, 0), await log.tile(LANE, 1, 0), await log.tile(LANE, 0, 1)) == (A + B, B, b"")
    for changed in (B + A, A):
        with pytest.raises(Exception, match=r"tile|store"):  # a bug of ours, not a race: any loud refusal will do
            await log.extend(LANE, 2, facts[2:], {(0, 0): changed}, after=None)
    assert (await log.appended(LANE), await log.tile(LANE, 0, 0)) == (2, A + B)


async def test_the_checkpoint_moves_only_from_the_one_that_was_read(store, log):
    assert await log.checkpoint(LANE) is None
    with pytest.raises(Conflict):
        await log.publish(LANE, b"two", after=b"one")
    results = await asyncio.gather(
        log.publish(LANE, b"one", after=None), log.publish(LANE, b"uno", after=None), return_exceptions=True
    )
    assert {type(result) for result in results} == {type(None), Conflict}
    await log.publish(LANE, b"two", after=b"one" if results[0] is None else b"uno")
    with pytest.raises(Conflict):
        await log.publish(LANE, b"three", after=b"one")
    assert await log.checkpoint(LANE) == b"two"


async def test_organisations_have_logs_of_their_own(store, log):
    await state(store, 1)
    await state(store, 2, OTHER)
    mine, theirs = await log.unsealed(LANE, 10), await log.unsealed(OTHER, 10)
    assert (len(mine), len(theirs)) == (1, 2)
    with pytest.raises(Conflict):
        await log.extend(LANE, 0, theirs, {}, after=None)
    await log.extend(OTHER, 0, theirs, {(0, 0): A}, after=None)
    await log.publish(OTHER, b"theirs", after=None)
    assert (await log.appended(LANE), await log.checkpoint(LANE), await log.tile(LANE, 0, 0)) == (0, None, b"")
    assert await log.read(LANE, 0, 10) == []
    assert await log.bodies(LANE, mine[0].header.at + timedelta(days=1), 10) == []
    with pytest.raises(Conflict):
        await log.erase(LANE, [0], LANE, "")


async def test_an_erased_body_leaves_its_header_and_a_fact_that_names_it(store, log, clock):
    await state(store, 4)
    clock.advance(60)
    await state(store, 1)
    await seal(log)
    before = await log.read(LANE, 0, 5)
    assert await log.bodies(LANE, clock.at, 10) == [0, 1, 2, 3]
    assert await log.bodies(LANE, clock.at, 2) == [0, 1]
    assert await log.erase(LANE, [0, 1, 3], LANE, "older than 1m") == 3
    after = await log.read(LANE, 0, 5)
    assert [fact.header for fact in after] == [fact.header for fact in before]
    assert [fact.body is None and fact.salt is None for fact in after] == [True, True, False, True, False]
    assert await log.bodies(LANE, clock.at, 10) == [2]
    (erased,) = await log.unsealed(LANE, 10)
    assert (erased.header.kind, erased.header.noun) == ("body.erased", "body")
    assert parse_ranges(erased.header.id) == [range(2), range(3, 4)]
    assert erased.body is not None and b'"reason":"older than 1m"' in erased.body


async def test_what_cannot_be_erased_changes_nothing(store, log):
    await state(store, 2)
    await seal(log)
    await log.erase(LANE, [0], LANE, "")
    for indexes in ([0], [1, 2], [7]):  # gone; the fact itself, not sealed yet; absent
        with pytest.raises(Conflict):
            await log.erase(LANE, indexes, LANE, "")
    assert [fact.body is None for fact in await log.read(LANE, 0, 2)] == [True, False]
    assert len(await log.unsealed(LANE, 10)) == 1


async def test_one_fact_names_as_many_as_fit_into_a_header(store, log):
    await state(store, 400)
    await seal(log, limit=1000)
    named = await log.erase(LANE, range(0, 400, 2), LANE, "")
    assert 50 < named < 200
    assert [fact.index for fact in await log.read(LANE, 0, 400) if fact.body is None] == list(range(0, 2 * named, 2))


async def test_the_events_about_one_thing_are_read_in_their_order_sealed_or_not(store, log):
    await state(store, 2, note="x")
    await seal(log)
    await state(store, 2, note="y")
    await state(store, 1, OTHER)
    told = await log.about(LANE, "n1")
    assert [(fact.index, fact.header.id) for fact in told] == [(1, "n1"), (None, "n1")]
    assert [b'"note":"x"' in (fact.body or b"") for fact in told] == [True, False]
    assert told[0] == (await log.read(LANE, 1, 2))[0] and told[1] in await log.unsealed(LANE, 10)
    assert len(await log.about(LANE, "n0")) == 2 and len(await log.about(OTHER, "n0")) == 1
    assert await log.about(OTHER, "n1") == await log.about(LANE, "n") == []
    await log.erase(LANE, [1], LANE, "")
    erased = await log.about(LANE, "n1")
    assert [fact.body is None for fact in erased] == [True, False] and erased[0].header == told[0].header
