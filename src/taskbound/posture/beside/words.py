"""Words of labels, annotations and tags: which of them say who owns a thing, and until when it may live."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from taskbound.posture.document import NOTHING, Node

_OWNER = re.compile(
    r"(?:owner|ownedby|owneremail|maintainer|contact|responsible|createdby|requestedby|requester|requestor)$"
)
_ENDS = re.compile(
    r"(?:expir(?:y|es|ed?|ation)(?:s?(?:at|on|date|time|after|by))?|valid(?:until|to|till)|end(?:s|date|son|sat|ofaccess)"
    r"|(?:delete|remove|clean|cleanup|kill|destroy|shutdown|retire|teardown|sunset|decommission|disable|revoke)"
    r"(?:after|by|at|on|date)|temporaryuntil|accessuntil|keepuntil|until|sunset|decommissioned|eol|endoflife)$"
)
_LIFE = re.compile(r"(?:ttl|lifetime|maxage)$")
_MADE = re.compile(r"(?:created(?:at|on)?|creationtimestamp|creationdate|startedat|deployedat|requestedat)$")
_SPAN = re.compile(r"(\d+)\s*(w|d|h|m|s)[a-z]*", re.IGNORECASE)
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def folded(key: str) -> str:
    """Return the last part of a key without case and punctuation: `acme.io/expires-at` and `ExpiresAt` are one."""
    return re.sub(r"[^a-z0-9]", "", re.split(r"[/:]", key)[-1].lower())


def owner(tags: Mapping[str, Node]) -> Node:
    """Return who owns a thing by its tags; NOTHING where none says so."""
    return next((node for key, node in tags.items() if _OWNER.search(folded(key)) and node.text), NOTHING)


def end(tags: Mapping[str, Node], made: Node = NOTHING) -> tuple[Node, datetime] | None:
    """Return until when a thing may live by its tags, and where that stands: a day, or a time since it was made."""
    for key, node in tags.items():
        if _ENDS.search(folded(key)) and (when := day(node.text)):
            return node, when
    began = day(made.text) or next((day(node.text) for key, node in tags.items() if _MADE.search(folded(key))), None)
    for key, node in tags.items():
        if began and _LIFE.search(folded(key)) and (life := span(node.text)):
            return node, began + life
    return None


def day(text: str) -> datetime | None:
    """Return a moment: ISO 8601 in any of its forms, or Unix seconds; None for everything else, spans included."""
    text = text.strip()
    try:
        if re.fullmatch(r"1\d{9}", text):
            return datetime.fromtimestamp(int(text), UTC)
        if not re.match(r"20\d\d-?[01]\d", text):
            return None
        # A label may hold no colon: there hours and minutes are kept apart by other signs.
        found = datetime.fromisoformat(re.sub(r"(T\d\d)[-_.](\d\d)[-_.](\d\d)", r"\1:\2:\3", text))
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def span(text: str) -> timedelta | None:
    """Return a time to live: `7d`, `1d12h`, `2 hours`; None where it is none, or for ever."""
    parts = _SPAN.findall(text[:40])
    return timedelta(seconds=sum(int(n[:9]) * _SECONDS[unit.lower()] for n, unit in parts)) if parts else None


def tagged(node: Node) -> Mapping[str, Node]:
    """Return tags as a table, or as AWS lists them: [{Key: …, Value: …}]."""
    if node.items:
        return node.items
    return dict(_pairs(node))


def _pairs(node: Node) -> Iterator[tuple[str, Node]]:
    for one in node.list:
        key = one.at("Key").text or one.at("key").text
        value = one.at("Value") or one.at("value")
        if key and value.text:
            yield key, value
