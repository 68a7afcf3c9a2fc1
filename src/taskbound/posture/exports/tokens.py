"""Tokens as any issuer lists them: a table with a name, an end, and whose each is. Known by these members alone.

GitLab's deploy tokens, Azure DevOps' personal tokens, Okta's API tokens, npm, Atlassian, Bitbucket, Databricks,
Snowflake, registries, and the table that somebody keeps of them.
"""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports.columns import GONE, plain
from taskbound.posture.exports.rows import below, first, folded, moment, no, words, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

_NAMES = (
    *("tokenname", "keyname", "credentialname", "secretname", "displayname", "name", "title", "label"),
    *("description", "comment", "note", "token", "id"),
)
_OWNERS = (
    *("owner", "owneremail", "user", "username", "useremail", "login", "userprincipalname", "email"),
    *("userid", "createdby", "creator", "createdbyuser", "createdbyusername", "issuedto"),
)
_ENDS = (
    *("expires", "expiresat", "expireson", "expiry", "expirydate", "expirytime", "expiryat"),
    *("expirationdate", "expiration", "expirationtime", "expirationat", "expiredate", "validto"),
    *("validuntil", "enddate", "enddatetime", "notafter", "expiresdate", "secretenddate", "secretexpiry"),
    *("secretexpirydate", "keyexpiry"),
)
_USED = (
    *("lastused", "lastusedat", "lastuseddate", "lastusedon", "lastusedday", "lastuse", "lastseen"),
    *("lastseenat", "lastaccessed", "lastaccesseddate", "lastauthenticated", "lastactivity", "lastactiveat"),
    *("lastactivityat",),
)
_MADE = (
    *("created", "createdat", "createdon", "createddate", "creationdate", "creationtime", "createdatetime"),
    *("issued", "issuedat", "validfrom", "startdate", "startdatetime", "secretstartdate", "lastrotated"),
    *("rotatedat", "lastrotateddate", "lastchangeddate"),
)
# Members that only a list of tokens or keys has.
_TELLING = (
    *("tokenid", "tokenname", "tokentype", "keyid", "keyname", "keytype", "apikeyid", "credentialid"),
    *("credentialname", "accesstokenid", "authorizationid", "tokenprefix", "lasteight", "tokenlasteight"),
    *("last4", "tokenlast4", "keyprefix", "secretname", "secretid", "token", "tokenwindow", "apitoken"),
    *("credentialtype",),
)
_NEVER = re.compile(
    r"^(?:|-|-1|0|never|none|null|n/?a|no(?:ne)?[ _-]?expir\w*|unlimited|infinite|permanent|not set"
    r"|does not expire|9999.*)$",
    re.IGNORECASE,
)
# Who may take what GitHub's personal tokens may: no other issuer has these names.
_OF_GITHUB = frozenset(
    {"repo", "workflow", "gist", "delete_repo", "public_repo", "repo:status", "admin:org", "read:org", "write:org"}
    | {"admin:repo_hook", "read:packages", "write:packages", "delete:packages", "admin:public_key", "admin:org_hook"}
)
_LEVELS = frozenset({"read", "write", "admin"})  # of a fine-grained token's permissions
_PERSONAL = frozenset({"classic", "finegrained", "classicpat", "patclassic", "finegrainedpat", "patfinegrained", "pat"})
_DEAD = frozenset(
    {"revoked", "expired", "deleted", "denied", "widerrufen", "abgelaufen", "revoque", "expire", "revocado"}
)


def read_token(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a token. What the list does not say stays unsaid: no end is one only where there is a column for it."""
    members = folded(row)
    name = first(members, *_NAMES)
    place = Place(path, name.line or row.line)
    ends = next((members[one] for one in _ENDS if one in members), NOTHING)
    kind = plain(first(members, "tokentype", "credentialtype", "tokenkind", "type", "kind").text)
    scopes = _scopes(members)
    facts: dict[str, object] = {
        "name": name.text,
        "owner": _owner(members),
        "active": not (any(yes(members.get(one, NOTHING)) for one in ("revoked", "expired")) or _is_dead(members)),
        "personal": "personal" in kind or kind in _PERSONAL or not _OF_GITHUB.isdisjoint(scopes),
        "scopes": scopes,
        "permissions": tuple(one for one in scopes if one.rpartition(":")[2] in _LEVELS),
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
    reads = bool(scopes) and all(one.rpartition(":")[2] == "read" for one in scopes)
    facts["bounded"] = kind.startswith("finegrained") and reads and facts.get("expires") is not None
    if len(last := first(members, "lasteight", "tokenlasteight", "last8", "lasteightcharacters").text) == 8:
        facts["tail"] = mark(last)
    identity = first(members, "tokenid", "id", "keyid", "credentialid", "authorizationid").text or name.text
    yield Principal(f"api-token:{path.rpartition('/')[2].partition('.')[0]}/{identity}", "api-token", place, facts)


def _owner(members: Mapping[str, Node]) -> str:
    """Return whose a token is: the first that is an address, else the first name; a user may have members itself."""
    said = [members[one] for one in _OWNERS if one in members]
    parts = [folded(one) for one in said if one.items]
    names = [one.text for one in (*said, *(first(part, "email", "emailaddress", "name") for part in parts)) if one.text]
    return next((one for one in names if "@" in one), names[0] if names else "")


def _is_dead(members: Mapping[str, Node]) -> bool:
    status = first(members, "status", "state", "active", "enabled", "isvalid")
    return plain(status.text) in GONE | _DEAD or no(status)


def _scopes(members: Mapping[str, Node]) -> tuple[str, ...]:
    node = next((members[one] for one in ("scopes", "scope", "permissions") if one in members), NOTHING)
    return tuple(one.text for one in words(node))


TABLES = (
    (
        (
            frozenset(_TELLING),
            frozenset(_ENDS),
            frozenset((*_OWNERS, *_USED, *_MADE, "scopes", "scope", "permissions")),
        ),
        read_token,
    ),
    # What has rights, an end and a last use, and is none of people: nothing else is listed so.
    ((frozenset({"scopes", "scope"}), frozenset(_ENDS), frozenset(_USED), frozenset(_OWNERS)), read_token),
    # GitLab's deploy tokens; Azure DevOps' personal ones.
    ((frozenset({"username"}), frozenset({"expiresat"}), frozenset({"scopes"}), frozenset({"revoked"})), read_token),
    ((frozenset({"validto"}), frozenset({"validfrom"}), frozenset({"scope"})), read_token),
    # Atlassian's; those of Bitbucket's own servers; Snowflake's programmatic ones.
    ((frozenset({"label"}), frozenset({"user"}), frozenset({"expiresat"}), frozenset({"createdat"})), read_token),
    ((frozenset({"lastauthenticated"}), frozenset({"permissions"}), frozenset({"createddate"})), read_token),
    ((frozenset({"rolerestriction"}), frozenset({"username"}), frozenset({"expiresat"})), read_token),
)
