"""A task token lives as long as its task at most, says who works for whom, and is on record before it is signed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskbound.core.errors import Denied, NotFound, StoreUnavailable, TaskEnded, TaskSuspended, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Token
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import resume_tree, suspend_tree
from taskbound.formats.jose import thumbprint, verify_access_token
from taskbound.steps.attest_workload import admit_token
from taskbound.steps.end_task import end_task
from taskbound.steps.hold_task import LOST, hear_holder
from taskbound.steps.issue_token import audience_of, issue_token, issuer_of
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import suspend_identity
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

KEY = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
SUPPORT = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    return made


async def said(rig, asker, task):
    """Issue a token, and return what it says."""
    given = await issue_token(rig.world, rig.door, asker, task.id, KEY)
    assert given is not None
    text = given.reveal()
    public = (await rig.world.keys.public())["token"]
    return verify_access_token(text, public, issuer=issuer_of(rig.world), audience=audience_of(rig.world))


def recorded(rig, kind):
    return [event for event in rig.store.events if event.kind is kind]


async def test_a_token_says_who_works_for_whom_in_which_task(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    token = await said(rig, claim_of(handle), task)
    assert (token.issuer, token.audience) == ("https://example.org", f"https://example.org/{rig.world.instance}")
    assert (token.subject, token.actor) == ("spiffe://example.org/human/alice", "spiffe://example.org/agent/support")
    assert token.act == ("spiffe://example.org/agent/support",)
    assert (token.org, token.task, token.jkt) == ("main", task.id, KEY)
    assert datetime.fromtimestamp(token.issued, UTC) == rig.clock.at
    assert token.expires - token.issued == 300
    (event,) = recorded(rig, Kind.TOKEN_ISSUED)
    assert (event.id, event.detail["token"], event.detail["key"]) == (task.id, token.id, KEY)
    assert token.id != (await said(rig, claim_of(handle), task)).id


async def test_a_child_s_token_names_the_chain_and_goes_to_who_opened_it(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    child, _ = await open_task(rig.world, rig.door, claim_of(handle), wish)
    token = await said(rig, claim_of(handle), child)
    names = ("spiffe://example.org/agent/helper", "spiffe://example.org/agent/support")
    assert (token.actor, token.act) == (names[0], names)


async def test_who_works_for_nobody_is_its_own_subject(rig):
    ask = replace(REFUND, actor=None)
    task, _ = await open_task(rig.world, rig.door, SUPPORT, ask)
    token = await said(rig, SUPPORT, task)
    assert (token.subject, token.actor, token.act) == (task.actor, task.actor, ())


@pytest.mark.parametrize(("left", "life"), [(301, 300), (300, 300), (299, 299), (1, 1)])
async def test_no_token_outlives_its_task(rig, left, life):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    rig.clock.at = task.deadline - timedelta(seconds=left)
    token = await said(rig, claim_of(handle), task)
    assert token.expires - token.issued == life


async def test_an_ended_task_gets_no_token_and_the_refusal_is_on_record(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await end_task(rig.world, rig.door, ALICE, task.id, "asked")
    with pytest.raises(TaskEnded):
        await said(rig, claim_of(handle), task)
    (event,) = recorded(rig, Kind.TOKEN_REFUSED)
    assert (event.id, event.detail["code"]) == (task.id, "task_ended") and not recorded(rig, Kind.TOKEN_ISSUED)


async def test_a_task_at_its_deadline_gets_no_token(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    rig.clock.at = task.deadline
    with pytest.raises(TaskEnded):
        await said(rig, claim_of(handle), task)


async def test_a_suspended_task_gets_no_token(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.TASK_SUSPENDED, advance(await tx.get(Task, task.id), Kind.TASK_SUSPENDED))
    with pytest.raises(TaskSuspended):
        await said(rig, claim_of(handle), task)


async def test_a_task_below_a_suspended_one_gets_no_token_until_that_is_resumed(rig):
    """It may be open: its own heartbeat resumed it. It is asked for with each heartbeat, and they record nothing."""
    parent, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, budget={"calls": 3, "leases": 0}, beats=True)
    child, below = await open_task(rig.world, rig.door, claim_of(handle), wish)
    async with rig.store.transaction(rig.door) as tx:
        await suspend_tree(tx, rig.door, parent.id, LOST)
    await hear_holder(rig.world, rig.door, claim_of(below), child.id)
    before = len(rig.store.events)
    assert await issue_token(rig.world, rig.door, claim_of(below), child.id, KEY) is None
    assert len(rig.store.events) == before
    async with rig.store.transaction(rig.door) as tx:
        await resume_tree(tx, rig.door, parent.id, LOST)
    assert (await said(rig, claim_of(below), child)).task == child.id


async def test_a_suspended_owner_ends_it(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await suspend_identity(rig.world, rig.door, rig.door, "human/alice")
    with pytest.raises(TaskEnded):
        await said(rig, claim_of(handle), task)


async def test_a_suspended_actor_gets_no_token(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await suspend_identity(rig.world, rig.door, rig.door, "agent/support")
    with pytest.raises((Unauthenticated, TaskEnded)):
        await said(rig, claim_of(handle), task)
    assert not recorded(rig, Kind.TOKEN_ISSUED)


async def test_nobody_is_given_a_token_for_another_s_task(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    _, other = await open_task(rig.world, rig.door, ALICE, REFUND)
    helper = Claim("main", facts=Facts("unix", {"script": "/srv/agent/helper.py"}))
    for asker in (claim_of(other), helper, ALICE):
        with pytest.raises(Denied) as refused:
            await said(rig, asker, task)
        assert refused.value.code == "not_yours"
    wish = TaskAsk("look-up-order", {"order_id": "4711"}, actor="agent/helper", budget={"calls": 3, "leases": 0})
    _, below = await open_task(rig.world, rig.door, claim_of(handle), wish)
    with pytest.raises(Denied):  # a child gets none for its parent
        await said(rig, claim_of(below), task)
    with pytest.raises(NotFound):
        await issue_token(rig.world, rig.door, claim_of(handle), "t" + "z" * 20, KEY)


async def test_what_cannot_be_recorded_is_not_signed(rig):
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    signed = []

    class Down:
        def transaction(self, opener):
            raise StoreUnavailable("the disk is full")

    class Counted:
        public = rig.world.keys.public

        async def sign(self, purpose, message):
            signed.append(purpose)
            return b""

    with pytest.raises(StoreUnavailable):
        await issue_token(replace(rig.world, store=Down(), keys=Counted()), rig.door, claim_of(handle), task.id, KEY)
    assert not signed


async def test_the_key_is_named_by_its_thumbprint(rig):
    from taskbound.formats.jose import read_compact

    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    given = await issue_token(rig.world, rig.door, claim_of(handle), task.id, KEY)
    assert given is not None
    text = given.reveal()
    header = read_compact(text, "at+jwt", frozenset({"kid"})).header
    assert header["kid"] == thumbprint((await rig.world.keys.public())["token"])


# --- what is shown and refused ---------------------------------------------------------------------


async def test_of_a_storm_of_equal_refusals_the_first_is_on_record(rig):
    task, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    at = rig.clock.at
    token = Token("j1", "main", task.id, task.actor, KEY, at, at + timedelta(seconds=300))
    stolen = Claim("main", token=token, key="the thief's")
    for _ in range(20):
        with pytest.raises(Unauthenticated, match="another key"):
            await admit_token(rig.world, rig.door, stolen)
    (event,) = recorded(rig, Kind.TOKEN_REFUSED)
    assert (event.id, event.detail["task"], event.detail["code"]) == ("j1", task.id, "invalid_token")
    rig.clock.at = token.until
    with pytest.raises(Unauthenticated, match="expired"):
        await admit_token(rig.world, rig.door, replace(stolen, key=KEY))
    assert len(recorded(rig, Kind.TOKEN_REFUSED)) == 2
