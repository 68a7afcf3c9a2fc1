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
