"""Sessions: those that clients have with us, and those that we have with upstreams for a task.

A client's session is a name and no proof (T4.3): it is bound to the task and the path it was opened
in, and every request shows its handle anyway. It keeps what must not change while it lasts, the
list of tools. A session with an upstream belongs to one task and is never shared (INTERFACES 6).
Both are bounded in number: the one that was longest idle makes room, of the task's own or of its tree's
where those are many. A tree is counted as one, since a task has as many children as it opens.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from taskbound.core.errors import NotFound, UpstreamUnavailable
from taskbound.core.secret import Secret
from taskbound.ports import Upstream

CLIENT_SESSIONS = 4_096  # each some hundred bytes, and its list of tools
TASK_SESSIONS = 64  # of them one task's: no handle may end the sessions of others
TREE_SESSIONS = 512  # of them those of a task and all below it: two for each that may live
UPSTREAM_SESSIONS = 1_024  # each keeps memory at a server of somebody else's
TREE_UPSTREAM_SESSIONS = 256  # of them those of a task and all below it
IDLE_SECONDS = 300.0  # after which a session with an upstream is closed; it is opened again at the next call

Clock = Callable[[], float]  # monotonic


@dataclass(slots=True)
class ClientSession:
    """What a client's `initialize` began."""

    id: str
    task: str
    tree: str  # id of the task's root
    upstream: str | None  # of the path; None for all
    used: float
    tools: list[Mapping[str, Any]] | None = None  # as they were first listed


class ClientSessions:
    """The sessions of clients, by id. They are forgotten with the process; a client then opens another."""

    def __init__(self, instance: str, new_id: Callable[[str], str], clock: Clock) -> None:
        self._instance, self._new_id, self._clock = instance, new_id, clock
        self._open: dict[str, ClientSession] = {}  # the longest idle first

    def open(self, task: str, tree: str, upstream: str | None) -> ClientSession:
        """Return a new session, `<instance>.<200 random bits>`."""
        id = f"{self._instance}.{self._new_id('s')[1:]}{self._new_id('s')[1:]}"
        self._make_room(task, tree)
        self._open[id] = session = ClientSession(id, task, tree, upstream, self._clock())
        return session

    def _make_room(self, task: str, tree: str) -> None:
        every = list(self._open.values())
        for most, within in (
            (TASK_SESSIONS, [one for one in every if one.task == task]),
            (TREE_SESSIONS, [one for one in every if one.tree == tree]),
            (CLIENT_SESSIONS, every),
        ):
            if len(within) >= most:
                return self.end(within[0])

    def find(self, id: str, task: str, upstream: str | None) -> ClientSession:
        """Return the session of that task and path. Raises NotFound, whichever of it is another."""
        session = self._open.get(id)
        if session is None or (session.task, session.upstream) != (task, upstream):
            raise NotFound("there is no such session", hint="send initialize again")
        self._open[id] = self._open.pop(id)
        session.used = self._clock()
        return session

    def end(self, session: ClientSession) -> None:
        self._open.pop(session.id, None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an upstream was seen to offer last."""

    offered: list[Mapping[str, Any]]
    text: str
    version: str  # of the policy that knows of it
    pins: Mapping[str, str]  # by tool


@dataclass(slots=True)
class UpstreamSession:
    """One task's session with one upstream."""

    upstream: Upstream
    tree: str  # id of the task's root
    used: float
    users: int = 0
    seen: Seen | None = None
    credential: Secret | None = None  # that it shows, where the upstream wants one
    until: float = 0.0  # when another is leased
    leasing: asyncio.Lock = field(default_factory=asyncio.Lock)


class UpstreamSessions:
    """The sessions with upstreams, by task and upstream."""

    def __init__(self, makers: Mapping[str, Callable[[], Upstream]], clock: Clock) -> None:
        self._makers, self._clock = makers, clock
        self._open: dict[tuple[str, str], UpstreamSession] = {}  # the longest idle first
        self._closing: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._open)

    def tasks(self) -> set[str]:
        """Return the tasks that have one."""
        return {task for task, _ in self._open}

    @contextmanager
    def use(self, task: str, tree: str, upstream: str) -> Iterator[UpstreamSession]:
        """Give the task's session with the upstream, which is not closed meanwhile unless the task ends.

        Raises UpstreamUnavailable where as many are in use as may be.
        """
        key = task, upstream
        session = self._open.pop(key, None)
        if session is None:
            self._make_room(tree)
            session = UpstreamSession(self._makers[upstream](), tree, self._clock())
        self._open[key] = session
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            session.used = self._clock()

    def _make_room(self, tree: str) -> None:
        for most, whose, within in (
            (TREE_UPSTREAM_SESSIONS, " of the tree", [key for key, one in self._open.items() if one.tree == tree]),
            (UPSTREAM_SESSIONS, "", list(self._open)),
        ):
            if len(within) >= most:
                idle = next((key for key in within if not self._open[key].users), None)
                if idle is None:
                    raise UpstreamUnavailable(f"{most} sessions{whose} with upstreams are in use")
                return self._close(idle)

    def close_idle(self) -> None:
        """Close the sessions that nobody used for IDLE_SECONDS."""
        until = self._clock() - IDLE_SECONDS
        for key in [key for key, session in self._open.items() if not session.users and session.used < until]:
            self._close(key)

    def close_task(self, task: str) -> None:
        """Close every session of a task, in use or not."""
        for key in [key for key in self._open if key[0] == task]:
            self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        closing = asyncio.create_task(self._open.pop(key).upstream.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close them all, and return when they are."""
        for key in list(self._open):
            self._close(key)
        while self._closing:
            await asyncio.wait(self._closing)
