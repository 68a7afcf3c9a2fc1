"""Delegated tasks never exceed their parent in life, budget and depth, and end with it (T3.5, A1.3).

What grants narrow is tests/core/test_narrow; here trees are opened and ended through the steps. Each wish is drawn
around what its parent has: a longer life, a larger budget, one task too deep. While children work, any task ends,
by somebody or by its deadline. The oracle knows what each task may have, and looks at what is stored.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from taskbound.core.errors import BudgetSpent, Denied, TaskEnded
from taskbound.core.identity import Claim
from taskbound.core.task import Task
from taskbound.steps import end_task as ending
from taskbound.steps import open_task as opening
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_due_tasks, end_task
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.store import memory
from tests.faults.scenarios import detail
from tests.notes import note
from tests.profile import trials
from tests.rig import ALICE, Rig
from tests.stories.story import claim_of

TREES, PER_RIG = trials(5000, 1000), 10
DEEPEST = 4  # tasks on a chain (DESIGN 4)
DETAILS = (detail("crm/get_order", {"id": '= "4711"'}),)
READ = CallAsk("crm/get_order", {"id": "4711"})


@dataclass
class Node:
    """A task as the oracle knows it."""

    id: str
    claim: Claim
    deadline: datetime
    left: dict[str, int]
    depth: int  # tasks on its chain
    parent: "Node | None"
    ended: bool = False

    def is_over(self, now: datetime) -> bool:
        return self.ended or self.deadline <= now or (self.parent is not None and self.parent.is_over(now))


@dataclass
class Tree:
    """One tree, grown at random."""

    rig: Rig
    pick: random.Random
    tally: Counter[str]
    nodes: list[Node] = field(default_factory=list)

    def wish(self, left: dict[str, int]) -> TaskAsk:
        budget = {name: self.pick.randint(0, amount + (self.pick.random() < 0.1)) for name, amount in left.items()}
        return TaskAsk(details=DETAILS, life=timedelta(seconds=self.pick.randint(30, 600)), budget=budget)

    async def open(self, parent: Node | None) -> str:
        """Open a task; return what it has and must not have, "" where there is nothing."""
        now = self.rig.clock.at
        wish = self.wish(parent.left if parent else {"calls": 12, "leases": 3})
        assert wish.life is not None and wish.budget is not None
        asker = parent.claim if parent else ALICE
        try:
            ask = wish if parent else replace(wish, actor="agent/support")
            task, handle = await open_task(self.rig.world, self.rig.door, asker, ask)
        except Denied as refused:
            assert parent is not None
            beyond = any(amount > parent.left[name] for name, amount in wish.budget.items())
            self.tally[refused.code] += 1
            right = {TaskEnded: parent.is_over(now), BudgetSpent: beyond}.get(type(refused), parent.depth == DEEPEST)
            assert right, f"{refused} of what is no wider"
            return ""
        node = Node(task.id, claim_of(handle), task.deadline, dict(wish.budget), 1, parent)
        self.nodes.append(node)
        if parent is None:
            return "" if task.deadline == now + wish.life else "the root lives longer than was asked"
        node.depth = parent.depth + 1
        self.tally["opened"] += 1
        if parent.is_over(now):
            return "opened in a task that is over"
        if node.depth > DEEPEST:
            return f"{node.depth} tasks on a chain"
        if task.deadline != min(now + wish.life, parent.deadline):
            return "it lives longer than its parent"
        for name, amount in wish.budget.items():
            parent.left[name] -= amount
        return ""

    async def call(self, node: Node) -> str:
        over, has = node.is_over(self.rig.clock.at), node.left["calls"] > 0
        _, _, decision = await decide_call(self.rig.world, self.rig.door, node.claim, READ)
        node.left["calls"] -= decision.permitted
        self.tally["permitted" if decision.permitted else decision.code] += 1
        if decision.permitted and over:
            return "it acts after its end"
        return "" if not decision.permitted or has else "it spends more than it has"

    async def end(self, node: Node) -> str:
        await end_task(self.rig.world, self.rig.door, ALICE, node.id, "done")
        self._over(lambda one: one is node)
        self.tally["ended by somebody"] += 1
        return ""

    async def wait(self, node: Node) -> str:
        self.rig.clock.advance(self.pick.choice((1, 60, 200)))
        if self.pick.random() < 0.7:  # before the lane comes, the deadline alone must be enough
            await end_due_tasks(self.rig.world, self.rig.lane)
            self._over(lambda one: one.deadline <= self.rig.clock.at)
        return ""

    def _over(self, which: Any) -> None:
        """What ends, ends with all that is below it, and gives back what it has left, deepest first."""
        ends = [one for one in self.nodes if not one.ended and any(which(above) for above in chain(one))]
        for one in sorted(ends, key=lambda one: -one.depth):
            one.ended = True
            if one.parent:
                for name, amount in one.left.items():
                    one.parent.left[name] += amount
                one.left = dict.fromkeys(one.left, 0)
                self.tally["ended with or below"] += 1

    async def stored(self) -> str:
        """Compare all of it with what is stored."""
        async with self.rig.store.transaction(self.rig.door) as tx:
            for node in self.nodes:
                task = await tx.get(Task, node.id)
                if (task.state == "open") is node.ended:
                    return f"a task is {task.state} below one that ended"
                if await tx.left(node.id) != node.left and not node.ended:
                    return f"left is {await tx.left(node.id)}, expected {node.left}"
        return ""


def chain(node: Node | None) -> list[Node]:
    return [] if node is None else [node, *chain(node.parent)]


async def widenings(seed: int, trees: int, tally: Counter[str]) -> AsyncIterator[str]:
    """Grow trees of tasks, and yield what one of them has that its parent has not."""
    note("seed:", seed)
    pick = random.Random(seed)
    for number in range(trees):
        if number % PER_RIG == 0:
            rig = Rig()
            await rig.people()
        tree = Tree(rig, pick, tally)
        found = await tree.open(None)
        deepest = pick.choice((2, 3, 4, 4, 5))
        for _ in range(pick.randint(6, 14)):
            last = tree.nodes[-1] if pick.random() < 0.8 else pick.choice(tree.nodes)
            deeds: list[Any] = [tree.call, tree.call, tree.end if pick.random() < 0.15 else tree.wait]
            if last.depth < deepest:
                deeds += [tree.open] * 4
            found = found or await pick.choice(deeds)(last) or await tree.stored()
            if found:
                yield f"tree {number}: {found}"
                break
        await end_task(rig.world, rig.door, ALICE, tree.nodes[0].id, "done")
        tally[f"depth {max(node.depth for node in tree.nodes)}"] += 1


async def first(seed: int, trees: int, tally: Counter[str]) -> str | None:
    async for found in widenings(seed, trees, tally):
        return found
    return None


async def test_a_child_never_lives_longer_has_more_or_stands_deeper_and_ends_with_its_parent():
    tally: Counter[str] = Counter()
    assert await first(random.randrange(2**32), TREES, tally) is None
    note(dict(tally))
    assert sum(tally[f"depth {depth}"] for depth in (2, 3, 4)) >= 0.6 * TREES
    tried = (
        "opened",
        "permitted",
        "too_deep",
        "budget_spent",
        "task_ended",
        "ended by somebody",
        "ended with or below",
    )
    assert all(tally[what] >= TREES // 20 for what in tried), tally


def life(patch):
    right = opening._opened

    def planted(id, tx, caller, actor, wish, *more):
        return replace(right(id, tx, caller, actor, wish, *more), deadline=tx.now + wish.life)

    patch.setattr(opening, "_opened", planted)


def budget(patch):
    """A share that is made, and not taken from the parent."""
    right = memory.MemoryTransaction._moves

    def planted(self, event):
        moves = right(self, event)
        parent = getattr(event.value, "parent", None) if event.shared else None
        return {row: amount for row, amount in moves.items() if parent is None or row[1] != parent}

    patch.setattr(memory.MemoryTransaction, "_moves", planted)


def acts_on(patch):
    """A task that is asked whether it ended, and not whether its time is over."""
    patch.setattr(Task, "why_not_open", lambda task, now: None if task.state == "open" else "task_ended")


def depth(patch):
    patch.setattr(opening, "MAX_DEPTH", 9)


def ends_alone(patch):
    right = vars(ending)["end_tree"]

    async def planted(tx, by, id, reason):
        find = tx.find
        tx.find = lambda noun, **where: find(noun, **({**where, "parent": "nobody"} if "parent" in where else where))
        try:
            return await right(tx, by, id, reason)
        finally:
            del tx.find

    patch.setattr(ending, "end_tree", planted)


@pytest.mark.parametrize("plant", [life, budget, depth, ends_alone, acts_on])
async def test_a_planted_widening_is_found(monkeypatch, plant):
    plant(monkeypatch)
    found = await first(0, 1000, Counter())
    note(found)
    assert found is not None
