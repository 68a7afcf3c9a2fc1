"""Tasks and their leases: open, look up, keep alive, end."""

from contextlib import suppress
from typing import Any

from starlette.responses import Response

from taskbound.core.errors import Conflict, InvalidRequest, Refused
from taskbound.core.identity import Identity, name_of
from taskbound.core.lease import STANDING
from taskbound.core.refusal import nearest, quoted
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.edge.api.fields import fields, page, parameters
from taskbound.edge.api.hold import hold, holder_of
from taskbound.edge.api.views import change_view, grant_view, heartbeat_view, moment, task_view
from taskbound.edge.http import Knock, json_response
from taskbound.ports import Addressed
from taskbound.steps.end_task import end_task
from taskbound.steps.hold_task import hear_holder
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.issue_token import issue_token
from taskbound.steps.look_up import look_up_task, look_up_tasks, require_acting
from taskbound.steps.open_task import TaskAsk, open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity

STATES = tuple(state for state in Task.LIFECYCLE if state)


async def post_task(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    if (upstream := asked.pop("upstream", None)) is not None and upstream not in knock.world.upstreams:
        # Before anything is opened: who asks gets the address of a gateway to it, which would be a dead end.
        known = ", ".join(sorted(knock.world.upstreams)) or "none"
        raise InvalidRequest(
            f"there is no upstream {quoted(upstream)}", code="unknown_upstream", hint=f"known here: {known}"
        )
    held, life, details = asked.pop("hold", False), asked.pop("life_s", None), asked.pop("authorization_details", None)
    if "subject" in asked and asked["subject"] is None:
        hint = "leave `subject` out, or name a person that is registered: human/NAME"
        raise InvalidRequest("a subject by reference is not built yet", code="unsupported", hint=hint)
    _require_own_token(knock, asked.get("actor"))
    holder = holder_of(knock) if held and knock.peer is not None else None
    registered = await _register_actor(knock, asked.get("actor"))
    beats = held and holder is None
    ask = TaskAsk(life=life, details=details, holder=holder, beats=beats, held=knock.holders.held(), **asked)
    try:
        # Heard first of all: whatever fails from there on, its silence ends it.
        task, handle = await open_task(knock.world, knock.door, knock.asker, ask, knock.holders.hear)
    except Refused as error:
        if registered:  # which stays so, whatever became of the task
            first = f"{asked['actor']} was not known: it is registered now, and you are its owner"
            error.hint = "; ".join(filter(None, (error.hint, first)))
        raise
    view = await _opened(knock, task, handle) | ({"registered": True} if registered else {})
    return json_response(view, 201) if holder is None else hold(knock, task, view, 201)


async def _opened(knock: Knock, task: Task, handle: Secret) -> dict[str, Any]:
    """Return what is told of a new task: its handle, or to who proved a key a token that is bound to it."""
    token = await _token(knock, task)  # of a new task: the one shown, if any, is of another
    return {
        "task": task.id,
        "state": task.state,
        "deadline": moment(task.deadline),
        "grants": [grant_view(grant, task) for grant in task.grants],
        "handle": handle.reveal() if knock.key is None else None,  # a bearer would undo what the binding is for
        "token": token,
        "heartbeat": heartbeat_view(task),
        "gateway": knock.site.gateway() if knock.is_local else knock.site.gateway_beyond() or None,
    }


async def _token(knock: Knock, task: Task) -> str | None:
    """Return a token for the task, to a caller that proved a key; None to any other, and where none is of use."""
    if knock.key is None:
        return None
    token = await issue_token(knock.world, knock.door, knock.asker, task.id, knock.key)
    return None if token is None else token.reveal()


def _require_own_token(knock: Knock, actor: str | None) -> None:
    """Refuse a task that its opener would get no token for, before there is one that nobody can work in or end.

    Outside of a task a token is its actor's alone (`issue_token`). Raises InvalidRequest.
    """
    asker = knock.asker
    if knock.key is None or not isinstance(asker, Identity) or asker.task or actor in (None, asker.name):
        return
    message = f"who joins with a key works in its task itself: {asker.name} gets no token for another's"
    raise InvalidRequest(message, code="unsupported", hint="leave actor out, or let the actor join")


async def _register_actor(knock: Knock, actor: str | None) -> bool:
    """Register an agent at its first use by the local operator, who then owns it (INTERFACES 1)."""
    asker, operator = knock.asker, knock.world.operator
    if not (knock.is_operator and knock.site.registers_actors and operator and (actor or "").startswith("agent/")):
        return False
    when = {"uid": knock.peer.uid} if knock.peer else {}
    with suppress(Conflict):  # it is registered already
        await register_identity(
            knock.world, knock.door, asker, RegistrationAsk(str(actor), name_of(operator), "unix", when)
        )
        return True
    return False


async def get_tasks(knock: Knock) -> Response:
    asked, limit = page(knock.query, knock.takes)
    state = asked.get("state")
    if state is not None and state not in STATES:
        raise InvalidRequest(f"there is no state {quoted(state)}", hint=nearest(state, STATES))
    found = await look_up_tasks(knock.world, knock.door, knock.asker, state, asked.get("after", ""), limit + 1)
    shown = found[:limit]
    return json_response({
        "tasks": [task_view(task) for task in shown],
        "next": shown[-1].id if len(found) > limit else None,
    })  # fmt: skip


async def get_task(knock: Knock) -> Response:
    parameters(knock.query, knock.takes)
    task = await look_up_task(knock.world, knock.door, knock.asker, knock.params["id"])
    return json_response({**task_view(task), "grants": [grant_view(grant, task) for grant in task.grants]})


async def get_hold(knock: Knock) -> Response:
    parameters(knock.query, knock.takes)
    task = await look_up_task(knock.world, knock.door, knock.asker, knock.params["id"])
    return hold(knock, task, task_view(task), 200)


async def post_heartbeat(knock: Knock) -> Response:
    fields(knock.body, knock.takes)
    task = await hear_holder(knock.world, knock.door, knock.asker, knock.params["id"], knock.holders.hear)
    fresh = {} if knock.key is None else {"token": await _token(knock, task) if task.state == "open" else None}
    return json_response({**change_view(task), **fresh})


async def post_end(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    ended = await end_task(knock.world, knock.door, knock.asker, knock.params["id"], asked.get("reason", "asked"))
    knock.site.wake()
    return json_response({"ended": [task.id for task in ended]})


async def post_lease(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    await require_acting(knock.world, knock.door, knock.asker, "lease/issue", knock.params["id"])
    lease, credential = await issue_lease(knock.world, knock.door, knock.asker, LeaseAsk(asked["lease"]))
    provider = knock.world.providers[lease.target]
    address = dict(provider.address(lease)) if isinstance(provider, Addressed) else {"user": lease.name}
    login = {**address, "password": credential.reveal()}
    is_login = lease.recipe.revocation_class != STANDING
    return json_response(
        {
            "lease": lease.id,
            "target": lease.target,
            "grant": lease.grant,
            "class": lease.recipe.revocation_class,
            "expires": moment(lease.expires),
            "credential": login if is_login else {"value": credential.reveal()},
        },
        201,
    )
