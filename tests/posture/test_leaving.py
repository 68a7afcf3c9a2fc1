"""Whose is what: of who leaves, and of nobody else; and what a person has to do about each."""

import itertools
import shlex
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from taskbound.posture.offboarding import Held, belongings, record, step
from taskbound.posture.sighting import Place, Principal
from tests.posture.test_findings import AGENT, OTHER_AGENT, PIPELINE, SERVICE, held, key, person, token, user

DAY = date(2031, 5, 1)
DB: dict[str, Any] = {"kind": "postgres-password", "target": "127.0.0.1:5433/shop", "login": "orders_app"}
LOGIN = {"issuer": "postgresql://localhost:5433", "login": "orders_app"}
ROLE = Principal(
    "postgres:localhost:5433/rosa",
    "postgres-role",
    Place("postgresql://localhost:5433/pg_roles", 3),
    {"server": "localhost:5433", "login": "rosa", "enters": True},
)
DONE = {"name": "agent/orders", "state": "retired", "groups": [], "owned": [], "tasks": [], "leases": [],
        "accepted": [], "logins": []}  # fmt: skip


def has(who, *seen):
    return belongings([who], seen, DAY)


def test_an_agents_credential_is_its_own_and_its_login_can_be_ended():
    found = has("agent/orders", held("aaaa0001", AGENT, **DB), held("bbbb0002", OTHER_AGENT))
    assert [(one.what, one.others) for one in found.held] == [("postgres-password …0001", ())]
    assert found.logins() == [LOGIN | {"proof": ""}]


def test_what_others_hold_too_is_told_with_them_and_never_ended_by_itself():
    found = has("agent/orders", held("aaaa0001", AGENT, **DB), held("aaaa0001", PIPELINE, **DB))
    assert [one.others for one in found.held] == [("ci:release.yml@shop",)]
    assert found.logins() == []
    told = "\n".join(record(DONE, found, [], dry=False))
    assert "it breaks ci:release.yml@shop, which holds it too" in told
    assert "take it out of shop/mcp/config:1" in told and "take it out of shop/ci/" not in told


def test_one_login_with_two_passwords_of_which_one_is_shared_is_not_ended():
    seen = [held("aaaa0001", AGENT, **DB), held("bbbb0002", AGENT, line=2, **DB), held("bbbb0002", SERVICE, **DB)]
    assert has("agent/orders", *seen).logins() == []


@pytest.mark.parametrize("who", ["agent/release.yml", "agent/web", "agent/posts", "human/rosa"])
def test_what_is_somebody_elses_is_not_theirs(who):
    """A pipeline is no agent, whatever it is called; of a workload its own name counts, and not its repository's."""
    found = has(who, held("aaaa0001", AGENT, **DB), held("cccc0003", replace(PIPELINE, name="ci:release.yml@posts")))
    assert (found.held, found.logins()) == ((), [])


def test_a_person_has_what_lists_say_they_own_and_the_keys_of_it():
    seen = [person("rosa@shop.example", logins=("rosa",)), token(), user("svc", owner="rosa"), key("svc"),
            user("other", owner="kaya"), key("other")]  # fmt: skip
    found = has("human/rosa", *seen)
    assert found.person is not None
    assert sorted(one.id for one in found.identities) == ["aws:user/svc"]
    assert sorted(one.issuer for one in found.held) == ["AWS", "GitHub"]
    told = "\n".join(record({**DONE, "name": "human/rosa"}, found, [], dry=False))
    assert "cannot be verified: AWS" in told and "cannot be verified: GitHub" in told
    assert "aws iam delete-access-key --user-name svc" in told
    assert "rosa@shop.example: deactivate the account in the directory" in told


@pytest.mark.parametrize(("owner", "told"), [
    ("rosa@shop.example", True), ("@rosa", True), ("@ROSA", True), ("lee@shop.example", False), ("@shop/rosa", False),
])  # fmt: skip
def test_what_they_answer_for_by_codeowners_gets_another_owner(owner, told):
    line = Principal("person:x", "owner", Place("shop/CODEOWNERS", 3), {"owner": owner, "pattern": "agents/"})
    found = has("human/rosa", person("rosa@shop.example", logins=("rosa",)), line)
    step = "shop/CODEOWNERS:3: name another owner of agents/ (it names " + owner + ")"
    assert (step in [one.strip() for one in record(DONE, found, [], dry=False)]) == told
    assert has("human/rosa", replace(line, facts={"owner": "@rosa", "pattern": "*"})).is_known


def test_an_account_of_whom_the_list_says_that_they_left_is_not_asked_for():
    left = person("rosa@shop.example", left_on=datetime(2031, 4, 1, tzinfo=UTC))
    assert not any("deactivate" in line for line in record(DONE, has("human/rosa", left), [], dry=False))


def test_a_key_whose_value_lies_in_a_file_is_one():
    seen = [user("svc", owner="rosa"), key("svc", mark="aaaa0001"), held("aaaa0001", PIPELINE, kind="aws-secret-key")]
    (one,) = has("human/rosa", *seen).held
    assert (one.name, one.others) == ("svc", ("ci:release.yml@shop",))


def test_a_login_that_a_server_tells_of_is_theirs_by_its_name():
    assert has("human/rosa", ROLE).logins() == [LOGIN | {"login": "rosa", "proof": "listed"}]
    assert has("human/ros", ROLE).logins() == []


def test_of_whom_nothing_tells_nothing_is_known():
    assert not has("human/nobody", held("aaaa0001", AGENT), ROLE).is_known


def test_what_is_dead_is_not_left_to_a_person_and_its_places_are():
    found = has("agent/orders", held("aaaa0001", AGENT, **DB))
    ended = {**LOGIN, "before": "alive", "after": "dead", "why": ""}
    told = list(record({**DONE, "logins": [ended]}, found, [], dry=False))
    assert "  orders_app at postgresql://localhost:5433  alive -> dead" in told
    assert not any("ALTER ROLE" in line or "cannot be verified" in line for line in told)
    assert any(line.strip().startswith("take it out of shop/mcp/config:1") for line in told)
    alive = {**ended, "after": "alive", "why": "it still logs in"}
    assert any("ALTER ROLE" in line for line in record({**DONE, "logins": [alive]}, found, [], dry=False))


def test_what_would_end_by_itself_is_not_left_to_a_person_in_a_dry_run():
    found = has("agent/orders", held("aaaa0001", AGENT, **DB))
    one = {**LOGIN, "before": "alive", "after": "alive", "why": "it still logs in"}
    told = list(record({**DONE, "logins": [one]}, found, [], dry=True))
    assert "  orders_app at postgresql://localhost:5433  alive" in told
    assert not any("ALTER ROLE" in line for line in told)
    left = {**one, "before": "unknown", "after": "unknown", "why": "cannot be verified: postgresql://localhost:5433"}
    assert any("ALTER ROLE" in line for line in record({**DONE, "logins": [left]}, found, [], dry=True))


EVIL = "x'; rm -rf ~ #"


@pytest.mark.parametrize(
    ("issuer", "kind"),
    [("postgresql://localhost:1", "postgres-password"), ("redis://localhost:1", "redis-password"), ("AWS", "aws-key")],
)
def test_no_name_of_a_file_is_a_command_when_a_step_is_pasted(issuer, kind):
    told = step(Held("x", kind, issuer, EVIL, EVIL, (), ()))
    words = shlex.split(told.replace("…", ""))
    assert "rm" not in words and any(EVIL in word for word in words)


@pytest.mark.parametrize(
    ("issuer", "kind"),
    [
        ("postgresql://localhost:1", "postgres-password"),
        ("redis://localhost:1", "redis-password"),
        ("AWS", "aws-secret-key"),
        ("Google Cloud", "gcp-service-account-key"),
        ("Azure", "entra-secret"),
        ("GitLab", "gitlab-pat"),
    ],
)
def test_a_command_is_pasted_as_it_is_printed(issuer, kind):
    told = step(Held("x", kind, issuer, "x", "x", (), ()))
    words = shlex.split(told)
    assert not any(word.endswith((",", ":")) for word in words) and "then" not in words
    commands = [words[0], *(after for one, after in itertools.pairwise(words) if one == "&&")]
    assert set(commands) <= {"psql", "redis-cli", "aws", "gcloud", "az", "glab"}
    assert words[0] != "psql" or words[1] == f"{issuer}/postgres", "else it takes one of the name of who types"
    assert not issuer.startswith("redis") or words[-3:] == ["KILL", "USER", "x"]


@pytest.mark.parametrize(
    ("listed", "typed"),
    [
        (Principal("gitlab-token:4711", "gitlab-token", Place("t.json", 1), {"owner": "rosa"}), "tokens/4711"),
        (
            Principal(
                "gcp-key:svc@shop.iam.gserviceaccount.com/ab12",
                "gcp-service-account-key",
                Place("k.json", 1),
                {"of": "gcp-sa:svc@shop.iam.gserviceaccount.com", "owner": "rosa"},
            ),
            "--iam-account svc@shop.iam.gserviceaccount.com",
        ),
        (
            Principal("entra-client-secret:Shop: bot/1", "entra-client-secret", Place("a.json", 1),
                      {"of": "entra-app:Shop: bot", "owner": "rosa"}),
            "--display-name 'Shop: bot'",
        ),
    ],
    ids=["gitlab", "gcp", "entra"],
)  # fmt: skip
def test_a_step_is_typed_with_what_its_issuer_calls_it(listed, typed):
    (one,) = has("human/rosa", person("rosa@shop.example", logins=("rosa",)), listed).held
    assert typed in step(one) and ":4711" not in step(one) and "gcp-sa" not in step(one)


def test_a_token_of_gitlab_in_a_file_is_looked_up_before_it_is_revoked():
    told = step(Held("x", "gitlab-pat", "gitlab", "", "GITLAB_TOKEN", (), ()))
    assert "GITLAB_TOKEN" not in told and told.startswith("glab api personal_access_tokens && ")


def test_what_is_retired_is_not_to_be_given_another_owner():
    owned: list[dict[str, Any]] = [
        {"name": f"agent/{state}", "state": state, "groups": []} for state in ("retired", "suspended")
    ]
    told = [line for line in record({**DONE, "owned": owned}, has("agent/orders"), [], dry=False) if "living" in line]
    assert [line.split(":")[0].strip() for line in told] == ["agent/suspended"]


def test_a_login_that_others_hold_with_another_password_is_not_ended():
    """After a renewal the agent may have the old one, and the service lives by the new one."""
    seen = [held("aaaa0001", AGENT, **DB), held("bbbb0002", SERVICE, **DB)]
    found = has("agent/orders", *seen)
    assert found.logins() == []
    assert [one.others for one in found.held] == [(SERVICE.name,)]
