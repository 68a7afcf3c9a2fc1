"""The command as people and scripts type it, against canned answers on a real Unix socket."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from taskbound.cli import COMMANDS, NOT_BUILT, main
from tests.cli.nobody import UID, as_nobody
from tests.sdk.canned import canned

COMMAND = Path(sys.executable).with_name("taskbound")
TASK = {
    "task": "t1", "state": "open", "deadline": "2027-01-01T00:00:00Z", "token": None, "handle": "tbh_x",
    "gateway": "http://127.0.0.1:8441/mcp",
    "grants": [{"id": "g", "said": "w/x with …", "text": "permit(…);", "actions": ["tools/call"], "resources": ["w/x"],
                "ask": False}],
}  # fmt: skip


@pytest.fixture
def state(monkeypatch):
    for name in ("TASKBOUND_TASK", "TASKBOUND_URL", "TASKBOUND_MCP_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path is short
        monkeypatch.setenv("TASKBOUND_HOME", folder)
        yield Path(folder)


@pytest.fixture
def api(state):
    (state / "run").mkdir(mode=0o700)
    with canned(state / "run/api.sock") as api:
        yield api


@pytest.fixture
def say(capsys):
    def say(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return say


# --- tasks -----------------------------------------------------------------------------------------


def test_an_opened_task_is_told_to_a_script_as_three_members(api, say, state):
    api.answers["POST /v1/tasks"] = (201, TASK)
    (state / "intent.txt").write_text("look at the mail\n")
    words = ["--intent-file", state / "intent.txt", "--agent", "agent", "--life", "10m", "--json"]
    status, out, _ = say("task", "open", *words)
    assert (status, json.loads(out)) == (0, {"task": "t1", "token": "tbh_x", "gateway": "http://127.0.0.1:8441/mcp"})
    assert api.last.body == {"intent": "look at the mail\n", "actor": "agent/agent", "life_s": 600}
    status, out, _ = say("task", "open", "--profile", "p", "--set", "a=1", "b=x=y", "--set", "c=", "--cause", "t0",
                         "--agent", "agent/n", "--upstream", "w", "--json")  # fmt: skip
    assert json.loads(out)["gateway"] == "http://127.0.0.1:8441/mcp/w"
    body = {"profile": "p", "set": {"a": "1", "b": "x=y", "c": ""}, "actor": "agent/n", "cause": "t0", "upstream": "w"}
    assert (status, api.last.body) == (0, body)


def test_an_opened_task_is_told_to_people_with_what_it_may_do_and_how_to_use_it(api, say):
    api.answers["POST /v1/tasks"] = (201, TASK | {"registered": True})
    status, out, err = say("task", "open", "--intent", "look", "--agent", "nightly")
    assert (status, out.splitlines()) == (0, [
        "task t1 until 2027-01-01T00:00:00Z", "  w/x with …", "MCP at http://127.0.0.1:8441/mcp",
        "Authorization: Bearer tbh_x",
    ])  # fmt: skip
    assert "agent/nightly was not known: it is registered now" in err


def listed(n: int, hour: int, **more: object) -> dict[str, object]:
    at = {"opened": f"2027-01-01T{hour:02}:00:00Z", "deadline": f"2027-01-01T{hour:02}:10:00Z"}
    return {"task": f"t{n}", "state": "open", "actor": "agent/a", "profile": None, "reason": "", **at, **more}


def test_tasks_are_listed_whole_and_the_newest_first_however_many_pages_there_are(api, say):
    api.answers |= {
        "GET /v1/tasks?state=open&limit=500": (200, {"tasks": [listed(1, 8)], "next": "t1"}),
        "GET /v1/tasks?state=open&limit=500&after=t1": (200, {"tasks": [listed(2, 9)], "next": None}),
        "GET /v1/tasks?limit=500": (200, {"tasks": [], "next": None}),
    }
    status, out, _ = say("task", "list", "--state", "open", "--json")
    assert (status, [task["task"] for task in json.loads(out)["tasks"]]) == (0, ["t2", "t1"])
    _, out, _ = say("task", "list", "--state", "open")
    assert [line.split() for line in out.splitlines()] == [
        ["task", "state", "actor", "profile", "opened", "deadline", "reason"],
        ["t2", "open", "agent/a", "2027-01-01T09:00:00Z", "2027-01-01T09:10:00Z"],
        ["t1", "open", "agent/a", "2027-01-01T08:00:00Z", "2027-01-01T08:10:00Z"],
    ]
    assert say("task", "list") == (0, "", "there are no tasks\n")


def test_people_are_shown_the_newest_of_many_tasks_and_told_of_the_others(api, say):
    api.answers["GET /v1/tasks?limit=500"] = (200, {"tasks": [listed(n, n % 24) for n in range(120)], "next": None})
    _, out, err = say("task", "list")
    assert len(out.splitlines()) == 101
    assert err == "these are the newest 100 of 120: --all shows the others, --state those of one state\n"
    _, out, err = say("task", "list", "--all")
    assert (len(out.splitlines()), err) == (121, "")


def test_calls_are_listed_with_the_id_that_why_takes(api, say):
    one = {"call": "d1", "task": "t1", "at": "2027-01-01T00:00:00Z", "action": "tools/call", "resource": "crm/refund",
           "state": "denied", "code": "outside_grants", "hint": "h", "command": "c"}  # fmt: skip
    api.answers["GET /v1/calls?state=denied&limit=50"] = (200, {"calls": [one]})
    status, out, err = say("call", "list", "--denied")
    assert (status, out.splitlines()[1].split()) == (
        0, ["d1", "2027-01-01T00:00:00Z", "t1", "tools/call", "crm/refund", "denied", "outside_grants"],
    )  # fmt: skip
    assert err == "why, and what would unblock it: taskbound why d1\n"
    assert json.loads(say("call", "list", "--denied", "--json")[1]) == {"calls": [one]}
    api.answers["GET /v1/calls?task=t1&limit=2"] = (200, {"calls": [one | {"state": "permitted"}] * 2})
    assert say("call", "list", "--task", "t1", "--limit", "2")[2] == "these are the newest 2; more with --limit N\n"
    api.answers["GET /v1/calls?limit=50"] = (200, {"calls": []})
    assert say("call", "list") == (0, "", "there are no calls\n")
    for limit in ("0", "501", "x"):
        assert say("call", "list", "--limit", limit)[0] == 2


def test_identities_are_listed_by_name_and_leases_the_newest_first(api, say):
    people = [{"name": "human/x", "state": "registered"}, {"name": "agent/b"}, {"name": "agent/a"}]
    api.answers["GET /v1/identities?limit=500"] = (200, {"identities": people[:1], "next": "i1"})
    api.answers["GET /v1/identities?limit=500&after=i1"] = (200, {"identities": people[1:], "next": None})
    assert [line.split()[0] for line in say("identity", "list")[1].splitlines()] == [
        "name", "agent/a", "agent/b", "human/x",
    ]  # fmt: skip
    leases = [{"lease": f"l{n}", "issued": at} for n, at in enumerate(("2027-01-01T00:00:00Z", None, "2027-02"))]
    api.answers["GET /v1/leases?limit=500"] = (200, {"leases": leases, "next": None})
    assert [line.split()[0] for line in say("lease", "list")[1].splitlines()] == ["lease", "l2", "l0", "l1"]


def test_ending_what_had_ended_is_success(api, say):
    api.answers["POST /v1/tasks/t1/end"] = (200, {"ended": []})
    assert say("task", "end", "t1") == (0, "t1 had ended\n", "")
    api.answers["POST /v1/tasks/t1/end"] = (200, {"ended": ["t1", "t2"]})
    assert say("task", "end", "t1", "--json") == (0, '{"ended": ["t1", "t2"]}\n', "")


def test_what_others_wrote_cannot_steer_the_terminal(api, say):
    api.answers["GET /v1/tasks/t1"] = (200, TASK | {"intent": "\x1b[2Jgone\nstate closed"})
    _, out, _ = say("task", "show", "t1")
    assert "intent    \\x1b[2Jgone\\nstate closed" in out.splitlines() and "\x1b" not in out
    said = {"error": "x", "error_description": "\x1b[2J", "hint": "\x1b]0;x"}
    api.answers["GET /v1/tasks/t1"] = (403, said)
    _, _, err = say("task", "show", "t1")
    assert "\x1b" not in err


def test_inside_a_task_the_command_talks_to_the_gateway_with_the_handle(api, say, state, monkeypatch):
    config = {"mcpServers": {"w": {"headers": {"Authorization": "Bearer tbh_mine"}}}}
    (state / "mcp.json").write_text(json.dumps(config))
    with canned() as gateway:
        gateway.answers["POST /v1/tasks"] = (201, TASK)
        monkeypatch.setenv("TASKBOUND_TASK", "t0")
        monkeypatch.setenv("TASKBOUND_URL", gateway.address)
        monkeypatch.setenv("TASKBOUND_MCP_CONFIG", str(state / "mcp.json"))
        assert say("task", "open", "--intent", "less", "--json")[0] == 0
        assert (gateway.last.authorization, gateway.last.body) == ("Bearer tbh_mine", {"intent": "less"})
    assert api.asked == []


def test_what_is_not_reached_from_inside_a_task_is_said_to_be_outside(api, say, state, monkeypatch):
    config = {"mcpServers": {"w": {"headers": {"Authorization": "Bearer tbh_mine"}}}}
    (state / "mcp.json").write_text(json.dumps(config))
    for name, value in {"TASK": "t0", "MCP_CONFIG": str(state / "mcp.json")}.items():
        monkeypatch.setenv(f"TASKBOUND_{name}", value)
    with canned() as gateway:
        monkeypatch.setenv("TASKBOUND_URL", gateway.address)
        said = {"error": "not_found", "error_description": "there is no such address", "hint": "h"}
        gateway.answers["POST /v1/policy/load"] = (404, said)
        gateway.answers["GET /v1/tasks?limit=500"] = (405, {**said, "error_description": "the address takes POST"})
        gateway.answers["GET /v1/tasks/t9"] = (404, {**said, "error_description": "there is no task t9"})
        for words in (("policy", "load"), ("task", "list"), ("doctor",)):
            status, _, err = say(*words)
            first, hint = err.splitlines()
            assert status == 1 and first.startswith("you are inside of task t0: "), words
            assert hint.startswith("hint: type it outside of it")
        assert say("task", "show", "t9")[2] == "there is no task t9 (not_found)\nhint: h\n"


# --- identities, policy, tools, leases -------------------------------------------------------------


def test_an_agent_is_registered_with_what_is_usual_where_nothing_is_said(api, say):
    api.answers["POST /v1/identities"] = (201, {"name": "agent/a", "owner": "human/x"})
    status, out, _ = say("identity", "register", "agent/a", "--owner", "human/x")
    assert (status, out) == (0, f"registered agent/a, owner human/x, proven by unix uid {os.getuid()}\n")
    assert api.last.body == {
        "name": "agent/a", "owner": "human/x", "attestor": "unix", "when": {"uid": os.getuid()}, "purpose": "",
        "environment": "dev", "groups": [],
    }  # fmt: skip
    say("identity", "register", "agent/a", "--owner", "human/x", "--when", "uid=7", "--when", "path=/bin/x", "--group",
        "ci", "--group", "night", "--environment", "production", "--purpose", "why")  # fmt: skip
    assert api.last.body["when"] == {"uid": 7, "path": "/bin/x"}
    assert (api.last.body["groups"], api.last.body["environment"]) == (["ci", "night"], "production")
    say("identity", "register", "agent/a", "--owner", "human/x", "--attestor", "join_token")
    assert (api.last.body["attestor"], api.last.body["when"]) == ("join_token", {})


@pytest.mark.parametrize("verb", ["suspend", "resume", "retire"])
def test_an_identity_is_moved_by_its_name(api, say, verb):
    told = {"name": "agent/a/b", "state": "suspended", "ended": ["t1"]}
    api.answers[f"POST /v1/identities/agent/a%2Fb/{verb}"] = (200, told)
    assert say("identity", verb, "agent/a/b") == (0, "agent/a/b is suspended\nended t1\n", "")
    assert json.loads(say("identity", verb, "agent/a/b", "--json")[1]) == told


def test_a_join_token_alone_is_on_stdout(api, say):
    api.answers["POST /v1/identities/agent/a/join"] = (201, {"token": "tbj_x", "expires": "soon"})
    assert say("identity", "join", "agent/a", "--life", "2m")[:2] == (0, "tbj_x\n")
    assert api.last.body == {"life_s": 120}


def test_derived_tools_are_printed_as_the_file_they_would_be(api, say):
    told: dict[str, Any] = {
        "upstream": "w",
        "toml": '[x]\npin = "sha256:0"\n',
        "pins": {"x": "sha256:0"},
        "written": False,
    }
    api.answers["POST /v1/tools/w/pin"] = (200, told)
    assert say("tools", "derive", "w")[:2] == (0, told["toml"])
    assert api.last.body == {"write": False}
    api.answers["POST /v1/tools/w/pin"] = (200, told | {"written": True})
    said = say("tools", "derive", "w", "--write")[1]
    assert said.startswith("1 tool of w pinned in /") and said.endswith("/policy/tools/w.toml\n")
    assert api.last.body == {"write": True}
    two = told["toml"] + '[y]\npin = "sha256:1"\nreviewed = { by = "human/a", on = 2026-11-24 }\n'
    api.answers["POST /v1/tools/w/pin"] = (200, told | {"written": True, "toml": two, "pins": {"x": "0", "y": "1"}})
    assert say("tools", "derive", "w", "--write")[2].startswith("1 of 2 not reviewed yet: a person looks")
    api.answers["POST /v1/tools/w/pin"] = (200, told | {"written": True, "toml": two[two.index("[y]") :]})
    assert say("tools", "derive", "w", "--write")[2] == "0 of 1 not reviewed yet\n"


@pytest.mark.parametrize(
    ("words", "path", "member"),
    [
        ("identity list", "identities", "identities"),
        ("tools list", "tools", "tools"),
        ("lease list", "leases", "leases"),
    ],
)
def test_a_listing_is_a_table_for_people_and_the_apis_value_for_scripts(api, say, words, path, member):
    one = {"name": "agent/a", "tool": "w/x", "lease": "l1", "groups": ["a", "b"], "overdue": True, "issued": None}
    value = {member: [one], **({} if path == "tools" else {"next": None})}
    path = path if path == "tools" else f"{path}?limit=500"
    api.answers[f"GET /v1/{path}"] = (200, value)
    assert json.loads(say(*words.split(), "--json")[1]) == value
    status, out, err = say(*words.split())
    assert (status, len(out.splitlines()), err) == (0, 2, "")
    api.answers[f"GET /v1/{path}"] = (200, {member: []})
    status, out, err = say(*words.split())
    assert (status, out) == (0, "") and err


def test_a_policy_directory_is_written_once_checked_and_loaded(state, say, monkeypatch):
    monkeypatch.setenv("TASKBOUND_HOME", str(state / "new"))
    status, out, _ = say("policy", "init", "--json")
    assert (status, json.loads(out)["directory"]) == (0, str(state / "new/policy"))
    assert (state / "new").stat().st_mode & 0o777 == 0o700
    text = (state / "new/policy/organisation/start.cedar").read_text()
    status, out, err = say("policy", "init")
    assert (status, out) == (1, "") and "start.cedar exists already (conflict)" in err
    (state / "new/policy/organisation/start.cedar").rename(state / "new/policy/organisation/ours.cedar")
    status, out, err = say("policy", "init")
    assert (status, out) == (1, "") and "exists already (conflict)" in err
    assert [file.name for file in (state / "new/policy/organisation").iterdir()] == ["ours.cedar"]
    assert say("policy", "init", state / "elsewhere")[0] == 0
    status, out, _ = say("policy", "check", "--json")
    assert (status, json.loads(out)["policies"] >= 4) == (0, True)
    assert json.loads(say("policy", "check", state / "elsewhere", "--json")[1])["version"] != json.loads(out)["version"]
    (state / "elsewhere/organisation/start.cedar").write_text(text + "\npermit(principal, action, resource);")
    status, out, err = say("policy", "check", state / "elsewhere")
    assert (status, out) == (1, "") and "organisation/start.cedar line" in err and "@id" in err


def test_a_loaded_policy_is_told_with_its_version(api, say):
    about = {"version": "abc", "profiles": 1, "tools": 2, "policies": 3}
    api.answers["POST /v1/policy/load"] = (200, about)
    assert say("policy", "load") == (0, "policy abc: 3 policies, 1 profile, 2 tools: in force\n", "")
    assert json.loads(say("policy", "load", "--json")[1]) == about


# --- the log of a server that runs -----------------------------------------------------------------


def test_the_log_of_a_running_server_is_asked_for(api, say, state):
    leaf = {"at": "2027-01-01T00:00:00.000000Z", "body": "0" * 64, "by": "spiffe://x/agent/a", "id": "t1", "index": 0,
            "kind": "task.opened", "noun": "task", "org": "main", "request": "r1", "v": 1}  # fmt: skip
    api.answers |= {
        "GET /healthz": (200, {"alive": True}),
        "POST /v1/audit/export": (200, {"size": 3}),
        "POST /v1/bodies/erase": (200, {"erased": 2}),
        "POST /v1/bodies/7/erase": (200, {"erased": 1}),
        "GET /v1/events?after=-1": (200, {"events": [leaf, leaf | {"index": 1}], "next": 1}),
        "GET /v1/events?after=1": (200, {"events": [], "next": 1}),
    }
    assert say("audit", "export", "x") == (0, "3 events exported to x\n", "")
    assert api.last.body == {"directory": str(Path.cwd() / "x")}
    assert say("audit", "erase", "--older-than", "2d", "--json") == (0, '{"erased": 2}\n', "")
    assert api.last.body == {"older_than_s": 172_800}
    assert say("audit", "erase", "--older-than", "2d", "--class", "arguments")[0] == 0
    assert api.last.body == {"older_than_s": 172_800, "class": "arguments"}
    assert say("audit", "erase", "--older-than", "2d", "--class", "intents")[0] == 2
    assert say("audit", "erase", "--event", "7") == (0, "1 bodies erased\n", "")
    for wrong in (["--event", "7", "--class", "arguments"], ["--event", "7", "--older-than", "2d"], []):
        assert say("audit", "erase", *wrong)[0] == 2
    status, out, _ = say("audit", "tail")
    assert (status, [json.loads(line)["index"] for line in out.splitlines()]) == (0, [0, 1])
    for _ in range(2):  # the file goes on where it ends
        assert say("audit", "tail", "--to", state / "log")[0] == 0
    assert (state / "log").read_text() == out
    assert say("audit", "export", "x", "--checkpoints", state)[0] == 2
    api.answers["GET /v1/events?after=-1"] = (200, {"events": [{"index": 0}], "next": 1})
    assert say("audit", "tail")[0] == 3


# --- what goes wrong -------------------------------------------------------------------------------


def test_a_refusal_is_one_line_and_a_hint_or_one_json_value(api, say):
    said = {
        "error": "unknown_agent",
        "error_description": "agent/x is not registered",
        "hint": "register it",
        "request": "r9",
    }
    api.answers["POST /v1/tasks"] = (403, said)
    words = ["task", "open", "--agent", "team/x", "--budget", "calls=2", "leases=1"]
    assert say(*words) == (1, "", "agent/x is not registered (unknown_agent)\nhint: register it\n")
    status, out, err = say(*words, "--json")
    assert (status, json.loads(out), err) == (1, said, "")
    assert api.last.body == {"actor": "agent/team/x", "budget": {"calls": 2, "leases": 1}}
    api.answers["POST /v1/tasks"] = (409, said | {"hint": ""})
    assert say(*words)[2].splitlines()[1:] == ["hint: taskbound task --help"]


@pytest.mark.parametrize(
    ("http", "code", "status"),
    [(404, "not_found", 1), (500, "internal", 1), (503, "store_unavailable", 3), (503, "log_broken", 4)],
)
def test_the_status_tells_whose_trouble_it_is(api, say, http, code, status):
    api.answers["GET /v1/leases?limit=500"] = (http, {"error": code, "error_description": "x"})
    assert say("lease", "list")[0] == status


def test_without_a_server_the_hint_is_to_start_one(state, say):
    status, out, err = say("task", "list")
    assert (status, out) == (3, "") and "no answer from unix:" in err and "taskbound up" in err
    status, out, err = say("task", "list", "--json")
    told = json.loads(out)
    assert (status, told["error"], err) == (3, "unreachable", "") and "taskbound up" in told["hint"]
    assert told.keys() == {"error", "error_description", "hint", "request"}


@pytest.mark.parametrize(
    "words",
    [
        "task", "task open --set a", "task open --set =1", "task open --life soon", "task open --life 5",
        "task open --intent a --intent-file b", "task open --prof x", "task end", "task list extra", "task fly",
        "identity register agent/a", "identity suspend alice", "identity suspend human/", "identity join /x",
        "identity register a --owner b --attestor magic",
        "identity register a --owner b --attestor join_token --when x=1",
        "tools derive", "lease", "policy nothing", "run", "run --profile p", "run --", "run cmd",
        "up --port 7", "audit fly", "task open --budget calls", "task open --budget c=x",
    ],
)  # fmt: skip
def test_words_it_does_not_take_are_a_usage_error_in_either_form(api, say, words):
    status, out, err = say(*words.split())
    assert (status, out) == (2, "") and re.fullmatch(r"[^\n]+\nhint: [^\n]+\n", err)
    json_words = words.replace(" --", " --json --", 1) if words.endswith("--") else f"{words} --json"
    status, out, err = say(*json_words.split())
    assert (status, json.loads(out)["error"], err) == (2, "usage", "")
    assert api.asked == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("tsk list", "did you mean 'task'?"), ("polcy", "did you mean 'policy'?"), ("xyzzy", "taskbound help"),
        ("task lst", "did you mean 'list'?"), ("audit exprot x", "did you mean 'export'?"),
        ("task xyzzy", "taskbound task --help"),
    ],
)  # fmt: skip
def test_an_unknown_command_gets_the_nearest_as_a_hint(say, words, hint):
    status, _, err = say(*words.split())
    assert (status, err.splitlines()[-1]) == (2, f"hint: {hint}")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("task list --stat open", "did you mean --state?"), ("up --prodution", "did you mean --production?"),
        ("identity register agent/a --ownr human/x", "did you mean --owner?"), ("why --jsno x", "did you mean --json?"),
        ("run --profle x -- ls", "did you mean --profile?"), ("run --profle x ls", "did you mean --profile?"),
        ("task list --xyzzy", "taskbound task list --help"),
    ],
)  # fmt: skip
def test_a_misspelt_option_gets_the_nearest_as_a_hint(say, words, hint):
    status, out, err = say(*words.split())
    assert (status, out, err.splitlines()[1:]) == (2, "", [f"hint: {hint}"])


@pytest.mark.parametrize("words", [("discover", "--home=/x"), ("task", "list", "--json=3"), ("up", "--json=")])
def test_a_value_of_an_option_that_takes_none_is_told(state, say, words):
    status, _, err = say(*words)
    name = words[-1].partition("=")[0]
    assert status == 2 and f"{name} takes no value\n" in err
    assert f"hint: write {name} alone, as taskbound {' '.join(words[:-1])} --help shows it" in err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run ls -l", "taskbound run -- ls -l"),
        ("run --profile p python agent.py --fast", "taskbound run --profile p -- python agent.py --fast"),
        ("run --set a=1 python agent.py", "put the program behind --, as in: taskbound run -- python agent.py"),
    ],
)  # fmt: skip
def test_a_forgotten_dash_dash_before_the_program_is_named(say, words, hint):
    status, out, err = say(*words.split())
    assert (status, out, err.splitlines()[1:]) == (2, "", [f"hint: {hint}"])


def test_a_human_owns_itself_and_says_by_what_it_is_known(api, say):
    assert "a human owns itself" in say("identity", "register", "human/b", "--owner", "human/a", "--when", "uid=7")[2]
    assert "by what is human/b known here?" in say("identity", "register", "human/b")[2]
    api.answers["POST /v1/identities"] = (201, {"name": "human/b", "owner": "human/b"})
    assert say("identity", "register", "human/b", "--when", "uid=7")[0] == 0
    assert (api.last.body["owner"], api.last.body["when"]) == ("human/b", {"uid": 7})


FINDING = {
    "id": "f1", "seen_as": "0123", "state": "raised", "case": "x", "severity": "high", "says": "=1+1", "subjects": [],
    "places": [{"path": "/x", "line": 1}], "issued": [], "owner": "", "next": "mend it",
    "raised": "2026-11-01T00:00:00Z", "kept": "cannot be verified: GitHub", "accepted_by": None, "until": None,
    "reason": "",
}  # fmt: skip


def test_a_risk_is_accepted_until_the_end_of_the_day_that_is_named(api, say):
    api.answers["POST /v1/findings/0123/accept"] = (
        200,
        {**FINDING, "accepted_by": "human/kaya", "until": "2027-01-01T00:00:00Z"},
    )
    words = ("risk", "accept", "0123", "--owner", "kaya", "--reason", "a test", "--until")
    assert say(*words, "2026-12-31")[:2] == (0, "f1 is accepted by human/kaya until 2026-12-31: \n")
    assert api.last.body == {"owner": "human/kaya", "until": "2027-01-01T00:00:00+00:00", "reason": "a test"}
    assert say(*words, "soon")[0::2] == (
        2,
        "argument --until: 'soon' is no day such as 2027-01-31\nhint: taskbound risk accept --help\n",
    )


def test_the_last_day_of_all_is_none_until_which_a_risk_can_be_accepted(api, say):
    status, _, err = say("risk", "accept", "0123", "--owner", "kaya", "--reason", "a test", "--until", "9999-12-31")
    assert (status, "'9999-12-31' is no day such as 2027-01-31" in err) == (2, True)


def test_risks_are_listed_for_people_spreadsheets_and_browsers(api, say):
    api.answers["GET /v1/findings?limit=500"] = (200, {"findings": [FINDING], "next": None})
    status, out, _ = say("risk", "list")
    assert (status, out.splitlines()[0]) == (0, "residual risk: open: 1 high")
    assert "cannot be verified: GitHub" in out
    out = say("risk", "list", "--format", "csv")[1]
    assert out.splitlines()[0].startswith('"standing","severity","id"') and '"\'=1+1"' in out
    assert say("risk", "list", "--format", "html")[1].startswith("<!doctype html>")
    assert json.loads(say("risk", "list", "--json")[1]) == {"risks": [{**FINDING, "standing": "open"}]}


LIFE = {"name": "agent/a", "kind": "agent", "owner": "human/rosa", "state": "registered", "has_worked": True,
        "since": "2026-11-01T00:00:00Z", "until": None}  # fmt: skip


def test_identities_are_counted_from_the_registry_and_from_what_is_named(api, say, tmp_path):
    api.answers["GET /v1/identities/lives?limit=500"] = (200, {"lives": [LIFE], "next": None})
    status, out, _ = say("identity", "stats")
    assert (status, out.splitlines()[0]) == (0, "1 non-human identity: 1 in the registry")
    (tmp_path / "people.csv").write_text("email,left on\nrosa@shop.example,\n")
    told = json.loads(say("identity", "stats", "--format", "json", "--export", tmp_path)[1])
    assert (told["identities"], told["people"], told["registry"], told["governed"]) == (1, 1, True, 1.0)


def test_without_a_registry_identities_are_counted_in_files_alone(state, say, tmp_path):
    assert say("identity", "stats")[0] == 3
    status, out, _ = say("identity", "stats", tmp_path)
    assert (status, "the registry was not asked" in out) == (0, True)


@pytest.mark.parametrize("name", NOT_BUILT)
def test_what_is_not_built_says_so(say, name):
    assert say(name, "x")[0::2] == (2, f"taskbound {name} is not built yet\nhint: taskbound help\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help(say, name):
    status, out, _ = say(name, "--help")
    assert (status, say("help", name)[1]) == (0, out) and f"usage: taskbound {name}" in out
    assert name in say("help")[1]


def test_a_socket_that_is_another_users_says_whose_and_its_mode(api, state, capfd):
    assert main(["task", "list"]) == 1  # and everything is imported
    for folder in (state, state / "run"):
        folder.chmod(0o755)
    (state / "run/api.sock").chmod(0o600)
    for shut, mode in ((state / "run/api.sock", 0o600), (state / "run", 0o700)):
        shut.chmod(mode)
        capfd.readouterr()
        assert as_nobody(lambda: main(["task", "list"])) == 3
        told = capfd.readouterr()
        assert (told.out, told.err.splitlines()[1:]) == (
            "",
            [f"hint: {shut} belongs to uid {os.getuid()} and has mode {mode:04o}; you are uid {UID}"],
        )
    assert len(api.asked) == 1


def test_a_file_that_cannot_be_read_is_named(api, say, state):
    assert say("task", "open", "--intent-file", state / "none")[2].startswith(
        f"{state}/none: No such file or directory ("
    )
    (state / "binary").write_bytes(b"\xff")
    assert say("task", "open", "--intent-file", state / "binary")[0] == 2


# --- as a process ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "help",
        "version",
        "task list",
        "task open --intent x",
        "identity list",
        "tools list",
        "lease list",
        "call list",
        "policy load",
    ],
)
def test_a_command_imports_nothing_but_the_sdk_and_what_it_says_itself(api, words):
    """The budget of 0.25 s, as what costs it: no server, no engine, no third party."""
    code = (
        "import sys; before = set(sys.modules); from taskbound.cli import main; main(sys.argv[1:])\n"
        "print('\\n', *sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, timeout=30)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "taskbound.cli.answer" in loaded
    own = {name for name in loaded if name.startswith("taskbound")}
    allowed = {"taskbound", "taskbound.cli", "taskbound.core", "taskbound.core.errors", "taskbound_sdk"}
    assert {name for name in own - allowed if not name.startswith("taskbound.cli.")} == set()
    assert {name.split(".")[0] for name in loaded - own} <= sys.stdlib_module_names


def test_run_imports_the_runner_and_nothing_behind_it(state):
    code = "import sys; from taskbound.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "run", "--", "true"], capture_output=True, text=True, timeout=30)
    loaded = set(done.stdout.split())
    assert "taskbound.runner" in loaded and not loaded & {"taskbound.app", "uvicorn", "structlog", "cedarpy", "aiohttp"}


def test_run_passes_on_what_was_typed_and_gives_back_the_status(state, say, monkeypatch):
    from taskbound import runner
    from taskbound.posture import references

    seen: dict[str, object] = {}

    def run(command, address, **words):
        seen.update(words, command=command, address=address)
        return 137

    monkeypatch.setattr(runner, "run", run)
    words = ["--profile", "p", "--set", "a=1", "--set", "b=2", "--intent", "i", "--agent", "n", "--life", "2m"]
    words += ["--cause", "t1", "--resolve", "f"]
    assert (
        say("run", *words, "--keep", "A", "--keep", "B", "--must-contain", "--", "prog", "--json", "--", "x")[0] == 137
    )
    assert seen == {
        "command": ["prog", "--json", "--", "x"], "address": f"unix:{state}/run/api.sock", "profile": "p",
        "set": {"a": "1", "b": "2"}, "intent": "i", "agent": "n", "life": timedelta(minutes=2), "cause": "t1",
        "keep": ["A", "B"], "must_contain": True, "state": state, "second": None, "also": [],
        "references": references, "resolve": [Path("f")],
    }  # fmt: skip
    assert say("run", "--budget", "calls=1", "--", "prog")[0] == 2  # rather than drop what was asked for
    assert say("run", "--", "prog")[0] == 137
    assert (seen["profile"], seen["set"], seen["intent"], seen["life"], seen["must_contain"]) == (
        None,
        {},
        None,
        None,
        False,
    )


def test_who_stops_reading_is_told_nothing(api):
    tasks = [listed(n, n % 24, actor="agent/" + "x" * 200) for n in range(2000)]
    api.answers["GET /v1/tasks?limit=500"] = (200, {"tasks": tasks, "next": None})
    command = subprocess.Popen([COMMAND, "task", "list", "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout and command.stderr
    command.stdout.readline()
    command.stdout.close()
    assert (command.wait(10), command.stderr.read()) == (141, b"")
    command.stderr.close()


def test_ctrl_c_is_130(api):
    api.answers["GET /v1/leases?limit=500"] = lambda handler: time.sleep(3)
    command = subprocess.Popen([COMMAND, "lease", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not api.asked:
        time.sleep(0.01)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=10)
    assert (command.returncode, out, err) == (130, b"", b"")


def test_up_says_one_line_of_json_once_it_listens_and_leaves_at_sigterm(state):
    (state / "taskbound.toml").write_text('[listen]\ngateway = "127.0.0.1:0"\n')
    places = {**os.environ, "XDG_DATA_HOME": str(state / "data")}
    up = subprocess.Popen([COMMAND, "up", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=places)
    try:
        assert isinstance(up.stdout, io.BufferedReader)
        about = json.loads(up.stdout.readline())
        assert (about["api"], about["state"]) == ([f"unix:{state}/run/api.sock"], str(state))
        listed = subprocess.run([COMMAND, "task", "list", "--json"], capture_output=True, text=True, timeout=30)
        assert (listed.returncode, json.loads(listed.stdout)["tasks"]) == (0, [])
        checked = subprocess.run([COMMAND, "policy", "check", "--json"], capture_output=True, text=True, timeout=30)
        assert json.loads(checked.stdout)["version"] == about["policy"]
        second = subprocess.run([COMMAND, "up", "--json"], capture_output=True, text=True, timeout=30, env=places)
        assert (second.returncode, json.loads(second.stdout)["error"]) == (3, "already_running")
    finally:
        up.send_signal(signal.SIGTERM)
        out, err = up.communicate(timeout=20)
    warned = [line for line in err.splitlines() if b"disk_nearly_full" not in line]  # it may be: here nobody tests that
    assert (up.returncode, out, warned) == (0, b"", [])


def test_up_says_that_its_port_is_taken(state):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        (state / "taskbound.toml").write_text(f'[listen]\ngateway = "{address}"\n')
        done = subprocess.run([COMMAND, "up", "--json"], capture_output=True, text=True, timeout=30)
    said = json.loads(done.stdout)
    assert (done.returncode, said["error"], done.stderr) == (3, "address_in_use", "")
    assert address in said["error_description"] and said["hint"]
    assert not (state / "taskbound.db").exists()


@pytest.mark.parametrize("words", [["up", "--json"], ["up", "--json", "--config", "/nowhere.toml"]])
def test_up_refuses_a_broken_configuration_with_2(state, say, words):
    (state / "taskbound.toml").write_text("x = 1\n")
    status, out, err = say(*words)
    assert (status, json.loads(out)["error"], err) == (2, "invalid_config", "")


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_up_runs_with_closed_streams_and_writes_nothing_where_they_were(state, closed):
    """What is opened next would get the number of the closed one, and whatever is said would go into it."""
    (state / "taskbound.toml").write_text('[listen]\ngateway = "127.0.0.1:0"\n')
    places = {**os.environ, "XDG_DATA_HOME": str(state / "data")}
    up = subprocess.Popen(["sh", "-c", f"exec {COMMAND} up {closed}"], env=places)
    try:
        until = time.monotonic() + 20
        while subprocess.run([COMMAND, "task", "list"], capture_output=True, timeout=30).returncode:
            assert up.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        for number in range(3):
            shown = os.readlink(f"/proc/{up.pid}/fd/{number}")
            assert shown == "/dev/null" or (str(state) not in shown and "socket" not in shown)
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(20) == 0


def test_what_is_refused_with_stderr_closed_is_not_said_on_stdout(state):
    done = subprocess.run(["sh", "-c", f"{COMMAND} task list 2>&-"], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (3, b"")
