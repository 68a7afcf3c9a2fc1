"""Schemas made by core/policy.py: what a policy may name for one action, and what Cedar's validator refuses."""

import pytest

from taskbound.core.cedar import parse_policy, validate
from taskbound.core.errors import InvalidRequest
from taskbound.core.schema import RESOURCE_TYPES, schema_of

ARGS = {
    "order": ("String", True),
    "amount": ("decimal", True),
    "count": ("Long", False),
    "to": ("Set<String>", True),
    "note": ("{len: Long, digest: String}", True),
    "items": ("{count: Long, max?: decimal, sum?: decimal}", True),
    'a "quoted" näme\\': ("Bool", True),
    "in": ("Long", True),
}
GRANT = {"0": {"order": "String", "max": "decimal"}, "1": {"order": "String", "max": "decimal", "to": "Set<String>"}}
ORGANISATION = schema_of("tools/call", args=ARGS, grant={})
CHILD = schema_of("tools/call", args=ARGS, grant=GRANT)


def wrong(condition: str, schema: str = CHILD, scope: str = "principal, action, resource") -> list[str]:
    return validate(parse_policy(f"permit({scope}) when {{ {condition} }};"), schema)


VALID = [
    'context.args.order == context.grant["0"].order',
    'context.args.amount.lessThanOrEqual(context.grant["1"].max)',
    'context.grant["1"].to.containsAll(context.args.to)',
    "context.args has count && context.args.count <= 200",
    "context.args.note.len < 4000",
    'context.args.items has max && context.args.items.max.lessThan(decimal("9.5"))',
    'context.args["a \\"quoted\\" näme\\\\"] && context.args["in"] == 1',
    "context.origin has order && context.origin.order >= 2",
    'context has subject && context.subject in Group::"support"',
    'context.task == "t-1" && context.depth == 0 && context.assurance == "attested" && context.hour < 22',
    'context.labels.contains("free_text") && context.effect == "money" && resource.effect == context.effect',
    'principal has environment && principal.environment == "prod"',
    'principal has owner && principal.owner in Group::"staff"',
    'resource in Upstream::"crm"',
    'action == Action::"lease/issue" || action == Action::"tools/call"',
]


@pytest.mark.parametrize("condition", VALID)
def test_what_the_request_has_may_be_named(condition):
    assert wrong(condition) == []


INVALID = [
    ("a typo in an argument", "context.args.ordr == 1", "ordr"),
    ("a typo in a bound value", 'context.grant["0"].mx == context.args.amount', "mx"),
    ("a value that only another level has", 'context.grant["0"].to.contains("x")', "to"),
    ("a level that the chain lacks", 'context.grant["2"].order == "x"', "2"),
    ("a decimal compared as a Long", "context.args.amount <= 200", "Long"),
    ("a bound decimal compared as a Long", 'context.args["in"] <= context.grant["0"].max', "Long"),
    ("a Long compared as a decimal", 'context.args["in"].lessThan(decimal("1.0"))', "decimal"),
    ("a text compared with a number", "context.args.order == 7", "String"),
    ("an optional argument without has", "context.args.count == 1", "count"),
    ("an optional origin without has", "context.origin.order == 3", "order"),
    ("the subject without has", 'context.subject in Group::"x"', "subject"),
    ("an attribute that a Human lacks", 'principal.environment == "prod"', "Human"),
    ("an unknown attribute of the principal", 'principal has owner && principal.risk == 1', "risk"),
    ("an unknown attribute of the resource", 'resource.environment == "x"', "Tool"),
    ("an unknown member of the context", "context.risk > 5", "risk"),
    ("an unknown type", 'principal in Team::"x"', "Team"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "named"), [row[1:] for row in INVALID], ids=[row[0].replace(" ", "-") for row in INVALID]
)
def test_what_the_request_lacks_is_refused(condition, named):
    found = wrong(condition)
    assert found and any(named in one for one in found), found


def test_an_organisations_policy_names_no_grant():
    assert wrong('context.grant["0"].order == "x"', ORGANISATION)
    assert wrong('context.args.order == "x"', ORGANISATION) == []


@pytest.mark.parametrize(
    ("scope", "valid"),
    [
        ('principal, action in [Action::"tools/call", Action::"lease/issue"], resource', True),
        ('principal is Agent in Group::"bots", action == Action::"tools/call", resource is Tool', True),
        ('principal, action == Action::"tool/call", resource', False),
        ("principal, action, resource is Tol", False),
        ("principal is Upstream, action, resource", False),
        ("principal, action, resource is Target", False),
    ],
)
def test_a_scope_names_what_there_is(scope, valid):
    assert (wrong("true", scope=scope) == []) is valid


@pytest.mark.parametrize("action", RESOURCE_TYPES)
def test_every_action_has_a_schema(action):
    schema = schema_of(action, args={}, grant={})
    policy = parse_policy(f'permit(principal is Service, action == Action::"{action}", resource);')
    assert validate(policy, schema) == []
    for kind in RESOURCE_TYPES[action].split(", "):
        assert validate(parse_policy(f"permit(principal, action, resource is {kind});"), schema) == []


@pytest.mark.parametrize("action", ["lease/issue", "lease/renew"])
def test_a_target_is_described(action):
    condition = (
        'resource.assurances.contains("attested") && resource.holders.contains("x") && resource.class == "cut now"'
    )
    assert wrong(f'{condition} && resource in Target::"shopdb"', schema_of(action, args={}, grant={})) == []


def test_an_action_of_nobody_is_refused():
    with pytest.raises(InvalidRequest):
        schema_of("tools/list", args={}, grant={})


def test_a_type_that_is_no_type_is_refused():
    with pytest.raises(InvalidRequest):
        validate(
            parse_policy("permit(principal, action, resource);"),
            schema_of("tools/call", args={"a": ("Set<", True)}, grant={}),
        )


def test_a_has_hides_a_typo_which_the_paths_show():
    text = 'forbid(principal, action, resource) when { context.args has ordr && context.args.ordr == "x" };'
    assert validate(parse_policy(text), CHILD) == []
    assert parse_policy(text).reads == {("args", "ordr")}
