"""Catalogues: what servers say of their logins, and which login a file means."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from taskbound.posture.catalogues import postgres, redis
from taskbound.posture.catalogues.postgres import Catalogue, Grant, Line, Role
from taskbound.posture.catalogues.server import is_one_everywhere, server
from taskbound.posture.facts import texts
from taskbound.posture.findings import Finding, find
from taskbound.posture.graph import IDENTITY, TARGET, build, reach
from taskbound.posture.sighting import Credential, Holder, Place, Principal, Sighting, Weakness

DAY = date(2031, 5, 1)
HERE = "postgresql://db.corp.example:5432"


def role(name: str, **more: Any) -> Role:
    made: dict[str, Any] = dict.fromkeys(
        ("is_super", "creates_roles", "creates_databases", "replicates", "bypasses", "is_first", "is_over"), False
    )
    return Role(name, **{"enters": True, "connections": -1, "expires": None, **made, **more})


def found(*sightings: Sighting) -> dict[str, list[Finding]]:
    by_case: dict[str, list[Finding]] = {}
    for one in find(sightings, DAY):
        by_case.setdefault(one.case, []).append(one)
    return by_case


def of(roles: list[Role], **more: Any) -> tuple[Sighting, ...]:
    return postgres.sightings(Catalogue(HERE, "pay", roles, **more))


def password(target: str, login: str, kind: str = "postgres-password") -> Credential:
    return Credential(
        "m1", kind, "ab12", Place("a.env", 3), Holder("file", "a.env"), "file", target=target, login=login
    )


# --- which login a file means -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "kind", "same"),
    [
        ("db.corp.example:5432/pay", "postgres-password", "db.corp.example:5432"),
        ("DB.corp.example./pay", "postgres-password", "db.corp.example:5432"),
        ("db.corp.example/pay", "generic-password", ""),
        ("db.corp.example:5432/pay", "generic-password", "db.corp.example:5432"),
        ("127.0.0.1:7000", "redis-password", "localhost:7000"),
        ("[::1]:7000/0", "redis-password", "localhost:7000"),
        ("[2001:db8::1]", "redis-password", "[2001:db8::1]:6379"),
        ("", "postgres-password", ""),
    ],
)
def test_a_server_is_the_same_however_it_is_written(target: str, kind: str, same: str) -> None:
    assert server(target, kind) == same


@pytest.mark.parametrize(
    ("target", "login", "joined"),
    [
        ("db.corp.example:5432/pay", "app", True),
        ("db.corp.example/other", "app", True),  # a role is the whole server's
        ("db.corp.example:5433/pay", "app", False),
        ("db2.corp.example:5432/pay", "app", False),
        ("db.corp.example:5432/pay", "App", False),
        ("db.corp.example:5432/pay", "", False),
        ("", "app", False),
    ],
)
def test_a_credential_is_of_the_login_at_the_server_that_it_names(target: str, login: str, joined: bool) -> None:
    graph = build([password(target, login), *of([role("app", creates_databases=True)])], DAY)
    (start,) = graph.named("m1", "credential") or graph.named("ab12")
    got = reach(graph, start)
    assert [one.name for one in got.of(IDENTITY)] == (["postgres-role:app@db.corp.example:5432"] if joined else [])
    assert (f"make databases at {HERE}" in [one.name for one in got.of(TARGET)]) == joined


def test_what_a_file_has_of_an_administrator_is_told() -> None:
    users = redis.sightings("redis://cache:6379", [user("user default on #aa ~* +@all")], None)
    case = found(password("cache", "default", "redis-password"), *users)["credential-of-administrator-in-file"]
    assert [one.subjects[1] for one in case] == ["redis-user:default@cache:6379"]


# --- PostgreSQL ---------------------------------------------------------------------------------------


def test_what_a_group_may_do_is_reached_by_its_members_and_what_everybody_may_by_logins() -> None:
    grants = [Grant("readers", "public", ("SELECT",), 9, ("a", "b", "c")), Grant("", "open", ("SELECT",), 1, ("days",))]
    seen = of([role("app"), role("readers", enters=False)], members=[("app", "readers")], grants=grants)
    graph = build(seen, DAY)
    got = reach(graph, graph.numbers[IDENTITY, "postgres-role:app@db.corp.example:5432"])
    assert [one.name for one in got.of(TARGET)] == [
        f"SELECT on pay.open.days at {HERE}",
        f"SELECT on 9 tables of pay.public at {HERE}, as readers",
    ]


def test_roles_meet_where_they_may_do_the_same_with_the_same_tables() -> None:
    every = ("DELETE", "INSERT", "MAINTAIN", "REFERENCES", "SELECT", "TRIGGER", "TRUNCATE", "UPDATE")
    few = [Grant(name, "public", every, 2, ("a", "b")) for name in ("x", "y")]
    many = [Grant(name, "public", ("SELECT",), 9, ("c", "d", "e")) for name in ("x", "y")]
    seen = of([role("x"), role("y")], grants=[*few, *many])
    x, y = (texts(one, "may") for one in seen if isinstance(one, Principal))
    assert x[0] == y[0] == f"ALL on pay.public.a, pay.public.b at {HERE}"
    assert (x[1], y[1]) == tuple(f"SELECT on 9 tables of pay.public at {HERE}, as {name}" for name in "xy")


def test_who_is_a_superuser_or_becomes_one_through_others_may_do_everything() -> None:
    roles = [role("a"), role("b", enters=False), role("pg_write_server_files", enters=False), role("c", is_super=True)]
    roles += [role("postgres", is_super=True, is_first=True), role("off", enters=False, is_super=True)]
    case = found(*of(roles, members=[("a", "b"), ("b", "pg_write_server_files")]))["login-may-do-everything"]
    assert [(one.subjects[0].partition("@")[0], "pg_write_server_files" in one.says) for one in case] == [
        ("postgres-role:a", True),
        ("postgres-role:c", False),
    ]


@pytest.mark.parametrize(
    ("more", "cases"),
    [
        ({}, {"login-without-end"}),
        ({"expires": datetime(2031, 9, 1, tzinfo=UTC)}, set()),
        ({"has_password": False}, set()),
        ({"enters": False}, set()),
        ({"is_over": True, "expires": datetime(2001, 9, 1, tzinfo=UTC)}, set()),
        ({"creates_roles": True}, {"login-without-end", "login-has-wide-attributes"}),
        ({"bypasses": True, "is_super": True}, {"login-without-end", "login-may-do-everything"}),
        ({"has_password": True, "is_md5": True}, {"login-without-end", "password-kept-as-md5"}),
    ],
)
def test_what_is_wrong_with_a_role(more: dict[str, Any], cases: set[str]) -> None:
    assert set(found(*of([role("app", **more)]))) == cases


def test_what_is_seen_of_use_is_said_as_what_it_is() -> None:
    (case,) = found(*of([role("a"), role("b")], sessions={"a": 2}))["login-without-end"]
    assert case.says == (
        "The passwords of a and b have no end (VALID UNTIL); "
        "1 of 2 had no session when it was asked, which says nothing of before."
    )
    (case,) = found(*of([role("a")]))["login-without-end"]
    assert case.says == "The password of a has no end (VALID UNTIL)."


def test_roles_of_the_server_itself_are_told_where_somebody_is_a_member() -> None:
    roles = [role("app"), role("pg_monitor", enters=False), role("pg_read_all_data", enters=False)]
    seen = of(roles, members=[("app", "pg_read_all_data")])
    names = [one.facts["login"] for one in seen if isinstance(one, Principal)]
    assert names == ["app", "pg_read_all_data"]


@pytest.mark.parametrize(
    ("type", "method", "address", "case"),
    [
        ("local", "trust", "", "database-trusts-its-machine"),
        ("host", "trust", "127.0.0.1", "database-trusts-its-machine"),
        ("host", "trust", "0.0.0.0", "database-trusts-the-network"),
        ("hostssl", "trust", "10.0.0.0", "database-trusts-the-network"),
        ("host", "password", "10.0.0.0", "database-takes-password-in-clear"),
        ("hostssl", "password", "10.0.0.0", ""),
        ("host", "password", "::1", ""),
        ("host", "scram-sha-256", "all", ""),
        ("host", "reject", "all", ""),
    ],
)
def test_lines_of_pg_hba(type: str, method: str, address: str, case: str) -> None:
    line = Line(7, type, method, address, ("all",), ("all",))
    seen = of([], lines=[line])
    assert [one.case for one in seen if isinstance(one, Weakness)] == [case] * bool(case)
    assert all(one.places == (Place(f"{HERE}/pg_hba.conf", 7),) for of_case in found(*seen).values() for one in of_case)


def test_a_server_is_in_no_repository_whatever_its_owners_file_says() -> None:
    owners = Principal("owner:1", "owner", Place("CODEOWNERS", 1), {"pattern": "*", "owner": "@shop"})
    cases = found(owners, *of([role("app")]))
    assert [one.owner for one in cases["login-without-end"]] == [""]


# --- Redis --------------------------------------------------------------------------------------------


def user(line: str) -> redis.User:
    read = redis.user(line)
    assert read is not None
    return read


ADMIN = "user ops on #aa ~* &* +@all"


@pytest.mark.parametrize(
    ("lines", "cases"),
    [
        (["user default on nopass ~* &* +@all"], {"login-without-password": "critical"}),
        (
            ["user default on nopass sanitize-payload resetchannels ~app:* -@all +get"],
            {"login-without-password": "high"},
        ),
        (["user default off nopass ~* &* +@all", ADMIN], {}),
        (["user default on #aa ~* &* +@all"], {"login-may-do-everything": "high"}),
        ([ADMIN], {}),
        ([ADMIN, "user ops2 on #bb ~* &* +@all"], {"login-may-do-everything": "high"}),
        ([ADMIN, "user app on #bb ~* &* +@all -@dangerous"], {}),
        ([ADMIN, "user app on #bb ~* &* +@all -flushall"], {"login-may-do-everything": "high"}),
        ([ADMIN, "user app on #bb ~app:* &* -@all +get +acl"], {"login-may-do-everything": "high"}),
        ([ADMIN, "user app on #bb ~a:* -@all +get (~* -@all +acl)"], {"login-may-do-everything": "high"}),
        ([ADMIN, "user app on #bb #cc ~app:* &* -@all +get"], {"login-with-old-password": "medium"}),
        ([ADMIN, "user app on resetpass ~* &* +@all"], {}),
        ([ADMIN, "user app off #bb #cc ~* &* +@all"], {}),
    ],
)
def test_what_is_wrong_with_a_user(lines: list[str], cases: dict[str, str]) -> None:
    seen = redis.sightings("redis://cache:6379", map(user, lines), None)
    assert {case: some[0].severity for case, some in found(*seen).items()} == cases


def test_what_a_user_may_do_is_said_in_the_words_of_the_acl_without_its_digests() -> None:
    line = "user app on #5e884898da28 resetchannels ~app:* %R~ref:* -@all +@read +set (~tmp:* -@all +del)"
    (seen,) = redis.sightings("redis://cache:6379", [user(line)], ["app", "other", "app"])
    assert isinstance(seen, Principal) and seen.facts["sessions"] == 2 and "5e884898" not in repr(seen)
    assert seen.facts["may"] == (
        "-@all +@read +set on ~app:* %R~ref:* at redis://cache:6379",
        "-@all +del on ~tmp:* at redis://cache:6379",
    )


@pytest.mark.parametrize("line", ["", "user", "user x", "users app on", "ERR"])
def test_what_is_no_user_is_none(line: str) -> None:
    assert redis.user(line) is None


@pytest.mark.parametrize(
    ("host", "everywhere"),
    [
        *((one, True) for one in ("db.shop.example", "DB.Shop.Example.", "8.8.8.8", "[2606:4700::1111]")),
        *((one, False) for one in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0", "", "db", "postgres")),
        *((one, False) for one in ("10.0.0.7", "172.17.0.1", "192.168.1.4", "169.254.1.1", "100.64.0.1", "[fd00::7]")),
        *((one, False) for one in ("db.local", "db.shop.internal", "host.docker.internal", "shop.lan", "x.home.arpa")),
        *((one, False) for one in ("db.shop.svc", "db.shop.svc.cluster.local", "a.localhost", "db.localdomain")),
    ],
)
def test_a_name_means_one_server_everywhere_or_another_in_each_network(host: str, everywhere: bool) -> None:
    assert is_one_everywhere(f"postgresql://{host}:5432") is everywhere
