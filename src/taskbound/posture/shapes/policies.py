"""AWS policies within anything: exports of accounts, arguments of modules, Serverless, SAM, Pulumi and kin.

A statement is known by its members (effect, action, resource). What AWS keeps itself is nobody's mistake: its own
policies, service-linked roles, roles of single sign-on for people, old versions.
"""

import re
from urllib.parse import unquote

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import aws_policy
from taskbound.posture.readers.reading import Notes, each, texts
from taskbound.posture.shapes.walk import Trail, folded, mappings, named

ANCHOR = (
    r"\bEffect[\"']?[ \t]*[:=][ \t]*[\"']?Allow|%22Allow%22|\bPolicyArn[\"']?[ \t]*[:=]"
    r"|\bactions[\"']?[ \t]*[:=][ \t]*\[\s{0,8}[\"']\*|notActions|not_actions"
)
_VENDORS = re.compile(
    r"^arn:aws[\w-]*:iam::aws:|:role/aws-service-role/|:role/aws-reserved/|/aws-service-role/"
    r"|^AWSReservedSSO_|^AWSServiceRole"
)
_ADMINISTRATOR = re.compile(r"arn:aws[\w-]*:iam::aws:policy/(?:AdministratorAccess|IAMFullAccess)$")
# Who signs in by SAML or SSO, or whoever the account itself lets in and nobody else: that is how people take a role.
_OF_PEOPLE = re.compile(
    r"saml-provider/|AWSReservedSSO|\bOrganizationAccountAccessRole\b"
    r"|\A(?!.*(?:amazonaws\.com|oidc-provider/|:role/|:user/)).*:root\b",
    re.S,
)


def read(document: Document, notes: Notes) -> None:
    for node, trail in mappings(document):
        if any(_is_vendors(one) for _, one in trail):
            continue
        for one in node.items.values():
            if one.text[:6].startswith(("%7B", '{"')) and "Statement" in one.text:
                _policy(notes, aws_policy.from_json(Node(unquote(one.text), one.line)), _subject(notes, trail))
        if any(key.lower() == "statement" for key in node.items):
            _policy(notes, node, _subject(notes, trail))
        elif statement := _statement(node):
            _rights(notes, (statement,), _subject(notes, trail))
        _attached(notes, node, trail)
        _custom_role(notes, node, trail)


def _is_vendors(node: Node) -> bool:
    said = (
        node.at(name).text for name in ("Arn", "Path", "RoleName", "PolicyArn" if "Document" in node.items else "Arn")
    )
    return any(_VENDORS.search(one) for one in said if one) or node.at("IsDefaultVersion").value is False


def _subject(notes: Notes, trail: Trail) -> str:
    for _, one in reversed(trail):
        for member, prefix in (("RoleName", "role"), ("UserName", "user"), ("GroupName", "group")):
            if said := one.at(member).text:
                return f"aws:{prefix}/{said}"
    return notes.named(f"aws:policy/{named(trail) or notes.file}")


def _policy(notes: Notes, policy: Node, subject: str) -> None:
    found = aws_policy.statements(policy) or aws_policy.from_blocks(policy)
    _rights(notes, tuple(one for one in found if not _names_principal(one.node)), subject)
    for at, why in aws_policy.wide_trust(found):
        notes.weakness("oidc-trust-too-wide", subject, at, f"{subject} trusts too much: {why}.", *_evidence(found))


def _evidence(found: tuple[aws_policy.Statement, ...]) -> tuple[Node, ...]:
    return tuple(one.node for one in found[:1])


def _names_principal(node: Node) -> bool:
    return any(key.lower().startswith(("principal", "notprincipal")) for key in node.items)


def _statement(node: Node) -> aws_policy.Statement | None:
    """A mapping that is a statement by itself: in lists of modules, of Serverless, of code."""
    members = folded(node)
    actions = members.get("action") or members.get("actions")
    resources = members.get("resource") or members.get("resources")
    if not (actions and resources) or _names_principal(node):
        return None
    effect = members.get("effect", NOTHING).text or ("Allow" if "actions" in node.items else "")
    conditioned = tuple(aws_policy.Condition("", key, ()) for key in members if key.startswith("condition"))
    return aws_policy.Statement(node, effect or "Deny", texts(actions), texts(resources), (), conditioned)


def _rights(notes: Notes, found: tuple[aws_policy.Statement, ...], subject: str) -> None:
    for case, what, action, resource in aws_policy.rights(found):
        notes.weakness(case, subject, action, f"{subject} may {what}.", resource)


def _attached(notes: Notes, node: Node, trail: Trail) -> None:
    """Note a role or user of an export that AdministratorAccess is attached to; of people's roles it is meant."""
    if not (node.at("RoleName").text or node.at("UserName").text):
        return
    trust = " ".join(one.text for _, one in node.at("AssumeRolePolicyDocument").scalars())
    if _OF_PEOPLE.search(f"{trust} {node.at('RoleName').text}"):
        return
    for one in each(node.at("AttachedManagedPolicies")):
        if _ADMINISTRATOR.search(one.at("PolicyArn").text):
            subject = _subject(notes, trail)
            says = f"{subject} is given AdministratorAccess: whoever holds one of its credentials owns the account."
            notes.weakness(
                "iam-star-star", subject, one.at("PolicyArn"), says, node.at("RoleName") or node.at("UserName")
            )


def _custom_role(notes: Notes, node: Node, trail: Trail) -> None:
    """Note a role definition of Azure with every action: `actions` without resources, beside what is excepted."""
    members = folded(node)
    actions = members.get("actions", NOTHING)
    if not ({"notactions", "dataactions", "notdataactions"} & set(members)) or "resources" in members:
        return
    everything = next((one for one in texts(actions) if one.text == "*"), None)
    excepted = any("authorization" in one.text.lower() for one in texts(members.get("notactions", NOTHING)))
    if everything and not excepted and named(trail) not in ("Owner", "owner"):
        subject = notes.named(f"azure:role/{named(trail)}")
        says = f"{subject} allows every action: it is Owner by another name."
        notes.weakness("owner-role-assigned", subject, everything, says)
