"""A crash before or after any crossing of any port leaves no credential behind (S1, D1, D28).

Every crossing of the story crashes once before and once after its effect. It is judged *before*
recovery (each name at the target has a lease in the store) and after it (nothing left, and the
sweep had no orphan to adopt). The control calls the target first, and must be found out.
"""

from itertools import count

import pytest

from taskbound.core.call import decide
from taskbound.core.event import Kind
from taskbound.core.thing import advance
from taskbound.prove import gather, prove
from taskbound.steps import issue_lease
from tests.rig import Crash, Rig
from tests.stories import story

SIDES = pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])


async def crashed(rig: Rig) -> bool:
    """Run the story up to its crash; whether there was one."""
    await rig.people()
    try:
        await story.one_task_from_open_to_end(rig)
    except Crash:
        return True
    return False


async def verdicts(after: bool) -> list[tuple[str, bool, int, bool]]:
    """Return, per crossing: its name, whether each name had a lease, the orphans found, whether nothing is left."""
    seen: list[tuple[str, bool, int, bool]] = []
    for crossing in count(1):
        rig = Rig(crash_at=crossing, after=after)
        if not await crashed(rig):
            return seen
        explained = rig.names_at_targets() <= rig.names_with_a_lease()
        orphans = await rig.restart_later()  # the ordinary path is the recovery path
        seen.append((rig.crossings.names[crossing - 1], explained, len(orphans), rig.names_at_targets() == set()))
        if explained:
            rig.check()
    raise AssertionError("unreachable")


@SIDES
async def test_a_crash_leaves_no_credential_behind(after):
    seen = await verdicts(after)
    print("crossings:", *(f"{n}:{name}" for n, (name, *_) in enumerate(seen, 1)))
    methods = ("create", "cut", "probe", "clean")
    assert {name for name, *_ in seen} == {"store.commit", *(f"provider.{method}" for method in methods)}
    assert len(seen) >= 17, "the story lost a crossing"
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
