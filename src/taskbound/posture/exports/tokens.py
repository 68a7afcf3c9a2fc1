"""Tokens as any issuer lists them: a table with a name, an end, and whose each is. Known by these members alone, or by
fewer of them where the file, or what holds the list, is called after tokens.

GitLab's deploy tokens, Azure DevOps' personal tokens, Okta's API tokens, npm, Atlassian, Bitbucket, Databricks,
Snowflake, Vault's accessors, Terraform Cloud, Datadog, Cloudflare, Grafana, SonarQube, Elasticsearch, registries, and
the table that somebody keeps of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.columns import GONE, plain
from taskbound.posture.exports.rows import below, first, folded, moment, no, rights, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

_NAMES = (
    *("tokenname", "tokenlabel", "keyname", "keylabel", "apikeyname", "credentialname", "secretname", "patname"),
    *("displayname", "name", "title", "label", "description", "desc", "comment", "note", "token", "id", "accessor"),
    *("app", "appname", "clientname"),
)
_OWNERS = (
    *("owner", "owneremail", "user", "username", "useremail", "login", "userprincipalname", "email"),
    *("ownedby", "tokenowner", "keyowner", "createdby", "creator", "createdbyuser", "createdbyusername", "issuedto"),
    "userid",
)
_ENDS = (
    *("expires", "expiresat", "expireson", "expiry", "expirydate", "expirytime", "expiryat"),
    *("expirationdate", "expiration", "expirationtime", "expirationat", "expiredate", "validto"),
    *("validuntil", "enddate", "enddatetime", "notafter", "expiresdate", "secretenddate", "secretexpiry"),
    *("secretexpirydate", "keyexpiry", "expiretime", "expireat", "expiredat", "tokenexpiry", "expiredon"),
)
_USED = (
    *("lastused", "lastusedat", "lastuseddate", "lastusedon", "lastusedday", "lastuse", "lastseen"),
    *("lastseenat", "lastaccessed", "lastaccesseddate", "lastauthenticated", "lastactivity", "lastactiveat"),
    *("lastactivityat", "lastusedtime", "lastusetime", "datelastused", "lastconnectiondate", "lastuseat"),
)
_MADE = (
    *("created", "createdat", "createdon", "createddate", "creationdate", "creationtime", "createdatetime"),
    *("issued", "issuedat", "validfrom", "startdate", "startdatetime", "secretstartdate", "lastrotated"),
    *("installedon", "installedat", "addedon", "addedat"),
    *(
        "rotatedat",
        "lastrotateddate",
        "lastchangeddate",
        "creation",
        "datecreated",
        "issuetime",
        "issuedon",
        "creationdatetime",
    ),
)
# Members that only a list of tokens or keys has.
_TELLING = (
    *("tokenid", "tokenname", "tokentype", "keyid", "keyname", "keytype", "apikeyid", "credentialid"),
    *("credentialname", "accesstokenid", "authorizationid", "tokenprefix", "lasteight", "tokenlasteight"),
    *("last4", "tokenlast4", "keyprefix", "secretname", "secretid", "token", "tokenwindow", "apitoken"),
    *("credentialtype", "tokenlabel", "keylabel", "apikeyname", "patname", "tokenowner", "accessor", "isrevoked"),
    *("invalidated", "redactedvalue", "tokenlastcharacters", "partialkeyhint", "maskedkey", "maskedtoken"),
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
_NEVER_IN_WORDS = """
    noexpiration noexpirationdate noexpiry noexpirydate doesnotexpire doesntexpire neverexpires nonexpiring unlimited
    indefinite forever notapplicable nie niemals unbegrenzt unbefristet keinablauf keinablaufdatum jamais illimite
    sansexpiration nunca sincaducidad sinvencimiento ilimitado semvalidade semexpiracao mai illimitato senzascadenza
    nooit onbeperkt aldrig aldri nigdy bezterminowo nikdy soha niciodata asla suresiz eikoskaan
    """
_NEVER_SAID = frozenset(_NEVER_IN_WORDS.split())
# What a file, or a member that holds a list, is called after; and after what else that has keys, or lasts.
_NAMED = re.compile(
    r"(?<![a-z])(?:tokens?|pats?|credentials?|api[-_ ]?keys?|access[-_ ]?keys?|client[-_ ]?secrets?)(?![a-z])"
)
_ELSE = re.compile(
    r"session|cookie|licen[cs]e|public|ssh|gpg|design|style|color|device|push|reset|invit|coupon|nft|coin"
)
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
    names = tuple(one.text for one in scopes)
    facts: dict[str, object] = {
        "name": name.text,
        "owner": _owner(members),
        "active": not (any(yes(members.get(one, NOTHING)) for one in _ENDED) or _is_dead(members)),
        "personal": "personal" in kind or kind in _PERSONAL or not _OF_GITHUB.isdisjoint(names),
        "scopes": names,
        "permissions": tuple(one for one in names if one.rpartition(":")[2] in _LEVELS),
        "offsets": {
            **below(place.line, **({"expires": ends} if ends else {}), name=name),
            **{f"scope {one.text}": one.line - place.line for one in scopes},
        },
    }
    if ends:
        facts["expires"] = None if _is_never(ends.text) else moment(ends.text)
        if facts["expires"] is None and not _is_never(ends.text):
            del facts["expires"]  # a day that nobody can read is no missing end
    used = next((members[one] for one in _USED if one in members), NOTHING)
    if used and (moment(used.text) or _is_never(used.text)):  # what nobody can read is not never
        facts["used"] = moment(used.text)
    if created := moment(first(members, *_MADE).text):
        facts["created"] = created
    reads = bool(names) and all(one.rpartition(":")[2] == "read" for one in names)
    facts["bounded"] = kind.startswith("finegrained") and reads and facts.get("expires") is not None
    if len(last := first(members, "lasteight", "tokenlasteight", "last8", "lasteightcharacters").text) == 8:
        facts["tail"] = mark(last)
    identity = first(members, "tokenid", "id", "keyid", "credentialid", "authorizationid", "accessor").text or name.text
    yield Principal(f"api-token:{path.rpartition('/')[2].partition('.')[0]}/{identity}", "api-token", place, facts)


def _is_never(text: str) -> bool:
    return bool(_NEVER.match(text.strip())) or plain(text[:60]) in _NEVER_SAID


def _owner(members: Mapping[str, Node]) -> str:
    """Return whose a token is: the first that is an address, else the first name; a user may have members itself."""
    said = [members[one] for one in _OWNERS if one in members]
    parts = [folded(one) for one in said if one.items]
    names = [one.text for one in (*said, *(first(part, "email", "emailaddress", "name") for part in parts)) if one.text]
    return next((one for one in names if "@" in one), names[0] if names else "")


def _is_dead(members: Mapping[str, Node]) -> bool:
    status = first(members, "status", "state", "active", "enabled", "isvalid")
    return plain(status.text) in GONE | _DEAD or no(status)


def _scopes(members: Mapping[str, Node]) -> tuple[Node, ...]:
    name = next((one for one in _SCOPES if one in members), "")
    said = members.get(name, NOTHING)
    if name not in _ROLES or said.list:
        return rights(said)
    # A role's name may have several words: a read-only admin and one of the help desk are no admins.
    return tuple(Node(one.strip(), said.line) for one in re.split(r"[,;|]", said.text) if one.strip())


def is_list_of_tokens(document: Document) -> bool:
    """Tell whether a file, or what holds its list, is called after tokens."""
    names = [document.path.rpartition("/")[2]]
    names += [key for root in document.roots[:1] for key, one in root.items.items() if one.list]
    spelled = " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names)
    return bool(_NAMED.search(spelled)) and not _ELSE.search(spelled)


def is_token(members: Set[str]) -> bool:
    """Tell whether a row of such a list says enough: what it is called, when it was made, and one thing more."""
    more = (*_ENDS, *_USED, *_OWNERS, *_SCOPES)
    return all(not set(one).isdisjoint(members) for one in (_NAMES, _MADE, more))


def endless(seen: Iterable[Sighting]) -> Iterator[Sighting]:
    """Yield what a list says; a token of which it tells no end has none where it tells that of others."""
    told = tuple(seen)
    ends = any(one.kind == "api-token" and one.facts.get("expires") for one in told if isinstance(one, Principal))
    for one in told:
        is_silent = ends and isinstance(one, Principal) and one.kind == "api-token" and not _says_end(one)
        yield replace(one, facts={**one.facts, "expires": None}) if is_silent and isinstance(one, Principal) else one


def _says_end(token: Principal) -> bool:
    offsets = token.facts.get("offsets")
    return "expires" in token.facts or (isinstance(offsets, Mapping) and "expires" in offsets)


_SCOPES = ("scopes", "scope", "permissions", "permission", "policies", "role", "roles")
_ROLES = ("role", "roles")
_ENDED = ("revoked", "expired", "isrevoked", "invalidated", "hasexpired", "isexpired")
TABLES = (
    (
        (
            frozenset(_TELLING),
            frozenset(_ENDS),
            frozenset((*_OWNERS, *_USED, *_MADE, "scopes", "scope", "permissions")),
        ),
        read_token,
    ),
    # Without an end it is one by when it was made and used, or whose it is: some issuers' keys have none.
    ((frozenset(_TELLING), frozenset(_MADE), frozenset((*_USED, "createdby", "invalidated", "isrevoked"))), read_token),
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
