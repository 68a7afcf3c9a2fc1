"""core/policy.py by example: what is found, what is handed over, how one answer is read by level."""

import json
from typing import Any

import cedarpy
import pytest

from taskbound.core.cedar import Entity, Opaque, Uid, context_paths, parse_policies, parse_policy
from taskbound.core.errors import InvalidRequest
from taskbound.core.policy import Answer, PolicySet, Request, authorize, trim

CALL = Uid("Action", "tools/call")
AGENT = Entity(Uid("Agent", "a1"), (("owner", Uid("Human", "ann")), ("environment", "test")), (Uid("Group", "bots"),))
TOOL = Entity(Uid("Tool", "crm/refund"), (("effect", "money"),), (Uid("Upstream", "crm"),))
STAFF = Entity(Uid("Group", "bots"), (), (Uid("Group", "staff"),))
PERMIT = "permit(principal, action, resource);"


def ask(*texts, context=None, levels=(), others=(STAFF,), principal=AGENT, resource=TOOL, action=CALL) -> Answer:
    request = Request(principal, action, resource, context or {}, tuple(map(tuple, levels)), others)
    return authorize(PolicySet(map(parse_policy, texts)), request)


def found(text, others=(STAFF,), action=CALL, principal=AGENT, resource=TOOL) -> bool:
    return bool(PolicySet([parse_policy(text)]).slice(Request(principal, action, resource, {}, (), others)))


# --- slicing -----------------------------------------------------------------------------------

SCOPES = [
    ("principal, action, resource", True),
    ('principal == Agent::"a1", action, resource', True),
    ('principal == Agent::"a2", action, resource', False),
    ('principal == Service::"a1", action, resource', False),
    ('principal in Agent::"a1", action, resource', True),
    ('principal in Group::"bots", action, resource', True),
    ('principal in Group::"staff", action, resource', True),
    ('principal in Group::"other", action, resource', False),
    ("principal is Agent, action, resource", True),
    ("principal is Group, action, resource", False),
    ('principal is Agent in Group::"staff", action, resource', True),
    ('principal is Agent in Group::"other", action, resource', False),
    ('principal is Human in Group::"staff", action, resource', False),
    ('principal is Agent in Agent::"a1", action, resource', True),
    ('principal, action == Action::"tools/call", resource', True),
    ('principal, action == Action::"lease/issue", resource', False),
    ('principal, action in Action::"tools/call", resource', True),
    ('principal, action in Action::"acts", resource', True),
    ('principal, action == Action::"acts", resource', False),
    ('principal, action in [Action::"lease/issue", Action::"tools/call"], resource', True),
    ('principal, action in [Action::"lease/issue", Action::"acts"], resource', True),
    ('principal, action in [Action::"lease/issue"], resource', False),
    ("principal, action in [], resource", False),
    ('principal, action, resource == Tool::"crm/refund"', True),
    ('principal, action, resource in Upstream::"crm"', True),
    ('principal, action, resource in Upstream::"erp"', False),
    ('principal, action, resource is Tool in Upstream::"crm"', True),
    ('principal, action, resource is Tool in Upstream::"erp"', False),
    ("principal, action, resource is Target", False),
    ('principal in Group::"staff", action in Action::"acts", resource is Tool', True),
    ('principal in Group::"staff", action in Action::"acts", resource is Target', False),
]


@pytest.mark.parametrize(("scope", "applies"), SCOPES, ids=[scope for scope, _ in SCOPES])
def test_a_slice_holds_exactly_what_applies(scope, applies):
    others = (STAFF, Entity(CALL, (), (Uid("Action", "acts"),)))
    assert found(f"permit({scope});", others) is applies
    assert ask(f"permit({scope});", others=others).allowed is applies  # as Cedar has it


def test_a_slice_is_sorted_and_holds_each_text_once():
    texts = [f"permit(principal, action, resource) when {{ {n} == {n} }};" for n in range(20)]
    held = PolicySet(map(parse_policy, texts + texts)).slice(Request(AGENT, CALL, TOOL, {}))
    assert [one.digest for one in held] == sorted(parse_policy(text).digest for text in texts)


def test_a_slice_of_many_evaluates_few():
    texts = [f'permit(principal, action, resource == Tool::"crm/{n}");' for n in range(500)]
    assert PolicySet(map(parse_policy, [*texts, PERMIT])).slice(Request(AGENT, CALL, TOOL, {})) == (
        parse_policy(PERMIT),
    )


def test_a_circle_of_parents_is_refused_not_followed_forever():
    circle = (STAFF, Entity(Uid("Group", "staff"), (), (Uid("Group", "bots"),)))
    with pytest.raises(InvalidRequest):
        ask(PERMIT, others=circle)


# --- trimming ----------------------------------------------------------------------------------

PATHS = [
    ("true", set()),
    ("principal.owner == resource.owner", set()),
    ("context.depth > 3", {("depth",)}),
    ("context.args.x == 1", {("args", "x")}),
    ('context["args"]["a b"] == 1', {("args", "a b")}),
    ("context has subject", {("subject",)}),
    ("context.args has x", {("args", "x")}),
    ("context has args.x", {("args",), ("args", "x")}),
    ("context.subject in principal.owner", {("subject",)}),
    ("principal in context.subject", {("subject",)}),
    ("context.args == {x: 1}", {("args",)}),
    ("context == {}", {()}),
    ("{Var: 1} == {Var: 2}", set()),
    ('{Var: context.depth, Value: {Var: "context"}}.Var == 1', {("depth",)}),
    ("(if true then context else context.args).x == 1", {(), ("args",)}),
    ("[context.a, context.b.c].contains(1)", {("a",), ("b", "c")}),
    ('context.m.lessThan(decimal("1.0"))', {("m",)}),
    ('context.m.lessThan(context.grant["0"].max)', {("m",), ("grant", "0", "max")}),
    ('ip(context.at).isInRange(ip("10.0.0.0/8"))', {("at",)}),
    ('context.name like "Var*"', {("name",)}),
    ("context.labels.isEmpty() && !context.b && -context.n < 1", {("labels",), ("b",), ("n",)}),
    ('context.subject is Human in Group::"x"', {("subject",)}),
    ('context.subject.hasTag("t") && context.subject.getTag(context.t) == 1', {("subject",), ("t",)}),
    ("context.subject.owner.x == 1", {("subject", "owner", "x")}),
]


@pytest.mark.parametrize(("condition", "paths"), PATHS, ids=[condition for condition, _ in PATHS])
@pytest.mark.parametrize("kind", ["when", "unless"])
def test_every_path_into_the_context_is_found(kind, condition, paths):
    parsed = parse_policy(f"permit(principal, action, resource) when {{ true }} {kind} {{ {condition} }};")
    assert context_paths(parsed.est) == parsed.reads == paths


WHOLE = {"args": {"x": 1, "y": {"z": [1]}}, "m": {"__extn": {"fn": "decimal", "arg": "1.0"}}, "n": 1}
TRIMS: list[tuple[set[tuple[str, ...]], dict[str, Any]]] = [
    (set(), {}),
    ({()}, WHOLE),
    ({(), ("n",)}, WHOLE),
    ({("n",)}, {"n": 1}),
    ({("absent",), ("args", "absent")}, {"args": {}}),
    ({("args", "x")}, {"args": {"x": 1}}),
    ({("args", "y")}, {"args": {"y": {"z": [1]}}}),
    ({("args", "y", "q")}, {"args": {"y": {}}}),
    ({("args",), ("args", "x")}, {"args": WHOLE["args"]}),
    ({("m", "fn")}, {"m": WHOLE["m"]}),
    ({("n", "below")}, {"n": 1}),
]


@pytest.mark.parametrize(("paths", "kept"), TRIMS, ids=[str(sorted(paths)) for paths, _ in TRIMS])
def test_only_what_is_read_is_handed_over(paths, kept):
    assert trim(WHOLE, frozenset(paths)) == kept


@pytest.mark.parametrize(
    ("condition", "people"),
    [
        ("principal.owner == resource.owner", True),
        ("principal has owner", True),
        ("context.subject.name == 1", True),
        ("context has subject", True),
        ("context == {}", True),
        ("context.args.subject == 1", False),
        ('principal in Group::"owner"', False),
    ],
)
def test_policies_that_look_at_people_are_known(condition, people):
    assert (
        PolicySet([parse_policy(f"permit(principal, action, resource) when {{ {condition} }};")]).names_people is people
    )


# --- reading one answer by level -----------------------------------------------------------------


def grant(level, argument="order"):
    names = f'context.args.{argument} == context.grant["{level}"].{argument}'
    return f'permit(principal, action == Action::"tools/call", resource == Tool::"crm/refund") when {{ {names} }};'


def bound(*orders, asked):
    return {"args": {"order": asked}, "grant": {str(level): {"order": order} for level, order in enumerate(orders)}}


CHAINS = [  # what each level is bound to, what is asked for, and which levels granted it
    ((1,), 1, (True,)),
    ((1,), 2, (False,)),
    ((1, 1), 1, (True, True)),
    ((1, 2), 1, (True, False)),
    ((1, 2), 2, (False, True)),
    ((1, 2), 3, (False, False)),
    ((1, 1, 2), 2, (False, False, True)),
    ((1, 1, 1), 1, (True, True, True)),
]


@pytest.mark.parametrize(("orders", "asked", "levels"), CHAINS, ids=[f"{o}-asks-{a}" for o, a, _ in CHAINS])
def test_every_level_must_grant(orders, asked, levels):
    texts = [[grant(level)] for level in range(len(orders))]
    answer = ask(PERMIT, context=bound(*orders, asked=asked), levels=texts)
    assert tuple(map(answer.permitted_by, range(len(orders)))) == levels
    assert answer.permitted is all(levels)
    assert answer.organisation_permits and not answer.forbidden


def test_the_merged_sets_allow_is_not_the_answer():
    """A child bound to more than its parent: Cedar allows the merged set, the parent does not."""
    answer = ask(PERMIT, context=bound(1, 2, asked=2), levels=[[grant(0)], [grant(1)]])
    assert answer.allowed and answer.permitted_by(1)
    assert not answer.permitted_by(0) and not answer.permitted


def test_grants_alone_permit_nothing_without_the_organisation():
    answer = ask(context=bound(1, asked=1), levels=[[grant(0)]])
    assert answer.allowed and answer.permitted_by(0) and not answer.organisation_permits and not answer.permitted


def test_without_a_chain_the_organisation_alone_decides():
    assert ask(PERMIT).permitted
    assert not ask().permitted


def test_a_level_without_grants_permits_nothing():
    assert not ask(PERMIT, levels=[[]]).permitted


def test_two_grants_with_one_text_are_satisfied_together():
    answer = ask(PERMIT, context=bound(1, asked=1), levels=[[PERMIT, grant(0), grant(0)], [grant(0)]])
    assert answer.granted == (frozenset({0, 1, 2}), frozenset({0}))


def test_a_grant_out_of_scope_is_never_satisfied():
    other = 'permit(principal, action, resource == Tool::"crm/export");'
    assert ask(PERMIT, levels=[[other, PERMIT]]).granted == (frozenset({1}),)


def test_forbid_trumps_permit():
    answer = ask('@id("no") forbid(principal, action, resource);', PERMIT, levels=[[PERMIT]])
    assert answer == Answer(False, ("no",), (), (), (frozenset(),), ())
    assert answer.forbidden and not answer.permitted


def test_names_are_annotations_or_digests_and_sorted():
    texts = [f'@id("{name}") permit(principal, action, resource);' for name in "cab"]
    assert ask(*texts).permits == ("a", "b", "c")
    assert ask(PERMIT).permits == (f"o/{parse_policy(PERMIT).digest}",)


# --- errors --------------------------------------------------------------------------------------


def test_a_forbid_that_fails_denies():
    risky = '@id("risky") forbid(principal, action, resource) when { context.risk > 5 };'
    answer = ask(risky, PERMIT)
    assert answer.allowed  # Cedar skips it
    assert answer.failed_forbids == ("risky",) and answer.forbidden and not answer.permitted
    assert answer.errors == (f"o/{parse_policy(risky).digest}",)


def test_a_permit_that_fails_is_not_satisfied_and_forbids_nothing():
    failing = "permit(principal, action, resource) when { context.risk > 5 };"
    answer = ask(failing, PERMIT, levels=[[failing, PERMIT], [PERMIT]])
    digest = parse_policy(failing).digest
    assert answer.errors == (f"0/{digest}", f"o/{digest}")
    assert answer.permitted and answer.granted == (frozenset({1}), frozenset({0}))


@pytest.mark.parametrize(
    "error",
    [
        "something else",
        "error while evaluating policy o/x: no quotes",
        "error while evaluating policy `o/unknown`: x",
        "",
    ],
)
def test_an_error_nobody_can_be_blamed_for_denies(monkeypatch, error):
    whole = {"decision": "Allow", "diagnostics": {"reason": [f"o/{parse_policy(PERMIT).digest}"], "errors": [error]}}
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *_: cedarpy.AuthzResult(whole))
    answer = ask(PERMIT)
    assert answer.errors == ("?",) and answer.forbidden and not answer.permitted


def test_no_decision_denies(monkeypatch):
    monkeypatch.setattr(
        cedarpy, "is_authorized", lambda *_: cedarpy.AuthzResult({"decision": "NoDecision", "diagnostics": {}})
    )
    answer = ask(PERMIT)
    assert answer.errors == ("?",) and answer.forbidden and not answer.permitted


@pytest.mark.parametrize("value", [None, 1.5, {"__extn": {"fn": "decimal", "arg": "x"}}, 1 << 70], ids=str)
def test_a_context_that_cedar_has_no_value_for_denies(value):
    answer = ask("permit(principal, action, resource) when { context.x == context.x };", PERMIT, context={"x": value})
    assert answer.errors == ("?",) and not answer.permitted


# --- malformed input -------------------------------------------------------------------------------

NO_REQUESTS = [
    ("a type that is no name", {"principal": Entity(Uid("no type", "x"))}),
    ("an attribute Cedar lacks", {"principal": Entity(Uid("Agent", "x"), (("risk", 1.5),))}),  # type: ignore[arg-type]
    ("two entities of one name", {"others": (Entity(AGENT.uid),)}),
    ("a lone surrogate", {"principal": Entity(Uid("Agent", "\ud800"))}),
    ("a grant that forbids", {"levels": [["forbid(principal, action, resource);"]]}),
    ("a grant that does not parse", {"levels": [["permit("]]}),
]


@pytest.mark.parametrize("changed", [c for _, c in NO_REQUESTS], ids=[name for name, _ in NO_REQUESTS])
def test_what_is_no_request_is_refused(changed):
    with pytest.raises(InvalidRequest) as refused:
        ask(PERMIT, **changed)
    assert refused.value.code == "invalid_argument"


def test_a_context_that_json_lacks_is_refused():
    with pytest.raises(InvalidRequest):
        ask("permit(principal, action, resource) when { context.x == 1 };", context={"x": object()})


COMMENTED = "//\n.a"
NO_POLICIES = [
    ("nothing", ""),
    ("no policy", "permit("),
    ("two", PERMIT + PERMIT),
    ("template", "permit(principal == ?principal, action, resource);"),
    ("policy and template", PERMIT + "permit(principal, action, resource in ?resource);"),
    ("nested too deep", f"permit(principal, action, resource) when {{ {' && '.join(['context.x == 1'] * 200)} }};"),
    (
        "brackets that would crash the parser",
        f"permit(principal, action, resource) when {{ {'(' * 5000}true{')' * 5000} }};",
    ),
    ("the same after closing ones", f"{')' * 5000}permit(principal, action, resource) when {{ {'[' * 5000} }};"),
    (
        "ifs that would",
        f"permit(principal, action, resource) when {{ {'if true then ' * 900} true {' else true' * 900} }};",
    ),
    ("a sum that would", f"permit(principal, action, resource) when {{ {'1+' * 50_000}1 == 1 }};"),
    ("a long sum", f"permit(principal, action, resource) when {{ {'1+' * 8_000}1 == 1 }};"),
    ("a long path", f"permit(principal, action, resource) when {{ context{'.a' * 8_000} == 1 }};"),
    ("a has that is spelt out", f"permit(principal, action, resource) when {{ context has a{'.a' * 5_000} }};"),
    ("the same with comments", f"permit(principal, action, resource) when {{ context has a{COMMENTED * 2_000} }};"),
    ("unknown function", 'permit(principal, action, resource) when { shell("rm") };'),
]


@pytest.mark.parametrize("text", [text for _, text in NO_POLICIES], ids=[name for name, _ in NO_POLICIES])
def test_a_text_that_is_not_one_policy_is_refused(text):
    with pytest.raises(InvalidRequest) as refused:
        parse_policy(text)
    assert refused.value.code == "invalid_argument"


def test_many_when_clauses_are_no_nesting():
    clauses = " ".join(f"when {{ context.a{n} == {n} }}" for n in range(300))
    assert ask(f"permit(principal, action, resource) {clauses};", context={f"a{n}": n for n in range(300)}).permitted


FILE = """// first; a comment with a semicolon and a "quote
@id("a;b")
permit(principal == Agent::"//no comment;", action, resource); // trailing ;

  forbid(principal, action, resource)
    when { context.x == "a\\\\" || context.y == "\\";" }; permit(principal, action, resource);
// the end"""


def test_a_file_is_split_into_its_policies():
    first, second, third = parse_policies(FILE)
    assert (first.id, first.effect, second.effect, third.text) == ("a;b", "permit", "forbid", PERMIT)
    whole = json.loads(cedarpy.policies_to_json_str(FILE))["staticPolicies"]
    assert [first.est, second.est, third.est] == [whole[f"policy{n}"] for n in range(3)]
    assert all(parse_policy(one.text) is one for one in (first, second, third))
    assert parse_policies("") == parse_policies("  // nothing\n") == ()


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("\n\n  permit(principal);", 3),
        (PERMIT + "\n// ;\n" + PERMIT + "\nforbid(principal, action, resource) when {\n oops };", 4),
        (PERMIT + " forbid(", 1),
        (PERMIT + '\npermit(principal, action, resource) when { context.x == "open };', 2),
        (PERMIT + "\n" + PERMIT + "\npermit(principal == ?principal, action, resource);", 3),
        (PERMIT + "\n;", 2),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_line(broken, line):
    with pytest.raises(InvalidRequest, match=f"^line {line}: "):
        parse_policies(broken)


# --- entities --------------------------------------------------------------------------------------


def test_entities_that_python_takes_for_equal_are_told_apart():
    """True == 1 in Python; a handle kept under such a key would answer for the other entity."""
    flag, number = (Entity(Uid("Agent", "x"), (("flag", value),)) for value in (True, 1))
    assert flag != number
    text = "permit(principal, action, resource) when { principal.flag };"
    assert ask(text, principal=flag, others=()).permitted
    answer = ask(text, principal=number, others=())
    assert not answer.permitted and answer.errors


def test_attributes_hold_what_cedar_has():
    attrs = (
        ("ref", Uid("Human", "ann")),
        ("set", (1, Uid("Human", "ann"), "x", True)),
        ("record", Opaque('{"inner": {"deep": [1]}}')),
        ("money", Opaque('{"__extn": {"fn": "decimal", "arg": "1.5"}}')),
    )
    entity = Entity(Uid("Agent", "x"), attrs, (), (("tag", "t"),))
    conditions = [
        'principal.ref == Human::"ann"',
        'principal.set == [true, "x", Human::"ann", 1]',
        "principal.record.inner.deep.contains(1)",
        'principal.money == decimal("1.5000")',
        'principal.getTag("tag") == "t"',
    ]
    for condition in conditions:
        assert ask(
            f"permit(principal, action, resource) when {{ {condition} }};", principal=entity, others=()
        ).permitted
