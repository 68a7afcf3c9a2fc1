"""What every HTTP door shares: a table of routes, who may knock, limits, and how an error is answered.

A route without a rule cannot be built (D15). The rule says who may knock, never what is permitted:
that is decided by the engine. The route is taken from the raw path, never from a URL rebuilt from
`Host` (CVE-2026-48710); a request that names another host or origin than this machine is refused
before anything is read (T4.7). No header chooses where a request goes, or who asks, but
`Authorization` (D16); without it, on a Unix socket, the kernel says who is at the other end, and
whoever a live `run` stands above is that run's agent, never the operator (INTERFACES 10).
"""

import asyncio
import hashlib
import ipaddress
import json
import os
import re
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Flag, auto
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote_to_bytes

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
)
from taskbound.core.identity import JOIN_TOKEN, Claim, Facts, Identity, Peer, Process, for_request, join_claim
from taskbound.core.task import Task
from taskbound.formats.canonical import Malformed, parse
from taskbound.ports import World
from taskbound.steps.attest_workload import attest_workload

BODY_LIMIT = 1 << 20
BODY_SECONDS = 10.0  # a body of 1 MiB, from this machine
PEER = "taskbound.peer"  # in scope["extensions"]: the Peer of a Unix socket, or None where the kernel knows none

log = structlog.get_logger()


class Rule(Flag):
    """Who may knock."""

    PUBLIC = auto()  # anybody: the answer tells nothing that is anybody's
    OPERATOR = auto()  # a peer on the Unix socket: the local operator, or a workload that is attested
    HANDLE = auto()  # who shows a task handle
    JOIN = auto()  # who shows a join token


class MethodNotAllowed(InvalidRequest):
    status: ClassVar[int] = 405
    code = "method_not_allowed"


class RequestTimeout(InvalidRequest):
    status: ClassVar[int] = 408
    code = "request_timeout"


class ContentTooLarge(InvalidRequest):
    status: ClassVar[int] = 413
    code = "content_too_large"


class UnsupportedMediaType(InvalidRequest):
    status: ClassVar[int] = 415
    code = "unsupported_media_type"
    hint = "send content-type: application/json"


@dataclass(frozen=True, slots=True)
class Site:
    """What the API tells and does of this installation beyond its world. Made by app."""

    gateway: Callable[[], str] = lambda: ""  # the complete MCP address, known once the listener is bound
    registers_actors: bool = False  # an agent is registered at first use (`up`); with `serve` nothing is
    export: Callable[[Path], Awaitable[int]] | None = None
    erase: Callable[[timedelta], Awaitable[int]] | None = None
    wake: Callable[[], None] = lambda: None  # something ended: whoever takes leases back should look
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
    headers: Mapping[str, str]  # names in lower case; never Authorization or Cookie
    body: Any  # the JSON value; None without one
    peer: Peer | None
    holders: "Holders"
    site: Site

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


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path; `{name}` in it is one segment."""

    method: str
    path: str
    handler: Handler
    rule: Rule


# --- who asks --------------------------------------------------------------------------------------


class Holders:
    """The processes that hold a task open: a `run`, or a program with the SDK (INTERFACES 10).

    Whoever they started stays their agent for as long as they live: what a task leaves running when
    it ends does not become the operator.
    """

    def __init__(self, org: str = "main") -> None:
        self.org = org
        self._streams: list[tuple[Process | None, str]] = []  # None: over TCP, where the kernel does not say who
        self._expected: dict[str, tuple[Process | None, Task]] = {}
        self._held: dict[Process, set[str]] = {}  # the digests of the handles of all that it holds or held

    def add(self, process: Process | None, task: Task) -> None:
        """State that the process holds the task. Raises Conflict where another does: it would live on without that."""
        holders = {holder for holder, id in self._streams if id == task.id}
        if task.id in self._expected:
            holders.add(self._expected[task.id][0])
        if holders - {process}:
            raise Conflict(f"task {task.id} is held by another process", code="held")
        self._expected.pop(task.id, None)
        self._streams.append((process, task.id))
        self._note(process, task)

    def remove(self, process: Process | None, task: Task) -> bool:
        """State that it no longer does; return whether nobody does any more."""
        self._streams.remove((process, task.id))
        return all(id != task.id for _, id in self._streams)

    def expect(self, process: Process | None, task: Task) -> None:
        """State that the process held the task before we were started again."""
        self._expected[task.id] = process, task
        self._note(process, task)

    def unclaimed(self) -> list[Task]:
        """Return, once, the tasks whose holders did not come back."""
        gone, self._expected = [task for _, task in self._expected.values()], {}
        return gone

    def task_above(self, process: Process, ancestry: Iterable[Process]) -> str | None:
        """Return the handle's digest of the task that the nearest holder above a process holds; None without one.

        Raises Unauthenticated when that holder has had several: doubt is refusal.
        """
        for above in ancestry:
            held = self._held.get(above, ()) if above != process else ()
            if len(held) > 1:
                raise Unauthenticated("a process above has held several tasks", hint="show the handle of one")
            if held:
                return next(iter(held))
        return None

    def _note(self, process: Process | None, task: Task) -> None:
        self._held = {one: held for one, held in self._held.items() if started_of(one.pid) == one.started}
        if process is not None:
            self._held.setdefault(process, set()).add(task.handle)


def started_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat.rpartition(b")")[2].split()[19])  # field 22; the name before it may hold anything
    except (OSError, ValueError, IndexError):
        return None


async def claim_of(scope: Scope, world: World, holders: Holders) -> Claim | None:
    """Return who is said to ask; None where nobody is. Raises Unauthenticated, InvalidRequest.

    What stands in Authorization decides alone: what is wrong there never falls back to the peer.
    """
    authorization = _only(scope, b"authorization")
    if authorization is not None:
        return _bearer(authorization, scope, holders.org)
    peer = (scope.get("extensions") or {}).get(PEER)
    if peer is None:
        if is_unix(scope):
            raise Unauthenticated("the process at the other end of the socket is gone")
        return None
    if world.attestor is None:
        raise Unauthenticated("no workload of this machine is attested here")
    digest = holders.task_above(peer.process, await world.attestor.ancestors(peer))
    if digest is not None:
        return Claim(holders.org, handle=digest)
    attests = _only(scope, b"taskbound-attest")
    if await world.attestor.is_confined(peer):  # by a `run` that is gone, or by something else: doubt is refusal
        confined = "the process is confined as what `taskbound run` starts is, and nobody is known to have started it"
        raise Unauthenticated(confined, hint="show a task handle, or ask from outside of the sandbox")
    if attests is None and world.operator is not None and peer.uid == os.geteuid():
        return Claim(holders.org, facts=Facts("operator", {"uid": peer.uid}))
    if attests not in (None, b"unix"):
        raise InvalidRequest("taskbound-attest knows unix alone")
    return Claim(holders.org, facts=await world.attestor.attest(peer))


_BEARER = re.compile(r"(?i:bearer) (?:(tbh_[A-Za-z0-9_-]{43})|(tbj_.{1,64}))")


def _bearer(authorization: bytes, scope: Scope, org: str) -> Claim:
    shown = _BEARER.fullmatch(authorization.decode("latin-1"))
    if shown is None:
        raise Unauthenticated("the authorization is neither a task handle nor a join token")
    if not is_local(scope):
        raise Unauthenticated("a task handle or a join token is accepted on this machine only")
    if shown[2]:
        return join_claim(org, shown[2])
    return Claim(org, handle=hashlib.sha256(shown[1].encode()).hexdigest())


def _kind(claim: Claim) -> tuple[Rule, str]:
    """Return the rule that lets this claim in, and what people call it."""
    if claim.handle is not None:
        return Rule.HANDLE, "a task handle"
    if claim.facts is not None and claim.facts.attestor == JOIN_TOKEN:
        return Rule.JOIN, "a join token"
    return Rule.OPERATOR, "the process at the other end of the socket"


# --- what a request may look like ------------------------------------------------------------------

_HOST = re.compile(rb"[^\x00-\x20\x7f-\xff/?#@\\,]{1,256}")
_LOCAL = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(rb"https?://(.*)", re.IGNORECASE)


def is_unix(scope: Scope) -> bool:
    """Whether the request came over a Unix socket."""
    return PEER in (scope.get("extensions") or {})


def is_local(scope: Scope) -> bool:
    """Whether the request came over a Unix socket or to a loopback address."""
    if is_unix(scope):
        return True
    try:
        return bool(scope.get("server")) and ipaddress.ip_address(scope["server"][0]).is_loopback
    except ValueError:
        return False


def require_local(scope: Scope) -> None:
    """Refuse what a web page could have sent through a browser on this machine (DNS rebinding, T4.7).

    Raises InvalidRequest for a Host that is none, Denied for one of another machine, and for another Origin.
    """
    host = _only(scope, b"host")
    if host is None or not _HOST.fullmatch(host):
        raise InvalidRequest("the request names no host" if host is None else "the host is malformed")
    if not is_unix(scope) and is_local(scope) and not _LOCAL.fullmatch(host):
        raise Denied("the request is for another host", hint="use localhost or 127.0.0.1")
    origin = _only(scope, b"origin")
    if origin is not None and not ((page := _ORIGIN.fullmatch(origin)) and _LOCAL.fullmatch(page[1])):
        raise Denied("the request comes from a page of another origin")


def segments_of(scope: Scope) -> tuple[str, ...]:
    """Return the segments of the raw path, each decoded after the split. Raises InvalidRequest.

    Empty and dotted segments, a NUL and what is not UTF-8 are refused: no reader further in may see another path.
    """
    first, *raw = scope["raw_path"].partition(b"?")[0].split(b"/")
    segments: list[str] = []
    for part in raw:
        if re.search(rb"%(?![0-9A-Fa-f]{2})", part):
            raise InvalidRequest("the path has a malformed escape")
        try:
            segments.append(unquote_to_bytes(part).decode())
        except UnicodeDecodeError:
            raise InvalidRequest("the path is not UTF-8") from None
    if first or any(one in ("", ".", "..") or "\0" in one for one in segments):
        raise InvalidRequest("the path has an empty or dotted segment")
    return tuple(segments)


def _only(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a header that may stand once. Raises InvalidRequest."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise InvalidRequest(f"header {name.decode()} stands twice")
    return values[0] if values else None


def _query(scope: Scope) -> dict[str, str]:
    try:
        text = scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=16)
    except (ValueError, UnicodeError):
        raise InvalidRequest("the query is malformed") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise InvalidRequest("a parameter of the query stands twice")
    return query


async def read_body(scope: Scope, receive: Receive) -> Any:
    """Return the JSON value of the body, None without one; read whole, in bounded size and time.

    Raises InvalidRequest: RequestTimeout, ContentTooLarge, UnsupportedMediaType, or malformed.
    """
    body = b""
    with suppress(ValueError):
        if int(_only(scope, b"content-length") or b"0") > BODY_LIMIT:
            raise ContentTooLarge(f"a body has at most {BODY_LIMIT} bytes")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidRequest("the body ended early")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > BODY_LIMIT:
                    raise ContentTooLarge(f"a body has at most {BODY_LIMIT} bytes")
    except TimeoutError:
        raise RequestTimeout(f"the body did not come within {BODY_SECONDS:g} s") from None
    if not body:
        return None
    if (_only(scope, b"content-type") or b"").partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaType("the body is not declared to be JSON")
    try:
        return parse(body, limit=BODY_LIMIT)
    except Malformed as error:
        raise InvalidRequest(f"the body is malformed: {error}") from None


# --- from a request to a handler, and back ---------------------------------------------------------


def json_response(value: Any, status: int = 200) -> Response:
    """Return an answer with a JSON value."""
    return Response(json.dumps(value, ensure_ascii=False).encode(), status, media_type="application/json")


def error_response(error: TaskboundError, request: str) -> Response:
    """Return the answer that an error is, everywhere (INTERFACES 6)."""
    said = {"error": error.code, "error_description": str(error), "hint": error.hint, "request": request}
    response = json_response(said, error.status)
    if isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = f'Bearer error="{error.code}"'
    if isinstance(error, Unavailable):
        response.headers["retry-after"] = "1"
    if isinstance(error, ContentTooLarge | RequestTimeout):  # what is left of the body is not read
        response.headers["connection"] = "close"
    return response


def application(
    world: World,
    door: Identity,
    routes: Sequence[Route],
    *,
    holders: Holders,
    site: Site = Site(),
    mount: Mapping[str, ASGIApp] = {},
) -> ASGIApp:
    """Return the ASGI application of one listener: its routes, and below a prefix ("/mcp") another application."""
    table = _Table(routes)

    async def answer(scope: Scope, receive: Receive, request: str) -> Response | ASGIApp:
        require_local(scope)
        segments = segments_of(scope)
        if segments and (mounted := mount.get(f"/{segments[0]}")):
            return mounted
        route, params = table.find(scope["method"], segments)
        peer = (scope.get("extensions") or {}).get(PEER)
        claim: Claim | Identity | None = None
        if Rule.PUBLIC not in route.rule:
            claim = await claim_of(scope, world, holders)
            if claim is None:
                raise Unauthenticated("nobody is said to ask", hint="show a task handle, or use the Unix socket")
            rule, what = _kind(claim)
            if rule not in route.rule:
                raise Denied(f"{route.method} {route.path} is not for {what}")
        body = await read_body(scope, receive)
        if body is not None and route.method == "GET":
            raise InvalidRequest("GET takes no body")
        ours = for_request(door, request)
        if isinstance(claim, Claim) and claim.facts is not None and claim.facts.attestor != "operator":
            claim = await attest_workload(world, ours, claim)
        dropped = (b"authorization", b"cookie")
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"] if name not in dropped}
        return await route.handler(
            Knock(world, ours, claim, request, params, _query(scope), headers, body, peer, holders, site)
        )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan; a WebSocket is closed by the server
        request = world.new_id("r")
        response: Response | ASGIApp
        try:
            response = await answer(scope, receive, request)
        except TaskEnded as error:  # of a handle: outside the gateway it is no longer one (INTERFACES 6)
            response = error_response(Unauthenticated(str(error), hint=error.hint), request)
        except TaskboundError as error:
            response = error_response(error, request)
            if isinstance(error, MethodNotAllowed):
                response.headers["allow"] = table.allowed(segments_of(scope))
        except Exception as error:
            # The trace as text: a renderer that shows local variables would show secrets (S6).
            log.error("request failed", request=request, trace="".join(traceback.format_exception(error)))
            response = error_response(TaskboundError("internal error", hint="see the server's log"), request)
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
            raise NotFound("there is no such address")
        if method not in found:
            raise MethodNotAllowed(f"the address takes {', '.join(sorted(found))}")
        return found[method]


def _hardened(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            told = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            if not any(name.lower() == b"cache-control" for name, _ in told):
                told.append((b"cache-control", b"no-store"))
            message = {**message, "headers": told}
        await send(message)

    return sending
