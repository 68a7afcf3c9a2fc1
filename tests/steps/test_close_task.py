"""A task is closed when nothing of it is out any more, children first, once; its receipt is signed (INTERFACES 11)."""

import asyncio
from dataclasses import replace

import pytest

from taskbound.core.errors import Denied, NotFound, StillLetIn, TargetUnavailable, Unavailable
from taskbound.core.event import Kind
from taskbound.core.lease import Lease
from taskbound.core.receipt import verify_receipt
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.formats.note import parse_note
from taskbound.formats.tlog import parse_checkpoint
from taskbound.steps.close_task import close_task, ended_tasks, read_receipt
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.revoke_lease import due_leases, revoke_lease
from taskbound.steps.seal_log import seal_log
from tests.rig import ALICE, Crash, Rig
from tests.store.stored import SqliteRig
from tests.stories.story import REFUND, claim_of, one_task_from_open_to_end

READER = LeaseAsk("shopdb/reader")
ORDER = CallAsk("crm/get_order", {"id": "4711"})


@pytest.fixture(params=["memory", "sqlite"])
async def rig(request, tmp_path):
    made = Rig() if request.param == "memory" else SqliteRig(tmp_path / "taskbound.db")
    await made.people()
    yield made
    if isinstance(made, SqliteRig):
        await made.store.close()


async def opened(rig, ask=REFUND, asker=ALICE):
    task, handle = await open_task(rig.world, rig.door, asker, ask)
    return task, claim_of(handle)


async def ended(rig, task):
    await end_task(rig.world, rig.door, ALICE, task.id, "done")


async def revoke(rig):
    for lease in await due_leases(rig.world, rig.lane):
        await revoke_lease(rig.world, rig.lane, lease)


async def stored(rig, noun, id):
    async with rig.store.transaction(rig.lane) as tx:
        return await tx.get(noun, id)


async def receipt_of(rig, task, asker=ALICE):
    note, key = await read_receipt(rig.world, rig.door, asker, task.id)
    verdict = verify_receipt(note.encode(), key)
    assert verdict.problems == ()
    return verdict.receipt


async def test_a_task_without_leases_is_closed_as_soon_as_it_ended(rig):
    task, _ = await opened(rig)
    assert await close_task(rig.world, rig.lane, task.id) is None, "it is open"
    await ended(rig, task)
    assert await ended_tasks(rig.world, rig.lane, "", 10) == [task.id]
    closed = await close_task(rig.world, rig.lane, task.id)
    assert closed is not None and closed.state == "closed"
    assert await stored(rig, Task, task.id) == closed
    receipt = await receipt_of(rig, task)
    assert (receipt["leases"], receipt["doors"], receipt["tokens"], receipt["not_presented"]) == ([], [], [], 0)
    assert await ended_tasks(rig.world, rig.lane, "", 10) == []
    rig.check()


async def test_the_receipt_is_what_was_recorded(rig):
    task, agent = await opened(rig)
    lease, credential = await issue_lease(rig.world, rig.door, agent, READER)
    rig.clock.advance(1)
    _, permitted, _ = await decide_call(rig.world, rig.door, agent, ORDER)
    rig.clock.advance(1)
    await ended(rig, task)
    rig.clock.advance(1)
    _, refused, _ = await decide_call(rig.world, rig.door, agent, ORDER)
    await revoke(rig)
    closed = await close_task(rig.world, rig.lane, task.id)
    assert closed is not None and closed.ended is not None
    receipt, kept = await receipt_of(rig, task), await stored(rig, Lease, lease.id)
    assert (receipt["task"], receipt["org"], receipt["ended_at"]) == (task.id, "main", moment(closed.ended))
    (given,) = receipt["leases"]
    assert (given["cut_at"], given["clean_at"]) == (moment(kept.cut), moment(kept.cleaned))
    assert kept.cut is not None and kept.cleaned is not None
    assert given["probe"] == {"answer": "refused", "at": moment(rig.clock.at), "by": "broker"}
    assert receipt["doors"] == [
        {"name": "lease/issue shopdb", "last_permit_at": moment(kept.activated), "first_refusal_at": None,
         "refused_by": "state"},
        {"name": "tools/call crm", "last_permit_at": moment(permitted.at), "first_refusal_at": moment(refused.at),
         "refused_by": "presented"},
    ]  # fmt: skip
    assert credential.reveal() not in closed.receipt and task.handle not in closed.receipt
    rig.check()


def moment(at):
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


async def test_the_checkpoint_of_the_log_stands_in_it(rig):
    task, _ = await opened(rig)
    await ended(rig, task)
    sealed = await seal_log(rig.world, rig.lane) if not isinstance(rig, SqliteRig) else None
    await close_task(rig.world, rig.lane, task.id)
    told = (await receipt_of(rig, task))["checkpoint"]
    assert (told and parse_checkpoint(parse_note(told.encode())[0])) == sealed


async def test_a_credential_that_is_not_taken_back_keeps_its_task_open(rig):
    task, agent = await opened(rig)
    await issue_lease(rig.world, rig.door, agent, READER)
    await ended(rig, task)
    cut, clean = (getattr(rig.world.providers["shopdb"], name) for name in ("cut", "clean"))

    async def fails(lease):
        raise TargetUnavailable("the target is down")

    for down in ("cut", "clean"):
        setattr(rig.world.providers["shopdb"], down, fails)
        (due,) = await due_leases(rig.world, rig.lane)
        with pytest.raises(TargetUnavailable):
            await revoke_lease(rig.world, rig.lane, due)
        assert await close_task(rig.world, rig.lane, task.id) is None
        with pytest.raises(NotFound) as missing:
            await read_receipt(rig.world, rig.door, ALICE, task.id)
        assert (missing.value.code, "taken back" in missing.value.hint) == ("not_closed", True)
        setattr(rig.world.providers["shopdb"], down, {"cut": cut, "clean": clean}[down])
    await revoke(rig)
    assert await close_task(rig.world, rig.lane, task.id) is not None
    assert (await receipt_of(rig, task))["leases"][0]["probe"]["answer"] == "refused", "it was presented anew"


async def test_children_are_closed_before_their_parents_and_stand_in_both_receipts(rig):
    parent, agent = await opened(rig)
    lease, _ = await issue_lease(rig.world, rig.door, agent, READER)
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    child, helper = await opened(rig, wish, agent)
    await decide_call(rig.world, rig.door, helper, ORDER)
    await ended(rig, parent)
    await revoke(rig)
    assert await close_task(rig.world, rig.lane, parent.id) is None, "before its child"
    assert await close_task(rig.world, rig.lane, child.id) is not None
    assert await close_task(rig.world, rig.lane, parent.id) is not None
    below, above = await receipt_of(rig, child), await receipt_of(rig, parent)
    assert (below["leases"], [one["id"] for one in above["leases"]]) == ([], [lease.id])
    assert "tools/call crm" in {door["name"] for door in below["doors"]} & {door["name"] for door in above["doors"]}
    rig.check()


async def test_of_two_lanes_one_closes_it(rig):
    task, _ = await opened(rig)
    await ended(rig, task)
    both = await asyncio.gather(*(close_task(rig.world, rig.lane, task.id) for _ in range(2)))
    assert [one is None for one in both].count(True) == 1
    assert await close_task(rig.world, rig.lane, task.id) is None
    rig.check()


async def test_a_lease_that_comes_back_while_it_is_signed_keeps_its_task_open(rig):
    task, agent = await opened(rig)
    lease, _ = await issue_lease(rig.world, rig.door, agent, READER)
    await ended(rig, task)
    await revoke(rig)
    keys = rig.world.keys

    class Slow:
        """Between what is read and what is recorded, the sweep finds the name again."""

        public = keys.public

        async def sign(self, purpose, message):
            async with rig.store.transaction(rig.lane) as tx:
                again = advance(await tx.get(Lease, lease.id), Kind.LEASE_FELL_DUE, due=tx.now, cut=None)
                await tx.record(Kind.LEASE_FELL_DUE, again, reason="orphan")
            return await keys.sign(purpose, message)

    assert await close_task(replace(rig.world, keys=Slow()), rig.lane, task.id) is None
    assert (await stored(rig, Task, task.id)).state == "ended"
    await revoke(rig)
    assert await close_task(rig.world, rig.lane, task.id) is not None


async def test_without_a_key_nothing_is_closed(rig):
    task, _ = await opened(rig)
    await ended(rig, task)

    class Lost:
        public = rig.world.keys.public

        async def sign(self, purpose, message):
            raise Unavailable("the key is gone")

    with pytest.raises(Unavailable):
        await close_task(replace(rig.world, keys=Lost()), rig.lane, task.id)
    assert (await stored(rig, Task, task.id)).state == "ended"


async def test_a_crash_between_the_last_revocation_and_the_closing_leaves_it_to_the_next_start(rig):
    task, agent = await opened(rig)
    await issue_lease(rig.world, rig.door, agent, READER)
    await ended(rig, task)
    await revoke(rig)
    for after in (False, True):  # the second commit: the first is of what was read
        rig.crossings.after, rig.crossings.crash_at = after, len(rig.crossings.names) + 2
        with pytest.raises(Crash):
            await close_task(rig.world, rig.lane, task.id)
        assert (await stored(rig, Task, task.id)).state == ("closed" if after else "ended")
        await rig.restart_later()
        assert await ended_tasks(rig.world, rig.lane, "", 10) == ([] if after else [task.id])
    assert (await receipt_of(rig, task))["not_presented"] == 0
    rig.check()


async def test_after_the_whole_story_each_task_has_a_receipt(rig):
    await one_task_from_open_to_end(rig)
    for _ in range(2):
        for id in await ended_tasks(rig.world, rig.lane, "", 10):
            await close_task(rig.world, rig.lane, id)
    assert await ended_tasks(rig.world, rig.lane, "", 10) == []
    rig.check()


async def test_somebody_elses_receipt_is_not_shown(rig):
    task, _ = await opened(rig)
    other, other_agent = await opened(rig)
    await ended(rig, task)
    await close_task(rig.world, rig.lane, task.id)
    with pytest.raises(Denied) as denied:
        await read_receipt(rig.world, rig.door, other_agent, task.id)
    assert denied.value.code == "not_yours"
    with pytest.raises(NotFound) as missing:
        await read_receipt(rig.world, rig.door, ALICE, other.id)
    assert (missing.value.code, "task end" in missing.value.hint) == ("not_closed", True)
    with pytest.raises(NotFound):
        await read_receipt(rig.world, rig.door, ALICE, "t" + "z" * 20)


async def test_a_provider_that_cannot_present_says_so(rig):
    task, agent = await opened(rig)
    bare = rig.world.providers["shopdb"]

    class NoProbe:
        create, cut, clean, names = bare.create, bare.cut, bare.clean, bare.names

    rig.world = replace(rig.world, providers={"shopdb": NoProbe()})
    await issue_lease(rig.world, rig.door, agent, READER)
    await ended(rig, task)
    await revoke(rig)
    await close_task(rig.world, rig.lane, task.id)
    receipt = await receipt_of(rig, task)
    assert receipt["leases"][0]["probe"]["answer"] == "not_presented: the target's provider cannot present it"
    assert receipt["not_presented"] == 1


async def test_a_target_that_says_nothing_to_the_probe_holds_up_no_cleaning(rig):
    task, agent = await opened(rig)
    lease, _ = await issue_lease(rig.world, rig.door, agent, READER)
    await ended(rig, task)

    async def silent(lease):
        raise TargetUnavailable("no answer")

    rig.world.providers["shopdb"].probe = silent
    await revoke(rig)
    kept = await stored(rig, Lease, lease.id)
    assert kept.state == "revoked" and "not_presented: the target gave no answer to it" in kept.probe


async def test_a_dead_credential_that_is_let_in_is_a_finding_and_stops_the_cleaning(rig):
    task, agent = await opened(rig)
    lease, credential = await issue_lease(rig.world, rig.door, agent, READER)
    await ended(rig, task)
    target, provider = rig.targets["shopdb"], rig.world.providers["shopdb"]
    alive = target.logins[lease.name]
    cut = provider.cut

    async def undone(one):
        await cut(one)
        target.logins[lease.name] = alive

    provider.cut = undone
    (due,) = await due_leases(rig.world, rig.lane)
    with pytest.raises(StillLetIn):
        await revoke_lease(rig.world, rig.lane, due)
    assert (await stored(rig, Lease, lease.id)).state == "cut" and target.accepts(lease.name, credential.reveal())
    assert await close_task(rig.world, rig.lane, task.id) is None
    provider.cut = cut
    await revoke(rig)
    assert (await stored(rig, Lease, lease.id)).state == "revoked"
