# ruff: noqa: E501 (a form a line)
"""Environments, reuse and people who act as services: what only several places together show."""

import json
from collections.abc import Mapping

import pytest

from tests.posture.whole import findings, places

PROD, DEV = "111122223333", "444455556666"
ACCOUNTS = {
    "variables": ("envs.tfvars", f'accounts = {{\n  production = "{PROD}"\n  sandbox = "{DEV}"\n}}\n'),
    "organisation": ("accounts.json", json.dumps({"Accounts": [{"Id": PROD, "Name": "firm-prod", "Email": "a@firm.example"}, {"Id": DEV, "Name": "firm-dev"}]})),
    "profiles": (".aws/config", f"[profile prod]\nsso_account_id = {PROD}\n[profile dev]\nrole_arn = arn:aws:iam::{DEV}:role/x\n"),
    "provider": ("providers.tf", f'provider "aws" {{\n  alias = "prod"\n  allowed_account_ids = ["{PROD}"]\n}}\nlocals {{\n  dev_account_id = "{DEV}"\n}}\n'),
    "yaml": ("org.yaml", f'accounts:\n  - id: "{PROD}"\n    environment: production\n  - id: "{DEV}"\n    environment: staging\n'),
}  # fmt: skip


def role(name: str, account: str) -> str:
    return f'''resource "aws_iam_role" "r" {{
  name = "{name}"
  assume_role_policy = <<EOT
{{"Version": "2012-10-17", "Statement": [
  {{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {{"AWS": "arn:aws:iam::{account}:root"}}}}]}}
EOT
}}
'''


def answer(name: str, account: str) -> str:
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": f"arn:aws:iam::{account}:role/any"},
    }
    return json.dumps({"Roles": [{"RoleName": name, "Arn": f"arn:aws:iam::{PROD}:role/{name}", "AssumeRolePolicyDocument": {"Statement": [statement]}}]}, indent=1)  # fmt: skip


@pytest.mark.parametrize("form", ACCOUNTS)
def test_a_role_of_production_that_another_environment_may_take_is_found(form: str) -> None:
    path, text = ACCOUNTS[form]
    case = "production-trusts-other-environment"
    assert len(places(case, {path: text, "roles.tf": role("ledger-prod", DEV)})) == 1
    assert len(places(case, {path: text, "roles.json": answer("ledger", DEV)})) == 1
    assert places(case, {path: text, "roles.tf": role("ledger-prod", PROD)}) == set()
    assert places(case, {path: text, "roles.tf": role("ledger-dev", PROD)}) == set()
    assert places(case, {path: text, "roles.json": answer("ledger", PROD)}) == set()


GITHUB = """on: push
jobs:
  JOB:
    environment: ENV
    runs-on: x
    steps:
      - uses: aws-actions/configure-aws-credentials@0123456789012345678901234567890123456789
        with:
          role-to-assume: arn:aws:iam::ACCOUNT:role/release
"""
GITLAB = """JOB:
  environment: {name: ENV}
  script:
    - aws sts assume-role-with-web-identity --role-arn arn:aws:iam::ACCOUNT:role/release
"""
CIRCLE = """version: 2.1
workflows:
  all:
    jobs:
      - deploy-ENV:
          context: CONTEXT
"""
AZURE = """stages:
  - stage: ENV
    jobs:
      - job: apply
        steps:
          - task: AzureCLI@2
            inputs:
              azureSubscription: CONTEXT
"""
BITBUCKET = """pipelines:
  branches:
    main:
      - step:
          deployment: ENV
          script:
            - export AWS_ROLE_ARN=arn:aws:iam::ACCOUNT:role/release
"""
GOOGLE = """on: push
jobs:
  JOB:
    environment: ENV
    steps:
      - uses: google-github-actions/auth@0123456789012345678901234567890123456789
        with: {service_account: deploy@firm-NAMED.iam.gserviceaccount.com}
"""
SECRET = """on: push
jobs:
  JOB-ENV:
    steps:
      - run: ./migrate
        env: {DATABASE_PASSWORD: "${{ secrets.NAMED_DATABASE_PASSWORD }}"}
"""
PIPELINES = {
    ".github/workflows/release.yml": GITHUB,
    ".gitlab-ci.yml": GITLAB,
    ".circleci/config.yml": CIRCLE,
    "azure-pipelines.yml": AZURE,
    "bitbucket-pipelines.yml": BITBUCKET,
    ".github/workflows/google.yml": GOOGLE,
    ".github/workflows/secret.yml": SECRET,
}


def pipeline(text: str, environment: str, production: bool) -> str:
    for word, said in (
        ("ENV", environment), ("JOB", "ship"), ("ACCOUNT", PROD if production else DEV),
        ("CONTEXT", "aws-prod" if production else "aws-dev"), ("NAMED", ("PROD" if production else "STAGING") if text is SECRET else "prod" if production else "dev"),
    ):  # fmt: skip
        text = text.replace(word, said)
    return text


@pytest.mark.parametrize("path", PIPELINES)
def test_productions_identity_in_a_job_of_another_environment_is_found(path: str) -> None:
    accounts, case = dict([ACCOUNTS["variables"]]), "production-identity-outside-production"
    assert len(places(case, accounts | {path: pipeline(PIPELINES[path], "staging", True)})) == 1
    assert places(case, accounts | {path: pipeline(PIPELINES[path], "production", True)}) == set()
    assert places(case, accounts | {path: pipeline(PIPELINES[path], "staging", False)}) == set()


def test_one_role_for_jobs_of_two_environments_is_found_whatever_account_it_is_of() -> None:
    both = GITHUB.replace("JOB", "a").replace("ENV", "development") + GITHUB.partition("jobs:\n")[2].replace(
        "JOB", "b"
    ).replace("ENV", "production")
    case = "production-identity-outside-production"
    assert len(places(case, {".github/workflows/a.yml": both.replace("ACCOUNT", PROD)})) == 1


def test_a_role_that_production_uses_and_a_configuration_elsewhere_only_names_is_not_told() -> None:
    text = GITHUB.replace("JOB", "a").replace("ENV", "production").replace("ACCOUNT", PROD)
    other = {"envs/dev/terraform.tfvars": f'reports_role = "arn:aws:iam::{PROD}:role/release"\n'}
    assert places("production-identity-outside-production", {".github/workflows/a.yml": text} | other) == set()


def sa(name: str, namespace: str, note: str) -> str:
    return f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  annotations:\n    {note}\n"


CLUSTER = {
    "eks": sa("app", "shop-NS", f"eks.amazonaws.com/role-arn: arn:aws:iam::{PROD}:role/shop-prod"),
    "gke": sa("app", "shop-NS", "iam.gke.io/gcp-service-account: shop@firm-prod.iam.gserviceaccount.com"),
    "external secret": "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db, namespace: shop-NS}\n"
    "spec:\n  data:\n    - secretKey: password\n      remoteRef:\n        key: prod/shop/db\n",
}


@pytest.mark.parametrize("form", CLUSTER)
def test_productions_identity_in_another_namespace_is_found(form: str) -> None:
    case = "production-identity-outside-production"
    assert len(places(case, {"a.yaml": CLUSTER[form].replace("NS", "staging")})) == 1
    assert places(case, {"a.yaml": CLUSTER[form].replace("NS", "prod")}) == set()


BINDINGS = {
    "binding": "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: r, namespace: shop-prod}\n"
    "roleRef: {kind: Role, name: r}\nsubjects:\n- kind: ServiceAccount\n  name: app\n  namespace: shop-ENV\n",
    "group": "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: r, namespace: shop-prod}\n"
    "roleRef: {kind: Role, name: r}\nsubjects:\n- kind: Group\n  name: system:serviceaccounts:shop-ENV\n",
    "google": 'resource "google_project_iam_member" "m" {\n  project = "firm-prod"\n  role = "roles/viewer"\n'
    '  member = "serviceAccount:app@firm-ENV.iam.gserviceaccount.com"\n}\n',
    "vault": 'resource "vault_kubernetes_auth_backend_role" "r" {\n  role_name = "shop"\n'
    '  bound_service_account_namespaces = ["shop-prod", "shop-ENV"]\n}\n',
}


@pytest.mark.parametrize("form", BINDINGS)
def test_an_identity_of_another_environment_with_rights_in_production_is_found(form: str) -> None:
    path, case = "x.tf" if "resource" in BINDINGS[form] else "x.yaml", "other-environment-in-production"
    assert len(places(case, {path: BINDINGS[form].replace("ENV", "qa")})) == 1
    assert places(case, {path: BINDINGS[form].replace("ENV", "prod")}) == set()


def workload(name: str, account: str, kind: str = "Deployment", labels: str = "{}") -> str:
    spec = f"spec: {{serviceAccountName: {account}, containers: [{{name: a, image: i:1}}]}}"
    inner = (
        f"template:\n    {spec}" if kind != "CronJob" else f"jobTemplate:\n    spec:\n      template:\n        {spec}"
    )
    return f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop, labels: {labels}}}\nspec:\n  {inner}\n"


def test_a_service_account_of_several_applications_is_found_over_files() -> None:
    case = "service-account-shared-by-workloads"
    files = {"a/d.yaml": workload("orders", "common"), "b/d.yaml": workload("mailer", "common", "CronJob")}
    assert len(places(case, files)) == 1
    assert places(case, {"a/d.yaml": workload("orders", "orders"), "b/d.yaml": workload("mailer", "mailer")}) == set()
    assert (
        places(
            case, {"a/d.yaml": workload("orders", "common"), "b/d.yaml": workload("orders-migrate", "common", "Job")}
        )
        == set()
    )
    assert (
        places(case, {"base/d.yaml": workload("orders", "common"), "prod/d.yaml": workload("orders", "common")})
        == set()
    )
    same = "{app.kubernetes.io/instance: shop}"
    assert (
        places(
            case, {"a.yaml": workload("web", "common", labels=same), "b.yaml": workload("queue", "common", labels=same)}
        )
        == set()
    )


def test_a_cloud_identity_of_several_accounts_or_repositories_is_found() -> None:
    note = f"eks.amazonaws.com/role-arn: arn:aws:iam::{PROD}:role/shared"
    case = "cloud-identity-shared-by-workloads"
    assert len(places(case, {"a.yaml": sa("orders", "shop", note), "b.yaml": sa("mailer", "shop", note)})) == 1
    assert places(case, {"a.yaml": sa("orders", "shop", note), "b.yaml": sa("orders", "shop-two", note)}) == set()
    text = GITHUB.replace("ACCOUNT", PROD).replace("ENV", "production").replace("JOB", "a")
    case = "cloud-identity-shared-by-pipelines"
    assert len(places(case, {"repos/a/.github/workflows/x.yml": text, "repos/b/.github/workflows/x.yml": text})) == 1
    assert places(case, {"repos/a/.github/workflows/x.yml": text, "repos/a/.github/workflows/y.yml": text}) == set()


# --- consents ---------------------------------------------------------------------------------------

TENANT, VENDOR = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def principal(name: str, tenant: str, verified: bool) -> dict[str, object]:
    return {"id": f"sp-{name}", "appId": f"app-{name}", "appDisplayName": name, "appOwnerOrganizationId": tenant,
            "verifiedPublisher": {"verifiedPublisherId": "1" if verified else None}, "servicePrincipalType": "Application"}  # fmt: skip


def granted(name: str, scope: str, kind: str = "AllPrincipals") -> str:
    return json.dumps({"value": [{"clientId": f"sp-{name}", "consentType": kind, "scope": scope, "resourceId": "r"}]})


APPS = json.dumps({"value": [principal("own-a", TENANT, False), principal("own-b", TENANT, False), principal("own-c", TENANT, False), principal("scribe", VENDOR, False), principal("known", VENDOR, True)]})  # fmt: skip


def test_consent_for_everybody_to_a_publisher_that_nobody_has_verified_is_found() -> None:
    case = "tenant-wide-consent-to-unverified-publisher"
    assert len(places(case, {"sp.json": APPS, "g.json": granted("scribe", "Mail.Read offline_access")})) == 1
    role = {
        "principalType": "ServicePrincipal",
        "principalId": "sp-scribe",
        "resourceDisplayName": "Microsoft Graph",
        "appRoleId": "75359482-378d-4052-8f01-80520e7db3cd",
    }
    assert len(places(case, {"sp.json": APPS, "r.json": json.dumps([role])})) == 1
    for name, scope, kind in (("own-a", "Mail.Read", "AllPrincipals"), ("known", "Mail.Read", "AllPrincipals"),
                              ("scribe", "Mail.Read", "Principal"), ("scribe", "openid profile User.Read", "AllPrincipals")):  # fmt: skip
        assert places(case, {"sp.json": APPS, "g.json": granted(name, scope, kind)}) == set()
    assert (
        len(
            places(
                "third-party-app-rules-the-tenant",
                {"sp.json": APPS, "g.json": granted("known", "Directory.ReadWrite.All")},
            )
        )
        == 1
    )


def test_consents_are_read_from_tables_of_any_directory() -> None:
    table = "App name,OAuth scopes,Verified,Granted to,Users\nscribe,https://www.googleapis.com/auth/gmail.readonly,No,All users,80\nknown,https://www.googleapis.com/auth/gmail.readonly,Yes,All users,9\n"
    assert places("tenant-wide-consent-to-unverified-publisher", {"apps.csv": table}) == {("apps.csv", 2)}


@pytest.mark.parametrize(
    ("credential", "found"),
    [
        ({"subject": "repo:firm/lake:pull_request"}, True),
        (
            {
                "subject": None,
                "claimsMatchingExpression": {"value": "claims['sub'] matches 'repo:firm/*'", "languageVersion": 1},
            },
            True,
        ),
        ({"subject": "repo:firm/lake:environment:prod"}, False),
        ({"subject": "repo:firm/lake:ref:refs/heads/main"}, False),
        (
            {"subject": "system:serviceaccount:shop:app", "issuer": "https://oidc.eks.eu-west-1.amazonaws.com/id/AB"},
            False,
        ),
    ],
)
def test_a_federated_credential_for_pull_requests_or_many_projects_is_found(
    credential: dict[str, object], found: bool
) -> None:
    row = {
        "name": "c",
        "issuer": "https://token.actions.githubusercontent.com",
        "audiences": ["api://AzureADTokenExchange"],
    } | credential
    for text in (json.dumps([row]), json.dumps({"value": [row]})):
        assert bool(places("oidc-trust-too-wide", {"fic.json": text})) is found


def details(trust: Mapping[str, object], policy: object, managed: str = "x") -> dict[str, object]:
    return {"RoleName": "runner", "Arn": f"arn:aws:iam::{PROD}:role/runner", "RolePolicyList": [{"PolicyName": "p", "PolicyDocument": policy}],
            "AssumeRolePolicyDocument": {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": trust}]},
            "AttachedManagedPolicies": [{"PolicyArn": f"arn:aws:iam::aws:policy/{managed}"}]}  # fmt: skip


def test_rights_are_read_from_what_iam_answers() -> None:
    star = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    little = {"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}]}
    lambdas, people = {"Service": "lambda.amazonaws.com"}, {"AWS": f"arn:aws:iam::{PROD}:root"}
    for found, text in (
        (True, {"RoleDetailList": [details(lambdas, star)], "UserDetailList": []}),
        (True, {"RoleName": "runner", "PolicyName": "p", "PolicyDocument": star}),
        (True, {"RoleDetailList": [details(lambdas, "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22*%22%2C%22Resource%22%3A%22*%22%7D%5D%7D")]}),
        (True, {"RoleDetailList": [details(lambdas, little, "AdministratorAccess")]}),
        (False, {"RoleDetailList": [details(people, little, "AdministratorAccess")]}),
        (False, {"RoleDetailList": [details(lambdas, little)]}),
    ):  # fmt: skip
        assert bool(places("iam-star-star", {"iam.json": json.dumps(text, indent=1)})) is found, text


def test_a_role_that_every_project_of_an_issuer_may_take_is_found_in_list_roles() -> None:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": f"arn:aws:iam::{PROD}:oidc-provider/gitlab.com"},
                 "Condition": {"StringLike": {"gitlab.com:sub": "project_path:firm/*"}}}  # fmt: skip
    text = {
        "Roles": [
            {
                "RoleName": "ci",
                "Arn": f"arn:aws:iam::{PROD}:role/ci",
                "AssumeRolePolicyDocument": {"Statement": [statement]},
            }
        ]
    }
    assert len(places("oidc-trust-too-wide", {"r.json": json.dumps(text)})) == 1
    statement["Condition"] = {"StringLike": {"gitlab.com:sub": "project_path:firm/lake:*"}}
    assert places("oidc-trust-too-wide", {"r.json": json.dumps(text)}) == set()


def test_a_google_policy_tells_programs_that_own_a_project() -> None:
    text = {
        "bindings": [
            {
                "role": "roles/owner",
                "members": ["serviceAccount:ci@firm-a.iam.gserviceaccount.com", "user:a@firm.example"],
            }
        ],
        "etag": "x",
    }
    assert len(places("iam-star-star", {"p.json": json.dumps(text)})) == 1
    text["bindings"][0]["members"][0] = "serviceAccount:1234@cloudservices.gserviceaccount.com"  # type: ignore[index]
    assert places("iam-star-star", {"p.json": json.dumps(text)}) == set()


# --- people who act as services ---------------------------------------------------------------------

MAC, LINUX = (
    "aws-cli/2.30.0 ua/2.1 os/macos#25.0.0 md/prompt#off md/command#s3.ls",
    "Boto3/1.40 os/linux exec-env/AWS_Lambda_python3.13",
)
KEY_ID = "AKIAW3YKYEUGEUYDNHOL"


def event(agent: str) -> dict[str, object]:
    who = {
        "type": "IAMUser",
        "userName": "svc-ship",
        "accessKeyId": KEY_ID,
        "accountId": PROD,
        "arn": f"arn:aws:iam::{PROD}:user/svc-ship",
    }
    return {"eventVersion": "1.11", "eventTime": "2031-04-30T20:00:00Z", "eventName": "ListBuckets", "eventSource": "s3.amazonaws.com", "userIdentity": who,
            "sourceIPAddress": "203.0.113.9", "userAgent": agent}  # fmt: skip


TRAILS = {
    "log file": lambda agent: ("t.json", json.dumps({"Records": [event(agent)]})),
    "lines": lambda agent: ("t.jsonl", json.dumps(event(agent)) + "\n" + json.dumps(event(LINUX)) + "\n"),
    "lookup": lambda agent: ("l.json", json.dumps({"Events": [{"EventId": "1", "EventName": "x", "EventTime": 1, "CloudTrailEvent": json.dumps(event(agent))}]})),
    "event bridge": lambda agent: ("e.json", json.dumps([{"detail-type": "AWS API Call via CloudTrail", "detail": event(agent)}])),
    "athena": lambda agent: ("a.csv", "eventtime,eventname,useridentity,sourceipaddress,useragent\n2031-04-30T20:00:00Z,ListBuckets,"
                             f'"{{type=IAMUser, principalid=A, arn=a, accountid={PROD}, accesskeyid={KEY_ID}, username=svc-ship}}",203.0.113.9,{agent}\n'),
    "athena flat": lambda agent: ("a.csv", "eventTime,eventName,useridentity.type,useridentity.username,useridentity.accesskeyid,sourceIPAddress,userAgent\n"
                                  f"2031-04-30T20:00:00Z,ListBuckets,IAMUser,svc-ship,{KEY_ID},203.0.113.9,{agent}\n"),
    "index": lambda agent: ("i.jsonl", json.dumps({"_index": "t", "_source": event(agent)}) + "\n" + json.dumps({"_index": "t", "_source": event(LINUX)}) + "\n"),
}  # fmt: skip


@pytest.mark.parametrize("form", TRAILS)
def test_a_services_key_in_a_persons_hand_is_found_in_every_shape_of_a_trail(form: str) -> None:
    path, text = TRAILS[form](MAC)
    assert len(places("service-key-used-from-workstation", {path: text})) == 1
    path, text = TRAILS[form](LINUX)
    assert places("service-key-used-from-workstation", {path: text}) == set()


def cluster(agent: str, uri: str, user: str = "system:serviceaccount:shop:app") -> str:
    return json.dumps({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1", "verb": "create", "requestURI": uri, "user": {"username": user},
                       "sourceIPs": ["198.51.100.7"], "userAgent": agent, "requestReceivedTimestamp": "2031-04-30T20:00:00Z"})  # fmt: skip


def google(agent: str, who: str = "ci@firm-a.iam.gserviceaccount.com", **more: object) -> str:
    payload = {
        "authenticationInfo": {"principalEmail": who} | more,
        "requestMetadata": {"callerIp": "203.0.113.9", "callerSuppliedUserAgent": agent},
    }
    return json.dumps([{"protoPayload": payload, "timestamp": "2031-04-30T20:00:00Z"}])


PODS = "/api/v1/namespaces/shop/pods/a/exec?command=sh&stdin=true&tty=true"


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("k.jsonl", cluster("kubectl/v1.34.0 (darwin/arm64)", "/api/v1/pods"), True),
        ("k.jsonl", cluster("kubectl/v1.34.0 (linux/amd64)", PODS), True),
        ("k.json", json.dumps({"kind": "EventList", "items": [json.loads(cluster("k9s/0.50", "/api/v1/pods"))]}), True),
        ("k.jsonl", cluster("kubectl/v1.34.0 (linux/amd64)", "/api/v1/pods"), False),
        ("k.jsonl", cluster("kubectl/v1.34.0 (darwin/arm64)", PODS, "ada@firm.example"), False),
        ("k.jsonl", cluster("argocd/v3 (linux/amd64)", "/api/v1/pods"), False),
        ("g.json", google("google-cloud-sdk gcloud/5 command/gcloud.storage.ls environment/None interactive/True (Macintosh)"), True),
        ("g.json", google("google-cloud-sdk gcloud/5 command/x interactive/False from-script/True"), False),
        ("g.json", google("interactive/True", serviceAccountDelegationInfo=[{"firstPartyPrincipal": {"principalEmail": "ada@firm.example"}}]), False),
        ("g.json", google("interactive/True (Macintosh)", "ada@firm.example"), False),
        ("h.json", json.dumps([{"action": "repo.access", "actor": "ship-bot", "actor_is_bot": True, "user_agent": "Mozilla/5.0 (Windows NT 10.0)", "@timestamp": 1935000000000, "actor_ip": "203.0.113.9"}]), True),
        ("h.json", json.dumps([{"action": "git.push", "actor": "ship-bot", "actor_is_bot": True, "user_agent": "git/2.50", "@timestamp": 1935000000000}]), False),
        ("o.json", json.dumps([{"eventType": "user.session.start", "published": "2031-04-30T20:00:00Z", "actor": {"alternateId": "svc-ship@firm.example"}, "client": {"ipAddress": "203.0.113.9", "userAgent": {"rawUserAgent": "Mozilla/5.0"}}}]), True),
        ("s.csv", "Date (UTC),Username,Client app,Browser,IP address\n2031-04-30T20:00:00Z,svc-ship@firm.example,Browser,Edge,203.0.113.9\n", True),
        ("s.csv", "Date (UTC),Username,Client app,Browser,IP address\n2031-04-30T20:00:00Z,ada@firm.example,Browser,Edge,203.0.113.9\n", False),
        ("d.csv", "usename,application_name,client_addr,backend_start\norders_app,DBeaver 25 - Main,203.0.113.9,2031-04-30 20:00:00\n", True),
        ("d.csv", "usename,application_name,client_addr,backend_start\norders_app,orders-api,10.0.0.9,2031-04-30 20:00:00\n", False),
        ("d.csv", "usename,application_name,client_addr,backend_start\nada,psql,10.0.0.9,2031-04-30 20:00:00\n", False),
    ],
)  # fmt: skip
def test_a_person_who_acts_as_a_service_is_found_in_audit_logs(path: str, text: str, found: bool) -> None:
    assert bool(places("service-identity-used-by-hand", {path: text})) is found


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        (".bash_history", "gcloud auth activate-service-account --key-file=/home/a/keys/lake-reader.json", True),
        (".zsh_history", ": 1923000000:0;GOOGLE_APPLICATION_CREDENTIALS=~/lake.json bq ls", True),
        (".bash_history", "aws --profile svc-ship s3 ls", True),
        ("fish_history", "- cmd: AWS_PROFILE=ci-deploy terraform apply", True),
        (".bash_history", "kubectl -n shop --token $(kubectl -n shop create token app) get secrets", True),
        ("ConsoleHost_history.txt", "az login --service-principal -u 00000000-aaaa-4bbb-8ccc-000000000001 -p $s --tenant firm", True),
        (".bash_history", "psql -h db.prod.firm.example -U orders_app orders", True),
        (".bash_history", 'PGUSER=svc_orders psql "host=db.firm.example dbname=orders" -h db.firm.example', True),
        (".bash_history", "mysql -h db.firm.example -u billing_svc -p billing", True),
        (".bash_history", "docker login -u _json_key --password-stdin https://eu.gcr.io < key.json", True),
        (".bash_history", "vault write auth/approle/login role_id=$R secret_id=$S", True),
        (".bash_history", "ssh -i ~/.ssh/deploy_key app@web1.firm.example", True),
        (".bash_history", "gcloud storage ls --impersonate-service-account=lake@firm.iam.gserviceaccount.com", False),
        (".bash_history", "gcloud auth login", False),
        (".bash_history", "gcloud auth activate-service-account --help", False),
        (".bash_history", "aws --profile svc-ship --help", False),
        (".bash_history", "aws --profile prod-readonly s3 ls", False),
        (".bash_history", "aws sso login --profile dev", False),
        (".bash_history", "psql -h localhost -U orders_app orders", False),
        (".bash_history", "psql -h db.firm.example -U ada orders", False),
        (".bash_history", "kubectl --as=system:serviceaccount:shop:app auth can-i get secrets", False),
        (".bash_history", "kubectl --context prod get pods", False),
        (".bash_history", "ssh -i ~/.ssh/id_ed25519 ada@web1", False),
        ("docs/runbook.md", "gcloud auth activate-service-account --key-file=key.json", False),
        ("ci/build.sh", "gcloud auth activate-service-account --key-file=key.json", False),
    ],
)  # fmt: skip
def test_a_services_identity_that_is_taken_at_a_shell_is_found(path: str, line: str, found: bool) -> None:
    got = places("service-identity-used-at-a-shell", {f"machines/m1/{path}": f"ls\n{line}\n"})
    assert got == ({(f"machines/m1/{path}", 2)} if found else set())


def test_no_rule_of_these_says_anything_of_an_orderly_place() -> None:
    files = {
        "sa.yaml": sa("app", "shop-prod", f"eks.amazonaws.com/role-arn: arn:aws:iam::{PROD}:role/shop-prod"),
        "accounts.tfvars": ACCOUNTS["variables"][1],
        ".github/workflows/release.yml": pipeline(GITHUB, "production", True),
    }
    assert findings(files) == []


def test_a_role_of_several_functions_and_an_account_of_several_charts_are_found() -> None:
    case = "service-account-shared-by-workloads"
    function = 'resource "aws_lambda_function" "NAME" {\n  role = aws_iam_role.all.arn\n}\n'
    two = function.replace("NAME", "orders") + function.replace("NAME", "mailer")
    assert len(places(case, {"f.tf": two})) == 1
    assert (
        places(case, {"f.tf": function.replace("NAME", "orders") + function.replace("NAME", "orders_retry")}) == set()
    )
    values = "serviceAccount:\n  create: false\n  name: common\n"
    assert len(places(case, {"charts/orders/values.yaml": values, "charts/mailer/values.yaml": values})) == 1
    assert places(case, {"charts/orders/values.yaml": values, "charts/orders/values-prod.yaml": values}) == set()
    own = values.replace("false", "true")
    assert places(case, {"charts/orders/values.yaml": own, "charts/mailer/values.yaml": own}) == set()


def test_an_application_of_several_pipelines_is_found() -> None:
    text = "on: push\njobs:\n  a:\n    steps:\n      - uses: azure/login@v2\n        with: {client-id: 0f0f0f0f-1111-4222-8333-444444444444}\n"
    found = places(
        "cloud-identity-shared-by-pipelines",
        {"repos/a/.github/workflows/x.yml": text, "repos/b/.github/workflows/x.yml": text},
    )
    assert len(found) == 1


def test_stored_secrets_that_nobody_changes_are_found() -> None:
    case = "stored-secret-not-rotated"
    github = {
        "total_count": 1,
        "secrets": [{"name": "NPM", "created_at": "2028-01-01T00:00:00Z", "updated_at": "WHEN", "visibility": "all"}],
    }
    aws = {"SecretList": [{"ARN": "a", "Name": "db", "LastChangedDate": "WHEN", "RotationEnabled": False}]}
    azure = [
        {
            "id": "https://v.vault.azure.net/secrets/db",
            "attributes": {"created": "WHEN", "updated": "WHEN", "enabled": True},
            "contentType": None,
            "tags": {},
        }
    ]
    for text in map(json.dumps, (github, aws, azure)):
        assert len(places(case, {"s.json": text.replace("WHEN", "2029-01-01T00:00:00+00:00")})) == 1
        assert places(case, {"s.json": text.replace("WHEN", "2031-01-01T00:00:00+00:00")}) == set()
    assert places(case, {"s.json": json.dumps(aws).replace("WHEN", "2029-01-01").replace("false", "true")}) == set()


def test_keys_of_archived_repositories_and_of_accounts_that_are_switched_off_are_found() -> None:
    case = "key-of-what-is-switched-off"
    key = {"id": 9, "key": "ssh-ed25519 AAAA", "url": "https://api.github.com/repos/firm/old/keys/9", "title": "ci", "verified": True,
           "read_only": True, "created_at": "2031-01-01T00:00:00Z", "last_used": "2031-04-30T00:00:00Z"}  # fmt: skip
    lists = {
        "k.json": json.dumps([key]),
        "r.json": json.dumps([{"name": "old", "isArchived": True, "pushedAt": "2030-01-01T00:00:00Z"}]),
    }
    assert len(places(case, lists)) == 1
    assert places(case, lists | {"r.json": lists["r.json"].replace("true", "false")}) == set()
    name = "projects/firm-a/serviceAccounts/x@firm-a.iam.gserviceaccount.com"
    google = {
        "name": f"{name}/keys/1",
        "keyType": "USER_MANAGED",
        "validAfterTime": "2031-01-01T00:00:00Z",
        "validBeforeTime": "2031-12-01T00:00:00Z",
    }
    account = {
        "name": name,
        "email": "x@firm-a.iam.gserviceaccount.com",
        "uniqueId": "1",
        "projectId": "firm-a",
        "disabled": True,
    }
    assert len(places(case, {"k.json": json.dumps([google]), "a.json": json.dumps([account])})) == 1
    del account["disabled"]
    assert places(case, {"k.json": json.dumps([google]), "a.json": json.dumps([account])}) == set()


def test_webhooks_that_tell_a_stranger_everything_are_found() -> None:
    hook = {
        "type": "Organization",
        "id": 1,
        "name": "web",
        "active": True,
        "events": ["*"],
        "config": {"url": "https://in.relay.example/h", "insecure_ssl": "0"},
    }
    people = {"p.csv": "email,status,team\nada@firm.example,active,x\n"}
    case = "webhook-tells-stranger-everything"
    assert len(places(case, people | {"h.json": json.dumps([hook])})) == 1
    for part in (
        {"events": ["push"]},
        {"active": False},
        {"config": {"url": "https://ci.firm.example/h"}},
        {"config": {"url": "https://in.relay.example/h", "secret": "********"}},
    ):
        assert places(case, people | {"h.json": json.dumps([hook | part])}) == set()
    assert (
        len(
            places(
                "webhook-unchecked",
                {"h.json": json.dumps([hook | {"config": {"url": "https://ci.firm.example", "insecure_ssl": "1"}}])},
            )
        )
        == 1
    )


def test_the_default_rights_of_workflows_are_read() -> None:
    text = '{"default_workflow_permissions": "write", "can_approve_pull_request_reviews": true}'
    assert len(places("workflow-write-all", {"w.json": text})) == 1
    assert places("workflow-write-all", {"w.json": text.replace("write", "read")}) == set()


def test_a_role_for_an_account_that_no_list_has_is_found_where_no_shared_id_is_asked_for() -> None:
    accounts, case = dict([ACCOUNTS["organisation"]]), "role-for-strangers"
    assert len(places(case, accounts | {"r.tf": role("reader", "999900001111")})) == 1
    shared = role("reader", "999900001111").replace(
        '"Principal"', '"Condition": {"StringEquals": {"sts:ExternalId": "x"}}, "Principal"'
    )
    for text in (shared, role("reader", DEV)):
        assert places(case, accounts | {"r.tf": text}) == set()
    assert places(case, {"r.tf": role("reader", "999900001111")}) == set()


def test_production_secrets_for_every_branch_are_found() -> None:
    gitlab = {
        "variable_type": "env_var",
        "key": "PROD_DB_PASSWORD",
        "protected": False,
        "masked": True,
        "environment_scope": "*",
    }
    github = {
        "name": "PROD_TOKEN",
        "created_at": "2031-01-01T00:00:00Z",
        "updated_at": "2031-01-01T00:00:00Z",
        "visibility": "all",
    }
    case = "production-secret-for-every-branch"
    for row, safe in (
        (gitlab, {"protected": True}),
        (gitlab, {"environment_scope": "production"}),
        (gitlab, {"key": "DEV_DB_PASSWORD"}),
        (github, {"visibility": "selected"}),
    ):
        assert len(places(case, {"v.json": json.dumps([row])})) == 1
        assert places(case, {"v.json": json.dumps([row | safe])}) == set()


def test_people_who_sign_in_by_their_own_name_or_take_a_role_are_not_told() -> None:
    session = {
        "type": "AssumedRole",
        "accountId": PROD,
        "accessKeyId": "ASIAW3YKYEUGEUYDNHOL",
        "sessionContext": {"sessionIssuer": {"type": "Role", "userName": "deploy"}},
    }
    people = {"p.csv": "email,status,team\nada@firm.example,active,x\n"}
    sign_in = "Date (UTC),Username,Client app,Browser,IP address\n2031-04-30T20:00:00Z,guest@other.example,Browser,Edge,203.0.113.9\n"
    files = people | {"t.json": json.dumps({"Records": [event(MAC) | {"userIdentity": session}]}), "s.csv": sign_in}
    assert places("service-identity-used-by-hand", files) == set()
    login = event("Mozilla/5.0") | {"eventName": "ConsoleLogin"}
    assert len(places("service-identity-used-by-hand", people | {"t.json": json.dumps({"Records": [login]})})) == 1


SETTINGS = {
    ".env.ENV": "APP=1\nAWS_ROLE_ARN=arn:aws:iam::ACCOUNT:role/ledger\n",
    "chart/values-ENV.yaml": "serviceAccount:\n  annotations:\n    eks.amazonaws.com/role-arn: arn:aws:iam::ACCOUNT:role/ledger\n",
    "envs/ENV/terraform.tfvars": 'deploy_role_arn = "arn:aws:iam::ACCOUNT:role/ledger"\n',
    "ecs/ENV/task.json": '{"family": "a", "taskRoleArn": "arn:aws:iam::ACCOUNT:role/ledger"}\n',
}


@pytest.mark.parametrize("path", SETTINGS)
def test_a_configuration_of_another_environment_that_takes_productions_role_is_found(path: str) -> None:
    accounts, case, text = dict([ACCOUNTS["variables"]]), "production-identity-outside-production", SETTINGS[path]
    here = path.replace("ENV", "staging")
    assert len(places(case, accounts | {here: text.replace("ACCOUNT", PROD)})) == 1
    assert places(case, accounts | {here: text.replace("ACCOUNT", DEV)}) == set()
    assert places(case, accounts | {path.replace("ENV", "prod"): text.replace("ACCOUNT", PROD)}) == set()
    let_in = 'trusted_role_arns = ["arn:aws:iam::ACCOUNT:role/ledger"]\n'.replace("ACCOUNT", PROD)
    assert places(case, accounts | {"envs/dev/terraform.tfvars": let_in}) == set()


def test_a_stage_of_jenkins_that_takes_productions_credentials_is_found() -> None:
    text = "pipeline {\n  stages {\n    stage('Deploy ENV') {\n      steps {\n        withCredentials([string(credentialsId: 'NAMED-db', variable: 'P')]) { sh './go' }\n"
    case = "production-identity-outside-production"
    assert places(case, {"Jenkinsfile": text.replace("ENV", "staging").replace("NAMED", "prod")}) == {
        ("Jenkinsfile", 5)
    }
    assert places(case, {"Jenkinsfile": text.replace("ENV", "production").replace("NAMED", "prod")}) == set()
    assert places(case, {"Jenkinsfile": text.replace("ENV", "staging").replace("NAMED", "staging")}) == set()
