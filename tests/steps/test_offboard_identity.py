"""Who is offboarded holds nothing here any more, and what the record says was asked, not assumed."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from taskbound import asking
from taskbound.asking import AT_ONCE
from taskbound.core.errors import Conflict, Denied, InvalidRequest, Unauthenticated, Unavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Registration
from taskbound.steps import offboard_identity
from taskbound.steps.accept_risk import accept_risk, reopen_expired
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.offboard_identity import (
    MOST,
    LoginAsk,
    Offboarding,
    begin_offboarding,
    finish_offboarding,
    look_at_offboarding,
)
from taskbound.steps.open_task import open_task
from tests.rig import ALICE, Crash
from tests.steps.test_accept_risk import UNTIL
from tests.steps.test_raise_findings import ASK, DB, Findings
from tests.stories.story import REFUND, claim_of

SHOP, OTHER = LoginAsk(DB, "shop"), LoginAsk("postgresql://elsewhere:5432", "shop")


class Leaving(Findings):
    """Alice's agent works, and holds a lease; she answers for a risk."""

    async def begin(self) -> None:
        await self.people()
        self.task, self.handle = await open_task(self.world, self.door, ALICE, REFUND)
        self.lease, self.word = await issue_lease(
            self.world, self.door, claim_of(self.handle), LeaseAsk("shopdb/reader")
        )
        await self.scan(ASK)
        await accept_risk(self.world, self.door, self.door, ASK.id, "human/alice", UNTIL, "a test")

    def states(self) -> dict[str, str]:
        found: list[Registration] = [one for (_, noun, _), one in self.store.things.items() if noun == "identity"]
        return {one.spiffe_id.split("/", 3)[3]: one.state for one in found}

    async def offboard(self, name="human/alice", *logins: LoginAsk, asker=None) -> Offboarding:
        held = await begin_offboarding(self.world, self.door, asker or self.door, name)
        self.check()
        await self.lanes()
        done = await finish_offboarding(self.world, self.door, asker or self.door, held, logins)
        self.check()
        return done


@pytest.fixture
async def rig(monkeypatch):
    monkeypatch.setattr(offboard_identity, "WITHIN", 0.0)
    rig = Leaving(shop="alive")
    await rig.begin()
    return rig


async def test_a_person_leaves_nothing_behind_and_it_ends_in_the_log(rig):
    done = await rig.offboard("human/alice", SHOP)
    assert rig.states() == {
        "human/alice": "retired",
        "agent/support": "suspended",
        "agent/helper": "suspended",
        "agent/tester": "suspended",
    }
    assert [one.id for one in done.tasks] == [rig.task.id]
    assert rig.store.things["main", "task", rig.task.id].state == "ended"
    assert not rig.targets["shopdb"].accepts(rig.lease.name, rig.word.reveal())
    assert [(one.id, one.state) for one in done.leases] == [(rig.lease.id, "revoked")]
    assert [(one.before, one.after, one.why) for one in done.logins] == [("alive", "dead", "")]
    last = rig.store.events[-1]
    assert (last.kind, last.detail["removed"]["logins"][0]["after"]) == (Kind.IDENTITY_OFFBOARDED, "dead")
    assert [one.id for one in done.accepted] == [ASK.id]
    assert [one.id for one in await reopen_expired(rig.world, rig.lane)] == [ASK.id]
    with pytest.raises(Unauthenticated):
        await open_task(rig.world, rig.door, ALICE, REFUND)


async def test_an_agent_leaves_and_its_owner_stays(rig):
    done = await rig.offboard("agent/support")
    assert rig.states() == {
        "human/alice": "registered",
        "agent/support": "retired",
        "agent/helper": "registered",
        "agent/tester": "registered",
    }
    assert ([one.id for one in done.tasks], done.accepted) == ([rig.task.id], [])


async def test_all_authority_is_gone_before_anything_outside_is_touched(rig):
    held = await begin_offboarding(rig.world, rig.door, rig.door, "human/alice")
    assert set(rig.states().values()) == {"suspended"}
    assert (rig.store.things["main", "task", rig.task.id].state, rig.server.asked) == ("ended", 0)
    assert held.logins == []


async def test_to_look_changes_nothing_and_asks_each_server(rig):
    before = len(rig.store.events)
    held = await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", [SHOP, OTHER])
    assert len(rig.store.events) == before
    assert rig.server.logins == {"shop": "alive"}
    assert [one.id for one in held.tasks] == [rig.task.id]
    assert [(one.after, one.why) for one in held.logins] == [
        ("alive", "it still logs in"),
        ("unknown", f"cannot be verified: {OTHER.issuer} (it is no server of taskbound.toml)"),
    ]


async def test_a_login_that_could_not_be_ended_is_said_to_live(rig):
    async def refuse(login):
        raise Unavailable("it gave no answer")

    rig.server.kill = refuse
    done = await rig.offboard("agent/support", SHOP)
    assert [(one.after, one.why) for one in done.logins] == [("alive", "it still logs in: it gave no answer")]
    assert rig.store.events[-1].detail["removed"]["logins"][0]["after"] == "alive"


async def test_a_login_that_a_server_only_says_it_ended_is_said_to_live(rig):
    async def nothing(login):
        pass

    rig.server.kill = nothing
    done = await rig.offboard("agent/support", SHOP)
    assert [(one.after, one.why) for one in done.logins] == [("alive", "it still logs in")]


async def test_a_lease_that_is_not_taken_back_in_time_is_told_as_it_is(rig):
    held = await begin_offboarding(rig.world, rig.door, rig.door, "agent/support")
    done = await finish_offboarding(rig.world, rig.door, rig.door, held, [])
    assert [one.state for one in done.leases] == ["revoking"]


async def test_who_is_known_from_a_list_alone_is_recorded_too(rig):
    done = await rig.offboard("kaya@example.org", SHOP)
    assert (done.registration, done.tasks, done.logins[0].after) == (None, [], "dead")
    last = rig.store.events[-1]
    assert (last.kind, last.id, last.value) == (Kind.IDENTITY_OFFBOARDED, "kaya@example.org", None)


async def test_to_do_it_again_is_safe_and_ends_what_is_left(rig):
    await rig.offboard("human/alice")
    rig.server.logins["shop"] = "alive"
    done = await rig.offboard("human/alice", SHOP)
    assert (done.tasks, done.logins[0].after, rig.states()["human/alice"]) == ([], "dead", "retired")


async def test_the_operator_is_not_offboarded_by_this_installation(rig):
    rig.world = replace(rig.world, operator="spiffe://example.org/human/alice")
    before = len(rig.store.events)
    with pytest.raises(Conflict, match="operates this installation"):
        await rig.offboard()
    assert len(rig.store.events) == before


async def test_who_is_in_a_task_or_has_no_permit_offboards_nobody(rig):
    for asker in (claim_of(rig.handle), ALICE):
        for act in (rig.offboard("agent/helper", asker=asker),
                    look_at_offboarding(rig.world, rig.door, asker, "agent/helper", [SHOP])):  # fmt: skip
            with pytest.raises(Denied) as denied:
                await act
            assert denied.value.code == "not_permitted"
            assert rig.store.events[-1].kind is Kind.CALL_DENIED
    assert rig.server.asked == 0
    assert set(rig.states().values()) == {"registered"}


async def test_a_request_has_room_for_so_many(rig):
    with pytest.raises(InvalidRequest, match="at most"):
        await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", [SHOP] * (MOST + 1))


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
async def test_a_crash_anywhere_leaves_all_or_no_authority_and_the_next_run_ends_the_rest(after, monkeypatch):
    monkeypatch.setattr(offboard_identity, "WITHIN", 0.0)
    for crossing in count(1):
        rig = Leaving(shop="alive")
        await rig.begin()
        start = len(rig.crossings.names)
        rig.crossings.crash_at, rig.crossings.after = start + crossing, after
        crashed = False
        try:
            await rig.offboard("human/alice", SHOP)
        except Crash:
            crashed = True
        states = set(rig.states().values())
        ended = rig.store.things["main", "task", rig.task.id].state == "ended"
        assert (states == {"registered"}) != ended, "everything is as it was, or nothing of it works"
        rig.crossings.crash_at = None
        done = await rig.offboard("human/alice", SHOP)
        assert (rig.states()["human/alice"], done.logins[0].after) == ("retired", "dead")
        await rig.lanes()
        assert not rig.targets["shopdb"].accepts(rig.lease.name, rig.word.reveal())
        assert Kind.IDENTITY_OFFBOARDED in {event.kind for event in rig.store.events}
        if not crashed:
            return


async def test_a_login_that_is_dead_until_its_server_starts_again_is_said_to_be(rig):
    async def forgets(login):
        rig.server.logins[login] = "dead"
        raise Unavailable("it is off now, and would be on again after a restart of the server")

    rig.server.kill = forgets
    done = await rig.offboard("agent/support", SHOP)
    assert [(one.after, one.why) for one in done.logins] == [
        ("dead", "it is off now, and would be on again after a restart of the server")
    ]
    assert "restart" in rig.store.events[-1].detail["removed"]["logins"][0]["why"]


async def test_what_was_ended_is_recorded_however_many_logins_are_asked_about(rig):
    """Nothing is begun that could not be finished."""
    with pytest.raises(InvalidRequest, match="at most"):
        await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", [SHOP] * (MOST + 1))
    assert await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", [SHOP] * MOST)


async def test_a_server_is_asked_about_few_logins_at_once_and_once_about_each(rig):
    now, most, asked = 0, 0, list[str]()

    async def probe(login, password):
        nonlocal now, most
        now += 1
        most = max(most, now)
        asked.append(login)
        await asyncio.sleep(0)
        now -= 1
        return "alive"

    rig.server.probe = probe
    logins = [LoginAsk(DB, f"role{number % 50}") for number in range(100)]
    held = await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", logins)
    assert {one.before for one in held.logins} == {"alive"}
    assert (most, len(asked)) == (AT_ONCE, 50)


async def test_a_server_that_never_answers_is_not_waited_for_once_for_each_login(rig, monkeypatch):
    monkeypatch.setattr(asking, "WITHIN", 0.05)

    async def probe(login, password):
        await asyncio.sleep(3600)

    rig.server.probe = probe
    logins = [LoginAsk(DB, f"role{number}") for number in range(100)]
    held = await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", logins)
    assert {one.before for one in held.logins} == {"unknown"}
