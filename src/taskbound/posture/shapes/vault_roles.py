"""Roles of Vault (and OpenBao) for tokens of others: in Terraform, JSON and YAML.

Source: the JWT/OIDC auth method's API: without bound_subject or bound_claims every token of the issuer signs in; values
are patterns only where bound_claims_type is "glob". What says nothing about who asks: audience, branch, kind of event.
"""

import re

from taskbound.posture.document import Document, Node
from taskbound.posture.readers.aws_policy import subject_is_narrow
from taskbound.posture.readers.reading import Notes, texts
from taskbound.posture.shapes.walk import first, folded, mappings, named

ANCHOR = r"bound_?claims|bound_?audiences|vault_approle_auth_backend_role"
_SAYS_WHO = re.compile(
    r"^/?(?:sub|(?:project|namespace|repository|workspace|organi[sz]ation|user|team|pipeline)(?:_?\w*)?|repositoryuuid|job_workflow_ref\w*"
    r"|terraform_\w+|.*(?:project-id|repository|workspace|serviceaccount|namespace|workload).*|email|azp|appid|client_id|oid|groups?)$",
    re.I,
)


def read(document: Document, notes: Notes) -> None:
    for node, trail in mappings(document):
        members = folded(node)
        if "boundaudiences" in members or "boundclaims" in members or "boundclaimstype" in members:
            _role(notes, members, node, named(trail))
        elif trail[-1][0] == "vault_approle_auth_backend_role":
            for label, one in node.items.items():
                _approle(notes, label, one)


def _role(notes: Notes, members: dict[str, Node], node: Node, name: str) -> None:
    if first(members, "roletype").text == "oidc" or first(members, "allowedredirecturis"):
        return  # people sign in by it
    if first(members, "boundsubject").text.strip("*"):
        return
    claims = first(members, "boundclaims")
    glob = first(members, "boundclaimstype").text == "glob"
    says_who = {key: texts(one) for key, one in claims.items.items() if _SAYS_WHO.search(key)}
    if claims.text and not claims.items:
        return  # put together elsewhere
    subject = notes.named(f"vault-role:{name or notes.file}")
    if not says_who:
        says = f"{subject} lets in every token of its issuer: no claim says whose."
        at = claims or first(members, "boundaudiences")
        notes.weakness("oidc-trust-too-wide", subject, at or node, says, node)
    elif all(_is_wide(key, values, glob) for key, values in says_who.items()):
        at = next(values for values in says_who.values())[0]
        says = f"{subject} lets in the tokens of more than one project ({next(iter(says_who))} {at.text[:60]})."
        notes.weakness("oidc-trust-too-wide", subject, at, says, claims, node)


def _is_wide(claim: str, values: tuple[Node, ...], glob: bool) -> bool:
    if not values or not glob:
        return False
    for value in values:
        before, star, _ = value.text.partition("*")
        if not star:
            continue
        if claim.strip("/") == "sub" and ":" in value.text:
            if not subject_is_narrow(value.text):
                return True
        elif before.count("/") < 1 or before.endswith("/"):
            return True
    return False


def _approle(notes: Notes, label: str, node: Node) -> None:
    members = folded(node)
    if "rolename" in members and not {"secretidttl", "secretidnumuses"} & set(members):
        subject = notes.named(f"vault-role:{members['rolename'].text or label}")
        says = f"{subject} has secret ids that never end: secret_id_ttl is 0 where nobody says otherwise."
        notes.weakness("credential-made-without-end", subject, members["rolename"], says, node)
