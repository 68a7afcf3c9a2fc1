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
from tests.steps.test_raise_findings import ASK, DB, NEAR, Findings, Server
from tests.stories.story import REFUND, claim_of

SHOP, OTHER = LoginAsk(DB, "shop", "let_in"), LoginAsk("postgresql://elsewhere:5432", "shop", "let_in")


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

    def kinds_of_logins(self) -> list[Kind]:
        return [event.kind for event in self.store.events if event.noun == "login"]

    async def offboard(self, name="human/alice", *logins: LoginAsk, asker=None) -> Offboarding:
        held = await begin_offboarding(self.world, self.door, asker or self.door, name, logins)
        self.check()
        await self.lanes()
        done = await finish_offboarding(self.world, self.door, held)
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
    held = await begin_offboarding(rig.world, rig.door, rig.door, "human/alice", [])
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
    held = await begin_offboarding(rig.world, rig.door, rig.door, "agent/support", [])
    done = await finish_offboarding(rig.world, rig.door, held)
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
        except* Crash:
            crashed = True
        states = set(rig.states().values())
        ended = rig.store.things["main", "task", rig.task.id].state == "ended"
        assert (states == {"registered"}) != ended, "everything is as it was, or nothing of it works"
        rig.crossings.crash_at = None
        due = Kind.LOGIN_FELL_DUE in rig.kinds_of_logins()
        assert due == ended, "what is to be removed is in the log with the first removal"
        await rig.offboard("human/alice", *(() if due else (SHOP,)))
        assert (rig.states()["human/alice"], rig.server.logins["shop"]) == ("retired", "dead")
        assert rig.kinds_of_logins()[-1] is Kind.LOGIN_ENDED
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
    logins = [LoginAsk(DB, f"role{number % 50}", "let_in") for number in range(100)]
    held = await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", logins)
    assert {one.before for one in held.logins} == {"alive"}
    assert (most, len(asked)) == (AT_ONCE, 50)


async def test_a_server_that_never_answers_is_not_waited_for_once_for_each_login(rig, monkeypatch):
    monkeypatch.setattr(asking, "WITHIN", 0.05)

    async def probe(login, password):
        await asyncio.sleep(3600)

    rig.server.probe = probe
    logins = [LoginAsk(DB, f"role{number}", "let_in") for number in range(100)]
    held = await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", logins)
    assert {one.before for one in held.logins} == {"unknown"}


# --- what is in the log of each login --------------------------------------------------------------


async def test_what_is_to_end_is_in_the_log_before_anything_is_touched_and_each_end_with_its_probe(rig):
    kill, seen = rig.server.kill, []

    async def watched(login):
        seen.append(rig.kinds_of_logins())
        await kill(login)

    rig.server.kill = watched
    await rig.offboard("human/alice", SHOP)
    assert seen == [[Kind.LOGIN_FELL_DUE]]
    due, ended = [one for one in rig.store.events if one.noun == "login"]
    first = next(one for one in rig.store.events if one.kind is Kind.IDENTITY_SUSPENDED)
    assert rig.store.events.index(due) < rig.store.events.index(first)
    about = {"because": "offboarding", "issuer": DB, "login": "shop"}
    assert (due.detail, due.by) == (about | {"proof": "let_in"}, ended.by)
    assert ended.detail == about | {"before": "alive", "after": "dead", "why": ""}
    assert due.id == ended.id == next(one.id for one in rig.store.events if one.kind is Kind.IDENTITY_OFFBOARDED)


async def test_a_login_that_lives_on_is_overdue_in_the_log_and_the_next_run_ends_it(rig):
    kill = rig.server.kill

    async def refuse(login):
        raise Unavailable("it gave no answer")

    rig.server.kill = refuse
    await rig.offboard("agent/support", SHOP)
    assert rig.kinds_of_logins() == [Kind.LOGIN_FELL_DUE, Kind.LOGIN_OVERDUE]
    rig.server.kill = kill
    done = await rig.offboard("agent/support")  # its file is gone meanwhile
    assert [(one.before, one.after) for one in done.logins] == [("alive", "dead")]
    assert rig.kinds_of_logins()[2:] == [Kind.LOGIN_FELL_DUE, Kind.LOGIN_ENDED]
    assert (await rig.offboard("agent/support")).logins == [], "nothing is due any more"


async def test_what_a_plug_in_fails_of_stops_no_other_login_and_is_recorded_and_raised(rig):
    kill = rig.server.kill
    rig.server.logins |= {f"role{number}": "alive" for number in range(20)}

    async def broken(login):
        if login == "role7":
            raise KeyError("a bug")
        await kill(login)

    rig.server.kill = broken
    with pytest.raises(KeyError):
        await rig.offboard("agent/support", *(LoginAsk(DB, f"role{number}", "let_in") for number in range(20)))
    assert [name for name, one in rig.server.logins.items() if one == "alive"] == ["shop", "role7"]
    kinds = rig.kinds_of_logins()
    assert (kinds.count(Kind.LOGIN_ENDED), kinds.count(Kind.LOGIN_OVERDUE)) == (19, 1)
    last = rig.store.events[-1]
    assert (last.kind, last.detail["removed"]["failed"]) == (Kind.IDENTITY_OFFBOARDED, ["KeyError"])
    assert "a bug" not in str(last.detail)


async def test_logins_end_a_few_at_a_time_and_a_server_that_hangs_holds_up_no_other(rig):
    now, most, slow, ended = 0, 0, asyncio.Event(), list[str]()

    class Hanging(Server):
        async def kill(self, login):
            await slow.wait()

    async def kill(login):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        ended.append(login)
        rig.server.logins[login] = "dead"
        if len(ended) == 50:
            slow.set()  # a serial end would never come this far

    rig.server.kill = kill
    far = "postgresql://far.shop.example:5432"
    rig.world = replace(rig.world, issuers={**rig.world.issuers, far: Hanging(**dict.fromkeys("abc", "alive"))})
    rig.server.logins |= {f"role{number}": "alive" for number in range(50)}
    asked = [LoginAsk(far, one) for one in "abc"] + [LoginAsk(DB, f"role{number}", "let_in") for number in range(50)]
    async with asyncio.timeout(20):
        done = await rig.offboard("agent/support", *asked)
    assert (most, len(ended), [one.after for one in done.logins[3:]]) == (AT_ONCE, 50, ["dead"] * 50)


async def test_what_there_is_no_time_for_is_told_and_left_to_the_next_run(rig, monkeypatch):
    monkeypatch.setattr(offboard_identity, "ENDING", -1.0)
    done = await rig.offboard("agent/support", SHOP)
    assert [(one.after, one.why) for one in done.logins] == [("unknown", "it was not ended in time: again")]
    assert (rig.server.logins["shop"], rig.kinds_of_logins()[-1]) == ("alive", Kind.LOGIN_OVERDUE)
    monkeypatch.undo()
    monkeypatch.setattr(offboard_identity, "WITHIN", 0.0)
    assert [one.after for one in (await rig.offboard("agent/support")).logins] == ["dead"]


# --- whose server it is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "proof", "after", "why", "lives"),
    [
        pytest.param(NEAR, "let_in", "dead", "", False, id="here, let in"),
        pytest.param(NEAR, "listed", "dead", "", False, id="here, listed by the server itself"),
        pytest.param(NEAR, "", "unknown", "was not let in there: it may be of another", True, id="here, unseen"),
        pytest.param(NEAR, "refused", "unknown", "is refused there: it may be of another", True, id="here, not"),
        pytest.param(DB, "", "dead", "", False, id="by its public name"),
        pytest.param(DB, "let_in", "dead", "", False, id="by its public name, let in"),
        pytest.param(DB, "refused", "dead", "nothing else was ended", True, id="another password by now"),
    ],
)
async def test_a_login_ends_only_where_its_server_is_known_to_be_the_one(rig, issuer, proof, after, why, lives):
    """What a file calls localhost is another machine to whoever wrote it: there `shop` is somebody else's."""
    rig.world = replace(rig.world, issuers={issuer: rig.server})
    looked = await look_at_offboarding(
        rig.world, rig.door, rig.door, "agent/support", [LoginAsk(issuer, "shop", proof)]
    )
    assert looked.logins[0].after == ("alive" if after == "dead" and not lives else after)
    done = await rig.offboard("agent/support", LoginAsk(issuer, "shop", proof))
    assert (done.logins[0].after, why in done.logins[0].why) == (after, True)
    assert rig.server.logins["shop"] == ("alive" if lives else "dead")
    assert rig.kinds_of_logins() == ([] if lives else [Kind.LOGIN_FELL_DUE, Kind.LOGIN_ENDED])


async def test_a_login_that_was_ended_for_them_is_dead_when_its_file_is_found_again(rig):
    rig.world = replace(rig.world, issuers={NEAR: rig.server})
    here = replace(SHOP, issuer=NEAR)
    await rig.offboard("agent/support", here)
    again = replace(here, proof="refused")
    done = await rig.offboard("agent/support", again)
    assert [(one.before, one.after) for one in done.logins] == [("dead", "dead")]
    rig.server.logins["shop"] = "alive"  # somebody else's by now
    await rig.offboard("agent/support", again)
    assert rig.server.logins["shop"] == "alive"


async def test_what_a_person_owns_is_theirs_when_it_was_offboarded_before_them(rig):
    rig.world = replace(rig.world, issuers={NEAR: rig.server})
    here = replace(SHOP, issuer=NEAR)
    await rig.offboard("agent/support", here)
    looked = await look_at_offboarding(rig.world, rig.door, rig.door, "human/alice", [replace(here, proof="refused")])
    owned = {one.spiffe_id.split("/", 3)[3]: one.state for one in looked.owned}
    assert owned == {"agent/support": "retired", "agent/helper": "registered", "agent/tester": "registered"}
    assert [(one.before, one.after) for one in looked.logins] == [("dead", "dead")], "it was ended for what they own"
    done = await rig.offboard("human/alice")
    assert {one.state for one in done.owned} == {"retired", "suspended"}, "what is retired stays it"


async def test_what_fell_due_for_an_agent_that_is_retired_ends_with_its_owner(rig, monkeypatch):
    monkeypatch.setattr(offboard_identity, "ENDING", -1.0)
    await rig.offboard("agent/support", SHOP)
    monkeypatch.undo()
    monkeypatch.setattr(offboard_identity, "WITHIN", 0.0)
    assert (rig.states()["agent/support"], rig.server.logins["shop"]) == ("retired", "alive")
    assert [one.after for one in (await rig.offboard("human/alice")).logins] == ["dead"]
    assert rig.server.logins["shop"] == "dead"


def test_a_proof_is_one_of_three():
    with pytest.raises(InvalidRequest, match="the proof of a login"):
        LoginAsk(DB, "shop", "trust me")
