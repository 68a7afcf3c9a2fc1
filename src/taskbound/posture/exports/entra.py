"""Entra ID: applications and service principals, as Microsoft Graph lists them."""

import re
from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.columns import plain
from taskbound.posture.exports.rows import below, first, folded, moment
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

KINDS = {"passwordCredentials": "entra-client-secret", "keyCredentials": "entra-certificate"}


def read_application(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an application and its credentials. `owners` is listed only where it was asked for ($expand)."""
    name = first(row.items, "displayName", "appId")
    identity = f"entra-app:{name.text}"
    facts: dict[str, object] = {"app": row.at("appId").text}
    if "owners" in row.items:
        facts["owners"] = tuple(
            found.text
            for one in row.at("owners").list
            if (found := first(one.items, "userPrincipalName", "mail", "id"))
        )
        facts["offsets"] = below(name.line, owners=row.at("owners"))
    implicit = _implicit(row)
    if implicit and implicit.text == "true":
        facts["implicit"] = True
        facts["offsets"] = {**facts.get("offsets", {}), **below(name.line, implicit=implicit)}  # type: ignore[dict-item]
    yield Principal(identity, "entra-app", Place(path, name.line), facts)
    for members, kind in KINDS.items():
        for number, secret in enumerate(row.at(members).list, 1):
            ends = first(secret.items, "endDateTime", "endDate")  # as the older API of the directory had it, too
            key: dict[str, object] = {"of": identity, "active": True, "name": secret.at("displayName").text}
            if created := moment(first(secret.items, "startDateTime", "startDate").text):
                key["created"] = created
            if expires := moment(ends.text):
                key["expires"] = expires
            yield Principal(f"{kind}:{name.text}/{number}", kind, Place(path, ends.line or secret.line), key)


def _implicit(row: Node) -> Node:
    """Whether access tokens are given by the implicit grant: as Graph says it, and as the portal's manifest does."""
    return row.at("web", "implicitGrantSettings", "enableAccessTokenIssuance") or row.at("oauth2AllowImplicitFlow")


def read_secret(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table of applications' secrets and certificates, as scripts for the portal write them."""
    members = folded(row)
    name, ends = first(members, *_NAMES), first(members, *_ENDS)
    identity, expires = f"entra-app:{name.text}", moment(ends.text)
    owner = first(members, *_OWNERS).text.strip()
    owners = tuple(one for one in re.split(r"[;,|\s]+", owner) if "@" in one) or tuple(filter(None, (owner,)))
    told: dict[str, object] = {"owners": owners} if not set(_OWNERS).isdisjoint(members) else {}
    if app := first(members, "applicationid", "appid", "clientid").text:
        told["app"] = app
    yield Principal(identity, "entra-app", Place(path, name.line), told)
    if not expires:
        return
    kind = (
        "entra-certificate"
        if "cert" in first(members, *_KINDS_SAID, *_KINDS_ELSEWHERE).text.lower()
        else "entra-client-secret"
    )
    secret = first(members, "secretname", "credentialname", "keyid", "secretid").text
    key: dict[str, object] = {"of": identity, "active": True, "name": secret, "expires": expires}
    if created := moment(first(members, *_BEGINS).text):
        key["created"] = created
    yield Principal(f"{kind}:{name.text}/{secret}", kind, Place(path, ends.line), key)


def read_kind(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table whose cells alone say that it is of secrets: what an application has of another kind ends,
    too (a licence, a contract).
    """
    if _SECRET.search(plain(first(folded(row), *_KINDS_SAID, *_KINDS_ELSEWHERE).text)):
        yield from read_secret(path, row, mark)


_NAMES = ("applicationname", "appname", "appdisplayname", "appregistration", "application", "displayname")
_ENDS = (
    *("secretenddate", "secretexpiry", "secretexpirydate", "secretexpires", "certificateenddate", "certenddate"),
    *("credentialenddate", "credentialexpiry", "enddatetime", "enddate", "expirydate", "expires", "expireson"),
)
_OWNERS = ("owner", "owners", "ownerupn", "owneremail")
_BEGINS = ("secretstartdate", "certificatestartdate", "startdatetime", "startdate", "created", "createdon")
_KINDS_SAID = ("type", "credentialtype", "keytype")
_KINDS_ELSEWHERE = ("nature", "typ", "tipo", "art", "kind", "soort")
_SECRET = re.compile(r"secret|cert|password|passwort|kennwort|geheim|motdepasse|contrasena|segreto|segredo|zertifikat")
TABLES = (
    (
        (
            frozenset(_NAMES),
            frozenset({"applicationid", "appid", "clientid", "applicationobjectid", "application"}),
            frozenset({"secretname", "credentialname", "credentialtype", "keyid", "secretid", "secretenddate"}),
            frozenset(_ENDS),
        ),
        read_secret,
    ),
    (
        (
            frozenset(_NAMES),
            frozenset({"applicationid", "appid", "clientid"}),
            frozenset((*_KINDS_SAID, *_KINDS_ELSEWHERE)),
            frozenset(_ENDS),
        ),
        read_kind,
    ),
)
READERS = ((((frozenset({"appId"}), frozenset(KINDS))), read_application),)
