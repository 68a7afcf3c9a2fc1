"""What is done about a finding outside of here is in the log before it is done, and so is how it ended."""

import pytest

from taskbound.core.errors import Conflict, Denied, InvalidRequest, NotFound
from taskbound.core.event import Kind
from taskbound.core.finding import MANY
from taskbound.core.identity import for_request
from taskbound.steps.open_task import open_task
from taskbound.steps.record_fix import FixAsk, begin_fix, end_fix
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

ID = "0123456789ab"
FIX = FixAsk(ID, "fix", files=("/srv/shop/.env",), targets=("database_url",))
UNDO = FixAsk(ID, "undo", files=("/srv/shop/.env",), with_secrets=True)
KILL = FixAsk(ID, "kill", issuer="postgresql://localhost:5432", login="shop_app")


@pytest.fixture
async def rig():
    rig = Rig()
    await rig.people()
    return rig


def door(rig, request: str):
    return for_request(rig.door, request)


@pytest.mark.parametrize(
    ("ask", "begins", "done", "failed"),
    [
        pytest.param(FIX, Kind.FIX_BEGUN, Kind.FIX_DONE, Kind.FIX_FAILED, id="fix"),
        pytest.param(UNDO, Kind.FIX_BEGUN, Kind.FIX_DONE, Kind.FIX_FAILED, id="undo"),
        pytest.param(KILL, Kind.LOGIN_FELL_DUE, Kind.LOGIN_ENDED, Kind.LOGIN_OVERDUE, id="kill"),
    ],
)
@pytest.mark.parametrize("why", ["", "the disk is full"])
async def test_it_is_begun_before_and_ends_as_it_ended(rig, ask, begins, done, failed, why):
    begun = await begin_fix(rig.world, door(rig, "r1"), rig.door, ask)
    first = rig.store.events[-1]
    assert (begun, first.kind, first.id, first.value, first.request) == ("r1", begins, ID, None, "r1")
    said = {"before": "alive", "after": "unknown" if why else "dead"}
    kind = await end_fix(rig.world, door(rig, "r2"), rig.door, ID, begun, why, **said)
    last = rig.store.events[-1]
    assert kind == last.kind == (failed if why else done)
    seen = said if ask is KILL else {}
    assert last.detail == {**first.detail, "begun": "r1", "failed": why, **seen}, "the end alone says of what"
    rig.check()


async def test_secrets_that_are_put_back_are_said_to_be(rig):
    await begin_fix(rig.world, door(rig, "r1"), rig.door, UNDO)
    assert rig.store.events[-1].detail["with_secrets"] is True


async def test_what_was_never_begun_does_not_end_and_what_has_ended_does_not_end_again(rig):
    await begin_fix(rig.world, door(rig, "r1"), rig.door, FIX)
    count = len(rig.store.events)
    for finding, begun in ((ID, "r9"), (ID, ""), ("ba9876543210", "r1")):
        with pytest.raises(NotFound, match="was begun"):
            await end_fix(rig.world, rig.door, rig.door, finding, begun, "")
    assert len(rig.store.events) == count
    await end_fix(rig.world, rig.door, rig.door, ID, "r1", "")
    with pytest.raises(Conflict, match="has ended"):
        await end_fix(rig.world, rig.door, rig.door, ID, "r1", "again")
    assert len(rig.store.events) == count + 1


async def test_of_two_that_were_begun_each_has_its_own_end(rig):
    for request, ask in (("r1", FIX), ("r2", KILL)):
        await begin_fix(rig.world, door(rig, request), rig.door, ask)
    await end_fix(rig.world, rig.door, rig.door, ID, "r2", "", before="alive", after="dead")
    assert rig.store.events[-1].detail["after"] == "dead"
    await end_fix(rig.world, rig.door, rig.door, ID, "r1", "cut off")
    assert [one.kind for one in rig.store.events[-2:]] == [Kind.LOGIN_ENDED, Kind.FIX_FAILED]


async def test_who_is_in_a_task_or_has_no_permit_records_nothing(rig):
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    await begin_fix(rig.world, door(rig, "r1"), rig.door, FIX)
    for asker in (claim_of(handle), ALICE):
        for act in (
            begin_fix(rig.world, rig.door, asker, FIX),
            end_fix(rig.world, rig.door, asker, ID, "r1", ""),
        ):
            with pytest.raises(Denied):
                await act
            assert rig.store.events[-1].kind is Kind.CALL_DENIED
    assert [one.kind for one in rig.store.events if one.noun == "fix"] == [Kind.FIX_BEGUN]


@pytest.mark.parametrize(
    "asked",
    [
        {"act": "burn"},
        {"act": "kill"},
        {"act": "kill", "issuer": "redis://h:6379"},
        {"act": "fix", "issuer": "redis://h:6379", "login": "cart"},
        {"finding": "", "act": "fix"},
        {"finding": "a" * 65, "act": "fix"},
        {"act": "fix", "files": ("/x",) * (MANY + 1)},
        {"act": "fix", "files": ("/x" * 4096,)},
    ],
)
def test_what_cannot_be_meant_is_refused(asked):
    with pytest.raises(InvalidRequest):
        FixAsk(**{"finding": ID, **asked})
