"""On a full disk nothing is permitted and everything can be ended (INTERFACES 2, T7.7), on a real small disk."""

import contextlib
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from taskbound.core.errors import StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.lease import Lease, fall_due
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.store.sqlite import open_store
from tests.contracts.store import GATEWAY, Clock, call, lease, task
from tests.store.stored import check

SIZE = 4 << 20  # of the reserve, on a disk of four times as much


def mounted(place: Path) -> bool:
    """Whether a disk of 16 MiB is now mounted there."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(place)]
    return bool(shutil.which("mount")) and not subprocess.run(mount, check=False, capture_output=True).returncode


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # a test that failed may have left it open


with tempfile.TemporaryDirectory() as tried:
    if not mounted(Path(tried)):
        pytest.skip("a small disk cannot be mounted here: it takes root", allow_module_level=True)
    unmount(Path(tried))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    assert mounted(place)
    yield place
    unmount(place)


async def opened(store, id: str = "t" + "a" * 20, **shared: int) -> Task:
    made = task(id)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared=shared)
    return made


def fill(disk: Path) -> None:
    """Fill the disk to its last byte."""
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))


async def until_full(store, made: Task, disk: Path) -> None:
    """Fill the disk, and record calls until the store notices."""
    fill(disk)
    for n in range(100_000):
        try:
            async with store.transaction(GATEWAY) as tx:
                await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1}, filling="x" * 2000)
        except StoreUnavailable as full:
            assert "the disk is full" in str(full)
            return
    raise AssertionError("the disk never got full")


async def end(store, made: Task) -> None:
    async with store.transaction(GATEWAY) as tx:
        held = await tx.get(Lease, lease(made).id)
        await tx.record(Kind.LEASE_FELL_DUE, held := fall_due(held, tx.now), reason="done")
        await tx.record(Kind.TASK_ENDED, advance(await tx.get(Task, made.id), Kind.TASK_ENDED, due=None, ended=tx.now))
    for kind in (Kind.LEASE_CUT, Kind.LEASE_REVOKED):
        async with store.transaction(GATEWAY) as tx:
            await tx.record(kind, held := advance(held, kind))


async def on_a_full_disk(disk: Path, clock: Clock, reserve: int):
    store = open_store(disk / "taskbound.db", clock, reserve=reserve)
    made = await opened(store, calls=100_000, leases=10)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.LEASE_REQUESTED, lease(made), spent={"leases": 1})
    await until_full(store, made, disk)
    return store, made


async def test_on_a_full_disk_nothing_is_permitted_and_everything_can_be_ended(small_disk, clock):
    store, made = await on_a_full_disk(small_disk, clock, SIZE)
    assert (small_disk / "reserve").stat().st_blocks == 0, "the reserve was not freed"
    other = lease(made, "l" + "b" * 20)
    for kind, thing, spent in (
        (Kind.CALL_PERMITTED, call(made, "c" + "b" * 20), {"calls": 1}),
        (Kind.TASK_OPENED, task("t" + "b" * 20), {}),
        (Kind.LEASE_REQUESTED, other, {"leases": 1}),
        (Kind.LEASE_ACTIVATED, advance(lease(made), Kind.LEASE_ACTIVATED, activated=clock.at), {}),
        (Kind.CALL_COMPLETED, None, {}),
    ):
        with pytest.raises(StoreUnavailable, match="the disk is full: nothing new is permitted"):
            async with store.transaction(GATEWAY) as tx:
                await tx.record(kind, thing, spent=spent)
    denied = replace(call(made, "c" + "d" * 20), state="denied", code="outside_grants")
    async with store.transaction(GATEWAY) as tx:
        await tx.once("proof", "x", clock.at)
        await tx.record(Kind.CALL_DENIED, denied)
    await end(store, made)
    kept = check(small_disk / "taskbound.db").things
    assert [kept["main", noun, id]["state"] for noun, id in (("task", made.id), ("lease", lease(made).id))] == [
        "ended", "revoked",
    ]  # fmt: skip
    assert kept["main", "call", denied.id]["code"] == "outside_grants"
    (small_disk / "filler").unlink()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, task("t" + "c" * 20))
    assert (small_disk / "reserve").stat().st_blocks * 512 == SIZE, "there is room again, and no reserve"
    await store.close()


async def test_denials_cannot_use_up_what_is_for_ending(small_disk, clock):
    store, made = await on_a_full_disk(small_disk, clock, SIZE)
    with pytest.raises(StoreUnavailable, match="no more denials"):
        for n in range(100_000):
            denied = replace(call(made, f"c{n:019}d"), state="denied", code="outside_grants")
            async with store.transaction(GATEWAY) as tx:
                await tx.record(Kind.CALL_DENIED, denied, filling="x" * 2000)
    await end(store, made)
    await store.close()


async def test_control_without_the_reserve_nothing_can_be_ended(small_disk, clock):
    store, made = await on_a_full_disk(small_disk, clock, 0)
    with pytest.raises(StoreUnavailable):
        for _ in range(20):
            await end(store, made)
    assert check(small_disk / "taskbound.db").things["main", "task", made.id]["state"] == "open"
    (small_disk / "filler").unlink()
    await end(store, made)
    await store.close()


async def test_it_opens_on_a_full_disk_to_end_what_is_there(small_disk, clock):
    path = small_disk / "taskbound.db"
    store = open_store(path, clock, reserve=SIZE)
    made = await opened(store, leases=10)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.LEASE_REQUESTED, lease(made), spent={"leases": 1})
    await store.close()
    fill(small_disk)
    for _ in range(2):  # the second time the reserve is gone already
        again = open_store(path, clock, reserve=SIZE)
        with pytest.raises(StoreUnavailable, match="nothing new is permitted"):
            await opened(again, "t" + "b" * 20)
        await again.close()
    again = open_store(path, clock, reserve=SIZE)
    await end(again, made)
    await again.close()


async def test_control_without_the_reserve_it_does_not_even_open(small_disk, clock):
    path = small_disk / "taskbound.db"
    await open_store(path, clock, reserve=0).close()
    fill(small_disk)
    with pytest.raises(StoreUnavailable):
        open_store(path, clock, reserve=0)
