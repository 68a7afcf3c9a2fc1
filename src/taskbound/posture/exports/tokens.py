"""Tokens as any issuer lists them: a table with a name, an end, and whose each is. Known by these members alone.

GitLab's deploy tokens, Azure DevOps' personal tokens, Okta's API tokens, npm, Atlassian, registries, and the table that
somebody keeps of them.
"""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports.rows import below, first, folded, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

_NAMES = (
    "tokenname",
    "keyname",
    "credentialname",
    "secretname",
    "displayname",
    "name",
    "title",
    "label",
    "description",
    "note",
    "token",
    "id",
)
_OWNERS = (
    "owner",
    "owneremail",
    "createdby",
    "creator",
    "user",
    "username",
    "useremail",
    "login",
    "userid",
    "email",
    "createdbyuser",
    "issuedto",
)
_ENDS = (
    "expires",
    "expiresat",
    "expireson",
    "expiry",
    "expirydate",
    "expirationdate",
    "expiration",
    "expiredate",
    "validto",
    "validuntil",
    "enddate",
    "enddatetime",
    "notafter",
    "expiresdate",
)
_USED = (
    "lastused",
    "lastusedat",
    "lastuseddate",
    "lastusedon",
    "lastseen",
    "lastseenat",
    "lastaccessed",
    "lastaccesseddate",
    "lastauthenticated",
    "lastactivity",
)
_MADE = (
    "created",
    "createdat",
    "createdon",
    "createddate",
    "creationdate",
    "createdatetime",
    "issued",
    "issuedat",
    "validfrom",
    "startdatetime",
    "lastrotated",
    "rotatedat",
    "lastrotateddate",
    "lastchangeddate",
)
# Members that only a list of tokens or keys has.
_TELLING = (
    "tokenid",
    "tokenname",
    "tokentype",
    "keyid",
    "keyname",
    "keytype",
    "apikeyid",
    "credentialid",
    "credentialname",
    "accesstokenid",
    "authorizationid",
    "tokenprefix",
    "lasteight",
    "last4",
    "tokenlast4",
    "keyprefix",
    "secretname",
    "secretid",
    "token",
    "tokenwindow",
    "apitoken",
    "credentialtype",
)
_NEVER = re.compile(
    r"^(?:|-|never|none|null|n/?a|no(?:ne)?[ _-]?expir\w*|unlimited|infinite|permanent|not set"
    r"|does not expire|9999.*)$",
    re.IGNORECASE,
)
_DEAD = frozenset(["revoked", "inactive", "disabled", "expired", "deleted", "false", "suspended"])


def read_token(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a token. What the list does not say stays unsaid: no end is one only where there is a column for it."""
    members = folded(row)
    name = first(members, *_NAMES)
    place = Place(path, name.line or row.line)
    ends = next((members[one] for one in _ENDS if one in members), NOTHING)
    facts: dict[str, object] = {
        "name": name.text,
        "owner": first(members, *_OWNERS).text,
        "active": not (
            yes(members.get("revoked", NOTHING)) or yes(members.get("expired", NOTHING)) or _status(members) in _DEAD
        ),
        "scopes": _scopes(members),
        "offsets": below(place.line, **({"expires": ends} if ends else {}), name=name),
    }
    if ends:
        facts["expires"] = None if _NEVER.match(ends.text.strip()) else moment(ends.text)
        if facts["expires"] is None and not _NEVER.match(ends.text.strip()):
            del facts["expires"]  # a day that nobody can read is no missing end
    if used := next((members[one] for one in _USED if one in members), None):
        facts["used"] = moment(used.text)
    if created := moment(first(members, *_MADE).text):
        facts["created"] = created
    identity = first(members, "tokenid", "id", "keyid", "credentialid", "authorizationid").text or name.text
    yield Principal(f"api-token:{path.rpartition('/')[2].partition('.')[0]}/{identity}", "api-token", place, facts)


def _status(members: Mapping[str, Node]) -> str:
    return first(members, "status", "state", "active", "enabled", "isvalid").text.strip().lower()


def _scopes(members: Mapping[str, Node]) -> tuple[str, ...]:
    node = next((members[one] for one in ("scopes", "scope", "permissions") if one in members), NOTHING)
    return tuple(one.text for one in node.list if one.text) or tuple(filter(None, re.split(r"[\s,;|]+", node.text)))


TABLES = (
    (
        (
            frozenset(_TELLING),
            frozenset(_ENDS),
            frozenset((*_OWNERS, *_USED, *_MADE, "scopes", "scope", "permissions")),
        ),
        read_token,
    ),
    # GitLab's deploy tokens; Azure DevOps' personal ones.
    ((frozenset({"username"}), frozenset({"expiresat"}), frozenset({"scopes"}), frozenset({"revoked"})), read_token),
    ((frozenset({"validto"}), frozenset({"validfrom"}), frozenset({"scope"})), read_token),
)
