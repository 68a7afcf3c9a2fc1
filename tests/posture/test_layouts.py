"""Layouts that no planted organisation has: small files, from bytes to findings, each a sample of a class."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from taskbound.posture.detection import Detector
from taskbound.posture.findings import Finding, find
from taskbound.posture.scan import scan
from tests.posture.planted import mark
from tests.posture.whole import findings

AS_OF = date(2031, 5, 1)
LINEAR = "lin_api_qT7kXw2LmR9vNcY4pDf5GjS8hBaKoU6eIzQt1VyM"
HEX = "a9ba4d7d109b67a5292984b077109c2ea3cccad2"
KEY = "kV9sT2mQ8xLr4ZpB7nWd1cYhG6fJ0uRe3aXoKi5P"


def found(files: Mapping[str, str]) -> list[Finding]:
    """Findings of files; the first folder of each is its repository."""
    detector = Detector(mark)
    scanned = [scan(path, text.encode(), path.partition("/")[0], detector, mark) for path, text in files.items()]
    return find((one for each in scanned for one in each.sightings), AS_OF)


def cases(files: Mapping[str, str]) -> set[str]:
    return {one.case for one in found(files)}


def lines(files: Mapping[str, str], case: str) -> list[tuple[str, int]]:
    (one,) = (one for one in found(files) if one.case == case)
    return [(place.path, place.line) for place in one.places]


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def jwt(**claims: object) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": "https://id.shop.example", **claims})
    said = (urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
    return ".".join((*said, "Zk3TqW9xLm7RpV2cNfY8sDhG5jB4aKoU6eIwXt1QyMz"))


def servers(**env: str) -> str:
    return json.dumps({"mcpServers": {"tickets": {"command": "node", "args": ["/opt/t.js"], "env": env}}}, indent=1)


# --- one credential in several places ---------------------------------------------------------------


@pytest.mark.parametrize("other", [".codeium/windsurf/mcp_config.json", ".mcp.json", ".cursor/mcp.json"])
def test_two_agents_that_call_a_server_alike_are_two(other: str) -> None:
    files = {"shop/.gemini/settings.json": servers(T=LINEAR), f"shop/{other}": servers(T=LINEAR)}
    assert {path for path, _ in lines(files, "credential-shared-between-agents")} == set(files)
    one = next(one for one in found(files) if one.case == "credential-shared-between-agents")
    assert "(gemini-cli)" in one.says


def test_two_files_of_one_agent_are_one() -> None:
    files = {"shop/.mcp.json": servers(T=LINEAR), "shop/tools/.mcp.json": servers(T=LINEAR)}
    assert "credential-shared-between-agents" not in cases(files)


@pytest.mark.parametrize("text", [HEX, f"{HEX}a1b2"[:41] + "c"], ids=["one sign of padding", "none"])
def test_padded_base64_is_no_assignment(text: str) -> None:
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: m}}\ndata:\n  DD_APP_KEY: {b64(text)}\n"
    files = {"metrics/secret.yaml": secret, "monitor/agent.yaml": f"site: eu\ndd_app_key: {text}\n"}
    assert {"k8s-secret-manifest-in-repository", "credential-shared-across-repositories"} <= cases(files)


def test_logins_of_registries() -> None:
    login = {"auths": {"registry.shop.example": {"auth": b64("puller:6trji3nA86K439BVT1kHTJeW")}}}
    assert cases({"ops/docker/config.json": json.dumps(login)}) == {"secret-in-config-file"}


def test_parameter_files_of_cloudformation() -> None:
    def parameters(stage: str, key: str = KEY) -> str:
        return json.dumps(
            [
                {"ParameterKey": "Stage", "ParameterValue": stage},
                {"ParameterKey": "SessionSigningKey", "ParameterValue": key},
            ]
        )

    both = {"app/params.dev.json": parameters("dev"), "app/params.prod.json": parameters("prod")}
    assert {"same-credential-in-staging-and-prod", "secret-in-config-file"} <= cases(both)
    assert cases({"app/params.prod.json": parameters("prod", "{{resolve:ssm-secure:signing:1}}")}) == set()


# --- pipelines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".gitlab-ci.yml", "include:\n  - remote: https://raw.example.net/other/recipes/main/deploy.yml\n"),
        (".gitlab-ci.yml", "include: https://raw.example.net/other/recipes/deploy.yml\n"),
        (".gitlab-ci.yml", "include:\n  - project: other/ci\n    file: /a.yml\n    ref: master\n"),
        (".gitlab-ci.yml", "include:\n  - project: other/ci\n    file: /a.yml\n"),
        (".gitlab-ci.yml", "include:\n  - component: gitlab.com/other/scan/sast@~latest\n"),
        (".circleci/config.yml", "version: 2.1\norbs:\n  deploy: other/deploy@volatile\n"),
        (
            "azure-pipelines.yml",
            "resources:\n  repositories:\n  - repository: t\n    type: github\n    name: o/t\n    ref: main\n",
        ),
        (
            "bitbucket-pipelines.yml",
            "pipelines:\n  default:\n  - step:\n      script:\n      - pipe: other/deploy:latest\n",
        ),
    ],
)
def test_steps_of_others_at_a_branch(path: str, text: str) -> None:
    assert cases({f"shop/{path}": text}) == {"pipeline-include-not-pinned"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".gitlab-ci.yml", f"include:\n  - remote: https://raw.example.net/other/recipes/{HEX}/deploy.yml\n"),
        (".gitlab-ci.yml", f"include:\n  - project: other/ci\n    file: /a.yml\n    ref: {HEX}\n"),
        (".gitlab-ci.yml", "include:\n  - local: /a.yml\n  - template: Security/SAST.gitlab-ci.yml\n"),
        (".gitlab-ci.yml", "include:\n  - component: $CI_SERVER_FQDN/other/scan/sast@1.4.2\n"),
        (".circleci/config.yml", "version: 2.1\norbs:\n  node: circleci/node@5.1.0\n"),
        (
            "bitbucket-pipelines.yml",
            "pipelines:\n  default:\n  - step:\n      script:\n      - pipe: other/deploy:1.2.0\n",
        ),
    ],
)
def test_steps_at_a_version(path: str, text: str) -> None:
    assert cases({f"shop/{path}": text}) == set()


# --- rights and trust --------------------------------------------------------------------------------

HEREDOC = """resource "aws_iam_user_policy" "joiner" {
  user   = "svc-joiner"
  policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [{
        "Effect": "Allow",
        "Action": ["iam:*", "sts:AssumeRole"],
        "Resource": ["*"]
      }]
    }
  JSON
}
"""


def test_a_policy_in_a_heredoc() -> None:
    assert lines({"infra/a.tf": HEREDOC}, "policy-that-can-raise-itself")[0] == ("infra/a.tf", 8)


def test_a_policy_by_jsonencode() -> None:
    text = """resource "aws_iam_role_policy" "p" {
  role = "ops"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{ Effect = "Allow", NotAction = ["s3:DeleteBucket"], Resource = "*" }]
  })
}
"""
    assert cases({"infra/a.tf": text}) == {"iam-star-star"}
    assert cases({"infra/a.tf": text.replace("s3:DeleteBucket", "iam:*")}) == set()


TRUST = """locals {
  gh = "token.actions.githubusercontent.com"
}
data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.ci.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.gh}:CLAIM"
      values   = ["VALUE"]
    }
  }
}
resource "aws_iam_role" "publish" {
  assume_role_policy = data.aws_iam_policy_document.trust.json
}
"""


def test_a_trust_whose_issuer_is_a_local() -> None:
    wide = TRUST.replace("CLAIM", "aud").replace("VALUE", "sts.amazonaws.com")
    assert cases({"infra/a.tf": wide}) == {"oidc-trust-too-wide"}
    narrow = TRUST.replace("CLAIM", "sub").replace("VALUE", "repo:acme/app:ref:refs/heads/main")
    assert cases({"infra/a.tf": narrow}) == set()
    elsewhere = wide.replace('gh = "token.actions.githubusercontent.com"', "")
    assert cases({"infra/a.tf": elsewhere}) == {"oidc-trust-too-wide"}, "its name says GitHub, its audience AWS"


def test_a_role_for_every_account() -> None:
    role = {
        "Resources": {
            "R": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "AssumeRolePolicyDocument": {
                        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]
                    }
                },
            }
        }
    }
    assert cases({"infra/roles.json": json.dumps(role)}) == {"oidc-trust-too-wide"}
    text = json.dumps(role).replace('"sts:AssumeRole"', '"sts:AssumeRole", "Condition": {"StringEquals": {"a:b": "c"}}')
    assert cases({"infra/roles.json": text}) == set()


# --- what lists say ----------------------------------------------------------------------------------


def installation(slug: str, **permissions: str) -> dict[str, object]:
    return {
        "app_slug": slug,
        "account": {"login": "tarn"},
        "repository_selection": "all",
        "permissions": permissions,
        "suspended_at": None,
    }


@pytest.mark.parametrize(
    ("slug", "permission", "case"),
    [
        ("reviews", "administration", {"third-party-app-all-repositories-admin"}),
        ("reviews", "contents", {"third-party-app-writes-all-repositories"}),
        ("tarn-mover", "administration", {"app-administers-all-repositories"}),
        ("tarn-mover", "contents", set()),
        ("reviews", "issues", set()),
    ],
)
def test_apps_of_ones_own_and_of_others(slug: str, permission: str, case: set[str]) -> None:
    listed = {"installations": [installation(slug, **{permission: "write"})]}
    assert cases({"x/apps.json": json.dumps(listed)}) == case


def test_who_owns_an_app_is_told_by_itself() -> None:
    app = {"slug": "mover", "owner": {"login": "tarn"}, "permissions": {}, "events": [], "external_url": ""}
    listed = {"installations": [installation("mover", administration="write")]}
    files = {"x/apps.json": json.dumps(listed), "x/app.json": json.dumps(app)}
    assert cases(files) == {"app-administers-all-repositories"}


@pytest.mark.parametrize(
    "said", [{"web": {"implicitGrantSettings": {"enableAccessTokenIssuance": True}}}, {"oauth2AllowImplicitFlow": True}]
)
def test_the_implicit_grant(said: dict[str, object]) -> None:
    app = {"appId": "6adbe965", "displayName": "Board", "passwordCredentials": [], "keyCredentials": []} | said
    assert cases({"x/apps.json": json.dumps({"value": [app]})}) == {"implicit-grant-enabled"}
    text = json.dumps({"value": [app]}).replace("true", "false")
    assert cases({"x/apps.json": text}) == set()


@pytest.mark.parametrize(
    ("claims", "case"),
    [
        ({"iat": 1900000000, "exp": 1900000000 + 10 * 31557600}, "token-with-long-life"),
        ({"exp": 4102444800}, "token-with-long-life"),
        ({"sub": "svc"}, "token-that-never-ends"),
        ({"iat": 1935900000, "exp": 1935900000 + 3600}, ""),
    ],
)
def test_how_long_a_token_says_it_works(claims: dict[str, object], case: str) -> None:
    text = f"service:\n  access_token: {jwt(**claims)}\n"
    assert cases({"x/app.yaml": text}) == {"secret-in-config-file"} | ({case} if case else set())


@pytest.mark.parametrize("ends", [1700000000, 1935000000 + 3600])
def test_a_token_past_its_own_end_is_no_credential(ends: int) -> None:
    assert cases({"x/app.yaml": f"service:\n  access_token: {jwt(iat=1300000000, exp=ends)}\n"}) == set()


def test_an_archived_repository_below_another_folder() -> None:
    listed = [{"name": "crawler", "full_name": "tarn/crawler", "archived": True, "pushed_at": "2028-02-03T08:00:00Z"}]
    files = {"attic/crawler/a.ini": f"[queue]\napi_key = {KEY}\n", "x/repositories.json": json.dumps(listed)}
    assert "archived-repository-holds-live-credential" in cases(files)


def test_a_domain_of_the_people_s_mail_is_one_s_own() -> None:
    bearer = {
        "mcpServers": {"kb": {"url": "https://kb.shop.example/mcp", "headers": {"Authorization": f"Bearer {KEY}"}}}
    }
    files = {"a/.cursor/mcp.json": json.dumps(bearer)}
    assert "secret-sent-to-third-party-mcp" in cases(files)
    people = "email,team,left_on\nrosa@shop.example,pay,\n"
    assert "secret-sent-to-third-party-mcp" not in cases(files | {"x/people.csv": people})


def test_a_password_of_a_configuration_in_a_header_of_a_log_is_one_in_two_encodings() -> None:
    password = "Kx83hfQpLm2zTb"
    header = b64encode(f"svc:{password}".encode()).decode()
    config = {"repos/desk/conf/app.properties": f"db.password={password}\n"}
    log = {"repos/desk/logs/run.log": f"2031-04-01 DEBUG > Authorization: Basic {header}\n"}
    assert "credential-reused-across-encodings" in {one.case for one in findings({**config, **log})}
    again = {"repos/desk/conf/copy.properties": f"db.password={b64encode(password.encode()).decode()}\n"}
    assert "credential-reused-across-encodings" not in {one.case for one in findings({**config, **again})}


def test_a_key_of_a_service_account_is_named_after_its_issuer() -> None:
    body = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    whole = {"type": "service_account", "private_key": body, "client_email": "a@shop-1.iam.gserviceaccount.com"}
    for account, expected in ((whole, True), ({"private_key": body, "client_email": "a@shop.example"}, False)):
        (found,) = findings({"repos/etl/keys/a.json": json.dumps(account, indent=1)})
        assert ("gcp-service-account-key" in found.says) is expected
        assert ("gcloud iam service-accounts keys delete" in found.next) is expected


def test_a_literal_of_a_terraform_provider_is_told_as_such() -> None:
    text = 'provider "datadog" {\n  api_key = "9f86d081884c7d659a2feaa0c55ad015"\n}\n'
    (found,) = findings({"repos/infra/main.tf": text})
    assert "repos/infra/main.tf" in found.next
