"""A finding is closed only where its credentials are gone from every place and dead where they were issued."""

from dataclasses import replace

import pytest

from taskbound.core.errors import Denied, InvalidRequest
from taskbound.core.event import Kind
from taskbound.core.finding import MANY, Finding, Issued, Spot
from taskbound.core.identity import door
from taskbound.steps.open_task import open_task
from taskbound.steps.raise_findings import MOST, FindingAsk, Raised, raise_findings
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

DB = "postgresql://db.shop.example:5432"
NEAR = "postgresql://localhost:5432"
SHOP = Issued("0" * 16, "postgres-password", DB, "shop")
TOKEN = Issued("1" * 16, "github-pat", "GitHub")
ASK = FindingAsk(
    seen_as="0123456789ab",
    case="password-in-connection-url",
    severity="high",
    says="a credential lies in the open",
    subjects=("postgres-password …ab12",),
    places=(Spot("/srv/shop/.env", 3),),
    issued=(SHOP,),
    owner="",
    next="taskbound fix 0123456789ab",
)


class Server:
    """A server's logins, and how often it was asked."""

    def __init__(self, **logins: str) -> None:
        self.logins, self.asked = logins, 0

    async def probe(self, login, password):
        assert password is None
        self.asked += 1
        return self.logins.get(login, "dead")

    async def kill(self, login):
        self.logins[login] = "dead"


class Findings(Rig):
    def __init__(self, **logins: str) -> None:
        super().__init__()
        self.server = Server(**logins)
        self.world = replace(self.world, issuers={DB: self.server})

    async def scan(self, *seen: FindingAsk, gone=(), asker=None):
        told = await raise_findings(self.world, self.door, asker or self.door, seen, gone)
        self.check()
        return told

    def finding(self, ask: FindingAsk = ASK) -> Finding:
        found: Finding = self.store.things["main", "finding", ask.id]
        return found

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.store.events if event.noun == "finding"]


@pytest.fixture
async def rig():
    rig = Findings()
    await rig.people()
    return rig


async def test_what_is_new_is_raised_once_and_what_is_known_stays_untouched(rig):
    told = await rig.scan(ASK, ASK)
    assert (told.raised, told.known) == ([ASK.id], [])
    raised = rig.finding()
    rig.clock.advance(60)
    told = await rig.scan(replace(ASK, says="moved", places=(Spot("/srv/shop/.env", 9),)))
    assert (told.raised, told.known) == ([], [ASK.id])
    assert rig.finding() == raised
    assert rig.kinds() == [Kind.FINDING_RAISED]


async def test_another_file_or_another_credential_is_another_finding(rig):
    told = await rig.scan(
        ASK, replace(ASK, places=(Spot("/srv/other/.env", 3),)), replace(ASK, subjects=("postgres-password …cd34",))
    )
    assert len(set(told.raised)) == 3


async def test_what_is_gone_and_dead_at_its_issuer_is_closed_and_raised_anew_when_it_is_back(rig):
    await rig.scan(ASK)
    told = await rig.scan(gone=[ASK.id])
    assert (told.closed, told.kept, rig.finding().state, rig.server.asked) == ([ASK.id], {}, "closed", 1)
    assert (await rig.scan(gone=[ASK.id])).closed == [], "it is closed already"
    told = await rig.scan(ASK)
    assert (told.raised, rig.finding().state) == ([ASK.id], "raised")
    assert rig.kinds() == [Kind.FINDING_RAISED, Kind.FINDING_CLOSED, Kind.FINDING_RAISED]


@pytest.mark.parametrize(
    ("issued", "logins", "why"),
    [
        pytest.param((SHOP,), {"shop": "alive"}, f"shop still logs in at {DB}", id="alive"),
        pytest.param((SHOP,), {"shop": "unknown"}, f"cannot be verified: {DB}", id="no answer"),
        pytest.param((replace(SHOP, login=""),), {}, f"cannot be verified: {DB}", id="login not known"),
        pytest.param((TOKEN,), {}, "cannot be verified: GitHub", id="nobody to ask"),
        pytest.param((SHOP, TOKEN), {}, "cannot be verified: GitHub", id="one of two"),
    ],
)
async def test_what_is_gone_and_not_verified_dead_stays_open_and_says_why(issued, logins, why):
    rig = Findings(**logins)
    ask = replace(ASK, issued=issued)
    await rig.scan(ask)
    told = await rig.scan(gone=[ask.id])
    assert (told.closed, told.kept) == ([], {ask.id: why})
    assert (rig.finding(ask).state, rig.finding(ask).kept) == ("raised", why)
    before = len(rig.store.events)
    await rig.scan(gone=[ask.id])
    assert len(rig.store.events) == before, "nothing new is known"
    told = await rig.scan(ask)
    assert (told.known, rig.finding(ask).kept) == ([ask.id], "")


async def test_control_what_holds_no_credential_is_closed_when_it_is_gone(rig):
    ask = replace(ASK, issued=(), case="docker-socket-mounted")
    await rig.scan(ask)
    assert (await rig.scan(gone=[ask.id])).closed == [ask.id]


async def test_who_is_in_a_task_or_has_no_permit_raises_nothing(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor=None))
    for asker in (claim_of(handle), ALICE):
        with pytest.raises(Denied) as denied:
            await rig.scan(ASK, asker=asker)
        assert denied.value.code == "not_permitted"
        assert rig.store.events[-1].kind is Kind.CALL_DENIED
    assert rig.kinds() == []


async def test_another_organisation_has_findings_of_its_own(rig):
    await rig.scan(ASK)
    elsewhere = door("example.org", "door/gateway", "other")
    told = await raise_findings(rig.world, elsewhere, elsewhere, [], [ASK.id])
    assert (told.closed, told.kept, rig.finding().state) == ([], {}, "raised")


@pytest.mark.parametrize(
    "change",
    [{"severity": "bad"}, {"places": ()}, {"says": "x" * 5000}, {"subjects": ("x",) * 1001}, {"owner": "\ud800"}],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_be_kept_is_not_asked(change):
    with pytest.raises(InvalidRequest):
        replace(ASK, **change)


async def test_a_request_has_room_for_so_many(rig):
    with pytest.raises(InvalidRequest, match="at most"):
        await rig.scan(gone=["f"] * (MOST + 1))


async def test_one_more_credential_in_a_finding_opens_it_again_and_keeps_it_open_while_it_lives(rig):
    """A finding is known by its files and what it names: two tokens may be called the same there."""
    rig.server.logins["other"] = "alive"
    other = replace(SHOP, mark="2" * 16, login="other")
    await rig.scan(ASK)
    assert await rig.scan(replace(ASK, issued=(SHOP, other))) == Raised(known=[ASK.id])
    assert rig.finding().issued == (SHOP, other)
    await rig.scan(replace(ASK, issued=(SHOP,)))
    told = await rig.scan(gone=[ASK.id])
    assert (told.closed, rig.finding().kept) == ([], f"other still logs in at {DB}")


async def test_more_credentials_than_a_finding_has_room_for_never_close_it(rig):
    marks = [replace(SHOP, mark=f"{number:016x}") for number in range(MANY + 1)]
    await rig.scan(replace(ASK, issued=tuple(marks[:MANY])))
    await rig.scan(replace(ASK, issued=(marks[MANY],)))
    assert len(rig.finding().issued) == MANY
    assert (await rig.scan(gone=[ASK.id])).closed == []


# --- localhost -------------------------------------------------------------------------------------

HERE = replace(SHOP, issuer=NEAR)
LOCAL = replace(ASK, issued=(HERE,))
FOREIGN = replace(HERE, issuer=f"{NEAR} of another machine")


def near(**logins: str) -> Findings:
    rig = Findings(**logins)
    rig.world = replace(rig.world, issuers={NEAR: rig.server})
    return rig


@pytest.mark.parametrize("standing", ["dead", "unknown"])
async def test_what_localhost_never_let_in_is_another_machine_s_and_not_closed_by_this_one(standing):
    rig = near(shop=standing)
    await rig.people()
    await rig.scan(LOCAL)
    assert rig.finding().issued == (FOREIGN,)
    assert (await rig.scan(LOCAL)).known == [ASK.id], "it is the same again"
    rig.server.logins["shop"] = "dead"
    assert (await rig.scan(gone=[ASK.id])).kept == {ASK.id: f"cannot be verified: {FOREIGN.issuer}"}


async def test_what_localhost_let_in_is_closed_once_it_is_gone_and_dead_there():
    rig = near(shop="alive")
    await rig.people()
    await rig.scan(LOCAL)
    rig.server.logins["shop"] = "dead"
    assert (await rig.scan(LOCAL)).known == [ASK.id], "it lies there still"
    assert rig.finding().issued == (HERE,)
    assert (await rig.scan(gone=[ASK.id])).closed == [ASK.id]


async def test_what_localhost_lets_in_after_all_is_its_own():
    rig = near(shop="unknown")
    await rig.people()
    await rig.scan(LOCAL)
    rig.server.logins["shop"] = "alive"
    await rig.scan(LOCAL)
    assert rig.finding().issued == (HERE,)
    assert rig.kinds() == [Kind.FINDING_RAISED] * 2


async def test_no_server_is_asked_for_who_may_raise_nothing():
    rig = near(shop="alive")
    await rig.people()
    with pytest.raises(Denied):
        await rig.scan(LOCAL, asker=ALICE)
    assert rig.server.asked == 0
