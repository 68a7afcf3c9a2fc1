"""CloudFormation templates and AWS policies as plain documents."""

from typing import Any

import pytest

from tests.posture.readers.made import cases, held, principals, reading, weaknesses

PATH = "stack.yaml"
ALL = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
GITHUB = "token.actions.githubusercontent.com"


def template(**resources: Any) -> dict[str, Any]:
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def resource(type: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::IAM::{type}", "Properties": properties}


def trust(subject: str, operator: str = "StringLike") -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Principal": {"Federated": f"arn:aws:iam::1:oidc-provider/{GITHUB}"},
                "Condition": {operator: {f"{GITHUB}:sub": subject}},
            }
        ],
    }


def test_a_template_holds_its_defaults():
    found = reading("prod/stack.yaml", template() | {"Parameters": {"P": {"Default": "x"}}})
    holding = held(found, "Parameters", "P", "Default")
    assert (holding.holder.kind, holding.holder.name) == ("infrastructure", "cloudformation@shop")
    assert (holding.spot, holding.holder.environment) == ("cloudformation", "production")


@pytest.mark.parametrize(
    ("root", "subject"),
    [
        (
            template(U=resource("User", UserName="svc", Policies=[{"PolicyName": "p", "PolicyDocument": ALL}])),
            "aws:user/svc",
        ),
        (
            template(
                U=resource("User", UserName="svc"), P=resource("Policy", Users=[{"Ref": "U"}], PolicyDocument=ALL)
            ),
            "aws:user/svc",
        ),
        (template(P=resource("Policy", Roles=["ops"], PolicyDocument=ALL)), "aws:role/ops"),
        (template(P=resource("ManagedPolicy", ManagedPolicyName="all", PolicyDocument=ALL)), "aws:policy/all"),
        (template(R=resource("Role", ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"])), "aws:role/R"),
        (
            template(
                R=resource(
                    "Role", ManagedPolicyArns=[{"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AdministratorAccess"}]
                )
            ),
            "aws:role/R",
        ),
    ],
)
def test_everything_on_everything(root, subject):
    (found,) = weaknesses(reading(PATH, root))
    assert (found.case, found.subject) == ("iam-star-star", subject)


def test_not_everything():
    narrow = {"Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}
    assert cases(PATH, template(P=resource("Policy", Roles=["ops"], PolicyDocument=narrow))) == []
    assert cases(PATH, template(R=resource("Role", ManagedPolicyArns=["arn:aws:iam::aws:policy/ReadOnlyAccess"]))) == []


def test_trust():
    root = template(R=resource("Role", RoleName="ci", AssumeRolePolicyDocument=trust("repo:acme/*")))
    (found,) = weaknesses(reading(PATH, root))
    assert (found.case, found.subject) == ("oidc-trust-too-wide", "aws:role/ci")
    assert [one.id for one in principals(reading(PATH, root), "aws-iam-role")] == ["aws:role/ci"]
    assert cases(PATH, template(R=resource("Role", AssumeRolePolicyDocument=trust("repo:acme/a:*")))) == []
    assert (
        cases(PATH, template(R=resource("Role", AssumeRolePolicyDocument=trust("repo:acme/*", "StringEquals")))) == []
    )


def test_a_policy_as_a_file():
    assert cases("iam/admin.json", ALL | {"Version": "2012-10-17"}) == ["iam-star-star"]
    assert cases("iam/trust.json", trust("repo:acme/*")) == ["oidc-trust-too-wide"]
    assert cases("iam/admin.json", ALL) == [], "without a version it is no policy"
    bucket = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}],
    }
    assert cases("iam/bucket.json", bucket) == []


@pytest.mark.parametrize("root", [template(A="x"), {"Resources": {"A": {"Type": "AWS::IAM::Role", "Properties": []}}}])
def test_a_broken_template_says_nothing(root):
    assert cases(PATH, root) == []
