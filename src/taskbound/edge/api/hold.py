"""Holding a task: by one open answer, whose end is the task's, or by a heartbeat (INTERFACES 6, 10).

The holder died, or let go: both are the end of its connection, or of its heartbeat. When it is we who
stop, nothing ends: the holder has a few seconds to be heard by who is started after us.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskbound.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from taskbound.core.identity import Identity, Process
from taskbound.core.task import Task
from taskbound.edge.api.views import change_view
from taskbound.edge.claims import Holders
from taskbound.edge.http import Knock
from taskbound.ending import LIVE
from taskbound.ports import Transaction, World
from taskbound.steps.end_task import end_task
from taskbound.steps.hold_task import lose_holder
from taskbound.steps.look_up import look_up_task

POLL = 0.25  # seconds between two looks at a held task, and at who is silent
RETURN = 6.0  # seconds in which a holder must come back after a restart
TOGETHER = 8  # silent tasks that are lost at once, each in a transaction of its own
LOOKED_AT = 16  # of the tasks that are held by a heartbeat, at each look

log = structlog.get_logger()


def holder_of(knock: Knock) -> Process:
    """Return the process that would hold a task. Raises InvalidRequest where the kernel does not say which it is.

    Such a holder could not be told from another after a restart, and its task would go on without one.
    """
    if knock.peer is None:
        hint = "POST /v1/tasks/{id}/heartbeat, as often as the answer to `hold` says"
        raise InvalidRequest("over TCP no connection holds a task: a heartbeat does", code="unsupported", hint=hint)
    return knock.peer.process


def hold(knock: Knock, task: Task, first: Mapping[str, Any], status: int) -> Response:
    """Answer with a stream that holds the task. Raises InvalidRequest over TCP; Conflict where another holds it."""
    knock.holders.add(holder_of(knock), task)
    return HeldTask(knock, task, first, status)


class HeldTask(Response):
    """An answer that goes on as long as the task does, and a task that goes on as long as the answer does."""

    def __init__(self, knock: Knock, task: Task, first: Mapping[str, Any], status: int) -> None:
        super().__init__(status_code=status)
        self._knock, self._task, self._first = knock, task, first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        knock, task, process = self._knock, self._task, holder_of(self._knock)
        gone = asyncio.ensure_future(_gone(receive))
        last = False
        try:
            kind = (b"content-type", b"application/x-ndjson")
            await send({"type": "http.response.start", "status": self.status_code, "headers": [kind]})
            await send(_line(self._first))
            while task.state not in ("ended", "closed") and not (await asyncio.wait({gone}, timeout=POLL))[0]:
                with suppress(Unavailable):  # the next look tells
                    seen = await look_up_task(knock.world, knock.door, knock.door, task.id)
                    if (seen.state, seen.deadline) != (task.state, task.deadline):
                        await send(_line(change_view(seen)))
                    task = seen
        except Exception as error:  # whatever it was, the answer is over, and with it what it holds
            log.error("hold_failed", task=task.id, request=knock.id, error=type(error).__name__)
        finally:
            gone.cancel()
            last = knock.holders.remove(process, self._task)
        # Not reached when it is we who stop: the holder has 6 s to come back to who comes after us.
        if last and task.state not in ("ended", "closed"):
            await end_gone(knock.world, knock.door, task.id)
            knock.site.wake()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _line(value: Mapping[str, Any]) -> dict[str, Any]:
    body = json.dumps(value, ensure_ascii=False).encode() + b"\n"
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def end_gone(world: World, door: Identity, task: str) -> None:
    """End a task whose holder is gone; tried until it is done, since nobody else will."""
    while True:
        try:
            await end_task(world, door, door, task, "holder gone")
            return
        except (Unavailable, Conflict):  # of two that wait for each other the server ends one
            await asyncio.sleep(POLL)


async def end_unclaimed(world: World, door: Identity, holders: Holders, within: float = RETURN) -> None:
    """End the tasks whose holders do not come back after a restart in time (INTERFACES 6)."""
    await asyncio.sleep(within)
    for task in holders.unclaimed():
        await end_gone(world, door, task.id)


async def lose_silent(world: World, door: Identity, holders: Holders, wake: Callable[[], None]) -> None:
    """Do for ever with tasks whose heartbeat stops what is to be done with each then, once it is due.

    Some at a time: hundreds that fall silent at once, as behind a network that breaks, don't wait for each other.
    """
    room = asyncio.Semaphore(TOGETHER)

    async def lose(id: str) -> None:
        try:
            async with room:
                lost = await lose_holder(world, door, id)
        except NotFound:  # it was heard, and its opening was never committed
            lost = []
        except Exception as error:  # the next look tries again, and one that cannot be ended stops no other
            log.warning("holder_not_lost", task=id, error=type(error).__name__)
            return
        holders.forget(id)
        if lost:
            wake()

    while True:
        await asyncio.sleep(POLL)
        if holders.hears and await _can_hear(world, door, holders):
            await asyncio.gather(*map(lose, holders.silent(POLL)))


async def _can_hear(world: World, door: Identity, holders: Holders) -> bool:
    """Whether the store answers. While it does not, no heartbeat is anybody's, and nobody's silence counts.

    It is asked for some of the tasks that are heard: one that ended, by whatever, is heard no more, however long it
    might have been silent.
    """
    try:
        async with world.store.transaction(door) as tx:
            over = [id for id in holders.next_heard(LOOKED_AT) if await _is_over(tx, id)]
    except Exception:  # whoever asks the store is told why
        return False
    for id in over:
        holders.over(id)
    return True


async def _is_over(tx: Transaction, id: str) -> bool:
    try:
        return (await tx.get(Task, id)).state not in LIVE
    except NotFound:  # it is heard before its opening is committed
        return False
