"""Everything that can be refused or go wrong, in three families with three blames.

    TaskboundError
    ├── Refused                their side; answered as it is
    │   ├── InvalidRequest         400 invalid_request
    │   ├── Unauthenticated        401 invalid_token
    │   ├── Denied                 403 access_denied
    │   │   ├── TaskEnded              task_ended (a race inside a step; an ended handle is 401)
    │   │   ├── TaskSuspended          task_suspended
    │   │   └── BudgetSpent            budget_spent
    │   ├── NotFound               404 not_found
    │   └── Conflict               409 conflict
    │       ├── IllegalTransition
    │       └── Replayed
    └── Unavailable            the world; 503 with Retry-After
        ├── TargetUnavailable
        │   └── StillLetIn
        ├── UpstreamUnavailable
        └── StoreUnavailable

Anything else is our bug: 500 "internal". A message names the thing, its state and what was
expected; lower case, no full stop, no secrets, no foreign text. The hint says what to do. What was
sent with a handle or a join token in the wrong place is answered, and logged, without it (S6).
"""

import re
from typing import ClassVar

# A task handle or a join token (INTERFACES 5), also one that was cut: nothing else is written so.
_TOKEN = re.compile(r"(tb[hj]_)[A-Za-z0-9_-]{16,}")


class TaskboundError(Exception):
    """The root: a sentence, the standard's code, and one hint."""

    status: ClassVar[int] = 500
    code: str = "internal"
    hint: str = ""

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(_TOKEN.sub(r"\1…", message))
        self.code = code or type(self).code
        self.hint = _TOKEN.sub(r"\1…", hint) or type(self).hint


class Refused(TaskboundError):
    """Their side: what was asked is not acceptable or not permitted."""


class InvalidRequest(Refused):
    status = 400
    code = "invalid_request"


class Unauthenticated(Refused):
    status = 401
    code = "invalid_token"


class Denied(Refused):
    status = 403
    code = "access_denied"


class TaskEnded(Denied):
    code = "task_ended"
    hint = "open a new task"


class TaskSuspended(Denied):
    code = "task_suspended"
    hint = "wait until the task is resumed, or open a new one"


class BudgetSpent(Denied):
    code = "budget_spent"
    hint = "open a new task, or ask for a larger budget in its profile"


class NotFound(Refused):
    status = 404
    code = "not_found"


class Conflict(Refused):
    status = 409
    code = "conflict"


class IllegalTransition(Conflict):
    """A fact that cannot follow the state a thing is in."""


class Replayed(Conflict):
    """A one-time value came a second time."""


class Unavailable(TaskboundError):
    """The world: something we depend on did not answer, or answered with its own trouble."""

    status = 503
    code = "temporarily_unavailable"
    hint = "try again in a moment"


class TargetUnavailable(Unavailable):
    code = "target_unavailable"


class StillLetIn(TargetUnavailable):
    """An alarm: a credential that was cut was let in."""

    code = "still_let_in"


class UpstreamUnavailable(Unavailable):
    code = "upstream_unavailable"


class StoreUnavailable(Unavailable):
    code = "store_unavailable"


def hint_of(error: TaskboundError) -> str:
    """Return what to do about an error: what a file's owner or mode stands in the way of, no waiting mends."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PermissionError):
        cause = cause.__cause__
    return "see whose it is, and its mode" if cause and error.hint == Unavailable.hint else error.hint


def bounded(what: str, text: str | None, most: int) -> None:
    """Refuse a text from outside that is too long to be kept, that no store can hold, or in which a token stands.

    Raises InvalidRequest.
    """
    if text is None:
        return
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} holds a lone surrogate") from None
    if size > most:
        raise InvalidRequest(f"{what} has {size} bytes, at most {most} are kept")
    if _TOKEN.search(text):
        raise InvalidRequest(f"{what} holds a task handle or a join token", hint="it belongs in Authorization alone")
