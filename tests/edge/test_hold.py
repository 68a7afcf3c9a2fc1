"""Holding a task, and who is above a peer: real processes of an unprivileged user, the operator (INTERFACES 10)."""

import asyncio
import ctypes
import functools
import json
import os
import signal
import socket
import time
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from taskbound.app.up import _expect
from taskbound.core.errors import Conflict, StoreUnavailable, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Process, door
from taskbound.core.task import Heartbeat, Task
from taskbound.core.thing import advance
from taskbound.edge import api
from taskbound.edge.api.hold import end_gone
from taskbound.edge.claims import Holders, started_of
from taskbound.ending import suspend_tree
from taskbound.steps.hold_task import LOST, lose_holder
from tests.contracts.store import task
from tests.edge.doors import REFUND, served
from tests.notes import note

NOBODY = 65534
PR_SET_CHILD_SUBREAPER = 36
BODY = REFUND | {"actor": "agent/support"}


def as_nobody(test):
    """Run the test in a process of its own that is not root's, and is the operator of the world it serves."""

    @functools.wraps(test)
    def forked(*args, **kwargs):
        asyncio.run(_once_as_root())
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            told = b"ok"
            try:
                if os.getuid() == 0:
                    os.setgroups([])
                    os.setresgid(NOBODY, NOBODY, NOBODY)
                    os.setresuid(NOBODY, NOBODY, NOBODY)
                assert os.getuid() != 0
                asyncio.run(test(*args, **kwargs))
            except BaseException:
                told = traceback.format_exc().encode()
            os.write(writing, told[-60_000:])
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read()
        os.waitpid(pid, 0)
        assert told == b"ok", told.decode() or "the process died"

    return forked


async def _once_as_root() -> None:
    """Load all that is loaded at first use: an interpreter below root's home is out of reach afterwards."""
    async with served() as doors:
        await doors.ask("POST", "/v1/policy/load")


def request(unix: str, method: str, path: str, body: object = None, *lines: str) -> socket.socket:
    """Send a request as this process; return the connection."""
    data = json.dumps(body).encode() if body is not None else b""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(unix)
    head = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json", *lines]
    connection.sendall("\r\n".join([*head, f"content-length: {len(data)}", "", ""]).encode() + data)
    return connection


def whole(connection: socket.socket) -> tuple[int, Any]:
    with connection, connection.makefile("rb") as answer:
        status, size = int(answer.readline().split()[1]), 0
        while line := answer.readline().strip():
            if line.startswith(b"content-length:"):
                size = int(line.split()[1])
        return status, json.loads(answer.read(size))


def first_line(connection: socket.socket) -> Any:
    """Return the first line of a stream, without its framing."""
    read = b""
    while b"}\n" not in read:
        if not (more := connection.recv(65_536)):
            raise AssertionError(read)
        read += more
    return json.loads(read[read.index(b'{"') : read.index(b"}\n") + 1])


@dataclass
class Holder:
    pid: int
    task: Any
    orders: int
    answers: int

    async def below(self, method: str, path: str, body: object = None, *lines: str) -> tuple[int, Any]:
        """Ask as a grandchild of the holder, after its own parent is gone."""
        os.write(self.orders, json.dumps([method, path, body, *lines]).encode() + b"\n")
        status, told = json.loads(await asyncio.to_thread(os.read, self.answers, 1 << 20))
        return status, told


@asynccontextmanager
async def holding(doors, **body):
    """A process that holds a task, as `run` does, and starts others when it is told to."""
    taken, orders = os.pipe()
    answers, answer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            _be_a_holder(doors.unix, taken, answer, BODY | body | {"hold": True})
        except BaseException:
            os.write(answer, json.dumps({"trouble": traceback.format_exc()}).encode())
        os._exit(1)
    opened = json.loads(await asyncio.to_thread(os.read, answers, 1 << 20))
    assert "trouble" not in opened, opened["trouble"]
    try:
        yield Holder(pid, opened, orders, answers)
    finally:
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, pid, 0)


def _be_a_holder(unix: str, taken: int, answer: int, body: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    holder = os.getpid()
    held = request(unix, "POST", "/v1/tasks", body)
    os.write(answer, json.dumps(first_line(held)).encode())
    with open(taken, "rb", buffering=0) as orders:
        for line in orders:
            if (child := os.fork()) == 0:
                held.close()  # as exec does
                if os.fork() == 0:
                    while os.getppid() != holder:
                        time.sleep(0.002)
                    method, path, asked, *lines = json.loads(line)
                    told = whole(request(unix, method, path, asked, *lines))
                    os.write(answer, json.dumps(told).encode())
                os._exit(0)
            os.waitpid(child, 0)


async def ended(doors, id: str, within: float) -> Any:
    """Wait until the task ended; return the reason."""
    async with asyncio.timeout(within):
        while doors.rig.store.things["main", "task", id].state != "ended":  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.001)
    return doors.rig.store.things["main", "task", id].reason


# --- a held task -----------------------------------------------------------------------------------


@as_nobody
async def test_a_task_ends_at_once_when_its_holder_is_killed():
    """In how many ms is noted, and no bound: no beat of the clock is waited for, and the first wait is 6 s long."""
    async with served() as doors:
        worst = 0.0
        for _ in range(5):
            async with holding(doors) as holder:
                await asyncio.sleep(0.05)
                assert doors.rig.store.things["main", "task", holder.task["task"]].state == "open"
                begun = time.monotonic()
                os.kill(holder.pid, signal.SIGKILL)
                assert await ended(doors, holder.task["task"], 3) == "holder gone"
                worst = max(worst, time.monotonic() - begun)
        note(f"a killed holder's task ended within {worst * 1000:.0f} ms, the worst of five")


async def read_line(reader) -> Any:
    async with asyncio.timeout(2):
        size = int(await reader.readline(), 16)
        line = await reader.readexactly(size + 2)
        return json.loads(line)


async def hold(doors, method="POST", path="/v1/tasks", body=None, to="unix", handle=""):
    reader, writer = await doors.connect(to)
    data = json.dumps(body).encode() if body else b""
    shown = f"authorization: Bearer {handle}\r\n" if handle else ""
    kind = "content-type: application/json\r\n"
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}{shown}".encode())
    writer.write(f"content-length: {len(data)}\r\n\r\n".encode() + data)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return int(head.split()[1]), head, reader, writer


async def test_what_happens_to_a_held_task_is_told_line_by_line():
    async with served() as doors:
        status, head, reader, writer = await hold(doors, body=BODY | {"hold": True})
        first = await read_line(reader)
        assert (status, "application/x-ndjson" in head, first["state"]) == (201, True, "open")
        assert first.keys() == {"task", "state", "deadline", "grants", "handle", "token", "heartbeat", "gateway"}
        await doors.ask("POST", f"/v1/tasks/{first['task']}/end", {"reason": "enough"})
        assert await read_line(reader) == {
            "task": first["task"],
            "state": "ended",
            "deadline": first["deadline"],
            "reason": "enough",
        }
        assert await reader.readline() == b"0\r\n"  # and then it is over
        writer.close()


async def test_no_connection_holds_a_task_where_the_kernel_does_not_say_whose_it_is():
    async with served() as doors:
        opened = await doors.task()
        before = len(doors.rig.store.events)
        path = f"/v1/tasks/{opened['task']}/hold"
        answer = await doors.ask("GET", path, to="tcp", handle=opened["handle"])
        assert (answer.status, answer.json["error"]) == (400, "unsupported")
        assert "/heartbeat" in answer.json["hint"]
        assert len(doors.rig.store.events) == before


# --- by a heartbeat --------------------------------------------------------------------------------

CHILD = {"profile": "look-up-order", "set": {"order_id": "4711"}, "budget": {"calls": 1, "leases": 0}, "hold": True}


@asynccontextmanager
async def held_by_heartbeat():
    """A child that is held over TCP, and nobody yet who looks for who is silent."""
    async with served() as doors:
        parent = await doors.task()
        answer = await doors.ask("POST", "/v1/tasks", CHILD, to="gateway", handle=parent["handle"])
        assert answer.json["heartbeat"] == {"every_s": 2, "grace_s": 6, "on_lost": "end"}
        yield doors, answer.json


@asynccontextmanager
async def losing(doors, monkeypatch):
    """Who is silent is looked for all the time, and each look counts as 0.25 s; yields what was woken."""
    monkeypatch.setattr(api.hold, "POLL", 0.001)
    looks = doors.holders.silent
    monkeypatch.setattr(doors.holders, "silent", lambda _: looks(0.25))
    woken: list[bool] = []
    ours = door(doors.world.trust_domain, "door/api", "main")
    work = asyncio.create_task(api.lose_silent(doors.world, ours, doors.holders, lambda: woken.append(True)))
    try:
        yield woken
    finally:
        work.cancel()


async def test_over_tcp_a_task_is_held_by_a_heartbeat_and_ends_without(monkeypatch):
    async with held_by_heartbeat() as (doors, opened), losing(doors, monkeypatch) as woken:
        assert await ended(doors, opened["task"], 5) == "no heartbeat"
        assert woken == [True]
        assert doors.holders.silent(0) == []


async def test_a_suspended_child_that_ends_without_its_holder_does_so_after_a_restart_too(monkeypatch):
    """It was suspended with its parent, and its own holder is heard by nobody before and after."""
    async with held_by_heartbeat() as (doors, opened):
        child = doors.rig.store.things["main", "task", opened["task"]]
        async with doors.rig.store.transaction(_ours(doors)) as tx:
            await suspend_tree(tx, _ours(doors), child.parent, LOST)
        doors.holders._silent.clear()  # as in a process that was just started
        await _expect(doors.world, _ours(doors), doors.holders)
        async with losing(doors, monkeypatch):
            assert await ended(doors, child.id, 3) == "no heartbeat"


async def test_an_answer_that_could_not_be_made_leaves_no_task_that_nobody_holds(monkeypatch):
    async def fails(*_):
        raise StoreUnavailable("away")

    async with served() as doors:
        parent = await doors.task()
        monkeypatch.setattr(api.tasks, "_opened", fails)
        answer = await doors.ask("POST", "/v1/tasks", CHILD, to="gateway", handle=parent["handle"])
        assert answer.status == 503
        (child,) = (one for one in doors.rig.store.things.values() if getattr(one, "parent", None) == parent["task"])
        async with losing(doors, monkeypatch):
            assert await ended(doors, child.id, 5) == "no heartbeat"


async def test_a_task_that_is_heard_goes_on():
    async with held_by_heartbeat() as (doors, opened):
        path = f"/v1/tasks/{opened['task']}/heartbeat"
        for _ in range(3):
            assert doors.holders.silent(5.75) == []
            answer = await doors.ask("POST", path, to="gateway", handle=opened["handle"])
            assert answer.json["state"] == "open"
        assert doors.holders.silent(6) == [opened["task"]]


async def test_a_holder_that_could_not_be_lost_is_lost_at_a_later_look(monkeypatch):
    tried = []

    async def fails_twice(world, door, id):
        tried.append(id)
        if len(tried) < 3:
            raise StoreUnavailable("away")
        return await lose_holder(world, door, id)

    monkeypatch.setattr(api.hold, "lose_holder", fails_twice)
    async with held_by_heartbeat() as (doors, opened), losing(doors, monkeypatch) as woken:
        assert await ended(doors, opened["task"], 5) == "no heartbeat"
        assert tried == [opened["task"]] * 3 and woken == [True]


async def test_many_that_fall_silent_at_once_are_lost_side_by_side_and_some_at_a_time(monkeypatch):
    under_way, most = 0, 0

    async def slow(world, door, id):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return []

    monkeypatch.setattr(api.hold, "lose_holder", slow)
    monkeypatch.setattr(api.hold, "TOGETHER", 3)
    async with served() as doors, losing(doors, monkeypatch):
        for number in range(20):
            doors.holders.hear(replace(task(f"t{number:020}"), heartbeat=Heartbeat(6)))
        async with asyncio.timeout(5):
            while doors.holders.hears:  # noqa: ASYNC110 - no event says it
                await asyncio.sleep(0.005)
    assert most == 3


async def test_while_the_store_is_away_nobody_falls_silent(monkeypatch):
    """Its holder says all the time that it lives, and nobody can be asked who that is."""
    async with held_by_heartbeat() as (doors, opened):
        path, looks = f"/v1/tasks/{opened['task']}/heartbeat", doors.holders.silent
        monkeypatch.setattr(api.hold, "POLL", 0.05)
        monkeypatch.setattr(doors.holders, "silent", lambda _: looks(0.5))
        work = asyncio.create_task(api.lose_silent(doors.world, _ours(doors), doors.holders, lambda: None))
        with monkeypatch.context() as away:
            away.setattr(doors.rig.store, "transaction", gone)
            await asyncio.sleep(1)
            assert (await doors.ask("POST", path, to="gateway", handle=opened["handle"])).status == 503
        await asyncio.sleep(0.1)
        assert (await doors.ask("POST", path, to="gateway", handle=opened["handle"])).json["state"] == "open"
        assert await ended(doors, opened["task"], 5) == "no heartbeat", "from then on it was silent"
        work.cancel()


@asynccontextmanager
async def unanswered(transaction):
    """A transaction that is committed, and whose COMMIT gets no answer."""
    async with transaction as tx:
        yield tx
    raise StoreUnavailable("COMMIT failed: whether it happened is not known")


async def test_a_task_that_may_have_been_opened_is_listened_to(monkeypatch):
    """It was, and the answer with its handle is lost: nobody will send a heartbeat."""
    async with served() as doors:
        store, parent = doors.rig.store, await doors.task()
        transaction = store.transaction
        with monkeypatch.context() as lost:
            lost.setattr(store, "transaction", lambda opener: unanswered(transaction(opener)))
            answer = await doors.ask("POST", "/v1/tasks", CHILD, to="gateway", handle=parent["handle"])
            assert answer.status == 503
        (child,) = (one for one in store.things.values() if getattr(one, "parent", None) == parent["task"])
        assert child.state == "open"
        async with losing(doors, monkeypatch):
            assert await ended(doors, child.id, 3) == "no heartbeat"


async def test_a_task_that_was_not_opened_after_all_is_forgotten(monkeypatch):
    tried: list[str] = []

    async def lose(world, door, id):
        tried.append(id)
        return await lose_holder(world, door, id)

    monkeypatch.setattr(api.hold, "lose_holder", lose)
    async with served() as doors, losing(doors, monkeypatch):
        doors.holders.hear(replace(task(), heartbeat=Heartbeat(6)))
        async with asyncio.timeout(3):
            while doors.holders.hears:  # noqa: ASYNC110 - no event says it
                await asyncio.sleep(0.005)
        assert tried == [task().id]


async def test_a_task_that_ended_is_heard_no_more_however_long_it_might_have_been_silent(monkeypatch):
    """Its profile's grace may be longer than its life. The ones that live stay, also beyond those of one look."""
    monkeypatch.setattr(api.hold, "LOOKED_AT", 2)
    async with held_by_heartbeat() as (doors, opened):
        child = doors.rig.store.things["main", "task", opened["task"]]
        for n in "bcdef":  # whose opening is not committed yet
            doors.holders.hear(replace(child, id="t" + n * 20, heartbeat=Heartbeat(86_400)))
        doors.holders.hear(replace(child, heartbeat=Heartbeat(86_400)))
        async with losing(doors, monkeypatch):
            await asyncio.sleep(0.1)
            assert child.id in doors.holders._silent
            await doors.ask("POST", f"/v1/tasks/{child.id}/end", {})
            async with asyncio.timeout(3):
                while child.id in doors.holders._silent:  # noqa: ASYNC110 - no event says it
                    await asyncio.sleep(0.005)
            assert sorted(doors.holders._silent) == ["t" + n * 20 for n in "bcdef"]


@pytest.mark.parametrize("on_lost", ["end", "suspend"])
async def test_a_task_that_may_have_been_taken_up_is_listened_to(on_lost, monkeypatch):
    """It was, by a heartbeat whose answer is lost: no other comes, and nothing else would end it."""
    async with held_by_heartbeat() as (doors, opened):
        store, id = doors.rig.store, opened["task"]
        async with store.transaction(_ours(doors)) as tx:
            held = Heartbeat(6, on_lost, doors.world.node if on_lost == "suspend" else "another")
            await tx.record(Kind.TASK_EXTENDED, advance(await tx.get(Task, id), Kind.TASK_EXTENDED, heartbeat=held))
        if on_lost == "suspend":
            await lose_holder(doors.world, _ours(doors), id)
        doors.holders.silent(6)
        doors.holders.forget(id)
        transaction = store.transaction
        with monkeypatch.context() as lost:
            lost.setattr(store, "transaction", lambda opener: unanswered(transaction(opener)))
            answer = await doors.ask("POST", f"/v1/tasks/{id}/heartbeat", to="gateway", handle=opened["handle"])
            assert answer.status == 503
        taken_up = store.things["main", "task", id]
        assert (taken_up.state, taken_up.heartbeat.node) == ("open", doors.world.node)
        async with losing(doors, monkeypatch), asyncio.timeout(3):
            while store.things["main", "task", id].state == "open":  # noqa: ASYNC110 - no event says it
                await asyncio.sleep(0.005)


def gone(opener):
    raise StoreUnavailable("away")


def test_what_was_not_listened_to_is_nobodys_silence():
    """However late a look comes, it counts as one; what is over, or held by no heartbeat, is not looked at."""
    holders = Holders()
    held = replace(task(), heartbeat=Heartbeat(6))
    holders.hear(held)
    holders.hear(replace(task(), id="t" + "b" * 20))
    holders.hear(replace(held, id="t" + "c" * 20, state="ended"))
    assert [holders.silent(0.25) for _ in range(23)] == [[]] * 23
    assert holders.silent(0.25) == [held.id]
    holders.hear(held)
    assert holders.silent(5.75) == []
    holders.forget(held.id)  # it was heard again while it was being lost
    assert holders.silent(0.25) == [held.id]
    holders.forget(held.id)
    holders.forget(held.id)
    assert holders.silent(100) == []


async def test_a_hold_that_fails_ends_its_task(monkeypatch):
    async def breaks(*_):
        raise RuntimeError("a bug")

    async with served() as doors:
        _, _, reader, writer = await hold(doors, body=BODY | {"hold": True})
        id = (await read_line(reader))["task"]
        monkeypatch.setattr("taskbound.edge.api.hold.look_up_task", breaks)
        assert await ended(doors, id, 2) == "holder gone"
        assert await reader.readline() == b"0\r\n"
        writer.close()


async def test_a_task_taken_up_again_in_time_goes_on_and_another_ends():
    async with served() as doors:
        back, away = await doors.task(), await doors.task()
        me = Process(os.getpid(), started_of(os.getpid()) or 0)
        for opened in (back, away):
            doors.holders.expect(me, doors.rig.store.things["main", "task", opened["task"]])
        status, _, reader, writer = await hold(doors, "GET", f"/v1/tasks/{back['task']}/hold")
        assert (status, (await read_line(reader))["state"]) == (200, "open")
        await api.end_unclaimed(doors.world, _ours(doors), doors.holders, 0)
        assert doors.rig.store.things["main", "task", back["task"]].state == "open"
        assert await ended(doors, away["task"], 2) == "holder gone"
        writer.close()
        assert await ended(doors, back["task"], 2) == "holder gone"


def _ours(doors):
    return door(doors.world.trust_domain, "door/api", "main")


async def test_a_repeated_request_takes_no_handle_from_who_holds_its_task():
    keyed = {"profile": "look-up-order", "set": {"order_id": "4711"}, "idempotency_key": "k1"}
    async with served() as doors:
        opened = (await doors.ask("POST", "/v1/tasks", keyed)).json
        _, _, reader, writer = await hold(doors, "GET", f"/v1/tasks/{opened['task']}/hold")
        await read_line(reader)
        again = await doors.ask("POST", "/v1/tasks", keyed)
        assert (again.status, again.json["error"]) == (409, "already_opened") and "is held" in str(again.json)
        writer.close()
        await ended(doors, opened["task"], 2)


async def test_a_task_with_two_streams_ends_with_the_last():
    async with served() as doors:
        opened = await doors.task()
        streams = [await hold(doors, "GET", f"/v1/tasks/{opened['task']}/hold") for _ in range(2)]
        streams[0][3].close()
        await asyncio.sleep(0.1)
        assert doors.rig.store.things["main", "task", opened["task"]].state == "open"
        streams[1][3].close()
        await ended(doors, opened["task"], 2)


async def test_a_server_that_stops_ends_no_held_task():
    async with served() as doors:
        _, _, reader, _ = await hold(doors, body=BODY | {"hold": True})
        id = (await read_line(reader))["task"]
    assert doors.rig.store.things["main", "task", id].state == "open"


async def test_a_holder_that_goes_while_the_store_is_away_ends_its_task_when_it_is_back():
    async with served() as doors:
        opened = await doors.task()
        store = doors.world.store
        failures: list[Exception] = []

        class Away:
            def transaction(self, opener):
                if failures:
                    raise failures.pop()
                return store.transaction(opener)

        failures += [Conflict("another transaction was at the same"), StoreUnavailable("away")]
        object.__setattr__(doors.world, "store", Away())
        await end_gone(doors.world, _ours(doors), opened["task"])
        assert failures == []
        object.__setattr__(doors.world, "store", store)
        assert doors.rig.store.things["main", "task", opened["task"]].reason == "holder gone"


# --- an agent is never the operator ----------------------------------------------------------------

ADMINISTRATION = (
    ("POST", "/v1/policy/load", None),
    ("POST", "/v1/identities/agent/helper/suspend", None),
    ("GET", "/v1/events", None),
)


@as_nobody
async def test_whoever_a_holder_started_is_its_agent_and_never_the_operator():
    async with served() as doors, holding(doors) as holder:
        for method, path, body in ADMINISTRATION:
            for lines in ((), ("taskbound-attest: unix",)):
                before = len(doors.denials())
                status, told = await holder.below(method, path, body, *lines)
                assert (status, told["error"]) == (403, "not_permitted"), (path, told)
                denied = doors.denials()[before:]
                assert [(one.task, one.code) for one in denied] == [(holder.task["task"], "not_permitted")]
        assert (await doors.ask("POST", "/v1/policy/load")).status == 200  # who is above the holder is the operator
        body = {"profile": "look-up-order", "set": {"order_id": "4711"}, "budget": {"calls": 1, "leases": 0}}
        status, child = await holder.below("POST", "/v1/tasks", body)
        assert status == 201, child
        assert doors.rig.store.things["main", "task", child["task"]].parent == holder.task["task"]


@as_nobody
async def test_without_the_look_at_who_is_above_an_agent_would_be_the_operator():
    async with served(ancestry=False) as doors, holding(doors) as holder:
        status, told = await holder.below("POST", "/v1/policy/load")
        assert (status, told["policies"]) == (200, 4)


@as_nobody
async def test_what_a_task_leaves_running_does_not_become_the_operator():
    async with served() as doors, holding(doors) as holder:
        await doors.ask("POST", f"/v1/tasks/{holder.task['task']}/end", {})
        await asyncio.sleep(0.6)  # the stream is over, the process is not
        status, told = await holder.below("POST", "/v1/policy/load")
        assert (status, told["error"]) == (401, "invalid_token")


@as_nobody
async def test_an_agent_cannot_hold_its_task_longer_than_its_holder():
    async with served() as doors, holding(doors) as holder:
        status, told = await holder.below("GET", f"/v1/tasks/{holder.task['task']}/hold")
        assert (status, told["error"]) == (409, "held")


@as_nobody
async def test_whose_ancestry_cannot_be_shown_is_nobody():
    async with served() as doors:

        class Blind:
            async def ancestors(self, peer):
                raise Unauthenticated("the parents of the process cannot be shown")

        object.__setattr__(doors.world, "attestor", Blind())
        assert (await doors.ask("POST", "/v1/policy/load")).status == 401


async def test_another_user_of_this_machine_is_not_the_operator(monkeypatch):
    async with served() as doors:
        monkeypatch.setattr("taskbound.edge.claims.os.geteuid", lambda: 4711)
        answer = await doors.ask("POST", "/v1/policy/load")
        assert (answer.status, answer.json["error"]) == (401, "invalid_token")  # attested, and registered as nobody


def test_who_has_held_several_tasks_leaves_its_children_in_doubt():
    holders, me = Holders(), Process(os.getpid(), started_of(os.getpid()) or 0)
    child = Process(1 << 30, 1)
    first, second = task("t" + "a" * 20), task("t" + "b" * 20)
    assert holders.task_above(child, (child, me)) is None
    holders.add(me, first)
    assert holders.task_above(child, (child, me)) == first.handle
    assert holders.task_above(me, (me,)) is None  # the holder itself is who it is
    holders.remove(me, first)
    assert holders.task_above(child, (child, me)) == first.handle
    holders.add(me, second)
    with pytest.raises(Unauthenticated):
        holders.task_above(child, (child, me))
    with pytest.raises(Conflict):
        holders.add(child, second)


def test_a_process_that_is_gone_is_forgotten():
    holders, gone = Holders(), Process(1 << 30, 1)
    holders.add(gone, task("t" + "a" * 20))
    assert holders.task_above(Process(1, 1), (gone,)) is not None
    holders.add(None, task("t" + "b" * 20))
    assert holders.task_above(Process(1, 1), (gone,)) is None
