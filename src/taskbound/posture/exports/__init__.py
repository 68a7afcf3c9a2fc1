"""Exports: lists that an issuer, a directory or a forge gives of what it knows. Told by their members, never by a name.

Every list is a table of rows; a row becomes what the first reader makes of it whose members it has. A list that no
reader knows is read by what its columns mean (`meaning`). What the lists say is said in `facts` of principals, with the
same words for all of them:

    of identities   owner: str  owners: tuple[str, ...] (() where the list knows of none)  created: datetime
                    console: bool (a password is set)  console_used: datetime  suspended: bool
                    selection: str  permissions: tuple[str, ...] ("administration:write")
    of keys         of: str (the identity that it proves)  owner: str  mark, tail: str (of its value or its identifier)
    and tokens      active: bool  created, used, expires: datetime | None (used None: never; expires None: never;
                    missing: the list does not say)  scopes: tuple[str, ...]  personal, bounded: bool
    of people       left: bool  left_on: datetime | None  logins: tuple[str, ...]
                    account: bool (of one application alone)
    of repositories archived: bool  pushed: datetime | None
    of all          offsets: Mapping[str, int], how many lines below the place a member stands
"""

from collections.abc import Callable, Iterator, Set
from functools import lru_cache

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports import (
    accounts,
    audits,
    aws,
    consents,
    entra,
    federation,
    gcp,
    github,
    github_settings,
    gitlab,
    google_policy,
    logins,
    people,
    repositories,
    stored,
    tokens,
    trail,
)
from taskbound.posture.exports.meaning import columns, flat, lists, read_meant
from taskbound.posture.exports.rows import folded, included, inside, resource, respelled, rows, spelled
from taskbound.posture.sighting import Mark, Place, Remark, Sighting

Reader = Callable[[str, Node, Mark], Iterator[Sighting]]
FORMATS = frozenset({"json", "jsonl", "csv", "yaml"})

# Which members a row must have, each as one of several, and who reads it then. The first that fits reads it.
READERS: tuple[tuple[tuple[frozenset[str], ...], Reader], ...] = (
    *aws.READERS,
    *trail.READERS,
    *audits.READERS,
    *consents.READERS,
    *federation.READERS,
    *github_settings.READERS,
    *stored.READERS,
    *github.READERS,
    *gitlab.READERS,
    *entra.READERS,
    *gcp.READERS,
)
# The same for tables that people write too: names without case and punctuation.
TABLES: tuple[tuple[tuple[frozenset[str], ...], Reader], ...] = (
    *aws.TABLES,
    *trail.TABLES,
    *audits.TABLES,
    *consents.TABLES,
    *federation.TABLES,
    *entra.TABLES,
    *gcp.TABLES,
    *github.TABLES,
    *logins.TABLES,
    *people.TABLES,
    *tokens.TABLES,
    *repositories.TABLES,
    *consents.PERMISSIONS,
    *google_policy.TABLES,
    *accounts.TABLES,
    *aws.OWNERS,
)

# Readers of what many tables have: where the cells tell of what kind a list is, that counts.
GENERIC: frozenset[Reader] = frozenset({tokens.read_token, aws.read_tag, logins.read_login, accounts.read_owner})
# These leave out columns that such lists may have, owners and sign-ins of people among them.
WEAK = GENERIC | {aws.read_key, gcp.read_line}


MOST_MEMBERS = 100  # of a row whose reader is remembered


def read_export(document: Document, mark: Mark) -> tuple[Sighting, ...]:
    """Return what an exported list says; nothing for a document that is none."""
    if document.format not in FORMATS:
        return ()
    known: dict[tuple[str, ...], Reader | None] = {}
    beside, of_tokens = included(document), tokens.is_list_of_tokens(document)
    of_leavers = people.is_of_leavers(document.path)
    seen: list[Sighting] = [
        *aws.read_tags(document),
        *google_policy.read_policy(document),
        *(
            (*people.read_leavers(document), *accounts.read_owners(document), *repositories.read_archived(document))
            if document.format in ("json", "yaml")
            else ()
        ),
    ]

    def reader_of(row: Node) -> Reader | None:
        members = tuple(row.items)
        if members not in known:
            api, table, owners, names = _by_members(members)
            known[members] = (
                api
                or _spelling(row)
                or table
                or (_first(people.TABLES, people.spread(row).keys()) if people.has_parts(row) else None)
                or (people.read_leaver if of_leavers and not names.isdisjoint(people.MAIL) else None)
                or (tokens.read_token if of_tokens and tokens.is_token(names) else None)
                or owners
            )
        return known[members]

    read_by = set[Reader]()

    def read(row: Node) -> list[Sighting]:
        if not (reader := reader_of(row)):
            return []
        read_by.add(reader)
        return list(reader(document.path, row, mark))

    answers = {id(root) for root in document.roots if document.format in ("json", "yaml")}
    for row in rows(document):
        for one in (inside(row) or (row,)) if id(row) in answers and not reader_of(row) else (row,):
            seen += read(one) or (read(entry) if (entry := resource(one, beside)) else [])
    if answers and not seen:  # wrapped in something that no API has
        for row in (row for entries in lists(document) for one in entries for row in flat(one)):
            seen += read(row)
    if read_by <= WEAK:
        meant = tuple(read_meant(document, mark, certain=bool(seen)))
        seen = [*([] if meant and read_by <= GENERIC else seen), *meant]
    return tuple(aws.newest(tokens.endless(seen) if document.format in ("json", "jsonl") else seen))


Found = tuple[Reader | None, Reader | None, Reader | None, frozenset[str]]


def _by_members(members: tuple[str, ...]) -> Found:
    return _known(members) if len(members) <= MOST_MEMBERS else _found(members)


def _found(members: tuple[str, ...]) -> Found:
    """Return who reads a row with these members, as an API's, as a table's and as one of owners; and their names."""
    names = frozenset(folded(Node(dict.fromkeys(members, NOTHING), 0)))
    return _first(READERS, frozenset(members)), _first(TABLES, names), _first(accounts.OWNERS, names), names


def read_columns(document: Document) -> Remark | None:
    """Return the names of a table's columns: what can be said of a list that nobody understood. None of what is none.

    Topic `table`: `columns`, a text.
    """
    names = columns(document)
    return Remark("table", document.path, Place(document.path, 1), {"columns": ", ".join(names)}) if names else None


_known = lru_cache(maxsize=4096)(_found)  # the rows of a list have the same members, many files have those of others


def _spelling(row: Node) -> Reader | None:
    """Return the reader of an API's entry whose members are spelled otherwise here (`event_time`).

    What has no parts is a line of a table.
    """
    names = frozenset(map(spelled, row.items))
    if names == row.items.keys() or not any(one.items or one.list for one in row.items.values()):
        return None
    if not (reader := _first(READERS, names)):
        return None
    return lambda path, one, mark: reader(path, respelled(one), mark)


def _first(readers: tuple[tuple[tuple[frozenset[str], ...], Reader], ...], members: Set[str]) -> Reader | None:
    return next((reader for wanted, reader in readers if all(not one.isdisjoint(members) for one in wanted)), None)
