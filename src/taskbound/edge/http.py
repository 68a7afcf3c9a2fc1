"""What every HTTP door shares: a table of routes, who may knock, and how an error is answered.

A route without a rule cannot be built (D15). The rule says who may knock, never what is permitted:
that is decided by the engine. What a request may look like is said in `request`, and who asks is found
out in `claims`.
"""

import json
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskbound.core.errors import (
    Conflict,
    Denied,
    InvalidRequest,
    NotFound,
    TaskboundError,
    TaskEnded,
    Unauthenticated,
    Unavailable,
    hint_of,
)
from taskbound.core.identity import Claim, Identity, Peer, for_request
from taskbound.edge.claims import (
    JOINS,
    PEER,
    Holders,
    Rule,
    TokenRefused,
    claim_of,
    is_local,
    kind_of,
    note_refused,
    proven,
    shows_token,
)
from taskbound.edge.request import ContentTooLarge, RequestTimeout, query_of, read_body, require_local, segments_of
from taskbound.formats.jose import ALGORITHM
from taskbound.ports import World

log = structlog.get_logger()


class MethodNotAllowed(InvalidRequest):
    status: ClassVar[int] = 405
    code = "method_not_allowed"


@dataclass(frozen=True, slots=True)
class Site:
    """What the API tells and does of this installation beyond its world. Made by app."""

    gateway: Callable[[], str] = lambda: ""  # the complete MCP address, known once the listener is bound
    gateway_beyond: Callable[[], str] = lambda: ""  # the same for who is not on this machine; "": there is none
    registers_actors: bool = False  # an agent is registered at first use (`up`); with `serve` nothing is
    export: Callable[[Path], Awaitable[int]] | None = None
    erase: Callable[[timedelta | int, str], Awaitable[int]] | None = None  # what is older, of a class; or one index
    wake: Callable[[], None] = lambda: None  # something ended: whoever takes leases back should look
    upstreams: Mapping[str, str] = field(default_factory=dict)  # where each is, by name: no query, no userinfo
    measures: Callable[[], Mapping[str, float]] = dict  # what the lanes know: overdue_leases, checkpoint_age_seconds …


@dataclass(frozen=True, slots=True)
class Knock:
    """One request that was let in."""

    world: World
    door: Identity  # ours, for this request: it carries the request's id
    claim: Claim | Identity | None  # who is said to ask; None only where the rule is PUBLIC
    id: str  # r…
    params: Mapping[str, str]  # what stands in the path
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case; never Authorization, DPoP or Cookie
    body: Any  # the JSON value; None without one
    peer: Peer | None
    holders: Holders
    site: Site
    takes: Mapping[str, Any] = field(default_factory=dict)  # what the route says that it takes
    is_local: bool = True  # whether it came from this machine
    key: str | None = None  # thumbprint of the key that the caller proved (RFC 9449)

    @property
    def asker(self) -> Claim | Identity:
        """Who is said to ask, where the rule lets nobody in without."""
        if self.claim is None:
            raise Unauthenticated("nobody is said to ask")
        return self.claim

    @property
    def is_operator(self) -> bool:
        """Whether it is the local operator who is said to ask."""
        claim = self.claim
        return isinstance(claim, Claim) and claim.facts is not None and claim.facts.attestor == "operator"


Handler = Callable[[Knock], Awaitable[Response]]
# What serves all below a prefix; told the request's id and the segments of its path, which were checked like `Host`.
Mounted = Callable[[Scope, Receive, Send, str, tuple[str, ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path; `{name}` in it is one segment."""

    method: str
    path: str
    handler: Handler
    rule: Rule
    takes: Mapping[str, Any] = field(default_factory=dict)  # the members of its body, or of a GET the parameters


# --- from a request to a handler, and back ---------------------------------------------------------


def json_response(value: Any, status: int = 200) -> Response:
    """Return an answer with a JSON value."""
    return Response(json.dumps(value, ensure_ascii=False).encode(), status, media_type="application/json")


REFERENCE = "docs/reference.md, of Taskbound's source, tells each address, who may knock, and what it takes"
# What to do about an error that does not say it itself: the first family that it is of.
OTHERWISE: tuple[tuple[type[TaskboundError], str], ...] = (
    (InvalidRequest, REFERENCE),
    (Unauthenticated, "show a task handle (Authorization: Bearer tbh_…), or ask on the Unix socket"),
    (Denied, "taskbound why tells what would unblock it (GET /v1/calls, then GET /v1/why/{id})"),
    (NotFound, "look for it in the listing: of tasks, leases, identities, tools, calls"),
    (Conflict, "look at it as it is now, then ask again"),
    (TaskboundError, "see the server's log"),
)


def error_response(error: TaskboundError, request: str) -> Response:
    """Return the answer that an error is, everywhere (INTERFACES 6)."""
    hint = hint_of(error) or next(hint for family, hint in OTHERWISE if isinstance(error, family))
    said = {"error": error.code, "error_description": str(error), "hint": hint, "request": request}
    response = json_response(said, error.status)
    if isinstance(error, TokenRefused):  # RFC 9449 7.1
        response.headers["www-authenticate"] = f'DPoP error="{error.code}", algs="{ALGORITHM}"'
    elif isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = f'Bearer error="{error.code}"'
    if isinstance(error, Unavailable):
        response.headers["retry-after"] = "1"
    if isinstance(error, ContentTooLarge | RequestTimeout):  # what is left of the body is not read
        response.headers["connection"] = "close"
    return response


def ended_response(error: TaskEnded, scope: Scope, request: str) -> Response:
    """Return the answer to what names a task that ended: it is no longer a handle, or a token (INTERFACES 6)."""
    kind = TokenRefused if shows_token(scope) else Unauthenticated
    return error_response(kind(str(error), hint=error.hint), request)


def application(
    world: World,
    door: Identity,
    routes: Sequence[Route],
    *,
    holders: Holders,
    site: Site = Site(),
    mount: Mapping[str, Mounted] = {},
) -> ASGIApp:
    """Return the ASGI application of one listener: its routes, and below a prefix ("/mcp") another application."""
    table = _Table(routes)

    async def answer(scope: Scope, receive: Receive, request: str) -> Response | ASGIApp:
        require_local(scope)
        segments = segments_of(scope)
        if segments and (mounted := mount.get(f"/{segments[0]}")):
            return partial(_below, mounted, request, segments)
        route, params = table.find(scope["method"], segments)
        peer = (scope.get("extensions") or {}).get(PEER)
        claim: Claim | None = None
        if not (Rule.PUBLIC in route.rule or (Rule.LOCAL in route.rule and is_local(scope))):
            claim = await claim_of(scope, world, holders)
            if claim is None:
                raise Unauthenticated("nobody is said to ask", hint="show a task handle, or use the Unix socket")
            rule, what = kind_of(claim)
            if rule not in route.rule:
                hint = JOINS if rule is Rule.JOIN else REFERENCE
                raise Denied(f"{route.method} {route.path} is not for {what}", hint=hint)
        body = await read_body(scope, receive)
        if body is not None and route.method == "GET":
            raise InvalidRequest("GET takes no body", hint="leave the body out")
        ours = for_request(door, request)
        asker = await proven(world, ours, claim) if claim else None
        dropped = (b"authorization", b"dpop", b"cookie")
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"] if name not in dropped}
        return await route.handler(
            Knock(
                world,
                ours,
                asker,
                request,
                params,
                query_of(scope),
                headers,
                body,
                peer,
                holders,
                site,
                route.takes,
                is_local=is_local(scope),
                key=claim.key if claim else None,
            )
        )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan; a WebSocket is closed by the server
        request = world.new_id("r")
        response: Response | ASGIApp
        try:
            response = await answer(scope, receive, request)
        except TaskEnded as error:
            response = ended_response(error, scope, request)
        except TaskboundError as error:
            await note_refused(scope, world, for_request(door, request), error)
            response = error_response(error, request)
            if isinstance(error, MethodNotAllowed):
                response.headers["allow"] = table.allowed(segments_of(scope))
        except Exception as error:
            # The trace as text: a renderer that shows local variables would show secrets (S6).
            log.error("request failed", request=request, trace="".join(traceback.format_exception(error)))
            response = error_response(TaskboundError("internal error"), request)
        await response(scope, receive, _hardened(send))

    return app


class _Table:
    """Routes by their segments; a literal segment goes before a named one."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(route, tuple(route.path.removeprefix("/").split("/"))) for route in routes]

    def _matching(self, segments: tuple[str, ...]) -> dict[str, tuple[Route, dict[str, str]]]:
        found: dict[str, tuple[Route, dict[str, str]]] = {}
        for route, pattern in self._routes:
            if len(pattern) == len(segments) and all(
                p == s or p.startswith("{") for p, s in zip(pattern, segments, strict=True)
            ):
                params = {p[1:-1]: s for p, s in zip(pattern, segments, strict=True) if p.startswith("{")}
                found.setdefault(route.method, (route, params))
        return found

    def allowed(self, segments: tuple[str, ...]) -> str:
        return ", ".join(sorted(self._matching(segments)))

    def find(self, method: str, segments: tuple[str, ...]) -> tuple[Route, dict[str, str]]:
        """Return the route and what stands in the path. Raises NotFound, MethodNotAllowed."""
        found = self._matching(segments)
        if not found:
            raise NotFound("there is no such address", hint=REFERENCE)
        if method not in found:
            raise MethodNotAllowed(f"the address takes {', '.join(sorted(found))}")
        return found[method]


async def _below(
    mounted: Mounted, request: str, segments: tuple[str, ...], scope: Scope, receive: Receive, send: Send
) -> None:
    await mounted(scope, receive, send, request, segments)


def _hardened(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            told = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            if not any(name.lower() == b"cache-control" for name, _ in told):
                told.append((b"cache-control", b"no-store"))
            message = {**message, "headers": told}
        await send(message)

    return sending
