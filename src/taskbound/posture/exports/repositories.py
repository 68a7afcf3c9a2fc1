"""Repositories: what a forge lists of them (GitHub's and GitLab's REST API, or a table of the same)."""

from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import first, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting


def read_repository(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a repository. It is known by the last part of its name, as its checkout is."""
    name = first(row.items, "full_name", "path_with_namespace", "nameWithOwner", "path", "name")
    shown = first(row.items, "name", "path") or name
    facts: dict[str, object] = {"archived": yes(row.items.get("archived") or row.at("isArchived"))}
    if pushed := moment(first(row.items, "pushed_at", "last_activity_at", "pushedAt").text):
        facts["pushed"] = pushed
    yield Principal(f"repository:{name.text.rsplit('/', 1)[-1]}", "repository", Place(path, shown.line), facts)


READERS = (
    (
        (
            frozenset({"name", "full_name", "path_with_namespace", "nameWithOwner"}),
            frozenset({"archived", "isArchived"}),
            frozenset({"pushed_at", "last_activity_at", "pushedAt"}),
        ),
        read_repository,
    ),
)
