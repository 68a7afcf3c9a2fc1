"""What runs by itself: an end is a cut at once, trouble stays where it is, and nothing is given up (S3, S9, D9)."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from taskbound import lanes as module
from taskbound.core.errors import Denied, TargetUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import door
from taskbound.core.leaf import Fact
from taskbound.core.lease import Lease, orphan
from taskbound.core.thing import advance
from taskbound.lanes import quarantined, run_lanes
from taskbound.lanes.progress import LOOK, Lanes
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import open_task
from tests.notes import note
from tests.profile import trials
from tests.rig import ALICE, Rig
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of

READER = LeaseAsk("shopdb/reader")
ENDS = trials(20, 7)
FOREIGN = "a text from outside with a password in it"


class Faulty:
    """A provider whose target can be made to fail, to hang, or to answer slowly."""

    def __init__(self, provider) -> None:
        self._provider = provider
        self.mode = {"cut": "up", "clean": "up", "names": "up"}
        self.slow = 0.0
        self.inside, self.most_inside = 0, 0
        self.tries: list[tuple[str, str]] = []  # method, lease

    def all(self, mode: str) -> None:
        self.mode = dict.fromkeys(self.mode, mode)

    async def create(self, lease):
        return await self._provider.create(lease)

    async def cut(self, lease):
        return await self._try("cut", lease)

    async def clean(self, lease):
        return await self._try("clean", lease)

    async def names(self):
        return await self._try("names")

    async def _try(self, method, *lease):
        self.tries.append((method, lease[0].id if lease else ""))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await asyncio.sleep(self.slow)
            if self.mode[method] == "hangs":
                await asyncio.Event().wait()
            if self.mode[method] == "down":
                raise TargetUnavailable("the target is down")
            if self.mode[method] == "raises":
                raise RuntimeError(FOREIGN)
            return await getattr(self._provider, method)(*lease)
        finally:
            self.inside -= 1


class LanesRig(Rig):
    """A rig whose lanes run by themselves, at targets that fail when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.providers = {name: Faulty(provider) for name, provider in self.world.providers.items()}
        self.world = replace(self.world, store=self.store, providers=self.providers)


@pytest.fixture
def quick(monkeypatch):
    """Lanes that look and try again ten times as often as they do; how often they do is tested by itself."""
    real = Lanes.pause
    monkeypatch.setattr(Lanes, "pause", lambda *given: real(*given) / 10)
    for pause in ("ALARM", "COUNT", "SEAL"):
        monkeypatch.setattr(module, pause, getattr(module, pause) / 10)


@pytest.fixture
async def rig(monkeypatch, quick):
    shop = replace(TARGETS["shopdb/reader"], max_life=timedelta(minutes=10))
    monkeypatch.setitem(TARGETS, "shopdb/reader", shop)
    monkeypatch.setitem(TARGETS, "other/reader", replace(shop, name="other"))
    made = LanesRig()
    await made.people()
    return made


def lanes_of(rig, **changed):
    end, revoke, seal = (door("example.org", f"lane/{name}", "main") for name in ("end", "revoke", "seal"))
    return Lanes(end, revoke, seal, jitter=lambda: 0.5, **changed)


@asynccontextmanager
async def running(rig, world=None, **changed):
    """The lanes of the rig's world while the block runs."""
    lanes, stopping = lanes_of(rig, **changed), asyncio.Event()
    task = asyncio.create_task(run_lanes(world or rig.world, lanes, stopping))
    await asyncio.sleep(0.02)
    try:
        yield lanes
    finally:
        stopping.set()
        await asyncio.wait_for(task, 2)


async def due(rig, target="shopdb", n=1):
    """Leases whose login is at the target and that are to be cut now."""
    made = []
    for _ in range(n):
        async with rig.store.transaction(rig.lane) as tx:
            lease = orphan(rig.world.new_id("l"), "main", rig.world.instance, target, tx.now)
            lease = advance(lease, Kind.LEASE_FELL_DUE)
            rig.targets[target].logins[lease.name] = "0" * 64
            await tx.record(Kind.LEASE_FELL_DUE, lease, reason="planted")
            made.append(lease)
    return made


async def stored(rig, lease):
    async with rig.store.transaction(rig.lane) as tx:
        return await tx.get(Lease, lease.id)


async def until(holds, within):
    """Wait until it holds; return the seconds that it took."""
    started = time.monotonic()
    while not (answer := holds()):
        assert time.monotonic() - started < within, f"not within {within} s"
        await asyncio.sleep(0.002)
    assert answer
    return time.monotonic() - started


def state_of(rig, lease):
    return rig.store.things[("main", "lease", lease.id)].state


def is_revoked(rig, *leases):
    return lambda: all(state_of(rig, lease) == "revoked" for lease in leases)


def is_cut(rig, lease):
    return lambda: rig.targets[lease.target].logins.get(lease.name) is None


def kinds(rig, lease):
    return [str(event.kind) for event in rig.store.events if event.id == lease.id]


async def issued(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    agent = claim_of(handle)
    lease, credential = await issue_lease(rig.world, rig.door, agent, READER)
    return task, agent, lease, credential


# An end is a cut


async def ends(rig, *, wakes):
    """Seconds from an end to the cut, over some tasks."""
    took = []
    async with running(rig) as lanes:
        for _ in range(ENDS):
            task, agent, lease, credential = await issued(rig)
            await asyncio.sleep(0.01)
            await end_task(rig.world, rig.door, agent, task.id, "done")
            if wakes:
                lanes.progress.wake()
            took.append(await until(is_cut(rig, lease), 2))
            assert not rig.targets["shopdb"].accepts(lease.name, credential.reveal())
        await until(is_revoked(rig, lease), 1)
    return sorted(took)


async def test_the_login_of_a_task_that_ended_is_cut_at_once(rig):
    took = await ends(rig, wakes=True)
    note(f"end to cut: p50 {took[ENDS // 2] * 1000:.1f} ms, most {took[-1] * 1000:.1f} ms")
    assert took[ENDS // 2] < 0.1


async def test_control_lanes_that_nobody_wakes_cut_at_the_next_look(rig):
    took = await ends(rig, wakes=False)
    assert took[ENDS // 2] > 0.1 and took[-1] < 0.5


async def test_a_deadline_ends_the_task_and_cuts_its_lease(rig):
    task, _, lease, _ = await issued(rig)
    async with running(rig):
        rig.clock.at = task.deadline
        assert await until(is_revoked(rig, lease), 2) < 1
    assert kinds(rig, task)[-1] == "task.ended"
    rig.check()


async def test_a_lease_whose_time_is_over_is_cut(rig):
    _, _, lease, _ = await issued(rig)
    async with running(rig):
        rig.clock.at = lease.expires
        await until(is_revoked(rig, lease), 1)
    rig.check()


async def test_a_name_that_no_lease_explains_is_swept_at_the_start_and_counted(rig):
    name = f"tb_{rig.world.instance}_{'a' * 20}"
    rig.targets["other"].logins[name] = "0" * 64
    async with running(rig) as lanes:
        await until(lambda: name not in rig.targets["other"].logins, 1)
        assert lanes.progress.orphans_found == 1


async def test_a_lease_without_a_provider_waits_and_the_others_go_on(rig):
    (gone,), (here,) = await due(rig, "other"), await due(rig)
    world = replace(rig.world, providers={"shopdb": rig.providers["shopdb"]})
    async with running(rig, world) as lanes:
        await until(is_revoked(rig, here), 1)
        assert lanes.progress.failures == {"other": 1} and state_of(rig, gone) == "revoking"


# Overdue


async def test_a_lease_that_is_not_cut_in_time_is_overdue_once(rig):
    rig.providers["shopdb"].all("down")
    (lease,) = await due(rig)
    with capture_logs() as said:
        async with running(rig) as lanes:
            rig.clock.advance(4)
            await asyncio.sleep(0.25)
            assert lanes.progress.overdue == 0 and "lease.overdue" not in kinds(rig, lease)
            rig.clock.advance(2)
            await until(lambda: "lease.overdue" in kinds(rig, lease), 2)
            await until(lambda: lanes.progress.overdue == 1, 1)
            rig.clock.advance(60)
            await asyncio.sleep(0.25)
            late = await stored(rig, lease)
            assert kinds(rig, lease).count("lease.overdue") == 1
            assert late.due == lease.due and late.overdue is not None and late.state == "revoking"
            rig.providers["shopdb"].all("up")
            await until(is_revoked(rig, lease), 5)
            await until(lambda: lanes.progress.overdue == 0, 2)
    (alarm,) = [line for line in said if line["event"] == "lease_overdue"]
    assert (alarm["log_level"], alarm["lease"], alarm["target"]) == ("error", lease.id, "shopdb")


async def test_a_lease_that_is_cut_and_not_cleaned_is_overdue_when_its_target_is_closed(rig):
    rig.providers["shopdb"].mode["clean"] = "down"
    (lease,) = await due(rig)
    async with running(rig):
        await until(lambda: state_of(rig, lease) == "cut", 1)
        rig.clock.advance(299)
        await asyncio.sleep(0.25)
        assert "lease.overdue" not in kinds(rig, lease)
        rig.clock.advance(2)
        await until(lambda: kinds(rig, lease)[-1] == "lease.overdue", 2)


async def test_a_target_that_cannot_be_made_to_take_back_gives_nothing_new(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    agent = claim_of(handle)
    rig.providers["shopdb"].mode["cut"] = rig.providers["other"].mode["cut"] = "down"
    await due(rig, "other")
    async with running(rig):
        rig.clock.advance(301)
        await issue_lease(rig.world, rig.door, agent, READER)  # the control: trouble at another target
        (stuck,) = await due(rig)
        rig.clock.advance(299)
        _, fresh = await open_task(rig.world, rig.door, ALICE, REFUND)
        agent = claim_of(fresh)
        await issue_lease(rig.world, rig.door, agent, READER)  # and in the first five minutes
        rig.clock.advance(2)
        with pytest.raises(Denied) as denied:
            await issue_lease(rig.world, rig.door, agent, READER)
        assert denied.value.code == "target_overdue"
        event = rig.store.events[-1]
        assert (str(event.kind), event.value.action, event.value.code) == (
            "call.denied",
            "lease/issue",
            "target_overdue",
        )
        rig.providers["shopdb"].all("up")
        await until(is_revoked(rig, stuck), 5)
        await issue_lease(rig.world, rig.door, agent, READER)


# Trouble of a lane


async def test_a_lane_that_fails_stops_no_other_and_says_nothing_foreign(rig, monkeypatch):
    monkeypatch.setattr(Lanes, "pause", lambda *_: 60.0)  # each fails once

    class Broken:
        def __getattr__(self, name):
            raise RuntimeError(FOREIGN)

    world = replace(rig.world, log=Broken(), keys=Broken())
    rig.providers["other"].mode["names"] = rig.providers["other"].mode["cut"] = "raises"
    await due(rig, "other")
    with capture_logs() as said:
        async with running(rig, world) as lanes:
            (lease,) = await due(rig)
            lanes.progress.wake()
            await until(is_revoked(rig, lease), 1)
            await asyncio.sleep(0.1)
            assert lanes.progress.lane_failures == {"seal": 1} and lanes.progress.failures == {"other": 2}
    assert {line["event"] for line in said} >= {"lane_failed", "lease_not_cut"}
    assert FOREIGN not in str(said) and "RuntimeError" in str(said)


class Mute:
    """A log whose place is gone."""

    def __getattr__(self, level):
        def fails(*_, **__):
            raise BrokenPipeError

        return fails


def test_how_often_they_look_keeps_what_is_promised():
    """An alarm within 10 s of its deadline, a checkpoint within a minute; a look is the second line of a wake (S3)."""
    assert max(LOOK, module.CLOSE) <= 0.5 and max(module.ALARM, module.SEAL) <= 1


async def test_a_lane_that_ends_by_itself_is_raised(rig, monkeypatch):
    monkeypatch.setattr(module, "log", Mute())
    rig.providers["shopdb"].mode["names"] = "down"
    with pytest.raises(RuntimeError, match="a lane ended by itself") as raised:
        async with asyncio.timeout(2):
            await run_lanes(rig.world, lanes_of(rig), asyncio.Event())
    assert isinstance(raised.value.__cause__, BrokenPipeError)


async def test_one_lease_that_cannot_be_marked_stops_no_other(rig):
    (one, *_), (other, *_) = await due(rig), await due(rig)
    rig.providers["shopdb"].mode["cut"] = "down"

    class Refusing:
        """A store that refuses one lease's facts."""

        @asynccontextmanager
        async def transaction(self, opener):
            async with rig.store.transaction(opener) as tx:
                record = tx.record

                async def refusing(kind, thing=None, **more):
                    if thing is not None and thing.id == one.id:
                        raise TargetUnavailable("no")
                    return await record(kind, thing, **more)

                tx.record = refusing
                yield tx

    async with running(rig, replace(rig.world, store=Refusing())):
        rig.clock.advance(6)
        await until(lambda: "lease.overdue" in kinds(rig, other), 3)


# The log


class Kept:
    """A sink in memory that can refuse."""

    def __init__(self, fails: bool = False) -> None:
        self.facts: list[Fact] = []
        self.fails = fails

    async def last(self):
        return self.facts[-1].index if self.facts else -1

    async def send(self, facts):
        if self.fails:
            raise TargetUnavailable("the sink is away")
        self.facts += facts


async def test_events_are_sealed_and_followed_and_an_idle_log_is_left_alone(rig):
    good, bad = Kept(), Kept(fails=True)
    async with running(rig, sinks=[bad, good]) as lanes:
        await until(lambda: lanes.progress.sealed == len(rig.store.events), 2)
        await until(lambda: len(good.facts) == len(rig.store.events), 3)
        note = await rig.world.log.checkpoint(lanes.seal)
        await asyncio.sleep(0.25)
        assert await rig.world.log.checkpoint(lanes.seal) == note
        await due(rig, n=2)
        await until(lambda: lanes.progress.sealed == len(rig.store.events) > 6, 3)
        bad.fails = False
        await until(lambda: [f.index for f in bad.facts] == [f.index for f in good.facts], 10)
        rig.clock.advance(1000)
        await until(lambda: lanes.progress.sealed_at == int(rig.clock.at.timestamp()), 2)
        assert lanes.progress.lane_failures["follow"] >= 1


async def test_what_a_lease_made_and_is_quarantined_is_a_finding(rig):
    (lease,) = await due(rig)
    await quarantined(rig.store, rig.lane, lease, ("view made.v",))
    event = rig.store.events[-1]
    assert (str(event.kind), event.id, event.by) == ("finding.raised", lease.id, rig.lane.spiffe_id)
    assert event.detail["about"] == {"target": "shopdb", "task": None, "things": ("view made.v",)}


async def test_a_name_that_came_back_late_begins_a_new_count(rig):
    rig.providers["shopdb"].mode["cut"] = "down"
    (lease,) = await due(rig)
    async with running(rig):
        rig.clock.advance(6)
        await until(lambda: "lease.overdue" in kinds(rig, lease), 2)
        rig.providers["shopdb"].mode["cut"] = "up"
        await until(is_revoked(rig, lease), 3)
    rig.targets["shopdb"].logins[lease.name] = "0" * 64
    rig.providers["shopdb"].mode["cut"] = "down"
    async with running(rig):  # a sweep at the start
        await until(lambda: state_of(rig, lease) == "revoking", 2)
        assert (await stored(rig, lease)).overdue is None
        rig.clock.advance(6)
        await until(lambda: kinds(rig, lease).count("lease.overdue") == 2, 2)


# Idle tasks


async def test_a_task_that_is_idle_ends_by_itself_and_its_lease_is_cut(rig):
    policies = rig.world.policies.current
    idle = replace(policies.profiles["refund-order"], idle=timedelta(minutes=2))

    class Changed:
        current = replace(policies, profiles={"refund-order": idle})

    rig.world = replace(rig.world, policies=Changed())
    task, agent, lease, _ = await issued(rig)
    async with running(rig):
        rig.clock.advance(119)
        await decide_call(rig.world, rig.door, agent, CallAsk("crm/get_order", {"id": "4711"}))
        rig.clock.advance(1)
        await until(lambda: [event.kind for event in rig.store.events if event.id == task.id][-1] == "task.extended", 2)
        rig.clock.advance(118)
        await asyncio.sleep(2 * LOOK)
        assert state_of(rig, lease) == "active"
        rig.clock.advance(1)
        await until(is_revoked(rig, lease), 2)
    ended = rig.store.things["main", "task", task.id]
    assert (ended.reason, ended.ended < ended.deadline) == ("idle", True)


# Storms of denials


def counted(rig):
    return [event.detail["count"] for event in rig.store.events if event.kind == "call.denied" and event.value is None]


async def denied(rig, agent, times):
    for _ in range(times):
        _, _, decision = await decide_call(rig.world, rig.door, agent, CallAsk("crm/get_order", {"id": "another"}))
        assert decision.code == "outside_grants"


async def test_a_storm_of_denials_is_counted_once_its_second_is_over_and_at_the_stop(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    agent = claim_of(handle)
    async with running(rig) as lanes:
        await denied(rig, agent, 8)
        await asyncio.sleep(0.25)
        assert counted(rig) == [], "its second is not over"
        rig.clock.advance(1)
        await until(lambda: counted(rig) == [7], 2)
        await denied(rig, agent, 3)
    assert counted(rig) == [7, 2] and lanes.progress.lane_failures == {}


async def test_a_stop_does_not_wait_for_counts_that_cannot_be_stated(rig, monkeypatch):
    monkeypatch.setattr(module, "LAST_COUNT", 0.1)
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)

    class Hanging:
        hangs = False

        @asynccontextmanager
        async def transaction(self, opener):
            if self.hangs:
                await asyncio.Event().wait()
            async with rig.store.transaction(opener) as tx:
                yield tx

    store = Hanging()
    with capture_logs() as logs:
        async with running(rig, replace(rig.world, store=store)):
            await denied(rig, claim_of(handle), 3)
            store.hangs = True
    assert [(one["event"], one["storms"]) for one in logs if one["event"] == "denials_not_counted"] == [
        ("denials_not_counted", 1)
    ]
