"""Administration: identities, what leases there are, tools, policy, and the log. The engine decides each of them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from starlette.responses import Response

from taskbound.core.catalogue import pin_of
from taskbound.core.derive import derive_tools, pinnable
from taskbound.core.errors import InvalidRequest, NotFound, UpstreamUnavailable
from taskbound.core.identity import Registration, name_of
from taskbound.core.leaf import render_leaf
from taskbound.core.lease import Lease
from taskbound.core.refusal import nearest, quoted
from taskbound.core.task import Task
from taskbound.edge.api.fields import digits, fields, page, parameters
from taskbound.edge.api.views import identity_view, lease_view, life_view, moment
from taskbound.edge.http import Knock, json_response
from taskbound.steps.attest_workload import issue_join_token
from taskbound.steps.load_policy import load_policy, warnings_of
from taskbound.steps.look_up import look_up, look_up_lives, permit_administration, read_log
from taskbound.steps.pin_tools import pin_tools
from taskbound.steps.register_identity import (
    RegistrationAsk,
    register_and_write,
    resume_identity,
    retire_identity,
    suspend_identity,
)

Listed = TypeVar("Listed", Registration, Lease)


async def get_identities(knock: Knock) -> Response:
    found, more = await _page(knock, Registration, _states(Registration))
    return json_response({"identities": [identity_view(one) for one in found], "next": more})


async def get_lives(knock: Knock) -> Response:
    asked, limit = page(knock.query, knock.takes)
    found = await look_up_lives(knock.world, knock.door, knock.asker, asked.get("after", ""), limit + 1)
    more = found[limit - 1].of.id if len(found) > limit else None
    return json_response({"lives": [life_view(one) for one in found[:limit]], "next": more})


async def post_identity(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    ask = RegistrationAsk(**{"when": {}, **asked})
    known, why_not = await register_and_write(knock.world, knock.door, knock.asker, ask)
    return json_response({**identity_view(known), "written": not why_not, "why_not": why_not}, 201)


async def post_suspend(knock: Knock) -> Response:
    fields(knock.body, knock.takes)
    known, ended = await suspend_identity(knock.world, knock.door, knock.asker, _name(knock))
    return _moved(knock, known, ended)


async def post_resume(knock: Knock) -> Response:
    fields(knock.body, knock.takes)
    return _moved(knock, await resume_identity(knock.world, knock.door, knock.asker, _name(knock)), [])


async def post_retire(knock: Knock) -> Response:
    fields(knock.body, knock.takes)
    known, ended = await retire_identity(knock.world, knock.door, knock.asker, _name(knock))
    return _moved(knock, known, ended)


async def post_join(knock: Knock) -> Response:
    life = fields(knock.body, knock.takes).get("life_s", timedelta(minutes=10))
    _, token, until = await issue_join_token(knock.world, knock.door, knock.asker, _name(knock), life)
    return json_response({"token": token.reveal(), "expires": moment(until)}, 201)


def _name(knock: Knock) -> str:
    return f"{knock.params['kind']}/{knock.params['name']}"


def _moved(knock: Knock, known: Registration, ended: list[Task]) -> Response:
    if ended:
        knock.site.wake()
    name = name_of(known.spiffe_id)
    return json_response({"name": name, "state": known.state, "ended": [task.id for task in ended]})


async def _page(knock: Knock, noun: type[Listed], states: list[str]) -> tuple[list[Listed], str | None]:
    """Return a page of things, by id, and the id behind which the next one begins."""
    asked, limit = page(knock.query, knock.takes)
    found = await look_up(knock.world, knock.door, knock.asker, noun, states, asked.get("after", ""), limit + 1)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def _states(noun: type[Registration] | type[Lease], *without: str) -> list[str]:
    return [state for state in noun.LIFECYCLE if state not in ("", *without)]


# --- leases, tools, policy, the log ----------------------------------------------------------------


async def get_leases(knock: Knock) -> Response:
    found, more = await _page(knock, Lease, _states(Lease, "revoked"))
    return json_response({"leases": [lease_view(lease) for lease in found], "next": more})


async def get_tools(knock: Knock) -> Response:
    parameters(knock.query, knock.takes)
    await permit_administration(knock.world, knock.door, knock.asker, "audit/read", "tools")
    policies = knock.world.policies.current
    tools = sorted(policies.tools.values(), key=lambda tool: tool.resource)
    return json_response({
        "policy": policies.version,
        "tools": [
            {"tool": t.resource, "effect": t.effect, "pin": t.pin, "pinned": t.pinned, "reviewed": t.reviewed}
            for t in tools
        ]
    })  # fmt: skip


async def post_pin(knock: Knock) -> Response:
    write = fields(knock.body, knock.takes).get("write", False)
    world, upstream = knock.world, knock.params["upstream"]
    await permit_administration(world, knock.door, knock.asker, "tool/pin", upstream)  # before it is connected to
    if upstream not in world.upstreams:
        hint = nearest(upstream, world.upstreams) or "none is configured: add [[upstream]] to taskbound.toml"
        raise NotFound(f"there is no upstream {quoted(upstream)}", hint=hint)
    session = world.upstreams[upstream]()
    try:
        offered = await session.tools()
    except UpstreamUnavailable as error:
        at = f" at {knock.site.upstreams[upstream]}" if upstream in knock.site.upstreams else ""
        hint = "is it running there? its address is url in taskbound.toml"
        raise UpstreamUnavailable(f"upstream {upstream}{at}: {error}", hint=hint) from error
    finally:
        await session.close()
    toml, _ = derive_tools(upstream, offered, world.policies.tools(upstream))
    pins = {name: pin_of(definition) for name, definition in sorted(pinnable(upstream, offered).items())}
    if write:
        pins = await pin_tools(world, knock.door, knock.asker, upstream, offered)
    return json_response({"upstream": upstream, "toml": toml, "pins": pins, "written": write})


async def post_load(knock: Knock) -> Response:
    fields(knock.body, knock.takes)
    before = knock.world.policies.current
    loaded = await load_policy(knock.world, knock.door, knock.asker)
    return json_response({
        "version": loaded.version,
        "profiles": len(loaded.profiles),
        "tools": len(loaded.tools),
        "policies": len(loaded.organisation.policies),
        "warnings": warnings_of(loaded, before),
    })  # fmt: skip


async def get_events(knock: Knock) -> Response:
    asked, limit = page(knock.query, knock.takes)
    after = asked.get("after", -1)
    facts = await read_log(knock.world, knock.door, knock.asker, after, limit)
    leaves = [json.loads(render_leaf(fact.header, fact.index or 0)) for fact in facts]
    return json_response({"events": leaves, "next": leaves[-1]["index"] if leaves else after})


async def post_export(knock: Knock) -> Response:
    directory = Path(fields(knock.body, knock.takes)["directory"])
    if not directory.is_absolute():
        raise InvalidRequest("directory must be an absolute path")
    await permit_administration(knock.world, knock.door, knock.asker, "audit/read", "export")
    if knock.site.export is None:
        raise NotFound("nothing is exported here")
    return json_response({"size": await knock.site.export(directory)})


async def post_erase(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    await permit_administration(knock.world, knock.door, knock.asker, "body/erase", "bodies")
    return await _erased(knock, asked["older_than_s"], asked.get("class", ""))


async def post_erase_event(knock: Knock) -> Response:
    fields(knock.body, knock.takes)
    await permit_administration(knock.world, knock.door, knock.asker, "body/erase", "bodies")
    return await _erased(knock, digits("event", knock.params["event"]), "")


async def _erased(knock: Knock, which: timedelta | int, of: str) -> Response:
    if knock.site.erase is None:
        raise NotFound("nothing is erased here")
    return json_response({"erased": await knock.site.erase(which, of)})
