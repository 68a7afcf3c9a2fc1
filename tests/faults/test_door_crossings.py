"""A fault before or after each crossing of a door: of who asks (`Attestor`), and of an upstream's list and its end.

What test_crash does not cross: `Attestor.ancestors`, `is_confined` and `attest` for each request over the Unix socket,
`Upstream.tools` and `Upstream.close` behind the gateway and behind the command that pins. Every crossing fails once
before and once after its effect, by a crash, by the error that the port has and by one that it has not. Nobody is let
in, nothing goes out that is not on record, who asked is told what is wrong, and asked again it is as without a fault.
Each has a control: a door that goes on without an answer is found out.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx2
import pytest

from taskbound.core.call import Call
from taskbound.core.errors import TaskboundError, Unauthenticated, UpstreamUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts
from taskbound.edge import api, claims, gateway, http
from taskbound.edge.claims import Holders
from taskbound.edge.gateway.offers import Offers
from taskbound.edge.gateway.sessions import UpstreamSessions
from taskbound.edge.http import application
from taskbound.steps.end_task import end_task
from taskbound.steps.open_task import open_task
from tests.faults.failing import AWAY, Failing
from tests.faults.knocks import ADMINISTERS, ECHO, Front, Request, front, head, held
from tests.faults.loads import FIND, Directory
from tests.faults.scenarios import Prepare
from tests.logs import Counted
from tests.notes import note
from tests.rig import ALICE, Crash, Crossings, Rig
from tests.stories.story import REFUND

SIDES = pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
Verdict = tuple[str, bool, bool]  # the crossing; whether nothing was given and it was told; if it came right later


def is_told(status: int, said: bytes, error: BaseException) -> bool:
    """Whether an answer is the refusal that an error is: with its code, what to do, and no word of a foreign one."""
    told = json.loads(said)
    if isinstance(error, TaskboundError):
        return (status, told.get("error")) == (error.status, error.code) and bool(told["hint"])
    return (status, told.get("error")) == (500, "internal") and bool(told["hint"]) and AWAY not in said.decode()


# --- who asks ----------------------------------------------------------------------------------------

# What is asked, what comes out without a fault, and which fact is stated by it.
KNOCKS: dict[str, tuple[Prepare, Request, int, Kind | None]] = {
    "a workload": (front, replace(ECHO, headers=head(taskbound_attest="unix")), 200, Kind.IDENTITY_ATTESTED),
    "the operator": (front, ADMINISTERS, 201, Kind.IDENTITY_REGISTERED),
    "an agent below a holder": (held, ADMINISTERS, 403, None),
}
UNPROVEN = (Crash, Unauthenticated, OSError)


async def knocks(knock: str, after: bool) -> list[Verdict]:
    """Return, per crossing and fault, whether nobody was let in and nothing stated, and if the next try is right."""
    prepare, request, status, kind = KNOCKS[knock]
    seen: list[Verdict] = []
    for error in UNPROVEN:
        for crossing in count(1):
            rig = Rig()
            await rig.people()
            made: Front = await prepare(rig)
            attests: Any = made.attests
            crossings = Failing(crash_at=crossing, after=after, error=error(AWAY))
            made.attests = Counted("attestor", attests, crossings)  # type: ignore[assignment]
            before = len(rig.store.events)
            refused = False
            try:
                refused = is_told(await made.ask(request), made.said, crossings.error)
            except Crash:
                refused = True  # nobody was told anything
            if not crossings.has_failed:
                break
            stated = [event.kind for event in rig.store.events[before:] if event.kind is not Kind.TOKEN_REFUSED]
            made.attests = attests
            before = len(rig.store.events)
            again = await made.ask(request)
            facts = [event.kind for event in rig.store.events[before:]]
            right = again == status and facts.count(kind) == bool(kind)
            seen.append((crossings.names[-1], refused and stated == [], right))
            rig.check()
    return seen


CROSSED = {"a workload": 3, "the operator": 2, "an agent below a holder": 1}


@SIDES
@pytest.mark.parametrize("knock", KNOCKS)
async def test_who_cannot_be_proven_is_let_in_as_nobody(knock, after):
    seen = await knocks(knock, after)
    names = ["attestor.ancestors", "attestor.is_confined", "attestor.attest"][: CROSSED[knock]]
    note(f"{len(seen)} crossings: {', '.join(f'{len(UNPROVEN)} × {name}' for name in names)}")
    assert Counter(name for name, *_ in seen) == dict.fromkeys(names, len(UNPROVEN))
    assert [verdict for verdict in seen if verdict[1:] != (True, True)] == []


@pytest.mark.parametrize("knock", KNOCKS)
async def test_control_a_door_that_takes_a_peer_for_whom_it_likes_is_found_out(knock, monkeypatch):
    """It goes on with whoever that is by its uid when the attestor breaks."""
    original = claims.claim_of

    async def lenient(scope, world, holders):
        try:
            return await original(scope, world, holders)
        except Exception:
            attested = any(name == b"taskbound-attest" for name, _ in scope["headers"])
            script = Facts("unix", {"script": "/srv/agent/support.py"})
            return Claim("main", facts=script if attested else Facts("operator", {"name": "human/op"}))

    monkeypatch.setattr(http, "claim_of", lenient)
    found = [name for name, refused, _ in await knocks(knock, False) if not refused]
    assert len(found) == CROSSED[knock] * (len(UNPROVEN) - 1), "a crash is no answer"


# --- upstreams, behind the gateway -------------------------------------------------------------------

UNREACHED = (Crash, UpstreamUnavailable, OSError)
READ = {
    "jsonrpc": "2.0", "id": 1, "method": "tools/call",
    "params": {"name": "get_order", "arguments": {"id": "4711"}},
}  # fmt: skip
STOPS = 5.0  # seconds in which a gateway must stop


class Crm:
    """A session with an upstream; every method is a crossing."""

    def __init__(self, offered: list[Any], crossings: Crossings) -> None:
        self.offered, self.reached, self.closes = offered, 0, 0
        self._crossings = crossings

    async def tools(self, credential=None):
        self._crossings.before("upstream.tools")
        self._crossings.done()
        return self.offered

    async def call(self, tool, arguments, credential):
        self._crossings.before("upstream.call")
        self.reached += 1
        self._crossings.done()
        yield {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "4711"}]}}

    async def close(self):
        self.closes += 1
        self._crossings.before("upstream.close")
        self._crossings.done()


def upstream(offered: list[Any], crossings: Crossings) -> tuple[list[Crm], Callable[[], Any]]:
    """Return the sessions that were opened with an upstream, and what opens one."""
    sessions: list[Crm] = []

    def connect() -> Crm:
        sessions.append(Crm(offered, crossings))
        return sessions[-1]

    return sessions, connect


@dataclass
class Served:
    """A gateway in front of one upstream, its sessions with it, and a task."""

    rig: Rig
    sessions: list[Crm]
    handle: str
    task: str
    gate: gateway.Gateway

    def restart(self) -> None:
        """The process died: what it knew is gone."""
        self.gate = gateway.application(self.rig.world, self.rig.door, Holders())

    async def call(self) -> dict[str, Any]:
        """Return what the client is told."""
        doors = application(
            self.rig.world, self.rig.door, api.GATEWAY_ROUTES, holders=Holders(), mount={"/mcp": self.gate}
        )
        ours = httpx2.ASGITransport(app=doors)
        sent = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {self.handle}"}
        async with httpx2.AsyncClient(transport=ours, base_url="http://127.0.0.1:8440", verify=False) as client:
            answer = await client.post("/mcp/crm", json=READ, headers=sent)
        told: dict[str, Any] = answer.json()
        return told

    @property
    def reached(self) -> int:
        return sum(session.reached for session in self.sessions)

    async def permitted(self) -> int:
        async with self.rig.store.transaction(self.rig.lane) as tx:
            return len([one for one in await tx.find(Call) if one.state in ("permitted", "completed")])


async def served(crossings: Crossings) -> Served:
    rig = Rig()
    await rig.people()
    offered = [dict(tool.definition) for tool in rig.world.policies.current.tools.values() if tool.upstream == "crm"]
    sessions, connect = upstream(offered, crossings)
    rig.world = replace(rig.world, upstreams={"crm": connect})
    task, handle = await open_task(rig.world, rig.door, ALICE, REFUND)
    made = Served(rig, sessions, handle.reveal(), task.id, gateway.application(rig.world, rig.door, Holders()))
    return made


def is_answer(told: dict[str, Any]) -> bool:
    return bool(told.get("result", {}).get("content") == [{"type": "text", "text": "4711"}])


def is_failure(told: dict[str, Any], error: BaseException) -> bool:
    """Whether the client is told that it failed, with a code and what to do."""
    if isinstance(error, UpstreamUnavailable):
        failure = told["result"].get("_meta", {}).get("io.taskbound/failure", {})
        return told["result"]["isError"] is True and failure.get("code") == error.code and bool(failure.get("hint"))
    return told.get("error") == "internal" and bool(told["hint"]) and AWAY not in str(told)


async def calls(after: bool) -> list[Verdict]:
    """Two calls, the end of the task and of its sessions, and a call too many.

    Return, per crossing and fault, whether what went out was on record and the failure told, and whether the rest
    went as it should: the next call was made, no session is left, and after the end nothing goes out.
    """
    seen: list[Verdict] = []
    for error in UNREACHED:
        for crossing in count(1):
            crossings = Failing(crash_at=crossing, after=after, error=error(AWAY))
            made = await served(crossings)
            honest, right = True, True
            for _ in range(2):
                failed, reached = crossings.has_failed, made.reached
                try:
                    told = await made.call()
                except Crash:
                    told = {}
                if crossings.has_failed and not failed:  # in this one
                    name = crossings.names[-1]
                    honest = is_failure(told, crossings.error) if error is not Crash else told == {}
                    honest = honest and made.reached - reached == (name == "upstream.call" and after)
                    if error is Crash:
                        made.restart()
                    told = await made.call()
                right = right and is_answer(told)
                honest = honest and made.reached <= await made.permitted()
            await made.gate.outcomes.drained()
            await end_task(made.rig.world, made.rig.door, ALICE, made.task, "done")
            await made.gate.close_task(made.task)
            while made.gate._upstreams._closing:  # noqa: ASYNC110
                await asyncio.sleep(0)
            reached = made.reached
            right = right and not made.gate._upstreams and made.sessions[-1].closes == 1
            told = await made.call()
            right = right and "task_ended" in str(told) and made.reached == reached
            await asyncio.wait_for(made.gate.close(), STOPS)
            if not crossings.has_failed:
                assert honest and right, "the story is another"
                break
            seen.append((crossings.names[crossing - 1], honest, right))
            made.rig.check()
    return seen


@SIDES
async def test_an_upstream_that_fails_gets_no_call_that_is_not_on_record_and_keeps_no_session(after):
    seen = await calls(after)
    crossed = Counter(name for name, *_ in seen)
    note(f"{len(seen)} crossings: {', '.join(f'{n} × {name}' for name, n in crossed.items())}")
    assert crossed == {"upstream.tools": 6, "upstream.call": 6, "upstream.close": 3}
    assert [verdict for verdict in seen if verdict[1:] != (True, True)] == []


async def test_what_is_logged_of_a_failure_shows_no_handle(capsys):
    made = await served(Failing(crash_at=1, error=OSError(AWAY)))
    assert is_failure(await made.call(), OSError(AWAY))
    logged = capsys.readouterr().out
    assert "request failed" in logged and AWAY in logged and made.handle not in logged


async def test_control_a_gateway_that_calls_what_it_has_not_seen_offered_is_found_out(monkeypatch):
    original = Offers.look

    async def lenient(self, session, upstream, door, claim):
        try:
            return await original(self, session, upstream, door, claim)
        except Exception:
            return {tool.name: tool.pin for tool in self._world.policies.current.tools.values()}

    monkeypatch.setattr(Offers, "look", lenient)
    found = Counter(name for name, honest, _ in await calls(False) if not honest)
    assert found == {"upstream.tools": 2 * (len(UNREACHED) - 1)}


async def test_control_a_session_that_is_forgotten_only_once_it_is_closed_is_found_out(monkeypatch):
    def keeps(self, key):
        async def closing():
            await self._open[key].upstream.close()
            del self._open[key]

        task = asyncio.create_task(closing())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        task.add_done_callback(lambda task: task.exception())

    monkeypatch.setattr(UpstreamSessions, "_close", keeps)
    monkeypatch.setattr(UpstreamSessions, "close", never)
    assert {name for name, _, right in await calls(False) if not right} == {"upstream.close"}


async def never(self):
    """The end of the process, of which this control is not."""


# --- upstreams, behind the command that pins ---------------------------------------------------------

PIN = Request("POST", "/v1/tools/crm/pin", {"write": True})


async def pins(after: bool) -> list[Verdict]:
    """Return, per crossing and fault, whether nothing was pinned and it was told, and whether the next try pins."""
    seen: list[Verdict] = []
    for error in UNREACHED:
        for crossing in count(1):
            rig = Rig()
            await rig.people()
            made = await front(rig)
            kept = Directory("human/op")
            offered = [dict(tool.definition) for tool in kept.tools("crm").values()] + [FIND]
            crossings = Failing(crash_at=crossing, after=after, error=error(AWAY))
            sessions, connect = upstream(offered, crossings)
            made.world = replace(made.world, policies=kept, upstreams={"crm": connect})
            before, events, files = kept.current, len(rig.store.events), dict(kept.files)
            refused = False
            try:
                refused = is_told(await made.ask(PIN), made.said, crossings.error)
            except Crash:
                refused = True
            if not crossings.has_failed:
                assert "crm/find_order" in kept.current.tools
                break
            same = (kept.current, len(rig.store.events), kept.files) == (before, events, files)
            closed = [session.closes for session in sessions] == [1]
            again = await made.ask(PIN)
            pinned = [event.id for event in rig.store.events if event.kind is Kind.TOOL_PINNED]
            right = again == 200 and pinned == ["crm/find_order"] and "crm/find_order" in kept.current.tools
            seen.append((crossings.names[crossing - 1], refused and same and closed, right))
            rig.check()
    return seen


@SIDES
async def test_an_upstream_that_fails_while_it_is_pinned_changes_nothing(after):
    seen = await pins(after)
    assert Counter(name for name, *_ in seen) == dict.fromkeys(["upstream.tools", "upstream.close"], len(UNREACHED))
    assert [verdict for verdict in seen if verdict[1:] != (True, True)] == []


async def test_control_a_list_that_is_the_last_one_when_it_fails_is_found_out(monkeypatch):
    original = Crm.tools

    async def lenient(self, credential=None):
        try:
            return await original(self, credential)
        except Exception:
            return self.offered

    monkeypatch.setattr(Crm, "tools", lenient)
    assert {name for name, refused, _ in await pins(False) if not refused} == {"upstream.tools"}
