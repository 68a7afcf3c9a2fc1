# ruff: noqa: E501 (a form a line)
"""Offboarding: lists of people of every shape, joined with keys, rights, owners and ends wherever they stand."""

import json

import pytest

from tests.posture.whole import findings, places

HERE, GONE = "ada.here@firm.example", "bo.gone@firm.example"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMK3PVrRDNdahFmtjgSE5aggarGgCjJFqKyN7TJ2n7Gv"
CSV = f"name,work email,github,status,end date\nAda Here,{HERE},adah,active,\nBo Gone,{GONE},bogone,left,2031-01-31\n"


def scim(mail: str, active: bool) -> dict[str, object]:
    emails = [{"value": mail, "primary": True, "type": "work"}]
    return {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": f"scim-{mail}", "userName": mail.partition("@")[0],
            "name": {"formatted": "x"}, "emails": emails, "active": active}  # fmt: skip


PEOPLE = {
    "hr/staff.csv": CSV,
    "scim.json": json.dumps({"Resources": [scim(HERE, True), scim(GONE, False)]}),
    "okta.json": json.dumps(
        [{"id": "00u1", "status": "DEPROVISIONED", "statusChanged": "2031-01-31T10:00:00Z", "credentials": {}, "profile": {"email": GONE, "login": GONE}},
         {"id": "00u2", "status": "ACTIVE", "credentials": {}, "profile": {"email": HERE, "login": HERE}}]
    ),
    "entra.csv": f"userPrincipalName,displayName,accountEnabled\n{HERE},Ada,True\n{GONE},Bo,False\n",
    "google.json": json.dumps({"users": [{"primaryEmail": HERE, "suspended": False}, {"primaryEmail": GONE, "suspended": True}]}),
    "identity-center.json": json.dumps(
        {"Users": [{"UserName": "ada", "UserId": "u-1", "Name": {}, "Emails": [{"Value": HERE}], "UserStatus": "ENABLED"},
                   {"UserName": "bo", "UserId": "u-2", "Name": {}, "Emails": [{"Value": GONE}], "UserStatus": "DISABLED"}]}
    ),
    "keycloak.json": json.dumps([{"username": "ada", "email": HERE, "enabled": True}, {"username": "bo", "email": GONE, "enabled": False}]),
    "personio.json": json.dumps(
        {"data": [{"type": "Employee", "attributes": {"email": {"label": "Email", "value": GONE}, "status": {"label": "Status", "value": "inactive"}}},
                  {"type": "Employee", "attributes": {"email": {"label": "Email", "value": HERE}, "status": {"label": "Status", "value": "active"}}}]}
    ),
    "ad.csv": f"SamAccountName,UserPrincipalName,Enabled,EmailAddress\nada,{HERE},True,{HERE}\nbo,{GONE},False,{GONE}\n",
    "bamboo.json": json.dumps({"employees": [{"workEmail": HERE, "status": "Active", "department": "x", "terminationDate": "0000-00-00"},
                                             {"workEmail": GONE, "status": "Inactive", "department": "x", "terminationDate": "2031-01-31"}]}),
    "slack.json": json.dumps({"users": [{"id": "U1", "team_id": "T", "name": "ada", "deleted": False, "profile": {"email": HERE}},
                                        {"id": "U2", "team_id": "T", "name": "bo", "deleted": True, "profile": {"email": GONE}}]}),
}  # fmt: skip


@pytest.mark.parametrize("people", PEOPLE)
def test_people_who_have_left_are_known_from_lists_of_every_shape(people: str) -> None:
    keys = f"{KEY} {HERE}\n{KEY} {GONE}\n"
    assert places("ssh-key-of-leaver", {people: PEOPLE[people], "ops/authorized_keys": keys}) == {
        ("ops/authorized_keys", 2)
    }


KEYS = {
    "authorized_keys": ("roles/web/files/authorized_keys", f"# ops\nfrom=\"10.0.0.0/8\" {KEY} bo.gone@laptop\n", 2),
    "login of a forge": ("keys.txt", f"{KEY} bogone@mbp\n", 1),
    "cloud-init": ("cloud-init.yaml", f"#cloud-config\nusers:\n  - name: ops\n    ssh_authorized_keys:\n      - {KEY} {GONE}\n", 5),
    "ansible": ("tasks/main.yml", f"- ansible.posix.authorized_key:\n    user: ops\n    key: \"{KEY} {GONE}\"\n", 3),
    "terraform": ("key.tf", f'resource "aws_key_pair" "ops" {{\n  key_name   = "ops"\n  public_key = "{KEY} {GONE}"\n}}\n', 3),
    "google": ("gce.tf", f'resource "google_compute_project_metadata" "m" {{\n  metadata = {{\n    ssh-keys = "bogone:{KEY} bo"\n  }}\n}}\n', 3),
    "named by its file": ("bastion/keys/bogone.pub", f"{KEY}\n", 1),
    "home": ("snapshots/home/bogone/.ssh/authorized_keys", f"{KEY} old laptop\n", 1),
}  # fmt: skip


@pytest.mark.parametrize("form", KEYS)
def test_a_key_of_a_leaver_is_found_wherever_such_lines_stand(form: str) -> None:
    path, text, line = KEYS[form]
    assert places("ssh-key-of-leaver", {"hr.csv": CSV, path: text}) == {(path, line)}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("authorized_keys", f"# {KEY} {GONE}\n"),
        ("authorized_keys", f'expiry-time="20310201" {KEY} {GONE}\n'),
        ("authorized_keys", f"{KEY} adah@bogone-old-laptop\n"),
        ("authorized_keys", f"{KEY} deploy@ci\n"),
        ("known_hosts", f"bastion {KEY} {GONE}\n"),
        ("ssh/revoked_keys", f"{KEY} {GONE}\n"),
        ("users.yml", f"- authorized_key:\n    key: {KEY} {GONE}\n    state: absent\n"),
    ],
)
def test_keys_that_let_no_leaver_in_are_not_told(path: str, text: str) -> None:
    assert places("ssh-key-of-leaver", {"hr.csv": CSV, path: text}) == set()


RIGHTS = {
    "kubernetes": ("rbac.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: ops}\n"
                   "roleRef: {kind: ClusterRole, name: edit}\nsubjects:\n- kind: User\n  name: WHO\n", 7),
    "google": ("iam.tf", 'resource "google_project_iam_member" "x" {\n  role = "roles/editor"\n  member = "user:WHO"\n}\n', 3),
    "google policy": ("policy.json", '{"bindings": [{"role": "roles/viewer",\n "members": ["user:WHO"]}],\n "etag": "x", "version": 1}', 2),
    "github": ("team.tf", 'resource "github_membership" "x" {\n  username = "LOGIN"\n  role = "admin"\n}\n', 2),
    "postgresql": ("db.tf", 'resource "postgresql_role" "x" {\n  name = "LOGIN"\n  login = true\n}\n', 2),
    "iam user": ("users.tf", 'resource "aws_iam_user" "x" {\n  name = "LOGIN"\n}\n', 2),
}  # fmt: skip


@pytest.mark.parametrize("form", RIGHTS)
def test_a_right_that_names_a_leaver_is_found_and_that_of_a_colleague_is_not(form: str) -> None:
    path, text, line = RIGHTS[form]
    gone = text.replace("WHO", GONE).replace("LOGIN", "bogone")
    here = text.replace("WHO", HERE).replace("LOGIN", "adah")
    assert places("right-of-leaver", {"hr.csv": CSV, path: gone}) == {(path, line)}
    assert places("right-of-leaver", {"hr.csv": CSV, path: here}) == set()


def account(note: str, created: str = "") -> str:
    return f"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: trial\n  namespace: trial-9\n{created}  annotations:\n    {note}\n"


ENDS = {
    "expires": account('acme.example/expires-at: "2031-02-01"'),
    "delete-after": account('cleanup/delete-after: "2031-03-01T00:00:00Z"'),
    "valid until": account("valid-until: 2031-04-30"),
    "seconds": account('expiry: "1924000000"'),
    "time to live": account("janitor/ttl: 14d", '  creationTimestamp: "2031-01-01T00:00:00Z"\n'),
    "label": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: trial-9\n  labels: {end-date: 2031-02-01}\n",
    "terraform": 'resource "aws_iam_role" "trial" {\n  name = "trial"\n  tags = {\n    ExpiresOn = "2031-02-01"\n  }\n}\n',
    "terraform label": 'resource "google_service_account" "trial" {\n  account_id = "trial"\n  labels = { delete_after = "2031-02-01" }\n}\n',
}


@pytest.mark.parametrize("form", ENDS)
def test_what_was_to_end_and_is_still_there_is_found(form: str) -> None:
    path = "trial.tf" if "resource" in ENDS[form] else "trial.yaml"
    found = [one for one in findings({path: ENDS[form]}) if one.case == "identity-past-its-end"]
    assert len(found) == 1, form


@pytest.mark.parametrize(
    "text",
    [
        account('acme.example/expires-at: "2031-06-01"'),
        account('eks.amazonaws.com/token-expiration: "86400"'),
        account("janitor/ttl: 90d", '  creationTimestamp: "2031-04-01T00:00:00Z"\n'),
        account("janitor/ttl: forever"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  annotations: {expires: 2031-02-01}\n",
        'resource "aws_s3_bucket" "x" {\n  tags = { ExpiresOn = "2031-02-01" }\n}\n',
    ],
)
def test_what_still_may_live_or_is_no_identity_is_not_told(text: str) -> None:
    path = "a.tf" if "resource" in text else "a.yaml"
    assert "identity-past-its-end" not in {one.case for one in findings({path: text})}


OWNED = {
    "annotation": ("a.yaml", account("acme.example/owner: WHO")),
    "tag": ("a.tf", 'resource "aws_iam_role" "x" {\n  name = "x"\n  tags = { Owner = "WHO" }\n}\n'),
    "catalogue": ("catalog-info.yaml", "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: crawler}\nspec:\n  owner: user:default/WHO\n"),
}  # fmt: skip


@pytest.mark.parametrize("form", OWNED)
def test_an_identity_whose_owner_has_left_is_found_by_its_labels(form: str) -> None:
    path, text = OWNED[form]
    case = "identity-of-leaver-still-active"
    assert len(places(case, {"hr.csv": CSV, path: text.replace("WHO", "bogone")})) == 1
    assert places(case, {"hr.csv": CSV, path: text.replace("WHO", "adah")}) == set()


def test_code_owners_who_have_all_left_are_told_where_identities_are_theirs() -> None:
    files = {"hr.csv": CSV, "repos/shop/deploy/sa.yaml": account("a: b"), "repos/shop/CODEOWNERS": "/deploy/ @bogone\n"}
    assert places("code-owner-has-left", files) == {("repos/shop/CODEOWNERS", 1)}
    files["repos/shop/CODEOWNERS"] = "/deploy/ @bogone @adah\n"
    assert places("code-owner-has-left", files) == set()


TOKENS = {
    "gitlab deploy tokens": ("g.json", json.dumps([{"id": 7, "name": "pull", "username": "t7", "expires_at": None, "scopes": ["read_registry"], "revoked": False, "expired": False}])),
    "table": ("t.csv", "token_name,owner,created,expires,last_used\npull,adah,2031-01-01,never,2031-04-30\n"),
    "npm": ("n.json", json.dumps([{"token": "npm_1a", "id_prefix": "1", "tokenType": "granular", "created": "2031-01-01", "expires": "none", "lastUsed": "2031-04-30"}])),
}  # fmt: skip


@pytest.mark.parametrize("form", TOKENS)
def test_tokens_without_an_end_are_known_from_lists_of_any_issuer(form: str) -> None:
    path, text = TOKENS[form]
    assert len(places("token-without-expiry", {path: text})) == 1
    for never in ("null", "never", '"none"'):
        text = text.replace(never, "2031-06-01" if path.endswith("csv") else '"2031-06-01"')
    assert places("token-without-expiry", {path: text}) == set()


def test_a_token_of_somebody_who_left_is_told_whatever_lists_it() -> None:
    text = "token_name,owner,created,expires,last_used\nnightly,bogone,2030-12-01,2031-12-01,2031-04-30\n"
    assert places("token-of-leaver-still-used", {"hr.csv": CSV, "t.csv": text}) == {("t.csv", 2)}


def test_logins_of_databases_that_are_called_after_a_leaver_are_found() -> None:
    people = "username,left_on\nbogone,2031-01-31\nadah,\n"
    for text in ("rolname,rolcanlogin\nbogone,t\nadah,t\n", "User,Host,account_locked\nbogone,%,N\nadah,%,N\n"):
        assert places("right-of-leaver", {"p.csv": people, "roles.csv": text}) == {("roles.csv", 2)}
        safe = text.replace("bogone,t", "bogone,f").replace("bogone,%,N", "bogone,%,Y")
        assert places("right-of-leaver", {"p.csv": people, "roles.csv": safe}) == set()


@pytest.mark.parametrize(
    "comment", ["bgone@old-laptop", "Bo Gone", "bo.gone", "Bo Gone <bo.gone@firm.example>", "bo_gone@desk"]
)
def test_a_leaver_is_known_by_what_people_write_of_themselves(comment: str) -> None:
    assert places("ssh-key-of-leaver", {"hr.csv": CSV, "authorized_keys": f"{KEY} {comment}\n"}) == {
        ("authorized_keys", 1)
    }


def test_a_login_that_two_people_could_have_names_nobody() -> None:
    people = CSV + "Bea Gone,bea.gone@firm.example,beagone,active,\n"
    assert places("ssh-key-of-leaver", {"hr.csv": people, "authorized_keys": f"{KEY} bgone@laptop\n"}) == set()
