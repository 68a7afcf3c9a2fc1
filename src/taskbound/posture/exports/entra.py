"""Entra ID: applications and service principals, as Microsoft Graph lists them."""

from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import below, first, moment
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
            ends = secret.at("endDateTime")
            key: dict[str, object] = {"of": identity, "active": True, "name": secret.at("displayName").text}
            if created := moment(secret.at("startDateTime").text):
                key["created"] = created
            if expires := moment(ends.text):
                key["expires"] = expires
            yield Principal(f"{kind}:{name.text}/{number}", kind, Place(path, ends.line or secret.line), key)


def _implicit(row: Node) -> Node:
    """Whether access tokens are given by the implicit grant: as Graph says it, and as the portal's manifest does."""
    return row.at("web", "implicitGrantSettings", "enableAccessTokenIssuance") or row.at("oauth2AllowImplicitFlow")


READERS = ((((frozenset({"appId"}), frozenset(KINDS))), read_application),)
