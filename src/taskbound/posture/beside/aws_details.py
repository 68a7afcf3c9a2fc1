"""AWS IAM as it really is: what each user and role may do and who may take it, as its API answers.

GetAccountAuthorizationDetails, ListRoles, GetRole, GetRolePolicy, GetUserPolicy, GetPolicyVersion (`aws iam …`).
Documents are mappings, JSON text, or JSON text with URL escapes, as the API itself sends them.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from taskbound.posture.beside.roles import trusts
from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import aws_policy
from taskbound.posture.sighting import Place, Sighting, Weakness

WORDS = (
    b"AssumeRolePolicyDocument",
    b"PolicyDocument",
    b"RoleDetailList",
    b"AttachedManagedPolicies",
    b"AttachedPolicies",
)
_LISTS = ("RoleDetailList", "UserDetailList", "GroupDetailList", "Roles", "Policies")
_INLINE = ("RolePolicyList", "UserPolicyList", "GroupPolicyList")
# Managed policies of AWS that are everything, or from which everything can be had.
_ADMINISTRATOR = re.compile(r"arn:aws[\w-]*:iam::aws:policy/AdministratorAccess$")
_RAISING = re.compile(
    r"arn:aws[\w-]*:iam::aws:policy/(?:IAMFullAccess|PowerUserAccess|AWSOrganizationsFullAccess|job-function/SystemAdministrator)$"
)
# Of people who sign in by single sign-on, and of AWS itself: their rights are decided elsewhere.
_ELSEWHERE = re.compile(
    r":role/(?:aws-reserved|aws-service-role|service-role)/|/AWSReservedSSO_|/OrganizationAccountAccessRole$|/AWSControlTower"
)


def read(document: Document, data: bytes, repository: str) -> Iterator[Sighting]:
    """Yield what is wrong with each identity of the answer, and whom roles let in."""
    for root in document.roots:
        answers = root.list or (root,)
        for answer in answers:
            found = [one for name in _LISTS for one in answer.at(name).list]
            found += [
                one
                for one in (answer.at("Role"), answer.at("User"), answer)
                if one.at("Arn").text or one.at("PolicyDocument")
            ]
            for one in found:
                yield from _identity(document, one)


def _identity(document: Document, one: Node) -> Iterator[Sighting]:
    arn = one.at("Arn").text
    name = one.at("RoleName").text or one.at("UserName").text or one.at("GroupName").text or one.at("PolicyName").text
    kind = next((kind for kind in ("Role", "User", "Group", "Policy") if one.at(f"{kind}Name").text), "")
    if not kind or _ELSEWHERE.search(arn):
        return
    subject = f"aws:{kind.lower()}/{name}"
    at = one.at(f"{kind}Name")
    policies = [policy.at("PolicyDocument") for member in _INLINE for policy in one.at(member).list]
    policies += [
        version.at("Document")
        for version in one.at("PolicyVersionList").list
        if version.at("IsDefaultVersion").text == "true"
    ]
    policies.append(one.at("PolicyDocument"))
    attached = (
        one.at("PolicyVersionList") or "AttachmentCount" not in one.items or one.at("AttachmentCount").text != "0"
    )
    for policy in policies:
        for case, what, action, resource in aws_policy.rights(aws_policy.statements(_decoded(policy))):
            if attached:
                places = tuple(Place(document.path, node.line) for node in (resource, at))
                yield Weakness(case, subject, Place(document.path, action.line), f"{subject} may {what}.", places)
    trust = _decoded(one.at("AssumeRolePolicyDocument"))
    statements = aws_policy.statements(trust) if trust else ()
    if kind == "User" or any(statement.federated or _service(statement.node) for statement in statements):
        yield from _managed(document, subject, one, at)
    for place, why in aws_policy.wide_trust(statements):
        yield Weakness(
            "oidc-trust-too-wide",
            subject,
            Place(document.path, place.line),
            f"{subject} trusts too much: {why}.",
            (Place(document.path, at.line),),
        )
    if trust:
        account = arn.split(":")[4] if arn.count(":") > 4 else ""
        yield from trusts(document, subject, trust, f"aws:account/{account}" if account else "")


def _managed(document: Document, subject: str, one: Node, at: Node) -> Iterator[Weakness]:
    """Note managed policies that are far too much for a program; a role that people take may have them."""
    for policy in (*one.at("AttachedManagedPolicies").list, *one.at("AttachedPolicies").list):
        arn = policy.at("PolicyArn")
        case = (
            "iam-star-star"
            if _ADMINISTRATOR.search(arn.text)
            else "policy-that-can-raise-itself"
            if _RAISING.search(arn.text)
            else ""
        )
        if case:
            says = f"{subject} has {arn.text.rpartition('/')[2]}: whoever holds its credentials owns the account."
            yield Weakness(case, subject, Place(document.path, arn.line), says, (Place(document.path, at.line),))


def _service(statement: Node) -> bool:
    return bool(aws_policy.member(aws_policy.member(statement, "Principal"), "Service"))


def _decoded(policy: Node) -> Node:
    """Return a policy whose text, if it is one, has no URL escapes left."""
    if policy.text.lstrip().startswith("%7B"):
        return Node(unquote(policy.text), policy.line)
    return policy or NOTHING
