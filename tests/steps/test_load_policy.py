"""A policy directory is loaded by who may, recorded, and brings its registrations and pins with it."""

import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from taskbound.core.errors import Denied, InvalidRequest
from taskbound.core.event import Kind
from taskbound.core.identity import JOIN_TOKEN, Claim, Facts, OneTime, Registration
from taskbound.core.organisation import operator_policy
from taskbound.core.thing import advance
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.steps.load_policy import load_policy, warnings_of
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.rig import ALICE, POLICY, Crash, Rig
from tests.stories.story import REFUND, claim_of

NIGHTLY = """[[registration]]
id = "agent/nightly"
owner = "human/alice"
environment = "dev"
groups = ["ci"]
attestor = "unix"
when = { uid = 1001 }
"""
PINS = ["crm/get_order", "crm/refund", "mail/send"]
SUPPORT = Claim("main", facts=Facts("unix", {"script": "/srv/agent/support.py"}))


class OnDisk(Rig):
    """A rig whose policy directory is its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@pytest.fixture
async def rig(tmp_path):
    """The demo's directory, and alice administers it."""
    made = OnDisk(shutil.copytree(POLICY, tmp_path / "policy"))
    await made.people()
    policies = PolicyFiles(made.path, made.world.policies.current.targets, operator_policy("human/alice"))
    made.world = replace(made.world, policies=policies)
    return made


def events(rig, *kinds):
    return [event for event in rig.store.events if event.kind in kinds]


async def registration(rig, name):
    async with rig.store.transaction(rig.door) as tx:
        (found,) = await tx.find(Registration, spiffe_id=f"spiffe://example.org/{name}")
        return found


async def state_to(rig, name, kind):
    found = await registration(rig, name)
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(kind, advance(found, kind))


def register(rig, text):
    (rig.path / "registrations.toml").write_text(text)


async def test_what_is_loaded_is_recorded_and_in_force(rig):
    loaded = await load_policy(rig.world, rig.door, ALICE)
    assert rig.world.policies.current is loaded and list(loaded.tools) == PINS
    (event,) = events(rig, Kind.POLICY_LOADED)
    assert (event.id, event.by, event.noun) == (loaded.version, "spiffe://example.org/human/alice", "policy")
    assert event.detail == {"policies": 4, "profiles": 2, "tools": 3, "registrations": 0}
    rig.check()


class Meanwhile:
    """A store whose first transaction takes its time to commit, while something else happens."""

    def __init__(self, store, happens):
        self._store, self._happens = store, [happens]

    @asynccontextmanager
    async def transaction(self, opener):
        async with self._store.transaction(opener) as tx:
            yield tx
        if self._happens:
            await self._happens.pop()()


async def test_a_slow_load_does_not_put_out_of_force_what_was_loaded_meanwhile(rig):
    """Else a forbid that its author was told is in force would be gone again."""
    newer = []

    async def another():
        forbid = '@id("stop") forbid(principal, action == Action::"tools/call", resource);\n'
        (rig.path / "organisation/stop.cedar").write_text(forbid)
        newer.append(await load_policy(rig.world, rig.door, ALICE))

    slow = replace(rig.world, store=Meanwhile(rig.world.store, another))
    once = OneTime("proof", "a value that is shown once", rig.clock() + timedelta(minutes=1))
    await load_policy(slow, rig.door, replace(ALICE, spend=(once,)))
    assert rig.world.policies.current.version == newer[0].version
    assert [event.id for event in events(rig, Kind.POLICY_LOADED)][-1] == newer[0].version


async def test_our_own_start_needs_no_policy_to_load_one(rig):
    rig.world = replace(rig.world, policies=PolicyFiles(rig.path, rig.world.policies.current.targets))
    await load_policy(rig.world, rig.door, rig.door)
    assert list(rig.world.policies.current.profiles) == ["look-up-order", "refund-order"]


async def test_nobody_loads_a_policy_by_the_one_that_is_to_be_loaded(rig):
    """The one in force decides: a file that would permit it permits nothing yet."""
    permit = '@id("admin-all") permit(principal, action == Action::"policy/load", resource);'
    (rig.path / "organisation" / "more.cedar").write_text(permit)
    before = rig.world.policies.current
    with pytest.raises(Denied) as denied:
        await load_policy(rig.world, rig.door, SUPPORT)
    assert denied.value.code == "not_permitted" and rig.world.policies.current is before
    (refused,) = events(rig, Kind.CALL_DENIED)
    assert (refused.value.action, refused.value.resource) == ("policy/load", "taskbound")
    assert events(rig, Kind.POLICY_LOADED, Kind.TOOL_PINNED) == []
    await load_policy(rig.world, rig.door, ALICE)
    await load_policy(rig.world, rig.door, SUPPORT)  # control: now it is in force


async def test_the_operator_administers_and_still_registers_only_what_it_answers_for(rig):
    ask = RegistrationAsk("agent/new", "human/alice", "unix", {"uid": 1003})
    made = await register_identity(rig.world, rig.door, ALICE, ask)
    assert made.is_live
    with pytest.raises(Denied) as denied:
        await register_identity(rig.world, rig.door, SUPPORT, replace(ask, name="agent/newer"))
    assert denied.value.code == "not_permitted"
    with pytest.raises(Denied) as denied:
        await register_identity(
            rig.world, rig.door, ALICE, RegistrationAsk("human/bob", "human/bob", "unix", {"uid": 2})
        )
    assert denied.value.code == "not_yours"


async def test_a_task_loads_no_policy(rig):
    await load_policy(rig.world, rig.door, ALICE)
    _, handle = await open_task(rig.world, rig.door, ALICE, replace(REFUND, actor=None))
    with pytest.raises(Denied, match="administration"):
        await load_policy(rig.world, rig.door, claim_of(handle))


async def test_a_broken_directory_changes_nothing(rig):
    loaded = await load_policy(rig.world, rig.door, ALICE)
    register(rig, NIGHTLY)
    (rig.path / "organisation" / "more.cedar").write_text("permit(principal")
    before = len(rig.store.events)
    with pytest.raises(InvalidRequest, match=r"more\.cedar"):
        await load_policy(rig.world, rig.door, ALICE)
    assert rig.world.policies.current is loaded and len(rig.store.events) == before


async def test_a_pin_is_recorded_when_a_load_brings_it_and_not_again(rig):
    loaded = await load_policy(rig.world, rig.door, ALICE)
    pinned = events(rig, Kind.TOOL_PINNED)
    assert [event.id for event in pinned] == PINS
    assert pinned[1].detail == {"pin": loaded.tools["crm/refund"].pin, "effect": "spend", "reviewed": True}
    await load_policy(rig.world, rig.door, ALICE)
    assert len(events(rig, Kind.TOOL_PINNED)) == 3 and len(events(rig, Kind.POLICY_LOADED)) == 2


# --- registrations -------------------------------------------------------------------------------


async def test_what_the_file_states_is_registered(rig):
    register(rig, NIGHTLY)
    await load_policy(rig.world, rig.door, ALICE)
    found = await registration(rig, "agent/nightly")
    assert (found.state, found.owner, found.environment, found.groups, found.when) == (
        "registered",
        "spiffe://example.org/human/alice",
        "dev",
        ("ci",),
        {"uid": 1001},
    )
    assert [event.id for event in events(rig, Kind.IDENTITY_REGISTERED)][-1] == found.id
    before = len(events(rig, Kind.IDENTITY_REGISTERED))
    await load_policy(rig.world, rig.door, ALICE)
    assert len(events(rig, Kind.IDENTITY_REGISTERED)) == before, "what did not change is not registered again"
    rig.check()


CHANGED = {
    "facts": ("uid = 1001", "uid = 1002", "when", {"uid": 1002}),
    "environment": ('"dev"', '"production"', "environment", "production"),
    "groups": ('["ci"]', "[]", "groups", ()),
    "purpose": ("attestor", 'purpose = "p"\nattestor', "purpose", "p"),
    "attestor": ('attestor = "unix"\nwhen = { uid = 1001 }', 'attestor = "join_token"', "attestor", JOIN_TOKEN),
}


@pytest.mark.parametrize(("old", "new", "field", "value"), CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("suspended", [False, True], ids=["live", "suspended"])
async def test_what_changed_in_the_file_is_registered_anew(rig, old, new, field, value, suspended):
    register(rig, NIGHTLY)
    await load_policy(rig.world, rig.door, ALICE)
    if suspended:
        await state_to(rig, "agent/nightly", Kind.IDENTITY_SUSPENDED)
    before = await registration(rig, "agent/nightly")
    register(rig, NIGHTLY.replace(old, new))
    await load_policy(rig.world, rig.door, ALICE)
    when = {} if field == "attestor" else before.when  # whoever joins shows the facts of a token
    assert await registration(rig, "agent/nightly") == replace(before, **{"when": when, field: value})
    rig.check()


async def test_a_name_that_retired_stays_retired(rig):
    register(rig, NIGHTLY)
    await load_policy(rig.world, rig.door, ALICE)
    await state_to(rig, "agent/nightly", Kind.IDENTITY_RETIRED)
    before = await registration(rig, "agent/nightly")
    register(rig, NIGHTLY.replace("1001", "1002"))
    await load_policy(rig.world, rig.door, ALICE)
    assert await registration(rig, "agent/nightly") == before


async def test_what_the_file_no_longer_names_stays(rig):
    register(rig, NIGHTLY)
    await load_policy(rig.world, rig.door, ALICE)
    register(rig, "")
    await load_policy(rig.world, rig.door, ALICE)
    assert (await registration(rig, "agent/nightly")).is_live


async def test_a_name_that_was_taken_out_of_the_file_is_told_with_the_command_that_ends_it(rig):
    register(rig, NIGHTLY + NIGHTLY.replace("nightly", "weekly"))
    nothing = rig.world.policies.current
    both = await load_policy(rig.world, rig.door, ALICE)
    register(rig, NIGHTLY)
    one = await load_policy(rig.world, rig.door, ALICE)
    assert warnings_of(both, nothing) == [] == warnings_of(one, one)
    assert warnings_of(one, both) == [
        "agent/weekly stands in registrations.toml no more, and may go on as before: "
        "taskbound identity retire agent/weekly"
    ]


async def test_tools_that_nobody_reviewed_are_told(rig):
    file = rig.path / "tools/crm.toml"
    text = file.read_text()
    file.write_text(re.sub(r"^reviewed = .*\n", "", text, count=2, flags=re.M))
    loaded = await load_policy(rig.world, rig.door, ALICE)
    (told,) = warnings_of(loaded, loaded)
    assert told.startswith("2 tools of crm are as derived: read tools/crm.toml, and write reviewed = {")
    file.write_text(text)
    loaded = await load_policy(rig.world, rig.door, ALICE)
    assert warnings_of(loaded, loaded) == []


async def test_the_facts_of_a_join_token_that_was_issued_are_kept(rig):
    joins = NIGHTLY.replace('attestor = "unix"\nwhen = { uid = 1001 }\n', 'attestor = "join_token"\n')
    register(rig, joins)
    await load_policy(rig.world, rig.door, ALICE)
    found = await registration(rig, "agent/nightly")
    assert found.when == {}
    issued = replace(found, when={"token": "digest"})
    async with rig.store.transaction(rig.door) as tx:
        await tx.record(Kind.IDENTITY_REGISTERED, advance(issued, Kind.IDENTITY_REGISTERED))
    await load_policy(rig.world, rig.door, ALICE)
    assert (await registration(rig, "agent/nightly")).when == {"token": "digest"}


@pytest.mark.parametrize("why", ["unknown", "suspended", "retired"])
async def test_an_owner_who_does_not_live_refuses_the_load_whole(rig, why):
    register(rig, NIGHTLY + NIGHTLY.replace("nightly", "weekly").replace("alice", "bob"))
    if why != "unknown":
        name = "spiffe://example.org/human/bob"
        bob = Registration("i" + "z" * 20, "main", name, "human", name, "", "", (), "operator", {"uid": 2000})
        async with rig.store.transaction(rig.door) as tx:
            await tx.record(Kind.IDENTITY_REGISTERED, advance(bob, Kind.IDENTITY_REGISTERED))
        await state_to(rig, "human/bob", Kind[f"IDENTITY_{why.upper()}"])
    before = rig.world.policies.current, len(rig.store.events)
    says = "registrations.toml: the owner of agent/weekly, human/bob, is "
    with pytest.raises(InvalidRequest, match=says) as refused:
        await load_policy(rig.world, rig.door, ALICE)
    assert refused.value.code == "invalid_policy"
    assert (rig.world.policies.current, len(rig.store.events)) == before, "nightly was not registered either"


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
async def test_a_crash_leaves_the_old_one_in_force_and_the_next_load_finds_the_same(rig, after):
    register(rig, NIGHTLY)
    before = rig.world.policies.current
    rig.crossings.crash_at, rig.crossings.after = len(rig.crossings.names) + 1, after
    with pytest.raises(Crash):
        await load_policy(rig.world, rig.door, ALICE)
    assert rig.world.policies.current is before
    assert len(events(rig, Kind.POLICY_LOADED)) == int(after)
    rig.crossings.crash_at = None
    await load_policy(rig.world, rig.door, ALICE)
    assert [event.id for event in events(rig, Kind.TOOL_PINNED)] == PINS
    assert len([one for one in events(rig, Kind.IDENTITY_REGISTERED) if one.value.spiffe_id.endswith("nightly")]) == 1
    rig.check()
