"""A crash before or after any crossing of any port leaves no credential behind (S1, D1, D28).

The story goes on here until every task is closed: its first call goes out to an upstream, the target is asked for
its names, receipts are signed. Every crossing crashes once before and once after its effect. It is judged *before*
recovery (each name at the target has a lease in the store, each call that went out a permit) and after it (nothing
left, the sweep had no orphan to adopt, every task is closed). The controls call the target, and the upstream, first,
and must be found out.
"""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from taskbound.core.call import Call, decide
from taskbound.core.event import Kind
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.edge.enforce import Outcomes, Permit, enforce
from taskbound.prove import gather, prove
from taskbound.steps import issue_lease
from taskbound.steps.close_task import close_task, ended_tasks
from taskbound.steps.decide_call import CallAsk, Outcome, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.open_task import open_task
from taskbound.steps.revoke_lease import sweep_target
from tests.notes import note
from tests.rig import ALICE, Crash, Crossings, Rig
from tests.stories import story

SIDES = pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
READ = CallAsk("crm/get_order", {"id": "4711"})


class Crm:
    """An upstream whose calls are crossings; what went out to it is kept."""

    def __init__(self, crossings: Crossings) -> None:
        self.reached: list[str] = []
        self._crossings = crossings

    async def call(self, tool, arguments, credential):
        self._crossings.before("upstream.call")
        self.reached.append(tool)
        self._crossings.done()
        yield {"result": {"content": []}}


class CountedKeys:
    """Keys whose every signature is a crossing."""

    def __init__(self, keys, crossings: Crossings) -> None:
        self.public, self._keys, self._crossings = keys.public, keys, crossings

    async def sign(self, purpose, message):
        self._crossings.before("keys.sign")
        signature = await self._keys.sign(purpose, message)
        self._crossings.done()
        return signature


async def whole(rig: Rig, crm: Crm) -> None:
    """A task whose call goes out, the story, a look at the targets, and every task closed."""
    task, handle = await open_task(rig.world, rig.door, ALICE, story.REFUND)
    outcomes = Outcomes(rig.world)
    async with enforce(rig.world, rig.door, story.claim_of(handle), READ, outcomes) as permit:
        async for message in crm.call(READ.resource, READ.arguments, None):
            permit.outcome = Outcome(False, len(message))
    await outcomes.drained()
    if has_crashed(rig):  # while the outcome was recorded, which nobody waits for
        raise Crash("outcome")
    await end_task(rig.world, rig.door, ALICE, task.id, "done")
    await story.one_task_from_open_to_end(rig)
    for name in rig.targets:
        await sweep_target(rig.world, rig.lane, name)
    await close_all(rig)


async def close_all(rig: Rig) -> None:
    """Close what ended, a child before its parent."""
    ended = set(await ended_tasks(rig.world, rig.lane, "", 100))
    tasks = [task for task in await stored(rig, Task) if task.id in ended]
    for task in sorted(tasks, key=lambda task: (-task.depth, task.opened)):
        await close_task(rig.world, rig.lane, task.id)


async def stored(rig: Rig, noun: type[Any], **where: object) -> list[Any]:
    """Return what the rig's store has of a noun, whichever store it is. Looking is no crossing."""
    async with rig.store.transaction(rig.lane) as tx:
        found: list[Any] = await tx.find(noun, **where)
    return found


def has_crashed(rig: Rig) -> bool:
    return rig.crossings.crash_at is not None and len(rig.crossings.names) >= rig.crossings.crash_at


async def crashed(rig: Rig, crm: Crm) -> bool:
    """Run it all up to its crash; whether there was one."""
    await rig.people()
    try:
        await whole(rig, crm)
    except Crash:
        return True
    return False


async def is_explained(rig: Rig, crm: Crm) -> bool:
    """Whether each name at a target has a lease in the store, and each call that went out a permit."""
    permitted = [call for call in await stored(rig, Call, state="permitted") if call.resource in crm.reached]
    return rig.names_at_targets() <= rig.names_with_a_lease() and len(crm.reached) <= len(permitted)


async def verdicts(after: bool) -> list[tuple[str, bool, int, bool]]:
    """Return, per crossing: its name, whether all had its record, the orphans found, whether nothing is left."""
    seen: list[tuple[str, bool, int, bool]] = []
    for crossing in count(1):
        rig = Rig(crash_at=crossing, after=after)
        crm = Crm(rig.crossings)
        rig.world = replace(rig.world, keys=CountedKeys(rig.world.keys, rig.crossings))
        if not await crashed(rig, crm):
            return seen
        explained = await is_explained(rig, crm)
        name = rig.crossings.names[crossing - 1]
        orphans = await rig.restart_later()  # the ordinary path is the recovery path
        await close_all(rig)
        over = {task.state for task in await stored(rig, Task)} <= {"closed"}
        seen.append((name, explained, len(orphans), over and rig.names_at_targets() == set()))
        if explained:
            rig.check()
    raise AssertionError("unreachable")


@SIDES
async def test_a_crash_leaves_no_credential_behind(after):
    seen = await verdicts(after)
    crossed = Counter(name for name, *_ in seen)
    note(f"{len(seen)} crossings: {', '.join(f'{n} × {name}' for name, n in crossed.items())}")
    provider = {f"provider.{method}" for method in ("create", "cut", "probe", "clean", "names")}
    assert {name for name, *_ in seen} == {"store.commit", "upstream.call", "keys.sign", *provider}
    assert len(seen) >= 30, "the story lost a crossing"
    assert [verdict for verdict in seen if verdict[1:] != (True, 0, True)] == []


async def target_first(world, door, asker, ask):
    """The order that D1 forbids: the effect, then the record of it."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        case = await gather(world, tx, caller, "lease/issue", ask.resource)
        decision = decide(case)
    decision.require_permit()
    lease = issue_lease._requested(world, case)
    credential = await world.providers[lease.target].create(lease)
    async with world.store.transaction(door) as tx:
        await tx.record(Kind.LEASE_REQUESTED, lease, by=caller, spent=decision.spent)
        lease = advance(lease, Kind.LEASE_ACTIVATED, activated=tx.now, due=lease.expires)
        await tx.record(Kind.LEASE_ACTIVATED, lease, by=caller)
    return lease, credential


async def test_control_an_effect_before_its_record_is_found_out(monkeypatch):
    monkeypatch.setattr(story, "issue_lease", target_first)
    unexplained = [(name, orphans) for name, explained, orphans, _ in await verdicts(after=True) if not explained]
    assert unexplained and all(orphans == 1 for _, orphans in unexplained)
    assert {name for name, _ in unexplained} == {"provider.create"}


@asynccontextmanager
async def call_first(world, door, claim, ask, outcomes):
    """The order that D19 forbids: the call, then the decision on it."""
    permit = Permit(None, None, None)  # type: ignore[arg-type]
    yield permit
    permit.caller, permit.call, permit.decision = await decide_call(world, door, claim, ask)
    outcomes.add(door, permit)


async def test_control_a_call_before_its_record_is_found_out(monkeypatch):
    monkeypatch.setitem(globals(), "enforce", call_first)
    unexplained = {name for name, explained, *_ in await verdicts(after=True) if not explained}
    assert unexplained == {"upstream.call"}
