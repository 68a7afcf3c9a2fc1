"""CloudFormation and SAM templates, Serverless Framework files, and AWS policies as plain JSON or YAML.

Intrinsic functions are taken as they stand: `Ref` and `Fn::GetAtt` as the name of what they refer to, `Fn::Sub` as its
text. Source: the template anatomy and the IAM resource types of the CloudFormation user guide.
"""

import re

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import aws_policy
from taskbound.posture.readers.reading import Notes, Reading, each

_ADMINISTRATOR = re.compile(r"arn:.*:iam::aws:policy/AdministratorAccess$|^AdministratorAccess$")
_KINDS = {
    "AWS::IAM::User": ("aws:user/", "UserName", "aws-iam-user"),
    "AWS::IAM::Role": ("aws:role/", "RoleName", "aws-iam-role"),
    "AWS::IAM::Group": ("aws:group/", "GroupName", ""),
}
_POLICIES = (
    "AWS::IAM::Policy",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::UserPolicy",
    "AWS::IAM::RolePolicy",
    "AWS::IAM::GroupPolicy",
)


def is_template(document: Document) -> bool:
    return any(
        root.at("AWSTemplateFormatVersion")
        or any(one.at("Type").text.startswith("AWS::") for one in root.at("Resources").items.values())
        for root in document.roots
    )


def is_policy(document: Document) -> bool:
    """Whether the document is a policy itself: IAM's own version dates are the sign."""
    return any(
        root.at("Version").text in ("2012-10-17", "2008-10-17") and root.at("Statement") for root in document.roots
    )


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    notes.hold_all(notes.holder("infrastructure", "cloudformation", notes.file), "cloudformation")
    for root in document.roots:
        for label, node in root.at("Resources").items.items():
            _resource(notes, root, label, node)
    return notes.reading()


def read_policy(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    subject = notes.named(f"aws:policy/{notes.file.rsplit('.', 1)[0]}")
    notes.hold_all(notes.holder("infrastructure", "config"), "config")
    for root in document.roots:
        # What belongs to a resource (a bucket's policy) names its principals; only an identity's own policy counts.
        if not any(aws_policy.member(one, "Principal") for one in each(root.at("Statement"))):
            _rights(notes, subject, root)
        _trust(notes, subject, root)
    return notes.reading()


def _resource(notes: Notes, root: Node, label: str, node: Node) -> None:
    type, properties = node.at("Type").text, node.at("Properties")
    if type in _KINDS:
        subject = _subject(root, label)
        if kind := _KINDS[type][2]:
            notes.principal(subject, kind, node, environment=notes.environment(label))
        for policy in each(properties.at("Policies")):
            _rights(notes, subject, policy.at("PolicyDocument"))
        for arn in each(properties.at("ManagedPolicyArns")):
            _administrator(notes, subject, arn)
        _trust(notes, subject, properties.at("AssumeRolePolicyDocument"))
    elif type in _POLICIES:
        users = [
            _subject(root, _text(one), prefix)
            for key, prefix in (("User", "aws:user/"), ("Role", "aws:role/"), ("Group", "aws:group/"))
            for one in (*each(properties.at(f"{key}s")), *each(properties.at(f"{key}Name")))
        ]
        for subject in users or [f"aws:policy/{_named(properties, ('ManagedPolicyName', 'PolicyName'), label)}"]:
            _rights(notes, subject, properties.at("PolicyDocument"))
    elif type == "AWS::Serverless::Function":
        subject = f"aws:function/{_named(properties, ('FunctionName',), label)}"
        for policy in each(properties.at("Policies")):
            _rights(notes, subject, policy)
            _administrator(notes, subject, policy)


def _text(node: Node) -> str:
    """A text or what a function stands for: {"Ref": "Deployer"}, !Ref Deployer, {"Fn::Sub": "svc-${Stage}"}."""
    if node.text:
        return re.sub(r"^!(Ref|Sub|GetAtt)\s+", "", node.text)
    for name in ("Ref", "!Ref", "Fn::Sub", "!Sub", "Fn::GetAtt", "!GetAtt"):
        if inner := node.at(name):
            return inner.text or (inner.list[0].text if inner.list else "")
    return ""


def _named(properties: Node, keys: tuple[str, ...], label: str) -> str:
    said = next((text for key in keys if (text := properties.at(key).text)), "")
    return said if said and "${" not in said else label


def _subject(root: Node, label: str, prefix: str = "aws:policy/") -> str:
    """The identity that a label of the template stands for; a name that is no label stands for itself."""
    resource = root.at("Resources", label.partition(".")[0])
    if found := _KINDS.get(resource.at("Type").text):
        return found[0] + _named(resource.at("Properties"), (found[1],), label)
    return prefix + label


def _rights(notes: Notes, subject: str, policy: Node) -> None:
    for case, what, action, resource in aws_policy.rights(aws_policy.statements(policy)):
        notes.weakness(case, subject, action, f"{subject} may {what}.", resource, policy)


def _administrator(notes: Notes, subject: str, arn: Node) -> None:
    if _ADMINISTRATOR.search(_text(arn)):
        says = f"{subject} is given AdministratorAccess: whoever holds one of its credentials owns the account."
        at = arn if arn.text else next(iter(arn.items.values()), NOTHING)
        notes.weakness("iam-star-star", subject, at or arn, says)


def _trust(notes: Notes, subject: str, policy: Node) -> None:
    for at, why in aws_policy.wide_trust(aws_policy.statements(policy)):
        notes.weakness("oidc-trust-too-wide", subject, at, f"{subject} trusts too much: {why}.", policy)
