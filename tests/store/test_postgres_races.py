"""What several nodes do to one database at once: two stores, each with connections of its own (INTERFACES 12).

Interleavings are told step by step: a transaction that is `held` may wait for the test, which the
store's own would not. What closes each race is taken away once, and the race is seen (controls).
"""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from taskbound.core.errors import BudgetSpent, Conflict, Replayed, StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Registration
from taskbound.core.lease import Lease, fall_due
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import end_tree
from taskbound.steps.attest_workload import attest_workload
from taskbound.store.postgres import facts, sql
from taskbound.store.postgres.log import PostgresLog, _held
from tests.contracts.log import LANE, state
from tests.contracts.store import GATEWAY, call, clock, lease, task  # noqa: F401
from tests.postgres.server import server  # noqa: F401
from tests.profile import trials
from tests.store.postgres_database import database, store  # noqa: F401
from tests.store.stored import check_postgres

FIRST, SECOND = "c" + "a" * 20, "c" + "b" * 20


@pytest.fixture
async def nodes(store, database, clock):  # noqa: F811
    """Two nodes of one database."""
    other = await database.open(clock)
    yield store, other
    await other.close()


@asynccontextmanager
async def held(store, opener=GATEWAY):  # noqa: F811
    """A transaction that is not taken away from the test when it waits for something else."""
    tx = store.transaction(opener)
    tx._block._watch = lambda: None
    async with tx:
        yield tx


async def opened(store, made: Task | None = None, **shared: int) -> Task:  # noqa: F811
    made = made or task()
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.TASK_OPENED, made, shared=shared)
    return made


async def permit(tx, made, id: str = FIRST) -> None:
    await tx.record(Kind.CALL_PERMITTED, call(made, id), spent={"calls": 1})


async def end(store, made: Task) -> list[Task]:  # noqa: F811
    async with store.transaction(GATEWAY) as tx:
        ended: list[Task] = await end_tree(tx, GATEWAY, made.id, "done")
        return ended


async def waits(work) -> "asyncio.Task[Any]":
    """Start work that has to wait for another."""
    started = asyncio.create_task(work)
    done, _ = await asyncio.wait([started], timeout=0.2)
    assert not done, f"it did not wait: {started.result() if not started.exception() else started.exception()!r}"
    return started


def without(monkeypatch, name: str, lock: str = " FOR NO KEY UPDATE") -> None:
    """Take the lock out of a statement."""
    statement = getattr(sql, name)
    if isinstance(statement, dict):
        monkeypatch.setattr(sql, name, {noun: text.replace(lock, "") for noun, text in statement.items()})
    else:
        monkeypatch.setattr(sql, name, statement.replace(lock, ""))


async def kinds(database) -> list[str]:  # noqa: F811
    async with database.reading() as at:
        return [row["kind"] for row in await at.fetch("SELECT kind FROM events ORDER BY id")]


# --- budgets -----------------------------------------------------------------------------------------


async def test_children_at_two_nodes_never_overspend_their_parent(nodes, database):  # noqa: F811
    parent = await opened(nodes[0], calls=20)

    async def spend(n: int) -> bool:
        try:
            await opened(nodes[n % 2], task(f"t{n:020}", parent), calls=1)
            return True
        except BudgetSpent:
            return False

    won = await asyncio.gather(*(spend(n) for n in range(50)))
    assert sum(won) == 20
    children = [task(f"t{n:020}", parent) for n, one in enumerate(won) if one]
    assert (await check_postgres(database)).budgets["main", parent.id, "calls"] == 0
    await asyncio.gather(*(end(nodes[n % 2], child) for n, child in enumerate(children)))
    assert (await check_postgres(database)).budgets["main", parent.id, "calls"] == 20, "the rest flows back"


async def race_for_the_last(nodes) -> tuple[int, int]:
    """Callers and children at two nodes want 50 of 20. Return how many had one, and what is left."""
    made = await opened(nodes[0], calls=20)

    async def want(n: int) -> bool:
        try:
            if n % 5 == 0:
                await opened(nodes[n % 2], task(f"t{n:020}", made), calls=1)
            else:
                async with nodes[n % 2].transaction(GATEWAY) as tx:
                    await permit(tx, made, f"c{n:020}")
            return True
        except BudgetSpent:
            return False

    won = sum(await asyncio.gather(*(want(n) for n in range(50))))
    async with nodes[0].transaction(GATEWAY) as tx:
        return won, (await tx.left(made.id))["calls"]


async def test_callers_and_children_at_two_nodes_never_overspend(nodes, database):  # noqa: F811
    assert await race_for_the_last(nodes) == (20, 0)
    await check_postgres(database)


async def test_control_without_the_lock_on_a_budget_who_reads_it_believes_too_much(nodes, monkeypatch):
    without(monkeypatch, "LOCK_BUDGETS")
    with pytest.raises(Exception, match="CheckViolation"):  # the table's own condition is the second line
        await race_for_the_last(nodes)


# --- ending against the rest ---------------------------------------------------------------------------


async def call_after_the_end(nodes) -> None:
    """A call is decided while its task is open; the task ends; only then the call is recorded."""
    made = await opened(nodes[0], calls=5)
    async with held(nodes[0]) as tx:
        assert (await tx.get(Task, made.id)).state == "open"
        await end(nodes[1], made)
        await permit(tx, made)


async def test_a_call_that_was_decided_before_the_end_and_comes_after_it_spends_nothing(nodes, database):  # noqa: F811
    with pytest.raises(BudgetSpent, match=r"is ended: nothing of it is spent any more"):
        await call_after_the_end(nodes)
    assert await kinds(database) == ["task.opened", "task.ended"]
    await check_postgres(database)


async def test_control_without_its_condition_a_call_is_permitted_after_the_end(nodes, monkeypatch, database):  # noqa: F811
    needs = facts._needs
    monkeypatch.setattr(facts, "_needs", lambda event, sources: (needs(event, sources)[0], False))
    await call_after_the_end(nodes)
    assert await kinds(database) == ["task.opened", "task.ended", "call.permitted"]


async def test_a_call_that_spends_already_is_before_the_end(nodes, database):  # noqa: F811
    made = await opened(nodes[0], calls=5)
    async with held(nodes[0]) as tx:
        await permit(tx, made)
        ended = await waits(end(nodes[1], made))
    assert [one.id for one in await ended] == [made.id]
    assert await kinds(database) == ["task.opened", "call.permitted", "task.ended"]


async def test_control_without_the_lock_the_end_overtakes_a_call(nodes, monkeypatch, database):  # noqa: F811
    without(monkeypatch, "LOCK_BUDGETS")
    made = await opened(nodes[0], calls=5)
    with pytest.raises(AssertionError, match="it did not wait"):
        async with held(nodes[0]) as tx:
            await permit(tx, made)
            await waits(end(nodes[1], made))


@pytest.mark.parametrize("kind", [Kind.TASK_ENDED, Kind.TASK_SUSPENDED])
async def test_a_call_waits_for_the_end_that_is_on_its_way(nodes, database, kind):  # noqa: F811
    made = await opened(nodes[0], calls=5)

    async def act() -> None:
        async with nodes[1].transaction(GATEWAY) as tx:
            assert (await tx.get(Task, made.id)).state == "open", "what is not committed is not seen"
            await permit(tx, made)

    async with held(nodes[0]) as tx:
        await tx.record(kind, advance(await tx.get(Task, made.id, lock=True), kind))
        asked = await waits(act())
    with pytest.raises(BudgetSpent):
        await asked
    assert await kinds(database) == ["task.opened", str(kind)]


async def test_calls_of_one_task_do_not_wait_for_its_lock(nodes):
    """An opener or an approval that holds the task stops no call."""
    made = await opened(nodes[0], calls=5)
    async with held(nodes[0]) as tx:
        await tx.get(Task, made.id, lock=True)
        async with nodes[1].transaction(GATEWAY) as other:
            await permit(other, made)


async def open_below_an_end(nodes) -> "asyncio.Task[list[Task]]":
    """Who opens has the parent's lock; who ends the parent comes meanwhile."""
    parent = await opened(nodes[0], calls=5)
    async with held(nodes[0]) as tx:
        assert (await tx.get(Task, parent.id, lock=True)).state == "open"
        ended = await waits(end(nodes[1], parent))
        await tx.record(Kind.TASK_OPENED, task("t" + "b" * 20, parent), shared={"calls": 1})
    return ended


async def test_the_end_of_a_task_finds_the_child_that_was_being_opened(nodes, database):  # noqa: F811
    ended = await (await open_below_an_end(nodes))
    assert [one.id for one in ended] == ["t" + "b" * 20, "t" + "a" * 20]
    assert {thing["state"] for (_, noun, _), thing in (await check_postgres(database)).things.items()} == {"ended"}


async def test_control_without_the_lock_a_child_outlives_its_parent(nodes, monkeypatch, database):  # noqa: F811
    without(monkeypatch, "LOCK_TREE")
    parent = await opened(nodes[0])
    async with held(nodes[0]) as tx:
        assert (await tx.get(Task, parent.id, lock=True)).state == "open"
        await end(nodes[1], parent)
        await tx.record(Kind.TASK_OPENED, task("t" + "b" * 20, parent))
    states = {id: thing["state"] for (_, _, id), thing in (await check_postgres(database)).things.items()}
    assert states == {"t" + "a" * 20: "ended", "t" + "b" * 20: "open"}


async def test_who_opens_or_activates_after_the_end_began_sees_it(nodes):
    made = await opened(nodes[0])

    async def look() -> str:
        async with nodes[1].transaction(GATEWAY) as tx:
            state: str = (await tx.get(Task, made.id, lock=True)).state
            return state

    async with held(nodes[0]) as tx:
        await end_tree(tx, GATEWAY, made.id, "done")
        looking = await waits(look())
    assert await looking == "ended"


async def test_a_lease_that_a_lane_is_at_stops_no_end(nodes, database, clock):  # noqa: F811
    made = await opened(nodes[0], leases=1)
    login = lease(made)
    async with nodes[0].transaction(GATEWAY) as tx:
        await tx.record(Kind.LEASE_REQUESTED, login, spent={"leases": 1})
    async with held(nodes[0]) as tx:  # the lane
        await tx.record(Kind.LEASE_FELL_DUE, fall_due(await tx.get(Lease, login.id, lock=True), tx.now))
        ended = await waits(end(nodes[1], made))
    assert [one.id for one in await ended] == [made.id]
    assert (await kinds(database)).count("lease.fell_due") == 1
    await check_postgres(database)


async def end_a_branch_while_the_tree_ends(nodes) -> list[Task]:
    """Who ends the tree has ended a leaf, and so holds the root's budget, which who ends the branch needs."""
    top = await opened(nodes[0], calls=10)
    await opened(nodes[0], task("t" + "b" * 20, top), calls=1)
    branch = await opened(nodes[0], task("t" + "c" * 20, top), calls=1)
    async with held(nodes[0]) as tx:
        read = await tx.get(Task, branch.id, lock=True)
        ending = await waits(end(nodes[1], top))
        await tx.record(Kind.TASK_ENDED, advance(read, Kind.TASK_ENDED, due=None))
    ended: list[Task] = await ending
    return ended


async def test_who_ends_a_branch_and_who_ends_the_tree_do_not_wait_for_each_other(nodes, database):  # noqa: F811
    ended = await end_a_branch_while_the_tree_ends(nodes)
    assert [one.id for one in ended] == ["t" + "b" * 20, "t" + "a" * 20]
    await check_postgres(database)


async def test_control_without_the_roots_lock_they_do(nodes, monkeypatch):
    monkeypatch.setattr(sql, "LOCK_TREE", sql.LOCK[Task])
    with pytest.raises(Conflict, match="at this moment"):
        await end_a_branch_while_the_tree_ends(nodes)


async def test_ends_from_everywhere_in_a_tree_do_not_wait_in_a_circle(nodes, database):  # noqa: F811
    for round in range(trials(40, 6)):
        top = await opened(nodes[0], task(f"t{round:03}0"), calls=1000)
        tree = [top]
        for n in range(1, 7):
            above = tree[(n - 1) // 2]
            tree.append(await opened(nodes[0], task(f"t{round:03}{n}", above), calls=100 if n < 3 else 8))

        async def act(n: int, tree=tree) -> None:
            try:
                async with nodes[n % 2].transaction(GATEWAY) as tx:
                    await permit(tx, tree[n], f"c{tree[n].id}")
            except BudgetSpent:
                pass

        outcomes = await asyncio.gather(
            *(end(nodes[n % 2], one) for n, one in enumerate(reversed(tree))),
            *(act(n) for n in range(7)),
            return_exceptions=True,
        )
        assert [one for one in outcomes if isinstance(one, BaseException)] == []
    held_now = await check_postgres(database)
    assert {thing["state"] for (_, noun, _), thing in held_now.things.items() if noun == "task"} == {"ended"}


async def test_no_lease_that_is_asked_for_while_its_task_ends_is_missed(nodes):
    """It is committed before the end, so it is due with it; nobody waits until it would have been given up."""
    made, other, asked = await opened(nodes[0], leases=5), nodes[1], list[str]()
    async with held(nodes[0]) as tx:
        find = tx.find

        async def meanwhile(noun, **where):
            found = await find(noun, **where)
            id = f"l{len(asked):020}"
            with suppress(StoreUnavailable, BudgetSpent):  # it has to wait for the end, where it comes too late
                async with other.transaction(GATEWAY) as asks:
                    await asks.query("SET lock_timeout = 50")
                    await asks.record(Kind.LEASE_REQUESTED, lease(made, id), spent={"leases": 1})
                asked.append(id)
            return found

        tx.find = meanwhile
        await end_tree(tx, GATEWAY, made.id, "done")
    async with other.transaction(GATEWAY) as tx:
        assert (await tx.get(Task, made.id)).state == "ended"
        assert asked and [(await tx.get(Lease, id)).state for id in asked] == len(asked) * ["revoking"]


# --- what is read with a task --------------------------------------------------------------------------


async def test_what_is_known_from_before_a_lock_is_read_again_after_it(nodes):
    made = await opened(nodes[0], calls=5)
    async with held(nodes[0]) as tx:
        before = await tx.get(Task, made.id)
        async with nodes[1].transaction(GATEWAY) as other:
            await other.record(Kind.CALL_PERMITTED, call(made, labels=("free_text",)), spent={"calls": 1})
        assert (await tx.left(made.id), await tx.labels(made.id)) == ({"calls": 5}, frozenset()), "one look"
        await tx.get(Task, made.id, lock=True)
        assert (await tx.left(made.id), await tx.labels(made.id)) == ({"calls": 4}, {"free_text"})
        assert before == await tx.get(Task, made.id)


async def change_from_what_was_read_before(nodes) -> None:
    """The body read the parent; it is changed elsewhere; then the child is read, and with it the parent anew."""
    parent = await opened(nodes[0])
    child = await opened(nodes[0], task("t" + "b" * 20, parent))
    async with held(nodes[0]) as tx:
        (read,) = await tx.find(Task, state="open", limit=1)
        assert read == parent
        later = parent.deadline + timedelta(minutes=1)
        async with nodes[1].transaction(GATEWAY) as other:
            got = await other.get(Task, parent.id, lock=True)
            await other.record(Kind.TASK_EXTENDED, advance(got, Kind.TASK_EXTENDED, deadline=later))
        await tx.get(Task, child.id)
        await tx.record(Kind.TASK_EXTENDED, advance(read, Kind.TASK_EXTENDED, reason="over what it never saw"))


async def test_what_is_read_beside_a_task_lets_nobody_write_over_what_they_never_saw(nodes, database):  # noqa: F811
    with pytest.raises(Conflict, match="changed meanwhile"):
        await change_from_what_was_read_before(nodes)
    await check_postgres(database)


async def test_who_is_read_beside_a_task_is_not_who_the_body_looked_at(nodes, database):  # noqa: F811
    alice = await registered(nodes[0])
    other = await opened(nodes[0], task("t" + "c" * 20, actor=alice.spiffe_id))
    with pytest.raises(Conflict, match="changed meanwhile"):
        async with held(nodes[0]) as tx:
            (read,) = await tx.find(Registration, owner=alice.spiffe_id)
            assert read.is_live
            await suspend(nodes[1], alice)
            await tx.get(Task, other.id)
            await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))
    assert (await kinds(database)).count("task.opened") == 1


# --- who a task is for -------------------------------------------------------------------------------


async def registered(store, when: dict[str, str | int] | None = None) -> Registration:  # noqa: F811
    alice = "spiffe://example.org/human/alice"
    made = Registration("i" + "a" * 20, "main", alice, "human", alice, "", "", (), "unix", when or {})
    made = advance(made, Kind.IDENTITY_REGISTERED)
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.IDENTITY_REGISTERED, made)
    return made


async def suspend(store, known: Registration) -> list[Task]:  # noqa: F811
    """As the step does it: first the name, then what it acts in."""
    async with store.transaction(GATEWAY) as tx:
        await tx.record(Kind.IDENTITY_SUSPENDED, advance(known, Kind.IDENTITY_SUSPENDED))
        found = await tx.find(Task, subject=known.spiffe_id, state="open")
        return [one for task in found for one in await end_tree(tx, GATEWAY, task.id, "suspended")]


async def open_for_who_is_suspended_meanwhile(nodes) -> None:
    alice = await registered(nodes[0])
    async with held(nodes[0]) as tx:
        (read,) = await tx.find(Registration, spiffe_id=alice.spiffe_id)
        assert read.is_live
        assert await suspend(nodes[1], alice) == []
        await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))


async def test_no_task_is_opened_for_who_is_suspended_meanwhile(nodes, database):  # noqa: F811
    with pytest.raises(Conflict, match="changed meanwhile"):
        await open_for_who_is_suspended_meanwhile(nodes)
    assert await kinds(database) == ["identity.registered", "identity.suspended"]


async def delegate_to_who_is_suspended_meanwhile(nodes) -> None:
    """As `open_task` does it: the tree is held, the actor read."""
    parent, alice = await opened(nodes[0], calls=5), await registered(nodes[0])
    async with held(nodes[0]) as tx:
        await tx.get(Task, parent.id, lock=True)
        (read,) = await tx.find(Registration, spiffe_id=alice.spiffe_id)
        assert read.is_live
        assert await suspend(nodes[1], alice) == []
        child = replace(task("t" + "b" * 20, parent), actor=alice.spiffe_id)
        await tx.record(Kind.TASK_OPENED, child, shared={"calls": 1})


async def test_who_catches_the_refusal_and_goes_on_is_refused_again(nodes, database):  # noqa: F811
    alice = await registered(nodes[0])
    async with held(nodes[0]) as tx:
        await tx.find(Registration, spiffe_id=alice.spiffe_id)
        await suspend(nodes[1], alice)
        for _ in range(2):
            with pytest.raises(Conflict, match="changed meanwhile"):
                await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))
    assert "task.opened" not in await kinds(database)


async def test_nothing_is_delegated_to_who_is_suspended_meanwhile(nodes, database):  # noqa: F811
    with pytest.raises(Conflict, match="changed meanwhile"):
        await delegate_to_who_is_suspended_meanwhile(nodes)
    assert await kinds(database) == ["task.opened", "identity.registered", "identity.suspended"]


async def test_who_delegates_waits_for_nobody_who_suspends(nodes, database):  # noqa: F811
    """Else the two could wait for each other: one holds the tree, the other the name, and each wants both."""
    parent, alice = await opened(nodes[0], calls=5), await registered(nodes[0])
    async with held(nodes[1]) as suspends:
        await suspends.record(Kind.IDENTITY_SUSPENDED, advance(alice, Kind.IDENTITY_SUSPENDED))
        with pytest.raises(Conflict, match="changed meanwhile"):
            async with asyncio.timeout(1), held(nodes[0]) as tx:
                await tx.get(Task, parent.id, lock=True)
                await tx.find(Registration, spiffe_id=alice.spiffe_id)
                child = replace(task("t" + "b" * 20, parent), actor=alice.spiffe_id)
                await tx.record(Kind.TASK_OPENED, child, shared={"calls": 1})
        await end_tree(suspends, GATEWAY, parent.id, "suspended")


async def test_control_without_holding_them_a_task_is_open_for_who_is_suspended(nodes, monkeypatch, database):  # noqa: F811
    async def nobody(self, task, by):
        pass

    monkeypatch.setattr(facts.PostgresTransaction, "_hold_people", nobody)
    await open_for_who_is_suspended_meanwhile(nodes)
    assert await kinds(database) == ["identity.registered", "identity.suspended", "task.opened"]


async def attest(store) -> None:  # noqa: F811
    """As each request of a process does that is attested: a fact that changes nothing of the registration."""
    facts = Facts("unix", {"uid": 1000})
    world: Any = SimpleNamespace(store=store)
    await attest_workload(world, GATEWAY, Claim("main", facts=facts))


async def test_a_process_that_asks_twice_at_once_is_attested_twice(nodes):
    await registered(nodes[0], when={"uid": 1000})
    await asyncio.gather(*(attest(nodes[n % 2]) for n in range(8)))


async def test_who_is_only_attested_meanwhile_has_its_task_opened(nodes, database):  # noqa: F811
    alice = await registered(nodes[0], when={"uid": 1000})
    async with held(nodes[0]) as tx:
        await tx.find(Registration, spiffe_id=alice.spiffe_id)
        await attest(nodes[1])
        await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))
    async with held(nodes[1]) as slow:  # and who is being attested is waited for
        (known,) = await slow.find(Registration, spiffe_id=alice.spiffe_id)
        await slow.record(Kind.IDENTITY_ATTESTED, advance(known, Kind.IDENTITY_ATTESTED))
        async with held(nodes[0]) as tx:
            await tx.find(Registration, spiffe_id=alice.spiffe_id)
            opening = await waits(tx.record(Kind.TASK_OPENED, task("t" + "b" * 20, subject=alice.spiffe_id)))
            await slow._block._commit(slow._block._link)
            slow._block._begun = False
            await opening
    assert (await kinds(database)).count("task.opened") == 2


async def test_who_is_registered_anew_meanwhile_has_no_task_opened(nodes, database):  # noqa: F811
    alice = await registered(nodes[0])
    with pytest.raises(Conflict, match="changed meanwhile"):
        async with held(nodes[0]) as tx:
            await tx.find(Registration, spiffe_id=alice.spiffe_id)
            async with nodes[1].transaction(GATEWAY) as other:
                anew = advance(replace(alice, groups=("ops",)), Kind.IDENTITY_REGISTERED)
                await other.record(Kind.IDENTITY_REGISTERED, anew)
            await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))
    async with held(nodes[0]) as tx:  # by the same transaction it may be
        (known,) = await tx.find(Registration, spiffe_id=alice.spiffe_id)
        await tx.record(Kind.IDENTITY_REGISTERED, advance(replace(known, groups=()), Kind.IDENTITY_REGISTERED))
        await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))
    assert "task.opened" in await kinds(database)


async def test_who_suspends_finds_the_task_that_was_being_opened(nodes):
    alice = await registered(nodes[0])
    async with held(nodes[0]) as tx:
        await tx.find(Registration, spiffe_id=alice.spiffe_id)
        await tx.record(Kind.TASK_OPENED, task(subject=alice.spiffe_id))
        suspending = await waits(suspend(nodes[1], alice))
    assert [one.state for one in await suspending] == ["ended"]


async def test_of_two_nodes_that_register_one_name_one_does(nodes):
    first = await registered(nodes[0])
    with pytest.raises(Conflict):
        async with nodes[1].transaction(GATEWAY) as tx:
            await tx.record(Kind.IDENTITY_REGISTERED, replace(first, id="i" + "b" * 20))


# --- conditional writes ------------------------------------------------------------------------------


async def test_of_many_who_cut_one_lease_one_records_it(nodes, database):  # noqa: F811
    made = await opened(nodes[0], leases=1)
    login = lease(made)
    async with nodes[0].transaction(GATEWAY) as tx:
        await tx.record(Kind.LEASE_REQUESTED, login, spent={"leases": 1})
        due = fall_due(login, tx.now)
        await tx.record(Kind.LEASE_FELL_DUE, due)

    async def cut(n: int) -> bool:
        try:
            async with nodes[n % 2].transaction(GATEWAY) as tx:
                await tx.record(Kind.LEASE_CUT, advance(due, Kind.LEASE_CUT, cut=tx.now))
            return True
        except Conflict:
            return False

    assert sum(await asyncio.gather(*(cut(n) for n in range(20)))) == 1
    assert (await kinds(database)).count("lease.cut") == 1


async def extend_what_was_extended(nodes, *, forget: bool) -> Task:
    """Two read a task and write it; the second read it before the first wrote."""
    made = await opened(nodes[0])
    async with held(nodes[0]) as tx:
        read = await tx.get(Task, made.id)
        async with nodes[1].transaction(GATEWAY) as other:
            longer = advance(made, Kind.TASK_EXTENDED, deadline=made.deadline + timedelta(minutes=5))
            await other.record(Kind.TASK_EXTENDED, longer)
        if forget:
            tx._reading.seen.clear()
        await tx.record(Kind.TASK_EXTENDED, advance(read, Kind.TASK_EXTENDED, reason="mine"))
    return longer


async def test_nobody_writes_over_what_they_never_saw(nodes, database):  # noqa: F811
    with pytest.raises(Conflict, match="changed meanwhile"):
        await extend_what_was_extended(nodes, forget=False)
    (thing,) = (await check_postgres(database)).things.values()
    assert (thing["deadline"] - thing["opened"], thing["reason"]) == (15 * 60_000_000, "")


async def test_control_without_the_version_a_change_is_lost(nodes, database):  # noqa: F811
    await extend_what_was_extended(nodes, forget=True)
    (thing,) = (await check_postgres(database)).things.values()
    assert (thing["deadline"] - thing["opened"], thing["reason"]) == (10 * 60_000_000, "mine")


async def test_facts_about_one_thing_have_their_rows_in_the_order_of_their_commits(nodes, database):  # noqa: F811
    """A row drawn before the wait for another would come before what it follows."""
    made = await opened(nodes[0])

    async def suspend() -> None:
        async with nodes[1].transaction(GATEWAY) as tx:
            await tx.record(Kind.TASK_SUSPENDED, advance(made, Kind.TASK_SUSPENDED))

    async with held(nodes[0]) as tx:
        read = await tx.get(Task, made.id, lock=True)
        suspended = await waits(suspend())
        await tx.record(Kind.TASK_EXTENDED, advance(read, Kind.TASK_EXTENDED, reason="longer"))
    await suspended
    assert await kinds(database) == ["task.opened", "task.extended", "task.suspended"]
    await check_postgres(database)


async def test_who_waits_in_a_circle_is_told_so_and_the_other_goes_on(nodes, database):  # noqa: F811
    made = await opened(nodes[0], leases=2)
    logins = [lease(made, "l" + letter * 20) for letter in "ab"]
    async with nodes[0].transaction(GATEWAY) as tx:
        for login in logins:
            await tx.record(Kind.LEASE_REQUESTED, login, spent={"leases": 1})

    async def both(node, order) -> None:
        async with held(node) as tx:
            first = await tx.get(Lease, order[0].id, lock=True)
            await asyncio.sleep(0.1)
            await tx.get(Lease, order[1].id, lock=True)
            await tx.record(Kind.LEASE_FELL_DUE, fall_due(first, tx.now))

    outcomes = await asyncio.gather(both(nodes[0], logins), both(nodes[1], logins[::-1]), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(None), Conflict}
    assert (await kinds(database)).count("lease.fell_due") == 1
    await check_postgres(database)


# --- one-time values ---------------------------------------------------------------------------------


async def test_a_one_time_value_is_seen_at_every_node(nodes):
    async def use(n: int) -> bool:
        try:
            async with nodes[n % 2].transaction(GATEWAY) as tx:
                await tx.once("proof", "x", tx.now + timedelta(minutes=1))
            return True
        except Replayed:
            return False

    assert sum(await asyncio.gather(*(use(n) for n in range(60)))) == 1


async def test_a_one_time_value_of_who_gave_up_is_free_again(nodes):
    async def use() -> None:
        async with nodes[1].transaction(GATEWAY) as tx:
            await tx.once("proof", "x", tx.now + timedelta(minutes=1))

    with pytest.raises(ZeroDivisionError):
        async with held(nodes[0]) as tx:
            await tx.once("proof", "x", tx.now + timedelta(minutes=1))
            waiting = await waits(use())
            raise ZeroDivisionError
    await waiting
    with pytest.raises(Replayed):
        await use()


# --- the log -----------------------------------------------------------------------------------------


async def test_what_commits_late_gets_its_place_all_the_same(nodes):
    """D13: its row is older than one that has a place already."""
    log = PostgresLog(nodes[1])
    async with held(nodes[0]) as tx:
        await tx.record(Kind.NODE_STARTED, id="late")
        await state(nodes[1], 1)
        facts = await log.unsealed(LANE, 10)
        assert [fact.header.id for fact in facts] == ["n0"]
        await log.extend(LANE, 0, facts, {}, after=None)
    (late,) = await log.unsealed(LANE, 10)
    assert (late.header.id, late.row < facts[0].row) == ("late", True)
    await log.extend(LANE, 1, [late], {}, after=None)
    assert [fact.header.id for fact in await log.read(LANE, 0, 10)] == ["n0", "late"]


async def test_two_sealers_give_each_event_one_place(nodes, database):  # noqa: F811
    count = trials(1000, 120)
    lost = 0

    async def record_all(node, name: str) -> None:
        for n in range(count // 2):
            async with node.transaction(LANE) as tx:
                await tx.record(Kind.NODE_STARTED, id=f"{name}{n}")

    async def seal(node) -> None:
        nonlocal lost
        log = PostgresLog(node)
        while await log.appended(LANE) < count:
            facts, start = await log.unsealed(LANE, 7), await log.appended(LANE)
            try:
                await log.extend(LANE, start, facts, {}, after=None)
            except Conflict:
                lost += 1

    await asyncio.gather(*(record_all(node, name) for node, name in zip(nodes, "ab", strict=True)), *map(seal, nodes))
    facts = await PostgresLog(nodes[0]).read(LANE, 0, count + 1)
    assert [fact.index for fact in facts] == list(range(count))
    assert len({fact.header.id for fact in facts}) == count
    assert lost > 0, "they were never at it at once"


async def test_of_two_nodes_that_publish_one_does(nodes):
    logs = [PostgresLog(node) for node in nodes]
    notes = (b"one", b"uno")
    outcomes = await asyncio.gather(
        *(log.publish(LANE, note, after=None) for log, note in zip(logs, notes, strict=True)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {type(None), Conflict}
    assert await logs[0].checkpoint(LANE) == notes[outcomes.index(None)]


async def test_who_extends_or_publishes_waits_for_who_is_at_it(nodes):
    log = PostgresLog(nodes[1])
    await state(nodes[0], 1)
    facts = await log.unsealed(LANE, 1)
    await log.publish(LANE, b"one", after=None)
    async with held(nodes[0], LANE) as tx:
        assert await _held(tx) == b"one"
        waiting = [
            await waits(log.publish(LANE, b"two", after=b"one")),
            await waits(log.extend(LANE, 0, facts, {}, after=b"one")),
        ]
        await tx.write("UPDATE checkpoints SET note = $2 WHERE org = $1", tx.org, b"uno")
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Conflict, Conflict]
    assert (await log.checkpoint(LANE), await log.appended(LANE)) == (b"uno", 0)
