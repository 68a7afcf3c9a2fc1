"""Findings: what scans saw goes in, what is done about it too; who answers comes out, and who leaves holds nothing."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from taskbound.core.finding import Finding, Issued, Spot
from taskbound.edge.api.fields import Member, fields, number, objects, page, text, texts
from taskbound.edge.api.views import finding_view, offboarding_view
from taskbound.edge.http import Knock, json_response
from taskbound.steps.accept_risk import accept_risk
from taskbound.steps.look_up import look_up
from taskbound.steps.offboard_identity import (
    LoginAsk,
    begin_offboarding,
    finish_offboarding,
    look_at_offboarding,
)
from taskbound.steps.raise_findings import FindingAsk, raise_findings
from taskbound.steps.record_fix import FixAsk, begin_fix, end_fix

NAMES = ("seen_as", "case", "severity", "says", "owner", "next")
FINDING = {
    **{name: Member(text, "", required=True) for name in NAMES},
    "subjects": Member(texts, "", required=True),
    "places": Member(objects, "", required=True),
    "issued": Member(objects, "", required=True),
}
PLACE = {"path": Member(text, "", required=True), "line": Member(number, "", required=True)}
LOGIN = {**{name: Member(text, "", required=True) for name in ("issuer", "login")}, "proof": Member(text, "")}
ISSUED = {name: Member(text, "", required=True) for name in ("mark", "kind", "issuer", "login")}


async def get_findings(knock: Knock) -> Response:
    asked, limit = page(knock.query, knock.takes)
    states = [state for state in Finding.LIFECYCLE if state]
    found = await look_up(knock.world, knock.door, knock.asker, Finding, states, asked.get("after", ""), limit + 1)
    more = found[limit - 1].id if len(found) > limit else None
    return json_response({"findings": [finding_view(one) for one in found[:limit]], "next": more})


async def post_findings(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    seen = [_ask(one) for one in asked.get("findings", ())]
    told = await raise_findings(knock.world, knock.door, knock.asker, seen, asked.get("gone", ()))
    return json_response({"raised": told.raised, "known": told.known, "closed": told.closed, "kept": told.kept})


async def post_accept(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    id, owner, until, reason = knock.params["id"], asked["owner"], asked["until"], asked["reason"]
    return json_response(
        finding_view(await accept_risk(knock.world, knock.door, knock.asker, id, owner, until, reason))
    )


async def post_fix(knock: Knock) -> Response:
    ask = FixAsk(**fields(knock.body, knock.takes))
    return json_response({"begun": await begin_fix(knock.world, knock.door, knock.asker, ask)})


async def post_fix_end(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    finding, failed, begun = asked.pop("finding"), asked.pop("failed", ""), knock.params["id"]
    kind = await end_fix(knock.world, knock.door, knock.asker, finding, begun, failed, **asked)
    return json_response({"kind": kind})


async def post_offboard(knock: Knock) -> Response:
    asked = fields(knock.body, knock.takes)
    name, world, door, asker = asked["name"], knock.world, knock.door, knock.asker
    logins = [LoginAsk(**fields(one, LOGIN)) for one in asked.get("logins", ())]
    if asked.get("dry_run"):
        return json_response(offboarding_view(world, await look_at_offboarding(world, door, asker, name, logins)))
    held = await begin_offboarding(world, door, asker, name, logins)
    knock.site.wake()  # what fell due is cut at once
    return json_response(offboarding_view(world, await finish_offboarding(world, door, held)))


def _ask(one: Mapping[str, Any]) -> FindingAsk:
    """Return a finding that a scan tells of. Raises InvalidRequest."""
    asked = fields(one, FINDING)
    places = tuple(Spot(**fields(place, PLACE)) for place in asked.pop("places"))
    issued = tuple(Issued(**fields(it, ISSUED)) for it in asked.pop("issued"))
    return FindingAsk(**asked, places=places, issued=issued)
