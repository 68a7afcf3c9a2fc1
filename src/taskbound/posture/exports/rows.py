"""Rows: what exported lists share. Their entries, their moments, their lines."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.sighting import Place

# Under these members an answer of an API keeps its list.
WRAPPERS = (
    "value",
    "installations",
    "Records",
    "Events",
    "Resources",
    "Accounts",
    "SecretList",
    "secrets",
    "tokens",
    "hooks",
    "events",
    "entries",
    "logs",
    "Users",
    "UserDetailList",
    "AccessKeyMetadata",
    "ResourceTagMappingList",
    "users",
    "people",
    "employees",
    "repositories",
    "items",
    "data",
    "results",
)
_WRAPPERS = frozenset(WRAPPERS)
ORDERS = ("%d.%m.%Y", "%Y/%m/%d")  # of dates beside ISO 8601; days and months that could be exchanged are no date


def rows(document: Document) -> Iterator[Node]:
    """Yield the entries of a list, however it is wrapped: of a CSV file, of an API's answer, of JSON lines.

    Several answers in one list (pages) are read through; an answer without a list is its own only entry.
    """
    waiting = list(reversed(document.roots))
    while waiting:
        node = waiting.pop()
        if items := node.items:
            wrapped = None if _WRAPPERS.isdisjoint(items) else _wrapped(items)
            if wrapped:
                waiting.append(wrapped)
            else:
                yield node
        elif node.list:
            waiting += reversed(node.list)


def _wrapped(items: Mapping[str, Node]) -> Node | None:
    return next((items[key] for key in WRAPPERS if _is_rows(items.get(key, NOTHING))), None)


def _is_rows(node: Node) -> bool:
    """Tell whether a member is a list of entries; one of texts is a member like others (`events` of an app)."""
    return any(one.items or one.list for one in node.list[:1])


def folded(row: Node) -> Mapping[str, Node]:
    """Return a row's members by names without case and punctuation: `User Name`, `user_name` and `UserName` are one."""
    return {re.sub(r"[^a-z0-9]", "", key.lower()): node for key, node in row.items.items()}


def first(members: Mapping[str, Node], *names: str) -> Node:
    """Return the first of some members that has a text; NOTHING where none has."""
    return next((members[name] for name in names if members.get(name, NOTHING).text), NOTHING)


def moment(text: str) -> datetime | None:
    """Return a moment (ISO 8601, or a day) in UTC; None for everything else: `N/A`, `no_information`, nothing."""
    text = text.strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = next((day for order in ORDERS if (day := _ordered(text, order))), None)  # type: ignore[assignment]
    if found is None:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else _in_utc(found)


def _ordered(text: str, order: str) -> datetime | None:
    try:
        return datetime.strptime(text, order)
    except ValueError:
        return None


def _in_utc(found: datetime) -> datetime:
    try:
        return found.astimezone(UTC)
    except OverflowError:  # the first or last day that there is
        return found.replace(tzinfo=UTC)


def yes(node: Node) -> bool:
    """Tell whether a member says yes: `true`, also as CSV writes it."""
    return node.text.strip().lower() in ("true", "yes", "1")


def elsewhere(path: str, place: Place, *nodes: Node) -> tuple[Place, ...]:
    """Return the other lines on which an entry says what counts."""
    lines = dict.fromkeys(node.line for node in nodes if node)
    return tuple(Place(path, line) for line in lines if line != place.line)


def below(base: int, **nodes: Node) -> Mapping[str, int]:
    """Return how many lines below a place members stand. Relative, so that a place can be moved."""
    return {name: node.line - base for name, node in nodes.items() if node}
