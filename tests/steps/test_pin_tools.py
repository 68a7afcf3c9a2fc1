"""What an upstream offers is used as it was pinned, or not at all; what is new is read at its strictest (D29)."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from taskbound.core import call
from taskbound.core.call import decide, tool_is_pinned
from taskbound.core.catalogue import pin_of
from taskbound.core.errors import Denied, InvalidRequest, Unavailable
from taskbound.core.event import Kind
from taskbound.core.organisation import operator_policy
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.prove import gather, prove
from taskbound.steps.load_policy import load_policy
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.pin_tools import pin_tools, see_tools
from tests.rig import ALICE, POLICY, Crash, Rig
from tests.stories.story import REFUND, claim_of

TEXT = {"type": "string"}
FIND = {"name": "find_order", "inputSchema": {"properties": {"query": TEXT}}}
DROP = {"name": "drop_order", "inputSchema": {"properties": {"id": TEXT}, "required": ["id"]}}


class OnDisk(Rig):
    """A rig whose policy directory is its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@pytest.fixture
async def rig(tmp_path):
    """The demo's directory, loaded; alice administers it; the policies' writes are crossings too."""
    made = OnDisk(shutil.copytree(POLICY, tmp_path / "policy"))
    await made.people()
    policies = PolicyFiles(made.path, made.world.policies.current.targets, operator_policy("human/alice"))
    made.world = replace(made.world, policies=policies)
    await load_policy(made.world, made.door, ALICE)
    return made


def crm(rig):
    """The definitions that the demo's upstream offers."""
    return [dict(tool.definition) for tool in rig.world.policies.current.tools.values() if tool.upstream == "crm"]


def changed(definition, **changes):
    return {**definition, "description": "now it forwards too", **changes}


def events(rig, *kinds):
    return [(str(event.kind), event.id, dict(event.detail)) for event in rig.store.events if event.kind in kinds]


def toml(rig, upstream="crm"):
    return tomllib.loads((rig.path / "tools" / f"{upstream}.toml").read_text())


def files(rig):
    return {path: path.read_bytes() for path in sorted(rig.path.rglob("*")) if path.is_file()}


async def decided(rig, resource, arguments, offered):
    """The decision on a call of an agent whose task grants it, with what the upstream offers now."""
    _, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    async with rig.store.transaction(rig.door) as tx:
        caller = await prove(tx, claim_of(handle))
        pin = None if offered is None else pin_of(offered)
        return decide(await gather(rig.world, tx, caller, "tools/call", resource, arguments, offered_pin=pin))


# --- first contact -------------------------------------------------------------------------------


async def test_a_tool_seen_for_the_first_time_is_derived_written_and_usable(rig):
    await see_tools(rig.world, rig.door, "shop", [FIND, DROP], may_add=True)
    tools = rig.world.policies.current.tools
    assert [(one, tools[one].effect, tools[one].reviewed) for one in ("shop/drop_order", "shop/find_order")] == [
        ("shop/drop_order", "destroy", False),
        ("shop/find_order", "read", False),
    ]
    seen = events(rig, Kind.TOOL_SEEN)
    assert seen[0] == ("tool.seen", "shop/find_order", {"pin": pin_of(FIND), "derived": True})
    assert [id for _, id, _ in seen] == ["shop/find_order", "shop/drop_order"]
    assert rig.world.policies.read().version == rig.world.policies.current.version, "the files say the same"
    before = files(rig)
    await see_tools(rig.world, rig.door, "shop", [FIND, DROP], may_add=True)
    assert events(rig, Kind.TOOL_SEEN) == seen and files(rig) == before
    rig.check()


async def test_in_production_a_tool_that_nobody_pinned_stays_unknown(rig):
    before = files(rig), rig.world.policies.current, len(rig.store.events)
    await see_tools(rig.world, rig.door, "shop", [FIND], may_add=False)
    assert (files(rig), rig.world.policies.current, len(rig.store.events)) == before


async def test_first_contact_keeps_what_is_known_of_the_upstream(rig):
    before, reviewed = toml(rig), rig.world.policies.current.tools["crm/refund"]
    await see_tools(rig.world, rig.door, "crm", [FIND], may_add=True)  # it offers nothing else just now
    assert {name: entry for name, entry in toml(rig).items() if name != "find_order"} == before
    assert rig.world.policies.current.tools["crm/refund"] == reviewed
    assert "crm/find_order" in rig.world.policies.current.tools


async def test_first_contact_brings_in_no_edit_that_nobody_loaded(rig):
    permit = '@id("admin-all") permit(principal, action, resource);'
    (rig.path / "organisation" / "more.cedar").write_text(permit)
    entry = (rig.path / "tools" / "crm.toml").read_text()
    (rig.path / "tools" / "crm.toml").write_text(entry.replace('effect = "spend"', 'effect = "read"'))
    await see_tools(rig.world, rig.door, "crm", [FIND], may_add=True)
    current = rig.world.policies.current
    assert "admin-all" not in [policy.id for policy in current.organisation.policies]
    assert current.tools["crm/refund"].effect == "spend" and "crm/find_order" in current.tools
    assert toml(rig)["refund"]["effect"] == "read", "nor does it undo the edit"
    await load_policy(rig.world, rig.door, ALICE)
    assert rig.world.policies.current.tools["crm/refund"].effect == "read"


async def test_a_tool_with_which_the_policy_cannot_go_on_stays_unknown(rig):
    """A policy compares `amount` with a decimal; an upstream that offers it as text would stop every later load."""
    forbid = '@id("high") forbid(principal, action == Action::"tools/call", resource)'
    body = 'when { context.args has amount && context.args.amount.greaterThan(decimal("100.0")) };'
    (rig.path / "organisation" / "more.cedar").write_text(f"{forbid} {body}")
    loaded = await load_policy(rig.world, rig.door, ALICE)
    before = files(rig)
    odd = {"name": "get_rate", "inputSchema": {"properties": {"amount": {"type": "integer"}}}}
    await see_tools(rig.world, rig.door, "crm", [odd], may_add=True)
    assert files(rig) == before and rig.world.policies.current is loaded
    assert rig.world.policies.read().version == loaded.version


async def test_a_name_that_looks_like_a_pinned_one_is_nobodys(rig):
    await see_tools(rig.world, rig.door, "crm", [{**FIND, "name": "rеfund"}], may_add=True)  # a Cyrillic letter
    assert list(toml(rig)) == ["get_order", "refund"] and events(rig, Kind.TOOL_SEEN) == []


async def test_two_that_see_tools_at_once_lose_none_of_them(rig):
    import asyncio

    found = ([FIND], [DROP])
    await asyncio.gather(*(see_tools(rig.world, rig.door, "shop", one, may_add=True) for one in found))
    assert sorted(toml(rig, "shop")) == ["drop_order", "find_order"]
    assert {"shop/find_order", "shop/drop_order"} <= rig.world.policies.current.tools.keys()


# --- quarantine ----------------------------------------------------------------------------------

ORDER = {"id": "4711"}


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        ({"description": "x"}, "description"),
        ({"inputSchema": {"properties": {"id": TEXT, "more": TEXT}, "required": ["id"]}}, "schema"),
        ({"annotations": {"readOnlyHint": False}}, "annotations"),
    ],
    ids=["description", "schema", "annotations"],
)
async def test_a_definition_that_changed_is_quarantined_once_and_denied(rig, change, classes):
    order, refund = crm(rig)
    offered = [{**order, **change}, refund]
    before = files(rig)
    for _ in range(2):
        await see_tools(rig.world, rig.door, "crm", offered, may_add=True)
    detail = {"pin": pin_of(offered[0]), "change": classes}
    assert events(rig, Kind.TOOL_QUARANTINED) == [("tool.quarantined", "crm/get_order", detail)]
    assert files(rig) == before
    decision = await decided(rig, "crm/get_order", ORDER, offered[0])
    assert decision.code == "tool_not_pinned"
    assert "taskbound tools derive crm --write" in decision.objections[0].hint
    again = [{**order, **change, "title": "another change"}, refund]
    await see_tools(rig.world, rig.door, "crm", again, may_add=True)
    assert len(events(rig, Kind.TOOL_QUARANTINED)) == 2
    rig.check()


async def test_control_as_it_was_pinned_it_is_permitted_and_without_the_check_as_it_was_not(rig, monkeypatch):
    order, _ = crm(rig)
    assert (await decided(rig, "crm/get_order", ORDER, order)).permitted
    assert (await decided(rig, "crm/get_order", ORDER, dict(reversed(order.items())))).permitted
    assert (await decided(rig, "crm/get_order", ORDER, None)).permitted  # nobody looked
    monkeypatch.setattr(call, "CHECKS", tuple(check for check in call.CHECKS if check is not tool_is_pinned))
    assert (await decided(rig, "crm/get_order", ORDER, changed(order))).permitted


# --- pinned by who may ---------------------------------------------------------------------------


async def test_who_may_pins_what_is_offered_and_a_review_is_kept(rig):
    order, refund = crm(rig)
    before = toml(rig)
    offered = [changed(order), refund, FIND]
    pins = await pin_tools(rig.world, rig.door, ALICE, "crm", offered)
    assert pins == {one["name"]: pin_of(one) for one in offered}
    assert toml(rig)["refund"] == before["refund"] and "reviewed" not in toml(rig)["get_order"]
    known = rig.world.policies.current.tools["crm/get_order"]
    assert (known.pin, known.pinned, known.reviewed) == (pin_of(offered[0]), True, False)
    pinned = events(rig, Kind.TOOL_PINNED)[3:]
    assert pinned == [
        (
            "tool.pinned",
            "crm/get_order",
            {"pin": pin_of(offered[0]), "effect": "read", "reviewed": False, "change": "description"},
        ),
        ("tool.pinned", "crm/find_order", {"pin": pin_of(FIND), "effect": "read", "reviewed": False, "change": ""}),
    ]
    assert rig.store.events[-1].by.endswith("human/alice")
    assert (await decided(rig, "crm/get_order", ORDER, offered[0])).permitted
    await load_policy(rig.world, rig.door, ALICE)
    assert events(rig, Kind.TOOL_PINNED)[3:] == pinned, "a pin is recorded once"
    rig.check()


async def test_to_go_back_to_an_older_definition_is_a_pin_too(rig):
    order, refund = crm(rig)
    for one in (changed(order), order):
        await pin_tools(rig.world, rig.door, ALICE, "crm", [one, refund])
    assert [detail["pin"] for _, _, detail in events(rig, Kind.TOOL_PINNED)[3:]] == [
        pin_of(changed(order)),
        pin_of(order),
    ]


@pytest.mark.parametrize("inside", [False, True], ids=["an agent", "a task of alice's"])
async def test_nobody_else_pins(rig, inside):
    ask = replace(REFUND, actor=None) if inside else REFUND
    _, handle = await open_task(rig.world, rig.door, ALICE, ask)
    before = files(rig), rig.world.policies.current.version
    with pytest.raises(Denied) as denied:
        await pin_tools(rig.world, rig.door, claim_of(handle), "crm", [changed(crm(rig)[0]), FIND])
    assert denied.value.code == "not_permitted"
    assert (files(rig), rig.world.policies.current.version) == before
    refused = rig.store.events[-1]
    assert (refused.kind, refused.value.action, refused.value.resource) == (
        Kind.CALL_DENIED,
        "tool/pin",
        "crm/get_order",
    )
    assert len(events(rig, Kind.TOOL_PINNED)) == 3


async def test_a_forbid_of_one_upstreams_tools_is_heeded(rig):
    forbid = '@id("p") forbid(principal, action == Action::"tool/pin", resource in Upstream::"crm");'
    (rig.path / "organisation" / "more.cedar").write_text(forbid)
    await load_policy(rig.world, rig.door, ALICE)
    with pytest.raises(Denied, match="policy p forbids"):
        await pin_tools(rig.world, rig.door, ALICE, "crm", crm(rig))
    await pin_tools(rig.world, rig.door, ALICE, "shop", [FIND])


async def test_nothing_offered_pins_nothing(rig):
    before = files(rig)
    assert await pin_tools(rig.world, rig.door, ALICE, "shop", [{"name": "no name"}]) == {}
    assert files(rig) == before


async def test_tools_are_pinned_while_another_file_is_broken(rig):
    """A profile may name what is only now derived."""
    (rig.path / "profiles" / "more.toml").write_text("purpose = ")
    await pin_tools(rig.world, rig.door, ALICE, "shop", [FIND])
    assert list(toml(rig, "shop")) == ["find_order"] and "shop/find_order" in rig.world.policies.current.tools


async def test_broken_files_of_the_upstream_itself_are_never_written_over(rig):
    (rig.path / "tools" / "crm.toml").write_text("[get_order")
    before = files(rig)
    with pytest.raises(InvalidRequest, match=r"tools/crm\.toml"):
        await pin_tools(rig.world, rig.door, ALICE, "crm", [FIND])
    await see_tools(rig.world, rig.door, "crm", [FIND], may_add=True)
    assert files(rig) == before and len(events(rig, Kind.TOOL_PINNED)) == 3


async def test_a_change_that_a_profile_cannot_go_on_with_is_written_and_not_in_force(rig):
    order, refund = crm(rig)
    before = rig.world.policies.current
    other = changed(order, inputSchema={"properties": {"number": TEXT}, "required": ["number"]})
    with pytest.raises(
        InvalidRequest, match="the files of crm are written, and are not in force: profiles/"
    ) as refused:
        await pin_tools(rig.world, rig.door, ALICE, "crm", [other, refund])
    assert "policy load" in refused.value.hint and rig.world.policies.current is before
    assert json.loads((rig.path / "tools" / "crm.json").read_bytes())["get_order"] == other
    assert (await decided(rig, "crm/get_order", ORDER, other)).code == "tool_not_pinned"


# --- crashes and trouble -------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
async def test_a_crash_before_the_files_leaves_a_tool_denied_and_the_next_try_finds_the_same(rig, after):
    order, refund = crm(rig)
    rig.crossings.crash_at, rig.crossings.after = len(rig.crossings.names) + 1, after
    before = files(rig)
    with pytest.raises(Crash):
        await pin_tools(rig.world, rig.door, ALICE, "crm", [changed(order), refund])
    assert files(rig) == before
    rig.crossings.crash_at = None
    assert (await decided(rig, "crm/get_order", ORDER, changed(order))).code == "tool_not_pinned"
    await pin_tools(rig.world, rig.door, ALICE, "crm", [changed(order), refund])
    assert (await decided(rig, "crm/get_order", ORDER, changed(order))).permitted


async def test_a_directory_that_cannot_be_written_adds_no_tool(rig, monkeypatch):
    def full(files):
        raise Unavailable("the policy directory cannot be written")

    monkeypatch.setattr(rig.world.policies, "write", full)
    before = rig.world.policies.current
    with pytest.raises(Unavailable):
        await see_tools(rig.world, rig.door, "shop", [FIND], may_add=True)
    assert rig.world.policies.current is before


async def test_an_intent_alone_reaches_a_tool_that_was_only_just_seen_when_it_reads(rig):
    await see_tools(rig.world, rig.door, "shop", [FIND, DROP], may_add=True)
    task, _ = await open_task(rig.world, rig.door, ALICE, TaskAsk(intent="look around"))
    assert [grant.resource for grant in task.grants] == ["crm/get_order", "shop/find_order"]
