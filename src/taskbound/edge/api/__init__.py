"""The API: tasks, leases, identities, policy, tools and the log, as a table of routes (INTERFACES 6).

Each handler parses what is asked, calls a step and renders what it gives: nothing is decided here.
"""

from dataclasses import replace

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.responses import Response

from taskbound.edge.api import account, findings, members, tasks
from taskbound.edge.api import administration as admin
from taskbound.edge.api.hold import end_unclaimed, lose_silent
from taskbound.edge.claims import Rule
from taskbound.edge.http import Knock, Route, json_response
from taskbound.steps.look_up import count_tasks

__all__ = ["GATEWAY_ROUTES", "ROUTES", "end_unclaimed", "lose_silent"]


async def get_health(knock: Knock) -> Response:
    return json_response({"alive": True})


async def get_ready(knock: Knock) -> Response:
    await count_tasks(knock.world, knock.door)  # Unavailable where the store does not answer
    return json_response({"ready": True})


async def get_metrics(knock: Knock) -> Response:
    registry = CollectorRegistry()
    measures = {"open_tasks": await count_tasks(knock.world, knock.door), **knock.site.measures()}
    for name, value in measures.items():
        Gauge(f"taskbound_{name}", name.replace("_", " "), registry=registry).set(value)
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


ASKS = Rule.OPERATOR | Rule.HANDLE | Rule.TOKEN

# fmt: off
TASKS = (
    Route("POST", "/v1/tasks/{id}/heartbeat",                tasks.post_heartbeat,   ASKS),
    Route("POST", "/v1/tasks/{id}/end",                      tasks.post_end,         ASKS, members.END),
    Route("POST", "/v1/tasks/{id}/leases",                   tasks.post_lease,       ASKS, members.LEASE),
)
ROUTES = (
    Route("POST", "/v1/tasks",                               tasks.post_task,        ASKS | Rule.JOIN, members.TASK),
    Route("GET",  "/v1/tasks",                               tasks.get_tasks,        ASKS, members.TASKS),
    Route("GET",  "/v1/tasks/{id}",                          tasks.get_task,         ASKS),
    Route("GET",  "/v1/tasks/{id}/hold",                     tasks.get_hold,         ASKS),
    Route("GET",  "/v1/tasks/{id}/receipt",                  account.get_receipt,    ASKS),
    Route("GET",  "/v1/calls",                               account.get_calls,      ASKS, members.CALLS),
    Route("GET",  "/v1/why/{id}",                            account.get_why,        ASKS),
    *TASKS,
    Route("GET",  "/v1/identities",                          admin.get_identities,   ASKS, members.LISTING),
    Route("GET",  "/v1/identities/lives",                    admin.get_lives,        ASKS, members.LISTING),
    Route("POST", "/v1/identities",                          admin.post_identity,    ASKS, members.IDENTITY),
    Route("POST", "/v1/identities/{kind}/{name}/suspend",    admin.post_suspend,     ASKS),
    Route("POST", "/v1/identities/{kind}/{name}/resume",     admin.post_resume,      ASKS),
    Route("POST", "/v1/identities/{kind}/{name}/retire",     admin.post_retire,      ASKS),
    Route("POST", "/v1/identities/{kind}/{name}/join",       admin.post_join,        ASKS, members.JOIN),
    Route("GET",  "/v1/leases",                              admin.get_leases,       ASKS, members.LISTING),
    Route("GET",  "/v1/tools",                               admin.get_tools,        ASKS),
    Route("POST", "/v1/tools/{upstream}/pin",                admin.post_pin,         ASKS, members.PIN),
    Route("POST", "/v1/policy/load",                         admin.post_load,        ASKS),
    Route("POST", "/v1/offboardings",                        findings.post_offboard, ASKS, members.OFFBOARD),
    Route("GET",  "/v1/findings",                            findings.get_findings,  ASKS, members.LISTING),
    Route("POST", "/v1/findings",                            findings.post_findings, ASKS, members.FINDINGS),
    Route("POST", "/v1/findings/{id}/accept",                findings.post_accept,   ASKS, members.ACCEPT),
    Route("POST", "/v1/fixes",                               findings.post_fix,      ASKS, members.FIX),
    Route("POST", "/v1/fixes/{id}/end",                      findings.post_fix_end,  ASKS, members.FIX_END),
    Route("GET",  "/v1/events",                              admin.get_events,       ASKS, members.EVENTS),
    Route("POST", "/v1/audit/export",                        admin.post_export,      ASKS, members.EXPORT),
    Route("POST", "/v1/bodies/erase",                        admin.post_erase,       ASKS, members.ERASE),
    Route("POST", "/v1/bodies/{event}/erase",                admin.post_erase_event, ASKS),
    Route("GET",  "/healthz",                                get_health,             Rule.PUBLIC),
    Route("GET",  "/readyz",                                 get_ready,              Rule.LOCAL),
    Route("GET",  "/metrics",                                get_metrics,            Rule.LOCAL),
)
# What who is in a task may use on the gateway's listener, and nothing else of the API (INTERFACES 5).
GATEWAY_ROUTES = tuple(replace(route, rule=Rule.HANDLE | Rule.TOKEN) for route in (ROUTES[0], *TASKS))
# fmt: on
