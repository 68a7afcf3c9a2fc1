"""Task: a bounded piece of work with an intent, grants and a deadline; the only thing that carries authority.

Ending it ends everything, because everything points at it: every decision reads the task in its
own transaction, so a task that ended is dead at its next call, with no cache to invalidate (S2, D17).
*ended* is the loss of all authority; *closed* is every lease revoked and the receipt signed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from taskbound.core.errors import TaskEnded, TaskSuspended
from taskbound.core.event import Kind
from taskbound.core.grant import Grant
from taskbound.core.identity import Process
from taskbound.core.intent import Intent
from taskbound.core.thing import Lifecycle

MAX_DEPTH = 4  # tasks on a chain, root included (DESIGN 4)
GRACE = 6  # seconds without a heartbeat, where its profile does not say (INTERFACES 10)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a task is held by where no connection holds it: its holder says now and then that it lives."""

    grace: int = GRACE  # seconds without one, after which the holder is lost
    on_lost: str = "end"  # what becomes of the task then; or "suspend", until the next one
    node: str = ""  # of several on one store, the one that hears it

    @property
    def every(self) -> int:
        """Seconds from one to the next: two may be lost on their way."""
        return max(1, self.grace // 3)


@dataclass(frozen=True, slots=True)
class Task:
    """Who works for whom, on what, until when."""

    LIFECYCLE: ClassVar[Lifecycle] = {
        "":          {Kind.TASK_REQUESTED: "requested", Kind.TASK_OPENED: "open"},
        "requested": {Kind.TASK_OPENED: "open", Kind.TASK_ENDED: "ended"},
        "open":      {Kind.TASK_DELEGATED: "open", Kind.TASK_EXTENDED: "open",
                      Kind.TASK_SUSPENDED: "suspended", Kind.TASK_ENDED: "ended"},
        "suspended": {Kind.TASK_RESUMED: "open", Kind.TASK_EXTENDED: "suspended", Kind.TASK_ENDED: "ended"},
        "ended":     {Kind.TASK_CLOSED: "closed"},
        "closed":    {},
    }  # fmt: skip
    INDEXED: ClassVar[tuple[str, ...]] = ("actor", "subject", "parent", "root", "handle", "asked", "state")

    id: str
    org: str
    actor: str  # SPIFFE ID of who works
    subject: str | None  # SPIFFE ID of the human it is for; None: the actor's own, or one by reference
    intent: Intent
    grants: tuple[Grant, ...]
    opened: datetime
    deadline: datetime
    due: datetime | None  # when it is next asked whether it must end: at the deadline, or idle; None once it ended
    handle: str  # SHA-256 of the task handle, hexadecimal
    root: str
    parent: str | None = None
    cause: str | None = None  # the task that led to this one; gives no authority
    depth: int = 0  # 0 is the root
    act: tuple[str, ...] = ()  # the actors above it, nearest first (RFC 8693 4.1)
    ended: datetime | None = None
    reason: str = ""  # why it ended, or is suspended
    holder: Process | None = None  # that it ends with, over a Unix socket (INTERFACES 10)
    heartbeat: Heartbeat | None = None  # that it is held by otherwise; None: it is not, or by a connection
    receipt: str = ""  # the signed note (core.receipt), once it is closed
    idle: int | None = None  # seconds in which nothing happens, after which it ends; None: never
    state: str = ""

    @property
    def asked(self) -> str | None:
        """The idempotency key that it was opened with, as `Intent.asked`; None without one."""
        return self.intent.asked or None

    def why_not_open(self, now: datetime) -> str | None:
        """Return the code for which it cannot act at this moment, or None."""
        if self.state == "suspended":
            return "task_suspended"
        if self.state != "open" or self.deadline <= now:
            return "task_ended"
        return None

    def due_after(self, last: datetime) -> datetime:
        """Return when it is to be asked next whether it must end, when something happened in it last at that moment."""
        return self.deadline if self.idle is None else min(self.deadline, last + timedelta(seconds=self.idle))

    def require_open(self, now: datetime) -> None:
        """Raises TaskEnded or TaskSuspended."""
        code = self.why_not_open(now)
        if code == "task_suspended":
            raise TaskSuspended(f"task {self.id} is suspended")
        if code:
            raise TaskEnded(f"task {self.id} ended at {(self.ended or self.deadline):%Y-%m-%dT%H:%M:%SZ}")
