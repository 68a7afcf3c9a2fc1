"""Exported lists: told by their members, whatever their file is called; each says what it says, and no more."""

import json
from datetime import UTC, datetime

import pytest

from taskbound.posture.document import Document, Node
from taskbound.posture.exports import read_export
from taskbound.posture.parsers import parse
from taskbound.posture.sighting import Place, Principal, Sighting, Use
from tests.posture.planted import mark

REPORT = (
    "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,"
    "mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,"
    "access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,"
    "access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,"
    "cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated\n"
)
ROOT = (
    "<root_account>,arn:aws:iam::123456789012:root,2019-01-01T00:00:00+00:00,not_supported,no_information,"
    "not_supported,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A\n"
)
USER = (
    "stock-svc,arn:aws:iam::123456789012:user/stock-svc,2029-01-01T00:00:00+00:00,true,2031-04-02T10:00:00+00:00,N/A,"
    "N/A,false,true,2029-02-01T00:00:00+00:00,N/A,N/A,N/A,true,2030-02-01T00:00:00+00:00,"
    "2031-04-30T10:00:00+00:00,eu-west-1,s3,false,N/A,false,N/A\n"
)


def read(path: str, text: str) -> tuple[Sighting, ...]:
    return read_export(parse(path, text.encode()), mark)


def principals(seen: tuple[Sighting, ...]) -> dict[str, Principal]:
    return {one.id: one for one in seen if isinstance(one, Principal)}


def test_the_credential_report_tells_users_and_both_keys() -> None:
    seen = principals(read("x/report.csv", REPORT + ROOT + USER))
    assert set(seen) == {"aws:root/123456789012", "aws:user/stock-svc", "aws-key:stock-svc/1", "aws-key:stock-svc/2"}
    assert seen["aws:root/123456789012"].facts["console"] is False
    assert seen["aws:user/stock-svc"].facts["console_used"] == datetime(2031, 4, 2, 10, tzinfo=UTC)
    first, second = seen["aws-key:stock-svc/1"].facts, seen["aws-key:stock-svc/2"].facts
    assert (first["used"], first["created"]) == (None, datetime(2029, 2, 1, tzinfo=UTC))
    assert second["used"] == datetime(2031, 4, 30, 10, tzinfo=UTC)
    assert seen["aws-key:stock-svc/1"].place == Place("x/report.csv", 3)


def test_no_information_on_a_keys_use_is_not_never() -> None:
    unknown = USER.replace("2029-02-01T00:00:00+00:00,N/A", "2029-02-01T00:00:00+00:00,no_information")
    assert "used" not in principals(read("r.csv", REPORT + unknown))["aws-key:stock-svc/1"].facts


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("k.csv", "user,access_key_id,status,created\nstock-svc,AKIAQQQQWWWWEEEERRRR,Active,2030-02-01\n"),
        ("k.csv", "UserName,AccessKeyId,Status,CreateDate\nstock-svc,AKIAQQQQWWWWEEEERRRR,Active,2030-02-01\n"),
        (
            "k.json",
            '{"AccessKeyMetadata": [{"UserName": "stock-svc", "AccessKeyId": "AKIAQQQQWWWWEEEERRRR",\n'
            ' "Status": "Active", "CreateDate": "2030-02-01T00:00:00Z"}]}',
        ),
    ],
)
def test_key_lists_tell_the_identifier_by_its_mark_alone(path: str, text: str) -> None:
    user, key = principals(read(path, text)).values()
    assert (user.id, user.facts) == ("aws:user/stock-svc", {})
    assert key.facts["mark"] == mark("AKIAQQQQWWWWEEEERRRR")
    assert (key.facts["of"], key.facts["active"]) == ("aws:user/stock-svc", True)
    assert key.facts["created"] == datetime(2030, 2, 1, tzinfo=UTC)
    assert "AKIAQQQQ" not in repr((user, key))


@pytest.mark.parametrize(
    "tags",
    [
        {"stock-svc": {"Owner": "rosa@shop.example", "team": "stock"}, "old": {"owner": "n/a"}},
        {"stock-svc": [{"Key": "owner", "Value": "rosa@shop.example"}], "old": {"owner": ""}},
        [
            {"UserName": "stock-svc", "Tags": [{"Key": "owner", "Value": "rosa@shop.example"}]},
            {"UserName": "old", "Tags": []},
        ],
        {
            "ResourceTagMappingList": [
                {
                    "ResourceARN": "arn:aws:iam::1:user/a/stock-svc",
                    "Tags": [{"Key": "Owner", "Value": "rosa@shop.example"}],
                },
                {"ResourceARN": "arn:aws:iam::1:user/old", "Tags": [{"Key": "env", "Value": "x"}]},
            ]
        },
    ],
)
def test_tags_tell_owners_in_each_of_their_shapes(tags: object) -> None:
    seen = principals(read("t.json", json.dumps(tags)))
    assert seen["aws:user/stock-svc"].facts == {"owner": "rosa@shop.example"}
    assert "owner" not in seen["aws:user/old"].facts
    assert seen["owners:aws-iam-user"].place == Place("t.json", 1)


def event(agent: str, name: str = "GetObject", **who: object) -> dict[str, object]:
    user = {"type": "IAMUser", "userName": "stock-svc", "accessKeyId": "AKIAQQQQWWWWEEEERRRR"} | who
    at = "2031-04-01T10:00:00Z"
    return {
        "eventTime": at,
        "eventName": name,
        "userIdentity": user,
        "sourceIPAddress": "192.0.2.7",
        "userAgent": agent,
    }


@pytest.mark.parametrize("agent", ["console.amazonaws.com", "signin.amazonaws.com"])
def test_what_the_console_signs_with_is_no_key_that_somebody_holds(agent: str) -> None:
    (use,) = read("log.jsonl", json.dumps(event(agent)))
    assert isinstance(use, Use)
    assert (use.by, use.principal, use.mark) == ("person", "aws:user/stock-svc", "")


@pytest.mark.parametrize(
    ("agent", "by"),
    [
        ("aws-cli/2.9 md/prompt#off os/macos", "person"),
        ("aws-cli/1.27 Python/3.11 Windows/10 botocore/1.29", "person"),
        ("[Mozilla/5.0 (X11; Linux x86_64)]", "person"),
        ("aws-sdk-go/1.44 os/linux GitLab-Runner", "pipeline"),
        ("aws-sdk-go-v2/1.30 os/linux GitHubActions", "pipeline"),
        ("Boto3/1.34 md/Botocore crewai/0.5", "agent"),
        ("Boto3/1.34 research-agent", "agent"),
        ("amazon-ssm-agent/3.1 os/linux", "workload"),
        ("Boto3/1.34 exec-env/AWS_Lambda_python3.12", "workload"),
        ("aws-sdk-java/2.20 Linux/5.10", ""),
    ],
)
def test_cloudtrail_tells_who_is_behind_a_user_agent(agent: str, by: str) -> None:
    (use,) = read("log.jsonl", json.dumps(event(agent)))
    assert isinstance(use, Use)
    assert (use.by, use.principal, use.mark) == (by, "aws:user/stock-svc", mark("AKIAQQQQWWWWEEEERRRR"))


def test_cloudtrail_is_read_as_lines_and_as_records_and_keeps_the_last_of_like_uses() -> None:
    early, late = event("aws-cli/2 os/macos"), event("aws-cli/2 os/macos") | {"eventTime": "2031-04-03T10:00:00Z"}
    lines = read("log.jsonl", f"{json.dumps(early)}\n{json.dumps(late)}\n")
    records = read("log.json", json.dumps({"Records": [late, early]}, indent=1))
    assert [(one.at.day, one.place.line) for one in lines if isinstance(one, Use)] == [(3, 2)]
    assert [one.at.day for one in records if isinstance(one, Use)] == [3]


def test_a_session_of_a_role_has_no_key_of_its_own() -> None:
    issuer = {"type": "Role", "userName": "deployer", "arn": "arn:aws:iam::1:role/deployer"}
    role = event("Boto3/1", type="AssumedRole", userName="", accessKeyId="ASIAQQQQWWWWEEEERRRR")
    role["userIdentity"] = {**dict(role["userIdentity"]), "sessionContext": {"sessionIssuer": issuer}}  # type: ignore[call-overload]
    (use,) = read("log.jsonl", json.dumps(role))
    assert isinstance(use, Use)
    assert (use.principal, use.mark) == ("aws:role/deployer", "")


FINE = {
    "id": 7,
    "owner": {"login": "rosa"},
    "repository_selection": "subset",
    "permissions": {"repository": {"contents": "read", "metadata": "read"}},
    "access_granted_at": "2031-01-01T00:00:00Z",
    "token_expired": False,
    "token_id": 9,
    "token_name": "reader",
    "token_expires_at": "2031-06-01T00:00:00Z",
    "token_last_used_at": None,
}
AUTHORIZED = {
    "login": "rosa",
    "credential_id": 3,
    "credential_type": "personal access token",
    "token_last_eight": "q1w2e3r4",
    "credential_authorized_at": "2030-01-01T00:00:00Z",
    "credential_accessed_at": "2031-04-01T00:00:00Z",
    "authorized_credential_expires_at": None,
    "scopes": ["repo", "admin:org"],
}


def test_fine_grained_tokens_are_bounded_where_they_read_alone_and_end() -> None:
    (token,) = principals(read("g.json", json.dumps([FINE]))).values()
    assert (token.facts["bounded"], token.facts["used"], token.facts["owner"]) == (True, None, "rosa")
    writes = FINE | {"permissions": {"repository": {"contents": "write"}}}
    assert not next(iter(principals(read("g.json", json.dumps([writes]))).values())).facts["bounded"]
    endless = FINE | {"token_expires_at": None}
    assert not next(iter(principals(read("g.json", json.dumps([endless]))).values())).facts["bounded"]


def test_authorized_credentials_are_known_by_the_mark_of_their_last_eight() -> None:
    (token,) = principals(read("g.json", json.dumps([AUTHORIZED], indent=1))).values()
    assert (token.facts["tail"], token.facts["expires"], token.facts["bounded"]) == (mark("q1w2e3r4"), None, False)
    assert token.facts["scopes"] == ("repo", "admin:org")
    assert "q1w2e3r4" not in repr(token)
    key = AUTHORIZED | {"credential_type": "SSH key", "fingerprint": "jklmnop"}
    assert read("g.json", json.dumps([key])) == ()


def test_applications_tell_secrets_certificates_and_owners_where_they_were_asked_for() -> None:
    app = {
        "displayName": "loader",
        "appId": "00000000-0000-4000-8000-000000000001",
        "passwordCredentials": [{"displayName": "a", "startDateTime": "2030-01-01T00:00:00.1234567Z",
                                 "endDateTime": "2099-12-31T00:00:00Z"}],
        "keyCredentials": [{"startDateTime": "2030-01-01T00:00:00Z", "endDateTime": "2031-01-01T00:00:00Z"}],
    }  # fmt: skip
    seen = principals(read("e.json", json.dumps({"value": [app]}, indent=1)))
    assert set(seen) == {"entra-app:loader", "entra-client-secret:loader/1", "entra-certificate:loader/1"}
    assert "owners" not in seen["entra-app:loader"].facts
    assert seen["entra-client-secret:loader/1"].facts["expires"] == datetime(2099, 12, 31, tzinfo=UTC)
    owned = app | {"owners": [{"userPrincipalName": "rosa@shop.example"}]}
    assert principals(read("e.json", json.dumps([owned])))["entra-app:loader"].facts["owners"] == ("rosa@shop.example",)


@pytest.mark.parametrize(
    ("path", "text", "left"),
    [
        ("p.csv", "Email,Status,Left on\nRosa@Shop.example,terminated,2031-01-02\n", True),
        ("p.csv", "email,left_on\nrosa@shop.example,\n", False),
        ("p.csv", "email,status,team\nrosa@shop.example,Inactive,stock\n", True),
        ("p.json", '[{"userPrincipalName": "rosa@shop.example", "accountEnabled": false}]', True),
        ("p.json", '{"users": [{"primaryEmail": "rosa@shop.example", "suspended": false}]}', False),
        (
            "p.json",
            '[{"status": "DEPROVISIONED", "activated": "x", "profile": {"email": "rosa@shop.example", "login": "ro"}}]',
            True,
        ),
    ],
)
def test_people_have_left_or_not_in_each_of_their_shapes(path: str, text: str, left: bool) -> None:
    (person,) = principals(read(path, text)).values()
    assert person.id == "person:rosa@shop.example"
    gone = person.facts["left_on"]
    assert bool(person.facts["left"] or gone) is left


@pytest.mark.parametrize(
    "text",
    [
        '[{"email": "rosa@shop.example", "status": "active", "team": "x", "password": "hunter2hunter2"}]',
        '{"email": "rosa@shop.example", "name": "shop"}',
        '[{"email": "rosa@shop.example", "status": "shipped"}]',
        '{"scripts": {"test": "x"}, "repository": {"owner": "rosa"}, "name": "shop"}',
        '{"a": {"owner": "rosa@shop.example"}, "b": {"c": "d"}, "e": {"f": "g"}}',
        '{"name": "shop", "archived": true}',
        '{"name": "x", "scopes": ["api"], "expires_at": null}',
        "[1, 2, [3]]",
        '"text"',
        "{}",
    ],
)
def test_what_is_no_exported_list_is_none(text: str) -> None:
    assert read("a.json", text) == ()


def test_repositories_of_two_forges() -> None:
    github = [{"name": "shop", "full_name": "acme/shop", "archived": True, "pushed_at": "2030-01-01T00:00:00Z"}]
    gitlab = [{"path": "shop", "path_with_namespace": "acme/x/shop", "name": "The Shop", "archived": True,
               "last_activity_at": "2030-01-01T00:00:00Z"}]  # fmt: skip
    for repositories in (github, gitlab):
        (one,) = principals(read("r.json", json.dumps(repositories))).values()
        assert (one.id, one.facts["archived"]) == ("repository:shop", True)


def test_other_issuers() -> None:
    account = "projects/p/serviceAccounts/loader@p.iam.gserviceaccount.com/keys/0123456789abcdef"
    google = {"name": account, "validAfterTime": "2029-01-01T00:00:00Z", "validBeforeTime": "9999-12-31T23:59:59Z",
              "keyType": "USER_MANAGED", "keyAlgorithm": "KEY_ALG_RSA_2048"}  # fmt: skip
    seen = principals(
        read("k.json", json.dumps([google, google | {"keyType": "SYSTEM_MANAGED", "name": account[:-1] + "0"}]))
    )
    assert len([one for one in seen if one.startswith("gcp-key:")]) == 1
    assert seen["gcp-key:loader@p.iam.gserviceaccount.com/cdef"].facts["expires"] is None
    gitlab = {"id": 4, "name": "bot", "revoked": False, "active": True, "scopes": ["api"], "user_id": 2,
              "created_at": "2030-01-01T00:00:00Z", "expires_at": None, "last_used_at": None}  # fmt: skip
    token = principals(read("l.json", json.dumps([gitlab])))["gitlab-token:4"]
    assert (token.facts["personal"], token.facts["expires"], token.facts["scopes"]) == (True, None, ("api",))


def test_a_list_of_another_format_or_without_rows_is_none() -> None:
    assert read_export(Document("x.md", "markdown", (Node("user,arn", 1),)), mark) == ()
    assert read_export(Document("x.csv", "csv", ()), mark) == ()


def test_a_long_log_is_read_in_bounded_memory() -> None:
    lines = "\n".join(json.dumps(event("aws-cli/2 os/macos")) for _ in range(2000))
    assert len(read("log.jsonl", lines)) == 1
