"""The policy directory loads whole or not at all, and each refusal says where (INTERFACES 3)."""

import hashlib
import json
from datetime import timedelta

import pytest

from taskbound.core.catalogue import Target, pin_of
from taskbound.core.cedar import Entity, Uid
from taskbound.core.errors import InvalidRequest
from taskbound.core.policy import Request, authorize
from taskbound.core.policy_dir import EMPTY, read_policy_dir
from taskbound.core.refusal import problems_of

TARGETS = {
    "db/reader": Target(
        "db", "reader", "dev", "cut now", frozenset({"unix"}), frozenset({"agent"}), timedelta(minutes=5), {}
    )
}
START = """// who may ask at all
@id("start")
permit(principal, action in [Action::"task/open", Action::"tools/call", Action::"lease/issue"], resource);
@id("nhi8")
forbid(principal, action == Action::"lease/issue", resource)
when { principal has environment && principal.environment != resource.environment };
"""
PROFILE = """purpose = "refund"
owner = "human/alice"
review_by = 2027-05-01
life = "10m"
[parameters.max]
kind = "amount"
[[grant]]
tool = "crm/refund"
when = { amount = "<= max" }
[[grant]]
lease = "db/reader"
"""
REGISTRATIONS = """[[registration]]
id = "agent/nightly"
owner = "human/alice"
environment = "dev"
groups = ["ci"]
attestor = "unix"
when = { uid = 1000 }
"""
DEFINITIONS = {
    "refund": {"name": "refund", "inputSchema": {"properties": {"amount": {"type": "number"}}, "required": ["amount"]}},
    "send": {"name": "send", "inputSchema": {"properties": {"to": {"type": "array", "items": {"type": "string"}}}}},
}


def tools(definitions=DEFINITIONS, more=""):
    return "".join(f'[{name}]\npin = "{pin_of(one)}"\neffect = "send"\n' for name, one in definitions.items()) + more


FILES = {
    "organisation/start.cedar": START,
    "profiles/refund.toml": PROFILE,
    "tools/crm.toml": tools(more='undo = "refund"\n'),
    "tools/crm.json": json.dumps(DEFINITIONS),
    "registrations.toml": REGISTRATIONS,
    "tests/first.toml": "# none yet\n",
}


def load(changes=(), targets=TARGETS):
    files = {path: text for path, text in {**FILES, **dict(changes)}.items() if text is not None}
    return read_policy_dir({path: text.encode() for path, text in files.items()}, targets)


def test_a_whole_directory_is_loaded():
    loaded = load()
    assert [policy.id for policy in loaded.organisation.policies] == ["start", "nhi8"]
    assert list(loaded.tools) == ["crm/refund", "crm/send"] and loaded.tools["crm/send"].undo == "refund"
    assert list(loaded.profiles) == ["refund"] and loaded.targets == TARGETS
    (entry,) = loaded.registrations
    assert (entry.name, entry.owner, entry.groups, entry.when) == (
        "agent/nightly",
        "human/alice",
        ("ci",),
        {"uid": 1000},
    )


def test_an_empty_directory_permits_nothing():
    who, what = Entity(Uid("Agent", "agent/a")), Entity(Uid("Profile", "none"))
    answer = authorize(EMPTY.organisation, Request(who, Uid("Action", "task/open"), what, {}))
    assert not answer.permitted and not EMPTY.profiles and not EMPTY.tools
    assert read_policy_dir({}, TARGETS).version == EMPTY.version == hashlib.sha256().hexdigest()


def test_the_version_is_the_hash_of_paths_and_bytes_and_of_nothing_else():
    parts = [path.encode() + b"\0" + FILES[path].encode() for path in sorted(FILES)]
    said = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()
    assert load().version == said == load(targets={**TARGETS}).version
    versions = {load({path: text + "\n"}).version for path, text in FILES.items() if path != "tests/first.toml"}
    assert len(versions | {said}) == len(FILES)
    shifted = [
        {"organisation/a.cedar": "//b", "organisation/c.cedar": ""},
        {"organisation/a.cedar": "", "organisation/c.cedar": "//b"},
        {"organisation/a.cedar": "//borganisation/c.cedar\0"},
    ]
    assert len({load(files).version for files in shifted}) == 3


FRESH = {path: None for path in FILES if path != "organisation/start.cedar"}


def test_policies_load_before_there_are_tools_and_targets():
    assert len(load(FRESH, {}).organisation.policies) == 2


def policy(head='forbid(principal, action == Action::"tools/call", resource)', body="", id='@id("p")\n'):
    return {"organisation/p.cedar": f"// a comment\n{id}{head}{f' when {{ {body} }}' if body else ''};\n"}


ACCEPTED = {
    "an argument of some tool": policy(body="context.args has to && context.args.to.contains(\"x\")"),
    "its origin":               policy(body="context.origin has to && context.origin.to < 2"),
    "the tools of an upstream": policy('forbid(principal, action, resource in Upstream::"crm")'),
    "one tool":                 policy('forbid(principal, action, resource == Tool::"crm/send")'),
    "one target":               policy('forbid(principal, action, resource in Target::"db")'),
    "a kind of resource":       policy("forbid(principal, action, resource is Profile)"),
    "a group":                  policy('permit(principal in Group::"x", action == Action::"audit/read", resource)'),
    "somebody":                 policy('forbid(principal, action, resource == Agent::"agent/x")'),
    "administration by name":   policy("permit(principal, action, resource)", id='@id("admin-all")\n'),
    "a required argument":      policy('forbid(principal, action, resource == Tool::"crm/refund")',
                                       "context.args has amount && context.args.amount.lessThan(decimal(\"0.0\"))"),
    "an id in a comment":       {"organisation/p.cedar": '// not @id("p")\n' + policy()["organisation/p.cedar"]},
}  # fmt: skip


@pytest.mark.parametrize("files", ACCEPTED.values(), ids=ACCEPTED)
def test_a_policy_that_reaches_something_is_accepted(files):
    assert len(load(files).organisation.policies) == 3


P = "organisation/p.cedar"
# files, and how the message begins, what it says, what the hint says
REFUSED_POLICIES = {
    "no @id":               (policy(id=""), f"{P} line 2: a policy has no plain @id", '@id("name")'),
    "@id like our own":     (policy(id='@id("o/123")\n'), f"{P} line 2: a policy has no plain @id", ""),
    "two alike":            (policy(id='@id("start")\n'),
                             "organisation/start.cedar line 2 @id start: the same @id stands in", ""),
    "two alike in a file":  ({P: 2 * policy()[P]}, f"{P} line 5 @id p: the same @id stands in {P}", "another"),
    "permits all actions":  (policy("permit(principal, action, resource)"),
                             f"{P} line 2 @id p: a permit names no action", "action in"),
    "no Cedar":             (policy("forbid(principal, action, resourc)"), f"{P} line 2: ", "Cedar says"),
    "a template":           (policy("permit(principal == ?principal, action, resource)"), f"{P} line 2: ", ""),
    "unknown action":       (policy('forbid(principal, action == Action::"tools/cal", resource)'),
                             f"{P} line 2 @id p: there is no Action 'tools/cal'", "'tools/call'"),
    "unknown in a list":    (policy('forbid(principal, action in [Action::"tools/call", Action::"x"], resource)'),
                             f"{P} line 2 @id p: there is no Action 'x'", ""),
    "unknown tool":         (policy('forbid(principal, action, resource == Tool::"crm/snd")'),
                             f"{P} line 2 @id p: there is no Tool 'crm/snd'", "'crm/send'"),
    "unknown in condition": (policy(body='resource == Tool::"crm/snd"'),
                             f"{P} line 2 @id p: there is no Tool 'crm/snd'", ""),
    "unknown upstream":     (policy('forbid(principal, action, resource in Upstream::"crn")'),
                             f"{P} line 2 @id p: there is no Upstream 'crn'", "'crm'"),
    "reaches nothing":      (policy('forbid(principal, action == Action::"lease/issue", resource is Tool)'),
                             f"{P} line 2 @id p: it reaches nothing", ""),
    "typo in an argument":  (policy(body="context.args has amout && context.args.amout == decimal(\"1.0\")"),
                             f"{P} line 2 @id p: no tool that it reaches has the argument 'amout'", "'amount'"),
    "argument of another":  (policy('forbid(principal, action, resource == Tool::"crm/refund")', "context.args has to"),
                             f"{P} line 2 @id p: no tool that it reaches has the argument 'to'", ""),
    "typo in an origin":    (policy(body="context.origin has amout"), f"{P} line 2 @id p: no tool that it reaches", ""),
    "typo in the context":  (policy(body="context has labls"), f"{P} line 2 @id p: context has no 'labls'", "'labels'"),
    "a task's values":      (policy(body="context has grant"), f"{P} line 2 @id p: context has no 'grant'", ""),
    "no has":               (policy(body="context.args.amount == decimal(\"1.0\")"),
                             f"{P} line 2 @id p: it is not valid for tools/call on Tool", "Cedar says"),
    "another type":         (policy(body="context.args has amount && context.args.amount <= 200"),
                             f"{P} line 2 @id p: it is not valid for tools/call on Tool 'crm/refund'", "Cedar says"),
    "another resource's":   (policy("forbid(principal, action, resource)", 'resource.effect == "send"'),
                             f"{P} line 2 @id p: it is not valid for", "effect"),
    "no UTF-8":             ({P: "// \udcff"}, "", ""),
}  # fmt: skip


def refusal(files, targets=TARGETS):
    with pytest.raises(InvalidRequest) as refused:
        files = {path: text for path, text in {**FILES, **files}.items() if text is not None}
        read_policy_dir({path: text.encode("utf-8", "surrogateescape") for path, text in files.items()}, targets)
    assert refused.value.code == "invalid_policy"
    return refused.value


@pytest.mark.parametrize(("files", "says", "hint"), REFUSED_POLICIES.values(), ids=REFUSED_POLICIES)
def test_a_policy_that_cannot_be_meant_refuses_the_load(files, says, hint):
    error = refusal(files)
    assert str(error).startswith(says) and hint in error.hint and error.hint, (str(error), error.hint)


def profile(old="", new="", more=""):
    return {"profiles/refund.toml": PROFILE.replace(old, new, 1) + more if old else PROFILE + more}


def crm(definitions=None, more=""):
    return {
        "tools/crm.toml": tools(more=more) if more else FILES["tools/crm.toml"],
        "tools/crm.json": json.dumps(DEFINITIONS if definitions is None else definitions),
    }


def entry(old, new):
    return {"registrations.toml": REGISTRATIONS.replace(old, new)}


R = "registrations.toml"
REFUSED_FILES = {
    "unknown file":          ({"README.md": ""}, "'README.md': unknown file", "organisation/*.cedar"),
    "unknown folder":        ({"policies/a.cedar": ""}, "'policies/a.cedar': unknown file", ""),
    "a folder deeper":       ({"organisation/a/b.cedar": ""}, "'organisation/a/b.cedar': unknown file", ""),
    "a path that leaves":    ({"tests/../a.toml": ""}, "'tests/../a.toml': unknown file", ""),
    "no TOML":               (profile('life = "10m"', "life = 10m"),
                              "profiles/refund.toml line 4: it is no TOML", "line 4"),
    "unknown key":           (profile('life = "10m"', 'life = "10m"\nidel = "5m"'),
                              "profiles/refund.toml line 5: profile: unknown key 'idel'", "'idle'"),
    "unknown tool":          (profile("crm/refund", "crm/refnd"),
                              "profiles/refund.toml line 8: grant 1: there is no tool 'crm/refnd'", "'crm/refund'"),
    "unknown lease":         (profile("db/reader", "db/writer"),
                              "profiles/refund.toml line 11: grant 2: there is no lease 'db/writer'", "'db/reader'"),
    "unknown parameter":     (profile("<= max", "<= mx"),
                              "profiles/refund.toml line 9: grant 1 (crm/refund): the condition on 'amount'", "'max'"),
    "never permits":         (profile('when = { amount = "<= max" }', 'ask = true', '[[grant]]\ntool = "crm/send"\n'),
                              "profiles/refund.toml line 7: grant 1 (crm/refund) can never permit: 'amount'", ""),
    "the name none":         ({"profiles/none.toml": PROFILE}, "profiles/none.toml: the name none", "rename"),
    "no definitions":        ({"tools/crm.json": None}, "tools/crm.toml: there is no tools/crm.json", "derive"),
    "definitions alone":     ({"tools/crm.toml": None}, "tools/crm.json: there is no tools/crm.toml", "derive"),
    "not in the file":       (crm({**DEFINITIONS, "more": {"name": "more"}}),
                              "tools/crm.json line 1: 'more' is not in tools/crm.toml", ""),
    "not in the definitions": (crm(more='[snd]\npin = "x"\neffect = "send"\n'),
                              "tools/crm.toml line 7: 'snd' is no tool of tools/crm.json", "'send'"),
    "definition renamed":    (crm({**DEFINITIONS, "send": DEFINITIONS["refund"]}),
                              "tools/crm.toml line 4: tool 'send': its definition has another name", ""),
    "no JSON":               ({"tools/crm.json": "{"}, "tools/crm.json: not JSON at line 1", ""),
    "no object":             ({"tools/crm.json": "[]"}, "tools/crm.json: it is no object", ""),
    "a member twice":        ({"tools/crm.json": '{"a":1,"a":2}'}, "tools/crm.json: member 'a' stands twice", ""),
    "unknown effect":        (crm(more='effect = "sent"\n'), "tools/crm.toml line 7: it is no TOML", ""),
    "undo by nothing":       (crm(more='undo = "unsend"\n'),
                              "tools/crm.toml line 4: tool 'send': 'undo' is 'unsend'", ""),
    "unknown attestor":      (entry('"unix"', '"unx"'),
                              f"{R} line 6: registration 1: there is no attestor 'unx'", "'unix'"),
    "an operator":           (entry('"unix"', '"operator"'),
                              f"{R} line 6: registration 1: agent/nightly is no human", "attestor unix"),
    "unknown fact":          (entry("uid", "uuid"), f"{R} line 7: registration 1: unix learns no fact 'uuid'", "'uid'"),
    "registered twice":      ({R: 2 * REGISTRATIONS}, f"{R} line 2: 'agent/nightly' is registered twice", ""),
    "owned by an agent":     (entry("human/alice", "agent/b"),
                              f"{R} line 3: registration 1: 'owner' is 'agent/b'", "human/"),
    "a human":               (entry("agent/nightly", "human/bob"),
                              f"{R} line 2: registration 1: 'id' is 'human/bob'", "agent/"),
    "one of ours":           (entry("agent/nightly", "taskbound/door"), f"{R} line 2: registration 1: 'id' is", ""),
    "no name":               (entry("agent/nightly", "agent/a b"), f"{R} line 2: registration 1: 'id' is", ""),
    "fact of another type":  (entry("uid = 1000", "uid = '1000'"), f"{R} line 7: registration 1: the fact 'uid' is a number", "uid = 1000"),  # noqa: E501
    "no facts":              (entry("{ uid = 1000 }", "{}"), f"{R} line 7: registration 1: 'when' names no facts", ""),
    "no attestor":           (entry('attestor = "unix"\n', ""),
                              f"{R} line 1: registration 1: 'attestor' is missing", ""),
    "unknown in it":         (entry("groups", "group"), f"{R} line 5: registration 1: unknown key 'group'", "'groups'"),
    "unknown table":         (entry("[[registration]]", "[[registrations]]"),
                              f"{R} line 1: registrations: unknown key", ""),
}  # fmt: skip


@pytest.mark.parametrize(("files", "says", "hint"), REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_a_broken_file_refuses_the_load_and_says_where(files, says, hint):
    error = refusal(files)
    assert str(error).startswith(says) and hint in error.hint and error.hint, (str(error), error.hint)


def test_a_definition_that_changed_is_loaded_but_not_pinned():
    changed = {**DEFINITIONS, "send": {**DEFINITIONS["send"], "description": "now it forwards too"}}
    loaded = load(crm(changed))
    assert not loaded.tools["crm/send"].pinned and loaded.tools["crm/refund"].pinned


def test_a_policy_is_validated_once_for_tools_that_look_alike_to_it():
    many = {
        f"t{n}": {"name": f"t{n}", "inputSchema": {"properties": {f"a{n}": {"type": "integer"}}}} for n in range(200)
    }
    files = {"tools/many.toml": tools(many), "tools/many.json": json.dumps(many)}
    assert (
        len(load({**files, **policy(body="context.args has a7 && context.args.a7 > 5 && context.hour < 9")}).tools)
        == 202
    )


# --- every problem at once -----------------------------------------------------------------------


def problems(files):
    return [str(one) for one in problems_of(refusal(files))]


def test_all_that_is_wrong_is_told_at_once_each_with_its_place_and_hint():
    error = refusal({
        "organisation/p.cedar": policy(id="")[P] + policy(body='resource == Tool::"crm/snd"')[P],
        "organisation/q.cedar": "permit(principal, action, resourc);\n\nforbid(;\n",
        "profiles/refund.toml": PROFILE.replace("life =", "lief =").replace("db/reader", "db/readr"),
        "registrations.toml": REGISTRATIONS.replace("groups", "group") + REGISTRATIONS.replace("human/alice", "alice"),
    })  # fmt: skip
    begins = [
        "profiles/refund.toml line 4: profile: unknown key 'lief'",
        "profiles/refund.toml: 'life' is missing",
        "profiles/refund.toml line 11: grant 2: there is no lease 'db/readr'",
        f"{P} line 2: a policy has no plain @id",
        f"{P} line 4 @id p: there is no Tool 'crm/snd'",
        "organisation/q.cedar line 1: ",
        "organisation/q.cedar line 3: ",
        "registrations.toml line 5: registration 1: unknown key 'group'",
        "registrations.toml line 10: registration 2: 'owner' is 'alice'",
    ]
    found = problems_of(error)
    assert len(found) == len(begins), list(map(str, found))
    for one, begin in zip(found, begins, strict=True):
        assert str(one).startswith(begin) and one.code == "invalid_policy", str(one)
    assert str(error) == str(found[0]) and error.hint == f"{found[0].hint}; 8 more problems: taskbound policy check"


def test_the_tools_of_a_file_are_told_each():
    more = '[a]\npin = "x"\neffect = "sent"\n[b]\npin = "x"\n'
    definitions = {**DEFINITIONS, "a": {"name": "a"}, "b": {"name": "b"}}
    told = problems({"tools/crm.toml": tools(more=more), "tools/crm.json": json.dumps(definitions)})
    assert [one.partition(": tool ")[2][:3] for one in told] == ["'a'", "'b'"]


def test_what_only_follows_from_something_broken_is_not_told():
    """A profile, and policies, that are about the tools of a broken file."""
    typo = policy(body='resource == Tool::"crm/refund"')
    (one,) = problems({**typo, "tools/crm.json": "{"})
    assert one.startswith("tools/crm.json")
    (one,) = problems({"profiles/refund.toml": "x", "organisation/p.cedar": policy(
        'forbid(principal, action == Action::"task/open", resource == Profile::"refund")')[P]})  # fmt: skip
    assert one.startswith("profiles/refund.toml")


def test_the_tests_are_read_once_all_else_is_in_order():
    broken = {"tests/first.toml": "[[tset]]"}
    assert [one.partition(":")[0] for one in problems({**broken, R: "[[x]]"})] == [f"{R} line 1"]
    assert [one.partition(":")[0] for one in problems(broken)] == ["tests/first.toml line 1"]
