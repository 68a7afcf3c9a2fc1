"""Profiles, conditions and their Cedar text (INTERFACES 3): what is refused, what is rendered, what it then permits."""

import re
import tomllib
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from taskbound.core.catalogue import Target, pin_of, read_tool
from taskbound.core.cedar import Entity, Uid, parse_policy, validate
from taskbound.core.details import grants_from_details
from taskbound.core.errors import InvalidRequest
from taskbound.core.grant import Condition, Grant, cedar_value, render
from taskbound.core.intent import DEFAULT_BUDGET, bind, read_grant, read_profile
from taskbound.core.policy import PolicySet, Request, authorize
from taskbound.core.schema import schema_of

TEXT = {"type": "string"}
TYPES = {
    "text": TEXT,
    "body": TEXT,
    "amount": {"type": "number"},
    "count": {"type": "integer"},
    "flag": {"type": "boolean"},
    "to": {"type": "array", "items": {"type": "string"}},
    "ids": {"type": "array", "items": {"type": "integer"}},
    "prices": {"type": "array", "items": {"type": "number"}},
    "files": {"type": "array", "items": {"type": "object"}},
    "point": {"type": "object"},
    "x-y": TEXT,
    "if": TEXT,
    'q"uote': TEXT,
}
TEXTS = {"id": "object_id", "text": "name", "to": "recipient", "x-y": "name", "if": "name", 'q"uote': "name"}


def tool_of(name, *required, properties=TYPES):
    definition = {"name": name, "inputSchema": {"properties": properties, "required": list(required)}}
    kinds = {argument: kind for argument, kind in TEXTS.items() if argument in properties}
    return read_tool("up", name, {"pin": pin_of(definition), "effect": "write", "arguments": kinds}, definition)


TOOLS = {
    f"up/{tool.name}": tool
    for tool in (
        tool_of("opt"),
        tool_of("req", *TYPES),
        tool_of("refund", "id", "amount", properties={"id": TEXT, "amount": {"type": "number"}, "note": TEXT}),
    )
}  # fmt: skip
TARGETS = {
    "db/reader": Target(
        "db", "reader", "dev", "cut now", frozenset({"unix"}), frozenset({"agent"}), timedelta(minutes=5), {}
    )
}
HEAD = 'purpose = "p"\nowner = "human/alice"\nreview_by = 2027-05-01\nlife = "10m"\n'


def profile_of(text, head=HEAD):
    return read_profile("p", tomllib.loads(head + text), TOOLS, TARGETS)


def one(condition, argument="text", tool="opt", parameters="a = {kind = 'name'}", others="any"):
    """Return the profile of one grant with one condition, and the parameter `a`."""
    text = f"[parameters]\n{parameters}\n" if condition.endswith(" a") else ""
    rest = f'others = "{others}"' if others else ""
    quoted = "'" + condition + "'"
    return profile_of(f'{text}[[grant]]\ntool = "up/{tool}"\nwhen = {{ {quote(argument)} = {quoted} }}\n{rest}')


def quote(name):
    return "'" + name + "'"


def permits(grant, arguments, values=(), level=0):
    """Whether the grant's Cedar text, valid against its schema, permits the call on the engine."""
    text, tool = render(grant, level), TOOLS[grant.resource]
    shape = {name: (argument.type, argument.required) for name, argument in tool.arguments.items()}
    types = {c.parameter: c.operand for c in grant.conditions if c.parameter}
    schema = schema_of(grant.action, args=shape, grant={str(level): types} if types else {})
    assert validate(parse_policy(text), schema) == []
    context = {
        "args": tool.project(arguments),
        "grant": {str(level): {name: cedar_value(value) for name, value in dict(values).items()}},
    }
    asked = Request(
        Entity(Uid("Agent", "agent/a")), Uid("Action", grant.action), tool.entity, context, ((),) * level + ((text,),)
    )
    answer = authorize(PolicySet([parse_policy("permit(principal, action, resource);")]), asked)
    assert answer.errors == ()
    return answer.permitted_by(level)


# argument, condition, --set, what it permits, what it does not: of an optional argument, and of a required one
# fmt: off
MEANS = {
    "= text":          ("text", "= a", "x", ["x"], ["y", "", "X"]),
    "= literal":       ("text", '= "x"', None, ["x"], ["y"]),
    "= escaped":       ("text", r'= "a\"b\\\n\u0000ä😀"', None, ['a"b\\\n\x00ä😀'], ["a"]),
    "in texts":        ("text", "in a", '["x","y"]', ["x", "y"], ["z"]),
    "in literal":      ("text", 'in ["x", "y"]', None, ["x", "y"], ["z"]),
    "in, no space":    ("text", 'in["x"]', None, ["x"], ["z"]),
    "like":            ("text", 'like "a\\"b*"', None, ['a"b', 'a"bc'], ["a", 'xa"b']),
    "any text":        ("text", "any", None, ["x", ""], []),
    "any free text":   ("body", "any", None, ["x", ""], []),
    "any list":        ("prices", "any", None, [[1], []], []),
    "any objects":     ("files", "any", None, [[{}]], []),
    "any digest":      ("point", "any", None, [{}], []),
    "= integer":       ("count", "= a", "5", [5, 5.0], [6]),
    "<= integer":      ("count", "<= a", "5", [5, -9], [6]),
    "<= literal":      ("count", "<= 5", None, [5], [6]),
    "<=, no space":    ("count", "<=-5", None, [-5], [-4]),
    "in integers":     ("count", "in [1, 2]", None, [1, 2], [3]),
    "= decimal":       ("amount", "= a", "5.50", [5.5], [5.4999]),
    "<= decimal":      ("amount", "<= a", "200", [200, 199.9999, -1], [200.0001]),
    "<= decimal text": ("amount", "<= 0.3", None, [0.3, 0], [0.3001]),
    "in decimals":     ("amount", "in [1, 2.5]", None, [1, 2.5], [2]),
    "= true":          ("flag", "= true", None, [True], [False]),
    "= boolean":       ("flag", "= a", "false", [False], [True]),
    "set = set":       ("to", "= a", '["x","y"]', [["x", "y"], ["y", "x", "x"]], [["x"], ["x", "y", "z"], []]),
    "set = literal":   ("to", '= ["x"]', None, [["x"]], [["x", "y"], []]),
    "set in set":      ("to", "in a", '["x","y"]', [["x", "y"], ["x"], []], [["z"], ["x", "z"]]),
    "set in literal":  ("ids", "in [1, 2]", None, [[1], [2, 1]], [[3]]),
    "no identifier":   ("x-y", "= a", "x", ["x"], ["y"]),
    "reserved word":   ("if", "= a", "x", ["x"], ["y"]),
    "quote in name":   ('q"uote', "= a", "x", ["x"], ["y"]),
}
# fmt: on
# fmt: off
FILL = {"text": "t", "body": "b", "amount": 1, "count": 1, "flag": True, "to": ["t"], "ids": [1], "prices": [1],
        "files": [], "point": {}, "x-y": "t", "if": "t", 'q"uote': "t"}
# fmt: on


@pytest.mark.parametrize("tool", ["opt", "req"])
@pytest.mark.parametrize(("argument", "condition", "given", "yes", "no"), MEANS.values(), ids=MEANS)
def test_a_condition_permits_what_it_says(argument, condition, given, yes, no, tool):
    kind = "a = {kind = 'name'}"
    profile = one(condition, argument, tool, kind)
    values = bind(profile, {"a": given} if given is not None else {})
    (grant,) = profile.grants
    rest = FILL if tool == "req" else {}
    for level in (0, 3):
        said = [permits(grant, {**rest, argument: value}, values, level) for value in yes + no]
        assert said == [True] * len(yes) + [False] * len(no)


def test_the_text_names_its_level_and_no_value():
    profile = profile_of(
        """
        [parameters]
        "order-id" = { kind = "object_id" }
        max = { kind = "amount" }
        [[grant]]
        tool = "up/refund"
        when = { id = "any", amount = "<= max" }
        [[grant]]
        tool = "up/opt"
        when = { "x-y" = "= order-id", to = 'in ["a"]' }
        [[grant]]
        lease = "db/reader"
        """
    )
    assert [render(grant, 1) for grant in profile.grants] == [
        'permit(principal, action == Action::"tools/call", resource == Tool::"up/refund")\n'
        'when { context.args.amount.lessThanOrEqual(context.grant["1"].max) }\n'
        "when { !(context.args has note) };",
        'permit(principal, action == Action::"tools/call", resource == Tool::"up/opt")\n'
        'when { context.args has to && ["a"].containsAll(context.args.to) }\n'
        'when { context.args has "x-y" && context.args["x-y"] == context.grant["1"]["order-id"] }\n'
        "when { !(context.args has amount) }\n"
        "when { !(context.args has body) }\n"
        "when { !(context.args has count) }\n"
        "when { !(context.args has files) }\n"
        "when { !(context.args has flag) }\n"
        "when { !(context.args has ids) }\n"
        'when { !(context.args has "if") }\n'
        "when { !(context.args has point) }\n"
        "when { !(context.args has prices) }\n"
        'when { !(context.args has "q\\u{22}uote") }\n'
        "when { !(context.args has text) };",
        'permit(principal, action == Action::"lease/issue", resource == Target::"db/reader");',
    ]
    assert [grant.id for grant in profile.grants] == ["g0", "g1", "g2"]
    assert [grant.root for grant in profile.grants] == [0, 1, 2]


def test_an_argument_that_is_not_named_must_be_absent_unless_others_are_any():
    closed, open_ = one('= "x"', others=None).grants[0], one('= "x"').grants[0]
    assert permits(closed, {"text": "x"}) and not permits(closed, {"text": "x", "count": 1})
    assert not permits(closed, {"text": "x", "point": {}}) and permits(open_, {"text": "x", "count": 1, "point": {}})
    assert open_.unnamed == () and closed.unnamed == tuple(sorted(set(TYPES) - {"text"}))


def test_a_condition_on_an_optional_argument_asks_that_it_is_there():
    assert not permits(one('= "x"').grants[0], {})
    assert permits(one("any").grants[0], {})


def test_a_tool_of_many_arguments_renders_to_a_text_that_the_engine_reads():
    names = [f"a{number}" for number in range(300)]
    tool = tool_of("wide", properties={name: {"type": "string"} for name in names})
    grant = Grant("g0", "tools/call", "up/wide", (), tuple(names))
    shape = {name: (tool.arguments[name].type, False) for name in names}
    assert validate(parse_policy(render(grant, 0)), schema_of("tools/call", args=shape, grant={})) == []


def test_equal_grants_render_to_one_text_and_different_ones_never_do():
    grant = one("= a").grants[0]
    assert render(replace(grant, id="g7", root=7, ask=True, calls=1), 0) == render(grant, 0)
    texts = {
        render(replace(grant, conditions=(Condition("count", type_, True, "=", None, literal),)), level)
        for type_, literal in (("Bool", True), ("Long", 1), ("decimal", Decimal(1)), ("String", "1"))
        for level in (0, 1)
    }
    assert len(texts) == 4  # a literal names no level


# fmt: off
REFUSED = {
    "unknown parameter":       ("text", "= orde_id", "there is no parameter 'orde_id'", "order_id"),
    "unquoted text":           ("text", "= EUR", "there is no parameter 'EUR'", "order_id"),
    "text for a number":       ("count", '= "5"', "expected an integer", "Long"),
    "fraction for an integer": ("count", "<= 5.5", "expected an integer", "Long"),
    "number for text":         ("text", "= 5", "expected text", "String"),
    "five places":             ("amount", "<= 0.00001", "4 decimal places", "decimal"),
    "null":                    ("text", "= null", "expected text", "String"),
    "scalar for a set":        ("to", '= "x"', "expected a list", "Set<String>"),
    "scalar in a scalar":      ("text", 'in "x"', "expected a list", "Set<String>"),
    "mixed list":              ("text", 'in ["x", 5]', "expected text", "Set<String>"),
    "in nothing":              ("text", "in []", "not empty", "Set<String>"),
    "set in nothing":          ("to", "in []", "not empty", "Set<String>"),
    "<= on text":              ("text", '<= "x"', "<= is not for String", "any, =, in, like"),
    "<= on a set":             ("ids", "<= 5", "<= is not for Set<Long>", "any, =, in"),
    "<= on a boolean":         ("flag", "<= true", "<= is not for Bool", "any, ="),
    "like on a number":        ("count", 'like "5*"', "like is not for Long", "any, =, in, <="),
    "like on a set":           ("to", 'like "x*"', "like is not for Set<String>", "any, =, in"),
    "like with a parameter":   ("text", "like order_id", "like takes a literal only", "abc"),
    "like without star":       ("text", 'like "x"', "one * at its end", "any"),
    "like with two stars":     ("text", 'like "x*y*"', "one * at its end", "any"),
    "like star":               ("text", 'like "*"', "one * at its end", "any"),
    "= on free text":          ("body", '= "x"', "= is not for {len", "use any"),
    "= on a digest":           ("point", "= {}", "= is not for {digest", "use any"),
    "= on a count":            ("files", "= []", "= is not for {count", "use any"),
    "in on numbers":           ("prices", "in [1]", "in is not for {count", "use any"),
    "no operator":             ("text", "order_id", "is none", "any"),
    "another operator":        ("count", ">= 5", "is none", "any"),
    "nothing":                 ("text", "", "is none", "any"),
    "a table":                 ("text", "= {", "not JSON", "String"),
}
# fmt: on


@pytest.mark.parametrize(("argument", "condition", "says", "hint"), REFUSED.values(), ids=REFUSED)
def test_a_condition_that_cannot_be_meant_is_refused(argument, condition, says, hint):
    head = '[parameters.order_id]\nkind = "name"\n'
    text = f'{head}[[grant]]\ntool = "up/opt"\nwhen = {{ {argument} = {condition!r} }}\n'
    with pytest.raises(InvalidRequest, match=re.escape(says)) as refused:
        profile_of(text)
    assert refused.value.code == "invalid_policy"
    assert hint in refused.value.hint and str(refused.value).startswith("grant 1 (up/opt)")


def test_all_that_a_grant_has_to_name_is_told_at_once_as_a_line_to_paste():
    """A recipient is nobody until a person says whom; what is left open refuses the load."""
    tool = read_tool("mail", "send", {"pin": "x", "effect": "send", "arguments": {"to": "recipient"}}, {
        "name": "send", "inputSchema": {"properties": {
            "to": {"type": "string"}, "subject": {"type": "string"}, "body text": {"type": "string"},
            "cc": {"type": "string"},
        }, "required": ["to", "subject", "body text"]},
    })  # fmt: skip
    grant = {"tool": "mail/send", "when": {"subject": "any"}}
    with pytest.raises(InvalidRequest) as refused:
        read_grant(0, grant, {"mail/send": tool}, {}, ())
    assert str(refused.value).endswith("can never permit: 'body text', 'to' are required and not named")
    line, _, left = refused.value.hint.partition(", with ")
    assert line == 'when = { subject = "any", "body text" = "any", to = "= …" }'
    assert left == "its value in place of each …: 'to' a string"
    with pytest.raises(InvalidRequest, match="the condition on 'to'"):
        read_grant(0, {**grant, **tomllib.loads(line)}, {"mail/send": tool}, {}, ())
    filled = tomllib.loads(line.replace("…", "'emma@example.org'".replace("'", '\\"')))
    assert read_grant(0, {**grant, **filled}, {"mail/send": tool}, {}, ()).unnamed == ("cc",)
    with pytest.raises(InvalidRequest, match="unknown key 'body text', which is an argument") as refused:
        read_grant(0, {"tool": "mail/send", "body text": "any"}, {"mail/send": tool}, {}, ())
    assert refused.value.hint.startswith('when = { "body text" = "any", subject = "any", to = "= …" }')


GRANT = '[[grant]]\ntool = "up/opt"\n'
REFUSED_PROFILES = {
    "required not named":   ('[[grant]]\ntool = "up/refund"\nwhen = { id = "any" }', "can never permit: 'amount'"),
    "no tool":              ('[[grant]]\ntool = "up/op"', "there is no tool 'up/op'"),
    "no lease":             ('[[grant]]\nlease = "db/writer"', "there is no lease 'db/writer'"),
    "tool and lease":       ('[[grant]]\ntool = "up/opt"\nlease = "db/reader"', "a tool or a lease"),
    "neither":              ("[[grant]]\nask = true", "a tool or a lease"),
    "lease with arguments": ('[[grant]]\nlease = "db/reader"\nwhen = { a = "any" }', "a lease has no arguments"),
    "no such argument":     (GRANT + 'when = { txt = "any" }', "it has no argument 'txt'"),
    "unknown grant key":    (GRANT + "call = 1", "grant 1: unknown key 'call'"),
    "calls of nought":      (GRANT + "calls = 0", "'calls' is no number above 0"),
    "calls of true":        (GRANT + "calls = true", "'calls' is no number above 0"),
    "ask by word":          (GRANT + 'ask = "yes"', "'ask' is true or false"),
    "others by word":       (GRANT + 'others = "all"', "'others' is"),
    "twice the same":       (GRANT + GRANT + "ask = true\ncalls = 1", "grant 2 (up/opt) says the same as grant 1"),
    "two types":            ('[parameters.a]\nkind = "name"\n' + GRANT + 'when = { text = "= a", count = "= a" }',
                             "parameter 'a' has two types: Long, and String for 'text' of up/opt"),
    "list and item":        ('[parameters.a]\nkind = "name"\n' + GRANT + 'when = { text = "= a", x-y = "in a" }',
                             "has two types: String, and Set<String>"),
    "unused parameter":     ('[parameters.a]\nkind = "name"\n', "parameter 'a' is compared with nothing"),
    "parameter of no kind": ('[parameters.a]\nkind = "nam"\n' + GRANT + 'when = { text = "= a" }', "the kind is 'nam'"),
    "kept parameter":       ('[parameters.__extn]\nkind = "name"\n', "is no table with a plain name"),
    "word as parameter":    ('[parameters.true]\nkind = "name"\n', "is no table with a plain name"),
    "bad pattern":          ('[parameters.a]\nkind = "name"\npattern = "("\n' + GRANT + 'when = { text = "= a" }',
                             "'pattern' is no regular expression"),
    "pattern of a number":  ('[parameters.a]\nkind = "name"\npattern = "5"\n' + GRANT + 'when = { count = "= a" }',
                             "'pattern' is not for Long"),
    "maximum of text":      ('[parameters.a]\nkind = "name"\nmaximum = 5\n' + GRANT + 'when = { text = "= a" }',
                             "'maximum' is not for String"),
    "maximum of a kind":    ('[parameters.a]\nkind = "name"\nmaximum = 5.5\n' + GRANT + 'when = { count = "= a" }',
                             "parameter 'a': expected an integer"),
    "unknown in parameter": ('[parameters.a]\nkind = "name"\nmaxium = 5\n', "unknown key 'maxium'"),
    "unknown key":          ("idel = '5m'", "profile: unknown key 'idel'"),
    "unknown budget":       ("budget = { call = 5 }", "budget: unknown key 'call'"),
    "budget below nought":  ("budget = { calls = -1 }", "'budget' is no table of numbers"),
    "no duration":          ("idle = '5 minutes'", "'idle' is no duration"),
    "lost, no heartbeat":   ("on_lost = 'end'", "'on_lost' is"),
    "grace of one beat":    ("heartbeat_grace = '2s'", "is below 3 s"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), REFUSED_PROFILES.values(), ids=REFUSED_PROFILES)
def test_a_profile_that_cannot_be_meant_is_refused(text, says):
    with pytest.raises(InvalidRequest, match=re.escape(says)) as refused:
        profile_of(text)
    assert refused.value.code == "invalid_policy"


HINTS = {
    "parameter": ('[parameters.order_id]\nkind = "name"\n' + GRANT + "when = { text = '= ordr_id' }",
                  "did you mean 'order_id'?"),
    "tool":      ('[[grant]]\ntool = "up/refnd"', "did you mean 'up/refund'?"),
    "argument":  (GRANT + 'when = { txt = "any" }', "did you mean 'text'?"),
    "key":       ("idel = '5m'", "did you mean 'idle'?"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "hint"), HINTS.values(), ids=HINTS)
def test_what_is_unknown_is_refused_with_the_nearest_known_name(text, hint):
    with pytest.raises(InvalidRequest) as refused:
        profile_of(text)
    assert refused.value.hint == hint


@pytest.mark.parametrize("key", ["purpose", "owner", "review_by", "life"])
def test_a_profile_says_what_for_whose_and_until_when(key):
    head = "".join(line for line in HEAD.splitlines(keepends=True) if not line.startswith(key))
    with pytest.raises(InvalidRequest, match=f"'{key}' is missing"):
        profile_of("", head)


def test_a_profile_is_a_person_s():
    with pytest.raises(InvalidRequest, match="'owner' is no person"):
        profile_of("", HEAD.replace("human/", "agent/"))


def test_a_profile_is_read_as_it_stands():
    profile = profile_of('idle = "5m"\nheartbeat_grace = "90s"\non_lost = "suspend"\nbudget = { calls = 50 }')
    assert (profile.life, profile.idle) == (timedelta(minutes=10), timedelta(minutes=5))
    assert (profile.heartbeat_grace, profile.on_lost) == (timedelta(seconds=90), "suspend")
    assert (profile.review_by, profile.owner) == (date(2027, 5, 1), "human/alice")
    assert profile.entity == Entity(Uid("Profile", "p"), (("owner", Uid("Human", "human/alice")),))
    assert profile.budget == {"calls": 50, "leases": 200}


def test_a_profile_without_a_budget_gets_the_usual_one():
    assert profile_of("").budget == DEFAULT_BUDGET == {"calls": 1000, "leases": 200}


BOUND = {
    "text":              ("= a", "text", "", "x y", "x y"),
    "text like JSON":    ("= a", "text", "", '"x"', '"x"'),
    "text like a digit": ("= a", "text", "", "4711", "4711"),
    "pattern":           ("= a", "text", ', pattern = "[0-9]+"', "4711", "4711"),
    "listed":            ("= a", "text", ', values = ["x", "y"]', "y", "y"),
    "integer":           ("<= a", "count", ", maximum = 5, minimum = 5", "5", 5),
    "decimal":           ("<= a", "amount", ", maximum = 200", "200.00", Decimal(200)),
    "negative":          ("<= a", "amount", "", "-0.5", Decimal("-0.5")),
    "boolean":           ("= a", "flag", "", "true", True),
    "texts":             ("in a", "text", ', pattern = "."', '["x","y"]', ("x", "y")),
    "set":               ("= a", "ids", ", maximum = 2", "[1, 2]", (1, 2)),
    "decimals":          ("in a", "amount", "", "[1, 2.5]", (Decimal(1), Decimal("2.5"))),
}  # fmt: skip


@pytest.mark.parametrize(("condition", "argument", "rules", "text", "value"), BOUND.values(), ids=BOUND)
def test_a_text_is_bound_as_the_type_of_what_it_is_compared_with(condition, argument, rules, text, value):
    bound = bind(one(condition, argument, parameters=f"a = {{kind = 'name'{rules}}}"), {"a": text})
    assert bound == {"a": value} and type(bound["a"]) is type(value)


UNBOUND = {
    "missing":             ("= a", "text", "", {}, "needs parameter 'a'"),
    "unknown":             ("= a", "text", "", {"a": "x", "b": "y"}, "has no parameter 'b'"),
    "no text":             ("= a", "text", "", {"a": 5}, "needs parameter 'a'"),
    "pattern of a part":   ("= a", "text", ', pattern = "[0-9]+"', {"a": "4711x"}, "expected text that matches"),
    "pattern and newline": ("= a", "text", ', pattern = "^[0-9]+$"', {"a": "4711\n"}, "expected text that matches"),
    "pattern of an item":  ("in a", "text", ', pattern = "."', {"a": '["x","yy"]'}, "expected text that matches"),
    "not listed":          ("= a", "text", ', values = ["x"]', {"a": "y"}, "expected one of 1 values"),
    "too large":           ("<= a", "amount", ", maximum = 200", {"a": "200.01"}, "expected at most 200"),
    "too small":           ("<= a", "count", ", minimum = 1", {"a": "0"}, "expected at least 1"),
    "too large an item":   ("in a", "count", ", maximum = 5", {"a": "[1, 6]"}, "expected at most 5"),
    "no integer":          ("<= a", "count", "", {"a": "5.5"}, "expected an integer"),
    "no number":           ("<= a", "amount", "", {"a": "NaN"}, "expected a number"),
    "exponent":            ("<= a", "amount", "", {"a": "1e9"}, "expected a number"),
    "five places":         ("<= a", "amount", "", {"a": "0.00001"}, "expected a number"),
    "beyond decimal":      ("<= a", "amount", "", {"a": "9999999999999999"}, "expected a number within"),
    "no boolean":          ("= a", "flag", "", {"a": "yes"}, "expected Bool"),
    "no list":             ("in a", "text", "", {"a": "x"}, "expected a JSON list"),
    "empty list":          ("in a", "text", "", {"a": "[]"}, "not empty"),
    "lone surrogate":      ("= a", "text", "", {"a": "\ud800"}, "without lone surrogates"),
    "long text":           ("= a", "text", "", {"a": "x" * 4097}, "at most 4096 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("condition", "argument", "rules", "given", "says"), UNBOUND.values(), ids=UNBOUND)
def test_what_the_profile_does_not_let_in_is_refused_by_name(condition, argument, rules, given, says):
    with pytest.raises(InvalidRequest, match=re.escape(says)) as refused:
        bind(one(condition, argument, parameters=f"a = {{kind = 'name'{rules}}}"), given)
    assert refused.value.code == "invalid_request"
    assert "parameter 'a'" in str(refused.value) or "parameter 'b'" in str(refused.value)
    assert refused.value.hint
    assert says != "expected a JSON list" or """--set 'a=["a", "b"]'""" in refused.value.hint


def detail(identifier="up/refund", **members):
    kind = "lease/issue" if identifier.startswith("db/") else "tools/call"
    return {"type": "taskbound_grant", "actions": [kind], "identifier": identifier, **members}


def test_literals_of_authorization_details_become_parameters_named_after_their_argument():
    first = detail(when={"id": '= "a"', "amount": "<= 5"}, budget={"calls": 2}, locations=["mcp:up"], ask=True)
    again = detail(when={"id": '= "b"', "amount": "<= 5"}, budget={"calls": 1})
    grants, values, budget = grants_from_details([first, again, detail("db/reader")], TOOLS, TARGETS)
    assert values == {"amount": Decimal(5), "id": "a", "id.2": "b"}
    assert [[c.parameter for c in grant.conditions] for grant in grants] == [["amount", "id"], ["amount", "id.2"], []]
    assert [(one.id, one.calls, one.ask) for one in grants] == [("g0", 2, True), ("g1", 1, False), ("g2", None, False)]
    assert budget == {"calls": 3}
    assert permits(grants[1], {"id": "b", "amount": 5}, values)
    assert not permits(grants[1], {"id": "a", "amount": 5}, values)


def test_equal_wishes_share_one_text_and_like_keeps_its_literal():
    texts = set()
    for value in ("a", "b"):
        wish = detail("up/opt", when={"text": f'= "{value}"', "x-y": 'like "q*"'})
        (grant,), values, budget = grants_from_details([wish], TOOLS, TARGETS)
        assert values == {"text": value} and budget == {}
        texts.add(render(grant, 0))
    assert len(texts) == 1 and 'like "q*"' in texts.pop()


BAD_DETAILS = {
    "type":           (detail(type="other"), "the type is not taskbound_grant"),
    "no object":      ("x", "the type is not taskbound_grant"),
    "member":         (detail(when={}, wen={}), "unknown key 'wen'"),
    "action":         (detail(actions=["tools/call", "lease/issue"]), "'actions' is"),
    "no action":      (detail(actions=[]), "'actions' is"),
    "action of kind": (detail(actions=[["tools/call"]]), "'actions' is"),
    "elsewhere":      (detail(locations=["mcp:down"]), "'locations' is not where"),
    "tool":           (detail("up/refnd"), "there is no tool 'up/refnd'"),
    "parameter":      (detail(when={"id": "= a", "amount": "any"}), "there is no parameter 'a'"),
    "required":       (detail(when={"id": "any"}), "can never permit"),
    "budget":         (detail(when={"id": "any", "amount": "any"}, budget={"leases": 1}), "unknown key 'leases'"),
    "budget of 0":    (detail(when={"id": "any", "amount": "any"}, budget={"calls": 0}), "'calls' is no number"),
    "budget of kind": (detail(when={"id": "any", "amount": "any"}, budget=5), "'budget' is no table"),
}  # fmt: skip


@pytest.mark.parametrize(("wish", "says"), BAD_DETAILS.values(), ids=BAD_DETAILS)
def test_authorization_details_that_cannot_be_meant_are_refused(wish, says):
    with pytest.raises(InvalidRequest, match=re.escape(says)) as refused:
        grants_from_details([wish], TOOLS, TARGETS)
    assert refused.value.code == "invalid_authorization_details"


def test_two_details_that_say_the_same_are_refused():
    with pytest.raises(InvalidRequest, match="says the same as grant 1"):
        grants_from_details([detail("db/reader"), detail("db/reader")], TOOLS, TARGETS)
