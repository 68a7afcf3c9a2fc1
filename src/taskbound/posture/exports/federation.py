"""Federation and roles of Azure: which tokens of other issuers an application takes, and what programs may do.

Microsoft Graph's federatedIdentityCredentials (`az ad app federated-credential list`, `az identity federated-credential
list`), `az role assignment list`.

Topic `right`, of a role: `names` (people who hold it by name), `what`.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.columns import plain
from taskbound.posture.exports.rows import first, folded
from taskbound.posture.sighting import Mark, Place, Remark, Sighting, Weakness

# What a subject ends in when whoever opens a pull request, or pushes a branch of any name, gets the token.
_PULL = re.compile(r":pull_request$|:ref_type:branch:ref:\*$|:ref:refs/pull/|:ref:refs/heads/\*$")
_WIDE = re.compile(r"(?:matches|like)\s+['\"][^'\"]*(?:repo:|project_path:)[^'\"]*\*", re.IGNORECASE)
_NARROW = re.compile(r"repo:[^/*:]+/[^/*:]+:(?:environment:[^*]+|ref:refs/(?:heads|tags)/[^*]*\*?)['\"]")
_ISSUERS = re.compile(
    r"token\.actions\.githubusercontent\.com|gitlab|circleci|buildkite|app\.terraform\.io|bitbucket|vstoken|dev\.azure"
)
_RULING = frozenset({"Owner", "User Access Administrator", "Role Based Access Control Administrator"})
_WHOLE = re.compile(r"/subscriptions/[^/]+/?|/providers/Microsoft\.Management/managementGroups/[^/]+/?|/")


def read_credential(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a federated credential; a subject is compared as a whole, an expression may have wildcards."""
    subject, issuer = row.at("subject"), row.at("issuer")
    expression = row.at("claimsMatchingExpression", "value") or row.at("claimsMatchingExpression")
    name = first(row.items, "name", "id")
    of = f"entra-federation:{name.text}"
    more = tuple(Place(path, one.line) for one in (name, row.at("description")) if one)
    if _ISSUERS.search(issuer.text) and _PULL.search(subject.text):
        says = f"{of} gives its application's token to every pull request's pipeline ({subject.text})."
        yield Weakness("oidc-trust-too-wide", of, Place(path, subject.line), says, more)
    elif _WIDE.search(expression.text) and not _NARROW.search(expression.text):
        says = f"{of} takes the tokens of more than one project."
        yield Weakness("oidc-trust-too-wide", of, Place(path, expression.line), says, more)


def read_assignment(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a role assignment: programs that own a whole subscription, and what people have by name."""
    members = folded(row)
    role, scope = first(members, "roledefinitionname", "role", "rolename"), first(members, "scope")
    kind = first(members, "principaltype", "objecttype").text
    name = first(members, "principalname", "displayname", "principal", "principalid", "objectid")
    if plain(kind) == "user":
        who = first(members, "signinname", "userprincipalname", "principalname", "mail")
        if "@" in who.text:
            names, of = {"names": (who.text.lower(),), "what": role.text}, f"azure:{role.text} of {scope.text}"
            yield Remark("right", of, Place(path, who.line), names)
    elif (
        plain(kind) in ("serviceprincipal", "msi", "application", "managedidentity", "app")
        and role.text in _RULING
        and _WHOLE.fullmatch(scope.text)
    ):
        of = f"entra-app:{name.text}"
        says = f"{of} is {role.text} of {scope.text}: whoever holds its credentials owns it."
        yield Weakness(
            "iam-star-star", of, Place(path, role.line), says, (Place(path, name.line), Place(path, scope.line))
        )


READERS = (
    (
        (frozenset({"issuer"}), frozenset({"subject", "claimsMatchingExpression"}), frozenset({"audiences"})),
        read_credential,
    ),
)
TABLES = (
    (
        (frozenset({"roledefinitionname", "role"}), frozenset({"scope"}), frozenset({"principaltype", "objecttype"})),
        read_assignment,
    ),
)
