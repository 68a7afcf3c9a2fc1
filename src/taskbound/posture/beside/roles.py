"""Terraform: roles that let in other accounts, other projects, other environments.

Topic `trust`, of a role: `accounts` (whose principals may take it), `environment` (of the role, by name and place).
"""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.beside.identities import OUTSIDE, PRODUCTION, where
from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.rows import below
from taskbound.posture.readers import aws_policy, words
from taskbound.posture.readers.reading import each, texts
from taskbound.posture.sighting import Place, Remark, Sighting, Weakness

WORDS = (
    b"sts:AssumeRole",
    b"aws_iam_role.",
    b"google_service_account.",
    b"_iam_member",
    b"_iam_binding",
    b"bound_service_account_namespaces",
)
_PRINCIPAL = re.compile(r"arn:aws[\w-]*:(?:iam|sts)::(\d{12}):(.+)|(\d{12})")
# Resources that run something -> the keys that lead to whom it runs as.
_RUNS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "aws_lambda_function": (("role",),),
    "aws_ecs_task_definition": (("task_role_arn",),),
    "aws_apprunner_service": (("instance_configuration", "instance_role_arn"),),
    "aws_sagemaker_notebook_instance": (("role_arn",),),
    "google_cloud_run_service": (("template", "spec", "service_account_name"),),
    "google_cloud_run_v2_service": (("template", "service_account"),),
    "google_cloudfunctions_function": (("service_account_email",),),
    "google_cloudfunctions2_function": (("service_config", "service_account_email"),),
    "google_compute_instance": (("service_account", "email"),),
}
_REFERRED = re.compile(r"\b(aws_iam_role|google_service_account|azurerm_user_assigned_identity)\.([\w-]+)")
_DOCUMENT = re.compile(r"aws_iam_policy_document\.([\w-]+)")
_MACHINE = re.compile(
    r"serviceAccount:([\w-]+)@([\w-]+)\.iam\.gserviceaccount\.com|serviceAccount:([\w-]+)\.svc\.id\.goog\[([\w-]+)/"
)


def read(document: Document, data: bytes, repository: str) -> Iterator[Sighting]:
    """Yield what roles of the document let in."""
    for root in document.roots:
        roles = [
            (label, node) for label, nodes in root.at("resource", "aws_iam_role").items.items() for node in each(nodes)
        ]
        names: dict[str, str] = {}
        for label, node in roles:
            name = node.at("name").text if not words.is_reference(node.at("name").text) else ""
            policy = node.at("assume_role_policy")
            if found := _DOCUMENT.search(policy.text[:500]):
                names[found[1]] = name or label
            yield from trusts(document, f"aws:role/{name or label}", policy)
        for label, nodes in root.at("data", "aws_iam_policy_document").items.items():
            for node in each(nodes):
                yield from _blocks(document, names.get(label, label), node)
        yield from _workloads(document, root, repository)
        for type, labels in root.at("resource").items.items():
            if type.startswith("google_") and type.endswith(("_iam_member", "_iam_binding")):
                for label, nodes in labels.items.items():
                    for node in each(nodes):
                        yield from _google(document, f"{type}.{label}", node)
            elif type.startswith("vault_kubernetes_auth_backend_role"):
                for label, nodes in labels.items.items():
                    for node in each(nodes):
                        yield from _vault(document, node.at("role_name").text or label, node)


def trusts(document: Document, role: str, policy: Node, account: str = "") -> Iterator[Remark]:
    """Yield whom a trust policy lets in, of a mapping or of JSON text."""
    found = aws_policy.from_json(policy) if policy.text else policy
    for statement in each(aws_policy.member(found, "Statement")):
        actions = " ".join(one.text.lower() for one in texts(aws_policy.member(statement, "Action")))
        if aws_policy.member(statement, "Effect").text == "Allow" and "sts:assumerole" in actions:
            who = texts(aws_policy.member(aws_policy.member(statement, "Principal"), "AWS"))
            conditions = " ".join(
                key for of in aws_policy.member(statement, "Condition").items.values() for key in of.items
            )
            yield from _trust(document, role, who, statement, account, conditions)


def _blocks(document: Document, role: str, data: Node) -> Iterator[Remark]:
    for statement in each(data.at("statement")):
        if not any("sts:assumerole" in one.text.lower() for one in texts(statement.at("actions"))):
            continue
        who = tuple(
            one
            for of in each(statement.at("principals"))
            if of.at("type").text == "AWS"
            for one in texts(of.at("identifiers"))
        )
        conditions = " ".join(of.at("variable").text for of in each(statement.at("condition")))
        yield from _trust(document, f"aws:role/{role}", who, statement, "", conditions)


def _trust(
    document: Document, role: str, who: tuple[Node, ...], statement: Node, account: str, conditions: str
) -> Iterator[Remark]:
    environment = where(document.path, role.rpartition("/")[2])
    for one in who:
        if found := _PRINCIPAL.fullmatch(one.text):
            facts: dict[str, object] = {
                "accounts": (f"aws:account/{found[1] or found[3]}",),
                "whole": found[2] in (None, "root"),
                "stands": words.environment((found[2] or "").rpartition("/")[2]),
                "environment": environment,
                "account": account,
                "conditions": conditions,
                "principal": one.text,
                "offsets": below(one.line, statement=statement),
            }
            yield Remark("trust", role, Place(document.path, one.line), facts)


def _workloads(document: Document, root: Node, repository: str) -> Iterator[Remark]:
    """Yield what runs as which role or account of the same configuration."""
    for type, keys in _RUNS.items():
        for label, nodes in root.at("resource", type).items.items():
            for node in each(nodes):
                for at in keys:
                    inner = each(node)
                    for key in at:
                        inner = tuple(one for outer in inner for one in each(outer.at(key)))
                    for one in inner:
                        if found := _REFERRED.search(one.text):
                            folder = document.path.rpartition("/")[0]
                            account = f"{found[1]}.{found[2]}@{repository}/{folder}"
                            yield Remark(
                                "runs-as",
                                account,
                                Place(document.path, one.line),
                                {"workload": label.replace("_", "-"), "app": label},
                            )


def _google(document: Document, of: str, node: Node) -> Iterator[Weakness]:
    """Note a machine of another environment's project that gets rights in a production project."""
    target = next(
        (
            node.at(key)
            for key in ("project", "service_account_id", "folder", "secret_id", "bucket", "dataset_id")
            if node.at(key).text
        ),
        NOTHING,
    )
    environment = words.environment(target.text) if not words.is_reference(target.text) else ""
    if (environment or where(document.path)) != PRODUCTION:
        return
    for member in (*texts(node.at("member")), *texts(node.at("members"))):
        if found := _MACHINE.fullmatch(member.text) or _MACHINE.match(member.text):
            its = words.environment(*(part for part in (found[4], found[2], found[3], found[1]) if part))
            if its in OUTSIDE:
                says = f"{member.text}, of {its}, has rights in production ({of}): who gets in there is in production."
                places = tuple(Place(document.path, one.line) for one in (node.at("role"), target) if one)
                yield Weakness("other-environment-in-production", of, Place(document.path, member.line), says, places)


def _vault(document: Document, role: str, node: Node) -> Iterator[Weakness]:
    """Note a role of Vault that pods of production and of other environments may take."""
    spaces = texts(node.at("bound_service_account_namespaces"))
    inside = [one for one in spaces if words.environment(one.text) == PRODUCTION]
    outside = [one for one in spaces if words.environment(one.text) in OUTSIDE]
    opens = words.environment(role, *(one.text for one in texts(node.at("token_policies")))) == PRODUCTION
    if outside and (inside or opens):
        says = f"The Vault role {role} is for production and can be taken by pods of {outside[0].text}."
        yield Weakness(
            "other-environment-in-production",
            f"vault:role/{role}",
            Place(document.path, outside[0].line),
            says,
            tuple(Place(document.path, one.line) for one in inside[:1]),
        )
