"""What else the sweep of test_raise runs of tools: their definitions, arguments, pins, and the counting of refusals.

As in `scenarios`: name -> (prepare, act). `permitted` is also arguments that came through as policies are to see them.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from taskbound.core.catalogue import pin_of, read_tool
from taskbound.core.errors import Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, for_request
from taskbound.steps.count_denials import count_denials
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.note_refusal import note_refusal
from tests.faults.deeds import does
from tests.faults.scenarios import Act, InForce, Prepare, first_accepted, leases, opened
from tests.rig import Rig

TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
PROPERTIES: Mapping[str, Any] = {
    "flag": {"type": "boolean"}, "whole": WHOLE, "number": NUMBER, "name": TEXT, "text": TEXT,
    "names": {"type": "array", "items": TEXT}, "numbers": {"type": "array", "items": NUMBER},
    "wholes": {"type": "array", "items": WHOLE}, "texts": {"type": "array", "items": TEXT},
    "any": {"type": "array", "items": {"type": ["string", "null"]}}, "object": {"type": "object"}, "none": {},
    "here": {"$ref": "#/$defs/a~1b/0"}, "nowhere": {"$ref": "http://x/"}, "lost": {"$ref": "#/$defs/x/y"},
    "circle": {"$ref": "#/$defs/circle"}, "odd": True, "either": {"anyOf": [TEXT, WHOLE]},
    "or_null": {"anyOf": [WHOLE, {"type": "null"}]}, "null_or": {"type": ["null", "integer"]}, "__extn": TEXT,
}  # fmt: skip
DEFINITION = {
    "name": "do",
    "inputSchema": {
        "$defs": {"a/b": [WHOLE], "circle": {"$ref": "#/$defs/circle"}},
        "properties": PROPERTIES,
        "required": ["whole", "or_null"],
    },
}
KINDS = {"name": "name", "names": "name", "text": "free_text", "texts": "free_text"}
ENTRY = {
    "pin": pin_of(DEFINITION), "effect": "read_secret", "arguments": KINDS, "result": {"body": "attested"},
    "reviewed": {"by": "human/alice", "on": date(2026, 11, 24)},
}  # fmt: skip
GIVEN = {
    "flag": True, "whole": 5.0, "number": 1.25, "name": "ä", "text": "ä", "names": ["a"], "numbers": [1, 2.5],
    "wholes": [1, 2.0], "texts": ["a"], "any": ["a", None], "object": {"a": 1}, "none": 1, "here": 7, "or_null": None,
}  # fmt: skip
SEEN = {
    "flag": True, "whole": 5, "name": "ä", "names": ["a"], "wholes": [1, 2], "texts": {"count": 1},
    "any": {"count": 2}, "here": 7,
}  # fmt: skip
LONG = "x" * 4097
BAD_ARGUMENTS: tuple[Mapping[str, Any], ...] = (
    {"flag": 1}, {"whole": 1.5}, {"whole": 2**53}, {"number": "1"}, {"number": 10**30}, {"number": 0.00001},
    {"number": 922337203685478}, {"name": 1}, {"name": "\ud800"}, {"name": LONG}, {"name": "ä" * 2049},
    {"text": 1}, {"names": "a"}, {"names": [1]}, {"numbers": [10**14 * 9, 10**14 * 9]}, {"any": [float("nan")]},
    {"object": float("inf")}, {"other": 1}, {"__extn": "x"}, {"whole": None}, {"names": ["x" * 4096] * 3},
)  # fmt: skip
BAD_ENTRIES: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = (
    ({"efect": "read"}, {}), ({}, {"name": "did"}), ({"pin": 1}, {}), ({"undo": 1}, {}), ({"reviewed": 1}, {}),
    ({"reviewed": {"by": "alice"}}, {}), ({"arguments": {"id": "name"}}, {}), ({"arguments": {"name": "nam"}}, {}),
    ({"effect": "reed"}, {}), ({"result": {"body": "good"}}, {}), ({}, {"inputSchema": 1}),
    ({}, {"title": float("nan")}),
)  # fmt: skip


async def nothing(rig: Rig) -> None:
    """The tool is read where it is swept."""


async def projects(rig: Rig, _: None) -> None:
    tool = read_tool("up", "do", ENTRY, DEFINITION)
    assert tool.pinned and tool.reviewed and tool.labels == {"secret"}
    unread = read_tool("up", "do", {key: said for key, said in ENTRY.items() if key != "reviewed"}, DEFINITION)
    assert unread.labels == {"free_text", "secret"} and not unread.reviewed
    seen = tool.project(GIVEN)
    assert {name: seen[name] for name in SEEN} == SEEN and "or_null" not in seen
    assert seen["number"] == {"__extn": {"fn": "decimal", "arg": "1.25"}}
    assert seen["numbers"]["sum"] == {"__extn": {"fn": "decimal", "arg": "3.5"}}
    sent = tool.sent(GIVEN)
    assert (sent["whole"], sent["wholes"], sent["or_null"]) == (5, [1, 2], None)
    assert tool.project({"whole": 1, "name": "x" * 4096})["name"] == "x" * 4096


async def projects_none(rig: Rig, _: None) -> str:
    tool = read_tool("up", "do", ENTRY, DEFINITION)

    def given(bad: Mapping[str, Any]) -> Any:
        async def project() -> None:
            tool.project({"whole": 1, **bad})

        return project

    return await first_accepted([given(bad) for bad in BAD_ARGUMENTS])


async def reads_none(rig: Rig, _: None) -> str:
    def of(entry: Mapping[str, Any], definition: Mapping[str, Any]) -> Any:
        async def read() -> None:
            read_tool("up", "do", {**ENTRY, **entry}, {**DEFINITION, **definition})

        return read

    return await first_accepted([of(*bad) for bad in BAD_ENTRIES])


# --- storms ------------------------------------------------------------------------------------------

REFUSED = Unauthenticated("unknown task handle")


async def shown_often(rig: Rig) -> None:
    for n in range(3):
        await note_refusal(rig.world, for_request(rig.door, f"r{n}"), "a task handle", REFUSED)
    rig.clock.advance(2)


async def denied_often(rig: Rig) -> None:
    agent = await opened(rig)
    for _ in range(3):
        await decide_call(rig.world, rig.door, agent, CallAsk("crm/get_order", {"id": "1"}))
    rig.clock.advance(2)


def counts(kind: Kind) -> Act:
    async def count(rig: Rig, _: None) -> None:
        """What repeated a refusal is stated once."""
        assert await count_denials(rig.world, rig.lane) == 1
        (said,) = [event for event in rig.store.events if event.kind is kind and "count" in event.detail]
        assert said.detail["count"] == 2

    return does(count)


async def with_new_targets(rig: Rig) -> Claim:
    """An agent, and targets of which nobody asked yet."""
    agent, known = await opened(rig), rig.world.policies.current
    rig.world = replace(
        rig.world, policies=InForce(replace(known, targets={name: replace(one) for name, one in known.targets.items()}))
    )
    return agent


async def notes(rig: Rig, _: None) -> None:
    await note_refusal(rig.world, for_request(rig.door, "r"), "a task handle", REFUSED)
    assert [event for event in rig.store.events if event.kind is Kind.TOKEN_REFUSED], "it is not on record"


SCENARIOS: dict[str, tuple[Prepare, Act]] = {
    "permitted:project": (nothing, does(projects)),
    "denied:project": (nothing, projects_none),
    "denied:read_tool": (nothing, reads_none),
    "permitted:lease_of_a_new_target": (with_new_targets, leases("shopdb/reader")),
    "permitted:count_refusals": (shown_often, counts(Kind.TOKEN_REFUSED)),
    "permitted:count_denials": (denied_often, counts(Kind.CALL_DENIED)),
    "permitted:note_refusal": (nothing, does(notes)),
}
