"""Tests of a policy directory: how they are read, refused and decided (INTERFACES 3)."""

import json
from datetime import timedelta

import pytest

from taskbound.core import trial
from taskbound.core.call import decide
from taskbound.core.catalogue import Target, pin_of
from taskbound.core.errors import InvalidRequest
from taskbound.core.policy_dir import read_policy_dir
from taskbound.core.trial import run_tests

DEFINITIONS = {
    "refund": {
        "name": "refund",
        "inputSchema": {
            "properties": {"order_id": {"type": "string"}, "amount": {"type": "number"}},
            "required": ["order_id", "amount"],
        },
    },
    "send": {"name": "send", "inputSchema": {"properties": {"body": {"type": "string"}}}},
}
TOML = f"""[refund]
pin = "{pin_of(DEFINITIONS["refund"])}"
effect = "spend"
reviewed = {{ by = "human/alice", on = 2026-11-24 }}
arguments = {{ order_id = "object_id", amount = "amount" }}
[send]
pin = "{pin_of(DEFINITIONS["send"])}"
effect = "send"
"""
ORGANISATION = """@id("start") permit(principal, action in [Action::"task/open", Action::"tools/call", Action::"lease/issue"], resource);
@id("nhi8") forbid(principal, action == Action::"lease/issue", resource)
when { principal has environment && principal.environment != resource.environment };
@id("night") forbid(principal, action == Action::"tools/call", resource) when { context.hour < 6 };
@id("interns") forbid(principal in Group::"interns", action == Action::"tools/call", resource);
@id("owners") forbid(principal, action == Action::"tools/call", resource == Tool::"crm/send")
when { principal has owner && principal.owner == Human::"human/mallory" };
@id("untrusted") forbid(principal, action == Action::"tools/call", resource == Tool::"crm/send")
when { context.labels.contains("free_text") && context.assurance == "join_token" };
@id("names") permit(principal == Human::"human/alice", action == Action::"identity/suspend", resource is Agent)
when { resource.environment == "production" && resource.owner == Human::"human/mallory" };
@id("children") permit(principal, action == Action::"task/delegate", resource)
when { context has subject && context.task != "" };
@id("admins") permit(principal == Human::"human/alice", action == Action::"audit/read", resource);
"""  # noqa: E501
PROFILE = """purpose = "refund one order"
owner = "human/alice"
review_by = 2027-05-01
life = "10m"
[parameters.order_id]
kind = "object_id"
pattern = "[0-9]+"
[parameters.max]
kind = "amount"
maximum = 200
[[grant]]
tool = "crm/refund"
when = { order_id = "= order_id", amount = "<= max" }
calls = 1
[[grant]]
tool = "crm/send"
others = "any"
ask = true
"""
REGISTRATIONS = """[[registration]]
id = "agent/nightly"
owner = "human/mallory"
environment = "production"
groups = ["interns"]
attestor = "unix"
when = { uid = 1000 }
"""
TARGETS = {
    "db/reader": Target(
        "db", "reader", "production", "cut now", frozenset({"unix"}), frozenset({"agent"}), timedelta(minutes=5), {}
    )
}
FILES = {
    "organisation/start.cedar": ORGANISATION,
    "profiles/refund.toml": PROFILE,
    "tools/crm.toml": TOML,
    "tools/crm.json": json.dumps(DEFINITIONS),
    "registrations.toml": REGISTRATIONS,
}
ACTOR = 'actor = { name = "agent/a", environment = "dev" }\n'
REFUND = 'profile = "refund"\nset = { order_id = "4711", max = 200 }\ncall = "crm/refund"\n'


def directory(*tests: str, files=FILES):
    text = "".join(f"[[test]]\n{test}\n" for test in tests)
    files = {**files, "tests/a.toml": text}
    return read_policy_dir({path: text.encode() for path, text in files.items()}, TARGETS)


def outcome(test: str):
    policies = directory(f'name = "n"\n{test}')
    (found,) = run_tests(policies, policies.tests)
    return found


# a test, and what becomes of it: verdict, code, who spoke
DECIDED = {
    "within its profile":      (ACTOR + REFUND + 'arguments = { order_id = "4711", amount = 12.5 }\nexpect = "permit"',
                                "permit", "", ("start",)),
    "above the limit":         (ACTOR + REFUND + 'arguments = { order_id = "4711", amount = 200.01 }\nexpect = "deny"\n'
                                'code = "outside_grants"', "deny", "outside_grants", ("start",)),
    "another order":           (ACTOR + REFUND + 'arguments = { order_id = "4712", amount = 1 }\nexpect = "deny"',
                                "deny", "outside_grants", ("start",)),
    "an argument it lacks":    (ACTOR + REFUND + 'arguments = { order = "4711" }\nexpect = "deny"\n'
                                'code = "invalid_argument"', "deny", "invalid_argument", ()),
    "without a profile":       (ACTOR + 'call = "crm/refund"\narguments = { order_id = "x", amount = 9999 }\n'
                                'expect = "permit"\npolicy = "start"', "permit", "", ("start",)),
    "a person is asked":       (ACTOR + 'profile = "refund"\nset = { order_id = "1", max = "5" }\ncall = "crm/send"\n'
                                'expect = "ask"', "ask", "approval_required", ("start",)),
    "flow":                    (ACTOR + 'call = "crm/send"\nlabels = ["free_text", "secret"]\nexpect = "ask"',
                                "ask", "approval_required", ("start",)),
    "at night":                (ACTOR + REFUND + 'arguments = { order_id = "4711", amount = 1 }\nhour = 5\n'
                                'expect = "deny"\npolicy = "night"', "deny", "forbidden", ("night",)),
    "of a group":              ('actor = { name = "agent/a", groups = ["interns"] }\ncall = "crm/send"\n'
                                'expect = "deny"\npolicy = "interns"', "deny", "forbidden", ("interns",)),
    "as it is registered":     ('actor = { name = "agent/nightly" }\ncall = "crm/send"\nexpect = "deny"\n'
                                'policy = "owners"', "deny", "forbidden", ("interns", "owners")),
    "its labels and proof":    ('actor = { name = "agent/a", assurance = "join_token" }\ncall = "crm/send"\n'
                                'labels = ["free_text"]\nexpect = "deny"\npolicy = "untrusted"',
                                "deny", "forbidden", ("untrusted",)),
    "a lease":                 ('actor = { name = "agent/a", environment = "production" }\nlease = "db/reader"\n'
                                'expect = "permit"', "permit", "", ("start",)),
    "of another environment":  (ACTOR + 'lease = "db/reader"\nexpect = "deny"\npolicy = "nhi8"',
                                "deny", "forbidden", ("nhi8",)),
    "of what is not there":    (ACTOR + 'lease = "files/loader"\ntarget = { environment = "dev" }\nexpect = "permit"',
                                "permit", "", ("start",)),
    "outside its profile":     (ACTOR + 'profile = "refund"\nset = { order_id = "1", max = 5 }\nlease = "db/reader"\n'
                                'target = { environment = "dev" }\nexpect = "deny"',
                                "deny", "outside_grants", ("start",)),
    "a task is opened":        (ACTOR + 'action = "task/open"\nresource = "refund"\nexpect = "permit"',
                                "permit", "", ("start",)),
    "administration":          ('actor = { name = "human/alice" }\naction = "audit/read"\nexpect = "permit"\n'
                                'policy = "admins"', "permit", "", ("admins",)),
    "of a name":               ('actor = { name = "human/alice" }\naction = "identity/suspend"\n'
                                'resource = "agent/nightly"\nexpect = "permit"\npolicy = "names"',
                                "permit", "", ("names",)),
    "and of one that is new":  ('actor = { name = "human/alice" }\naction = "identity/suspend"\n'
                                'resource = "agent/other"\nexpect = "deny"', "deny", "not_permitted", ()),
    "a child is opened":       (ACTOR + 'action = "task/delegate"\nresource = "refund"\nexpect = "permit"\n'
                                'policy = "children"', "permit", "", ("children",)),
    "and nobody else's":       (ACTOR + 'action = "audit/read"\nexpect = "deny"\ncode = "not_permitted"',
                                "deny", "not_permitted", ()),
}  # fmt: skip


@pytest.mark.parametrize(("test", "verdict", "code", "spoke"), DECIDED.values(), ids=DECIDED)
def test_a_test_says_what_the_product_decides(test, verdict, code, spoke):
    found = outcome(test)
    assert (found.verdict, found.code, found.policies) == (verdict, code, spoke), found.reason
    assert found.passed, found.wrong


WRONG = {
    "another verdict": ('expect = "permit"', "expected permit, got deny"),
    "another code":    ('expect = "deny"\ncode = "outside_grants"', "expected the code outside_grants, got forbidden"),
    "another policy":  ('expect = "deny"\npolicy = "night"', "expected policy night to speak, got nhi8"),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "wrong"), WRONG.values(), ids=WRONG)
def test_what_is_not_as_expected_fails(expected, wrong):
    found = outcome(f'{ACTOR}lease = "db/reader"\n{expected}')
    assert (found.passed, found.wrong) == (False, wrong) and "nhi8" in found.reason


def test_the_decision_is_the_products_own(monkeypatch):
    """There is no second evaluation: what `decide` says is what a test gets."""
    asked = []

    def noted(case):
        asked.append(case)
        return decide(case)

    monkeypatch.setattr(trial, "decide", noted)
    policies = directory(f'name = "n"\n{ACTOR}lease = "db/reader"\nexpect = "deny"')
    (found,) = run_tests(policies, policies.tests)
    (case,) = asked
    assert found.reason == decide(case).objections[0].reason
    assert (case.policies, case.version) == (policies.organisation, policies.version)


CALL = 'call = "crm/send"\nexpect = "permit"\n'
A = "tests/a.toml"
# the test, how the refusal begins, what the hint says
REFUSED = {
    "unknown key":        (f'name = "n"\n{ACTOR}{CALL}exspect = 1',
                           f"{A} line 6: test 1: unknown key 'exspect'", "'expect'"),
    "no name":            (ACTOR + CALL, f"{A} line 2: test 1: 'name' is missing", ""),
    "no actor":           (f'name = "n"\n{CALL}', f"{A} line 1: test 1: 'actor' is missing", "agent/nightly"),
    "unknown of actor":   (f'name = "n"\nactor = {{ name = "agent/a", group = [] }}\n{CALL}',
                           f"{A} line 3: test 1: actor: unknown key 'group'", "'groups'"),
    "no kind":            (f'name = "n"\nactor = {{ name = "bob" }}\n{CALL}',
                           f"{A} line 3: test 1: 'bob' is no name", "agent/"),
    "nobody's name":      (f'name = "n"\n{ACTOR}action = "identity/suspend"\nresource = "nightly"\nexpect = "deny"',
                           f"{A} line 5: test 1: 'nightly' is no name", "agent/"),
    "no owner":           (f'name = "n"\nactor = {{ name = "agent/a", owner = "agent/b" }}\n{CALL}',
                           f"{A} line 3: test 1: the owner is 'agent/b'", "human/"),
    "unknown profile":    (f'name = "n"\nprofile = "refnd"\n{ACTOR}{CALL}',
                           f"{A} line 3: test 1: there is no profile 'refnd'", "'refund'"),
    "a value too much":   (f'name = "n"\nprofile = "refund"\nset = {{ order = "1" }}\n{ACTOR}{CALL}',
                           f"{A} line 4: test 1: profile refund has no parameter 'order'", "'order_id'"),
    "a value too large":  (f'name = "n"\nprofile = "refund"\nset = {{ order_id = "1", max = 201 }}\n{ACTOR}{CALL}',
                           f"{A} line 4: test 1: parameter 'max' of profile refund: expected at most 200", ""),
    "a value missing":    (f'name = "n"\nprofile = "refund"\nset = {{ order_id = "1" }}\n{ACTOR}{CALL}',
                           f"{A} line 1: test 1: profile refund needs parameter 'max'", "give it a value in `set`"),
    "values of nothing":  (f'name = "n"\nset = {{ a = "1" }}\n{ACTOR}{CALL}',
                           f"{A} line 3: test 1: 'set' is a table, and goes with 'profile'", ""),
    "unknown tool":       (f'name = "n"\n{ACTOR}call = "crm/snd"\nexpect = "permit"',
                           f"{A} line 4: test 1: there is no tool 'crm/snd'", "'crm/send'"),
    "unknown lease":      (f'name = "n"\n{ACTOR}lease = "db/readr"\nexpect = "permit"',
                           f"{A} line 4: test 1: there is no lease 'db/readr'", "'db/reader'"),
    "two wishes":         (f'name = "n"\n{ACTOR}{CALL}lease = "db/reader"', f"{A} line 1: test 1: it asks for", ""),
    "unknown action":     (f'name = "n"\n{ACTOR}action = "audit/reed"\nexpect = "deny"',
                           f"{A} line 4: test 1: there is no action 'audit/reed'", "'audit/read'"),
    "a task's action":    (f'name = "n"\n{ACTOR}action = "tools/call"\nexpect = "deny"',
                           f"{A} line 4: test 1: 'tools/call' is asked for as a call or a lease", ""),
    "unknown verdict":    (f'name = "n"\n{ACTOR}call = "crm/send"\nexpect = "permited"',
                           f"{A} line 5: test 1: 'expect' is 'permited'", "'permit'"),
    "a permit's code":    (f'name = "n"\n{ACTOR}{CALL}code = "forbidden"',
                           f"{A} line 6: test 1: 'code' is that of a refusal", "deny"),
    "unknown policy":     (f'name = "n"\n{ACTOR}{CALL}policy = "nhi9"',
                           f"{A} line 6: test 1: no policy has the @id 'nhi9'", "'nhi8'"),
    "unknown label":      (f'name = "n"\n{ACTOR}{CALL}labels = ["free"]',
                           f"{A} line 6: test 1: there is no label 'free'", "'free_text'"),
    "no hour":            (f'name = "n"\n{ACTOR}{CALL}hour = 24', f"{A} line 6: test 1: 'hour' is no number", ""),
    "a day as argument":  (f'name = "n"\n{ACTOR}{CALL}arguments = {{ body = 2026-01-01 }}',
                           f"{A} line 6: test 1: 'arguments' is no table of JSON values", ""),
    "a target of a call": (f'name = "n"\n{ACTOR}{CALL}target = {{ environment = "dev" }}',
                           f"{A} line 6: test 1: 'target' is a table, and goes with 'lease'", ""),
    "unknown of target":  (f'name = "n"\n{ACTOR}lease = "x/y"\ntarget = {{ env = "dev" }}\nexpect = "deny"',
                           f"{A} line 5: test 1: target: unknown key 'env'", "environment"),
}  # fmt: skip


@pytest.mark.parametrize(("test", "says", "hint"), REFUSED.values(), ids=REFUSED)
def test_a_broken_test_refuses_the_load_and_says_where(test, says, hint):
    with pytest.raises(InvalidRequest) as refused:
        directory(test)
    assert refused.value.code == "invalid_policy"
    assert str(refused.value).startswith(says) and hint in refused.value.hint, (str(refused.value), refused.value.hint)


def test_two_tests_of_one_name_and_an_unknown_table_are_refused():
    one = f'name = "n"\n{ACTOR}{CALL}'
    with pytest.raises(InvalidRequest, match="test 2: 'n' is the name of two tests"):
        directory(one, one)
    with pytest.raises(InvalidRequest, match="line 1: tests: unknown key 'tests'"):
        read_policy_dir({"tests/a.toml": b"[[tests]]"}, {})
