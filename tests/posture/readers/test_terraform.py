"""Terraform: identities, policies that allow everything, and trust in tokens of too many."""

import json
from typing import Any

import pytest

from tests.posture.readers.made import cases, document, held, principals, reading, weaknesses

PATH = "infra/iam.tf"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
GITHUB = "token.actions.githubusercontent.com"


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def resources(**of: Any) -> dict[str, Any]:
    return {"resource": of}


def test_variables_are_held_by_the_infrastructure():
    found = reading(
        "infra/prod/main.tf", {"variable": {"db_password": {"default": "x"}}, "provider": {"aws": {"a": "b"}}}
    )
    holding = held(found, "variable", "db_password", "default")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == ("infrastructure", "terraform@shop", "terraform")
    assert holding.holder.environment == "production"
    assert held(found, "provider", "aws", "a").spot == "terraform"
    assert held(reading("a.tfvars", {"token": "x"}), "token").spot == "terraform"


def test_identities_are_noted_by_the_name_they_have_in_the_cloud():
    root = resources(aws_iam_user={"d": {"name": "svc-deployer"}, "e": {"name": "${var.name}"}}, aws_iam_role={"r": {}})
    found = reading(PATH, root)
    assert [one.id for one in principals(found, "aws-iam-user")] == ["aws:user/svc-deployer", "aws:user/e"]
    assert [one.id for one in principals(found, "aws-iam-role")] == ["aws:role/r"]


USER = {"d": {"name": "svc-deployer"}}
STAR: dict[str, tuple[dict[str, Any], str]] = {
    "inline": (
        resources(aws_iam_user=USER, aws_iam_user_policy={"p": {"user": "aws_iam_user.d.name", "policy": policy(ALL)}}),
        "aws:user/svc-deployer",
    ),
    "interpolated": (
        resources(
            aws_iam_user=USER, aws_iam_user_policy={"p": {"user": "${aws_iam_user.d.name}", "policy": policy(ALL)}}
        ),
        "aws:user/svc-deployer",
    ),
    "lists": (
        resources(
            aws_iam_role_policy={
                "p": {"role": "ops", "policy": policy(ALL | {"Action": ["s3:Get*", "*"], "Resource": ["*"]})}
            }
        ),
        "aws:role/ops",
    ),
    "one statement": (
        resources(aws_iam_group_policy={"p": {"group": "g", "policy": {"Statement": ALL}}}),
        "aws:group/g",
    ),
    "json text": (
        resources(aws_iam_role_policy={"p": {"role": "ops", "policy": json.dumps(policy(ALL), indent=2)}}),
        "aws:role/ops",
    ),
    "attached": (
        resources(
            aws_iam_user=USER,
            aws_iam_policy={"p": {"name": "everything", "policy": policy(ALL)}},
            aws_iam_user_policy_attachment={"a": {"user": "aws_iam_user.d.name", "policy_arn": "aws_iam_policy.p.arn"}},
        ),
        "aws:user/svc-deployer",
    ),
    "attached to nobody here": (
        resources(aws_iam_policy={"p": {"name": "everything", "policy": policy(ALL)}}),
        "aws:policy/everything",
    ),
    "document": (
        resources(aws_iam_role_policy={"p": {"role": "ops", "policy": "data.aws_iam_policy_document.all.json"}})
        | {"data": {"aws_iam_policy_document": {"all": {"statement": {"actions": ["*"], "resources": ["*"]}}}}},
        "aws:role/ops",
    ),
    "documents with several statements": (
        resources(aws_iam_role_policy={"p": {"role": "ops", "policy": "${data.aws_iam_policy_document.all.json}"}})
        | {
            "data": {
                "aws_iam_policy_document": {
                    "all": {
                        "statement": [
                            {"actions": ["s3:GetObject"], "resources": ["*"]},
                            {"actions": ["*"], "resources": ["*"]},
                        ]
                    }
                }
            }
        },
        "aws:role/ops",
    ),
    "inline block": (
        resources(aws_iam_role={"r": {"name": "ops", "inline_policy": {"policy": policy(ALL)}}}),
        "aws:role/ops",
    ),
    "managed": (
        resources(
            aws_iam_user=USER,
            aws_iam_user_policy_attachment={
                "a": {"user": "aws_iam_user.d.name", "policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"}
            },
        ),
        "aws:user/svc-deployer",
    ),
    "managed of a role": (
        resources(aws_iam_role={"r": {"managed_policy_arns": ["arn:aws:iam::aws:policy/AdministratorAccess"]}}),
        "aws:role/r",
    ),
    "azure": (
        resources(
            azurerm_role_assignment={"a": {"role_definition_name": "Owner", "scope": "data.azurerm_subscription.x.id"}}
        ),
        "azure:assignment/a",
    ),
    "google": (
        resources(google_project_iam_member={"a": {"role": "roles/owner", "member": "serviceAccount:a@b.example"}}),
        "gcp:binding/a",
    ),
}


@pytest.mark.parametrize(("root", "subject"), STAR.values(), ids=STAR)
def test_everything_on_everything(root, subject):
    (found,) = weaknesses(reading(PATH, root))
    assert (found.case, found.subject) == ("iam-star-star", subject)


NARROW: dict[str, Any] = {
    "one service": policy(ALL | {"Action": "logs:*"}),
    "one service of one bucket": policy(ALL | {"Action": "s3:*", "Resource": "arn:aws:s3:::a/*"}),
    "to read who is there": policy(ALL | {"Action": ["iam:Get*", "iam:List*"]}),
    "one resource": policy(ALL | {"Resource": "arn:aws:s3:::a/*"}),
    "denied": policy(ALL | {"Effect": "Deny"}),
    "no effect": policy({"Action": "*", "Resource": "*"}),
    "no text of a policy": "Statement {",
    "elsewhere": "data.aws_iam_policy_document.missing.json",
    "a file": 'file("${path.module}/Statement.json")',
}


@pytest.mark.parametrize("of", NARROW.values(), ids=NARROW)
def test_not_everything(of):
    assert cases(PATH, resources(aws_iam_role_policy={"p": {"role": "ops", "policy": of}})) == []


def test_people_and_parts_of_other_clouds():
    assert (
        cases(
            PATH,
            resources(
                azurerm_role_assignment={"a": {"role_definition_name": "Owner", "scope": "azurerm_key_vault.a.id"}}
            ),
        )
        == []
    )
    assert (
        cases(PATH, resources(google_project_iam_member={"a": {"role": "roles/owner", "member": "user:a@b.example"}}))
        == []
    )
    assert (
        cases(PATH, resources(google_project_iam_member={"a": {"role": "roles/viewer", "member": "serviceAccount:a"}}))
        == []
    )


def test_the_place_is_the_action_s_line_also_within_a_text():
    text = json.dumps(policy({"Sid": "a*", "Effect": "Allow", "Resource": "*", "Action": ["s3:Get", "*"]}), indent=2)
    root = resources(aws_iam_role_policy={"p": {"role": "ops", "policy": text}})
    (found,) = weaknesses(reading(PATH, root))
    first = document(PATH, root).roots[0].at("resource", "aws_iam_role_policy", "p", "policy").line
    wanted = next(n for n, line in enumerate(text.splitlines()) if line.strip() == '"*"')
    assert found.place.line - first == wanted


def trust(
    *conditions: tuple[str, str, Any], federated: str = f"arn:aws:iam::1:oidc-provider/{GITHUB}"
) -> dict[str, Any]:
    condition: dict[str, dict[str, Any]] = {}
    for operator, variable, value in conditions:
        condition.setdefault(operator, {})[variable] = value
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": federated},
    } | ({"Condition": condition} if condition else {})
    return resources(aws_iam_role={"r": {"name": "ci", "assume_role_policy": policy(statement)}})


AUD = ("StringEquals", f"{GITHUB}:aud", "sts.amazonaws.com")
GITLAB = "arn:aws:iam::1:oidc-provider/gitlab.com"
TFC = "arn:aws:iam::1:oidc-provider/app.terraform.io"
EKS = "arn:aws:iam::1:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/X"
WIDE: dict[str, Any] = {
    "whole organisation": trust(("StringLike", f"{GITHUB}:sub", "repo:acme/*")),
    "begins alike": trust(AUD, ("StringLike", f"{GITHUB}:sub", "repo:acme/app-*:ref:refs/heads/main")),
    "everybody": trust(AUD, ("StringLike", f"{GITHUB}:sub", "*")),
    "one of several": trust(AUD, ("StringLike", f"{GITHUB}:sub", ["repo:acme/app:*", "repo:*"])),
    "any value": trust(AUD, ("ForAnyValue:StringLike", f"{GITHUB}:sub", "repo:acme/*")),
    "no subject": trust(AUD),
    "no condition": trust(),
    "only a refusal": trust(("StringNotEquals", f"{GITHUB}:sub", "repo:acme/app:pull_request")),
    "gitlab": trust(("StringLike", "gitlab.com:sub", "project_path:acme/*:ref_type:branch:ref:main"), federated=GITLAB),
    "terraform cloud": trust(("StringLike", "app.terraform.io:sub", "organization:acme:*"), federated=TFC),
    "eks": trust(("StringLike", "oidc.eks.x:sub", "system:serviceaccount:*:deployer"), federated=EKS),
    "by reference": trust(federated="aws_iam_openid_connect_provider.github.arn")["resource"],
}
WIDE["by reference"] = resources(
    **WIDE["by reference"], aws_iam_openid_connect_provider={"github": {"url": f"https://{GITHUB}"}}
)
WIDE["document"] = resources(
    aws_iam_role={"r": {"name": "ci", "assume_role_policy": "data.aws_iam_policy_document.t.json"}}
) | {
    "data": {
        "aws_iam_policy_document": {
            "t": {
                "statement": {
                    "actions": ["sts:AssumeRoleWithWebIdentity"],
                    "principals": {"type": "Federated", "identifiers": [f"arn:aws:iam::1:oidc-provider/{GITHUB}"]},
                    "condition": [
                        {"test": "StringEquals", "variable": f"{GITHUB}:aud", "values": ["sts.amazonaws.com"]},
                        {"test": "StringLike", "variable": f"{GITHUB}:sub", "values": ["repo:acme/*"]},
                    ],
                }
            }
        }
    }
}


@pytest.mark.parametrize("root", WIDE.values(), ids=WIDE)
def test_tokens_of_too_many_are_trusted(root):
    (found,) = weaknesses(reading(PATH, root))
    assert (found.case, found.subject) == ("oidc-trust-too-wide", "aws:role/ci")


FITTING: dict[str, Any] = {
    "one branch": trust(AUD, ("StringEquals", f"{GITHUB}:sub", "repo:acme/app:ref:refs/heads/main")),
    "one repository": trust(AUD, ("StringLike", f"{GITHUB}:sub", "repo:acme/app:*")),
    "an environment": trust(("StringLike", f"{GITHUB}:sub", ["repo:acme/app:environment:prod", "repo:acme/b:*"])),
    "put together": trust(("StringLike", f"{GITHUB}:sub", "repo:${var.owner}/${var.repo}:*")),
    "put together whole": trust(("StringLike", f"{GITHUB}:sub", "repo:${var.repository}:*")),
    "no wildcard in equals": trust(("StringEquals", f"{GITHUB}:sub", "repo:acme/*")),
    "narrowed by another claim": trust(
        ("StringLike", f"{GITHUB}:sub", "repo:acme/*"), ("StringEquals", f"{GITHUB}:repository_id", "123")
    ),
    "gitlab": trust(("StringLike", "gitlab.com:sub", "project_path:acme/app:ref_type:branch:ref:*"), federated=GITLAB),
    "terraform cloud": trust(
        ("StringLike", "app.terraform.io:sub", "organization:acme:project:p:workspace:w:run_phase:*"), federated=TFC
    ),
    "eks": trust(("StringEquals", "oidc.eks.x:sub", "system:serviceaccount:kube-system:dns"), federated=EKS),
    "a service": resources(
        aws_iam_role={
            "r": {
                "assume_role_policy": policy(
                    {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
                )
            }
        }
    ),
    "cognito": trust(
        ("StringEquals", "cognito-identity.amazonaws.com:aud", "eu:1"), federated="cognito-identity.amazonaws.com"
    ),
    "an issuer of ones own": trust(
        ("StringEquals", "id.acme.example:aud", "app"), federated="arn:aws:iam::1:oidc-provider/id.acme.example"
    ),
}


@pytest.mark.parametrize("root", FITTING.values(), ids=FITTING)
def test_tokens_of_one_project_are_trusted(root):
    assert cases(PATH, root) == []


def test_the_place_is_the_line_of_the_subject():
    root = trust(AUD, ("StringLike", f"{GITHUB}:sub", "repo:acme/*"))
    (found,) = weaknesses(reading(PATH, root))
    (statement,) = (
        document(PATH, root).roots[0].at("resource", "aws_iam_role", "r", "assume_role_policy", "Statement").list
    )
    assert found.place.line == statement.at("Condition", "StringLike", f"{GITHUB}:sub").line


def provider(**more: Any) -> dict[str, Any]:
    return resources(
        google_iam_workload_identity_pool_provider={"g": {"oidc": {"issuer_uri": f"https://{GITHUB}"}} | more}
    )


def test_pools_of_google():
    assert cases(PATH, provider()) == ["oidc-trust-too-wide"]
    assert cases(PATH, provider(attribute_condition="assertion.repository_owner == 'acme'")) == []


def blocks(**statement: Any) -> dict[str, Any]:
    return {"data": {"aws_iam_policy_document": {"d": {"statement": statement}}}}


def test_documents_that_another_file_uses():
    (found,) = weaknesses(reading(PATH, blocks(actions=["*"], resources=["*"])))
    assert (found.case, found.subject) == ("iam-star-star", "aws:policy-document/d@shop")
    federated = {"type": "Federated", "identifiers": ["aws_iam_openid_connect_provider.github.arn"]}
    open_to_all = blocks(actions=["sts:AssumeRoleWithWebIdentity"], principals=federated)
    assert cases(PATH, open_to_all) == ["oidc-trust-too-wide"]
    bucket = blocks(actions=["*"], resources=["*"], principals={"type": "AWS", "identifiers": ["*"]})
    assert cases(PATH, bucket) == []
    assert cases(PATH, blocks(actions=["s3:Get*"], resources=["*"])) == []


def cluster(role: str, name: str, kind: str = "ServiceAccount") -> dict[str, Any]:
    subject = {"kind": kind, "name": name, "namespace": "kubernetes_namespace.tools.metadata[0].name"}
    return resources(kubernetes_cluster_role_binding={"b": {"role_ref": {"name": role}, "subject": subject}})


def test_clusters():
    (found,) = weaknesses(reading(PATH, cluster("cluster-admin", "ops-agent")))
    assert (found.case, found.subject) == ("cluster-admin-to-agent", "k8s-sa:tools/ops-agent")
    assert cases(PATH, cluster("cluster-admin", "deployer")) == ["cluster-admin-to-workload"]
    assert cases(PATH, cluster("view", "ops-agent")) == []
    assert cases(PATH, cluster("cluster-admin", "ops-agent", "User")) == []


def test_tokens_of_a_cluster():
    made = {"namespace": "tools", "annotations": {"kubernetes.io/service-account.name": "runner"}}
    token = {"metadata": made, "type": "kubernetes.io/service-account-token"}
    (found,) = weaknesses(reading(PATH, resources(kubernetes_secret={"t": token})))
    assert (found.case, found.subject) == ("long-lived-service-account-token", "k8s-sa:tools/runner")
    assert cases(PATH, resources(kubernetes_secret={"t": token | {"type": "Opaque"}})) == []


@pytest.mark.parametrize("root", [{"resource": "x"}, {"resource": {"aws_iam_role": []}}, {"data": {"a": 1}}, [], "x"])
def test_a_broken_file_says_nothing(root):
    assert cases(PATH, root) == []
