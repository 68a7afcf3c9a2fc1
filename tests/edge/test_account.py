"""The receipt and the explanation over the API: the owner's, and nobody else's (INTERFACES 6, 11)."""

import pytest

from taskbound.core.receipt import verify_receipt
from taskbound.formats.note import parse_key
from taskbound.steps.close_task import close_task
from tests.edge.doors import served


@pytest.fixture
async def doors():
    async with served(ancestry=False) as doors:
        yield doors


async def test_a_receipt_is_there_once_the_task_is_closed(doors):
    opened = await doors.task()
    path = f"/v1/tasks/{opened['task']}/receipt"
    for state, hint in (("open", "task end"), ("ended", "still being taken back")):
        answer = await doors.ask("GET", path)
        assert (answer.status, answer.json["error"]) == (404, "not_closed"), state
        assert hint in answer.json["hint"]
        await doors.ask("POST", f"/v1/tasks/{opened['task']}/end", {})
    await close_task(doors.world, doors.rig.lane, opened["task"])
    answer = await doors.ask("GET", path)
    assert (answer.status, answer.json.keys()) == (200, {"task", "receipt", "vkey"})
    assert verify_receipt(answer.json["receipt"].encode(), parse_key(answer.json["vkey"])).problems == ()
    other = await doors.task()
    for handle, status in ((other["handle"], 403), (opened["handle"], 401)):
        assert (await doors.ask("GET", path, handle=handle)).status == status
    assert (await doors.ask("GET", f"{path}?x=1")).status == 400


async def test_why_is_told_to_who_may_see_the_task(doors):
    opened, other = await doors.task(), await doors.task()
    await doors.ask("POST", f"/v1/tasks/{opened['task']}/leases", {"lease": "crm/nothing"}, handle=opened["handle"])
    denied = doors.denials()[-1]
    path = f"/v1/why/d{denied.id[1:]}"
    told = (await doors.ask("GET", path)).json
    assert (told["person"], told["decision"]["code"]) == ("human/alice", "unknown_lease")
    assert told["chain"][0]["task"] == opened["task"]
    own = (await doors.ask("GET", path, handle=opened["handle"])).json
    assert (own["decision"], own["command"]) == (told["decision"], "")
    assert (await doors.ask("GET", path, handle=other["handle"])).status == 403
    assert (await doors.ask("GET", "/v1/why/d1")).status == 404


async def test_the_calls_of_a_task_are_listed_with_what_would_unblock_them(doors):
    opened, other = await doors.task(), await doors.task()
    for resource in ("crm/nothing", "crm/other"):
        path = f"/v1/tasks/{opened['task']}/leases"
        await doors.ask("POST", path, {"lease": resource}, handle=opened["handle"])
        doors.rig.clock.advance(1)
    task = opened["task"]
    told = (await doors.ask("GET", f"/v1/calls?task={task}")).json["calls"]
    assert [(one["resource"], one["code"], one["state"]) for one in told] == [
        ("crm/other", "unknown_lease", "denied"),
        ("crm/nothing", "unknown_lease", "denied"),
    ]
    newest = doors.denials()[-1]
    assert told[0] | {"hint": ""} == {
        "call": f"d{newest.id[1:]}", "task": task, "at": "2026-11-24T12:00:01Z", "action": "lease/issue",
        "resource": "crm/other", "state": "denied", "code": "unknown_lease", "hint": "", "command": "taskbound up",
    }  # fmt: skip
    why = (await doors.ask("GET", f"/v1/why/{told[0]['call']}")).json
    assert (await doors.ask("GET", f"/v1/why/{newest.id}")).json == why and why["id"] == told[0]["call"]
    assert (await doors.ask("GET", "/v1/calls?state=denied&limit=1")).json["calls"] == told[:1]
    assert (await doors.ask("GET", "/v1/calls?state=permitted")).json == {"calls": []}
    assert (await doors.ask("GET", f"/v1/calls?task={other['task']}")).json == {"calls": []}


async def test_an_agent_lists_the_calls_of_its_own_task_only(doors):
    opened, other = await doors.task(), await doors.task()
    for one in (opened, other):
        await doors.ask("POST", f"/v1/tasks/{one['task']}/leases", {"lease": "crm/x"}, handle=one["handle"])
    own = (await doors.ask("GET", "/v1/calls", handle=opened["handle"])).json["calls"]
    assert [one["task"] for one in own] == [opened["task"]]
    answer = await doors.ask("GET", f"/v1/calls?task={other['task']}", handle=opened["handle"])
    assert (answer.status, answer.json["error"]) == (403, "not_yours")


@pytest.mark.parametrize("query", ["state=deny", "limit=0", "limit=501", "limit=x", "tsk=t"])
async def test_a_listing_of_calls_is_bounded_and_takes_what_it_knows(doors, query):
    assert (await doors.ask("GET", f"/v1/calls?{query}")).status == 400
    assert (await doors.ask("GET", "/v1/calls?task=t" + "a" * 20)).status == 404
