"""Lists that somebody keeps of service accounts and secrets: whose they are, and since when nobody has renewed them."""

import json
from collections.abc import Mapping

import pytest

from tests.posture.whole import findings

PEOPLE = (
    "email,name,status,left_on,team\n"
    "rosa.vidal@shop.example,Rosa Vidal,terminated,2031-02-28,stock\n"
    "ines.kolb@shop.example,Ines Kolb,active,,stock\n"
)
OLD, LEFT, NOBODY, STORED = (
    "access-key-not-rotated",
    "identity-of-leaver-still-active",
    "no-owner",
    "stored-secret-not-rotated",
)


def cases(files: Mapping[str, str]) -> set[str]:
    return {one.case for one in findings(files)}


LISTS: Mapping[str, tuple[str, str, tuple[str, str], str]] = {
    "YAML, not renewed": (
        "inventory.yaml",
        "service_accounts:\n  - name: svc-payroll\n    system: sap\n    owner: ines.kolb@shop.example\n"
        "    last_rotated: 2028-02-02\n    last_used: 2031-04-20\n    status: active\n",
        ("2028-02-02", "2031-02-02"),
        OLD,
    ),
    "YAML, of who has left": (
        "inventory.yaml",
        "service_accounts:\n  - name: svc-payroll\n    system: sap\n    owner: rosa.vidal@shop.example\n"
        "    last_rotated: 2031-02-02\n    last_used: 2031-04-20\n    status: active\n",
        ("rosa.vidal", "ines.kolb"),
        LEFT,
    ),
    "table of nobody's": (
        "accounts.csv",
        "Service Account;System;Owner;Password last changed\nsvc-payroll;SAP;TBD;03.02.2031\n",
        ("TBD", "ines.kolb@shop.example"),
        NOBODY,
    ),
    "German": (
        "konten.csv",
        "Dienstkonto;System;Verantwortlicher;Letzte Rotation\nsvc-payroll;SAP;ines.kolb@shop.example;03.02.2028\n",
        ("03.02.2028", "03.02.2031"),
        OLD,
    ),
    "Active Directory": (
        "ad.csv",
        "Name,SamAccountName,Enabled,PasswordLastSet,PasswordNeverExpires,LastLogonDate\n"
        "SQL,svc-sql,True,2027-03-04 10:00:00,True,2031-04-30 10:00:00\n",
        ("svc-sql,True,2027", "svc-sql,False,2027"),
        OLD,
    ),
    "not used": (
        "accounts.json",
        json.dumps(
            {
                "serviceAccounts": [
                    {
                        "accountName": "svc-fax",
                        "ownerEmail": "ines.kolb@shop.example",
                        "lastRotated": "2031-01-02",
                        "lastLogin": "2030-01-02T00:00:00Z",
                    }
                ]
            }
        ),
        ("2030-01-02", "2031-04-02"),
        "stale-access-key",
    ),
    "secrets": (
        "secrets-register.csv",
        "secret_name,system,owner,last_rotated\nSMTP_PASSWORD,mail,ines.kolb@shop.example,2028-01-05\n",
        ("2028", "2031"),
        STORED,
    ),
}


@pytest.mark.parametrize(("path", "table", "well", "case"), LISTS.values(), ids=LISTS.keys())
def test_what_a_list_says_of_an_account_is_told(path: str, table: str, well: tuple[str, str], case: str) -> None:
    assert case in cases({"people.csv": PEOPLE, path: table})
    assert case not in cases({"people.csv": PEOPLE, path: table.replace(*well)})


@pytest.mark.parametrize(
    "table",
    [
        # Of people the age of their passwords is no matter of this.
        "Name,SamAccountName,Enabled,PasswordLastSet,PasswordNeverExpires\nInes,ines.kolb,True,2027-03-04,True\n",
        "account_name,type,owner,last_rotated\nines.kolb,human,ines.kolb@shop.example,2027-03-04\n",
        # Tyres and logs are rotated, too.
        "name,size,last_rotated\naccess.log,4096,2027-03-04\n",
        "vehicle,owner,last_rotated\nvan 1,ines.kolb@shop.example,2027-03-04\n",
        "account,owner,balance,last_changed\nNorth GmbH,,3,2027-03-04\n",
    ],
)
def test_a_list_of_something_else_is_none_of_accounts(table: str) -> None:
    assert not {OLD, LEFT, NOBODY, STORED} & cases({"people.csv": PEOPLE, "list.csv": table})


def test_values_of_a_chart_are_no_list() -> None:
    values = "name: stock\nowner: TBD\nserviceAccount:\n  create: true\n"
    assert not {OLD, LEFT, NOBODY} & cases({"values.yaml": values})


TOKENS = {
    "French": "Jeton\tPropriétaire\tExpire le\tCréé le\nm\trosa.vidal@shop.example\tjamais\t2031-01-02\n",
    "Spanish": "Nombre del token;Propietario;Fecha de caducidad;Último uso\nm;rosa.vidal@shop.example;;20/04/2031\n",
    "Portuguese": "Nome do token;Proprietário;Data de expiração;Último uso\nm;rosa.vidal@shop.example;;20/04/2031\n",
    "Italian": "Nome token;Proprietario;Data di scadenza;Ultimo utilizzo\nm;rosa.vidal@shop.example;;20/04/2031\n",
    "Dutch": "Tokennaam;Eigenaar;Vervaldatum;Laatst gebruikt\nm;rosa.vidal@shop.example;;20-04-2031\n",
    "Swedish": "Nyckelnamn;Ägare;Giltig till;Senast använd\nm;rosa.vidal@shop.example;aldrig;2031-04-20\n",
    "Polish": "Nazwa tokenu;Właściciel;Data wygaśnięcia;Ostatnio użyto\nm;rosa.vidal@shop.example;nigdy;20.04.2031\n",
}


@pytest.mark.parametrize("table", TOKENS.values(), ids=TOKENS.keys())
def test_a_list_of_tokens_is_read_in_any_of_the_languages(table: str) -> None:
    found = cases({"people.csv": PEOPLE, "list.csv": table})
    assert "token-without-expiry" in found and {"token-of-leaver-still-used", LEFT} & found
    here = cases({"people.csv": PEOPLE, "list.csv": table.replace("rosa.vidal", "ines.kolb")})
    assert not {"token-of-leaver-still-used", LEFT} & here


def test_an_access_key_is_old_in_any_of_them() -> None:
    table = "Schlüssel-ID;Benutzer;Status;Erstellt am\nAKIAQQQQWWWWEEEERRRR;svc-x;{};01.01.2028\n"
    assert OLD in cases({"list.csv": table.format("aktiv")})
    assert OLD not in cases({"list.csv": table.format("gesperrt")})


@pytest.mark.parametrize(("kind", "expected"), [("service principal", True), ("bot", True), ("laptop", False)])
def test_an_entry_of_an_inventory_is_an_account_where_its_kind_says_so(kind: str, expected: bool) -> None:
    table = f"identity,type,platform,owner,last_used\nci-x,{kind},Azure,rosa.vidal@shop.example,2031-04-01\n"
    assert (LEFT in cases({"people.csv": PEOPLE, "list.csv": table})) is expected


def test_a_key_of_who_has_left_in_a_register_of_keys() -> None:
    table = "fingerprint,comment,owner,host\nSHA256:abc,laptop,{},web1\n"
    assert "ssh-key-of-leaver" in cases({"people.csv": PEOPLE, "list.csv": table.format("rosa.vidal@shop.example")})
    assert "ssh-key-of-leaver" not in cases({"people.csv": PEOPLE, "list.csv": table.format("ines.kolb@shop.example")})


@pytest.mark.parametrize(
    ("table", "well"),
    [
        (
            "name,login_name,disabled,default_role,has_password,type\nL,SVC_L,false,ACCOUNTADMIN,true,LEGACY_SERVICE\n",
            ("ACCOUNTADMIN", "LOADER"),
        ),
        ("rolname,rolsuper,rolcanlogin\nstock_app,t,t\n", (",t,t", ",f,t")),
        ("rolname,rolsuper,rolcanlogin\nstock_app,t,t\n", ("stock_app", "postgres")),
    ],
)
def test_a_program_that_may_do_everything_at_its_database(table: str, well: tuple[str, str]) -> None:
    assert "database-login-with-all-rights" in cases({"logins.csv": table})
    assert "database-login-with-all-rights" not in cases({"logins.csv": table.replace(*well)})


def test_an_answer_may_hold_a_single_entry() -> None:
    token = {"accessor": "x", "creation_time": 1_920_000_000, "display_name": "root", "expire_time": None}
    assert "token-without-expiry" in cases({"lookup.json": json.dumps({"data": token})})
    token |= {"expire_time": "2031-06-01T00:00:00Z"}
    assert "token-without-expiry" not in cases({"lookup.json": json.dumps({"data": token})})


def test_an_account_of_a_person_needs_no_other_owner() -> None:
    table = "account_name,owner,status,password_last_set\n{},,active,2031-03-04\n"
    assert NOBODY not in cases({"people.csv": PEOPLE, "list.csv": table.format("ines.kolb")})
    assert NOBODY in cases({"people.csv": PEOPLE, "list.csv": table.format("svc-fax")})


KEY = "user,access_key_id,status,created\nstock-sync,AKIAQQQQWWWWEEEERRRR,Active,2031-01-02\n"
MAIL = "rosa.vidal@shop.example"
OWNERS: Mapping[str, tuple[str, str]] = {
    "two columns": ("list.csv", f"user,owner\nstock-sync,{MAIL}\n"),
    "three": ("list.csv", f"name;owner_email;team\nstock-sync;{MAIL};x\n"),
    "entries": ("list.json", json.dumps([{"user": "stock-sync", "owner": MAIL}])),
    "by name": ("list.json", json.dumps({"stock-sync": MAIL, "b": "ines.kolb@shop.example"})),
    "by owner": ("list.json", json.dumps({MAIL: ["stock-sync"], "ines.kolb@shop.example": ["b"]})),
    "deeper": (
        "list.yaml",
        f"users:\n  stock-sync:\n    owner: {MAIL}\n  other:\n    owner: ines.kolb@shop.example\n",
    ),
    "German": ("list.csv", f"Benutzer;Verantwortlicher\nstock-sync;{MAIL}\n"),
    "French": ("list.csv", f"Utilisateur;Propriétaire;Équipe\nstock-sync;{MAIL};x\n"),
}


@pytest.mark.parametrize(("path", "text"), OWNERS.values(), ids=OWNERS.keys())
def test_whose_an_account_is_is_told_by_a_list_of_names(path: str, text: str) -> None:
    assert LEFT in cases({"people.csv": PEOPLE, "keys.csv": KEY, path: text})
    assert LEFT not in cases({"people.csv": PEOPLE, "keys.csv": KEY, path: text.replace("rosa.vidal", "ines.kolb")})
    assert LEFT not in cases({"people.csv": PEOPLE, "keys.csv": KEY, path: text.replace("stock-sync", "stock-web")})


def test_nobody_owns_what_a_list_of_owners_of_its_like_does_not_have() -> None:
    two = KEY + "stock-web,AKIAQQQQWWWWEEEERRRT,Active,2031-01-02\n"
    assert NOBODY in cases({"people.csv": PEOPLE, "keys.csv": two, "o.csv": "user,owner\nstock-web,ines.kolb\n"})
    assert NOBODY not in cases({"people.csv": PEOPLE, "keys.csv": two, "o.csv": "user,owner\nvan,ines.kolb\n"})


@pytest.mark.parametrize(
    ("path", "text", "well"),
    [
        (
            "keys.json",
            json.dumps(
                {"users": [{"name": "a-svc", "access_keys": [{"id": "AKIAQQQQWWWWEEEERRRR", "created": "2028-01-01"}]}]}
            ),
            ("2028", "2031"),
        ),
        (
            "keys.csv",
            "User name,Access key ID,Status,Access key age\na-svc,AKIAQQQQWWWWEEEERRRR,Active,1200 days\n",
            ("1200", "12"),
        ),
        ("keys.csv", "user,access_key_id,status,age_days\na-svc,AKIAQQQQWWWWEEEERRRR,Active,1200\n", ("1200", "12")),
    ],
)
def test_how_old_a_key_is_may_stand_deeper_or_in_days(path: str, text: str, well: tuple[str, str]) -> None:
    assert OLD in cases({path: text})
    assert OLD not in cases({path: text.replace(*well)})


def test_a_key_is_unused_by_days_too() -> None:
    table = "User name,Access key ID,Status,Last used\na-svc,AKIAQQQQWWWWEEEERRRR,Active,{}\n"
    assert "stale-access-key" in cases({"keys.csv": table.format("400 days ago")})
    assert "stale-access-key" not in cases({"keys.csv": table.format("4 days ago")})


def test_members_of_an_api_may_be_spelled_otherwise() -> None:
    secret = {"display_name": "x", "start_date_time": "2030-01-01T00:00:00Z", "end_date_time": "2099-12-31T00:00:00Z"}
    app = {"display_name": "loader", "app_id": "1", "password_credentials": [secret]}
    assert "client-secret-until-2099" in cases({"apps.json": json.dumps([app])})
    secret["end_date_time"] = "2031-06-01T00:00:00Z"
    assert "client-secret-until-2099" not in cases({"apps.json": json.dumps([app])})
    event = {
        "event_time": "2031-04-20T00:00:00Z",
        "event_name": "GetObject",
        "user_identity": {"type": "IAMUser", "user_name": "stock-sync", "access_key_id": "AKIAQQQQWWWWEEEERRRR"},
        "source_ip_address": "192.0.2.3",
        "user_agent": "aws-cli/2 os/macos#23",
    }
    assert "service-key-used-from-workstation" in cases({"keys.csv": KEY, "trail.jsonl": json.dumps(event) + "\n"})
    event["user_agent"] = "aws-sdk-go/1 os/linux"
    assert "service-key-used-from-workstation" not in cases({"keys.csv": KEY, "trail.jsonl": json.dumps(event) + "\n"})


@pytest.mark.parametrize(("access", "expected"), [("All repositories", True), ("Only select repositories", False)])
def test_an_installed_app_in_a_table_of_a_person(access: str, expected: bool) -> None:
    table = f'App,Organization,Repository access,Permissions\nhelper,shop,{access},"Administration: write"\n'
    assert ("third-party-app-all-repositories-admin" in cases({"apps.csv": table})) is expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("list.csv", "Repository;Status;Letzte Aktivität\nold;{};01.01.2029\n"),
        ("list.yaml", "{}:\n- old\n"),
    ],
)
def test_a_repository_is_archived_by_a_list_of_them(path: str, text: str) -> None:
    env = {"repos/old/.env": "STRIPE_SECRET_KEY=sk_live_51Hk2jLdEIvTHyWXq9Jd2aVbQ0\n"}
    word = "archiviert" if path.endswith("csv") else "archived"
    assert "archived-repository-holds-live-credential" in cases({path: text.format(word), **env})
    assert "archived-repository-holds-live-credential" not in cases({path: text.format("aktiv"), **env})


@pytest.mark.parametrize(("name", "end"), [("Application (client) ID", "Expires"), ("AppId", "SecretEndDate")])
def test_secrets_of_applications_in_tables_of_more_kinds(name: str, end: str) -> None:
    table = f"DisplayName;{name};Secret name;{end}\nloader;1;x;31/12/{{}}\n"
    assert "client-secret-until-2099" in cases({"apps.csv": table.format(2099)})
    assert "client-secret-until-2099" not in cases({"apps.csv": table.format(2031)})
