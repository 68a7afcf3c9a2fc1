"""`make demo`: one task from open to end, on a memory store and a memory target, told line by line.

Everything printed is what happened in this run; a line that does not hold ends the demo with
exit status 1. A real server, a real database and a gateway come with later milestones.
"""

import asyncio
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from demo.targets import TARGETS
from taskbound import app
from taskbound.core.errors import Denied
from taskbound.core.grant import render
from taskbound.core.identity import Claim, Facts, door
from taskbound.plugins.providers.memory import MemoryTarget
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from taskbound.steps.revoke_lease import due_leases, revoke_lease, sweep_target

POLICY = Path(__file__).parent / "policy"
STARTED = perf_counter()


def tell(line: str, holds: bool = True) -> None:
    """Print one line of the story with the time since its start; end here if it does not hold."""
    print(f"{(perf_counter() - STARTED) * 1000:7.1f} ms  {'' if holds else 'DOES NOT HOLD: '}{line}")
    if not holds:
        sys.exit(1)


async def main() -> None:
    shop = MemoryTarget()
    world = app.in_memory(POLICY, TARGETS, {"shopdb": shop})
    gateway, lane = (door(world.trust_domain, name, "main") for name in ("door/gateway", "lane/revoke"))
    alice = Claim("main", facts=Facts("operator", {"uid": "1000"}))

    async def lease_of(who: Claim) -> str:
        try:
            await issue_lease(world, gateway, who, LeaseAsk("shopdb/reader"))
        except Denied as denied:
            return f"denied, {denied.code}: {denied}"
        return "permitted"

    async def call(who: Claim, tool: str, **arguments: object) -> str:
        _, _, decision = await decide_call(world, gateway, who, CallAsk(tool, arguments))
        return "permitted" if decision.permitted else f"denied, {decision.code}: {decision.objections[0].reason}"

    def presented(handle: str) -> Claim:
        return Claim("main", handle=hashlib.sha256(handle.encode()).hexdigest())

    people = {"human/alice": "", "agent/support": "production", "agent/helper": "production", "agent/tester": "dev"}
    for name, environment in people.items():
        is_alice = name == "human/alice"
        attestor, when = ("operator", {"uid": "1000"}) if is_alice else ("unix", {"script": f"/srv/{name}.py"})
        ask = RegistrationAsk(name, "human/alice", attestor, when, environment=environment)
        await register_identity(world, gateway, gateway, ask)
    tell(f"policy {world.policies.current.version[:12]} in force; alice and three agents of hers are registered")

    said = await call(alice, "crm/get_order", id="4711")
    tell(f"without a task: {said}", "no_task" in said)

    intent = "refund order 4711, the parcel never arrived"
    refund = TaskAsk("refund-order", {"order_id": "4711", "max": "50"}, intent, actor="agent/support")
    task, handle = await open_task(world, gateway, alice, refund)
    agent = presented(handle.reveal())
    tell(f"alice opens {task.id} for agent/support until {task.deadline:%H:%M:%S} UTC: {intent!r}")
    for grant in task.grants:
        print("\n".join("               " + line for line in render(grant, task.depth).splitlines()))
    print(f"               with {dict(task.intent.values)}")

    said = await call(agent, "crm/get_order", id="4711")
    tell(f"the agent reads order 4711: {said}", said == "permitted")
    said = await call(agent, "crm/get_order", id="4712")
    tell(f"it strays to order 4712: {said}", "outside_grants" in said)
    said = await call(agent, "crm/refund", order_id="4711", amount=5000)
    tell(f"it refunds 5000: {said}", "outside_grants" in said)
    said = await call(agent, "crm/refund", order_id="4711", amount=49.9)
    tell(f"it refunds 49.90: {said}", said == "permitted")
    said = await call(agent, "crm/refund", order_id="4711", amount=49.9)
    tell(f"and once more: {said}", "budget_spent" in said)

    lease, credential = await issue_lease(world, gateway, agent, LeaseAsk("shopdb/reader"))
    tell(f"it gets a login at shopdb, {lease.name}", shop.accepts(lease.name, credential.reveal()))

    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    child, child_handle = await open_task(world, gateway, agent, wish)
    helper = presented(child_handle.reveal())
    said = await call(helper, "crm/refund", order_id="4711", amount=1)
    tell(f"its sub-agent gets {child.id}, which only reads; a refund: {said}", "outside_grants" in said)
    said = await lease_of(helper)
    tell(f"the sub-agent asks for the login: {said}", "outside_grants" in said)

    test, test_handle = await open_task(world, gateway, alice, replace(refund, actor="agent/tester"))
    said = await lease_of(presented(test_handle.reveal()))
    tell(f"agent/tester, of environment dev, has the same grants and asks for the login: {said}", "nhi8" in said)
    await end_task(world, gateway, alice, test.id, "done")

    ended = await end_task(world, gateway, agent, task.id, "done")
    tell(f"the task ends, and with it {len(ended) - 1} below it", len(ended) == 2)
    said = await call(agent, "crm/get_order", id="4711")
    tell(f"the agent calls again: {said}", "task_ended" in said)
    for due in await due_leases(world, lane):
        await revoke_lease(world, lane, due)
    tell("the login is refused", not shop.accepts(lease.name, credential.reveal()))
    tell("no name is left at shopdb, and the sweep finds no orphan", not await sweep_target(world, lane, "shopdb"))


asyncio.run(main())
