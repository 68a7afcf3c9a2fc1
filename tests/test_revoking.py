"""Trouble with one target stays there, cutting waits for nothing, and nothing is given up (S9, D5, D9, D25)."""

import asyncio
from dataclasses import replace

import pytest

from taskbound.lanes import revoking as module
from taskbound.lanes.progress import RETRY, Lanes
from tests.notes import note
from tests.test_lanes import Mute, due, is_cut, is_revoked, kinds, lanes_of, quick, rig, running, state_of, until  # noqa: F401


async def test_a_target_that_comes_back_is_rid_of_what_is_due_at_once(rig):  # noqa: F811
    provider = rig.providers["shopdb"]
    provider.all("down")
    leases = await due(rig, n=12)
    async with running(rig) as lanes:
        await until(lambda: lanes.progress.failing and lanes.progress.failures["shopdb"] >= 10, 10)
        assert lanes.progress.failing == {"shopdb"}
        provider.all("up")
        first = await until(lambda: not lanes.progress.failing, 5)
        rest = await until(is_revoked(rig, *leases), 5)
        note(f"back: first answer after {first:.2f} s, all {len(leases)} revoked {rest * 1000:.0f} ms later")
        assert rest < 0.5
    assert all(kinds(rig, lease)[-2:] == ["lease.cut", "lease.revoked"] for lease in leases)


async def test_a_failing_target_is_probed_with_one_lease_at_a_time(rig):  # noqa: F811
    provider = rig.providers["shopdb"]
    provider.mode["cut"], provider.slow = "down", 0.05
    await due(rig, n=30)
    async with running(rig) as lanes:
        await until(lambda: lanes.progress.failing, 2)
        await asyncio.sleep(0.1)  # what had begun before it was known
        provider.most_inside = 0
        await until(lambda: len({lease for _, lease in provider.tries if lease}) == 30, 5)
        before = len(provider.tries)
        await asyncio.sleep(0.2)
        assert provider.most_inside == 1 and len(provider.tries) - before <= 3, "they wait for a probe's answer"


@pytest.mark.parametrize("mode", ["hangs", "down"])
async def test_a_target_in_trouble_delays_no_other(rig, mode):  # noqa: F811
    rig.providers["other"].all(mode)
    await due(rig, "other", n=50)
    took = []
    async with running(rig) as lanes:
        for _ in range(50):
            (lease,) = await due(rig)
            lanes.progress.wake()
            took.append(await until(is_revoked(rig, lease), 1))
    took.sort()
    note(f"revoked beside a target that {mode}: p50 {took[25] * 1000:.1f} ms, p99 {took[-1] * 1000:.1f} ms")
    assert took[-1] < 0.1


async def test_control_without_bulkheads_one_target_delays_another(rig, monkeypatch):  # noqa: F811
    class OneForAll(dict[str, module.Bulkhead]):
        def __contains__(self, name):
            return len(self) > 0

        def __setitem__(self, name, bulkhead):
            super().__setitem__("all", bulkhead)

        def __getitem__(self, name):
            return super().__getitem__("all")

    made = module.Revoking.__init__

    def shared(self, *args):
        made(self, *args)
        self.targets = OneForAll()

    monkeypatch.setattr(module.Revoking, "__init__", shared)
    rig.providers["other"].all("hangs")
    await due(rig, "other", n=50)
    async with running(rig):
        (lease,) = await due(rig)
        with pytest.raises(AssertionError, match="not within"):
            await until(is_revoked(rig, lease), 1)


async def test_cleaning_that_waits_delays_no_cut(rig):  # noqa: F811
    rig.providers["shopdb"].mode["clean"] = "hangs"
    async with running(rig) as lanes:
        for _ in range(20):
            (lease,) = await due(rig)
            lanes.progress.wake()
            assert await until(is_cut(rig, lease), 1) < 0.1


async def test_what_was_cut_and_came_back_is_cut_again_before_it_is_cleaned(rig):  # noqa: F811
    provider = rig.providers["shopdb"]
    provider.mode["clean"] = "down"
    (lease,) = await due(rig)
    async with running(rig):
        await until(lambda: state_of(rig, lease) == "cut", 1)
        rig.targets["shopdb"].logins[lease.name] = "0" * 64  # the target was restored
        provider.mode["clean"] = "up"
        await until(is_revoked(rig, lease), 2)


async def test_a_restart_tries_at_once_what_waited_long(rig, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Lanes, "pause", lambda *_: 3600.0)
    provider = rig.providers["shopdb"]
    provider.mode["cut"] = "down"
    (lease,) = await due(rig)
    async with running(rig):
        await until(lambda: ("cut", lease.id) in provider.tries, 1)
    provider.mode["cut"] = "up"
    async with running(rig):
        assert await until(is_revoked(rig, lease), 1) < 0.2


def test_the_gap_between_two_tries_grows_from_one_second_and_stays_under_a_minute():
    for jitter in (0.0, 0.999):
        lanes = replace(lanes_of(None), jitter=lambda: jitter)  # noqa: B023 - called in this round
        gaps = [lanes.pause(n, RETRY) for n in range(1, 10_000)]
        assert 0.75 <= gaps[0] <= 1 and gaps == sorted(gaps)
        assert max(gaps) + module.CUT_WITHIN <= 65 and max(gaps) <= 60
        assert [lanes.pause(n, 1e9) for n in (1, 2, 3)] == pytest.approx([gaps[0] * n for n in (1, 2, 4)])


async def test_a_provider_that_never_returns_is_given_up_and_tried_again(rig, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "CUT_WITHIN", 0.2)
    rig.providers["shopdb"].mode["cut"] = "hangs"
    (lease,) = await due(rig)
    async with running(rig):
        await asyncio.sleep(0.3)
        rig.providers["shopdb"].mode["cut"] = "up"
        await until(is_revoked(rig, lease), 2)


@pytest.mark.parametrize("method", ["cut", "clean"])
async def test_a_worker_that_cannot_log_leaves_its_place_and_its_lease_to_the_next(rig, monkeypatch, method):  # noqa: F811
    monkeypatch.setattr(module, "log", Mute())
    monkeypatch.setattr(Lanes, "pause", lambda *_: 0.05)
    rig.providers["shopdb"].mode[method] = "down"
    leases = await due(rig, n=module.CUTTERS + 2)
    async with running(rig) as lanes:
        await until(lambda: lanes.progress.failures.get("shopdb", 0) > module.CUTTERS + 2, 5)
        rig.providers["shopdb"].all("up")
        await until(is_revoked(rig, *leases), 5)
