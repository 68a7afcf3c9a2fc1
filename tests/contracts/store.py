"""The contract of `Store` and `Transaction` (ports.py, INTERFACES 12). Every store passes every test here.

A module that runs it imports `*` and gives the fixture `store`: an empty store whose clock is the
fixture `clock`, an object with `at` (its moment) and `advance(seconds)`. Where bodies of transactions
overlap, what one read may be old when it writes; such a store says so by a fixture `overlaps` that is true.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from taskbound.core.call import Call
from taskbound.core.errors import BudgetSpent, Conflict, IllegalTransition, NotFound, Replayed
from taskbound.core.event import Kind
from taskbound.core.finding import Finding, Issued, Spot
from taskbound.core.grant import Condition, Grant, Value
from taskbound.core.identity import Registration, door
from taskbound.core.intent import Intent
from taskbound.core.lease import Lease, Recipe
from taskbound.core.task import Task
from taskbound.core.thing import advance

GATEWAY = door("example.org", "door/gateway", "main")
ELSEWHERE = door("example.org", "door/gateway", "other")


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def overlaps():
    return False


def task(id: str = "t" + "a" * 20, parent: Task | None = None, at: datetime | None = None, **fields) -> Task:
    opened = at or datetime(2026, 11, 24, 12, tzinfo=UTC)
    made = Task(
        id=id,
        org="main",
        actor="spiffe://example.org/agent/nightly",
        subject=None,
        intent=Intent(None, "an intent with ünïcode \u2028 in it", {"order_id": "4711"}),
        grants=(),
        opened=opened,
        deadline=opened + timedelta(minutes=10),
        due=opened + timedelta(minutes=10),
        handle="0" * 43 + id,
        root=parent.root if parent else id,
        parent=parent.id if parent else None,
        depth=parent.depth + 1 if parent else 0,
    )
    return advance(replace(made, **fields), Kind.TASK_OPENED)


def lease(task: Task, id: str = "l" + "a" * 20) -> Lease:
    made = Lease(
        id=id,
        org="main",
        instance="abcdef",
        task=task.id,
        target="shopdb",
        grant="reader",
        recipe=Recipe({"member_of": ("shop_reader",)}, "cut now"),
        expires=task.deadline,
        create_by=task.opened + timedelta(seconds=5),
        due=task.opened + timedelta(seconds=7),
    )
    return advance(made, Kind.LEASE_REQUESTED)


def call(task: Task, id: str = "c" + "a" * 20, labels: tuple[str, ...] = ()) -> Call:
    return Call(
        id, "main", task.id, task.root, "tools/call", "crm/refund", task.opened, labels=labels, state="permitted"
    )


async def test_what_is_recorded_is_what_is_read(store):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        event = await tx.record(Kind.TASK_OPENED, made, shared={"calls": 3}, note="x")
    async with store.transaction(GATEWAY) as tx:
        assert await tx.get(Task, made.id) == made
        assert await tx.left(made.id) == {"calls": 3}
    assert (event.kind, event.noun, event.id, event.by) == (Kind.TASK_OPENED, "task", made.id, GATEWAY.spiffe_id)


async def test_a_transaction_sees_what_it_recorded_itself(store):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 3})
        assert await tx.get(Task, made.id) == made
        assert await tx.find(Task, state="open") == [made]
        assert await tx.left(made.id) == {"calls": 3}
        await tx.record(Kind.CALL_PERMITTED, call(made, labels=("free_text",)), spent={"calls": 1})
        assert await tx.left(made.id) == {"calls": 2}
        assert await tx.labels(made.root) == {"free_text"}


async def test_a_block_that_raises_leaves_nothing(store):
    made = task()
    with pytest.raises(ZeroDivisionError):
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, made, shared={"calls": 3})
            await tx.once("proof", "x", tx.now)
            raise ZeroDivisionError
    async with store.transaction(GATEWAY) as tx:
        with pytest.raises(NotFound):
            await tx.get(Task, made.id)
        assert await tx.find(Task) == []
        assert await tx.left(made.id) == {}
        await tx.once("proof", "x", tx.now)


async def test_a_fact_follows_the_stored_state_or_is_refused(store):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made)
    stale = made
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_ENDED, advance(made, Kind.TASK_ENDED, due=None))
    async with store.transaction(GATEWAY) as tx:
        with pytest.raises(IllegalTransition):  # the writer believed that it was open
            await tx.record(Kind.TASK_SUSPENDED, advance(stale, Kind.TASK_SUSPENDED))
        with pytest.raises(IllegalTransition):  # it exists already
            await tx.record(Kind.TASK_OPENED, made)
        with pytest.raises(Conflict):  # the fact leads elsewhere
            await tx.record(Kind.TASK_CLOSED, replace(made, state="open"))
        assert (await tx.get(Task, made.id)).state == "ended"


async def test_another_organisations_ids_are_as_good_as_absent(store):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 3})
        await tx.once("proof", "x", tx.now)
    async with store.transaction(ELSEWHERE) as tx:
        with pytest.raises(NotFound) as foreign:
            await tx.get(Task, made.id)
        with pytest.raises(NotFound) as absent:
            await tx.get(Task, "t" + "z" * 20)
        assert str(foreign.value).replace(made.id, "") == str(absent.value).replace("t" + "z" * 20, "")
        assert await tx.find(Task) == []
        assert await tx.left(made.id) == {}
        await tx.once("proof", "x", tx.now)  # a value of another organisation's
        with pytest.raises(Conflict):
            await tx.record(Kind.TASK_ENDED, advance(made, Kind.TASK_ENDED))


async def test_find_gives_what_matches_and_is_due_in_order_of_ids(store, clock):
    first, second = task("t" + "a" * 20), task("t" + "b" * 20)
    later = task("t" + "c" * 20, at=clock.at + timedelta(hours=1))
    async with store.transaction(GATEWAY) as tx:
        for made in (later, second, first):
            await tx.record(Kind.TASK_OPENED, made)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.find(Task, state="open") == [first, second, later]
        assert await tx.find(Task, handle=second.handle) == [second]
        assert await tx.find(Task, due=first.deadline, state="open") == [first, second]
        assert await tx.find(Task, due=first.deadline - timedelta(microseconds=1)) == []
        assert await tx.find(Task, parent=None, state="ended") == []
        assert await tx.find(Task, parent=None, state="open") == [first, second, later]
        with pytest.raises(TypeError):
            await tx.find(Task, reason="x")
        await tx.record(Kind.TASK_ENDED, advance(first, Kind.TASK_ENDED, due=None))
        assert await tx.find(Task, due=later.deadline, state="open") == [second, later]


async def test_a_task_is_found_by_the_key_that_it_was_opened_with(store):
    text = f'\'asked\' "asked":"{"b" * 64}","request":""}}'
    told = Intent(None, text, {"asked": "b" * 64}, asked="a" * 64, request="c" * 64)
    keyed, other = replace(task(), intent=told), task("t" + "b" * 20)
    async with store.transaction(GATEWAY) as tx:
        for made in (keyed, other):
            await tx.record(Kind.TASK_OPENED, made)
        assert await tx.find(Task, asked="a" * 64) == [keyed]
    async with store.transaction(GATEWAY) as tx:
        assert await tx.find(Task, asked="a" * 64, state="open") == [keyed]
        assert await tx.find(Task, asked="b" * 64) == []
        assert await tx.find(Task, asked=None) == [other]


async def test_count_counts_what_find_finds(store):
    made = [task("t" + letter * 20) for letter in "abc"]
    async with store.transaction(GATEWAY) as tx:
        for one in made:
            await tx.record(Kind.TASK_OPENED, one)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_ENDED, advance(made[1], Kind.TASK_ENDED, due=None))
        assert [await tx.count(Task, state) for state in ("open", "ended", "closed")] == [2, 1, 0]
    async with store.transaction(replace(GATEWAY, org="other")) as tx:
        assert await tx.count(Task, "open") == 0


async def test_find_gives_a_page_behind_an_id(store):
    made = [task("t" + letter * 20) for letter in "abcd"]
    async with store.transaction(GATEWAY) as tx:
        for one in (made[2], made[0], made[3], made[1]):
            await tx.record(Kind.TASK_OPENED, one)
        await tx.record(Kind.TASK_ENDED, advance(made[1], Kind.TASK_ENDED, due=None))
    async with store.transaction(GATEWAY) as tx:
        assert [one.id for one in await tx.find(Task, limit=2)] == [made[0].id, made[1].id]
        assert [one.id for one in await tx.find(Task, after=made[1].id, limit=5)] == [made[2].id, made[3].id]
        assert [one.id for one in await tx.find(Task, state="open", after=made[0].id, limit=1)] == [made[2].id]
        assert await tx.find(Task, limit=0) == [] == await tx.find(Task, after=made[3].id)
        with pytest.raises(TypeError):
            await tx.find(Task, newest=True)


async def test_find_gives_the_newest_calls_first(store, clock):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made)
        for n, letter in enumerate("cab"):
            at = made.opened + timedelta(seconds=n // 2)  # two at one moment
            await tx.record(Kind.CALL_PERMITTED, replace(call(made, "c" + letter * 20), at=at))
    async with store.transaction(GATEWAY) as tx:
        found = await tx.find(Call, task=made.id, newest=True)
        assert [one.id[1] for one in found] == ["b", "a", "c"]
        assert [one.id[1] for one in await tx.find(Call, state="permitted", newest=True, limit=2)] == ["b", "a"]


async def test_every_noun_comes_back_as_it_went_in(store):
    condition = Condition("amount", "decimal", True, "<=", literal=Decimal("50.00"))
    grant = Grant("g0", "tools/call", "crm/refund", (condition,), ("note",), calls=3)
    bound: dict[str, Value] = {
        "max": Decimal("50"),
        "order_id": "4711",
        "to": ("a", "b"),
        "n": (1, 2),
        "flag": True,
        "limit": 1,
    }
    made = task(grants=(grant,), intent=Intent("refund-order", None, bound), act=("spiffe://example.org/agent/top",))
    human = Registration(
        "i" + "a" * 20, "main", "spiffe://example.org/human/alice", "human", "spiffe://example.org/human/alice",
        "", "", ("ops", "dev"), "unix", {"uid": 1000, "path": "/usr/bin/x"},
    )  # fmt: skip
    human = advance(human, Kind.IDENTITY_REGISTERED)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.IDENTITY_REGISTERED, human)
        await tx.record(Kind.TASK_OPENED, made, shared={"leases": 1})
        await tx.record(Kind.LEASE_REQUESTED, lease(made), spent={"leases": 1})
        asked = replace(call(made, labels=("free_text",)), code="", policy="0" * 64, grants=("g0", "g1"))
        await tx.record(Kind.CALL_PERMITTED, asked)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.get(Registration, human.id) == human
        assert await tx.get(Task, made.id) == made
        assert await tx.get(Call, asked.id) == asked
        assert await tx.get(Lease, lease(made).id) == lease(made)
        assert await tx.find(Registration, spiffe_id=human.spiffe_id) == [human]


async def test_a_budget_is_never_overspent(store):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 2, "g0#calls": 1})
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "a" * 20), spent={"calls": 1, "g0#calls": 1})
    async with store.transaction(GATEWAY) as tx:
        with pytest.raises(BudgetSpent):
            await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "b" * 20), spent={"calls": 1, "g0#calls": 1})
        assert await tx.left(made.id) == {"calls": 1, "g0#calls": 0}, "a refused fact took something"
        with pytest.raises(BudgetSpent):  # no row is spent
            await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "b" * 20), spent={"bytes": 1})
        await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "b" * 20), spent={"calls": 1})
        with pytest.raises(BudgetSpent):
            await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "c" * 20), spent={"calls": 1})


async def test_a_child_takes_its_share_from_its_parent_and_gives_the_rest_back(store):
    parent = task()
    child = task("t" + "b" * 20, parent)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, parent, shared={"calls": 5})
        await tx.record(Kind.TASK_OPENED, child, shared={"calls": 3})
        assert (await tx.left(parent.id), await tx.left(child.id)) == ({"calls": 2}, {"calls": 3})
        with pytest.raises(BudgetSpent):
            await tx.record(Kind.TASK_OPENED, task("t" + "c" * 20, parent), shared={"calls": 3})
        await tx.record(Kind.CALL_PERMITTED, call(child), spent={"calls": 1})
        await tx.record(Kind.TASK_ENDED, advance(child, Kind.TASK_ENDED, due=None))
        assert (await tx.left(parent.id), await tx.left(child.id)) == ({"calls": 4}, {"calls": 0})


async def test_a_refused_fact_leaves_nothing_even_when_the_body_goes_on(store):
    made = task()
    refused = call(made, labels=("secret",))
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 1})
        with pytest.raises(BudgetSpent):
            await tx.record(Kind.CALL_PERMITTED, refused, spent={"calls": 1, "bytes": 1})
        with pytest.raises(TypeError):
            await tx.record(Kind.CALL_PERMITTED, refused, shared={"calls": 1})
    async with store.transaction(GATEWAY) as tx:
        with pytest.raises(NotFound):
            await tx.get(Call, refused.id)
        assert (await tx.left(made.id), await tx.labels(made.root)) == ({"calls": 1}, frozenset())
        await tx.record(Kind.CALL_PERMITTED, refused, spent={"calls": 1})


async def test_racing_transactions_happen_one_after_the_other(store, overlaps):
    made = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 60})

    async def read_then_spend(n: int) -> int:
        async with store.transaction(GATEWAY) as tx:
            left: int = (await tx.left(made.id))["calls"]
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})
            rest: int = (await tx.left(made.id))["calls"]
            assert rest < left if overlaps else rest == left - 1
        return rest

    # Each has what is left after it to itself: nobody's spending is lost, whatever was read before.
    assert sorted(await asyncio.gather(*(read_then_spend(n) for n in range(60)))) == list(range(60))


async def test_racing_children_never_overspend_their_parent(store):
    parent = task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, parent, shared={"calls": 20})

    async def spend(n: int) -> bool:
        child = task(f"t{n:020}", parent)
        try:
            async with store.transaction(GATEWAY) as tx:
                await tx.record(Kind.TASK_OPENED, child, shared={"calls": 1})
            return True
        except BudgetSpent:
            return False

    won = await asyncio.gather(*(spend(n) for n in range(50)))
    async with store.transaction(GATEWAY) as tx:
        assert (sum(won), await tx.left(parent.id)) == (20, {"calls": 0})
        for child in await tx.find(Task, parent=parent.id):
            await tx.record(Kind.TASK_ENDED, advance(child, Kind.TASK_ENDED, due=None))
        assert await tx.left(parent.id) == {"calls": 20}, "the rest flows back"


async def test_a_busy_task_is_due_later(store):
    """A task with `idle` says so again when it is read, and is found when it is due (INTERFACES 3)."""
    made = task(idle=60)
    made = replace(made, due=made.due_after(made.opened))
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made)
    async with store.transaction(GATEWAY) as tx:
        (found,) = await tx.find(Task, due=made.opened + timedelta(seconds=60), state="open")
        assert found == made and found.idle == 60
        later = advance(found, Kind.TASK_EXTENDED, due=found.due_after(made.opened + timedelta(seconds=30)))
        await tx.record(Kind.TASK_EXTENDED, later)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.get(Task, made.id) == later
        assert await tx.find(Task, due=made.opened + timedelta(seconds=89), state="open") == []
        assert await tx.find(Task, due=made.opened + timedelta(seconds=90), state="open") == [later]


async def test_labels_only_grow_and_belong_to_the_tree(store):
    parent = task()
    child = task("t" + "b" * 20, parent)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, parent)
        await tx.record(Kind.TASK_OPENED, child)
        await tx.record(Kind.CALL_PERMITTED, call(child, labels=("free_text",)))
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.CALL_PERMITTED, call(parent, "c" + "b" * 20, labels=("secret",)))
    async with store.transaction(GATEWAY) as tx:
        assert await tx.labels(parent.root) == {"free_text", "secret"}
        assert await tx.labels("t" + "z" * 20) == frozenset()


async def test_a_one_time_value_works_once(store):
    async with store.transaction(GATEWAY) as tx:
        await tx.once("proof", "x", tx.now + timedelta(minutes=1))
        await tx.once("join", "x", tx.now + timedelta(minutes=1))
    for _ in range(2):
        with pytest.raises(Replayed):
            async with store.transaction(GATEWAY) as tx:
                await tx.once("proof", "x", tx.now + timedelta(minutes=1))


async def test_racing_one_time_values_have_one_winner(store):
    async def use() -> bool:
        try:
            async with store.transaction(GATEWAY) as tx:
                await tx.once("proof", "x", tx.now)
            return True
        except Replayed:
            return False

    assert sum(await asyncio.gather(*(use() for _ in range(100)))) == 1


async def test_time_comes_with_the_transaction_and_never_runs_back(store, clock):
    async with store.transaction(GATEWAY) as tx:
        before = tx.now
    clock.advance(-3600)
    async with store.transaction(GATEWAY) as tx:
        assert tx.now >= before
    clock.advance(7200)
    async with store.transaction(GATEWAY) as tx:
        assert tx.now > before
        assert tx.now.tzinfo is not None


async def test_a_body_awaits_nothing_but_its_transaction(store):
    with pytest.raises(RuntimeError, match="awaited"):
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_OPENED, task())
            await asyncio.sleep(0)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.find(Task) == []


async def test_a_body_that_strays_harms_nobody_else(store):
    made = task()
    woken = asyncio.Event()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared={"calls": 10})

    async def stray() -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "s" * 20), spent={"calls": 1})
            await woken.wait()
            await tx.record(Kind.CALL_PERMITTED, call(made, "c" + "r" * 20), spent={"calls": 1})

    async def member(n: int) -> None:
        async with store.transaction(GATEWAY) as tx:
            await tx.record(Kind.CALL_PERMITTED, call(made, f"c{n:020}"), spent={"calls": 1})

    straying = asyncio.create_task(stray())
    await asyncio.gather(*(member(n) for n in range(4)))
    await member(4)
    woken.set()
    with pytest.raises(RuntimeError, match="awaited"):
        await straying
    async with store.transaction(GATEWAY) as tx:
        assert await tx.left(made.id) == {"calls": 5}
        assert {found.id for found in await tx.find(Call, task=made.id)} == {f"c{n:020}" for n in range(5)}


def finding(id: str = "f" + "a" * 20, **fields) -> Finding:
    made = Finding(
        id=id,
        org="main",
        seen_as="0123456789ab",
        case="password-in-connection-url",
        severity="high",
        says="a credential lies in the open",
        subjects=("postgresql-password …ab12",),
        places=(Spot("/srv/shop/.env", 3),),
        issued=(Issued("0" * 16, "postgresql-password", "postgresql://localhost:5432", "shop"),),
        owner="kaya@example.org",
        next="taskbound fix",
        raised=datetime(2026, 11, 24, 12, tzinfo=UTC),
    )
    return advance(replace(made, **fields), Kind.FINDING_RAISED)


async def test_a_finding_is_raised_accepted_until_a_moment_raised_again_and_closed(store, clock):
    made, until = finding(), clock.at + timedelta(days=1)
    accepted = advance(made, Kind.FINDING_ACCEPTED, accepted_by="spiffe://example.org/human/kaya", due=until)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.FINDING_RAISED, made)
        await tx.record(Kind.FINDING_RAISED, finding("f" + "b" * 20, seen_as="b" * 12))
    async with store.transaction(GATEWAY) as tx:
        assert await tx.find(Finding, seen_as=made.seen_as) == [made]
        await tx.record(Kind.FINDING_ACCEPTED, accepted)
    async with store.transaction(GATEWAY) as tx:
        assert await tx.find(Finding, accepted_by=accepted.accepted_by) == [accepted]
        assert await tx.find(Finding, state="accepted", due=until - timedelta(seconds=1)) == []
        assert await tx.find(Finding, state="accepted", due=until) == [accepted]
        with pytest.raises(IllegalTransition):
            await tx.record(Kind.TASK_ENDED, replace(accepted, state="ended"))
        again = advance(accepted, Kind.FINDING_RAISED, accepted_by="", due=None)
        await tx.record(Kind.FINDING_RAISED, again)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.FINDING_CLOSED, advance(await tx.get(Finding, made.id), Kind.FINDING_CLOSED))
        with pytest.raises(IllegalTransition):
            await tx.record(Kind.FINDING_ACCEPTED, replace(accepted, reason="late"))
    async with store.transaction(GATEWAY) as tx:
        assert (await tx.get(Finding, made.id)).state == "closed"
        assert await tx.count(Finding, "raised") == 1
