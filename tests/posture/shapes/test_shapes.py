"""What is weak by how parts of a document stand to each other: each class in several formats, and its safe twin."""

import json
from datetime import date

import pytest

from taskbound.posture.findings import find
from taskbound.posture.sighting import Weakness
from tests.posture.whole import said

IMPLICIT, PASSWORD, PKCE, LONG = "implicit-flow", "password-grant", "pkce-not-required", "lifetime-too-long"
STAR, RAISES, OWNER = "iam-star-star", "policy-that-can-raise-itself", "owner-role-assigned"
RBAC, WIDE, ENDLESS = "cluster-role-that-can-raise-itself", "oidc-trust-too-wide", "credential-made-without-end"
FORK = "pipeline-runs-code-of-outsiders"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
GITHUB = "https://token.actions.githubusercontent.com"
ENCODED = (
    "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%2"
    "2%7D%5D%7D"
)


def told(path: str, text: str) -> list[Weakness]:
    data = text.encode()
    return [one for one in said(path, data) if isinstance(one, Weakness)]


def cases(path: str, text: str) -> list[str]:
    return [one.case for one in told(path, text)]


def client(**of: object) -> str:
    return json.dumps({"realm": "r", "clients": [{"clientId": "web", "publicClient": True, **of}]}, indent=1)


def account(**of: object) -> str:
    return json.dumps({"RoleDetailList": [{"RoleName": "ops", "Path": "/", **of}]}, indent=1)


def assigned(**of: str) -> str:
    of = {"roleDefinitionName": "Owner", "principalType": "ServicePrincipal", "scope": "/subscriptions/1", **of}
    return json.dumps([of], indent=1)


def workflow(trigger: str, ref: str, after: str = "- run: make build", job: str = "") -> str:
    return (
        f"on:\n  {trigger}:\njobs:\n  a:\n    runs-on: ubuntu-24.04\n{job}    steps:\n"
        f"      - uses: actions/checkout@v5\n"
        f"        with:\n          ref: {ref}\n      {after}\n"
    )


def role(**of: object) -> str:
    return json.dumps({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["v"], **of}, indent=1)


def rules(verbs: str, resources: str, name: str = "deployer", groups: str = '""') -> str:
    return (
        f"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}}}\n"
        f"rules:\n- apiGroups: [{groups}]\n  resources: [{resources}]\n  verbs: [{verbs}]\n"
    )


HEAD = "${{ github.event.pull_request.head.sha }}"
WEAK: tuple[tuple[str, str, str], ...] = (
    (IMPLICIT, "realm.json", client(implicitFlowEnabled=True, standardFlowEnabled=False)),
    (
        IMPLICIT,
        "kc.yaml",
        (
            "kind: KeycloakRealmImport\nspec:\n  realm:\n    clients:\n    - clientId: web\n"
            "      implicitFlowEnabled: true\n"
        ),
    ),
    (
        IMPLICIT,
        "kc.tf",
        (
            'resource "keycloak_openid_client" "a" {\n  client_id = "a"\n  access_type = "PUBLIC"\n'
            "  implicit_flow_enabled = true\n}\n"
        ),
    ),
    (PASSWORD, "realm.json", client(directAccessGrantsEnabled=True, standardFlowEnabled=False)),
    (
        PASSWORD,
        "kc.tf",
        (
            'resource "keycloak_openid_client" "a" {\n  client_id = "a"\n  access_type = "CONFIDENTIAL"\n'
            "  direct_access_grants_enabled = true\n}\n"
        ),
    ),
    (PKCE, "realm.json", client(standardFlowEnabled=True, attributes={})),
    (
        PKCE,
        "kc.tf",
        (
            'resource "keycloak_openid_client" "a" {\n  client_id = "a"\n  access_type = "PUBLIC"\n'
            "  implicit_flow_enabled = false\n  standard_flow_enabled = true\n}\n"
        ),
    ),
    (LONG, "realm.json", json.dumps({"realm": "r", "accessTokenLifespan": 2592000})),
    (LONG, "realm.json", client(standardFlowEnabled=False, attributes={"access.token.lifespan": "7776000"})),
    # --- policies -----------------------------------------------------------------------------------
    (
        STAR,
        "serverless.yml",
        (
            "provider:\n  iam:\n    role:\n      statements:\n        - Effect: Allow\n          Action: '*'\n"
            "          Resource: '*'\n"
        ),
    ),
    (
        STAR,
        "fn.tf",
        (
            'module "fn" {\n  policy_statements = {\n    all = {\n      effect = "Allow"\n      actions = ["*"]\n'
            '      resources = ["*"]\n    }\n  }\n}\n'
        ),
    ),
    (STAR, "details.json", account(RolePolicyList=[{"PolicyName": "p", "PolicyDocument": {"Statement": [ALL]}}])),
    (STAR, "details.json", account(RolePolicyList=[{"PolicyName": "p", "PolicyDocument": ENCODED}])),
    (
        STAR,
        "details.json",
        account(AttachedManagedPolicies=[{"PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}]),
    ),
    (
        RAISES,
        "terragrunt.hcl",
        (
            'inputs = {\n  statements = [{\n    effect = "Allow"\n    actions = ["iam:*"]\n'
            '    resources = ["*"]\n  }]\n}\n'
        ),
    ),
    (
        OWNER,
        "role.tf",
        (
            'resource "azurerm_role_definition" "r" {\n  permissions {\n    actions = ["*"]\n'
            "    not_actions = []\n  }\n}\n"
        ),
    ),
    (OWNER, "role.json", json.dumps({"Name": "ci", "Actions": ["*"], "NotActions": [], "AssignableScopes": ["/"]})),
    # --- assignments --------------------------------------------------------------------------------
    (OWNER, "assignments.json", assigned()),
    (
        OWNER,
        "ci.tf",
        (
            'resource "azurerm_role_assignment" "ci" {\n  scope = data.azurerm_subscription.this.id\n'
            '  role_definition_name = "Contributor"\n}\n'
        ),
    ),
    (
        OWNER,
        "policy.yaml",
        "bindings:\n- members:\n  - serviceAccount:ci@p.iam.gserviceaccount.com\n  role: roles/owner\n",
    ),
    (
        OWNER,
        "ci.tf",
        (
            'resource "google_project_iam_member" "ci" {\n  role = "roles/editor"\n'
            '  member = "serviceAccount:${google_service_account.ci.email}"\n}\n'
        ),
    ),
    (
        OWNER,
        "kcc.yaml",
        "kind: IAMPolicyMember\nspec:\n  role: roles/owner\n  memberFrom:\n    serviceAccountRef: {name: ci}\n",
    ),
    (OWNER, "sa.tf", 'module "sa" {\n  names = ["ci"]\n  project_roles = ["p=>roles/owner"]\n}\n'),
    (
        WIDE,
        "providers.json",
        json.dumps([{"name": "p/gh", "attributeMapping": {"a": "b"}, "oidc": {"issuerUri": GITHUB}}]),
    ),
    # --- RBAC ---------------------------------------------------------------------------------------
    (RBAC, "role.yaml", rules("get, escalate", "clusterroles", groups="rbac.authorization.k8s.io")),
    (RBAC, "role.yaml", rules("impersonate", "users, groups")),
    (RBAC, "role.yaml", rules("'*'", "secrets")),
    (RBAC, "role.yaml", rules("create", "serviceaccounts/token")),
    (RBAC, "role.yaml", rules("get, list", "secrets", name="support-copilot")),
    (
        RBAC,
        "rbac.tf",
        (
            'resource "kubernetes_cluster_role" "r" {\n  rule {\n    api_groups = ["rbac.authorization.k8s.io"]\n'
            '    resources = ["roles"]\n    verbs = ["bind"]\n  }\n}\n'
        ),
    ),
    (
        RBAC,
        "bind.yaml",
        (
            "kind: ClusterRoleBinding\napiVersion: v1\nroleRef: {kind: ClusterRole, name: edit}\nsubjects:\n"
            "- {kind: ServiceAccount, name: ci, namespace: ci}\n"
        ),
    ),
    # --- Vault --------------------------------------------------------------------------------------
    (WIDE, "role.json", role()),
    (WIDE, "role.json", role(bound_claims={"ref": "main", "event_name": "push"})),
    (
        WIDE,
        "role.yaml",
        "bound_audiences: [v]\nuser_claim: sub\nbound_claims_type: glob\nbound_claims:\n  repository: acme/*\n",
    ),
    (
        WIDE,
        "vault.tf",
        (
            'resource "vault_jwt_auth_backend_role" "r" {\n  role_name = "r"\n  role_type = "jwt"\n'
            '  bound_audiences = ["v"]\n  bound_claims_type = "glob"\n  bound_claims = {\n'
            '    sub = "organization:acme:*"\n    project_path = "*"\n  }\n}\n'
        ),
    ),
    (
        ENDLESS,
        "vault.tf",
        'resource "vault_approle_auth_backend_role" "r" {\n  role_name = "feed"\n  token_ttl = 600\n}\n',
    ),
    # --- workflows ----------------------------------------------------------------------------------
    (FORK, ".github/workflows/a.yml", workflow("pull_request_target", HEAD)),
    (
        FORK,
        ".gitea/workflows/a.yml",
        workflow("pull_request_target", "${{ github.head_ref }}", "- uses: ./.github/actions/build"),
    ),
    (FORK, ".github/workflows/a.yml", workflow("workflow_run", "${{ github.event.workflow_run.head_sha }}")),
    (FORK, ".github/workflows/a.yml", workflow("issue_comment", "refs/pull/${{ github.event.issue.number }}/merge")),
    (
        FORK,
        ".github/workflows/a.yml",
        (
            "on: issue_comment\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: |\n"
            "          gh pr checkout $N\n          npm ci\n"
        ),
    ),
)

SOUND: tuple[tuple[str, str], ...] = (
    ("realm.json", client(standardFlowEnabled=True, attributes={"pkce.code.challenge.method": "S256"})),
    ("realm.json", client(enabled=False, implicitFlowEnabled=True)),
    (
        "realm.json",
        json.dumps({"clients": [{"clientId": "admin-cli", "publicClient": True, "directAccessGrantsEnabled": True}]}),
    ),
    ("realm.json", json.dumps({"realm": "r", "accessTokenLifespan": 300})),
    (
        "kms.tf",
        (
            'resource "aws_kms_key" "k" {\n  policy = jsonencode({\n    Statement = [{\n      Effect = "Allow"\n'
            '      Principal = { AWS = "arn:aws:iam::1:root" }\n      Action = "kms:*"\n      Resource = "*"\n'
            "    }]\n  })\n}\n"
        ),
    ),
    ("details.json", account(Path="/aws-service-role/x/", RolePolicyList=[{"PolicyDocument": {"Statement": [ALL]}}])),
    (
        "details.json",
        json.dumps(
            {
                "Policies": [
                    {
                        "PolicyName": "p",
                        "PolicyVersionList": [{"IsDefaultVersion": False, "Document": {"Statement": [ALL]}}],
                    }
                ]
            }
        ),
    ),
    (
        "serverless.yml",
        (
            "provider:\n  iam:\n    role:\n      statements:\n        - Effect: Allow\n"
            "          Action: s3:GetObject\n          Resource: arn:aws:s3:::x/*\n"
        ),
    ),
    ("assignments.json", assigned(principalType="User")),
    ("assignments.json", assigned(scope="/subscriptions/1/resourceGroups/a/providers/Microsoft.KeyVault/vaults/v")),
    ("policy.yaml", "bindings:\n- members:\n  - group:admins@corp.example\n  role: roles/owner\n"),
    (
        "policy.yaml",
        "bindings:\n- members:\n  - serviceAccount:1@cloudservices.gserviceaccount.com\n  role: roles/editor\n",
    ),
    (
        "providers.json",
        json.dumps([{"attributeCondition": "x", "attributeMapping": {"a": "b"}, "oidc": {"issuerUri": GITHUB}}]),
    ),
    ("role.yaml", rules("get, list, watch", "pods, secrets")),
    ("role.yaml", rules("get", "configmaps", name="support-copilot")),
    (
        "bind.yaml",
        (
            "kind: ClusterRoleBinding\napiVersion: v1\nroleRef: {kind: ClusterRole, name: view}\nsubjects:\n"
            "- {kind: ServiceAccount, name: ci}\n"
        ),
    ),
    ("role.json", role(bound_claims={"project_id": "4711", "ref": "main"})),
    ("role.json", role(bound_subject="repo:acme/shop:ref:refs/heads/main")),
    ("role.json", role(bound_claims_type="glob", bound_claims={"sub": "repo:acme/shop:*"})),
    ("role.json", role(role_type="oidc", allowed_redirect_uris=["https://v/cb"])),
    ("vault.tf", 'resource "vault_approle_auth_backend_role" "r" {\n  role_name = "feed"\n  secret_id_ttl = 600\n}\n'),
    (".github/workflows/a.yml", workflow("pull_request", HEAD)),
    (".github/workflows/a.yml", workflow("pull_request_target", "main")),
    (".github/workflows/a.yml", workflow("pull_request_target", HEAD, "- uses: actions/labeler@v5")),
    (".github/workflows/a.yml", workflow("pull_request_target", HEAD, "- run: git diff --stat")),
    (
        ".github/workflows/a.yml",
        workflow(
            "pull_request_target",
            HEAD,
            job="    if: github.event.pull_request.head.repo.full_name == github.repository\n",
        ),
    ),
)


@pytest.mark.parametrize(("case", "path", "text"), WEAK, ids=[f"{case}-{n}" for n, (case, _, _) in enumerate(WEAK)])
def test_what_is_weak_is_told(case: str, path: str, text: str) -> None:
    assert case in cases(path, text)


@pytest.mark.parametrize(("path", "text"), SOUND, ids=[f"{path}-{n}" for n, (path, _) in enumerate(SOUND)])
def test_what_is_sound_is_not(path: str, text: str) -> None:
    assert cases(path, text) == []


def test_two_clients_of_a_realm_are_two_subjects():
    clients = [{"clientId": name, "implicitFlowEnabled": True} for name in ("a", "b")]
    found = told("realm.json", json.dumps({"clients": clients}, indent=1))
    assert {one.subject for one in found} == {"oauth-client:a@shop", "oauth-client:b@shop"}


@pytest.mark.parametrize(
    ("end", "cases"), [("2099-01-01T00:00:00Z", ["client-secret-until-2099"]), ("2027-05-01T00:00:00Z", [])]
)
def test_how_far_an_end_is_depends_on_the_day(end: str, cases: list[str]) -> None:
    text = f'resource "azuread_application_password" "ci" {{\n  end_date = "{end}"\n}}\n'
    data = text.encode()
    found = find(said("ci.tf", data), date(2026, 11, 1))
    assert [one.case for one in found] == cases


INJECTED = "pipeline-takes-text-for-code"


def reacting(trigger: str, step: str, job: str = "") -> str:
    return f"on:\n  {trigger}\njobs:\n  a:\n    runs-on: ubuntu-24.04\n{job}    steps:\n      - {step}\n"


@pytest.mark.parametrize(
    ("trigger", "step", "line"),
    [
        ("issues: {types: [opened]}", 'run: echo "${{ github.event.issue.title }}"', 7),
        ("issue_comment:", "run: |\n          set -e\n          ./triage ${{ github.event.comment.body }}", 9),
        ("pull_request_target:", "run: git switch ${{ github.head_ref }}", 7),
        ("pull_request_target:", "run: ./t '${{ toJSON(github.event.pull_request.body) }}'", 7),
        ("discussion:", "run: echo ${{github.event.discussion.body}}", 7),
        ("workflow_run: {workflows: [a]}", "run: echo ${{ github.event.workflow_run.head_branch }}", 7),
        (
            "pull_request_target:",
            "uses: actions/github-script@v8\n        with:\n"
            "          script: const t = `${{ github.event.pull_request.title }}`",
            9,
        ),
        ("issues:", "run: echo ${{ env.T }}\n        env:\n          T: ${{ github.event.issue.title }}", 7),
    ],
)
def test_text_of_outsiders_that_becomes_code_is_told(trigger: str, step: str, line: int) -> None:
    (found,) = told(".github/workflows/a.yml", reacting(trigger, step))
    assert (found.case, found.place.line) == (INJECTED, line)


@pytest.mark.parametrize(
    ("trigger", "step", "job"),
    [
        ("issues:", 'run: echo "$T"\n        env:\n          T: ${{ github.event.issue.title }}', ""),
        ("issues:", "run: echo ${{ github.event.issue.number }} ${{ github.event.issue.user.login }}", ""),
        ("push:", "run: echo ${{ github.event.head_commit.message }}", ""),
        ("pull_request:", "run: echo ${{ github.event.pull_request.title }}", ""),
        ("issues:", "run: echo ${{ contains(github.event.issue.title, 'bug') }}", ""),
        ("issues:", "run: echo ${{ github.event.issue.title == 'bug' }}", ""),
        ("issues: {types: [labeled]}", "run: echo ${{ github.event.issue.title }}", ""),
        ("issues:", "uses: a/b@v1\n        with:\n          title: ${{ github.event.issue.title }}", ""),
        (
            "issue_comment:",
            "run: echo ${{ github.event.comment.body }}",
            "    if: github.event.comment.author_association == 'MEMBER'\n",
        ),
        ("issues:", "run: echo ${{ env.T }}\n        env:\n          T: ${{ github.event.issue.number }}", ""),
    ],
)
def test_text_that_stays_text_or_is_an_insiders_is_not_told(trigger: str, step: str, job: str) -> None:
    assert INJECTED not in cases(".github/workflows/a.yml", reacting(trigger, step, job))


@pytest.mark.parametrize(
    ("block", "sound"),
    [
        ('"gitlab_project_access_token" "ci" {\n  name = "ci"', '\n  expires_at = "2031-06-01"'),
        ('"gitlab_group_access_token" "ci" {\n  name = "ci"', "\n  rotation_configuration = {}"),
        ('"cloudflare_api_token" "dns" {\n  name = "dns"', '\n  expires_on = "2031-06-01T00:00:00Z"'),
        ('"grafana_service_account_token" "g" {\n  name = "g"', "\n  seconds_to_live = 3600"),
    ],
)
def test_a_token_that_terraform_makes_has_an_end(block: str, sound: str) -> None:
    assert cases("main.tf", f"resource {block}\n}}\n") == [ENDLESS]
    assert cases("main.tf", f"resource {block}{sound}\n}}\n") == []


@pytest.mark.parametrize(("end", "expected"), [("2036-01-01", {"token-with-long-life"}), ("2031-06-01", set())])
def test_how_far_the_end_of_a_token_is_counts_from_the_day(end: str, expected: set[str]) -> None:
    blocks = (
        f'resource "gitlab_project_access_token" "ci" {{\n  expires_at = "{end}"\n}}\n',
        f'data "azurerm_storage_account_sas" "s" {{\n  start  = "2031-04-01"\n  expiry = "{end}"\n}}\n',
    )
    for text in blocks:
        assert {one.case for one in find(said("main.tf", text.encode()), date(2031, 5, 1))} == expected


def bound(role: str, group: str, kind: str = "ClusterRoleBinding") -> str:
    return (
        f"apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: x}}\n"
        f"roleRef: {{kind: ClusterRole, name: {role}}}\nsubjects:\n- kind: Group\n  name: {group}\n"
    )


@pytest.mark.parametrize(
    ("role", "group", "expected"),
    [
        ("view", "system:unauthenticated", ["service-without-authentication"]),
        ("edit", "system:authenticated", [RBAC]),
        ("edit", "system:serviceaccounts", [RBAC]),
        ("view", "system:authenticated", []),
        ("system:public-info-viewer", "system:unauthenticated", []),
        ("edit", "team-stock", []),
    ],
)
def test_a_role_of_a_cluster_that_everybody_has(role: str, group: str, expected: list[str]) -> None:
    assert cases("rbac.yaml", bound(role, group)) == expected


@pytest.mark.parametrize("action", ["secretsmanager:GetSecretValue", "sts:AssumeRole", "iam:PassRole"])
def test_every_secret_and_every_role_are_a_whole_service(action: str) -> None:
    statement: dict[str, object] = {"Effect": "Allow", "Action": [action], "Resource": "*"}
    assert cases("a.json", json.dumps({"Statement": [statement]})) == ["whole-service-on-everything"]
    narrow = statement | {"Resource": "arn:aws:iam::1:role/stock"}
    assert cases("a.json", json.dumps({"Statement": [narrow]})) == []
    bounded = statement | {"Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}}
    assert cases("a.json", json.dumps({"Statement": [bounded]})) == []
