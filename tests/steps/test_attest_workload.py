"""What a workload shows becomes its identity and is on record; a join token does so once, within ten minutes."""

import asyncio
import hashlib
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskbound.core.errors import Conflict, Denied, InvalidRequest, NotFound, Replayed, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, OneTime, join_claim
from taskbound.steps.attest_workload import attest_workload, issue_join_token
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity, suspend_identity
from taskbound.store.sqlite import open_store
from tests.rig import ALICE, POLICY, Rig
from tests.stories.story import REFUND, claim_of

SHOWN = Facts("unix", {"script": "/srv/agent/support.py", "pid": 7, "uid": 1000})
SUPPORT = Claim("main", facts=SHOWN)
NODE = RegistrationAsk("service/node", "human/alice", "join_token", {}, environment="production")
TEN = timedelta(minutes=10)
RIGHT = "tbj_" + "a" * 43


@pytest.fixture
async def rig():
    made = Rig()
    await made.people()
    await register_identity(made.world, made.door, made.door, NODE)
    return made


async def token_of(rig, life=TEN, name="service/node"):
    _, token, _ = await issue_join_token(rig.world, rig.door, rig.door, name, life)
    return token.reveal()


async def join(rig, token):
    return await attest_workload(rig.world, rig.door, join_claim("main", token))


# --- facts ---------------------------------------------------------------------------------------


async def test_what_was_shown_is_on_record(rig):
    caller = await attest_workload(rig.world, rig.door, SUPPORT)
    event = rig.store.events[-1]
    assert (caller.name, caller.assurance, caller.task) == ("agent/support", "unix", None)
    assert (event.kind, event.by, event.value.state) == (Kind.IDENTITY_ATTESTED, caller.spiffe_id, "registered")
    assert event.detail == {"attestor": "unix", "facts": SHOWN.of}
    await attest_workload(rig.world, rig.door, SUPPORT)  # as often as it likes
    rig.check()


@pytest.mark.parametrize("what", ["other facts", "nothing", "a handle", "suspended", "elsewhere"])
async def test_who_shows_anything_else_is_nobody_and_nothing_is_recorded(rig, what):
    claim = {
        "other facts": Claim("main", facts=Facts("unix", {"script": "/srv/other.py"})),
        "nothing": Claim("main"),
        "elsewhere": replace(SUPPORT, org="other"),
    }.get(what, SUPPORT)
    if what == "a handle":
        _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
        claim = claim_of(handle)
    if what == "suspended":
        await suspend_identity(rig.world, rig.door, rig.door, "agent/support")
    before = len(rig.store.events)
    with pytest.raises(Unauthenticated):
        await attest_workload(rig.world, rig.door, claim)
    assert len(rig.store.events) == before


# --- join tokens ---------------------------------------------------------------------------------


async def test_a_join_token_is_seen_once_and_kept_as_a_hash(rig):
    rig.clock.advance(0.5)
    known, token, until = await issue_join_token(rig.world, rig.door, rig.door, "service/node", TEN)
    text = token.reveal()
    assert re.fullmatch(r"tbj_[A-Za-z0-9_-]{43}\.\d{10}", text)
    assert until == datetime.fromtimestamp(int(text.rpartition(".")[2]), UTC)
    assert rig.clock.at + TEN - timedelta(seconds=1) < until <= rig.clock.at + TEN
    assert known.when == {"token": hashlib.sha256(text.encode()).hexdigest()}
    assert text[4:47] not in repr(rig.store.events)
    caller = await join(rig, text)
    assert (caller.name, caller.assurance, caller.owner) == ("service/node", "join_token", known.owner)
    rig.check()


async def test_a_join_token_works_once_among_two_hundred_at_once(rig):
    token = await token_of(rig)
    outcomes = await asyncio.gather(*(join(rig, token) for _ in range(200)), return_exceptions=True)
    assert sum(isinstance(one, Replayed) for one in outcomes) == 199
    assert sum(event.kind == Kind.IDENTITY_ATTESTED for event in rig.store.events) == 1
    rig.check()


async def test_a_join_token_works_once_on_disk_too_whatever_it_is_shown_for(tmp_path):
    rig = Rig(store=lambda clock: open_store(tmp_path / "taskbound.db", clock))
    try:
        await rig.people()
        await register_identity(rig.world, rig.door, rig.door, NODE)
        claim = join_claim("main", await token_of(rig))
        ask = replace(REFUND, actor=None)
        tries = (
            attest_workload(rig.world, rig.door, claim) if n % 2 else open_task(rig.world, rig.door, claim, ask)
            for n in range(200)
        )
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(one, BaseException) for one in outcomes) == 1
        assert sum(isinstance(one, Replayed) for one in outcomes) == 199
    finally:
        await rig.store.close()


async def test_control_without_its_one_time_value_a_token_would_work_twice(rig):
    claim = replace(join_claim("main", await token_of(rig)), spend=())
    for _ in range(2):
        await attest_workload(rig.world, rig.door, claim)


@pytest.mark.parametrize("life", [timedelta(seconds=1), TEN])
async def test_a_join_token_expires(rig, life):
    at, token = rig.clock.at, await token_of(rig, life)
    rig.clock.advance(life.total_seconds() + 1)
    before = len(rig.store.events)
    with pytest.raises(Unauthenticated, match="the join token expired"):
        await join(rig, token)
    assert len(rig.store.events) == before
    rig.clock.at = at  # the store's clock does not run back
    with pytest.raises(Unauthenticated, match="expired"):
        await join(rig, token)


async def test_a_join_token_lasts_to_its_last_second(rig):
    token = await token_of(rig)
    rig.clock.advance(599)
    await join(rig, token)


async def test_a_join_token_that_says_another_moment_is_another_token(rig):
    token = await token_of(rig, timedelta(seconds=1))
    rig.clock.advance(60)
    head, _, until = token.rpartition(".")
    with pytest.raises(Unauthenticated, match="proves nobody's name"):
        await join(rig, f"{head}.{int(until) + 600}")


@pytest.mark.parametrize("flip", [0, 10, 42])
async def test_a_wrong_join_token_proves_nothing_and_the_right_one_still_works(rig, flip):
    token = await token_of(rig)
    place = 4 + flip
    wrong = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    with pytest.raises(Unauthenticated):
        await join(rig, wrong)
    await join(rig, token)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "tbj_",
            f"{RIGHT}.",
            f"{RIGHT}",
            f"{RIGHT[:-1]}.1",
            f"{RIGHT}a.1",
            f"{RIGHT[:-1]}ä.1",
            f"tbh_{'a' * 43}.1",
        ),
        *(f"{RIGHT}.1\n", f" {RIGHT}.1", f"{RIGHT}.-1", f"{RIGHT}.1.1", f"{RIGHT}.12345678901", f"{RIGHT}.١"),
    ],
)
def test_what_is_no_join_token_is_refused_before_anything_is_looked_up(text):
    with pytest.raises(Unauthenticated, match="no join token"):
        join_claim("main", text)


async def test_a_new_token_takes_the_place_of_the_one_before(rig):
    first, second = await token_of(rig), await token_of(rig)
    with pytest.raises(Unauthenticated):
        await join(rig, first)
    await join(rig, second)


async def test_a_name_without_a_token_is_proven_by_nothing(rig):
    for of in ({}, {"token": ""}, {"token": hashlib.sha256(b"").hexdigest()}):
        with pytest.raises(Unauthenticated):
            await attest_workload(rig.world, rig.door, Claim("main", facts=Facts("join_token", of)))


async def test_nobody_chooses_the_token_that_proves_a_name(rig):
    digest = hashlib.sha256(b"mine").hexdigest()
    with pytest.raises(InvalidRequest, match="token that is issued"):
        ask = replace(NODE, name="service/other", when={"token": digest})
        await register_identity(rig.world, rig.door, rig.door, ask)


@pytest.mark.parametrize("life", [timedelta(0), timedelta(seconds=-1), timedelta(seconds=601), timedelta(seconds=0.9)])
async def test_a_join_token_lives_ten_minutes_at_most(rig, life):
    with pytest.raises(InvalidRequest, match="between 1 and 600 s"):
        await token_of(rig, life)


async def test_a_token_is_issued_only_for_a_live_name_that_joins_with_one(rig):
    with pytest.raises(Conflict, match="proven by unix"):
        await token_of(rig, name="agent/support")
    with pytest.raises(NotFound):
        await token_of(rig, name="service/nothing")
    token = await token_of(rig)
    await suspend_identity(rig.world, rig.door, rig.door, "service/node")
    with pytest.raises(Conflict, match="is suspended"):
        await token_of(rig)
    with pytest.raises(Unauthenticated, match="is suspended"):
        await join(rig, token)
    rig.check()


async def test_only_who_may_register_it_has_a_token_issued(rig, tmp_path):
    with pytest.raises(Denied) as refused:
        await issue_join_token(rig.world, rig.door, ALICE, "service/node", TEN)
    last = rig.store.events[-1]
    assert (refused.value.code, last.kind, last.value.action) == (
        "not_permitted",
        Kind.CALL_DENIED,
        "identity/register",
    )
    policy = shutil.copytree(POLICY, tmp_path / "policy")
    permit = 'permit(principal, action == Action::"identity/register", resource);'
    (policy / "organisation" / "admin.cedar").write_text(f'@id("admin-register")\n{permit}\n')
    rig = Rig(policy)
    await rig.people()
    bob = RegistrationAsk("human/bob", "human/bob", "operator", {"uid": 2000})
    for ask in (bob, NODE, replace(NODE, name="service/bobs", owner="human/bob")):
        await register_identity(rig.world, rig.door, rig.door, ask)
    _, token, _ = await issue_join_token(rig.world, rig.door, ALICE, "service/node", TEN)
    with pytest.raises(Denied) as refused:
        await issue_join_token(rig.world, rig.door, ALICE, "service/bobs", TEN)
    assert refused.value.code == "not_yours"
    assert (await join(rig, token.reveal())).name == "service/node"
    operator = replace(rig.world, operator="spiffe://example.org/human/alice")
    await issue_join_token(operator, rig.door, ALICE, "service/bobs", TEN)
    rig.check()


# --- one-time values -----------------------------------------------------------------------------


async def test_a_one_time_value_that_is_past_is_refused_and_not_spent(rig):
    past = replace(SUPPORT, spend=(OneTime("proof", "x", rig.clock.at - timedelta(microseconds=1)),))
    with pytest.raises(Unauthenticated, match="the proof expired"):
        await attest_workload(rig.world, rig.door, past)
    now = replace(SUPPORT, spend=(OneTime("proof", "x", rig.clock.at),))
    await attest_workload(rig.world, rig.door, now)
    with pytest.raises(Replayed):
        await attest_workload(rig.world, rig.door, now)
