"""Sessions: those that clients have with us, and those that we have with upstreams for a task.

A client's session is a name and no proof (T4.3): it is bound to the task and the path it was opened
in, and every request shows its handle anyway. It keeps what must not change while it lasts, the
list of tools. A session with an upstream belongs to one task and is never shared (INTERFACES 6).
Both are bounded in number, for all, for a tree of tasks and for a task. Who makes room is of the tree that has
most, there of the child that has most with all below it, and so on down, and the longest idle of those:
however many children a task opens, its siblings keep theirs.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
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
OWN = ""  # the branch of a task's own sessions, beside its children
IDLE_SECONDS = 300.0  # after which a session with an upstream is closed; it is opened again at the next call

Clock = Callable[[], float]  # monotonic
Line = tuple[str, ...]  # the ids of the tasks from a root to one below it


@dataclass(slots=True)
class ClientSession:
    """What a client's `initialize` began."""

    id: str
    line: Line  # to its task
    upstream: str | None  # of the path; None for all
    tools: list[Mapping[str, Any]] | None = None  # as they were first listed


class Crowd:
    """Things at the ends of paths, as a tree: how many are below each branch, and which branch was idle longest.

    Each change costs by the length of its path, however many there are.
    """

    __slots__ = ("_branches", "_by_count", "count")

    def __init__(self) -> None:
        self.count = 0
        self._branches: dict[str, Crowd] = {}
        self._by_count: dict[int, dict[str, None]] = {}  # the branches with so many, the longest idle first

    def change(self, path: Line, by: int) -> None:
        """State that one came to the end of a path (1), was used there (0), or left it (-1)."""
        self.count += by
        above = self
        for name in path:
            branch = above._branches.setdefault(name, Crowd())
            if branch.count:
                del (equals := above._by_count[branch.count])[name]
                if not equals:
                    del above._by_count[branch.count]
            branch.count += by
            if not branch.count:
                del above._branches[name]
                return
            above._by_count.setdefault(branch.count, {})[name] = None
            above = branch

    def at(self, path: Line) -> "Crowd":
        """Return what is below a branch."""
        return self._branches[path[0]].at(path[1:]) if path else self

    def fullest(self) -> Line:
        """Return the path that goes to where most are, and of equal ways the one that was idle longest."""
        if not self._by_count:
            return ()
        name = next(iter(self._by_count[max(self._by_count)]))
        return name, *self._branches[name].fullest()


class ClientSessions:
    """The sessions of clients, by id. They are forgotten with the process; a client then opens another."""

    def __init__(self, instance: str, new_id: Callable[[str], str]) -> None:
        self._instance, self._new_id = instance, new_id
        self._open: dict[str, ClientSession] = {}
        self._crowd = Crowd()  # each at the end of its line, among the task's OWN

    def open(self, line: Line, upstream: str | None) -> ClientSession:
        """Return a new session, `<instance>.<200 random bits>`."""
        id = f"{self._instance}.{self._new_id('s')[1:]}{self._new_id('s')[1:]}"
        self._open[id] = session = ClientSession(id, line, upstream)
        self._crowd.change((*line, OWN, id), 1)
        for most, within in ((TASK_SESSIONS, (*line, OWN)), (TREE_SESSIONS, line[:1]), (CLIENT_SESSIONS, ())):
            crowd = self._crowd.at(within)
            if crowd.count > most:
                self.end(self._open[crowd.fullest()[-1]])  # never the new one, which was idle least of all
                break
        return session

    def find(self, id: str, task: str, upstream: str | None) -> ClientSession:
        """Return the session of that task and path. Raises NotFound, whichever of it is another."""
        session = self._open.get(id)
        if session is None or (session.line[-1], session.upstream) != (task, upstream):
            raise NotFound("there is no such session", hint="send initialize again")
        self._crowd.change((*session.line, OWN, id), 0)
        return session

    def end(self, session: ClientSession) -> None:
        if self._open.pop(session.id, None) is not None:
            self._crowd.change((*session.line, OWN, session.id), -1)


def _crowds(lines: Iterable[Line], coming: Line) -> Callable[[Line], list[int]]:
    """Return what tells of a line how many of these, and the one to come, there are below each task of it.

    The greatest is of the branch that has most at every level. Of equal ones `max` takes the first.
    """
    count = Counter(task for line in (*lines, coming) for task in line)
    return lambda line: [count[task] for task in line]


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
    line: Line  # to its task
    used: float
    users: int = 0
    seen: Seen | None = None
    credential: Secret | None = None  # that it shows, where the upstream wants one
    lease: str = ""  # of which it is
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
    def use(self, line: Line, upstream: str) -> Iterator[UpstreamSession]:
        """Give the task's session with the upstream, which is not closed meanwhile unless the task ends.

        Raises UpstreamUnavailable where as many are in use as may be.
        """
        key = line[-1], upstream
        session = self._open.pop(key, None)
        if session is None:
            self._make_room(line)
            session = UpstreamSession(self._makers[upstream](), line, self._clock())
        self._open[key] = session
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            session.used = self._clock()

    def _make_room(self, line: Line) -> None:
        every = list(self._open.items())
        for most, whose, within in (
            (TREE_UPSTREAM_SESSIONS, " of the tree", [(key, one) for key, one in every if one.line[0] == line[0]]),
            (UPSTREAM_SESSIONS, "", every),
        ):
            if len(within) >= most:
                idle = [(key, one) for key, one in within if not one.users]
                if not idle:
                    raise UpstreamUnavailable(f"{most} sessions{whose} with upstreams are in use")
                crowd = _crowds((one.line for _, one in within), line)
                return self._close(max(idle, key=lambda found: crowd(found[1].line))[0])

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
