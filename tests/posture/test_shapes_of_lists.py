"""Shapes of lists: however a list is written down, its entries are the same."""

import json
from collections.abc import Mapping

import pytest

from tests.posture.whole import findings

TOKEN = "token_name,owner,expires_at,created_at\nmirror,rosa.vidal@shop.example,2031-06-01,2031-01-01\n"
LEFT = {"token-of-leaver-still-used", "identity-of-leaver-still-active"}


def cases(files: Mapping[str, str]) -> set[str]:
    return {one.case for one in findings(files)}


def person(**of: object) -> dict[str, object]:
    return {"email": "rosa.vidal@shop.example", "status": "terminated", "team": "stock", **of}


HERE = person(email="ines.kolb@shop.example", status="active")
# A list of people, and what of it says that Rosa is gone, with what says that she is here.
PEOPLE: Mapping[str, tuple[str, str, tuple[str, str]]] = {
    "columns and rows": (
        "hr.json",
        json.dumps({"columns": ["email", "status", "team"], "rows": [list(person().values()), list(HERE.values())]}),
        ("terminated", "active"),
    ),
    "columns with names": (
        "hr.json",
        json.dumps({"columns": [{"name": one} for one in person()], "data": [list(person().values())]}),
        ("terminated", "active"),
    ),
    "the first row names them": (
        "hr.json",
        json.dumps([list(person()), list(person().values()), list(HERE.values())]),
        ("terminated", "active"),
    ),
    "by a number": ("hr.json", json.dumps({"e1": person(), "e2": HERE}), ("terminated", "active")),
    "by the address": (
        "people.yaml",
        "rosa.vidal@shop.example:\n  status: terminated\n  team: x\nines@shop.example:\n  status: active\n  team: y\n",
        ("terminated", "active"),
    ),
    "GraphQL": (
        "hr.json",
        json.dumps({"data": {"organization": {"employees": {"edges": [{"node": person()}, {"node": HERE}]}}}}),
        ("terminated", "active"),
    ),
    "GraphQL's nodes": (
        "hr.json",
        json.dumps({"data": {"employees": {"nodes": [person()]}}}),
        ("terminated", "active"),
    ),
    "parts": (
        "hr.json",
        json.dumps(
            {
                "employees": [
                    {
                        "id": 1,
                        "contact": {"email": "rosa.vidal@shop.example"},
                        "employment": {"status": "TERMINATED", "team": "stock"},
                    }
                ]
            }
        ),
        ("TERMINATED", "ACTIVE"),
    ),
    "names of a database": (
        "hr.csv",
        "EMP_ID,EMP_EMAIL,EMP_STATUS,TERM_DT\n7,rosa.vidal@shop.example,X,2031-02-28\n",
        ("2031-02-28", ""),
    ),
    "month first, and two digits": (
        "hr.csv",
        "Email,Termination Date,Team\nrosa.vidal@shop.example,2/28/31,x\n",
        ("2/28/31", "2/28/32"),
    ),
    "as mails have it": (
        "hr.csv",
        'Email,Offboarded At,Team\nrosa.vidal@shop.example,"Fri, 28 Feb 2031 17:00:00 GMT",x\n',
        ("2031", "2032"),
    ),
    "since when": (
        "hr.csv",
        "login,name,email,suspended_at\nrosa.vidal,Rosa,rosa.vidal@shop.example,2031-02-28\n",
        ("2031-02-28", ""),
    ),
    "active, in German": ("hr.csv", "Mail;Abteilung;Aktiv\nrosa.vidal@shop.example;x;nein\n", ("nein", "ja")),
    "Jira": (
        "hr.json",
        json.dumps(
            [{"accountId": "a", "accountType": "x", "emailAddress": "rosa.vidal@shop.example", "active": False}]
        ),
        ("false", "true"),
    ),
    "leavers, by the file": (
        "leavers.csv",
        "Email,Name,Date\nrosa.vidal@shop.example,Rosa Vidal,2031-02-28\n",
        ("2031-02-28", "2031-12-31"),
    ),
    "leavers, by a member": ("hr.json", json.dumps({"leavers": ["rosa.vidal@shop.example"]}), ("leavers", "joiners")),
    "leavers, beside others": (
        "people.yaml",
        "active:\n  - email: ines@shop.example\n    team: x\nformer:\n  - email: rosa.vidal@shop.example\n",
        ("former", "present"),
    ),
    "who is to be offboarded": (
        "offboarded.csv",
        "Email,Ticket,Status\nrosa.vidal@shop.example,7,done\n",
        ("done", "planned"),
    ),
}


@pytest.mark.parametrize(("path", "text", "here"), PEOPLE.values(), ids=PEOPLE.keys())
def test_who_has_left_is_known_however_a_list_is_written(path: str, text: str, here: tuple[str, str]) -> None:
    assert LEFT & cases({path: text, "tokens.csv": TOKEN})
    assert here[0] in text
    assert not LEFT & cases({path: text.replace(*here), "tokens.csv": TOKEN})


@pytest.mark.parametrize(
    "account",
    [
        "login,name,email,suspended_at\nrosa.vidal,Rosa,rosa.vidal@shop.example,2031-02-28\n",
        "User name,email,User status,Added to org\nRosa,rosa.vidal@shop.example,Suspended,1 Jan 2030\n",
        "accountId,accountType,emailAddress,active\na,x,rosa.vidal@shop.example,false\n",
    ],
)
def test_who_is_shut_out_of_one_application_works_here_still(account: str) -> None:
    assert LEFT & cases({"accounts.csv": account, "tokens.csv": TOKEN})
    here = "email,status,team\nrosa.vidal@shop.example,active,stock\n"
    assert not LEFT & cases({"accounts.csv": account, "hr.csv": here, "tokens.csv": TOKEN})


ENDLESS = "token-without-expiry"


@pytest.mark.parametrize("never", ["Never", "No expiration date", "unbefristet", "jamais", "-1", ""])
def test_that_a_token_has_no_end_is_said_in_many_ways(never: str) -> None:
    table = "Key name;Owner;Created;Expiration date\nmirror;ines;2031-01-01;{}\n"
    assert ENDLESS in cases({"list.csv": table.format(never)})
    assert ENDLESS not in cases({"list.csv": table.format("2031-06-01")})
    assert ENDLESS not in cases({"list.csv": table.format("end of the project")})


def test_when_a_token_was_used_is_not_never_where_nobody_can_read_it() -> None:
    table = "Token name,Owner,Created,Expires,Last used\nmirror,ines,2031-01-01,2031-06-01,{}\n"
    assert "never-used-access-key" in cases({"list.csv": table.format("never")})
    assert "never-used-access-key" not in cases({"list.csv": table.format("8 months ago")})


def test_a_table_by_names_is_one_of_tokens_only_where_its_entries_are_alike() -> None:
    token = {"owner": "ines", "created": "2031-01-01", "expires": None}
    assert ENDLESS in cases({"api-tokens.json": json.dumps({"mirror": token, "build": token})})
    assert ENDLESS not in cases({"api-tokens.json": json.dumps({"mirror": token, "build": {"colour": "red"}})})
    assert ENDLESS not in cases({"settings.json": json.dumps({"mirror": token, "build": token})})


@pytest.mark.parametrize(("kind", "expected"), [("Service principal", True), ("Group", False)])
def test_an_assignment_in_a_table_is_a_programs(kind: str, expected: bool) -> None:
    table = f"Principal,Principal type,Role,Scope\nbot,{kind},Owner,/subscriptions/1\n"
    assert ("iam-star-star" in cases({"roles.csv": table})) is expected


def test_secrets_of_applications_as_the_older_api_has_them() -> None:
    secret = {"keyId": "k", "startDate": "2030-01-01T00:00:00Z", "endDate": "2099-01-01T00:00:00Z"}
    app = {"appId": "1", "displayName": "loader", "passwordCredentials": [secret]}
    assert "client-secret-until-2099" in cases({"apps.json": json.dumps([app])})
    secret["endDate"] = "2031-06-01T00:00:00Z"
    assert "client-secret-until-2099" not in cases({"apps.json": json.dumps([app])})


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([["a", "b"], ["c", "d"]]),
        json.dumps({"columns": ["a", "b"], "rows": [["c"]]}),
        json.dumps({"edges": [1, 2], "nodes": [3]}),
        json.dumps([[], []]),
        json.dumps({"data": {"data": {"data": {}}}}),
        json.dumps({"customers": {"a": {"email": "rosa.vidal@shop.example", "status": "inactive"}}}),
    ],
)
def test_what_is_shaped_alike_and_is_no_list_of_people_tells_nothing(text: str) -> None:
    assert not LEFT & cases({"list.json": text, "tokens.csv": TOKEN})
