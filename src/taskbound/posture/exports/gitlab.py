"""GitLab: personal, project and group access tokens, as its REST API lists them."""

from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import below, moment, no, words, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting


def read_token(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a token. One with an access level is a project's or a group's; its user is a bot, no person.

    Whose a personal one is may be told by the number of the user alone: who that is says GitLab's list of users.
    """
    name, scopes, expires = row.at("name"), words(row.at("scopes")), row.items.get("expires_at")
    number = row.at("user_id").text if "access_level" not in row.items else ""
    facts: dict[str, object] = {
        "name": name.text,
        "owner": row.at("user", "username").text or (f"user_id {number}" if number else ""),
        "personal": "access_level" not in row.items,
        "active": not (no(row.at("active")) or yes(row.at("revoked"))),
        "scopes": tuple(scope.text for scope in scopes),
        "offsets": {
            **below(name.line, **({"expires": expires} if expires else {})),
            **{f"scope {scope.text}": scope.line - name.line for scope in scopes},
        },
    }
    if expires is not None:
        facts["expires"] = moment(expires.text)
    if created := moment(row.at("created_at").text):
        facts["created"] = created
    if "last_used_at" in row.items:
        facts["used"] = moment(row.at("last_used_at").text)
    yield Principal(f"gitlab-token:{row.at('id').text}", "gitlab-token", Place(path, name.line), facts)


READERS = (
    (
        (
            frozenset({"revoked"}),
            frozenset({"scopes"}),
            frozenset({"expires_at"}),
            frozenset({"user_id", "access_level"}),
            frozenset({"name"}),
        ),
        read_token,
    ),
)
