"""Receipt: what a closed task was given, and when each of it was dead; a value made from facts (INTERFACES 11).

It is canonical JSON in a signed note, over a task and everything below it, and is verified without
us: by the key of origin `<instance>/<org>/receipt`. A credential counts as refused only where it
was really presented and the target's own answer is known; what was not presented says so, with the
reason, and is counted. A token that outlived its task is listed: each door that it could be shown
at reads the task first. A door without a refusal after the end is closed by the task's state, which
each decision reads (S2): nobody knocked. Nothing is invented.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskbound.formats import canonical
from taskbound.formats.note import (
    MAX_NOTE,
    MalformedNote,
    VerifierKey,
    parse_note,
    verifies,
)

if TYPE_CHECKING:  # whoever only verifies need not load the policy engine
    from taskbound.core.call import Call
    from taskbound.core.lease import Lease
    from taskbound.core.task import Task

VERSION = 1
NOT_PRESENTED = "not_presented: "
MEMBERS = frozenset((
    "v", "task", "org", "ended_at", "checkpoint", "leases", "doors", "tokens", "not_presented",
))  # fmt: skip
LEASE = frozenset(("id", "target", "class", "name", "cut_at", "clean_at", "probe"))
PROBE = frozenset(("by", "at", "answer"))
DOOR = frozenset(("name", "last_permit_at", "first_refusal_at", "refused_by"))
TOKEN = frozenset(("jti", "exp", "refused_at"))
ROOM = MAX_NOTE - 4096  # bytes of a receipt's text: the signatures stand below it


class MalformedReceipt(ValueError):
    """The text is no receipt; says where and why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying a note came to. `problems` is empty only when it is a receipt that the key signed."""

    key: str
    receipt: Mapping[str, Any] | None
    problems: tuple[str, ...]


def origin_of(instance: str, org: str) -> str:
    """Return the name of the key that signs an organisation's receipts."""
    return f"{instance}/{org}/receipt"


# --- what became of presenting a dead credential ---------------------------------------------------


def refused_probe(answer: str, at: datetime) -> str:
    """Return what a lease keeps of a credential that the broker presented and the target refused."""
    return _text({"answer": answer, "at": _moment(at), "by": "broker"})


def not_presented(reason: str) -> str:
    """Return what a lease keeps of a credential that nobody presented."""
    return _text({"answer": f"{NOT_PRESENTED}{reason}", "at": None, "by": None})


# --- making one ------------------------------------------------------------------------------------


def render_receipt(
    task: "Task",
    leases: Iterable["Lease"],
    calls: Iterable["Call"],
    tokens: Mapping[str, datetime],
    checkpoint: bytes | None,
) -> str:
    """Return the text of the receipt of an ended task. `leases`, `calls` and `tokens` are those of it and of all below
    it; of a token its id, and until when it would have worked.

    Raises MalformedReceipt for what is longer than a note may be.
    """
    of = sorted(leases, key=lambda lease: lease.id)
    given = [_lease(lease) for lease in of]
    outlived = [
        {"jti": id, "exp": _moment(until), "refused_at": None}
        for id, until in sorted(tokens.items())
        if task.ended is None or until > task.ended
    ]
    text = _text(
        {
            "v": VERSION,
            "task": task.id,
            "org": task.org,
            "ended_at": _moment(task.ended),
            "checkpoint": checkpoint.decode() if checkpoint else None,
            "leases": given,
            "doors": _doors(task, of, calls),
            "tokens": outlived,
            "not_presented": _missing(given, outlived),
        }
    )
    if len(text.encode()) > ROOM:
        raise MalformedReceipt(f"the receipt of {task.id} has more than {ROOM} bytes")
    return f"{text}\n"


def _lease(lease: "Lease") -> dict[str, Any]:
    return {
        "id": lease.id,
        "target": lease.target,
        "class": lease.recipe.revocation_class,
        "name": lease.name,
        "cut_at": _moment(lease.cut),
        "clean_at": _moment(lease.cleaned),
        "probe": json.loads(lease.probe or not_presented("it was taken back before this was kept")),
    }


def _missing(leases: Iterable[Mapping[str, Any]], tokens: Iterable[Mapping[str, Any]]) -> int:
    """Return how many credentials nobody presented after their end."""
    lost = sum(str(lease["probe"]["answer"]).startswith(NOT_PRESENTED) for lease in leases)
    return lost + sum(token["refused_at"] is None for token in tokens)


def _doors(task: "Task", leases: Iterable["Lease"], calls: Iterable["Call"]) -> list[dict[str, Any]]:
    """Return where something was permitted, or refused because the task had ended: the two that say when it closed."""
    over = min(task.deadline, task.ended or task.deadline)
    permits: dict[str, datetime] = {}
    refusals: dict[str, datetime] = {}
    for lease in leases:
        if lease.activated:
            name = f"lease/issue {lease.target}"
            permits[name] = max(permits.get(name, lease.activated), lease.activated)
    for call in calls:
        name = call.action
        if name in ("tools/call", "lease/issue"):  # of all else the resource is no place
            name += f" {call.resource.partition('/')[0]}"
        if call.state == "permitted":
            permits[name] = max(permits.get(name, call.at), call.at)
        elif call.code == "task_ended" and call.at >= over:
            refusals[name] = min(refusals.get(name, call.at), call.at)
    return [
        {
            "name": name,
            "last_permit_at": _moment(permits.get(name)),
            "first_refusal_at": _moment(refusals.get(name)),
            "refused_by": "presented" if name in refusals else "state",
        }
        for name in sorted(permits | refusals)
    ]


def _moment(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _text(value: Mapping[str, Any]) -> str:
    return canonical.render(value).decode()


# --- reading one -----------------------------------------------------------------------------------


def parse_receipt(text: str) -> dict[str, Any]:
    """Return the members of a receipt. Raises MalformedReceipt."""
    try:
        said = canonical.parse(text, limit=MAX_NOTE)
    except canonical.Malformed as error:
        raise MalformedReceipt(str(error)) from None
    if not isinstance(said, dict) or said.get("v") != VERSION or said.keys() != MEMBERS:
        raise MalformedReceipt(f"not the members of a receipt of version {VERSION}")
    again = f"{_text(said)}\n"
    if again != text:
        raise MalformedReceipt(f"byte {_differs(again.encode(), text.encode())} is not in the canonical form")
    if not _fits(said):
        raise MalformedReceipt("a member of the receipt is of another type")
    for lease in said["leases"]:
        if not lease["name"].endswith(f"_{lease['id'][1:]}"):
            raise MalformedReceipt(f"the lease {lease['id']} has another's name, {lease['name']}")
    if said["not_presented"] != _missing(said["leases"], said["tokens"]):
        raise MalformedReceipt("the number of credentials that were not presented is another")
    return said


def verify_receipt(note: bytes, key: VerifierKey) -> Verdict:
    """Return whether this is a receipt that the key signed, and all that is wrong with it."""
    problems: list[str] = []
    receipt: dict[str, Any] | None = None
    try:
        text, signatures = parse_note(note)
    except MalformedNote as error:
        return Verdict(str(key), None, (str(error),))
    signed = len(text.encode())
    ours = [one for one in signatures if (one.name, one.key_id) == (key.name, key.id)]
    if not ours:
        names = ", ".join(f"{one.name}+{one.key_id.hex()}" for one in signatures)
        problems.append(f"it is signed by {names}, not by {key.name}+{key.id.hex()}")
    elif not verifies(key, text.encode(), ours[0].bytes):
        problems.append(f"the signature of {key.name} is not one of bytes 0 to {signed - 1}: one of them was changed")
    try:
        receipt = parse_receipt(text)
    except MalformedReceipt as error:
        problems.append(str(error))
    else:
        if not key.name.endswith(f"/{receipt['org']}/receipt"):
            problems.append(f"the key {key.name} is not one for receipts of {receipt['org']}")
    return Verdict(str(key), receipt, tuple(problems))


def _fits(said: Mapping[str, Any]) -> bool:
    """Whether each member is of its type."""
    leases, doors, tokens = said["leases"], said["doors"], said["tokens"]
    if not all(isinstance(one, list) for one in (leases, doors, tokens)):
        return False
    texts = [said["task"], said["org"], said["ended_at"]]
    perhaps = [said["checkpoint"]]
    for lease in leases:
        if not isinstance(lease, dict) or lease.keys() != LEASE:
            return False
        probe = lease["probe"]
        if not isinstance(probe, dict) or probe.keys() != PROBE:
            return False
        texts += [lease["id"], lease["target"], lease["class"], lease["name"], probe["answer"]]
        perhaps += [lease["cut_at"], lease["clean_at"], probe["by"], probe["at"]]
    for door in doors:
        if not isinstance(door, dict) or door.keys() != DOOR or door["refused_by"] not in ("presented", "state"):
            return False
        texts += [door["name"]]
        perhaps += [door["last_permit_at"], door["first_refusal_at"]]
    for token in tokens:
        if not isinstance(token, dict) or token.keys() != TOKEN:
            return False
        texts += [token["jti"], token["exp"]]
        perhaps += [token["refused_at"]]
    return (
        type(said["v"]) is type(said["not_presented"]) is int
        and all(isinstance(one, str) for one in texts)
        and all(one is None or isinstance(one, str) for one in perhaps)
    )


def _differs(one: bytes, other: bytes) -> int:
    """Return the first byte in which they differ."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
