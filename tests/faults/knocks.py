"""What the sweep of test_raise runs of the doors: requests as the server hands them over, and calls through `enforce`.

As in `scenarios`: name -> (prepare, act). Of a request comes out its status, and `permitted` for a 2xx whose answer
was sent to its end. A call is `permitted` when its block ran and how it went is on record; one whose block runs
without a decision on record is `unrecorded`, and one that keeps the process from stopping `hangs`.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from starlette.responses import Response

from taskbound.core.errors import Conflict, StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Identity, Peer, Process
from taskbound.core.task import Task
from taskbound.edge import api, claims, oauth
from taskbound.edge.claims import PEER, Holders, Rule
from taskbound.edge.enforce import Outcomes, Refusal, enforce
from taskbound.edge.http import Knock, Route, Site, application, json_response
from taskbound.edge.request import BODY_LIMIT
from taskbound.ports import World
from taskbound.steps.attest_workload import issue_join_token
from taskbound.steps.decide_call import CallAsk, Outcome
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_token import issue_token
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.faults.deeds import Kept, directory
from tests.faults.scenarios import REFUND_CALL, Act, Prepare, as_if_loaded, opened
from tests.prover import Prover
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

READ = CallAsk("crm/get_order", {"id": "4711"})
STOPS = 5.0  # seconds in which a process must stop

# --- calls through `enforce` -------------------------------------------------------------------------


def is_recorded(rig: Rig, kind: Kind, call: str) -> bool:
    return any(event.kind is kind and event.id == call for event in rig.store.events)


def enforced(ask: CallAsk, *, wait: bool, fails: bool = False, twice: bool = False) -> Act:
    """Return the act of one call; its outcome is recorded by the timer, or with `wait=False` when the door closes."""

    async def act(rig: Rig, who: Claim) -> str:
        outcomes, drained = Outcomes(rig.world), False
        loop, raised = asyncio.get_running_loop(), []
        before = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, what: raised.append(what.get("exception") or Exception(what["message"])))
        try:
            call = ""
            try:
                async with enforce(rig.world, rig.door, who, ask, outcomes) as permit:
                    call = permit.call.id
                    if not is_recorded(rig, Kind.CALL_PERMITTED, call):
                        return "unrecorded"
                    if fails:
                        raise ConnectionError("the upstream is gone")
                    permit.outcome = Outcome(False, 1)
                    if twice:
                        outcomes.add(rig.door, permit)
            except Refusal:
                return "denied"
            for _ in range(400 if wait else 0):
                if raised or is_recorded(rig, Kind.CALL_COMPLETED, call):
                    break
                await asyncio.sleep(0.005)
            try:
                async with asyncio.timeout(STOPS) as limit:
                    await outcomes.drained()
                drained = True
            except TimeoutError:
                if limit.expired():
                    return "hangs"
                raise
            if raised:  # the process lives on; whoever reads its log is told
                raise raised[0]
            if not is_recorded(rig, Kind.CALL_COMPLETED, call):
                return "not completed"
            return "completed" if twice else "permitted"
        finally:
            if not drained:  # the fault comes once: nothing of this trial goes on in the next
                with suppress(BaseException):
                    await asyncio.wait_for(outcomes.drained(), STOPS)
            loop.set_exception_handler(before)

    return act


# --- requests ----------------------------------------------------------------------------------------

HERE, THERE = ("127.0.0.1", 8440), ("10.0.0.5", 8440)
NAME = "api.example.org"


@dataclass(frozen=True)
class Request:
    """A request as it is sent. `to`: the Unix socket, loopback, or the listener with TLS for who is elsewhere."""

    method: str
    path: str
    body: Any = None
    to: str = "unix"
    show: str = ""  # what stands in Authorization
    prove: int = 0  # proofs of the agent's key that are sent
    pid: int = 100  # the peer
    headers: tuple[tuple[str, str], ...] = ()
    raw: Sequence[Mapping[str, Any]] = ()  # the messages of the body, where it is not JSON
    type: str = "http"


@dataclass
class Attests:
    """The port Attestor; processes and who is above them are made up."""

    above: dict[int, tuple[int, ...]] = field(default_factory=dict)
    confined: bool = False
    script: str = "/srv/agent/support.py"

    async def attest(self, peer: Peer) -> Facts:
        return Facts("unix", {"script": self.script})

    async def ancestors(self, peer: Peer) -> tuple[Process, ...]:
        return (peer.process, *(Process(pid, started(pid)) for pid in self.above.get(peer.process.pid, ())))

    async def is_confined(self, peer: Peer) -> bool:
        return self.confined


def started(pid: int) -> int:
    """Return when a process started: this one, or one that is made up."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) if pid == os.getpid() else 7


class Front:
    """A world with its doors, and what somebody may show there."""

    def __init__(self, rig: Rig, world: World) -> None:
        self.rig, self.world, self.holders, self.attests = rig, world, Holders(), Attests()
        self.key = Prover(lambda: rig.clock.at.timestamp())
        self.said = b""  # the body of the last answer
        self.shown: dict[str, str] = {"": "", "odd": "Basic x", "unknown": f"Bearer tbh_{'A' * 43}"}
        self.task: Task

    async def ask(self, request: Request) -> int:
        """Return the status of the answer; 0 where none was sent to its end."""
        world = replace(self.world, attestor=self.attests)
        routes = (*ROUTES, *api.ROUTES, *oauth.ROUTES)
        site = Site(registers_actors=True)
        app = application(world, self.rig.door, routes, holders=self.holders, site=site, mount={"/below": below})
        if request.to in ("tls", "plain"):
            app = claims.named(app, frozenset({NAME}))
        messages = list(request.raw) or [
            {"type": "http.request", "body": b"" if request.body is None else json.dumps(request.body).encode()}
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(0)
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(self.scope(request), receive, send)
        self.said = b"".join(message.get("body", b"") for message in sent)
        whole = bool(sent) and sent[-1]["type"] == "http.response.body" and not sent[-1].get("more_body")
        return int(sent[0]["status"]) if whole else 0

    def scope(self, request: Request) -> Any:
        scheme = "https" if request.to == "tls" else "http"
        host = NAME if request.to in ("tls", "plain") else "127.0.0.1:8440"
        path = request.path.format(task=getattr(getattr(self, "task", None), "id", ""))
        headers = [(b"host", host.encode())] if "host" not in dict(request.headers) else []
        headers += [(name.encode(), value.encode("latin-1")) for name, value in request.headers]
        if request.body is not None:
            headers.append((b"content-type", b"application/json"))
        if shown := self.shown[request.show]:
            headers.append((b"authorization", shown.encode()))
        token = shown.partition(" ")[2] if shown.lower().startswith("dpop") else None
        for _ in range(request.prove):
            url = f"{scheme}://{host.partition(':')[0]}:8440{path.partition('?')[0]}"
            headers.append((b"dpop", self.key.proof(request.method, url, token).encode()))
        extensions: dict[str, Any] = {}
        if request.to in ("unix", "gone"):
            process = Process(request.pid, started(request.pid))
            extensions[PEER] = Peer(os.geteuid(), os.getegid(), process) if request.to == "unix" else None
        return {
            "type": request.type, "method": request.method, "scheme": scheme, "headers": headers,
            "raw_path": path.encode("latin-1"), "query_string": path.partition("?")[2].encode("latin-1"),
            "server": {"tls": THERE, "plain": THERE, "named": ("localhost", 8440)}.get(request.to, HERE),
            "extensions": extensions or None,
        }  # fmt: skip


async def echo(knock: Knock) -> Response:
    answer = json_response({"asker": isinstance(knock.asker, Identity), "operator": knock.is_operator})
    answer.headers["cache-control"] = "max-age=1"
    return answer


async def breaks(knock: Knock) -> Response:
    return await echo(replace(knock, claim=None) if knock.query else knock) if not knock.body else json_response({1, 2})


async def below(scope: Any, receive: Any, send: Any, request: str, segments: tuple[str, ...]) -> None:
    await json_response({"segments": segments})(scope, receive, send)


ROUTES = (
    Route("POST", "/v1/echo/{what}", echo, Rule.OPERATOR | Rule.HANDLE | Rule.TOKEN | Rule.JOIN),
    Route("POST", "/v1/breaks", breaks, Rule.OPERATOR),
)


async def front(rig: Rig) -> Front:
    """Whoever runs this process administers; an agent has a task, with a handle and a token, and may join anew."""
    operator = f"spiffe://{rig.world.trust_domain}/human/op"
    rig.world = replace(rig.world, policies=Kept(as_if_loaded(directory("human/op"))), operator=operator)
    made = Front(rig, rig.world)
    for ask in (
        RegistrationAsk("human/op", "human/op", "operator", {"name": "human/op"}),
        RegistrationAsk("service/node", "human/op", "join_token", {}),
    ):
        await register_identity(rig.world, rig.door, rig.door, ask)
    made.task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    token = await issue_token(rig.world, rig.door, claim_of(handle), made.task.id, made.key.jkt)
    _, join, _ = await issue_join_token(rig.world, rig.door, rig.door, "service/node", timedelta(minutes=10))
    assert token is not None
    made.shown |= {"handle": f"Bearer {handle.reveal()}", "join": f"Bearer {join.reveal()}"}
    made.shown |= {"token": f"DPoP {token.reveal()}", "bearer token": f"Bearer {token.reveal()}"}
    made.shown |= {"bad token": f"DPoP {token.reveal()}x", "old token": made.shown["token"]}
    return made


async def over(rig: Rig) -> Front:
    made = await front(rig)
    await end_task(rig.world, rig.door, ALICE, made.task.id, "done")
    return made


async def confined(rig: Rig) -> Front:
    made = await front(rig)
    made.attests.confined = True
    return made


async def stranger(rig: Rig) -> Front:
    made = await front(rig)
    made.attests.script = "/srv/stranger.py"
    return made


async def held(rig: Rig) -> Front:
    """The agent's task is held by this process, and the peer runs below it."""
    made = await front(rig)
    made.holders.add(Process(os.getpid(), started(os.getpid())), made.task)
    made.attests.above[100] = (os.getpid(),)
    return made


async def held_twice(rig: Rig) -> Front:
    made = await held(rig)
    other, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    made.holders.add(Process(os.getpid(), started(os.getpid())), other)
    return made


async def nowhere(rig: Rig) -> Front:
    made = await front(rig)
    made.attests = None  # type: ignore[assignment]
    return made


def asks(*requests: Request) -> Act:
    """Return the act of requests one after the other: `permitted` when the last one is."""

    async def act(rig: Rig, made: Front) -> str:
        status = 0
        for request in requests:
            status = await made.ask(request)
        return "permitted" if 200 <= status < 300 else str(status)

    return act


def refuses(*requests: Request) -> Act:
    """Return the act of requests each of which must be refused."""

    async def act(rig: Rig, made: Front) -> str:
        for request in requests:
            if 200 <= await made.ask(request) < 300:
                return "permitted"
        return "denied"

    return act


ECHO = Request("POST", "/v1/echo/x", {})
BEAT = Request("POST", "/v1/tasks/{task}/heartbeat", {})
ENDS = Request("POST", "/v1/tasks/{task}/end", {})
OPENS = Request("POST", "/v1/tasks", {"profile": "refund-order", "set": {"order_id": "4711", "max": "5"}})
NEW = {"name": "agent/new", "owner": "human/op", "attestor": "unix", "when": {"script": "/srv/new.py"}}
ADMINISTERS = Request("POST", "/v1/identities", NEW)


def head(**headers: str) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())


BAD_REQUESTS = (
    replace(ECHO, path="/v1/%zz"), replace(ECHO, path="/v1/%ff"), replace(ECHO, path="/v1//echo"),
    replace(ECHO, path="v1/echo/x"), replace(ECHO, path="/v1/echo/%00"),
    replace(ECHO, path="/v1/echo/x?a"), replace(ECHO, path="/v1/echo/x?a=1&a=2"),
    replace(ECHO, path="/v1/echo/x?a=%ff"),
    replace(ECHO, headers=head(host="local host")), replace(ECHO, to="tcp", headers=head(host="evil.example")),
    replace(ECHO, to="tcp", headers=head(host="localhost:x"), show="handle"),
    replace(ECHO, headers=(("host", "a"), ("host", "b"))), replace(ECHO, headers=head(origin="null")),
    replace(ECHO, headers=head(origin="http://evil.example")),
    replace(ECHO, to="tls", show="token", prove=1, headers=head(origin="https://evil.example")),
    replace(ECHO, headers=head(content_length=str(BODY_LIMIT + 1))), replace(ECHO, headers=head(content_length="x")),
    replace(ECHO, raw=({"type": "http.disconnect"},)),
    replace(ECHO, raw=({"type": "http.request", "body": b"x" * BODY_LIMIT, "more_body": True},) * 2),
    replace(ECHO, raw=({"type": "http.request", "body": b"{"},)),
    replace(ECHO, body=None, raw=({"type": "http.request", "body": b"{}"},)),
    replace(ECHO, method="GET", path="/v1/identities"), replace(ECHO, method="DELETE"), replace(ECHO, path="/v1/other"),
    replace(ECHO, headers=(("dpop", "x"), ("dpop", "y")), show="join", to="tls"),
)  # fmt: skip
BAD_PROOFS = (
    replace(ECHO, show="odd"), replace(BEAT, show="unknown"), replace(ECHO, show="odd", to="tcp"),
    replace(ECHO, to="tcp"), replace(ECHO, to="gone"), replace(ECHO, show="handle", to="tls"),
    replace(ECHO, show="token"), replace(ECHO, show="bearer token", to="tcp"), replace(ECHO, show="token", to="tcp"),
    replace(ECHO, show="token", to="tcp", prove=2), replace(ECHO, show="bad token", to="tcp", prove=1),
    replace(ECHO, show="token", to="tcp", headers=head(dpop="x")), replace(ECHO, show="join", to="tls"),
    replace(ECHO, to="tls"), replace(ECHO, headers=head(taskbound_attest="magic")),
    replace(ADMINISTERS, show="token", to="tcp", prove=1), replace(ADMINISTERS, show="handle"),
    replace(ADMINISTERS, show="join"), replace(ECHO, show="join", to="plain", prove=1),
    Request("GET", "/metrics", to="tls"),
)  # fmt: skip


async def one_proof_twice(rig: Rig, made: Front) -> str:
    """Send one request twice, with one proof: a replay."""
    proof = made.key.proof("POST", "http://127.0.0.1:8440/v1/echo/x", made.shown["token"].partition(" ")[2])
    sent = replace(ECHO, show="token", to="tcp", headers=head(dpop=proof))
    first = await made.ask(sent)
    second = await made.ask(sent)
    return "permitted" if first == second == 200 else f"{first} {second}"


async def one_join_twice(rig: Rig, made: Front) -> str:
    first = await made.ask(replace(ECHO, show="join"))
    second = await made.ask(replace(ECHO, show="join"))
    return "permitted" if first == second == 200 else f"{first} {second}"


async def slow_body(rig: Rig, made: Front) -> str:
    """A body that does not come in time."""
    with patch("taskbound.edge.request.BODY_SECONDS", 0.0):
        return await asks(ECHO)(rig, made)


async def unavailable(rig: Rig, made: Front) -> str:
    """The store does not answer."""

    class Down:
        def transaction(self, opener: Identity) -> Any:
            raise StoreUnavailable("the store is down")

    made.world = replace(made.world, store=Down())
    return await asks(OPENS)(rig, made)


async def unnoted(rig: Rig, made: Front) -> str:
    """What is refused cannot be recorded, for a reason that nobody thought of."""

    async def refuse(*_: Any, **__: Any) -> None:
        raise Conflict("it cannot be recorded")

    with patch("taskbound.store.memory.MemoryTransaction.record", refuse):
        return await asks(replace(BEAT, show="unknown"))(rig, made)


async def below_a_holder(rig: Rig, made: Front) -> str:
    """Another task comes to be held; who runs below the first holder is its agent still, and not the operator."""
    other, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    with suppress(Exception):  # its answer is a 500; the process goes on
        made.holders.add(Process(1, 7), other)
    return await refuses(ADMINISTERS)(rig, made)


async def holds(rig: Rig, made: Front) -> str:
    """Hold a task; nobody else can, until who held it before a restart does not come back."""
    holders, me, other = Holders(), Process(os.getpid(), started(os.getpid())), Process(2**30, 7)
    task, _ = await open_task(rig.world, rig.door, ALICE, REFUND)
    holders.expect(other, task)  # it is gone, as the next look shows
    holders.expect(me, task)
    for who in (other, None):
        try:
            holders.add(who, task)
        except Conflict:
            continue
        return "permitted"
    holders.add(me, task)
    if not holders.remove(me, task):
        return "held"
    holders.expect(other, task)
    return "permitted" if holders.unclaimed() != [task] else "denied"


SCENARIOS: dict[str, tuple[Prepare, Act]] = {
    "permitted:enforce": (opened, enforced(REFUND_CALL, wait=False)),
    "permitted:enforce_later": (opened, enforced(READ, wait=True)),
    "completed:enforce_twice": (opened, enforced(READ, wait=True, twice=True)),
    "denied:enforce": (opened, enforced(CallAsk("crm/get_order", {"id": "1"}), wait=False)),
    "ConnectionError:enforce": (opened, enforced(READ, wait=False, fails=True)),
    "permitted:http_operator": (front, asks(ADMINISTERS)),
    "permitted:http_open": (front, asks(OPENS)),
    "permitted:http_attested": (front, asks(replace(ECHO, headers=head(taskbound_attest="unix")))),
    "permitted:http_handle": (front, asks(replace(BEAT, show="handle"))),
    "permitted:http_handle_tcp": (front, asks(replace(ENDS, show="handle", to="tcp"))),
    "permitted:http_token": (front, asks(replace(BEAT, show="token", to="tcp", prove=1))),
    "permitted:http_token_tls": (front, asks(replace(ECHO, show="token", to="tls", prove=1))),
    "permitted:http_join": (front, asks(replace(ECHO, show="join"))),
    "permitted:http_join_tcp": (front, asks(replace(ECHO, show="join", to="tcp"))),
    "permitted:http_join_key": (front, asks(replace(ECHO, show="join", to="tls", prove=1))),
    "permitted:http_open_tls": (front, asks(replace(OPENS, show="join", to="tls", prove=1))),
    "permitted:http_held": (held, asks(BEAT)),
    "permitted:http_origin": (front, asks(replace(ECHO, show="handle", to="tcp", headers=head(origin="http://[::1]")))),
    "permitted:http_page": (
        front,
        asks(replace(ECHO, show="token", to="tls", prove=1, headers=head(origin=f"https://{NAME}"))),
    ),
    "permitted:http_named": (front, asks(replace(ECHO, show="handle", to="tcp", headers=head(host="localhost")))),
    "permitted:http_public": (front, asks(Request("GET", "/healthz", to="tcp"))),
    "permitted:http_local": (front, asks(Request("GET", "/readyz", to="tcp"))),
    "permitted:http_below": (front, asks(Request("GET", "/below/x", to="tcp"))),
    "permitted:http_query": (front, asks(Request("GET", "/v1/tasks?limit=1"))),
    "0:http_lifespan": (front, asks(replace(ECHO, type="lifespan"))),
    "500:http_breaks": (front, asks(Request("POST", "/v1/breaks", {"x": 1}))),
    "401:http_nobody": (front, asks(Request("POST", "/v1/breaks?x=1"))),
    "401:http_ended": (over, asks(replace(OPENS, show="handle"))),
    "401:http_ended_token": (over, asks(replace(OPENS, show="token", to="tcp", prove=1))),
    "401:http_confined": (confined, asks(ADMINISTERS)),
    "401:http_stranger": (stranger, asks(replace(ECHO, headers=head(taskbound_attest="unix")))),
    "401:http_nowhere": (nowhere, asks(ADMINISTERS)),
    "401:http_held_twice": (held_twice, asks(BEAT)),
    "403:http_host_is_no_address": (front, asks(replace(ECHO, to="named"))),
    "408:http_slow": (front, slow_body),
    "503:http_store": (front, unavailable),
    "401:http_unnoted": (front, unnoted),
    "200 401:http_proof_twice": (front, one_proof_twice),
    "200 409:http_join_twice": (front, one_join_twice),
    "denied:http_requests": (front, refuses(*BAD_REQUESTS)),
    "denied:http_proofs": (front, refuses(*BAD_PROOFS)),
    "denied:http_below_a_holder": (held, below_a_holder),
    "denied:http_holds": (front, holds),
}
