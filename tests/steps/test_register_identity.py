"""A name is registered by our own parts, or by the human who answers for it where policy permits that."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from taskbound.core.errors import Conflict, Denied, InvalidRequest, NotFound, Unavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Registration
from taskbound.core.thing import advance
from taskbound.steps.load_policy import load_policy
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_and_write, register_identity
from tests.rig import ALICE, POLICY, Rig
from tests.stories.story import REFUND, claim_of

NIGHTLY = RegistrationAsk("agent/nightly", "human/alice", "unix", {"script": "/srv/nightly.py"}, "runs at night", "dev")
BOB = RegistrationAsk("human/bob", "human/bob", "operator", {"uid": 2000})
SUPPORT = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))


@pytest.fixture
async def rig():
    """The policy of the demo, which permits nobody to register."""
    made = Rig()
    await made.people()
    await register_identity(made.world, made.door, made.door, BOB)
    return made


@pytest.fixture
async def permissive(tmp_path):
    """A policy that permits everybody to register everything."""
    policy = shutil.copytree(POLICY, tmp_path / "policy")
    permit = 'permit(principal, action == Action::"identity/register", resource);'
    (policy / "organisation" / "admin.cedar").write_text(f'@id("admin-register")\n{permit}\n')
    made = Rig(policy)
    await made.people()
    await register_identity(made.world, made.door, made.door, BOB)
    return made


def names(rig):
    return sorted(thing.spiffe_id for (_, noun, _), thing in rig.store.things.items() if noun == "registration")


async def denied(rig, who, ask):
    """The denial that is raised; and it is the last thing recorded, and registers nobody."""
    before = names(rig)
    with pytest.raises(Denied) as refused:
        await register_identity(rig.world, rig.door, who, ask)
    last = rig.store.events[-1]
    assert (last.kind, last.value.action, last.value.resource) == (Kind.CALL_DENIED, "identity/register", ask.name)
    assert last.value.code == refused.value.code
    assert last.value.policy == rig.world.policies.current.version
    assert names(rig) == before
    rig.check()
    return refused.value


@pytest.mark.parametrize("who", [ALICE, SUPPORT], ids=["human", "agent"])
async def test_without_a_permit_nobody_but_our_own_parts_registers(rig, who):
    assert (await denied(rig, who, NIGHTLY)).code == "not_permitted"
    made = await register_identity(rig.world, rig.door, rig.door, NIGHTLY)
    assert (made.state, made.spiffe_id) == ("registered", "spiffe://example.org/agent/nightly")


async def test_a_human_registers_what_it_owns_itself(permissive):
    made = await register_identity(permissive.world, permissive.door, ALICE, NIGHTLY)
    last = permissive.store.events[-1]
    assert (last.kind, last.value, last.by) == (Kind.IDENTITY_REGISTERED, made, "spiffe://example.org/human/alice")
    assert made.owner == "spiffe://example.org/human/alice"
    permissive.check()


@pytest.mark.parametrize(
    ("who", "ask"),
    [
        (ALICE, replace(NIGHTLY, owner="human/bob")),
        (ALICE, RegistrationAsk("human/carol", "human/carol", "operator", {"uid": 3000})),
        (SUPPORT, NIGHTLY),
    ],
    ids=["another's agent", "another human", "an agent for its owner"],
)
async def test_nobody_registers_what_somebody_else_answers_for(permissive, who, ask):
    assert (await denied(permissive, who, ask)).code == "not_yours"


async def test_a_task_registers_nobody(permissive):
    """Alice's own task: outside it she might."""
    _, handle = await open_task(permissive.world, permissive.door, ALICE, replace(REFUND, actor=None))
    refused = await denied(permissive, claim_of(handle), NIGHTLY)
    assert (refused.code, "inside a task" in str(refused)) == ("not_permitted", True)


@pytest.mark.parametrize("kind", [Kind.IDENTITY_SUSPENDED, Kind.IDENTITY_RETIRED, Kind.IDENTITY_OFFBOARDED])
async def test_an_owner_is_live(rig, kind):
    async with rig.store.transaction(rig.door) as tx:
        (bob,) = await tx.find(Registration, spiffe_id="spiffe://example.org/human/bob")
        await tx.record(kind, advance(bob, kind))
    before = len(rig.store.events)
    with pytest.raises(InvalidRequest, match="owner human/bob is not live"):
        await register_identity(rig.world, rig.door, rig.door, replace(NIGHTLY, owner="human/bob"))
    assert len(rig.store.events) == before


async def test_an_owner_is_known(rig):
    before = len(rig.store.events)
    with pytest.raises(NotFound, match="human/nobody") as refused:
        await register_identity(rig.world, rig.door, rig.door, replace(NIGHTLY, owner="human/nobody"))
    assert refused.value.hint == "did you mean 'human/bob'?"
    with pytest.raises(NotFound, match="human/alise") as refused:
        await register_identity(rig.world, rig.door, rig.door, replace(NIGHTLY, owner="human/alise"))
    assert refused.value.hint == "did you mean 'human/alice'?"
    assert len(rig.store.events) == before


@pytest.mark.parametrize("retired", [False, True], ids=["live", "retired"])
async def test_a_name_is_registered_once(rig, retired):
    made = await register_identity(rig.world, rig.door, rig.door, NIGHTLY)
    if retired:  # what a name did stays its own
        async with rig.store.transaction(rig.door) as tx:
            await tx.record(Kind.IDENTITY_RETIRED, advance(made, Kind.IDENTITY_RETIRED))
    before = len(rig.store.events)
    with pytest.raises(Conflict, match="agent/nightly is registered already"):
        await register_identity(rig.world, rig.door, rig.door, replace(NIGHTLY, when={"script": "/srv/other.py"}))
    assert len(rig.store.events) == before


@pytest.mark.parametrize("who", ["ours", "human"])
@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "agent"},
        {"name": "agent/"},
        {"name": "/nightly"},
        {"name": "taskbound/door/gateway"},
        {"name": "robot/nightly"},
        {"name": "agent/../human/alice"},
        {"name": "agent//nightly"},
        {"name": "agent/night ly"},
        {"name": "agent/nïghtly"},
        {"name": "agent/nightly?x"},
        {"name": "agent/nightly\n"},
        {"owner": ""},
        {"owner": "agent/support"},
        {"owner": "human/"},
        {"owner": "human/../agent/support"},
        {"name": "human/carol"},  # a human answers for itself
        {"when": {}},
        {"when": {"uuid": 7}},
        {"when": {"uid": 7, "name": "human/alice"}},  # a fact of another attestor
        {"attestor": "oidc"},
    ],
    ids=repr,
)
async def test_a_bad_name_or_owner_is_refused_and_nothing_happens(permissive, change, who):
    before = len(permissive.store.events)
    with pytest.raises(InvalidRequest):
        asker = ALICE if who == "human" else permissive.door
        await register_identity(permissive.world, permissive.door, asker, replace(NIGHTLY, **change))
    assert len(permissive.store.events) == before


@pytest.mark.parametrize(
    "change",
    [
        {"name": "agent/" + "x" * 507},
        {"owner": "human/" + "x" * 507},
        {"attestor": "x" * 513},
        {"environment": "x" * 513},
        {"groups": ("ops", "x" * 513)},
        {"purpose": "x" * 4097},
        {"purpose": "\ud800"},
        {"groups": ("\udfff",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_be_kept_is_not_asked(change):
    with pytest.raises(InvalidRequest):
        replace(NIGHTLY, **change)


# --- registrations.toml ----------------------------------------------------------------------------

OWN = """# who works here
[[registration]]
id = "agent/weekly"  # on Sundays
owner = "human/alice"
environment = "dev"
attestor = "unix"
when = { uid = 7 }
"""


class Written(Rig):
    def __init__(self, policy: Path) -> None:
        super().__init__(policy)
        self.file = policy / "registrations.toml"

    async def register(self, ask: RegistrationAsk) -> tuple[Registration, str]:
        return await register_and_write(self.world, self.door, self.door, ask)


@pytest.fixture
async def written(tmp_path):
    """A world that writes its policy directory; the file, and how to register in it."""
    policy = shutil.copytree(POLICY, tmp_path / "policy")
    (policy / "registrations.toml").unlink(missing_ok=True)
    made = Written(policy)
    await made.people()
    return made


async def test_who_is_registered_stands_in_the_file_and_comments_stay(written):
    written.file.write_text(OWN)
    odd = replace(NIGHTLY, purpose='"sums"\n\\ \x7f ü', groups=("ci", "night"), when={"uid": 7, "script": "x\ty"})
    known, why_not = await written.register(odd)
    assert (known.state, why_not) == ("registered", "")
    text = written.file.read_text()
    assert text.startswith(OWN + '\n[[registration]]\nid = "agent/nightly"\nowner = "human/alice"\n')
    assert 'when = { uid = 7, script = "x\\ty" }\n' in text
    before = written.world.policies.current.version
    assert [one.name for one in written.world.policies.current.registrations] == [
        "agent/nightly"
    ]  # not what nobody loaded
    await load_policy(written.world, written.door, written.door)
    assert written.world.policies.current.version != before
    again = [one for (_, noun, _), one in written.store.things.items() if one.id == known.id]
    assert again == [known]  # the file says what is registered, so that a load states nothing anew


async def test_the_first_one_makes_the_file_and_it_is_in_force_at_once(written):
    assert (await written.register(NIGHTLY))[1] == ""
    assert written.world.policies.read().version == written.world.policies.current.version
    join = RegistrationAsk("service/new", "human/alice", "join_token", {}, environment="dev")
    assert (await written.register(join))[1] == ""
    names = [one.name for one in written.world.policies.read().registrations]
    assert names == ["agent/nightly", "service/new"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = 1", InvalidRequest),
        ('[[registration]]\nid = "agent/nightly"', InvalidRequest),
        (OWN.replace("weekly", "nightly"), Conflict),
        ("registration = []", InvalidRequest),
    ],
)
async def test_a_file_that_is_broken_or_says_otherwise_registers_nobody(written, text, error):
    written.file.write_text(text)
    before = names(written)
    with pytest.raises(error):
        await written.register(NIGHTLY)
    assert (names(written), written.file.read_text()) == (before, text)


async def test_a_name_that_the_file_has_already_is_registered_and_the_file_stays(written):
    written.file.write_text(OWN)
    weekly = RegistrationAsk("agent/weekly", "human/alice", "unix", {"uid": 7}, environment="dev")
    assert (await written.register(weekly))[1] == ""
    assert written.file.read_text() == OWN


async def test_a_file_that_cannot_be_written_is_told_and_the_name_is_registered(written):
    written.file.mkdir()
    with pytest.raises(InvalidRequest):
        await written.register(NIGHTLY)
    written.file.rmdir()
    written.world.policies.write = lambda files: (_ for _ in ()).throw(Unavailable("a full disk"))
    known, why_not = await written.register(NIGHTLY)
    assert (known.state, why_not) == ("registered", "a full disk")


async def test_nobody_else_makes_an_operator(written):
    with pytest.raises(InvalidRequest, match="by taskbound up alone"):
        await written.register(BOB)


async def test_a_human_and_who_has_no_environment_stand_in_no_file(written):
    assert "no file" in (await written.register(replace(BOB, environment="dev", attestor="unix")))[1]
    assert "environment" in (await written.register(replace(NIGHTLY, environment="")))[1]
    assert not written.file.exists()
