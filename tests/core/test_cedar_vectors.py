"""Cedar's own conformance cases, answered by authorize(): by slices, and split into organisation and grants."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taskbound.core.cedar import Attribute, Entity, Opaque, Policy, Uid, parse_policies, parse_policy
from taskbound.core.policy import Answer, PolicySet, Request, authorize

DATA = Path(__file__).parents[1] / "data" / "cedar"
CASES = [
    json.loads(line)
    for name in ("handwritten", "corpus-sample")
    for line in (DATA / f"{name}.jsonl").read_text().splitlines()
]
EVERYTHING = parse_policy("permit(principal, action, resource);")
FAILING = parse_policy("forbid(principal, action, resource) when { context.no_such_attribute_anywhere };")

each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"].rpartition("/")[2] for case in CASES])


def test_no_case_is_left_out():
    assert len(CASES) == 311
    assert sum(len(case["requests"]) for case in CASES) == 2_431
    seen = Counter(request["decision"] for case in CASES for request in case["requests"])
    failed = sum(bool(request["errors"]) for case in CASES for request in case["requests"])
    assert seen["allow"] > 100 and seen["deny"] > 100 and failed > 10, (seen, failed)


# --- from their JSON to our values -----------------------------------------------------------------


def value_of(value: Any, handwritten: bool) -> Attribute:
    if isinstance(value, list):
        return tuple(value_of(item, handwritten) for item in value)
    if isinstance(value, dict):
        named = value.get("__entity", value if handwritten and value.keys() == {"type", "id"} else None)
        return Uid(**named) if named is not None else Opaque(json.dumps(value))
    assert isinstance(value, str | int)
    return value


def entity_of(entity: dict[str, Any], handwritten: bool) -> Entity:
    assert entity.keys() <= {"uid", "attrs", "parents", "tags"}
    attrs, tags = (
        tuple((name, value_of(value, handwritten)) for name, value in entity.get(part, {}).items())
        for part in ("attrs", "tags")
    )
    parents = tuple(Uid(**parent.get("__entity", parent)) for parent in entity["parents"])
    return Entity(Uid(**entity["uid"].get("__entity", entity["uid"])), attrs, parents, tags)


# The handwritten cases leave extension values bare: their schema says what they are.
EXTENSIONS = {"source_ip": "ip", "confidence_score": "decimal"}


def context_of(context: dict[str, Any], handwritten: bool) -> dict[str, Any]:
    if not handwritten:
        return context
    return {
        name: {"__extn": {"fn": EXTENSIONS[name], "arg": value}}
        if name in EXTENSIONS and isinstance(value, str)
        else value
        for name, value in context.items()
    }


def request_of(case: dict[str, Any], asked: dict[str, Any], levels: tuple[tuple[str, ...], ...] = ()) -> Request:
    handwritten = case["name"].startswith("tests/")
    entities = {one.uid: one for one in (entity_of(entity, handwritten) for entity in case["entities"])}
    principal, resource = (
        entities.get(uid, Entity(uid)) for uid in (Uid(**asked["principal"]), Uid(**asked["resource"]))
    )
    context = context_of(asked["context"], handwritten)
    return Request(principal, Uid(**asked["action"]), resource, context, levels, tuple(entities.values()))


# --- and the answer back to their ids ----------------------------------------------------------------


def ids_of(case_policies: tuple[Policy, ...], names: tuple[str, ...] | frozenset[str]) -> set[str]:
    """Return the ids of the policies with these names; policies of one text are one to us."""
    return {f"policy{place}" for place, one in enumerate(case_policies) if one.name in names}


def failed_ids(case_policies: tuple[Policy, ...], answer: Answer) -> set[str]:
    digests = {policy_id.partition("/")[2] for policy_id in answer.errors}
    return {f"policy{place}" for place, one in enumerate(case_policies) if one.digest in digests}


def failed_forbid(policies: tuple[Policy, ...], asked: dict[str, Any]) -> bool:
    return any(policies[int(policy_id.removeprefix("policy"))].effect == "forbid" for policy_id in asked["errors"])


@each_case
def test_every_case_is_answered_as_cedar_answers_it(case):
    policies = parse_policies(case["policies"])
    assert len({one.name for one in policies}) == len({one.digest for one in policies})
    organisation = PolicySet(policies)
    for asked in case["requests"]:
        answer = authorize(organisation, request_of(case, asked))
        reasons = answer.permits if answer.allowed else answer.forbids
        assert answer.allowed is (asked["decision"] == "allow"), asked["description"]
        assert ids_of(policies, reasons) == set(asked["reason"]), asked["description"]
        assert failed_ids(policies, answer) == set(asked["errors"]), asked["description"]
        # Cedar skips a forbid that fails; here it denies.
        assert answer.permitted is (answer.allowed and not failed_forbid(policies, asked))


@each_case
def test_every_case_split_into_organisation_and_grants_is_decided_alike(case):
    policies = parse_policies(case["policies"])
    forbids = tuple(one for one in policies if one.effect == "forbid")
    permits = tuple(one for one in policies if one.effect == "permit")
    organisation = PolicySet((*forbids, EVERYTHING))
    for asked in case["requests"]:
        answer = authorize(organisation, request_of(case, asked, (tuple(one.text for one in permits),)))
        by_forbid = asked["decision"] == "deny" and bool(asked["reason"])
        granted = {permits[position].name for position in answer.granted[0]}
        assert ids_of(policies, answer.forbids) == (set(asked["reason"]) if by_forbid else set())
        assert ids_of(policies, frozenset(granted)) == (set() if by_forbid else set(asked["reason"]))
        assert answer.organisation_permits is not by_forbid
        assert failed_ids(policies, answer) == set(asked["errors"])
        assert answer.permitted is (asked["decision"] == "allow" and not failed_forbid(policies, asked))


@each_case
def test_every_case_with_a_forbid_that_fails_is_denied(case):
    """No case of the sample allows beside a failed forbid, so one is added to each."""
    policies = parse_policies(case["policies"])
    organisation = PolicySet((*policies, FAILING))
    for asked in case["requests"]:
        answer = authorize(organisation, request_of(case, asked))
        assert answer.allowed is (asked["decision"] == "allow")
        assert FAILING.name in answer.failed_forbids and not answer.permitted
