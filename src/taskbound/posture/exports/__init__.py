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

from collections.abc import Callable, Iterator
from functools import lru_cache

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports import (
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
from taskbound.posture.exports.rows import folded, inside, rows
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
    *logins.TABLES,
    *people.TABLES,
    *tokens.TABLES,
    *repositories.TABLES,
    *consents.PERMISSIONS,
    *google_policy.TABLES,
    *aws.OWNERS,
)

# Readers of what many tables have: where the cells tell of what kind a list is, that counts.
GENERIC: frozenset[Reader] = frozenset({tokens.read_token, aws.read_tag, logins.read_login})
# These leave out columns that such lists may have, owners and sign-ins of people among them.
WEAK = GENERIC | {aws.read_key, gcp.read_line}


MOST_MEMBERS = 100  # of a row whose reader is remembered


def read_export(document: Document, mark: Mark) -> tuple[Sighting, ...]:
    """Return what an exported list says; nothing for a document that is none."""
    if document.format not in FORMATS:
        return ()
    seen: list[Sighting] = [*aws.read_tags(document), *google_policy.read_policy(document)]
    read_by = set[Reader]()
    answers = {id(root) for root in document.roots if document.format in ("json", "yaml")}
    for row in rows(document):
        for one in inside(row) if id(row) in answers and not _reader_of(row) else (row,):
            if reader := _reader_of(one):
                read_by.add(reader)
                seen += reader(document.path, one, mark)
    if answers and not seen:  # wrapped in something that no API has
        for row in (row for entries in lists(document) for one in entries for row in flat(one)):
            if reader := _reader_of(row):
                read_by.add(reader)
                seen += reader(document.path, row, mark)
    if read_by <= WEAK:
        meant = tuple(read_meant(document, mark, certain=bool(seen)))
        seen = [*([] if meant and read_by <= GENERIC else seen), *meant]
    return tuple(aws.newest(seen))


def read_columns(document: Document) -> Remark | None:
    """Return the names of a table's columns: what can be said of a list that nobody understood. None of what is none.

    Topic `table`: `columns`, a text.
    """
    names = columns(document)
    return Remark("table", document.path, Place(document.path, 1), {"columns": ", ".join(names)}) if names else None


def _reader_of(row: Node) -> Reader | None:
    members = tuple(row.items)
    return _known(members) if len(members) <= MOST_MEMBERS else _reader(members)


def _reader(members: tuple[str, ...]) -> Reader | None:
    """Return who reads a row with these members, whatever they are."""
    names = folded(Node(dict.fromkeys(members, NOTHING), 0))
    return _first(READERS, frozenset(members)) or _first(TABLES, frozenset(names))


_known = lru_cache(maxsize=4096)(_reader)  # the rows of a list have the same members, many files have those of others


def _first(readers: tuple[tuple[tuple[frozenset[str], ...], Reader], ...], members: frozenset[str]) -> Reader | None:
    return next((reader for wanted, reader in readers if all(not one.isdisjoint(members) for one in wanted)), None)
