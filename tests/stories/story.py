"""The main job, end to end: an agent works inside a task. Numbered as an operator would tell it.

`after_step` is called after each step; the rig's `check` goes there.
"""

from collections.abc import Callable

import pytest

from taskbound.core.errors import Denied, TaskEnded
from taskbound.core.identity import Claim
from taskbound.steps.decide_call import CallAsk, Outcome, complete_call, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.revoke_lease import due_leases, revoke_lease
from tests.rig import ALICE, Rig

REFUND = TaskAsk(
    "refund-order", {"order_id": "4711", "max": "50"}, "customer 4711 wants a refund", actor="agent/support"
)


def claim_of(handle) -> Claim:
    """What a door makes of a handle that was presented: its digest."""
    import hashlib

    return Claim("main", handle=hashlib.sha256(handle.reveal().encode()).hexdigest())


async def one_task_from_open_to_end(rig: Rig, after_step: Callable[[], None] = lambda: None) -> None:
    world, door = rig.world, rig.door

    # 01-open-task: alice opens a task for her agent.
    task, handle = await open_task(world, door, ALICE, REFUND)
    agent = claim_of(handle)
    after_step()

    # 02-call: what the task is for is permitted, recorded, and completed.
    ask = CallAsk("crm/get_order", {"id": "4711"})
    caller, call, decision = await decide_call(world, door, agent, ask)
    assert decision.permitted
    after_step()
    await complete_call(world, door, caller, call, Outcome(is_error=False, size=200))
    after_step()

    # 03-denied: another order, and an amount above the bound.
    for ask in (CallAsk("crm/get_order", {"id": "4712"}), CallAsk("crm/refund", {"order_id": "4711", "amount": 50.01})):
        _, call, decision = await decide_call(world, door, agent, ask)
        assert decision.code == "outside_grants"
        after_step()

    # 04-lease: a login that exists only while the task does.
    lease, credential = await issue_lease(world, door, agent, LeaseAsk("shopdb/reader"))
    target = rig.targets["shopdb"]
    assert target.accepts(lease.name, credential.reveal())
    after_step()

    # 05-delegate: a sub-agent gets less, and cannot have the login.
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    child, child_handle = await open_task(world, door, agent, wish)
    after_step()
    helper = claim_of(child_handle)
    _, _, decision = await decide_call(world, door, helper, CallAsk("crm/get_order", {"id": "4711"}))
    assert decision.permitted
    after_step()
    with pytest.raises(Denied) as denied:
        await issue_lease(world, door, helper, LeaseAsk("shopdb/reader"))
    assert denied.value.code == "outside_grants"
    after_step()

    # 06-end-task: everything of it ends at once, the child first.
    ended = await end_task(world, door, agent, task.id, "done")
    assert [t.id for t in ended] == [child.id, task.id]
    after_step()
    for who in (agent, helper):
        _, _, decision = await decide_call(world, door, who, CallAsk("crm/get_order", {"id": "4711"}))
        assert decision.code == "task_ended"
        after_step()
    with pytest.raises(TaskEnded):
        await issue_lease(world, door, agent, LeaseAsk("shopdb/reader"))
    after_step()

    # 07-login-is-refused: cut, then clean.
    for due in await due_leases(world, rig.lane):
        await revoke_lease(world, rig.lane, due)
        after_step()
    assert not target.accepts(lease.name, credential.reveal())
    assert target.logins == {}
