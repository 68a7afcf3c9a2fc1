"""Words of labels, annotations and tags: which of them say who owns a thing, and until when it may live."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from unicodedata import normalize

from taskbound.posture.document import NOTHING, Node

_OWNER = re.compile(
    r"(?:owner|ownedby|owneremail|maintainer|contact|responsible|createdby|requestedby|requester|requestor"
    # As Europe's languages say it.
    r"|verantwortlicher?|besitzer|eigentumer|ansprechpartner|responsable|proprietaire|propietario|responsabile"
    r"|proprietario|responsavel|dono|titular|eigenaar|verantwoordelijke|ansvarig|agare|ejer|ansvarlig|eier|omistaja"
    r"|wlasciciel|vlastnik|tulajdonos)$"
)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
# Who stands there for something else than owning it now.
_ELSE = re.compile(
    r"approv|review|previous|former|before|notif|alert|report|audit|escalat|support|security|chang|updat|modif|deploy"
    r"|releas|author|commit|backup|deputy|login|user|account|sender|from|subject|email$"
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
    last = re.split(r"[/:]", key)[-1].lower()
    return re.sub(r"[^a-z0-9]", "", last if last.isascii() else normalize("NFKD", last.replace("\u0142", "l")))


def owner(tags: Mapping[str, Node]) -> Node:
    """Return who owns a thing by its tags; NOTHING where none says so.

    In words that nobody here knows it is who stands there alone with an address, unless for something else.
    """
    if found := next((node for key, node in tags.items() if _OWNER.search(folded(key)) and node.text), NOTHING):
        return found
    named = [node for key, node in tags.items() if _MAIL.fullmatch(node.text) and not _ELSE.search(folded(key))]
    return named[0] if len({node.text for node in named}) == 1 else NOTHING


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
