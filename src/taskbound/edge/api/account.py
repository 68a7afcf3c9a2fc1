"""Accounting for what was done: the receipt of a closed task, and why something was permitted, denied, given."""

from starlette.responses import Response

from taskbound.edge.api.fields import parameters
from taskbound.edge.http import Knock, json_response
from taskbound.steps.close_task import read_receipt
from taskbound.steps.explain import explain


async def get_receipt(knock: Knock) -> Response:
    parameters(knock.query)
    id = knock.params["id"]
    receipt, key = await read_receipt(knock.world, knock.door, knock.asker, id)
    return json_response({"task": id, "receipt": receipt, "vkey": str(key)})


async def get_why(knock: Knock) -> Response:
    parameters(knock.query)
    return json_response(dict(await explain(knock.world, knock.door, knock.asker, knock.params["id"])))
