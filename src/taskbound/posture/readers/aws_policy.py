"""AWS policies, however they are written: statements that allow everything, and too wide trust in tokens of others.

Source: IAM JSON policy grammar (Statement, Action, Resource, Condition) and "Creating a role for web identity or OIDC".
A condition narrows a trust by the token's subject; its audience is compared by AWS itself with what the identity
provider was made with, so that a trust without one is not called wide here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.readers import words
from taskbound.posture.readers.reading import each, texts

WEB_IDENTITY = "sts:assumerolewithwebidentity"
_ASSUMING = frozenset(("sts:assumerole", "sts:*"))

# Issuers whose tokens everybody's jobs get: (a part of the issuer's name, how the subject of one project begins).
_ISSUERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "token.actions.githubusercontent.com",
        re.compile(r"(?:.*:)?repo(?:sitory)?:[^/:*?]+/[^/:*?]+(:|$)|repository_id:\d+", re.I),
    ),
    ("gitlab", re.compile(r"project_path:[^:*?]+/[^:*?]+(:|$)")),
    ("app.terraform.io", re.compile(r"organization:[^:*?]+:(project:[^:*?]+(:|$)|project:\*:workspace:[^:*?]+(:|$))")),
    ("oidc.circleci.com", re.compile(r"org/[^/*?]+/project/[^/*?]+(/|$)")),
    ("bitbucket.org", re.compile(r"[^:*?]+:")),
    ("agent.buildkite.com", re.compile(r"organization:[^:*?]+:pipeline:[^:*?]+(:|$)")),
    ("oidc.eks", re.compile(r"system:serviceaccount:[^:*?]+:[^:*?]")),
)
_EVERY = ("*", "arn:aws:*:*:*:*")
_WILDCARD = re.compile(r"[*?]")
_INTERPOLATED = re.compile(r"\$\{[^}]*\}")
# Claims that say which job, project or workload asks. Others (aud, iss, amr) are the same for all jobs of an issuer.
_SAME_FOR_ALL = frozenset(("aud", "iss", "amr", "azp", "oaud"))


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: StringLike, token.actions.githubusercontent.com:sub, its values."""

    operator: str
    variable: str
    values: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy; `node` is its first line. In Terraform's blocks a missing effect is "Allow"."""

    node: Node
    effect: str
    actions: tuple[Node, ...]
    resources: tuple[Node, ...]
    federated: tuple[Node, ...]
    conditions: tuple[Condition, ...]
    excepted: tuple[Node, ...] = ()  # NotAction: with "Allow" all actions but these
    anybody: Node = NOTHING  # the principal "*": every account


def member(node: Node, name: str) -> Node:
    """A member whatever its case: IAM compares the names of elements without it."""
    if found := node.at(name):
        return found
    return next((one for key, one in node.items.items() if key.lower() == name.lower()), NOTHING)


def statements(policy: Node) -> tuple[Statement, ...]:
    """The statements of a policy document: a mapping, or JSON text (a heredoc, a string)."""
    document = from_json(policy) if policy.text else policy
    return tuple(_statement(one) for one in each(member(document, "Statement")) if one.items)


def _statement(node: Node) -> Statement:
    principal = member(node, "Principal")
    conditions = [
        Condition(operator, variable, texts(values))
        for operator, of in member(node, "Condition").items.items()
        for variable, values in of.items.items()
    ]
    return Statement(
        node,
        member(node, "Effect").text or "Deny",
        texts(member(node, "Action")),
        texts(member(node, "Resource")),
        tuple(_told(one) for one in each(member(principal, "Federated"))),
        tuple(conditions),
        texts(member(node, "NotAction")),
        next((one for one in (*texts(principal), *texts(member(principal, "AWS"))) if one.text == "*"), NOTHING),
    )


def _told(node: Node) -> Node:
    """A text, or what a function of CloudFormation is given (Sub, Join, Ref, GetAtt), as one text on its line."""
    if not node.items:
        return node
    said = [one for _, one in node.scalars() if one.text]
    return Node("".join(one.text for one in said), said[0].line if said else node.line)


def from_blocks(data: Node) -> tuple[Statement, ...]:
    """The statements of Terraform's `data "aws_iam_policy_document"`."""
    found = []
    for one in each(data.at("statement")):
        who = [(of.at("type").text, name) for of in each(one.at("principals")) for name in texts(of.at("identifiers"))]
        federated = tuple(name for type, name in who if type == "Federated")
        anybody = next((name for type, name in who if type in ("AWS", "*") and name.text == "*"), NOTHING)
        conditions = tuple(
            Condition(which.at("test").text, which.at("variable").text, texts(which.at("values")))
            for which in each(one.at("condition"))
        )
        effect = one.at("effect").text or "Allow"
        actions, resources = texts(one.at("actions")), texts(one.at("resources"))
        excepted = texts(one.at("not_actions"))
        found.append(Statement(one, effect, actions, resources, federated, conditions, excepted, anybody))
    return tuple(found)


def from_json(text: Node) -> Node:
    """A mapping from JSON text with the line of each value; NOTHING where it is no policy.

    Lines are those of the text's own: each member is looked for after the one before it.
    """
    value = text.text
    if "Statement" not in value or len(value) > 200_000:
        return NOTHING
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return NOTHING
    return _Lines(value, text.line).node(parsed) if isinstance(parsed, dict) else NOTHING


class _Lines:
    """Finds the line of each text of a parsed JSON document by going through its source in order."""

    def __init__(self, source: str, first: int) -> None:
        self.source, self.first, self.at, self.line = source, first, 0, first

    def node(self, value: object, depth: int = 0) -> Node:
        if depth > 40:
            return NOTHING
        if isinstance(value, dict):
            items: dict[str, Node] = {}
            first = self.line
            for key, one in value.items():
                line = self.go(key)
                items[key] = self.node(one, depth + 1)
                if isinstance(one, dict | list):
                    items[key] = Node(items[key].value, line)
            return Node(items, first)
        if isinstance(value, list):
            first = self.line
            return Node([self.node(one, depth + 1) for one in value], first)
        if isinstance(value, str):
            return Node(value, self.go(value))
        return Node(value if isinstance(value, int | float) else None, self.line)

    def go(self, text: str) -> int:
        """Go to where a string begins, if it is found as it is or escaped, and return its line."""
        found = self.source.find(json.dumps(text, ensure_ascii=False), self.at)
        if found >= 0:
            self.line += self.source.count("\n", self.at, found)
            self.at = found + 1
        return self.line


# With these on everything one writes oneself the policy that one wants (Rhino Security's list of escalations, 2018 on).
_RAISES = re.compile(
    r"iam:(?:\*|(?:Put|Attach)(?:\w*\*|(?:User|Role|Group)Policy)|Create(?:\*|PolicyVersion|AccessKey|LoginProfile)"
    r"|SetDefaultPolicyVersion|AddUserToGroup|Update(?:\*|AssumeRolePolicy|LoginProfile))|organizations:\*|\*:\*",
    re.I,
)
# Services whose every action on every resource is data, keys or machines of others.
_WHOLE = re.compile(
    r"(?:s3|sts|kms|ec2|ecs|eks|ecr|rds|sqs|sns|ssm|lambda|dynamodb|secretsmanager|cloudformation|route53|redshift"
    r"|backup|codebuild|codepipeline|bedrock|sagemaker|glue|cognito-idp|sso|account):\*"
    # Every secret, every role that trusts the account, and every role for a machine.
    r"|secretsmanager:(?:(?:Batch)?GetSecretValue|Get\*)|sts:AssumeRole\*?|iam:PassRole",
    re.I,
)


def rights(found: tuple[Statement, ...]) -> Iterator[tuple[str, str, Node, Node]]:
    """Yield (case, what it may do, action, resource) of each statement that allows far too much on everything."""
    for one in found:
        resource = next((each for each in one.resources if each.text in _EVERY), None)
        if one.effect.lower() != "allow" or resource is None:
            continue
        if action := next((each for each in one.actions if each.text in ("*", "*:*")), None):
            yield (
                "iam-star-star",
                "do everything on everything: whoever holds its credentials owns it",
                action,
                resource,
            )
        elif one.excepted and not any(each.text.lower().startswith("iam:") for each in one.excepted):
            says = "do everything on everything but what is named: whoever holds its credentials owns it"
            yield "iam-star-star", says, one.excepted[0], resource
        elif action := _first(one, _RAISES):
            says = f"do {action.text} on everything, and with that give itself every right"
            yield "policy-that-can-raise-itself", says, action, resource
        elif (action := _first(one, _WHOLE)) and not one.conditions:
            yield (
                "whole-service-on-everything",
                f"do {action.text} on everything, whoever it belongs to",
                action,
                resource,
            )


def _first(of: Statement, actions: re.Pattern[str]) -> Node | None:
    return next((each for each in of.actions if actions.fullmatch(each.text)), None)


def wide_trust(found: tuple[Statement, ...], issuers: str = "") -> Iterator[tuple[Node, str]]:
    """Yield (place, reason) of each statement that trusts more of an issuer's tokens than one project's.

    `issuers`: names of the identity providers of the document, for a trust that only refers to one of them.
    """
    for one in found:
        allowed = {action.text.lower() for action in one.actions} if one.effect.lower() == "allow" else set()
        if one.anybody and not one.conditions and not allowed.isdisjoint(_ASSUMING):
            yield one.anybody, "every AWS account can take this role"
        if WEB_IDENTITY not in allowed:
            continue
        said = " ".join([each.text for each in one.federated] + [of.variable for of in one.conditions])
        needed = _needed(said) or (_needed(issuers) if "oidc-provider/" not in said else None) or _hinted(said)
        claims = [of for of in one.conditions if _says_who(of)]
        if claims:
            # All comparisons of a statement must hold: one that is narrow enough is enough.
            wide = [_wide(of, needed) for of in claims]
            if all(wide):
                yield (
                    next(which for which in wide if which),
                    "its condition lets in the tokens of more than one project",
                )
        elif needed or (re.search("oidc|openid", said) and _asks_for_nothing(one.conditions)):
            place = one.federated[0] if one.federated else one.node
            yield place, "no condition says whose tokens: every job of that issuer can take this role"


def _needed(said: str) -> re.Pattern[str] | None:
    return next((needed for issuer, needed in _ISSUERS if issuer in said), None)


def _hinted(said: str) -> re.Pattern[str] | None:
    """What a name says where the issuer stands in another file: `${local.github}:aud`, `data.….gh.arn`."""
    named = set(words.split(said))
    if named & {"gh", "gha", "github"}:
        return _needed("token.actions.githubusercontent.com")
    return _needed("gitlab") if "gitlab" in named else None


def _asks_for_nothing(conditions: tuple[Condition, ...]) -> bool:
    """Whether conditions demand no more than the audience that every job asks for."""
    return all(_is_audience(of) and all(one.text == "sts.amazonaws.com" for one in of.values) for of in conditions)


def _is_audience(of: Condition) -> bool:
    return of.variable.rpartition(":")[2].lower() == "aud"


def _says_who(of: Condition) -> bool:
    """Whether a comparison is about a claim that differs between jobs, and demands something."""
    claim = of.variable.rpartition(":")[2].lower()
    return ":" in of.variable and claim not in _SAME_FOR_ALL and "not" not in of.operator.lower()


def _wide(of: Condition, needed: re.Pattern[str] | None) -> Node | None:
    """The value of a comparison that lets in too many; None where each of its values is narrow.

    Only the Like operators know wildcards. What is put together elsewhere (`${var.repo}`) is taken as a name, or as
    owner/name, whichever makes it narrow. Claims other than the subject are narrow if they name anything.
    """
    if "like" not in of.operator.lower():
        return None
    for value in of.values:
        if not _WILDCARD.search(value.text) or value.text.startswith("${"):
            continue
        forms = [_INTERPOLATED.sub(name, value.text) for name in ("x", "x/x")]
        if of.variable.endswith(":sub") and needed:
            if not any(needed.match(form) for form in forms):
                return value
        elif len(_WILDCARD.split(forms[0])[0]) < 3:
            return value
    return None


def subject_is_narrow(subject: str) -> bool:
    """Whether a token's subject names one project of its issuer; what is put together elsewhere is taken as a name."""
    forms = [_INTERPOLATED.sub(name, subject) for name in ("x", "x/x")]
    return any(needed.match(form) for _, needed in _ISSUERS[:2] for form in forms)
