"""What the sweep of test_raise runs of a task that is held by a heartbeat: heard, heard elsewhere, lost, found again.

As in `deeds`: name -> (prepare, act). `permitted` is what was done to the end; under a fault it may not be claimed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

from taskbound.core.identity import Claim, Process
from taskbound.core.lease import Lease
from taskbound.core.task import Task
from taskbound.edge.claims import Holders
from taskbound.steps import hold_task
from taskbound.steps.hold_task import hear_holder, lose_holder
from taskbound.steps.issue_lease import issue_lease
from taskbound.steps.open_task import open_task
from tests.faults.deeds import CARLA, READER, Work, begun, does, strangers
from tests.faults.scenarios import LOOK_UP, Act, InForce, Prepare, claims
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND


def held(on_lost: str = "end", lost: bool = False) -> Prepare:
    """Return a task whose profile asks for a heartbeat, with a child and a lease; `lost`: its holder was silent."""

    async def prepare(rig: Rig) -> Work:
        current = rig.world.policies.current
        name = "refund-order"
        profile = replace(current.profiles[name], heartbeat_grace=timedelta(seconds=90), on_lost=on_lost)
        changed = replace(current, profiles={**current.profiles, name: profile})
        rig.world = replace(rig.world, policies=InForce(changed))
        work = await begun(rig)
        await begun(rig, LOOK_UP, work.agent)
        await issue_lease(rig.world, rig.door, work.agent, READER)
        if lost:
            await lose_holder(rig.world, rig.door, work.task.id)
        return work

    return prepare


def hears(who: Callable[[Work], Claim] = lambda work: work.agent, node: str = "") -> Callable[..., Awaitable[None]]:
    async def act(rig: Rig, work: Work) -> None:
        task = await hear_holder(replace(rig.world, node=node), rig.door, who(work), work.task.id)
        assert task.state == "open"
        assert task.heartbeat is None or (task.heartbeat.node, task.heartbeat.every) == (node, 30)

    return act


async def keeps_what_it_only_sees(rig: Rig, work: Work) -> None:
    async def seen(*_: object) -> None:
        return None

    with patch.object(hold_task, "unseen", seen):
        await hear_holder(rig.world, rig.door, CARLA, work.task.id)


def loses(state: str) -> Callable[..., Awaitable[None]]:
    """Return the act that loses a holder, and claims what became of the task and its lease."""

    async def act(rig: Rig, work: Work) -> None:
        over = await lose_holder(rig.world, rig.door, work.task.id)
        assert {task.state for task in over} == {state} and len(over) == 2
        async with rig.store.transaction(rig.lane) as tx:
            assert (await tx.get(Task, work.task.id)).state == state
            assert {lease.state for lease in await tx.find(Lease, task=work.task.id)} == {"revoking"}

    return act


async def is_silent(rig: Rig, work: Work) -> None:
    """The node's own count of who is silent."""
    holders = Holders()
    assert not holders.hears
    holders.hear(work.task)
    assert holders.hears and holders.silent(80) == [] and holders.silent(10) == [work.task.id]
    holders.forget(work.task.id)
    assert holders.silent(90) == []
    holders.hear(work.task)
    assert holders.next_heard(2) == [work.task.id]
    holders.over(work.task.id)
    assert not holders.hears


async def leaves_to_another(rig: Rig, work: Work) -> None:
    assert await lose_holder(replace(rig.world, node="other"), rig.door, work.task.id) == []


async def leaves_it(rig: Rig, work: Work) -> None:
    """It is suspended already."""
    assert await lose_holder(rig.world, rig.door, work.task.id) == []


async def held_by_nothing_of_hers(rig: Rig) -> Work:
    await strangers(rig)
    work: Work = await held()(rig)
    return work


async def opens_held(rig: Rig, who: Claim) -> None:
    task, _ = await open_task(rig.world, rig.door, who, replace(REFUND, holder=Process(1, 7)))
    assert task.holder == Process(1, 7, rig.world.node)


SCENARIOS: dict[str, tuple[Prepare, Act]] = {
    "permitted:open_held": (claims(ALICE), does(opens_held)),
    "permitted:hear": (held(), does(hears())),
    "permitted:hear_what_needs_none": (begun, does(hears())),
    "permitted:hear_elsewhere": (held(), does(hears(node="other"))),
    "permitted:hear_again": (held("suspend", lost=True), does(hears())),
    "permitted:hear_again_elsewhere": (held("suspend", lost=True), does(hears(node="other"))),
    "Denied:hear_another_s": (held_by_nothing_of_hers, does(hears(lambda work: CARLA))),
    "Denied:keep_another_s": (held_by_nothing_of_hers, does(keeps_what_it_only_sees)),
    "permitted:silent": (held(), does(is_silent)),
    "permitted:lose": (held(), does(loses("ended"))),
    "permitted:lose_for_a_while": (held("suspend"), does(loses("suspended"))),
    "permitted:lose_again": (held("suspend", lost=True), does(leaves_it)),
    "permitted:lose_what_another_hears": (held(), does(leaves_to_another)),
}
