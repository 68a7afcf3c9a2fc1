"""Event: a fact, with the new value of the thing it is about; the only way anything changes.

`Kind` is the closed catalogue of facts (INTERFACES 9): `noun.past`. A store writes the event and
the thing's row in one transaction, so state can be rebuilt from events and compared (S5, D19).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Everything that can have happened. A kind, once released, stays for ever."""

    IDENTITY_REGISTERED = "identity.registered"
    IDENTITY_ATTESTED = "identity.attested"
    IDENTITY_SUSPENDED = "identity.suspended"
    IDENTITY_RESUMED = "identity.resumed"
    IDENTITY_RETIRED = "identity.retired"
    IDENTITY_OFFBOARDED = "identity.offboarded"
    TASK_REQUESTED = "task.requested"
    TASK_OPENED = "task.opened"
    TASK_DELEGATED = "task.delegated"
    TASK_EXTENDED = "task.extended"
    TASK_SUSPENDED = "task.suspended"
    TASK_RESUMED = "task.resumed"
    TASK_ENDED = "task.ended"
    TASK_CLOSED = "task.closed"
    LEASE_REQUESTED = "lease.requested"
    LEASE_ACTIVATED = "lease.activated"
    LEASE_RENEWED = "lease.renewed"
    LEASE_FELL_DUE = "lease.fell_due"
    LEASE_CUT = "lease.cut"
    LEASE_REVOKED = "lease.revoked"
    LEASE_OVERDUE = "lease.overdue"
    CALL_PERMITTED = "call.permitted"
    CALL_DENIED = "call.denied"
    CALL_COMPLETED = "call.completed"
    CALL_ALLOWED = "call.allowed"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_GRANTED = "approval.granted"
    APPROVAL_DENIED = "approval.denied"
    APPROVAL_USED = "approval.used"
    POLICY_LOADED = "policy.loaded"
    TOOL_SEEN = "tool.seen"
    TOOL_PINNED = "tool.pinned"
    TOOL_QUARANTINED = "tool.quarantined"
    KEY_ADDED = "key.added"
    KEY_RETIRED = "key.retired"
    TOKEN_ISSUED = "token.issued"
    TOKEN_REFUSED = "token.refused"
    FINDING_RAISED = "finding.raised"
    FINDING_ACCEPTED = "finding.accepted"
    FINDING_CLOSED = "finding.closed"
    FIX_BEGUN = "fix.begun"
    FIX_DONE = "fix.done"
    FIX_FAILED = "fix.failed"
    LOGIN_FELL_DUE = "login.fell_due"
    LOGIN_ENDED = "login.ended"
    LOGIN_OVERDUE = "login.overdue"
    BODY_ERASED = "body.erased"
    REDTEAM_MEASURED = "redteam.measured"
    NODE_STARTED = "node.started"
    NODE_STOPPED = "node.stopped"
    NODE_RESTORED = "node.restored"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact.

    `by` is the SPIFFE ID of who caused it, `via` of the door or lane that opened the
    transaction. `value` is the thing as it is after the fact (None: the fact is about no thing).
    `request` is the id of the request that it happened in, "" for our own lanes.
    `spent` and `shared` are the amounts taken from and given to budgets with it.
    """

    org: str
    kind: Kind
    at: datetime
    by: str
    via: str
    noun: str
    id: str
    request: str
    value: Any
    spent: Mapping[str, int]
    shared: Mapping[str, int]
    detail: Mapping[str, object]
