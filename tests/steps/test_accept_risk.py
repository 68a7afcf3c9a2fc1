"""A risk is accepted by a living person until a day, and then it is open again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskbound.core.errors import Conflict, Denied, InvalidRequest, NotFound, Refused, hint_of
from taskbound.core.event import Kind
from taskbound.core.finding import Finding, Spot
from taskbound.steps.accept_risk import accept_risk, reopen_expired
from taskbound.steps.open_task import open_task
from taskbound.steps.raise_findings import raise_findings
from taskbound.steps.register_identity import RegistrationAsk, register_identity, retire_identity, suspend_identity
from tests.rig import ALICE
from tests.steps.test_raise_findings import ASK, Findings
from tests.stories.story import REFUND, claim_of

UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
KAYA = RegistrationAsk("human/kaya", "human/kaya", "unix", {"uid": 4711})


@pytest.fixture
async def rig():
    rig = Findings()
    await rig.people()
    await register_identity(rig.world, rig.door, rig.door, KAYA)
    await rig.scan(ASK)
    return rig


async def accept(rig, id=ASK.id, owner="human/kaya", until=UNTIL, reason="a test account", asker=None) -> Finding:
    finding = await accept_risk(rig.world, rig.door, asker or rig.door, id, owner, until, reason)
    rig.check()
    return finding


async def test_it_is_accepted_until_the_day_and_open_again_after_it(rig):
    accepted = await accept(rig)
    assert (accepted.state, accepted.due, accepted.accepted_by.rpartition("/")[2]) == ("accepted", UNTIL, "kaya")
    assert accepted.is_accepted(UNTIL - timedelta(seconds=1)) and not accepted.is_accepted(UNTIL)
    rig.clock.at = UNTIL - timedelta(seconds=1)
    assert await reopen_expired(rig.world, rig.lane) == []
    rig.clock.at = UNTIL
    (again,) = await reopen_expired(rig.world, rig.lane)
    assert (again.state, again.reason, rig.store.events[-1].detail) == (
        "raised",
        "a test account",
        {"reason": "expired"},
    )
    assert await reopen_expired(rig.world, rig.lane) == []
    rig.check()


async def test_a_scan_that_sees_it_leaves_it_accepted_and_one_that_misses_it_closes_it(rig):
    await accept(rig)
    told = await rig.scan(ASK)
    assert (told.known, rig.finding().state) == ([ASK.id], "accepted")
    await rig.scan(gone=[ASK.id])
    assert rig.finding().state == "closed"


async def test_it_may_be_accepted_by_the_id_that_reports_give_and_anew(rig):
    await accept(rig, ASK.seen_as)
    accepted = await accept(rig, until=UNTIL + timedelta(days=1), owner="human/alice", reason="longer")
    assert (accepted.due, accepted.reason) == (UNTIL + timedelta(days=1), "longer")


async def test_an_id_of_two_is_refused_and_both_are_named(rig):
    other = replace(ASK, places=(Spot("/srv/other/.env", 1),))
    await rig.scan(other)
    with pytest.raises(Conflict, match="2 places") as refused:
        await accept(rig, ASK.seen_as)
    assert ASK.id in refused.value.hint and other.id in refused.value.hint


@pytest.mark.parametrize("end", [suspend_identity, retire_identity])
async def test_who_is_not_live_answers_for_nothing_and_no_longer(rig, end):
    await accept(rig)
    await end(rig.world, rig.door, rig.door, "human/kaya")
    with pytest.raises(InvalidRequest, match="human/kaya is"):
        await accept(rig)
    (again,) = await reopen_expired(rig.world, rig.lane)
    assert (again.state, again.id) == ("raised", ASK.id)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"owner": "agent/support"}, InvalidRequest, "is no human"),
        ({"owner": "human/nobody"}, NotFound, "is not registered"),
        ({"until": datetime(2026, 11, 24, 12, tzinfo=UTC)}, InvalidRequest, "that day is over"),
        ({"until": datetime(2029, 1, 1, tzinfo=UTC)}, InvalidRequest, "for a year at most"),
        ({"reason": "  "}, InvalidRequest, "the reason is missing"),
        ({"id": "f" + "z" * 20}, NotFound, "there is no open finding"),
    ],
)
async def test_what_will_not_do_is_refused_and_nothing_happens(rig, change, error, says):
    before = len(rig.store.events)
    with pytest.raises(error, match=says):
        await accept(rig, **change)
    assert len(rig.store.events) == before


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"owner": "human/nobody"}, "taskbound identity register human/nobody --when uid=N (POST /v1/identities)"),
        (
            {"owner": "agent/nobody"},
            "taskbound identity register agent/nobody --owner human/NAME (POST /v1/identities)",
        ),
        ({"reason": "  "}, "say what it waits for, in some words"),
    ],
)
async def test_the_hint_of_a_refusal_is_what_can_be_done(rig, change, hint):
    with pytest.raises(Refused) as refused:
        await accept(rig, **change)
    assert hint_of(refused.value) == hint


async def test_what_is_closed_is_not_accepted(rig):
    await rig.scan(gone=[ASK.id])
    with pytest.raises(Conflict, match="is closed"):
        await accept(rig)


async def test_who_is_in_a_task_or_has_no_permit_accepts_nothing(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor=None))
    for asker in (claim_of(handle), ALICE):
        with pytest.raises(Denied) as denied:
            await accept(rig, asker=asker)
        assert denied.value.code == "not_permitted"
        assert rig.store.events[-1].kind is Kind.CALL_DENIED
    assert rig.finding().state == "raised"


async def test_control_our_own_parts_need_no_permit(rig):
    assert (await raise_findings(rig.world, rig.door, rig.door, [ASK], [])).known == [ASK.id]


async def test_who_answers_for_a_finding_does_not_answer_for_a_credential_that_came_later(rig):
    await accept(rig)
    await rig.scan(replace(ASK, issued=(*ASK.issued, replace(ASK.issued[0], mark="2" * 16))))
    assert rig.finding().state == "raised"
