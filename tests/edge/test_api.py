"""The API over real sockets: whole answers, who may knock, and no refusal without a record (INTERFACES 6)."""

import ast
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

import taskbound
from taskbound.core import errors
from taskbound.core import refusal as refusals
from taskbound.core.errors import UpstreamUnavailable
from taskbound.core.identity import door
from taskbound.edge import api, http, oauth, request
from taskbound.edge.api.fields import TYPES
from taskbound.edge.claims import Rule
from taskbound.steps import look_up
from taskbound.steps.seal_log import seal_log
from tests.edge.doors import REFUND, Crm, served

PUBLIC = (Path(__file__).parent / "public_routes.txt").read_text().split("\n")[:-1]
NOWHERE = "t" + "a" * 20
SOURCE = Path(taskbound.__file__).parent


@pytest.fixture
async def doors():
    async with served() as doors:
        yield doors


def refusal(answer, status, code, description, hint=""):
    """Assert the whole body of a refusal; return the id of the request."""
    told = answer.json
    request = told.pop("request")
    assert request[0] == "r" and len(request) == 21
    assert (answer.status, told) == (status, {"error": code, "error_description": description, "hint": hint})
    return request


# --- tasks -----------------------------------------------------------------------------------------


async def test_opening_a_task_gives_its_grants_and_its_handle(doors):
    answer = await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/support", "life_s": 60})
    told = answer.json
    task, handle = told.pop("task"), told.pop("handle")
    assert (task[0], len(task)) == ("t", 21)
    assert (handle[:4], len(handle)) == ("tbh_", 47)
    assert (answer.status, told) == (
        201,
        {
            "state": "open",
            "deadline": "2026-11-24T12:01:00Z",
            "grants": [
                {
                    "id": "g0",
                    "said": 'call crm/get_order; id = "4711"',
                    "text": 'permit(principal, action == Action::"tools/call", resource == Tool::"crm/get_order")\n'
                    'when { context.args.id == context.grant["0"].order_id };',
                    "actions": ["tools/call"],
                    "resources": ["crm/get_order"],
                    "ask": False,
                    "budget": None,
                },
                {
                    "id": "g1",
                    "said": 'call crm/refund; amount <= 50; order_id = "4711"; without note; once',
                    "text": 'permit(principal, action == Action::"tools/call", resource == Tool::"crm/refund")\n'
                    'when { context.args.amount.lessThanOrEqual(context.grant["0"].max) }\n'
                    'when { context.args.order_id == context.grant["0"].order_id }\n'
                    "when { !(context.args has note) };",
                    "actions": ["tools/call"],
                    "resources": ["crm/refund"],
                    "ask": False,
                    "budget": {"calls": 1},
                },
                {
                    "id": "g2",
                    "said": "log in as shopdb/reader",
                    "text": 'permit(principal, action == Action::"lease/issue", resource == Target::"shopdb/reader");',
                    "actions": ["lease/issue"],
                    "resources": ["shopdb/reader"],
                    "ask": False,
                    "budget": None,
                },
            ],
            "token": None,
            "heartbeat": None,
            "gateway": "http://127.0.0.1:8441/mcp",
        },
    )
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_task_is_seen_kept_alive_and_ended(doors):
    opened = await doors.task(intent="refund what broke")
    seen = {
        "task": opened["task"],
        "state": "open",
        "actor": "agent/support",
        "subject": "human/alice",
        "profile": "refund-order",
        "intent": "refund what broke",
        "opened": "2026-11-24T12:00:00Z",
        "deadline": "2026-11-24T12:10:00Z",
        "parent": None,
        "reason": "",
        "heartbeat": None,
    }
    path = f"/v1/tasks/{opened['task']}"
    assert (await doors.ask("GET", "/v1/tasks")).json == {"tasks": [seen], "next": None}
    assert (await doors.ask("GET", path)).json == seen | {"grants": opened["grants"]}
    before = len(doors.rig.store.events)
    beat = await doors.ask("POST", f"{path}/heartbeat", handle=opened["handle"], to="tcp")
    kept = {"task": opened["task"], "state": "open", "deadline": "2026-11-24T12:10:00Z", "reason": ""}
    assert beat.json == kept
    assert len(doors.rig.store.events) == before  # INTERFACES 9: a heartbeat records nothing
    assert (await doors.ask("POST", f"{path}/end", {"reason": "done"})).json == {"ended": [opened["task"]]}
    again = await doors.ask("POST", f"{path}/end", {"reason": "done"})
    assert (again.status, again.json) == (200, {"ended": []})
    assert (await doors.ask("GET", f"{path}")).json["reason"] == "done"
    assert (await doors.ask("GET", "/v1/tasks?state=open")).json == {"tasks": [], "next": None}


async def test_tasks_come_in_pages(doors):
    opened = sorted([(await doors.task())["task"] for _ in range(5)])
    seen, after = [], ""
    while after is not None:
        page = (await doors.ask("GET", f"/v1/tasks?limit=2&after={after}")).json
        seen += [task["task"] for task in page["tasks"]]
        after = page["next"]
    assert seen == opened


async def test_a_lease_is_delivered_once_with_what_the_target_takes(doors):
    opened = await doors.task()
    answer = await doors.ask(
        "POST", f"/v1/tasks/{opened['task']}/leases", {"lease": "shopdb/reader"}, handle=opened["handle"], to="gateway"
    )
    told = answer.json
    credential, lease = told.pop("credential"), told.pop("lease")
    assert (answer.status, told) == (
        201,
        {"target": "shopdb", "grant": "reader", "class": "cut now", "expires": "2026-11-24T12:10:00Z"},
    )
    assert doors.rig.targets["shopdb"].accepts(credential["user"], credential["password"])
    assert (await doors.ask("GET", "/v1/leases")).json == {
        "leases": [
            {
                "lease": lease,
                "task": opened["task"],
                "target": "shopdb",
                "grant": "reader",
                "class": "cut now",
                "name": credential["user"],
                "state": "active",
                "issued": "2026-11-24T12:00:00Z",
                "expires": "2026-11-24T12:10:00Z",
                "overdue": False,
            }
        ],
        "next": None,
    }


async def test_a_handle_opens_children_of_its_own_task_only(doors):
    opened, other = await doors.task(), await doors.task()
    child = {"profile": "look-up-order", "set": {"order_id": "4711"}, "budget": {"calls": 1, "leases": 0}}
    answer = await doors.ask("POST", "/v1/tasks", child, handle=opened["handle"], to="gateway")
    assert answer.status == 201, answer.body
    below = answer.json
    theirs = (await doors.ask("GET", "/v1/tasks", handle=opened["handle"], to="tcp")).json["tasks"]
    assert {one["task"] for one in theirs} == {opened["task"], below["task"]}
    for handle in (other["handle"], below["handle"]):  # neither a stranger nor who is below
        for method, what, body in (
            ("GET", "", None),
            ("POST", "/end", {}),
            ("POST", "/heartbeat", None),
            ("POST", "/leases", {"lease": "shopdb/reader"}),
        ):
            before = len(doors.denials())
            answer = await doors.ask(method, f"/v1/tasks/{opened['task']}{what}", body, handle=handle, to="tcp")
            assert (answer.status, answer.json.get("error")) == (403, "not_yours"), (what, answer.body)
            assert len(doors.denials()) == before + 1
    ended = await doors.ask("POST", f"/v1/tasks/{opened['task']}/end", {}, handle=opened["handle"], to="gateway")
    assert ended.json == {"ended": [below["task"], opened["task"]]}


async def test_an_ended_handle_is_no_longer_one_and_that_is_on_record(doors):
    opened = await doors.task()
    await doors.ask("POST", f"/v1/tasks/{opened['task']}/end", {})
    for method, path, body in (
        ("POST", "/v1/tasks", {"profile": "look-up-order", "set": {"order_id": "4711"}}),
        ("POST", f"/v1/tasks/{opened['task']}/leases", {"lease": "shopdb/reader"}),
        ("POST", f"/v1/tasks/{opened['task']}/heartbeat", None),
        ("GET", f"/v1/tasks/{opened['task']}", None),
        ("POST", "/v1/policy/load", None),
    ):
        before = len(doors.denials())
        answer = await doors.ask(method, path, body, handle=opened["handle"], to="tcp")
        assert (answer.status, answer.json["error"]) == (401, "invalid_token"), (path, answer.body)
        assert answer.json["error_description"] == f"task {opened['task']} ended at 2026-11-24T12:00:00Z"
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert [denied.code for denied in doors.denials()[before:]] == ["task_ended"]


@pytest.mark.parametrize(
    ("body", "description", "hint"),
    [
        ({"profil": "x"}, "there is no member 'profil'", "did you mean 'profile'?"),
        ({"profile": 1}, "profile must be text", http.REFERENCE),
        ({"profile": "refund-order", "life_s": "60"}, "life_s must be an integer", http.REFERENCE),
        ({"profile": "refund-order", "life_s": 1.5}, "life_s must be an integer", http.REFERENCE),
        ({"profile": "refund-order", "life_s": -1}, "life_s must be a number of seconds", http.REFERENCE),
        ({"profile": "refund-order", "hold": "yes"}, "hold must be true or false", http.REFERENCE),
        ({"profile": "refund-order", "set": {"max": 50}}, "set.'max' must be text", http.REFERENCE),
        ({"profile": "refund-order", "set": ["max"]}, "set must be an object", http.REFERENCE),
        ({"profile": "refund-order", "budget": {"calls": True}}, "budget.'calls' must be an integer", http.REFERENCE),
        ({"authorization_details": [1]}, "authorization_details must be a list of objects", http.REFERENCE),
        ([], "the body must be an object", http.REFERENCE),
        ("text", "the body must be an object", http.REFERENCE),
    ],
)
async def test_what_is_not_understood_is_named(doors, body, description, hint):
    refusal(await doors.ask("POST", "/v1/tasks", body), 400, "invalid_request", description, hint)
    assert not doors.denials()


async def test_an_upstream_that_there_is_not_opens_no_task(doors):
    told = 400, "unknown_upstream", "there is no upstream 'crn'", "known here: crm"
    refusal(await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/support", "upstream": "crn"}), *told)
    assert (await doors.ask("GET", "/v1/tasks")).json["tasks"] == []
    assert (await doors.task(upstream="crm"))["state"] == "open"


async def test_a_task_for_somebody_else_is_denied_and_by_reference_not_built_yet(doors):
    body = REFUND | {"actor": "agent/support"}
    hinted(await doors.ask("POST", "/v1/tasks", body | {"subject": "human/bob"}), 403, "not_yours")
    assert [denied.code for denied in doors.denials()] == ["not_yours"]
    reference = {"iss": "https://issuer.example", "sub": "4711"}
    hinted(await doors.ask("POST", "/v1/tasks", body | {"subject": reference}), 400, "unsupported")
    assert (await doors.task(subject="human/alice"))["state"] == "open"
    assert (await doors.task(subject=None))["state"] == "open"


async def test_an_agent_is_registered_at_its_first_use_and_never_again(doors):
    first = await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/bash"})
    second = await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/bash"})
    assert (first.status, first.json["registered"]) == (201, True)
    assert (second.status, "registered" in second.json) == (201, False)
    assert not doors.denials()


async def test_who_was_registered_for_a_task_that_is_refused_is_told_at_once(doors):
    body = {"profile": "refund-order", "actor": "agent/bash"}  # its parameters are not set
    first, second = await doors.ask("POST", "/v1/tasks", body), await doors.ask("POST", "/v1/tasks", body)
    said = "; agent/bash was not known: it is registered now, and you are its owner"
    assert (first.status, first.json["hint"]) == (400, second.json["hint"] + said)


async def test_where_nothing_registers_itself_an_unknown_agent_is_refused():
    async with served(registers_actors=False) as doors:
        answer = await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/bash"})
        assert (answer.status, answer.json["error"]) == (403, "unknown_agent")
        assert answer.json["hint"].startswith("taskbound identity register")
        assert [denied.code for denied in doors.denials()] == ["unknown_agent"]


async def test_a_request_that_is_repeated_opens_no_second_task(doors):
    body = REFUND | {"actor": "agent/support", "idempotency_key": "k1"}
    first, second = await doors.ask("POST", "/v1/tasks", body), await doors.ask("POST", "/v1/tasks", body)
    assert (first.status, second.status) == (201, 201)
    one, other = ({**answer.json, "handle": None} for answer in (first, second))
    assert one == other and first.json["handle"] != second.json["handle"]
    beat = f"/v1/tasks/{first.json['task']}/heartbeat"
    assert (await doors.ask("POST", beat, handle=first.json["handle"])).status == 401
    assert (await doors.ask("POST", beat, handle=second.json["handle"])).status == 200
    hinted(await doors.ask("POST", "/v1/tasks", body | {"life_s": 60}), 409, "already_opened")
    assert len((await doors.ask("GET", "/v1/tasks")).json["tasks"]) == 1


# --- what is wrong is said, with one hint ----------------------------------------------------------

BAD = {
    "malformed": (b"{", 400, "invalid_request"),
    "a list": ([], 400, "invalid_request"),
    "an unknown member": ({"nothing": 1}, 400, "invalid_request"),
    "too large": (b" " * (request.BODY_LIMIT + 1), 413, "content_too_large"),
}
BOB = {"name": "human/bob", "owner": "human/bob", "environment": "dev"}
UNKNOWN: tuple[tuple[str, str, Any, int, str], ...] = (
    ("GET", "/v1/nowhere", None, 404, "not_found"),
    ("DELETE", "/v1/tasks", None, 405, "method_not_allowed"),
    ("GET", f"/v1/tasks/{NOWHERE}", None, 404, "not_found"),
    ("POST", f"/v1/tasks/{NOWHERE}/end", {}, 404, "not_found"),
    ("GET", f"/v1/tasks/{NOWHERE}/receipt", None, 404, "not_found"),
    ("GET", "/v1/tasks?state=opne", None, 400, "invalid_request"),
    ("GET", "/v1/tasks?limit=0", None, 400, "invalid_request"),
    ("POST", "/v1/tasks", {}, 400, "invalid_request"),
    ("POST", "/v1/tasks", {"profile": "refund-order", "set": {}}, 400, "invalid_request"),
    ("POST", "/v1/tasks", {"profile": "nothing"}, 403, "unknown_profile"),
    ("POST", "/v1/tools/nothing/pin", {}, 404, "not_found"),
    ("POST", "/v1/identities/agent/nobody/suspend", {}, 404, "not_found"),
    ("POST", "/v1/identities", {**BOB, "attestor": "operator", "when": {"name": "human/bob"}}, 400, "invalid_request"),
    ("POST", "/v1/identities", {**BOB, "attestor": "unx", "when": {"uid": 1}}, 400, "invalid_request"),
    ("POST", "/v1/audit/export", {"directory": "here"}, 400, "invalid_request"),
    ("GET", "/v1/why/x", None, 404, "not_found"),
)


def hinted(answer, status, code):
    """Assert a refusal's shape: the standard's code, and one hint, which leads also who has no command line."""
    assert (answer.status, answer.json["error"]) == (status, code), answer.body
    assert set(answer.json) == {"error", "error_description", "hint", "request"}
    assert answer.json["hint"], answer.body
    assert "--" not in answer.json["hint"] or "`" in answer.json["hint"] or "/v1/" in answer.json["hint"], answer.body
    return answer.json


async def test_whatever_is_wrong_with_a_body_is_said_with_one_hint(doors):
    for route in api.ROUTES:
        path = route.path.replace("{id}", NOWHERE).replace("{upstream}", "crm").replace("{event}", "1")
        for body, status, code in BAD.values() if route.method == "POST" else ():
            hinted(await doors.ask("POST", path.format(kind="agent", name="support"), body), status, code)


async def test_each_route_takes_what_its_table_says_and_nothing_else(doors):
    for route in api.ROUTES:
        path = route.path.replace("{id}", NOWHERE).replace("{upstream}", "crm").replace("{event}", "1")
        path = path.format(kind="agent", name="support")
        if Rule.OPERATOR not in route.rule:
            assert not route.takes
        elif route.method == "GET":
            told = hinted(await doors.ask("GET", f"{path}?nothing=1"), 400, "invalid_request")
            assert told["error_description"] == "there is no parameter 'nothing'"
        else:
            required = {name for name, member in route.takes.items() if member.required}
            for name, member in route.takes.items():
                wrong = 1 if TYPES[member.read] == "text" or "{" in TYPES[member.read] else "wrong"
                body = {name: wrong, **dict.fromkeys(required - {name}, "x")}
                told = hinted(await doors.ask("POST", path, body), 400, "invalid_request")
                assert f"{name} must be" in told["error_description"], (path, name, told)
                if required:
                    missing = {other: "x" for other in required if other != sorted(required)[0]}
                    told = hinted(await doors.ask("POST", path, missing), 400, "invalid_request")
                    assert told["error_description"] == f"{sorted(required)[0]} is missing"


async def test_what_there_is_not_is_said_with_one_hint(doors):
    for method, path, body, status, code in UNKNOWN:
        hinted(await doors.ask(method, path, body), status, code)
    opened = await doors.task()
    path = f"/v1/tasks/{opened['task']}/leases"
    hinted(await doors.ask("POST", path, {"lease": "no/thing"}, handle=opened["handle"]), 403, "unknown_lease")
    for handle in (f"tbh_{'z' * 43}", "tbh_cut", f"tbj_{'z' * 43}.1"):
        hinted(await doors.ask("POST", "/v1/tasks", {}, handle=handle), 401, "invalid_token")
    hinted(await doors.ask("GET", "/v1/tasks", to="tcp"), 401, "invalid_token")
    hinted(await doors.ask("GET", "/v1/leases", handle=opened["handle"]), 403, "not_permitted")
    hinted(await doors.ask("GET", "/healthz", to="tcp", host="evil.example"), 403, "access_denied")


async def test_a_call_that_there_is_not_is_named_as_it_was_asked_for(doors):
    for id in (f"d{NOWHERE[1:]}", f"c{NOWHERE[1:]}"):
        told = hinted(await doors.ask("GET", f"/v1/why/{id}"), 404, "not_found")
        assert told["error_description"] == f"there is no call d{NOWHERE[1:]}"


def test_every_family_of_errors_has_a_hint():
    families: list[type[Any]] = [errors.TaskboundError]
    for family in families:
        families += family.__subclasses__()
    assert len(families) > 20
    families.remove(refusals.Broken)  # it is made of problems
    for family in families:
        assert json.loads(bytes(http.error_response(family("it is wrong"), "r1").body))["hint"], family


def test_no_hint_knows_the_command_line_alone():
    """Where a hint that goes over HTTP names an option, it names the member or the address too."""
    for folder in ("core", "edge", "steps"):
        for path in (SOURCE / folder).rglob("*.py"):
            for hint in hints_in(ast.parse(path.read_text())):
                assert not re.search(r"--[a-z]", hint) or "`" in hint or "/v1/" in hint, (path, hint)


def hints_in(module):
    """Yield what stands as a hint: given as one, or called so."""
    for node in ast.walk(module):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield ast.unparse(node.value)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "hint":
            yield ast.unparse(node.value)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Deny", "Ask") and len(node.args) > 2:
            yield ast.unparse(node.args[2])


# --- administration --------------------------------------------------------------------------------


async def test_findings_are_raised_accepted_and_told(doors):
    finding = {
        "seen_as": "0123456789ab",
        "case": "planted",
        "severity": "low",
        "says": "it lies there",
        "subjects": ["one"],
        "places": [{"path": "/srv/.env", "line": 3}],
        "issued": [{"mark": "ab", "kind": "github-pat", "issuer": "GitHub", "login": ""}],
        "owner": "",
        "next": "mend it",
    }
    told = (await doors.ask("POST", "/v1/findings", {"findings": [finding]})).json
    (id,) = told["raised"]
    assert told == {"raised": [id], "known": [], "closed": [], "kept": {}}
    shown = {**finding, "id": id, "state": "raised", "raised": "2026-11-24T12:00:00Z", "kept": ""}
    shown |= {"accepted_by": None, "until": None, "reason": ""}
    assert (await doors.ask("GET", "/v1/findings")).json == {"findings": [shown], "next": None}
    body = {"owner": "human/alice", "until": "2026-12-01T00:00:00Z", "reason": "a test account"}
    answer = await doors.ask("POST", f"/v1/findings/{finding['seen_as']}/accept", body)
    shown |= {"state": "accepted", "accepted_by": "human/alice", "until": body["until"], "reason": body["reason"]}
    assert (answer.status, answer.json) == (200, shown)
    told = (await doors.ask("POST", "/v1/findings", {"gone": [id]})).json
    assert told["kept"] == {id: "cannot be verified: GitHub"}
    task = await doors.task()
    for method, path, sent in (
        ("GET", "/v1/findings", None),
        ("POST", "/v1/findings", {"gone": [id]}),
        ("POST", f"/v1/findings/{id}/accept", body),
    ):
        answer = await doors.ask(method, path, sent, handle=task["handle"])
        assert (answer.status, answer.json["error"]) == (403, "not_permitted")


async def test_what_is_done_about_a_finding_is_recorded_as_it_begins_and_as_it_ends(doors):
    body = {"finding": "0123456789ab", "act": "kill", "issuer": "redis://localhost:6379", "login": "cart"}
    answer = await doors.ask("POST", "/v1/fixes", body)
    assert answer.status == 200 and answer.json.keys() == {"begun"} and answer.json["begun"].startswith("r")
    path = f"/v1/fixes/{answer.json['begun']}/end"
    end = {"finding": "0123456789ab", "before": "alive", "after": "dead"}
    answer = await doors.ask("POST", path, end)
    assert (answer.status, answer.json) == (200, {"kind": "login.ended"})
    assert doors.rig.store.events[-1].detail["login"] == "cart"
    assert (await doors.ask("POST", path, end)).status == 409
    assert (await doors.ask("POST", "/v1/fixes/r1/end", end)).status == 404
    assert (await doors.ask("POST", "/v1/fixes", body | {"act": "burn"})).status == 400
    task = await doors.task()
    for asked, sent in (("/v1/fixes", body), (path, end)):
        answer = await doors.ask("POST", asked, sent, handle=task["handle"])
        assert (answer.status, answer.json["error"]) == (403, "not_permitted")


async def test_an_offboarding_is_told_before_and_after(doors):
    login = {"issuer": "postgresql://elsewhere:5432", "login": "shop"}
    why = "cannot be verified: postgresql://elsewhere:5432 (it is no server of taskbound.toml)"
    said = {"before": "unknown", "after": "unknown", "why": why}
    task = await doors.task()
    told = {"name": "agent/support", "state": "registered", "groups": [], "owned": [], "tasks": [task["task"]]}
    told |= {"leases": [], "accepted": [], "logins": [login | said], "servers": []}
    body = {"name": "agent/support", "logins": [login], "dry_run": True}
    answer = await doors.ask("POST", "/v1/offboardings", body, handle=task["handle"])
    assert (answer.status, answer.json["error"]) == (403, "not_permitted")
    answer = await doors.ask("POST", "/v1/offboardings", body)
    assert (answer.status, answer.json) == (200, told)
    answer = await doors.ask("POST", "/v1/offboardings", body | {"dry_run": False})
    assert (answer.status, answer.json) == (200, told | {"state": "retired"})
    assert doors.rig.store.things["main", "task", task["task"]].state == "ended"


@pytest.mark.parametrize("until", ["tomorrow", "2026-12-01", "2026-12-01T00:00:00"])
async def test_until_is_a_moment_with_its_zone(doors, until):
    body = {"owner": "human/alice", "until": until, "reason": "x"}
    answer = await doors.ask("POST", "/v1/findings/f1/accept", body)
    assert (answer.status, answer.json["error_description"][:23]) == (400, "until must be a moment ")


async def test_identities_are_registered_suspended_resumed_and_retired(doors):
    body = {"name": "agent/night/ly", "owner": "human/alice", "attestor": "unix", "when": {"uid": 7}, "groups": ["ci"]}
    answer = await doors.ask("POST", "/v1/identities", body | {"environment": "dev", "purpose": "sums"})
    known = {
        "name": "agent/night/ly",
        "kind": "agent",
        "owner": "human/alice",
        "state": "registered",
        "attestor": "unix",
        "environment": "dev",
        "groups": ["ci"],
        "purpose": "sums",
    }
    assert (answer.status, answer.json) == (201, known | {"written": True, "why_not": ""})
    assert known in (await doors.ask("GET", "/v1/identities")).json["identities"]
    task = (await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/night/ly"})).json["task"]
    path = "/v1/identities/agent/night%2Fly"
    for verb, state, ended in (
        ("suspend", "suspended", [task]),
        ("resume", "registered", []),
        ("retire", "retired", []),
    ):
        answer = await doors.ask("POST", f"{path}/{verb}")
        assert (answer.status, answer.json) == (200, {"name": "agent/night/ly", "state": state, "ended": ended})
    assert (await doors.ask("POST", "/v1/identities/agent/nobody/suspend")).status == 404


async def test_the_life_of_a_registration_begins_and_ends_and_says_whether_it_worked(doors):
    await doors.task()
    doors.rig.clock.advance(86_400)
    assert (await doors.ask("POST", "/v1/identities/agent/tester/retire")).status == 200
    lives = {one["name"]: one for one in (await doors.ask("GET", "/v1/identities/lives")).json["lives"]}
    began, ended = "2026-11-24T12:00:00Z", "2026-11-25T12:00:00Z"
    told = {name: (one["since"], one["until"], one["has_worked"]) for name, one in lives.items()}
    assert told["agent/tester"] == (began, ended, False)
    assert told["agent/support"] == (began, None, True)
    page = (await doors.ask("GET", "/v1/identities/lives?limit=1")).json
    assert len(page["lives"]) == 1 and page["next"]


async def test_every_listing_is_given_in_pages(doors):
    opened = [await doors.task() for _ in range(3)]
    for one in opened:
        path = f"/v1/tasks/{one['task']}/leases"
        assert (await doors.ask("POST", path, {"lease": "shopdb/reader"}, handle=one["handle"])).status == 201
    for path, member, id, many in (("tasks", "tasks", "task", 3), ("leases", "leases", "lease", 3),
                                   ("identities", "identities", "name", 4)):  # fmt: skip
        seen, after = [], ""
        while True:
            page = (await doors.ask("GET", f"/v1/{path}?limit=2" + (f"&after={after}" if after else ""))).json
            assert 1 <= len(page[member]) <= 2
            seen += [one[id] for one in page[member]]
            if not (after := page["next"]):
                break
        assert len(seen) == len(set(seen)) == many
        assert (await doors.ask("GET", f"/v1/{path}?limit=501")).status == 400


async def test_a_page_of_ones_own_tasks_is_found_among_everybodys(doors, monkeypatch):
    monkeypatch.setattr(look_up, "PAGE", 2)
    opened = [await doors.task() for _ in range(7)]
    mine = opened[3]
    child = {"profile": "look-up-order", "set": {"order_id": "4711"}, "budget": {"calls": 1, "leases": 0}}
    children = [(await doors.ask("POST", "/v1/tasks", child, handle=mine["handle"])).json for _ in range(4)]
    below = [one["task"] for one in children]
    found = (await doors.ask("GET", "/v1/tasks?limit=4", handle=mine["handle"])).json
    rest = (await doors.ask("GET", f"/v1/tasks?limit=4&after={found['next']}", handle=mine["handle"])).json
    assert rest["next"] is None
    assert [one["task"] for one in found["tasks"] + rest["tasks"]] == sorted([mine["task"], *below])
    for one in children:  # neither what is above nor what is beside
        theirs = (await doors.ask("GET", "/v1/tasks", handle=one["handle"])).json["tasks"]
        assert [each["task"] for each in theirs] == [one["task"]]


async def test_a_join_token_opens_one_task(doors):
    await doors.ask("POST", "/v1/identities", {"name": "agent/new", "owner": "human/alice", "attestor": "join_token"})
    answer = await doors.ask("POST", "/v1/identities/agent/new/join", {"life_s": 60})
    assert (answer.status, answer.json["expires"]) == (201, "2026-11-24T12:01:00Z")
    token = answer.json["token"]
    body = {"profile": "look-up-order", "set": {"order_id": "4711"}}
    elsewhere = await doors.ask("POST", "/v1/tasks", body, handle=token, to="gateway")  # the API's listener only
    assert (elsewhere.status, elsewhere.json["error"]) == (403, "access_denied")
    assert "at the API's own listener, POST /v1/tasks" in elsewhere.json["hint"]
    assert (await doors.ask("GET", "/v1/tasks", handle=token, to="tcp")).status == 403
    first = await doors.ask("POST", "/v1/tasks", body, handle=token, to="tcp")
    assert first.status == 201, first.body
    again = await doors.ask("POST", "/v1/tasks", body, handle=token, to="tcp")
    assert (again.status, again.json["error"]) == (409, "conflict")
    assert "taskbound identity join NAME prints another" in again.json["hint"]
    unknown = await doors.ask("POST", "/v1/tasks", body, handle=f"tbj_{'a' * 43}.1800000000", to="tcp")
    assert unknown.status == 401 and unknown.json["hint"] == again.json["hint"]
    events = [event for event in doors.rig.store.events if event.kind == "identity.attested"]
    assert [event.detail["attestor"] for event in events] == ["join_token"]
    assert token not in repr(doors.rig.store.events)


async def test_policy_is_loaded_and_tools_are_listed(doors):
    loaded = (await doors.ask("POST", "/v1/policy/load")).json
    current = doors.world.policies.current
    assert loaded == {"version": current.version, "profiles": 2, "tools": 3, "policies": 4, "warnings": []}
    tools = (await doors.ask("GET", "/v1/tools")).json["tools"]
    assert [tool["tool"] for tool in tools] == ["crm/get_order", "crm/refund", "mail/send"]
    assert tools[0] == {
        "tool": "crm/get_order",
        "effect": "read",
        "pin": current.tools["crm/get_order"].pin,
        "pinned": True,
        "reviewed": True,
    }
    pinned = (await doors.ask("POST", "/v1/tools/crm/pin", {"write": False})).json
    pins = {name: current.tools[f"crm/{name}"].pin for name in ("get_order", "refund")}
    assert (pinned["upstream"], pinned["pins"], pinned["written"]) == ("crm", pins, False)
    assert pinned["toml"].startswith("[get_order]") or "[get_order]" in pinned["toml"]
    assert (await doors.ask("POST", "/v1/tools/nowhere/pin", {})).status == 404


async def test_an_upstream_that_cannot_be_asked_is_named_with_its_address():
    class Away(Crm):
        async def tools(self, credential: Any = None) -> Any:
            raise UpstreamUnavailable("the upstream cannot be reached: ConnectionRefusedError")

    async with served(upstreams={"crm": "http://127.0.0.1:9/mcp"}) as doors:
        cast(dict[str, Any], doors.world.upstreams)["crm"] = Away
        answer = await doors.ask("POST", "/v1/tools/crm/pin", {})
    said = "upstream crm at http://127.0.0.1:9/mcp: the upstream cannot be reached: ConnectionRefusedError"
    assert (answer.status, answer.json["error_description"]) == (503, said)
    assert answer.json["hint"] == "is it running there? its address is url in taskbound.toml"


async def test_the_log_is_read_exported_and_erased():
    exported, erased = [], []

    async def export(directory):
        exported.append(directory)
        return 7

    async def erase(which, of):
        erased.append((which, of))
        return 3

    async with served(export=export, erase=erase) as doors:
        await doors.task()
        while (await seal_log(doors.world, door("example.org", "lane/seal", "main"))).size < len(
            doors.rig.store.events
        ):
            pass
        first = (await doors.ask("GET", "/v1/events?limit=2")).json
        assert ([leaf["index"] for leaf in first["events"]], first["next"]) == ([0, 1], 1)
        rest = (await doors.ask("GET", "/v1/events?after=1")).json
        assert rest["events"][-1]["kind"] == "task.opened"
        assert rest["events"][-1]["request"][0] == "r"
        assert (await doors.ask("GET", f"/v1/events?after={rest['next']}")).json == {"events": [], "next": rest["next"]}
        assert (await doors.ask("POST", "/v1/audit/export", {"directory": "/x"})).json == {"size": 7}
        assert (await doors.ask("POST", "/v1/audit/export", {"directory": "x"})).status == 400
        assert (await doors.ask("POST", "/v1/bodies/erase", {"older_than_s": 90})).json == {"erased": 3}
        assert ([str(path) for path in exported], erased) == (["/x"], [(timedelta(seconds=90), "")])
        body = {"older_than_s": 90, "class": "arguments"}
        assert (await doors.ask("POST", "/v1/bodies/erase", body)).status == 200 and erased[-1][1] == "arguments"
        assert (await doors.ask("POST", "/v1/bodies/4/erase")).json == {"erased": 3}
        for strange in ("-1", "x", "9" * 16):
            assert (await doors.ask("POST", f"/v1/bodies/{strange}/erase")).status == 400
        assert erased[2:] == [(4, "")]


async def test_how_it_is_can_be_asked_by_anybody():
    async with served(measures=lambda: {"overdue_leases": 2, "checkpoint_age_seconds": 0.5}) as doors:
        await doors.task()
        assert (await doors.ask("GET", "/healthz", to="tcp")).json == {"alive": True}
        assert (await doors.ask("GET", "/readyz", to="tcp")).json == {"ready": True}
        told = (await doors.ask("GET", "/metrics", to="tcp")).body.decode().splitlines()
        values = [line for line in told if not line.startswith("#")]
        assert values == [
            "taskbound_open_tasks 1.0",
            "taskbound_overdue_leases 2.0",
            "taskbound_checkpoint_age_seconds 0.5",
        ]


# --- T5.4: every route, every wrong caller ---------------------------------------------------------


def test_what_anybody_may_ask_is_a_short_list():
    routes = (*api.ROUTES, *api.GATEWAY_ROUTES, *oauth.ROUTES)
    found = sorted(f"{r.method} {r.path}" for r in routes if Rule.PUBLIC in r.rule)
    assert found == PUBLIC and len(found) <= 15
    here = sorted(f"{r.method} {r.path}" for r in routes if Rule.LOCAL in r.rule)
    assert here == ["GET /metrics", "GET /readyz"]


async def test_no_route_lets_in_who_shows_nothing_or_what_is_no_longer_good(doors):
    ended, other, task = await doors.task(), await doors.task(), await doors.task()
    await doors.ask("POST", f"/v1/tasks/{ended['task']}/end", {})
    callers = {
        "nothing": {},
        "garbage": {"authorization": "Bearer tbh_" + "A" * 43},
        "another scheme": {"authorization": "Basic YWxpY2U6eA=="},
        "no token": {"authorization": "Bearer"},
        "two": {"authorization": f"Bearer {task['handle']} {task['handle']}"},
        "an expired join token": {"authorization": f"Bearer tbj_{'A' * 43}.1"},
        "ended": {"authorization": f"Bearer {ended['handle']}"},
        "another task's": {"authorization": f"Bearer {other['handle']}"},
    }
    bodies = {
        "/v1/tasks": {"profile": "refund-order", "parent": task["task"], "set": REFUND["set"]},
        "/v1/tasks/{id}/leases": {"lease": "shopdb/reader"},
        "/v1/identities": {"name": "agent/evil", "owner": "human/alice", "attestor": "unix", "when": {"uid": 0}},
        "/v1/findings/{id}/accept": {"owner": "human/alice", "until": "2026-12-01T00:00:00Z", "reason": "x"},
        "/v1/offboardings": {"name": "agent/helper"},
        "/v1/fixes": {"finding": "0123456789ab", "act": "fix"},
        "/v1/fixes/{id}/end": {"finding": "0123456789ab"},
        "/v1/audit/export": {"directory": "/tmp/x"},
        "/v1/bodies/erase": {"older_than_s": 0},
    }
    listeners = {"tcp": api.ROUTES, "gateway": api.GATEWAY_ROUTES}
    asked = 0
    for to, routes in listeners.items():
        for route in routes:
            if route.rule & (Rule.PUBLIC | Rule.LOCAL):
                continue
            path = route.path.replace("{id}", task["task"]).replace("{kind}", "agent").replace("{name}", "support")
            path = path.replace("{upstream}", "crm")
            for who, headers in callers.items():
                body = bodies.get(route.path) if route.method == "POST" else None
                answer = await doors.ask(route.method, path, body, to=to, **headers)
                if (route.method, route.path, who) == ("GET", "/v1/tasks", "another task's"):
                    assert [one["task"] for one in answer.json["tasks"]] == [other["task"]]  # its own, and no other
                elif (route.method, route.path, who) == ("GET", "/v1/calls", "another task's"):
                    assert {one["task"] for one in answer.json["calls"]} == {other["task"]}
                else:
                    assert answer.status in (401, 403, 404), (who, route.method, path, answer)
                asked += 1
    assert asked > 150
    seen = (await doors.ask("GET", f"/v1/tasks/{task['task']}")).json
    assert seen["state"] == "open"
    assert "agent/evil" not in str((await doors.ask("GET", "/v1/identities")).json)


async def test_the_gateway_listener_serves_four_routes_and_nothing_else(doors):
    opened = await doors.task()
    for route in api.ROUTES:
        if any((route.method, route.path) == (other.method, other.path) for other in api.GATEWAY_ROUTES):
            continue
        path = route.path.replace("{id}", opened["task"])
        answer = await doors.ask(route.method, path, to="gateway", handle=opened["handle"])
        assert answer.status in (404, 405), path
    assert len(api.GATEWAY_ROUTES) == 4


async def test_a_handle_is_never_let_into_administration_and_each_attempt_is_on_record(doors):
    opened = await doors.task()
    attempts = [
        ("GET", "/v1/identities", None),
        ("POST", "/v1/identities", {"name": "agent/e", "owner": "human/alice", "attestor": "unix", "when": {"uid": 1}}),
        ("POST", "/v1/identities/human/alice/suspend", None),
        ("POST", "/v1/identities/agent/helper/retire", None),
        ("POST", "/v1/identities/agent/helper/join", {}),
        ("GET", "/v1/leases", None),
        ("GET", "/v1/tools", None),
        ("POST", "/v1/tools/crm/pin", {"write": True}),
        ("POST", "/v1/policy/load", None),
        ("GET", "/v1/events", None),
        ("POST", "/v1/audit/export", {"directory": "/tmp/x"}),
        ("POST", "/v1/bodies/erase", {"older_than_s": 0}),
        ("POST", "/v1/bodies/0/erase", None),
    ]
    for to in ("unix", "tcp"):
        for method, path, body in attempts:
            before = len(doors.denials())
            answer = await doors.ask(method, path, body, handle=opened["handle"], to=to)
            assert (answer.status, answer.json["error"]) == (403, "not_permitted"), (path, answer.body)
            new = doors.denials()[before:]
            assert [(denied.task, denied.code) for denied in new] == [(opened["task"], "not_permitted")], path
            events = [event for event in doors.rig.store.events if event.value is new[0]]
            assert events[0].request == answer.json["request"]
    # The control: who runs this process is let in by the same routes.
    assert (await doors.ask("POST", "/v1/policy/load")).status == 200
    assert json.loads((await doors.ask("GET", "/v1/tools")).body)["tools"]
