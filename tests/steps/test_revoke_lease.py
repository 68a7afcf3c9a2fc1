"""What is due is cut, then cleaned, once each, however many lanes; and a sweep takes only what is ours and nobody's."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import StoreUnavailable, TargetUnavailable
from taskbound.core.event import Kind
from taskbound.core.lease import Lease
from taskbound.core.task import Task
from taskbound.steps.end_task import end_due_tasks, end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.revoke_lease import due_leases, mark_due, revoke_lease, sweep_target
from tests.rig import ALICE, Rig
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of

READER = LeaseAsk("shopdb/reader")


@pytest.fixture
def two_targets(monkeypatch):
    """A second target, of the same make; and a shop database whose leases live two minutes."""
    shop = replace(TARGETS["shopdb/reader"], max_life=timedelta(minutes=2))
    monkeypatch.setitem(TARGETS, "shopdb/reader", shop)
    monkeypatch.setitem(TARGETS, "other/reader", replace(shop, name="other"))


@pytest.fixture
async def rig(two_targets):
    made = Rig()
    await made.people()
    return made


async def agent_of(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    return task, claim_of(handle)


async def issued(rig):
    """An active lease and its credential, in a task of its own."""
    task, agent = await agent_of(rig)
    lease, credential = await issue_lease(rig.world, rig.door, agent, READER)
    return task, lease, credential


async def due_one(rig):
    """A lease that is to be cut: its task was ended."""
    task, lease, credential = await issued(rig)
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    (due,) = await due_leases(rig.world, rig.lane)
    assert due.id == lease.id
    return due, credential


def provider(rig, name="shopdb"):
    """The memory provider behind the rig's wrapper."""
    return rig.world.providers[name]._provider


def kinds(rig, lease):
    return [str(event.kind) for event in rig.store.events if event.id == lease.id]


async def stored(rig, lease):
    async with rig.store.transaction(rig.lane) as tx:
        return await tx.get(Lease, lease.id)


# --- falling due ---------------------------------------------------------------------------------


async def test_a_lease_whose_time_is_over_is_cut_though_its_task_goes_on(rig):
    task, lease, credential = await issued(rig)
    rig.clock.advance(119)
    assert await mark_due(rig.world, rig.lane) == []
    rig.clock.advance(1)
    assert [(one.id, one.state, one.due) for one in await mark_due(rig.world, rig.lane)] == [
        (lease.id, "revoking", rig.clock.at)
    ]
    assert rig.store.events[-1].detail["reason"] == "expired"
    (due,) = await due_leases(rig.world, rig.lane)
    await revoke_lease(rig.world, rig.lane, due)
    target = rig.targets["shopdb"]
    assert (target.accepts(lease.name, credential.reveal()), target.logins) == (False, {})
    assert kinds(rig, lease)[-3:] == ["lease.fell_due", "lease.cut", "lease.revoked"]
    async with rig.store.transaction(rig.lane) as tx:
        assert (await tx.get(Task, task.id)).state == "open"
    assert await due_leases(rig.world, rig.lane) == []
    rig.check()


class Meanwhile:
    """A store in which something happens before the n-th transaction opens."""

    def __init__(self, store, meanwhile) -> None:
        self._store, self._meanwhile, self._opened = store, meanwhile, 0

    @asynccontextmanager
    async def transaction(self, opener):
        self._opened += 1
        if meanwhile := self._meanwhile.get(self._opened):
            await meanwhile()
        async with self._store.transaction(opener) as tx:
            yield tx


async def test_a_lease_that_changed_since_the_look_is_not_marked(rig):
    task, lease, _ = await issued(rig)
    rig.clock.advance(120)

    async def end():
        await end_task(rig.world, rig.door, ALICE, task.id, "meanwhile")

    assert await mark_due(replace(rig.world, store=Meanwhile(rig.store, {2: end})), rig.lane) == []
    assert kinds(rig, lease).count("lease.fell_due") == 1
    rig.check()


class Refusing:
    """A store that refuses every fact about one thing."""

    def __init__(self, store, id) -> None:
        self._store, self._id = store, id

    @asynccontextmanager
    async def transaction(self, opener):
        async with self._store.transaction(opener) as tx:
            record = tx.record

            async def refusing(kind, thing=None, **details):
                if thing.id == self._id:
                    raise StoreUnavailable(f"nothing about {self._id} can be recorded")
                return await record(kind, thing, **details)

            tx.record = refusing
            yield tx


async def due_of_three(rig, noun, stuck):
    """Three leases or tasks whose time is over; a pass in which the one in this place cannot be recorded; the ids."""
    opened = [await issued(rig) if noun is Lease else await agent_of(rig) for _ in range(3)]
    ids = sorted(one[1 if noun is Lease else 0].id for one in opened)
    rig.clock.advance(120 if noun is Lease else 600)
    world = replace(rig.world, store=Refusing(rig.store, ids[stuck]))
    with suppress(StoreUnavailable, ExceptionGroup):  # whatever it says of the one, when the rest is done
        await (mark_due if noun is Lease else end_due_tasks)(world, rig.lane)
    return ids


async def states(rig, noun, ids):
    async with rig.store.transaction(rig.lane) as tx:
        return [(await tx.get(noun, id)).state for id in ids]


async def test_one_lease_that_cannot_be_marked_stops_no_other(rig):
    ids = await due_of_three(rig, Lease, stuck=0)
    assert await states(rig, Lease, ids) == ["active", "revoking", "revoking"]


async def test_one_task_that_cannot_be_ended_stops_no_other(rig):
    ids = await due_of_three(rig, Task, stuck=0)
    assert await states(rig, Task, ids) == ["open", "ended", "ended"]


@pytest.mark.parametrize(
    ("noun", "before", "after"), [(Lease, "active", "revoking"), (Task, "open", "ended")], ids=["lease", "task"]
)
async def test_what_came_before_one_that_cannot_be_recorded_stays_done(rig, noun, before, after):
    ids = await due_of_three(rig, noun, stuck=2)
    assert await states(rig, noun, ids) == [after, after, before], "each in a transaction of its own"
    await (mark_due if noun is Lease else end_due_tasks)(rig.world, rig.lane)
    assert await states(rig, noun, ids) == [after] * 3, "the next pass finds the rest"
    rig.check()


# --- revoking ------------------------------------------------------------------------------------


async def test_a_lease_without_a_provider_waits_and_the_others_go_on(rig):
    task, agent = await agent_of(rig)
    shop, _ = await issue_lease(rig.world, rig.door, agent, READER)
    planted = f"tb_{rig.world.instance}_" + "a" * 20
    rig.targets["other"].logins[planted] = "0" * 64
    (orphan,) = await sweep_target(rig.world, rig.lane, "other")
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    world = replace(rig.world, providers={"shopdb": rig.world.providers["shopdb"]})
    unavailable = []
    for due in await due_leases(world, rig.lane):
        try:
            await revoke_lease(world, rig.lane, due)
        except TargetUnavailable as error:
            unavailable.append((due.id, planted in str(error)))
    assert unavailable == [(orphan.id, True)]
    assert (await stored(rig, shop)).state == "revoked"
    assert [due.id for due in await due_leases(rig.world, rig.lane)] == [orphan.id], "it stays due"
    await revoke_lease(rig.world, rig.lane, orphan)  # the target is configured again
    assert (await stored(rig, orphan)).state == "revoked"
    rig.check()


class Held:
    """Holds back the answer of a provider's method, for its first caller or for all, until released."""

    def __init__(self, rig, method, *, first_only=False) -> None:
        self.released, self._arrived = asyncio.Event(), asyncio.Semaphore(0)
        inner, free = getattr(provider(rig), method), False

        async def held(lease):
            nonlocal free
            await inner(lease)
            self._arrived.release()
            if not free:
                free = first_only
                await self.released.wait()

        setattr(provider(rig), method, held)

    async def until(self, more):
        """Return when so many more callers have arrived."""
        for _ in range(more):
            await asyncio.wait_for(self._arrived.acquire(), 5)


@pytest.mark.parametrize("method", ["cut", "clean"])
async def test_two_lanes_on_one_lease_record_each_fact_once(rig, method):
    due, _ = await due_one(rig)
    held = Held(rig, method)
    lanes = [asyncio.create_task(revoke_lease(rig.world, rig.lane, due)) for _ in range(2)]
    await held.until(2)
    held.released.set()
    await asyncio.gather(*lanes)
    assert kinds(rig, due) == [
        "lease.requested", "lease.activated", "lease.fell_due", "lease.cut", "lease.revoked",
    ]  # fmt: skip
    assert rig.targets["shopdb"].logins == {}
    rig.check()


@pytest.mark.parametrize("seconds", [0, 1], ids=["at once", "later"])
async def test_a_lane_that_was_slow_leaves_no_name_that_came_back(rig, seconds):
    """Lane 1 is slow in its cut; lane 2 finishes; the name returns and is adopted; lane 1 goes on."""
    due, credential = await due_one(rig)
    digest, target = rig.targets["shopdb"].logins[due.name], rig.targets["shopdb"]
    held = Held(rig, "cut", first_only=True)
    slow = asyncio.create_task(revoke_lease(rig.world, rig.lane, due))
    await held.until(1)
    await revoke_lease(rig.world, rig.lane, due)
    assert target.logins == {} and (await stored(rig, due)).state == "revoked"
    rig.clock.advance(seconds)
    target.logins[due.name] = digest  # a restored target
    assert [lease.id for lease in await sweep_target(rig.world, rig.lane, "shopdb")] == [due.id]
    assert target.accepts(due.name, credential.reveal())
    held.released.set()
    if seconds:
        await slow
        assert (await stored(rig, due)).state == "revoking", "what it cut is not what is there now"
    else:  # equal to the microsecond: it takes the new fall for its own, and the target refuses to be cleaned uncut
        with pytest.raises(RuntimeError, match="must be cut"):
            await slow
    for again in await due_leases(rig.world, rig.lane):
        await revoke_lease(rig.world, rig.lane, again)
    assert not target.accepts(due.name, credential.reveal())
    assert (target.logins, (await stored(rig, due)).state) == ({}, "revoked")
    rig.check()


async def test_a_name_that_came_back_after_its_cut_is_cut_again_before_it_is_cleaned(rig):
    due, _ = await due_one(rig)
    digest, target = rig.targets["shopdb"].logins[due.name], rig.targets["shopdb"]
    clean = provider(rig).clean

    async def fails(lease):
        raise TargetUnavailable("the target went away")

    provider(rig).clean = fails
    with pytest.raises(TargetUnavailable):
        await revoke_lease(rig.world, rig.lane, due)
    provider(rig).clean = clean
    target.logins[due.name] = digest
    (cut,) = await due_leases(rig.world, rig.lane)
    assert cut.state == "cut"
    await revoke_lease(rig.world, rig.lane, cut)
    assert target.logins == {}
    assert kinds(rig, due).count("lease.cut") == 1
    rig.check()


# --- the sweep -----------------------------------------------------------------------------------


async def test_a_name_that_is_gone_at_the_second_look_is_not_adopted(rig):
    gone, there = (f"tb_{rig.world.instance}_" + letter * 20 for letter in "ab")
    rig.targets["shopdb"].logins |= {gone: "0" * 64, there: "0" * 64}
    names = provider(rig).names

    async def vanishing():
        seen = await names()
        rig.targets["shopdb"].logins.pop(gone, None)
        return seen

    provider(rig).names = vanishing
    adopted = await sweep_target(rig.world, rig.lane, "shopdb")
    assert [lease.name for lease in adopted] == [there]
    assert [lease.name for lease in rig.leases()] == [there]


async def test_a_name_that_was_explained_between_the_looks_is_not_adopted(rig):
    """A second lane adopts it first."""
    rig.targets["shopdb"].logins[f"tb_{rig.world.instance}_" + "a" * 20] = "0" * 64

    async def other():
        assert len(await sweep_target(rig.world, rig.lane, "shopdb")) == 1

    assert await sweep_target(replace(rig.world, store=Meanwhile(rig.store, {2: other})), rig.lane, "shopdb") == []
    assert len(rig.leases()) == 1
    rig.check()


@pytest.mark.parametrize("state", ["pending", "active", "revoking", "revoked"])
async def test_a_lease_of_another_target_is_never_adopted(rig, state):
    task, lease, credential = await issued(rig)
    if state in ("revoking", "revoked"):
        await end_task(rig.world, rig.door, ALICE, task.id, "done")
    if state == "revoked":
        await revoke_lease(rig.world, rig.lane, await stored(rig, lease))
    if state == "pending":
        make = provider(rig).create

        async def swept(lease):
            rig.targets["other"].logins[lease.name] = "0" * 64
            assert await sweep_target(rig.world, rig.lane, "other") == []
            return await make(lease)

        provider(rig).create = swept
        await issued(rig)
    before = await stored(rig, lease)
    rig.targets["other"].logins[lease.name] = "0" * 64
    assert await sweep_target(rig.world, rig.lane, "other") == []
    assert await stored(rig, lease) == before
    assert rig.targets["shopdb"].accepts(lease.name, credential.reveal()) == (
        state in ("pending", "active", "revoking")
    )


@pytest.mark.parametrize("state", ["active", "revoking"])
async def test_a_live_lease_of_this_target_is_never_adopted(rig, state):
    task, _, _ = await issued(rig)
    if state == "revoking":
        await end_task(rig.world, rig.door, ALICE, task.id, "done")
    before = len(rig.store.events)
    assert await sweep_target(rig.world, rig.lane, "shopdb") == []
    assert len(rig.store.events) == before


@pytest.mark.parametrize(
    "rest",
    [
        'x"; DROP ROLE admin; --',
        "a" * 20 + '"; DROP ROLE admin; --',
        "a" * 19,
        "a" * 21,
        "A" * 20,
        "a" * 19 + "1",
        "a" * 19 + "0",
        "a" * 19 + "ä",
        "a" * 20 + "\n",
        "\n" + "a" * 20,
        "a" * 19 + "_",
        "",
    ],
    ids=ascii,
)
async def test_a_name_that_we_could_not_have_made_is_never_adopted(rig, rest):
    name = f"tb_{rig.world.instance}_{rest}"
    rig.targets["shopdb"].logins[name] = "0" * 64
    before = len(rig.store.events)
    assert await sweep_target(rig.world, rig.lane, "shopdb") == []
    assert len(rig.store.events) == before
    assert rig.targets["shopdb"].logins == {name: "0" * 64}


async def test_the_lanes_find_nothing_to_do_in_a_world_at_rest(rig):
    await issued(rig)
    await open_task(rig.world, rig.door, ALICE, TaskAsk("look-up-order", {"order_id": "1"}))
    before = len(rig.store.events)
    assert await rig.lanes() == []
    assert len(rig.store.events) == before
    assert not [event for event in rig.store.events if event.kind == Kind.LEASE_FELL_DUE]
