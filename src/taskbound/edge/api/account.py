"""Accounting for what was done: a task's receipt, the calls, and why something was permitted, denied, given."""

from starlette.responses import Response

from taskbound.core.call import Call
from taskbound.core.errors import InvalidRequest
from taskbound.core.refusal import nearest, quoted
from taskbound.edge.api.fields import page, parameters
from taskbound.edge.http import Knock, json_response
from taskbound.steps.close_task import read_receipt
from taskbound.steps.explain import explain, list_calls

CALL_STATES = tuple(state for state in Call.LIFECYCLE if state)


async def get_receipt(knock: Knock) -> Response:
    parameters(knock.query, knock.takes)
    id = knock.params["id"]
    receipt, key = await read_receipt(knock.world, knock.door, knock.asker, id)
    return json_response({"task": id, "receipt": receipt, "vkey": str(key)})


async def get_calls(knock: Knock) -> Response:
    asked, limit = page(knock.query, knock.takes)
    state = asked.get("state")
    if state not in (None, *CALL_STATES):
        raise InvalidRequest(f"there is no state {quoted(state)}", hint=nearest(state, CALL_STATES))
    found = await list_calls(knock.world, knock.door, knock.asker, asked.get("task"), state, limit)
    return json_response({"calls": found})


async def get_why(knock: Knock) -> Response:
    parameters(knock.query, knock.takes)
    return json_response(dict(await explain(knock.world, knock.door, knock.asker, knock.params["id"])))
