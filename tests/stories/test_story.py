"""The main job, end to end, with everything that must hold checked after each step."""

from collections import Counter

from tests.rig import Rig
from tests.stories.story import one_task_from_open_to_end


async def test_an_agent_works_inside_a_task():
    rig = Rig()
    await rig.people()
    await one_task_from_open_to_end(rig, rig.check)
    kinds = Counter(str(event.kind) for event in rig.store.events)
    assert kinds == {
        "identity.registered": 4,
        "task.opened": 2,
        "task.delegated": 1,
        "call.permitted": 2,
        "call.completed": 1,
        "call.denied": 6,
        "lease.requested": 1,
        "lease.activated": 1,
        "lease.fell_due": 1,
        "lease.cut": 1,
        "lease.revoked": 1,
        "task.ended": 2,
    }
    assert await rig.restart_later() == [], "the sweep found an orphan"
    rig.check()
