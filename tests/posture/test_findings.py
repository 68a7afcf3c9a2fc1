"""Each rule on a small organisation of its own: what it says, and what it must not say."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from taskbound.posture.cases import CASES, SEVERITIES
from taskbound.posture.findings import NEXT, PLACES, Finding, find
from taskbound.posture.owasp import ASI, TITLES
from taskbound.posture.rules.leaks import LEAKS
from taskbound.posture.sighting import Credential, Holder, Place, Principal, Sighting, Use, Weakness

DAY = date(2031, 5, 1)
NOW = datetime(2031, 5, 1, tzinfo=UTC)

AGENT = Holder("agent", "mcp:orders@shop", "shop")
OTHER_AGENT = Holder("agent", "mcp:posts@blog", "blog")
SETTINGS = Holder("agent", "agent:codex@shop", "shop")
PIPELINE = Holder("pipeline", "ci:release.yml@shop", "shop")
SERVICE = Holder("workload", "compose:web@shop", "shop")
LIVE = Holder("workload", "k8s:live/web", "shop", "production")
TRIAL = Holder("workload", "k8s:trial/web", "shop", "staging")
LAB = Holder("agent", "mcp:db@notes", "notes", "research")
TERRAFORM = Holder("infrastructure", "terraform@cloud", "cloud")
DOTENV = Holder("workload", "env:shop", "shop")


def held(mark: str, holder: Holder, spot: str = "config", line: int = 1, **more: Any) -> Credential:
    path = f"{holder.repository}/{holder.name.partition(':')[0]}/{spot}"
    of = {"kind": "vendor-token", "last4": mark[-4:], "name": "SOME_TOKEN"} | more
    return Credential(mark=mark, place=Place(path, line), holder=holder, spot=spot, **of)


def days(ago: int) -> datetime:
    return NOW - timedelta(days=ago)


def person(mail: str, **facts: object) -> Principal:
    return Principal(f"person:{mail}", "person", Place("people.csv", 2), {"left": False, "left_on": None} | facts)


def user(name: str, **facts: object) -> Principal:
    return Principal(f"aws:user/{name}", "aws-iam-user", Place("report.csv", 2), {"console": False} | facts)


def key(name: str, **facts: object) -> Principal:
    told = {"of": f"aws:user/{name}", "active": True, "created": days(100), "used": days(1)} | facts
    return Principal(f"aws-key:{name}/1", "aws-access-key", Place("report.csv", 2), told)


def token(**facts: object) -> Principal:
    told = {"owner": "rosa", "name": "robot", "tail": "tail-1", "personal": True, "active": True} | facts
    return Principal("github-token:rosa/robot", "github-token", Place("tokens.json", 5), told)


def cases(*sightings: Sighting) -> list[str]:
    return [one.case for one in find(sightings, DAY)]


def only(case: str, *sightings: Sighting) -> Finding:
    (found,) = (one for one in find(sightings, DAY) if one.case == case)
    return found


# --- the table ---------------------------------------------------------------------------------------


def test_every_case_has_a_number_a_severity_and_words_and_every_number_leads_on() -> None:
    assert set(LEAKS.values()) <= set(CASES)
    assert set(ASI) == set(TITLES) == set(range(1, 11))
    for name, case in CASES.items():
        assert case.nhi in TITLES and case.severity in SEVERITIES, name
        assert case.title and case.why.endswith(".") and case.next, name
        case.next.format(path="p", line=1, lines="line 1", owner="o", name="N", holder="h")
    assert {case for case, _ in NEXT} <= set(CASES)


@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("$(id)/.env", "'$(id)/.env'"),
        ("x; id #/.env", "'x; id #/.env'"),
        ("it's.env", "'it'\"'\"'s.env'"),
        ("-f", "./-f"),
        (".env", ".env"),
    ],
)
def test_what_a_file_is_called_is_one_word_of_the_next_command(file: str, word: str) -> None:
    told = Weakness("dotenv-committed", "x", Place(file, 1), "It is.")
    (found,) = find([told], DAY)
    assert word in found.next and file in found.places[0].path


def test_what_an_identity_is_called_is_one_word_of_the_next_command() -> None:
    sightings = (user("svc-x`id`"), key("svc-x`id`", used=days(400)))
    assert "--user-name 'svc-x`id`' --status" in only("stale-access-key", *sightings).next


# --- leaks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spot", "case"), LEAKS.items())
def test_a_literal_is_a_leak_of_the_spot_where_it_lies(spot: str, case: str) -> None:
    assert cases(held("a", SERVICE, spot)) == [case]


def test_what_one_holder_has_in_one_file_is_one_finding_with_its_places() -> None:
    sightings = [held(f"v{n}", SERVICE, "compose", n) for n in range(1, 21)]
    found = only("secret-in-compose-file", *sightings, held("w", LIVE, "k8s-secret"))
    assert found.places == tuple(Place("shop/compose/compose", n) for n in range(1, PLACES + 1))
    assert len(found.subjects) == 20


def test_what_it_holds_is_told_by_kind_and_name_and_a_renewed_value_changes_nothing() -> None:
    two = held("a", SERVICE, "compose", 1), held("b", SERVICE, "compose", 2, name="OTHER", kind="vendor-key")
    found = only("secret-in-compose-file", *two)
    assert found.holds == ("vendor-key OTHER", "vendor-token SOME_TOKEN")
    assert only("secret-in-compose-file", *(replace(one, mark=one.mark * 2) for one in two)).holds == found.holds
    assert only("static-cloud-key-in-pipeline", held("i", PIPELINE, "workflow", kind="aws-x")).holds == (
        "aws-x SOME_TOKEN",
    )


def test_a_finding_has_one_id_whatever_a_checkout_is_called() -> None:
    ids = []
    for name in ("shop", "shop-2", "a.b"):
        holders = (replace(DOTENV, name=f"env:{name}"), replace(AGENT, name=f"mcp:shop@{name}"))
        seen = [replace(held("a", one), place=Place(".env", 1)) for one in holders]
        ids.append({one.id for one in find(seen, DAY, name)})
        assert len(ids[-1]) == 3 and ids[-1] != {one.id for one in find(seen, DAY)}
    assert ids[0] == ids[1] == ids[2]


def test_a_password_in_a_connection_url_is_told_as_one_where_it_is_plain() -> None:
    assert cases(held("a", SERVICE, "compose", target="db.shop.example/web")) == ["password-in-connection-url"]
    assert cases(held("a", LIVE, "k8s-secret", target="db.shop.example/web")) == ["k8s-secret-manifest-in-repository"]


@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("~/.ssh/id_x", "Give it a passphrase, and lend it for an hour at a time: ssh-keygen -p -f ~/.ssh/id_x;"),
        ("~/.ssh/a b", "Give it a passphrase, and lend it for an hour at a time: ssh-keygen -p -f ~/'.ssh/a b';"),
        ("~/.netrc", "Let a keyring answer"),
        ("~/.kube/config", "Sign in as who you are"),
        ("shop/.ssh/id_x", "Let shop/.ssh/id_x refer to it"),
    ],
)
def test_what_programs_look_for_at_home_is_told_what_can_be_done_there(path: str, begins: str) -> None:
    one = replace(held("a", Holder("file", "workstation"), "config"), place=Place(path, 1))
    assert only("secret-in-config-file", one).next.startswith(begins)


def test_every_line_of_a_file_is_told_that_is_to_be_taken_out() -> None:
    held_by = Holder("file", "workstation")
    some = [replace(held(f"v{n}", held_by, "history"), place=Place(".bash_history", n)) for n in (9, 3, 7)]
    assert "take lines 3, 7 and 9 out of .bash_history" in only("secret-in-shell-history", *some).next
    assert "take line 3 out" in only("secret-in-shell-history", some[1]).next


def test_credentials_of_two_issuers_in_a_workflow_are_two_matters_and_of_one_are_one() -> None:
    first = held("a1", PIPELINE, "workflow", 7, kind="stripe-access-token")
    second = held("b2", PIPELINE, "workflow", 12, kind="sendgrid-api-token")
    told = [one for one in find((first, second), DAY) if one.case == "literal-secret-in-workflow"]
    assert [[place.line for place in one.places] for one in told] == [[7], [12]]
    assert len({one.id for one in told}) == 2
    for kind in ("stripe-webhook-secret", "generic-api-key"):
        same = replace(first, kind="generic-password") if kind.startswith("generic") else first
        found = only("literal-secret-in-workflow", same, replace(second, kind=kind))
        assert [place.line for place in found.places] == [7, 12]
    (other,) = (one for one in find((replace(first, spot="dotenv"), replace(second, spot="dotenv")), DAY))
    assert [place.line for place in other.places] == [7, 12]


def test_what_a_file_says_in_two_ways_is_two_matters_whatever_its_numbers_are() -> None:
    case = "service-without-authentication"
    said = (
        ("runs a search engine without logins", 5),
        ("runs Redis open", 9),
        ("runs a search engine without logins", 14),
    )
    of = f"{case}:compose.yml@shop"
    seen = [Weakness(case, of, Place("compose.yml", line), f"compose.yml@shop {says}.") for says, line in said]
    told = find(seen, DAY)
    assert [[place.line for place in one.places] for one in told] == [[5, 14], [9]]
    assert find([*seen[:1], *seen[2:]], DAY)[0].id == told[0].id
    lasts = [Weakness("lifetime-too-long", "lifetime-too-long:a.py@shop", Place("a.py", line),
                      f"a.py@shop makes credentials that last {line} years (exp).") for line in (3, 9)]  # fmt: skip
    assert len(find(lasts, DAY)) == 1
    # What readers say of one thing is one, whatever words they have for it.
    of_one = [Weakness("iam-star-star", "aws:role/ops", Place("iam.tf", line), f"It may {line}.") for line in (3, 9)]
    assert len(find(of_one, DAY)) == 1


def test_an_identifier_alone_is_no_leak_and_is_a_static_key_in_a_pipeline() -> None:
    id: dict[str, Any] = {"kind": "aws-access-token", "is_identifier": True}
    assert cases(held("i", SERVICE, "config", **id)) == []
    assert cases(held("i", PIPELINE, "workflow", **id)) == ["static-cloud-key-in-pipeline"]
    assert cases(held("g", PIPELINE, "workflow", kind="gcp-api-key")) == ["literal-secret-in-workflow"]


def test_what_a_reader_says_of_a_static_key_and_what_lies_there_is_one_finding() -> None:
    id = held("i", PIPELINE, "workflow", 7, kind="aws-access-token", is_identifier=True)
    weak = Weakness("static-cloud-key-in-pipeline", PIPELINE.name, Place(id.place.path, 8), "It does.")
    found = only("static-cloud-key-in-pipeline", id, weak)
    assert found.places == (Place(id.place.path, 7), Place(id.place.path, 8))
    assert cases(weak) == ["static-cloud-key-in-pipeline"]


# --- sharing -----------------------------------------------------------------------------------------

SHARED = {
    "credential-shared-agent-and-ci": (AGENT, PIPELINE),
    "credential-shared-agent-and-workload": (AGENT, SERVICE),
    "credential-shared-between-agents": (AGENT, OTHER_AGENT),
    "credential-shared-across-repositories": (PIPELINE, TERRAFORM),
    "same-credential-in-staging-and-prod": (LIVE, TRIAL),
}


@pytest.mark.parametrize(("case", "holders"), SHARED.items())
def test_one_credential_of_two_holders(case: str, holders: tuple[Holder, Holder]) -> None:
    both = [held("a", holder, "config") for holder in holders]
    assert [one for one in cases(*both) if one in SHARED] == [case]
    others = [held("a", holders[0], "config"), held("b", holders[1], "config")]
    assert [one for one in cases(*others) if one in SHARED] == []


def test_an_environment_file_is_everybodys_in_its_repository() -> None:
    assert cases(held("a", AGENT, "mcp-env"), held("a", DOTENV, "dotenv")) == [
        "dotenv-committed",
        "literal-secret-in-mcp-config",
    ]


@pytest.mark.parametrize(("environment", "expected"), [("production", 1), ("staging", 1), ("development", 0), ("", 0)])
def test_an_environment_file_of_what_is_deployed_is_that_workloads(environment: str, expected: int) -> None:
    deployed = held("a", replace(DOTENV, environment=environment), "dotenv")
    assert cases(held("a", AGENT, "mcp-env"), deployed).count("credential-shared-agent-and-workload") == expected


def test_settings_and_servers_of_one_repository_are_one_agent() -> None:
    assert "credential-shared-between-agents" not in cases(
        held("a", AGENT, "mcp-env"), held("a", SETTINGS, "agent-permission")
    )
    assert "credential-shared-between-agents" in cases(
        held("a", OTHER_AGENT, "mcp-env"), held("a", SETTINGS, "agent-permission")
    )


def test_an_id_and_the_secret_beside_it_are_one_credential() -> None:
    id: dict[str, Any] = {"kind": "aws-access-token", "is_identifier": True}
    found = only(
        "credential-shared-across-repositories",
        held("id", TERRAFORM, "terraform", 3, **id),
        held("secret", TERRAFORM, "terraform", 4, kind="aws-secret-access-key"),
        held("id", PIPELINE, "workflow", 9, **id),
    )
    assert len(found.places) == 3
    assert found.subjects == ("aws-secret-access-key …cret",)


def test_the_id_of_a_client_in_two_repositories_is_no_matter() -> None:
    id: dict[str, Any] = {"kind": "some-client-id", "is_identifier": True}
    assert cases(held("i", TERRAFORM, **id), held("i", PIPELINE, "workflow", **id)) == []


def test_encodings_differ_where_a_search_for_the_text_would_miss_one() -> None:
    plain, hidden = held("a", SERVICE, "compose"), held("a", LIVE, "k8s-secret", encoding="base64")
    found = only("credential-reused-across-encodings", plain, hidden)
    assert set(found.places) == {plain.place, hidden.place}
    assert "credential-reused-across-encodings" not in cases(plain, replace(hidden, encoding="plain"))
    assert "credential-reused-across-encodings" not in cases(
        plain, replace(plain, encoding="base64", place=Place("x", 1))
    )
    in_address = held("a", SERVICE, "compose", encoding="url")
    both = only("credential-reused-across-encodings", in_address, hidden)
    assert set(both.places) == {in_address.place, hidden.place}
    assert "credential-reused-across-encodings" not in cases(replace(in_address, encoding="base64"), hidden)


@pytest.mark.parametrize(
    ("agent", "target", "expected"),
    [
        (LAB, "db.prod.shop.example:5432/pay", True),
        (LAB, "db.product.shop.example:5432/pay", False),
        (replace(LAB, environment="production"), "db.prod.shop.example:5432/pay", False),
    ],
)
def test_an_agent_outside_production_holds_a_production_password(agent: Holder, target: str, expected: bool) -> None:
    case = "research-agent-holds-production-database-password"
    assert (case in cases(held("a", agent, "mcp-env", kind="postgres-password", target=target))) is expected


def test_an_agent_of_the_lab_holds_what_production_holds() -> None:
    password: dict[str, Any] = {"kind": "postgres-password", "name": "DB_PASSWORD"}
    assert "research-agent-holds-production-database-password" in cases(
        held("a", LAB, "mcp-env", **password), held("a", LIVE, "k8s-secret", **password)
    )


# --- keys and tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "case"),
    [
        ({"used": days(91)}, "stale-access-key"),
        ({"used": days(89)}, ""),
        ({"used": None}, "never-used-access-key"),
        ({"used": None, "created": days(20)}, ""),
        ({"created": days(366)}, "access-key-not-rotated"),
        ({"created": days(364)}, ""),
        ({"created": days(900), "used": days(200)}, "access-key-not-rotated stale-access-key"),
        ({"created": days(364), "used": days(200)}, "stale-access-key"),
        ({"created": days(900), "active": False}, ""),
    ],
)
def test_the_age_and_the_use_of_a_key(facts: dict[str, object], case: str) -> None:
    assert cases(key("stock", **facts)) == case.split()


def test_an_old_key_that_nobody_uses_is_to_be_deleted() -> None:
    found = only("access-key-not-rotated", key("stock", created=days(900), used=days(200)))
    assert (found.severity, "to be deleted" in found.says) == ("high", True)


def test_a_key_of_two_years_is_critical() -> None:
    assert only("access-key-not-rotated", key("stock", created=days(800))).severity == "critical"
    assert only("access-key-not-rotated", key("stock", created=days(400))).severity == "high"


def test_a_key_of_which_two_lists_tell_is_one() -> None:
    listed = Principal(
        "aws-key:stock/QQQQ",
        "aws-access-key",
        Place("keys.csv", 2),
        {"of": "aws:user/stock", "mark": "m", "active": True, "created": days(400)},
    )
    found = only("access-key-not-rotated", key("stock", created=days(400)), listed, held("m", TERRAFORM, "terraform"))
    assert found.subjects == ("aws:user/stock", "vendor-token …m")


@pytest.mark.parametrize(
    ("facts", "case"),
    [
        ({"expires": None}, "token-without-expiry"),
        ({"expires": NOW + timedelta(days=30)}, ""),
        ({"scopes": ("repo", "admin:org")}, "token-scopes-too-wide"),
        ({"scopes": ("repo", "read:org")}, ""),
        ({"permissions": ("administration:write",), "selection": "all"}, "token-scopes-too-wide"),
        ({"permissions": ("contents:write",), "selection": "all"}, ""),
        ({"created": days(10), "expires": NOW + timedelta(days=357)}, "token-with-long-life"),
        ({"created": days(10), "expires": NOW + timedelta(days=355)}, ""),
        ({"expires": days(2), "scopes": ("admin:org",)}, ""),
    ],
)
def test_the_end_and_the_scopes_of_a_token(facts: dict[str, object], case: str) -> None:
    assert cases(token(**facts)) == ([case] if case else [])


def test_tokens_of_people_who_have_left() -> None:
    gone = person("rosa@shop.example", left=True, left_on=days(30))
    assert cases(token(used=days(1)), gone) == ["token-of-leaver-still-used"]
    assert cases(token(used=days(40)), gone) == ["identity-of-leaver-still-active"]
    assert cases(token(used=days(1)), person("rosa@shop.example")) == []
    assert cases(token(used=days(1)), person("rosa@shop.example", left_on=NOW + timedelta(days=9))) == []
    found = only("token-of-leaver-still-used", token(used=days(1)), gone, held("x", AGENT, "mcp-env", tail="tail-1"))
    assert (found.owner, found.places[-1].path) == ("rosa@shop.example", "shop/mcp/mcp-env")


def test_a_persons_token_in_an_agents_hand() -> None:
    in_agent = held("x", AGENT, "mcp-env", tail="tail-1")
    case = "personal-token-used-by-agent"
    assert case in cases(token(), in_agent)
    assert case not in cases(token(bounded=True), in_agent)
    assert case not in cases(token(), held("x", SERVICE, "compose", tail="tail-1"))
    assert case in cases(held("x", AGENT, "mcp-env", kind="github-pat"))
    assert len([one for one in cases(token(), replace(in_agent, kind="github-pat")) if one == case]) == 1


def test_what_is_to_refer_to_another_token_is_no_transcript() -> None:
    seen = held("x", SETTINGS, "transcript", kind="github-pat"), held("x", AGENT, "mcp-env", kind="github-pat")
    found = only("personal-token-used-by-agent", *seen)
    assert found.places[0].path == "shop/mcp/mcp-env" and "let shop/mcp/mcp-env refer to it" in found.next
    assert found.says.startswith("mcp:orders@shop and agent:codex@shop work with ")
    alone = only("personal-token-used-by-agent", seen[1])
    assert alone.says.startswith("mcp:orders@shop works with ")


def test_a_persons_token_in_a_pipeline() -> None:
    in_pipeline = held("x", PIPELINE, "workflow", tail="tail-1")
    case = "personal-token-used-by-ci"
    assert case in cases(token(), in_pipeline)
    assert case not in cases(token(bounded=True), in_pipeline)
    assert case not in cases(token(personal=False), in_pipeline)
    assert case in cases(held("x", PIPELINE, "workflow", kind="github-pat"))
    assert case not in cases(held("x", AGENT, "mcp-env", kind="github-pat"))
    assert len([one for one in cases(token(), replace(in_pipeline, kind="github-pat")) if one == case]) == 1


def test_client_secrets_that_outlive_everybody() -> None:
    def secret(ends: datetime) -> Principal:
        facts = {"of": "entra-app:loader", "active": True, "created": days(10), "expires": ends}
        return Principal("entra-client-secret:loader/1", "entra-client-secret", Place("apps.json", 9), facts)

    assert cases(secret(datetime(2099, 1, 1, tzinfo=UTC))) == ["client-secret-until-2099"]
    assert cases(secret(NOW + timedelta(days=700))) == []


# --- identities, apps, repositories ------------------------------------------------------------------

OWNERS = Principal("owners:aws-iam-user", "owner-list", Place("tags.json", 1))


def test_identities_of_people_who_have_left() -> None:
    gone = person("rosa@shop.example", left=True)
    assert cases(user("stock", owner="rosa@shop.example"), key("stock"), gone) == ["identity-of-leaver-still-active"]
    assert cases(user("stock", owner="rosa@shop.example"), key("stock", active=False), gone) == []
    assert cases(user("rosa", console=True), gone) == ["identity-of-leaver-still-active"]


def test_nobody_owns_what_the_list_of_owners_does_not_know() -> None:
    found = only("no-owner", OWNERS, user("stock"), key("stock"), user("web", owner="rosa@shop.example"), key("web"))
    assert (found.subjects, found.places[0]) == (("aws:user/stock",), Place("tags.json", 1))
    assert cases(user("stock"), key("stock")) == []  # without a list of owners nothing can be said
    assert cases(OWNERS, user("rosa"), key("rosa"), person("rosa@shop.example")) == []


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("svc-stock", {}, True),
        ("stock", {"owner": "rosa@shop.example"}, True),
        ("stock", {}, False),
        ("rosa", {}, False),
        ("svc-stock", {"console": False}, False),
        ("svc-stock", {"console_used": days(300)}, False),
    ],
)
def test_somebody_signs_in_as_a_service(name: str, facts: dict[str, object], expected: bool) -> None:
    told = {"console": True, "console_used": days(3)} | facts
    assert ("console-login-of-service-user" in cases(user(name, **told), key(name))) is expected


def test_who_resembles_nobody_of_the_people_is_a_service() -> None:
    signed = {"console": True, "console_used": days(3)}
    people = [person("rosa.diaz@shop.example")]
    assert "console-login-of-service-user" in cases(user("stock", **signed), key("stock"), *people)
    own = user("rosadiaz", owner="rosa.diaz@shop.example", **signed)
    assert "console-login-of-service-user" not in cases(own, key("rosadiaz"), *people)
    for name in ("rosa", "rdiaz", "rosa-diaz"):
        assert "console-login-of-service-user" not in cases(user(name, **signed), key(name), *people)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, True),
        ({"selection": "selected"}, False),
        ({"suspended": True}, False),
        ({"permissions": ("contents:write",)}, False),
    ],
)
def test_an_app_that_administers_all_repositories(facts: dict[str, object], expected: bool) -> None:
    told = {"selection": "all", "permissions": ("administration:write",), "account": "acme"} | facts
    app = Principal("github-app:labeller", "github-app", Place("apps.json", 3), told)
    assert (cases(app) == ["third-party-app-all-repositories-admin"]) is expected


def test_an_archived_repository_with_a_credential_that_nobody_says_is_dead() -> None:
    case = "archived-repository-holds-live-credential"
    archive = Principal("repository:cloud", "repository", Place("repos.json", 4), {"archived": True})
    secret = held("s", TERRAFORM, "terraform", 4, kind="aws-secret-access-key")
    id = held("i", TERRAFORM, "terraform", 3, kind="aws-access-token", is_identifier=True)
    assert {Place("repos.json", 4), secret.place} <= set(only(case, archive, secret).places)
    assert case not in cases(replace(archive, facts={"archived": False}), secret)
    assert case not in cases(archive, secret, id, key("stock", mark="i", active=False))
    assert case in cases(archive, secret, id, key("stock", mark="i"))
    assert case not in cases(archive, id)


# --- uses --------------------------------------------------------------------------------------------


def use(by: str, line: int, identity: str = "aws:user/svc-stock") -> Use:
    return Use("m", identity, days(1), by, Place("trail.jsonl", line), "192.0.2.1")


def test_a_services_key_in_a_persons_hand_and_one_key_for_all() -> None:
    assert cases(use("person", 1)) == ["service-key-used-from-workstation"]
    assert cases(use("person", 1, "aws:user/rosa"), person("rosa@shop.example")) == []
    assert cases(use("pipeline", 1), use("pipeline", 2)) == []
    assert cases(use("pipeline", 1), use("", 2)) == []
    found = only("one-key-used-by-ci-agent-and-human", use("pipeline", 1), use("agent", 2), use("person", 3))
    assert {place.line for place in found.places} == {1, 2, 3}


# --- owners, ids, order ------------------------------------------------------------------------------


def owner(path: str, pattern: str, name: str, line: int) -> Principal:
    return Principal(f"person:{name}", "owner", Place(path, line), {"owner": name, "pattern": pattern})


def test_the_owner_of_a_file_is_of_the_last_line_of_the_nearest_code_owners_that_covers_it() -> None:
    owners = [
        owner("shop/.github/CODEOWNERS", "*", "all@shop.example", 1),
        owner("shop/.github/CODEOWNERS", "/compose/", "rosa@shop.example", 2),
        owner("shop/.github/CODEOWNERS", "*.py", "else@shop.example", 3),
        owner("blog/CODEOWNERS", "*", "blog@shop.example", 1),
    ]
    assert only("secret-in-compose-file", held("a", SERVICE, "compose"), *owners).owner == "rosa@shop.example"
    assert only("secret-in-config-file", held("a", LIVE, "config"), *owners).owner == "all@shop.example"
    assert only("secret-in-config-file", held("a", TERRAFORM, "config"), *owners).owner == ""


def test_an_id_stays_when_a_line_moves_or_a_value_changes_and_no_two_are_the_same() -> None:
    first = only("secret-in-compose-file", held("aaaa", SERVICE, "compose", 3))
    moved = only("secret-in-compose-file", held("bbbb", SERVICE, "compose", 9))
    other = only("secret-in-compose-file", held("aaaa", replace(SERVICE, name="compose:db@shop"), "compose", 3))
    assert first.id == moved.id != other.id
    twins = [held(mark, holder, "config", kind="k", last4="") for mark in "ab" for holder in (AGENT, PIPELINE)]
    ids = [one.id for one in find(twins, DAY)]
    assert len(set(ids)) == len(ids) > 2


def test_the_worst_comes_first_then_case_and_place() -> None:
    found = find([held("a", DOTENV, "dotenv"), held("b", SERVICE, "compose"), held("c", TERRAFORM, "terraform")], DAY)
    assert [one.case for one in found] == ["dotenv-committed", "secret-in-terraform-default", "secret-in-compose-file"]


def test_a_weakness_is_said_once_for_each_thing_and_one_of_no_case_is_left_out() -> None:
    weak = Weakness("docker-socket-mounted", "compose:web@shop", Place("c.yml", 4), "It is.", (Place("c.yml", 6),))
    assert only("docker-socket-mounted", weak, replace(weak, place=Place("c.yml", 8))).places == (
        Place("c.yml", 4),
        Place("c.yml", 6),
        Place("c.yml", 8),
    )
    assert cases(replace(weak, case="never-heard-of")) == []


def test_the_value_of_nothing_is_in_a_finding() -> None:
    found = find([held("digest-of-a-value", AGENT, "mcp-env", tail="digest-of-a-tail")], DAY)
    assert "digest-of" not in repr(found)
