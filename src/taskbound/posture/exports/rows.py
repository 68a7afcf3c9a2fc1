"""Rows: what exported lists share. Their entries, their moments, their lines."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.columns import MONTHS, NAMES, NO, YES, plain
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
    "token_infos",
    "findings",
    "values",
    "hooks",
    "events",
    "entries",
    "logs",
    "Users",
    "UserDetailList",
    "AccessKeyMetadata",
    "ResourceTagMappingList",
    "users",
    "members",
    "people",
    "employees",
    "repositories",
    "items",
    "data",
    "results",
    "result",
)
_WRAPPERS = frozenset(WRAPPERS)
_COLUMNS, _LINES = ("columns", "headers", "header", "fields"), ("rows", "data", "values", "records", "results")
_ANSWER = frozenset({"data", "errors", "extensions"})
DEPTH = 6  # in which an answer of GraphQL has its list
# Of days beside ISO 8601. Those with slashes are read where their table shows what comes first.
ORDERS = (
    *("%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d.%m.%y"),
    *("%d/%b/%Y", "%d-%b-%y", "%b %d %Y", "%a, %d %b %Y", "%a %b %d %Y", "%A, %B %d, %Y", "%A, %d %B %Y"),
)
_TIME = re.compile(r"[ T]+\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AP]M)?(?: ?(?:UTC|GMT|Z|\+00:?00))?$", re.IGNORECASE)
_UNIX = re.compile(r"1\d{9}(?:\d{3})?")
_EASTERN = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]?")
# A day in words, as other languages write it: 12 mai 2024, 3. März 2024, 1er août 2024, 5 de marzo de 2024.
_MONTH = re.compile(
    r"(\d{1,2})(?:er|\.|º)?[ -](?:de |d['’])?([^\W\d_]{3,12})\.?[ -](?:de |del )?(\d{4}|\d\d)"
    r"(?: (?:à|um|a las|alle|om))?"
)
_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2}$)(?=\D|$)")


def rows(document: Document) -> Iterator[Node]:
    """Yield the entries of a list, however it is wrapped: of a CSV file, of an API's answer, of JSON lines.

    Several answers in one list (pages) are read through; an answer without a list is its own only entry.
    """
    waiting, first_is = list(reversed(document.roots)), _slashed(document) if document.format == "csv" else ""
    while waiting:
        node = waiting.pop()
        if table := _table(node):
            yield from (_dated(row, first_is) if first_is else row for row in table)
        elif items := node.items:
            wrapped = (None if _WRAPPERS.isdisjoint(items) else _wrapped(items)) or _edges(items)
            if wrapped:
                waiting.append(wrapped)
            else:
                yield _dated(node, first_is) if first_is else node
        elif node.list:
            waiting += reversed(node.list)


def _table(node: Node) -> tuple[Node, ...]:
    """Return the rows of a table whose columns are named once: beside its rows, or as the first of them."""
    columns = next((node.at(name).list for name in _COLUMNS if node.at(name).list), ())
    if columns:
        lines = next((node.at(name).list for name in _LINES if node.at(name).list), ())
    elif len(node.list) > 1 and len(node.list[0].list) > 1:
        columns, lines = node.list[0].list, node.list[1:]
    else:
        return ()
    names = [one.text or first(one.items, "name", "label", "title", "field").text for one in columns]
    if not lines or not all(names) or any(len(one.list) != len(names) for one in lines[:20]):
        return ()
    return tuple(Node(dict(zip(names, one.list, strict=False)), one.line) for one in lines)


def _edges(items: Mapping[str, Node]) -> Node | None:
    """Return what a connection of GraphQL holds, however deep an answer has it; None where there is none."""
    if "edges" in items:
        return Node([one.at("node") for one in items["edges"].list if one.at("node").items], items["edges"].line)
    if _is_rows(items.get("nodes", NOTHING)):
        return items["nodes"]
    inner = items.get("data", NOTHING) if items.keys() <= _ANSWER else NOTHING
    for _ in range(DEPTH):
        if "edges" in inner.items or "nodes" in inner.items:
            return _edges(inner.items)
        inner = next((one for one in inner.items.values() if one.items), NOTHING)
    return None


def named(answer: Node) -> Sequence[Node]:
    """Return the entries of a mapping from names: what is called so is a member of each, as whatever it is.

    None where the entries are not alike, or are no more than one.
    """
    entries = answer.items
    if len(entries) < 2 or not all(one.items for one in entries.values()):
        return ()
    members = [set(one.items) for one in entries.values()]
    if len(set.intersection(*members)) < 2 and any(one != members[0] for one in members):
        return ()
    return tuple(
        Node({"email" if "@" in name else "name": Node(name, one.line), **one.items}, one.line)
        for name, one in entries.items()
    )


def inside(answer: Node) -> Sequence[Node]:
    """Return the entries of an answer's only list, whatever it is called; none where more than texts stands beside.

    Entries may have names instead of places, and there may be a single one.
    """
    nested = [one for one in answer.items.values() if one.items or one.list]
    if len(nested) != 1:
        return named(answer)
    if nested[0].items:
        return named(nested[0]) or (nested[0],)
    return nested[0].list if _is_rows(nested[0]) else ()


_SPELLED = """
displayName appId passwordCredentials keyCredentials startDateTime endDateTime userPrincipalName implicitGrantSettings
enableAccessTokenIssuance eventTime eventName userIdentity sourceIPAddress userAgent userName accessKeyId accountId
sessionContext sessionIssuer validAfterTime validBeforeTime keyType protoPayload authenticationInfo principalEmail
requestMetadata callerIp callerSuppliedUserAgent app_slug repository_selection suspended_at
"""
SPELLED: Mapping[str, str] = {plain(name): name for name in _SPELLED.split()}


@lru_cache(maxsize=4096)
def spelled(name: str) -> str:
    """Return a member's name as its API writes it."""
    return SPELLED.get(plain(name), name)


def respelled(row: Node, depth: int = 0) -> Node:
    """Return an entry as its API writes the names of members, however they are written here (end_date_time)."""
    if depth > DEPTH:
        return row
    if row.items:
        members = {
            spelled(name): respelled(one, depth + 1) if one.items or one.list else one
            for name, one in row.items.items()
        }
        return Node(members, row.line)
    return Node([respelled(one, depth + 1) for one in row.list], row.line) if row.list else row


def resource(row: Node, beside: Mapping[tuple[str, str], Node]) -> Node:
    """Return an entry of JSON:API as others write theirs: its attributes are its members, and who made it has a name.

    `beside`: what its answer includes, by type and id. NOTHING where it is none.
    Source: jsonapi.org, "Resource Objects".
    """
    attributes = row.at("attributes")
    if not (attributes.items and row.at("type").text and row.at("id").text):
        return NOTHING
    members = {**attributes.items, "id": row.at("id")}
    for name, one in row.at("relationships").items.items():
        who = beside.get((one.at("data", "type").text, one.at("data", "id").text), NOTHING)
        if mail := first(who.at("attributes").items, "email", "handle", "name"):
            members[name] = Node(mail.text, one.line)
    return Node(members, row.line)


def included(document: Document) -> Mapping[tuple[str, str], Node]:
    """Return what an answer of JSON:API includes, by type and id."""
    told = (one for root in document.roots for one in root.at("included").list)
    return {(one.at("type").text, one.at("id").text): one for one in told}


def _slashed(document: Document) -> str:
    """Return what comes first in a table's days with slashes or dashes: "day" (31/12/2030), "month" (12/31/2030).

    A table whose columns have names of another language has the day first. "" where nothing shows it, or one day this
    and another that: then they stay as they are, and are no days.
    """
    entries = [row for root in document.roots for row in root.list]
    shown = set[str]()
    for text in (node.text for row in entries for node in row.items.values()):
        found = _SLASHED.match(text)
        if found and (int(found[1]) > 12) != (int(found[2]) > 12):
            shown.add("day" if int(found[1]) > 12 else "month")
    if not shown and any(plain(name) in NAMES for row in entries[:1] for name in row.items):
        return "day"
    return shown.pop() if len(shown) == 1 else ""


def _dated(row: Node, first_is: str) -> Node:
    def iso(node: Node) -> Node:
        found = _SLASHED.match(node.text)
        if not found:
            return node
        day, month = (found[1], found[2]) if first_is == "day" else (found[2], found[1])
        year = found[3] if len(found[3]) == 4 else f"20{found[3]}"
        return Node(f"{year}-{month:0>2}-{day:0>2}{node.text[found.end() :]}", node.line, node.last)

    return Node({name: iso(node) for name, node in row.items.items()}, row.line)


def _wrapped(items: Mapping[str, Node]) -> Node | None:
    return next((items[key] for key in WRAPPERS if _is_rows(items.get(key, NOTHING))), None)


def _is_rows(node: Node) -> bool:
    """Tell whether a member is a list of entries; one of texts is a member like others (`events` of an app)."""
    return any(one.items or one.list for one in node.list[:1])


def folded(row: Node) -> Mapping[str, Node]:
    """Return a row's members by names without case and punctuation: `User Name`, `user_name` and `UserName` are one.

    What stands in brackets says of what kind it is (`Status [READ ONLY]`). A name of another language is there in
    English too (`Austritt` as `lefton`), unless a member has that name itself.
    """
    members = {plain(re.split(r"[\[(]", key)[0]) or plain(key): node for key, node in row.items.items()}
    return {NAMES[name]: node for name, node in members.items() if name in NAMES} | members


def first(members: Mapping[str, Node], *names: str) -> Node:
    """Return the first of some members that has a text; NOTHING where none has."""
    return next((members[name] for name in names if members.get(name, NOTHING).text), NOTHING)


def moment(text: str) -> datetime | None:
    """Return a moment in UTC: ISO 8601, Unix seconds or milliseconds, or a day as people write it, also with a time.

    None for everything else: `N/A`, `no_information`, nothing; days and months that could be exchanged, too.
    """
    text = text.strip()
    if text.isalpha() or len(text) < 6:  # most texts that are no day
        return None
    if _UNIX.fullmatch(text):
        return datetime.fromtimestamp(int(text[:10]), UTC)
    found: datetime | None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = _written(text)
    if found is None:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else _in_utc(found)


def _written(text: str) -> datetime | None:
    """Return a day that is not ISO's; of a time behind it nothing counts, except where UTC follows it."""
    if text.endswith(("UTC", "GMT")) and (found := _ordered(text[:-3].strip(), "%Y-%m-%d %H:%M:%S")):
        return found
    if eastern := _EASTERN.fullmatch(text):
        return _ordered("-".join(eastern.groups()), "%Y-%m-%d")
    day = _TIME.sub("", text)
    if spelled := _MONTH.fullmatch(day):
        month = MONTHS.get(plain(spelled[2]), 0)
        return _ordered(f"{spelled[1]}.{month}.{spelled[3]}", "%d.%m.%Y" if len(spelled[3]) == 4 else "%d.%m.%y")
    day = day.rstrip(".").replace(". ", ".")
    return next((found for order in ORDERS if (found := _ordered(day, order))), None)


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
    """Tell whether a member says yes: `true`, also as people write it."""
    return plain(node.text[:40]) in YES


def no(node: Node) -> bool:
    """Tell whether a member says no, and not merely nothing."""
    return plain(node.text[:40]) in NO


def words(node: Node) -> tuple[Node, ...]:
    """Return what a member lists: its entries, or the words of one text (`repo, admin:org`)."""
    if node.list:
        return tuple(one for one in node.list if one.text)
    parts = (word.strip("'\"[]{}") for word in re.split(r"[\s,;|]+", node.text))
    return tuple(Node(word, node.line) for word in parts if word)


def rights(node: Node) -> tuple[Node, ...]:
    """Return what a member lets do: a text of several words is one right, too, as people write it ("Full access")."""
    return (*words(node), *((node,) if " " in node.text.strip() else ()))


def elsewhere(path: str, place: Place, *nodes: Node) -> tuple[Place, ...]:
    """Return the other lines on which an entry says what counts."""
    lines = dict.fromkeys(node.line for node in nodes if node)
    return tuple(Place(path, line) for line in lines if line != place.line)


def below(base: int, **nodes: Node) -> Mapping[str, int]:
    """Return how many lines below a place members stand. Relative, so that a place can be moved."""
    return {name: node.line - base for name, node in nodes.items() if node}
