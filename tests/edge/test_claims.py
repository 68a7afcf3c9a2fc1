"""Who is let in with a token: who has its key, once for each proof, at our address, while the task lives (T3.1, T3.2).

Served for real on loopback; what is different beyond this machine is asked of the functions, and of `up` over TLS
in tests/stories/test_off_host.py.
"""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskbound.core.errors import Refused, StoreUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Registration, identify
from taskbound.core.thing import advance
from taskbound.edge import api, claims, http, oauth, request
from taskbound.edge.claims import NAMES, Holders, Rule, claim_of
from taskbound.formats import jose
from taskbound.steps.count_denials import count_denials
from taskbound.steps.register_identity import suspend_identity
from taskbound.store.memory import MemoryTransaction
from tests.edge.doors import REFUND, Doors, served
from tests.prover import Prover, part

CHILD = {"profile": "look-up-order", "set": {"order_id": "4711"}, "budget": {"calls": 1, "leases": 0}}


class Remote:
    """A workload that has joined: its key, its task and its token."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.key = Prover(lambda: doors.rig.clock.at.timestamp())
        self.token, self.task = "", ""

    def url(self, path: str, to: str = "tcp") -> str:
        return f"http://127.0.0.1:{self.doors.api_port if to == 'tcp' else self.doors.gateway_port}{path}"

    async def join(self, life: int = 600) -> dict[str, Any]:
        """Prove itself by a join token, and open a task."""
        name = "agent/remote"
        await self.doors.ask("POST", "/v1/identities", {"name": name, "owner": "human/alice", "attestor": "join_token"})
        join = (await self.doors.ask("POST", f"/v1/identities/{name}/join", {"life_s": 600})).json["token"]
        proof = self.key.proof("POST", self.url("/v1/tasks"))
        answer = await self.doors.ask("POST", "/v1/tasks", REFUND | {"life_s": life}, to="tcp", handle=join, dpop=proof)
        assert answer.status == 201, answer.body
        self.token, self.task = answer.json["token"], answer.json["task"]
        told: dict[str, Any] = answer.json
        return told

    async def ask(self, method, path, body=None, *, to="tcp", token=None, key=None, headers=None, **proof):
        token = token or self.token
        made = (key or self.key).headers(method, self.url(path, to), token, **proof)
        made = {name.replace("-", "_"): value for name, value in (made | (headers or {})).items() if value is not None}
        return await self.doors.ask(method, path, body, to=to, **made)

    async def beat(self, **changes):
        return await self.ask("POST", f"/v1/tasks/{self.task}/heartbeat", **changes)


@pytest.fixture
async def doors():
    async with served(routes=(*api.ROUTES, *oauth.ROUTES)) as doors:
        yield doors


@pytest.fixture
async def remote(doors):
    made = Remote(doors)
    await made.join()
    return made


def refused(answer, code):
    """Whether it is the answer of RFC 9449 7.1."""
    said = (answer.status, answer.json["error"], answer.headers.get("www-authenticate"))
    return said == (401, code, f'DPoP error="{code}", algs="ES256"') or said


def recorded(doors, kind):
    return [event for event in doors.rig.store.events if event.kind is kind]


# --- from a join token to a token ------------------------------------------------------------------


async def test_who_joins_with_a_proof_gets_a_token_bound_to_its_key_and_no_bearer(doors):
    remote = Remote(doors)
    opened = await remote.join()
    assert opened["handle"] is None
    keys = (await doors.ask("GET", "/.well-known/jwks.json", to="tcp")).json["keys"]
    public = jose.point_of({name: keys[0][name] for name in ("kty", "crv", "x", "y")})
    audience = f"https://example.org/{doors.world.instance}"
    said = jose.verify_access_token(opened["token"], public, issuer="https://example.org", audience=audience)
    assert (said.task, said.jkt, said.expires - said.issued) == (opened["task"], remote.key.jkt, 300)
    assert opened["token"] not in repr(doors.rig.store.events)


async def test_who_joins_for_another_s_work_is_refused_before_there_is_a_task(doors):
    """Nobody could work in it, nor end it: the token would be refused, and the join token is used up."""
    for body in (
        {"name": "human/carol", "owner": "human/carol", "attestor": "join_token"},
        {"name": "agent/hers", "owner": "human/carol", "attestor": "unix", "when": {"uid": 4242}},
    ):
        assert (await doors.ask("POST", "/v1/identities", body)).status == 201
    for actor, status in (("agent/hers", 400), ("human/carol", 201)):
        join = (await doors.ask("POST", "/v1/identities/human/carol/join", {"life_s": 600})).json["token"]
        me = Remote(doors)
        proof = me.key.proof("POST", me.url("/v1/tasks"))
        answer = await doors.ask("POST", "/v1/tasks", REFUND | {"actor": actor}, to="tcp", handle=join, dpop=proof)
        tasks = (await doors.ask("GET", "/v1/tasks")).json["tasks"]
        assert len(tasks) == (status == 201), "a task is left that nobody can work in"
        assert answer.status == status, answer.body


async def test_a_task_opened_without_a_proof_has_a_handle_and_no_token(doors):
    opened = await doors.task()
    assert opened["handle"] and opened["token"] is None
    beat = await doors.ask("POST", f"/v1/tasks/{opened['task']}/heartbeat", handle=opened["handle"], to="tcp")
    assert set(beat.json) == {"task", "state", "deadline", "reason"}


async def test_a_join_token_is_not_used_up_by_a_proof_that_is_none(doors):
    name = "agent/remote"
    await doors.ask("POST", "/v1/identities", {"name": name, "owner": "human/alice", "attestor": "join_token"})
    join = (await doors.ask("POST", f"/v1/identities/{name}/join", {"life_s": 600})).json["token"]
    me = Remote(doors)
    other = me.key.proof("POST", me.url("/v1/other"))
    bad = await doors.ask("POST", "/v1/tasks", REFUND, to="tcp", handle=join, dpop=other)
    assert refused(bad, "invalid_dpop_proof") is True
    assert bad.json["hint"].startswith("Authorization: Bearer <join token>"), "of the step that the caller is at"
    good = await doors.ask(
        "POST", "/v1/tasks", REFUND, to="tcp", handle=join, dpop=me.key.proof("POST", me.url("/v1/tasks"))
    )
    assert good.status == 201


async def test_a_token_is_used_as_a_handle_is(remote, doors):
    task = await remote.ask("GET", f"/v1/tasks/{remote.task}")
    assert (task.status, task.json["actor"]) == (200, "agent/remote")
    child = await remote.ask("POST", "/v1/tasks", CHILD, to="gateway")
    assert (child.status, child.json["handle"]) == (201, None)
    assert (await remote.ask("GET", f"/v1/tasks/{child.json['task']}", token=child.json["token"])).status == 200
    end = await remote.ask("POST", f"/v1/tasks/{child.json['task']}/end", {}, to="gateway")
    assert end.json == {"ended": [child.json["task"]]}


async def test_a_token_that_is_fresh_is_not_replaced_so_that_beating_writes_no_event(remote, doors):
    before = len(doors.rig.store.events)
    for _ in range(3):
        assert (await remote.beat()).json["token"] is None
    assert len(doors.rig.store.events) == before


async def test_a_heartbeat_gives_another_token_so_that_a_task_may_be_longer_than_one(remote, doors):
    first = remote.token
    for _ in range(3):
        doors.rig.clock.at += timedelta(seconds=180)
        beat = await remote.beat()
        assert beat.status == 200 and beat.json["token"] not in (None, remote.token)
        remote.token = beat.json["token"]
    assert refused(await remote.beat(token=first), "invalid_token") is True
    doors.rig.clock.at += timedelta(seconds=61)  # the task's own end
    ended = await remote.beat()
    assert refused(ended, "invalid_token") is True
    assert not [event for event in recorded(doors, Kind.TOKEN_ISSUED) if event.at >= doors.rig.clock.at]


async def test_who_shows_a_token_never_administers(remote, doors):
    for method, path, body in (
        ("POST", "/v1/identities", {"name": "agent/evil", "owner": "human/alice", "attestor": "join_token"}),
        ("POST", "/v1/identities/agent/support/suspend", None),
        ("POST", "/v1/policy/load", None),
        ("GET", "/v1/events", None),
    ):
        assert (await remote.ask(method, path, body)).status == 403, path
    assert (await remote.ask("GET", "/v1/identities", to="gateway")).status == 404


# --- a proof is for one request --------------------------------------------------------------------


OTHERWISE: list[dict[str, Any]] = [
    {"htm": "GET"},
    {"htu": "http://127.0.0.1:1/v1/tasks"},
    {"htu": "https://evil.example/"},
    {"ath": "x"},
    {"ath": None},
    {"jti": None},
    {"iat": 0},
    {"iat": 2_000_000_000},
    {"iat": jose.LATEST},
    {"iat": 253_402_300_799},
    {"headers": {"dpop": None}},
    {"headers": {"dpop": ""}},
    {"headers": {"dpop": "a.b.c"}},
    {"headers": {"dpop": "x" * 9000}},
]


async def test_a_proof_of_another_request_is_refused(remote):
    for changes in OTHERWISE:
        assert refused(await remote.beat(**changes), "invalid_dpop_proof") is True, changes
        assert (await remote.beat()).status == 200, "the victim is not blocked"


async def test_a_proof_is_for_the_listener_and_not_for_what_host_says(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    port = remote.doors.gateway_port
    elsewhere = f"http://127.0.0.1:{port}{path}"  # a proof for the gateway, sent to the API in the gateway's name
    lies = await remote.ask("POST", path, htu=elsewhere, headers={"host": f"127.0.0.1:{port}"})
    assert refused(lies, "invalid_dpop_proof") is True
    for host in ("localhost", f"localhost:{port}", "[::1]"):  # decided alike, whatever it says (T4.7)
        assert (await remote.ask("POST", path, headers={"host": host})).status == 200
    assert (await remote.ask("POST", path, headers={"host": "evil.example"})).status == 403


async def test_exactly_one_proof_is_sent(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    one, two = (remote.key.headers("POST", remote.url(path), remote.token) for _ in range(2))
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nauthorization: {one['authorization']}\r\n"
    for proofs in ([one["dpop"], two["dpop"]], [one["dpop"], one["dpop"]], [f"{one['dpop']}, {two['dpop']}"]):
        lines = "".join(f"dpop: {proof}\r\n" for proof in proofs)
        answer = await doors.send(f"{head}{lines}\r\n".encode(), "tcp")
        assert refused(answer, "invalid_dpop_proof") is True
        assert answer.json["hint"].startswith("Authorization: DPoP <token>")


async def test_a_proof_works_once_on_whichever_listener(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    sent = remote.key.headers("POST", remote.url(path), remote.token, jti="again")
    assert (await doors.ask("POST", path, to="tcp", **sent)).status == 200
    for _ in range(2):
        assert refused(await doors.ask("POST", path, to="tcp", **sent), "invalid_dpop_proof") is True
    second = await remote.ask("POST", path, to="gateway", jti="again")  # the same id, in a proof for the other door
    assert refused(second, "invalid_dpop_proof") is True
    assert {event.detail["code"] for event in recorded(doors, Kind.TOKEN_REFUSED)} == {"invalid_dpop_proof"}


async def test_of_a_hundred_at_once_one_is_the_first(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    sent = remote.key.headers("POST", remote.url(path), remote.token)
    answers = await asyncio.gather(*(doors.ask("POST", path, to="tcp", **sent) for _ in range(100)))
    assert sorted(answer.status for answer in answers) == [200] + [401] * 99


async def test_the_id_of_another_s_proof_blocks_nobody(remote, doors):
    thief = Prover(remote.key.now)
    assert (await remote.beat(key=thief, jti="shared")).status == 401
    assert (await remote.beat(jti="shared")).status == 200


async def test_a_store_that_is_down_lets_nobody_in(remote, doors, monkeypatch):
    def down(opener):
        from taskbound.core.errors import StoreUnavailable

        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(doors.rig.store, "transaction", down)
    assert (await remote.beat()).status == 503


# --- a token without its key -----------------------------------------------------------------------


async def test_a_stolen_token_is_worth_nothing(remote, doors):
    thief = Prover(remote.key.now)
    for _ in range(3):
        assert refused(await remote.beat(key=thief), "invalid_token") is True
    assert refused(await remote.beat(headers={"authorization": f"Bearer {remote.token}"}), "invalid_token") is True
    assert (
        refused(await remote.beat(headers={"authorization": f"Bearer {remote.token}", "dpop": None}), "invalid_token")
        is True
    )
    event, as_bearer = recorded(doors, Kind.TOKEN_REFUSED)
    assert event.detail["code"] == "invalid_token" and event.detail["task"] == remote.task
    assert "no bearer" in as_bearer.detail["reason"]
    assert (await remote.beat()).status == 200


async def test_nothing_else_is_shown_as_a_token(remote):
    for shown in (f"DPoP tbj_{'A' * 43}.1", f"DPoP tbh_{'A' * 43}", "DPoP", "DPoP ", "DPoP x", "DPoP a.b.c d.e.f"):
        answer = await remote.beat(headers={"authorization": shown})
        assert (answer.status, answer.json["error"]) == (401, "invalid_token"), shown


async def test_the_scheme_has_no_case(remote):
    for scheme in ("dpop", "DPOP", "DPoP"):
        assert (await remote.beat(headers={"authorization": f"{scheme} {remote.token}"})).status == 200


async def test_a_token_is_not_for_the_unix_socket(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    answer = await doors.ask("POST", path, **remote.key.headers("POST", remote.url(path), remote.token))
    assert refused(answer, "invalid_token") is True


async def test_no_route_of_any_listener_lets_in_a_token_without_its_key_or_for_another_request(remote, doors):
    thief = Prover(remote.key.now)
    for to, routes in {"tcp": api.ROUTES, "gateway": api.GATEWAY_ROUTES}.items():
        for route in routes:
            if route.rule & (Rule.PUBLIC | Rule.LOCAL):
                continue
            path = route.path.replace("{id}", remote.task).replace("{kind}", "agent").replace("{name}", "support")
            body: Any = {} if route.method == "POST" else None
            other = remote.url("/v1/else", to)
            for how in ({"headers": {"dpop": None}}, {"key": thief}, {"htu": other}, {"htm": "PUT"}, {"ath": None}):
                answer = await remote.ask(route.method, path, body, to=to, **how)
                assert answer.status == 401, (route, how, answer)
    assert (await remote.beat()).status == 200


async def test_a_lease_is_for_who_is_proven_as_its_target_asks(remote, doors):
    answer = await remote.ask("POST", f"/v1/tasks/{remote.task}/leases", {"lease": "shopdb/reader"})
    assert (answer.status, doors.denials()[-1].code) == (403, "forbidden")
    assert "nhi4" in answer.json["error_description"]


# --- a token that is not ours, or not of now -------------------------------------------------------


async def minted(remote, header=None, sign="ours", **changes):
    """A token with changes, under our own key unless another is given."""
    public = (await remote.doors.world.keys.public())["token"]
    _, body, _ = remote.token.split(".")
    said = {k: v for k, v in {**json.loads(jose.decode(body)), **changes}.items() if v is not None}
    head = {"typ": "at+jwt", "alg": "ES256", "kid": jose.thumbprint(public), **(header or {})}
    signed = f"{part(head)}.{part(said)}".encode()
    if sign == "ours":
        return jose.compact(signed, await remote.doors.world.keys.sign("token", signed))
    return Prover().signed({"typ": "at+jwt", "kid": head["kid"]}, said)


ELSEWHERE: list[dict[str, Any]] = [
    {"aud": "https://example.org/abcdef"},
    {"aud": "https://example.org"},
    {"iss": "https://evil.example"},
    {"org": "other"},
    {"task": "t" + "z" * 20},
    {"client_id": "spiffe://example.org/agent/support"},
    {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    {"cnf": None},
    {"sign": "another's"},
    {"header": {"typ": "JWT"}},
    {"header": {"alg": "none"}},
    {"header": {"alg": "HS256"}},
]


async def test_a_token_of_another_place_key_or_task_is_refused(remote):
    for wrong in ELSEWHERE:
        assert refused(await remote.beat(token=await minted(remote, **wrong)), "invalid_token") is True, wrong
    assert (await remote.beat(token=await minted(remote))).status == 200  # control: unchanged it is as good


async def test_a_token_of_another_time_is_refused(remote):
    now = int(remote.doors.rig.clock.at.timestamp())
    for issued, expires in ((-300, 0), (-301, -1), (3, 303), (3600, 3900)):
        token = await minted(remote, iat=now + issued, exp=now + expires)
        assert refused(await remote.beat(token=token), "invalid_token") is True, issued


# --- what is refused before anybody is known is on record, and nothing of it -----------------------


TWICE = '{"canary":1,"canary":2}'


async def shown_wrongly(remote, doors):
    """Yield what is shown, its sort, the code of its refusal, and a word of the reason."""
    url = remote.url(f"/v1/tasks/{remote.task}/heartbeat")
    for wrong, word in (
        ({"aud": "https://example.org/abcdef"}, "another audience"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"sign": "another's"}, "not signed"),
        ({"header": {"alg": "none"}}, "alg"),
        ({"header": {"typ": "JWT"}}, "typ"),
        ({"header": {"kid": "of-nobody"}}, "kid"),
        ({"canary-member": 1}, "other claims"),
    ):
        token = await minted(remote, **wrong)
        yield remote.key.headers("POST", url, token), "a token", "invalid_token", word
    yield {"authorization": f"DPoP {remote.token}"}, "a token", "invalid_dpop_proof", "0 proofs"
    forged = remote.key.headers("POST", url, remote.token, htu="https://evil.example/")
    yield forged, "a token", "invalid_dpop_proof", "another address"
    head, _, signature = remote.token.split(".")
    twice = f"{head}.{part(TWICE)}.{signature}"
    yield remote.key.headers("POST", url, twice), "a token", "invalid_token", "malformed"
    yield {"authorization": f"Bearer tbh_{'canary' * 7}A"}, "a task handle", "invalid_token", "unknown"
    yield {"authorization": f"Bearer tbj_{'canary' * 7}A.1"}, "a join token", "invalid_token", ""
    yield {"authorization": "Basic canary"}, "an authorization", "invalid_token", "no task handle"


async def test_what_is_refused_at_a_door_is_on_record_and_nothing_of_it(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    n = 0
    async for headers, sort, code, word in shown_wrongly(remote, doors):
        doors.rig.clock.at += timedelta(seconds=1)  # what equals it within a second is counted
        answer = await doors.ask("POST", "/v1/tasks" if "join" in sort else path, to="tcp", **headers)
        assert (answer.status, answer.json["error"]) == (401, code), headers
        n += 1
        assert len(recorded(doors, Kind.TOKEN_REFUSED)) == n, headers
        event = recorded(doors, Kind.TOKEN_REFUSED)[-1]
        assert (event.id, event.request) == (answer.json["request"],) * 2
        assert event.by == event.via == "spiffe://example.org/taskbound/door/api"
        assert (event.detail["shown"], event.detail["code"]) == (sort, code), headers
        assert word in event.detail["reason"] and event.value is None
        said = repr(event)
        assert "canary" not in said
        for secret in (*headers["authorization"].split()[1].split("."), headers.get("dpop", "none")):
            assert len(secret) < 12 or secret[:12] not in said, headers


async def test_a_flood_of_what_nobody_knows_is_two_events_a_second(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    before = len(doors.rig.store.events)

    async def knock(n):
        handle = f"tbh_{n:043d}"
        assert (await doors.ask("POST", path, to="tcp", handle=handle)).status == 401

    await asyncio.gather(*(knock(n) for n in range(50)))
    for n in range(50, 60):
        await knock(n)
    assert len(doors.rig.store.events) == before + 1
    doors.rig.clock.at += timedelta(seconds=1)
    assert await count_denials(doors.world, doors.rig.lane) == 1
    first, counted = doors.rig.store.events[before:]
    assert first.kind is counted.kind is Kind.TOKEN_REFUSED and first.id == counted.id
    assert (counted.detail["count"], counted.detail["shown"]) == (59, "a task handle")
    await knock(61)
    assert len(doors.rig.store.events) == before + 3
    for _ in range(3):  # each door and each sort has its own
        await doors.ask("POST", path, to="gateway", handle=f"tbh_{'z' * 43}")
        await doors.ask("POST", "/v1/tasks", to="tcp", handle=f"tbj_{'z' * 43}.1")
    assert len(doors.rig.store.events) == before + 5


async def test_a_flood_hides_no_refusal_that_has_another_reason(remote, doors):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    for _ in range(3):
        await doors.ask("POST", path, to="tcp", handle=f"tbh_{'z' * 43}")
    handle = (await doors.ask("POST", "/v1/tasks", REFUND | {"actor": "agent/support"})).json["handle"]
    await doors.ask("POST", "/v1/identities/agent/support/suspend")
    before = len(recorded(doors, Kind.TOKEN_REFUSED))
    assert (await doors.ask("POST", path, to="tcp", handle=handle)).status == 401
    (event,) = recorded(doors, Kind.TOKEN_REFUSED)[before:]
    assert "agent/support is suspended" in event.detail["reason"]


async def test_a_flood_holds_one_transaction_of_the_store(remote, doors, monkeypatch):
    transaction, opened = doors.world.store.transaction, 0

    @asynccontextmanager
    async def slow(opener):
        nonlocal opened
        opened += 1
        await asyncio.sleep(0.2)
        async with transaction(opener) as tx:
            yield tx

    monkeypatch.setattr(doors.world.store, "transaction", slow)
    wrong = {"authorization": "Basic canary"}
    path = f"/v1/tasks/{remote.task}/heartbeat"
    answers = await asyncio.gather(*(doors.ask("POST", path, to="tcp", **wrong) for _ in range(20)))
    assert {answer.status for answer in answers} == {401} and opened == 1
    monkeypatch.undo()
    doors.rig.clock.at += timedelta(seconds=1)
    assert await count_denials(doors.world, doors.rig.lane) == 1
    assert recorded(doors, Kind.TOKEN_REFUSED)[-1].detail["count"] == 19


async def test_who_shows_nothing_and_who_is_let_in_leave_no_refusal(remote, doors):
    assert (await doors.ask("GET", "/v1/tasks", to="tcp")).status == 401
    assert (await remote.beat()).status == 200
    assert (await doors.ask("GET", "/healthz", to="tcp", handle=f"tbh_{'z' * 43}")).status == 200
    assert recorded(doors, Kind.TOKEN_REFUSED) == []


async def test_what_cannot_be_recorded_is_refused_all_the_same_and_recorded_the_next_time(remote, doors, monkeypatch):
    path = f"/v1/tasks/{remote.task}/heartbeat"
    wrong = {"authorization": "Basic canary"}

    async def full(*_, **__):
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryTransaction, "record", full)
        assert (await doors.ask("POST", path, to="tcp", **wrong)).status == 401
    assert recorded(doors, Kind.TOKEN_REFUSED) == [] and not doors.world.denials
    assert (await doors.ask("POST", path, to="tcp", **wrong)).status == 401
    assert len(recorded(doors, Kind.TOKEN_REFUSED)) == 1


# --- who may no longer act -------------------------------------------------------------------------


async def test_the_token_of_an_ended_task_is_refused_and_the_call_recorded(remote, doors):
    assert (await doors.ask("POST", f"/v1/tasks/{remote.task}/end", {})).status == 200
    for path in ("/v1/tasks", f"/v1/tasks/{remote.task}/leases"):
        body = CHILD if path == "/v1/tasks" else {"lease": "shopdb/reader"}
        answer = await remote.ask("POST", path, body)
        assert refused(answer, "invalid_token") is True and "ended" in answer.json["error_description"]
    assert refused(await remote.beat(), "invalid_token") is True
    denials = doors.denials()
    assert len(denials) == 3 and {call.code for call in denials} == {"task_ended"}
    assert {call.task for call in denials} == {remote.task}


async def test_a_suspended_owner_or_actor_and_a_retired_one_are_let_in_no_more(doors):
    for who, step in (("human/alice", "suspend"), ("agent/remote", "suspend"), ("agent/remote", "retire")):
        async with served(routes=(*api.ROUTES, *oauth.ROUTES)) as fresh:
            remote = Remote(fresh)
            await remote.join()
            if step == "suspend":
                await suspend_identity(fresh.world, fresh.rig.door, fresh.rig.door, who)
            else:
                async with fresh.rig.store.transaction(fresh.rig.door) as tx:
                    (known,) = await tx.find(Registration, spiffe_id=f"spiffe://example.org/{who}")
                    await tx.record(Kind.IDENTITY_RETIRED, advance(known, Kind.IDENTITY_RETIRED))
            assert refused(await remote.beat(), "invalid_token") is True, (who, step)


# --- beyond this machine ---------------------------------------------------------------------------


def scope(server="10.0.0.5", scheme="https", names=("api.example.org",), host="api.example.org", **headers):
    made = {"host": host, **headers}
    return {
        "type": "http", "method": "POST", "scheme": scheme, "server": (server, 8440), "raw_path": b"/v1/tasks",
        "extensions": {} if names is None else {NAMES: frozenset(names)},
        "headers": [(name.encode(), value.encode()) for name, value in made.items() if value is not None],
    }  # fmt: skip


JOIN = f"Bearer tbj_{'A' * 43}.1900000000"
URL = "https://api.example.org:8440/v1/tasks"
ADDRESS, PLAIN = "https://10.0.0.5:8440/v1/tasks", "http://api.example.org:8440/v1/tasks"


@pytest.mark.parametrize(
    ("what", "good"),
    [
        (scope(authorization=JOIN, dpop=Prover().proof("POST", URL)), True),
        (scope(authorization=JOIN, dpop=Prover().proof("POST", ADDRESS)), True),
        (scope(authorization=JOIN), False),
        (scope(authorization=JOIN, dpop=Prover().proof("POST", URL, "a token")), False),
        (scope(authorization=JOIN, dpop=Prover().proof("POST", URL), names=()), False),
        (scope(authorization=JOIN, dpop=Prover().proof("POST", URL), names=None), False),
        (scope(authorization=JOIN, dpop=Prover().proof("POST", PLAIN), scheme="http"), False),
        (scope(authorization="Bearer tbh_" + "A" * 43), False),
        (scope(authorization="Bearer tbh_" + "A" * 43, dpop=Prover().proof("POST", URL)), False),
    ],
)  # fmt: skip
async def test_beyond_this_machine_a_join_token_needs_tls_and_a_proof_and_a_handle_is_none(doors, what, good):
    if good:
        claim = await claim_of(what, doors.world, Holders())
        assert claim is not None and claim.key and len(claim.spend) == 2
    else:
        with pytest.raises(Refused):
            await claim_of(what, doors.world, Holders())


async def test_beyond_this_machine_nobody_is_the_operator(doors):
    assert await claim_of(scope(), doors.world, Holders()) is None


@pytest.mark.parametrize(
    ("what", "good"),
    [
        (scope(), True),
        (scope(host="API.example.org:1"), True),
        (scope(host="10.0.0.5:8440"), True),
        (scope(names=("*.example.org",)), True),
        (scope(names=(), host="[2001:db8::1]:8440", server="2001:db8::1"), True),
        (scope(host="localhost"), False),
        (scope(host="127.0.0.1"), False),
        (scope(host="evil.example"), False),
        (scope(host="api.example.org.evil.example"), False),
        (scope(host="x.api.example.org"), False),
        (scope(host="example.org", names=("*.example.org",)), False),
        (scope(host="a.b.example.org", names=("*.example.org",)), False),
        (scope(host="10.0.0.6"), False),
        (scope(host="api.example.org:x"), False),
        (scope(host="api.example.org@evil.example"), False),
        (scope(names=None), False),
        (scope(origin="https://api.example.org"), True),
        (scope(origin="https://evil.example"), False),
        (scope(origin="http://localhost:3000"), False),
        (scope(origin="null"), False),
    ],
)
def test_beyond_this_machine_a_listener_answers_to_the_names_in_its_certificate(what, good):
    if good:
        request.require_local(what)
    else:
        with pytest.raises(Refused):
            request.require_local(what)


async def test_beyond_this_machine_nobody_is_told_how_it_is(doors, monkeypatch):
    asked = {"/metrics": 401, "/readyz": 401, "/healthz": 200}
    assert {path: (await doors.ask("GET", path, to="tcp")).status for path in asked} == dict.fromkeys(asked, 200)
    monkeypatch.setattr(claims, "_is_loopback", lambda host: False)  # the same listener, reached from elsewhere
    monkeypatch.setattr(http, "require_local", lambda scope: None)
    for path, status in asked.items():
        assert (await doors.ask("GET", path, to="tcp")).status == status, f"{path} beyond this machine"


# --- controls: with a check switched off, what it is for gets through ------------------------------


async def test_control_without_the_key_s_check_a_stolen_token_works(remote, monkeypatch):
    def careless(claim, registration, task, act):
        return identify(replace(claim, key=claim.token.key) if claim.token else claim, registration, task, act)

    monkeypatch.setattr("taskbound.prove.identify", careless)
    assert (await remote.beat(key=Prover(remote.key.now))).status == 200


async def test_control_without_the_proof_s_use_it_works_again(remote, doors, monkeypatch):
    real = claims._proven
    monkeypatch.setattr(claims, "_proven", lambda claim, scope, token: replace(real(claim, scope, token), spend=()))
    path = f"/v1/tasks/{remote.task}/heartbeat"
    sent = remote.key.headers("POST", remote.url(path), remote.token)
    assert [(await doors.ask("POST", path, to="tcp", **sent)).status for _ in range(2)] == [200, 200]


async def test_control_without_the_audience_a_token_of_another_place_works(remote, monkeypatch):
    monkeypatch.setattr(claims, "audience_of", lambda world: "https://example.org/abcdef")
    assert (await remote.beat(token=await minted(remote, aud="https://example.org/abcdef"))).status == 200


def test_every_rule_has_a_name_for_who_is_let_in():
    assert {rule.name for rule in Rule} == {"PUBLIC", "LOCAL", "OPERATOR", "HANDLE", "TOKEN", "JOIN"}
