"""Repositories: what a forge lists of them (GitHub, GitLab, Gitea, Bitbucket, Azure DevOps), or a table of the same."""

from collections.abc import Iterator

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.columns import NAMES as COLUMNS
from taskbound.posture.exports.columns import plain
from taskbound.posture.exports.rows import first, folded, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

NAMES = (
    *("fullname", "pathwithnamespace", "namewithowner", "path", "name", "repository", "repo", "repositoryname"),
    *("reponame", "projectpath", "project", "slug"),
)
ARCHIVED = ("archived", "isarchived", "archivedat", "isdisabled")  # Azure DevOps switches off what others archive
STATUS = ("status", "state", "lifecycle")
PUSHED = (
    *("pushedat", "lastactivityat", "lastpush", "lastpushed", "lastpushedat", "lastcommit", "lastcommitat"),
    *("lastcommitdate", "lastactivity", "lastupdated", "lastupdatetime", "updatedat", "updatedon"),
)
SHOWN = ("visibility", "private", "isprivate")
OPEN = frozenset({"public", "published"})
# What a list of repositories says beside: a thing that has a name and is archived may be anything.
BESIDE = frozenset(
    (*PUSHED, "visibility", "defaultbranch", "private", "isprivate", "htmlurl", "sshurl", "httpurltorepo", "remoteurl")
)


def read_repository(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a repository. It is known by the last part of its name, as its checkout is."""
    members = folded(row)
    name = first(members, *NAMES)
    shown = first(members, "name", "path") or name
    said = [members.get(one, NOTHING) for one in ARCHIVED]
    status = plain(first(members, *STATUS).text)
    archived = COLUMNS.get(status, status) == "archived" or any(yes(one) or moment(one.text) for one in said)
    facts: dict[str, object] = {"archived": archived}
    shows = first(members, *SHOWN)
    if shows and (plain(shows.text) in ("private", "internal") or (plain(shows.text) not in OPEN and yes(shows))):
        facts["private"] = True
    if pushed := moment(first(members, *PUSHED).text):
        facts["pushed"] = pushed
    yield Principal(
        f"repository:{name.text.rstrip('/').rsplit('/', 1)[-1]}", "repository", Place(path, shown.line), facts
    )


def read_archived(document: Document) -> Iterator[Sighting]:
    """Read the names under `archived:` and kin."""
    for root in document.roots:
        for name, of in root.items.items():
            for one in of.list if plain(name) in _ARCHIVED_ARE else ():
                if one.text:
                    known = f"repository:{one.text.rstrip('/').rsplit('/', 1)[-1]}"
                    yield Principal(known, "repository", Place(document.path, one.line), {"archived": True})


_ARCHIVED_ARE = frozenset({"archived", "archivedrepositories", "archivedrepos", "archivedprojects"})
TABLES = (
    ((frozenset(NAMES), frozenset(ARCHIVED), BESIDE), read_repository),
    ((frozenset({"repository", "repo", "fullname", "repositoryname"}), frozenset(STATUS), BESIDE), read_repository),
)
