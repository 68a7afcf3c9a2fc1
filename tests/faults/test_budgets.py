"""Budgets raced for by 50 children through the steps are never overspent, and what is left flows back.

Each child asks its parent for a random share of calls, of leases and of the one refund, delegates
some of it to a child of its own, calls and leases until it is denied or stops, and ends: by itself,
by its parent's end, or by its deadline. Everything suspends at random between two steps, so that
opens, calls, leases and ends of one tree come between each other.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from taskbound.core.errors import BudgetSpent, Denied
from taskbound.core.identity import Claim
from taskbound.core.task import Task
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_due_tasks, end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import TaskAsk, open_task
from tests.notes import note
from tests.profile import trials
from tests.rig import ALICE, Rig
from tests.store.stored import SqliteRig
from tests.stories.story import claim_of

CHILDREN, ROUNDS = 50, trials(10, 1)
HAS = {"calls": 60, "leases": 9, "g1#calls": 1}  # of the root; g1 is its second grant, one refund
READ = CallAsk("crm/get_order", {"id": "4711"})
PAY = CallAsk("crm/refund", {"order_id": "4711", "amount": 1})
DETAILS = (
    {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "crm/get_order", "when": {"id": '= "4711"'}},
    {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "crm/refund", "budget": {"calls": 1},
     "when": {"order_id": '= "4711"', "amount": "<= 50"}},
    {"type": "taskbound_grant", "actions": ["lease/issue"], "identifier": "shopdb/reader"},
)  # fmt: skip


@pytest.fixture(params=["memory", "sqlite"])
async def rig(request, tmp_path):
    made = Rig() if request.param == "memory" else SqliteRig(tmp_path / "taskbound.db")
    await made.people()
    yield made
    if request.param == "sqlite":
        await made.store.close()


class Tree:
    """The race, and what was spent in it as those saw it who spent it."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self.rig, self.chance = rig, chance
        self.spent: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def pause(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)

    async def child(self, parent: Claim, details: Sequence[Mapping[str, object]] = DETAILS, depth: int = 1) -> None:
        budget = {"calls": self.chance.randrange(1, 6), "leases": self.chance.randrange(3)}
        details = self.chance.choice((details, details[:2], details[::2]))
        wish = TaskAsk(details=details, budget=budget)
        try:
            task, handle = await open_task(self.rig.world, self.rig.door, parent, wish)
        except BudgetSpent:
            self.refused["task/open"] += 1
            return
        own = claim_of(handle)
        await self.pause()
        works = [self.work(own) for _ in range(self.chance.randrange(1, 4))]
        if depth < 2 and self.chance.random() < 0.5:
            works.append(self.child(own, details, depth + 1))
        await asyncio.gather(*works)
        if self.chance.random() < 0.6:  # the others are ended by their parent's end, or by their deadline
            await end_task(self.rig.world, self.rig.door, ALICE, task.id, "done")

    async def work(self, own: Claim) -> None:
        for _ in range(self.chance.randrange(1, 5)):
            await self.pause()
            if self.chance.random() < 0.3:
                try:
                    await issue_lease(self.rig.world, self.rig.door, own, LeaseAsk("shopdb/reader"))
                    self.spent["leases"] += 1
                except Denied as denied:
                    self.refused[denied.code] += 1
                continue
            ask = self.chance.choice((READ, READ, PAY))
            _, _, decision = await decide_call(self.rig.world, self.rig.door, own, ask)
            if decision.permitted:
                self.spent["calls"] += 1
                self.spent["g1#calls"] += ask is PAY
            else:
                self.refused[decision.code] += 1


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_fifty_racing_children_never_overspend_and_the_rest_flows_back(rig, number):
    seed = random.randrange(2**32)
    note("seed:", seed)
    tree = Tree(rig, random.Random(seed))
    ask = TaskAsk(details=DETAILS, actor="agent/support", budget={"calls": 60, "leases": 9})
    root, handle = await open_task(rig.world, rig.door, ALICE, ask)
    await asyncio.gather(*(tree.child(claim_of(handle)) for _ in range(CHILDREN)))
    rig.check()
    async with rig.store.transaction(rig.door) as tx:
        live = [task for task in await tx.find(Task, root=root.id) if task.state == "open" and task.id != root.id]
        rows = [await tx.left(task.id) for task in (*live, root)]
    held = {quantity: sum(row.get(quantity, 0) for row in rows) for quantity in HAS}
    assert {name: held[name] + tree.spent[name] for name in HAS} == HAS, "made or lost out of nothing"
    assert all(amount >= 0 for amount in held.values())
    rig.clock.advance((max(task.deadline for task in live) - rig.clock.at).total_seconds() if live else 0)
    await end_due_tasks(rig.world, rig.lane)
    rig.check()
    async with rig.store.transaction(rig.door) as tx:
        left = await tx.left(root.id)
    note(f"spent {dict(tree.spent)}; refused {dict(tree.refused)}; {len(live)} outlived their work; left {left}")
    assert {name: left[name] + tree.spent[name] for name in HAS} == HAS, "not everything came back"
    assert tree.spent["calls"] and tree.refused["task/open"] + tree.refused["budget_spent"]
