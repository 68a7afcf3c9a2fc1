"""Lists whose columns no API calls so: read by what columns mean, and left alone where they mean too little."""

import json
from collections.abc import Mapping

import pytest

from taskbound.posture.exports import read_export
from taskbound.posture.parsers import parse
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential, Principal, Remark
from taskbound.posture.unlisted import unlisted
from tests.posture.planted import mark
from tests.posture.whole import detector, findings

PEOPLE = "Employee,Work mail,Unit,Last day\nRosa Vidal,rosa.vidal@shop.example,Stock,2031-02-28\n"
KEY, SECOND = "AKIA53ZLQK4TVN7WMXRD", "AKIAQ7HZ2LMV4TNX6WJB"
ROSA = "rosa.vidal@shop.example"
OLD, DAY = "2028-01-02", "2031-04-20"


def cases(files: Mapping[str, str]) -> set[str]:
    return {one.case for one in findings({"x/people.csv": PEOPLE, **files})}


def principals(path: str, text: str) -> dict[str, Principal]:
    return {one.id: one for one in read_export(parse(path, text.encode()), mark) if isinstance(one, Principal)}


AWS = {
    "camel": f"Contact,IamUser,KeyIdentifier,KeyState,KeyIssuedOn,KeyLastSeen\n"
    f"rosa.vidal@shop.example,svc-a,{KEY},Active,{OLD},{DAY}\n",
    "spaces": f"Access key;Service user;Issued;Last activity;In use;Responsible person\n"
    f"{KEY};svc-a;02.01.2028;20.04.2031;yes;rosa.vidal@shop.example\n",
    "kebab": f"user,access-key-ref,minted,most-recent-use,is-enabled,maintainer\n"
    f"svc-a,{KEY},{OLD},{DAY},TRUE,rosa.vidal@shop.example\n",
    "no state": f"akid\tprincipal\tborn\tlast_hit\tsteward\n{KEY}\tsvc-a\t{OLD}\t{DAY}\trosa.vidal@shop.example\n",
    "a dead column": f"Account,Key,Created (UTC),Last used (UTC),Revoked,Owned by\n"
    f"svc-a,{KEY},{OLD}T00:00:00Z,{DAY}T00:00:00Z,no,rosa.vidal@shop.example\n",
    "German": f"Benutzername;Zugangsschlüssel;Erstellt am;Zuletzt verwendet;Verantwortlicher\n"
    f"svc-a;{KEY};02.01.2028;20.04.2031;rosa.vidal@shop.example\n",
    "Japanese": f"ユーザー名,アクセスキー,作成日,最終使用日,責任者\nsvc-a,{KEY},{OLD},{DAY},rosa.vidal@shop.example\n",
    "two keys": f"Login,Key 1 id,Key 1 created,Key 1 last used,Key 2 id,Key 2 created,Key 2 last used,Owner\n"
    f"svc-a,{KEY},{OLD},{DAY},{SECOND},{DAY},{DAY},rosa.vidal@shop.example\n",
    "array": json.dumps(
        [{"identity": "svc-a", "keyRef": KEY, "madeAt": OLD, "lastSeen": DAY, "custodian": ROSA}]
    ),
    "nested": json.dumps(
        {"report": {"machineUsers": [{"login": "svc-a", "ownedBy": ROSA, "keys": [
            {"id": KEY, "state": "Active", "issued": OLD, "lastUsage": DAY},
            {"id": SECOND, "state": "Inactive", "issued": "2027-05-06"},
        ]}]}}
    ),
    "by name": json.dumps(
        {"svc-a": {"key": KEY, "issued": OLD, "seen": DAY, "contact": ROSA},
         "svc-b": {"key": SECOND, "issued": DAY, "seen": DAY, "contact": "b@shop.example"}}
    ),
    "lines": "".join(json.dumps(one) + "\n" for one in (
        {"user": {"name": "svc-a", "owner": ROSA}, "accessKey": {"id": KEY, "created": OLD, "lastUsed": DAY}},
        {"user": {"name": "svc-b", "owner": "b@shop.example"}, "accessKey": {"id": SECOND, "created": DAY}},
    )),
    "yaml": f"- iam_user: svc-a\n  key_ref: {KEY}\n  minted: {OLD}\n  last_seen: {DAY}\n"
    f"  owner: rosa.vidal@shop.example\n",
}  # fmt: skip
ENDINGS = {"array": "json", "nested": "json", "by name": "json", "lines": "jsonl", "yaml": "yaml"}


@pytest.mark.parametrize("of", AWS)
def test_access_keys_are_read_under_any_names(of: str) -> None:
    path = f"x/list.{ENDINGS.get(of, 'csv')}"
    seen = principals(path, AWS[of])
    assert seen["aws-key:svc-a/MXRD"].facts["mark"] == mark(KEY)
    assert seen["aws-key:svc-a/MXRD"].facts["active"] is True
    assert KEY not in repr(seen)
    assert {"access-key-not-rotated", "identity-of-leaver-still-active"} <= cases({path: AWS[of]})


def test_what_a_list_of_keys_says_beside_is_read_too() -> None:
    table = (
        "Person in charge,Technical user,Console last login,Key id,Key state,Issued,Last seen\n"
        f",svc-a,,AKIAQQQQWWWWEEEERRR2,live,{DAY},never\n"
        f"b@shop.example,svc-b,{DAY},AKIAQQQQWWWWEEEERRR3,live,{DAY},{DAY}\n"
        f"b@shop.example,svc-c,,AKIAQQQQWWWWEEEERRR4,off,{OLD},{OLD}\n"
        f"b@shop.example,svc-d,,AKIAQQQQWWWWEEEERRR5,live,2031-01-02,never\n"
    )
    found = findings({"x/k.csv": table})
    assert {one.case for one in found} == {"no-owner", "console-login-of-service-user", "never-used-access-key"}
    assert not any("svc-c" in one.says for one in found)


def test_the_owners_column_of_a_list_of_keys_that_is_known_counts() -> None:
    table = f"UserName,AccessKeyId,Status,CreateDate,Owner\nsvc-a,{KEY},Active,{DAY},rosa.vidal@shop.example\n"
    assert "identity-of-leaver-still-active" in cases({"x/k.csv": table})


ENTRA = {
    "semicolons": "App registration;Client ID;Contact;Credential name;Begin;Ends\n"
    "sync;46c6cfc2-3f6d-4c6b-a388-6a3d34013651;b@shop.example;old;2030-06-11;2099-12-31\n",
    "camel": "appName,appId,credentialHint,validFrom,validThrough,ownerUpn\n"
    "sync,46c6cfc2-3f6d-4c6b-a388-6a3d34013651,old,2030-06-11,2099-12-31,b@shop.example\n",
    "json": json.dumps({"data": [{"application": {"name": "sync", "id": "46c6cfc2-3f6d-4c6b-a388-6a3d34013651"},
                                  "secret": {"name": "old", "created": "2030-06-11", "expiry": "2099-12-31"}}]}),
}  # fmt: skip


@pytest.mark.parametrize("of", ENTRA)
def test_secrets_of_applications_are_read_under_any_names(of: str) -> None:
    path = "x/l.json" if of == "json" else "x/l.csv"
    assert "client-secret-until-2099" in cases({path: ENTRA[of]})
    assert "entra-app:sync" in principals(path, ENTRA[of])
    assert cases({path: ENTRA[of].replace("2099", "2031")}) == set()


ACCOUNT = "loader@shop-prod.iam.gserviceaccount.com"
GOOGLE = {
    "csv": f"principal,steward,enabled\n{ACCOUNT},rosa.vidal@shop.example,true\n",
    "German": f"Dienstkonto;Inhaber;Deaktiviert\n{ACCOUNT};rosa.vidal@shop.example;nein\n",
    "yaml": f"accounts:\n  - address: {ACCOUNT}\n    owner: rosa.vidal@shop.example\n",
    "json": json.dumps([{"sa": {"email": ACCOUNT, "disabled": False}, "meta": {"contact": "rosa.vidal@shop.example"}}]),
}


@pytest.mark.parametrize("of", GOOGLE)
def test_service_accounts_have_owners_under_any_names(of: str) -> None:
    path = f"x/l.{of if of in ('yaml', 'json') else 'csv'}"
    assert "identity-of-leaver-still-active" in cases({path: GOOGLE[of]})
    off = GOOGLE[of].replace("true", "false").replace("nein", "ja").replace(": false", ": true")
    if of != "yaml":
        assert cases({path: off}) == set()


def test_keys_of_service_accounts_are_read_under_any_names() -> None:
    table = f"SA,Key fingerprint,Made,Ends,Steward\n{ACCOUNT},{'0a1b2c3d4e' * 4},{OLD},9999-12-31,b@shop.example\n"
    assert "access-key-not-rotated" in cases({"x/k.csv": table})


APPS = {
    "csv": "Integration;Org;Vendor;Repo access;Rights;Added\n"
    "sweeper;shop;north-labs;all;administration:write members:read;2030-01-02\n",
    "words": "App name,Installed at,Made by,Coverage,Allowed\n"
    "sweeper,shop,north-labs,All repositories,Administration (read and write); Members (read)\n",
    "json": json.dumps({"apps": [{"name": "sweeper", "organisation": "shop", "publisher": "north-labs", "reach": "all",
                                  "permissions": ["administration=write", "members=read"]}]}),
}  # fmt: skip


@pytest.mark.parametrize("of", APPS)
def test_installations_are_read_under_any_names(of: str) -> None:
    path = "x/l.json" if of == "json" else "x/l.csv"
    assert "third-party-app-all-repositories-admin" in cases({path: APPS[of]})
    chosen = (
        APPS[of].replace('"all"', '"selected"').replace(";all;", ";selected;").replace("All repos", "Selected repos")
    )
    assert cases({path: chosen}) == set()


TOKENS = {
    "csv": "Purpose,Holder,Rights,Ends,Seen,Flavour\n"
    "nightly,rosa.vidal,repo workflow,never,2031-04-01,classic PAT\n",
    "spaces": "Token label;Belongs to;Granted scopes;Good until;Last hit\n"
    "nightly;rosa.vidal@shop.example;api;2033-01-01;2031-04-01\n",
    "Russian": "Название токена;Владелец;Права;Действует до;Последнее использование\n"
    "nightly;rosa.vidal@shop.example;api;01.01.2033;01.04.2031\n",
}  # fmt: skip


@pytest.mark.parametrize("of", TOKENS)
def test_tokens_are_read_under_any_names(of: str) -> None:
    assert "token-of-leaver-still-used" in cases({"x/t.csv": TOKENS[of]})


LEFT = {
    "words": "Who,Business email,Squad,Employed until\nRosa,rosa.vidal@shop.example,Stock,2031-02-28\n",
    "camel": "fullName,corporateEmail,costCentre,employmentEndedOn\nRosa,rosa.vidal@shop.example,7,2031-02-28\n",
    "date of": "Person;E-mail address;Function;Date of departure\nRosa;rosa.vidal@shop.example;Stock;28.02.2031\n",
    "gone since": "name|company mail|team|gone since\nRosa|rosa.vidal@shop.example|Stock|2031-02-28\n",
}


LEFT_AS_DATA = {
    "wrapped.json": json.dumps(
        {"made": "2031-05-01", "report": {"folk": [{"email": ROSA, "department": "Stock", "left_on": "2031-02-28"}]}}
    ),
    "folk.json": json.dumps([{"who": "Rosa", "businessEmail": ROSA, "squad": "x", "state": "gone", "gitHub": "r",
                              "employedUntil": "2031-02-28"}]),
    "folk.yaml": f"- {{who: Rosa, work_mail: {ROSA}, squad: x, handle: rosa, last_day_of_work: '2031-02-28'}}\n",
    "folk.jsonl": json.dumps(
        {"person": {"name": "Rosa", "workMail": ROSA, "login": "rosa"}, "dates": {"exit": "2031-02-28"}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", LEFT_AS_DATA)
def test_people_are_read_as_data_too(path: str) -> None:
    files = {"x/k.csv": AWS["camel"], f"x/{path}": LEFT_AS_DATA[path]}
    assert "identity-of-leaver-still-active" in {one.case for one in findings(files)}


@pytest.mark.parametrize("of", LEFT)
def test_people_are_read_under_any_names(of: str) -> None:
    files = {"x/k.csv": AWS["camel"], "x/people.csv": LEFT[of]}
    assert "identity-of-leaver-still-active" in {one.case for one in findings(files)}
    later = {"x/k.csv": AWS["camel"], "x/people.csv": LEFT[of].replace("2031", "2033")}
    assert "identity-of-leaver-still-active" not in {one.case for one in findings(later)}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.csv", f"note,link,owner\nsee {KEY} in the ticket,https://h.example/1,rosa\n"),
        ("a.csv", "name,account,created,owner,status\nOrder 7,shop,2031-01-02,rosa,active\n"),  # no key, no console
        ("a.csv", "Product,Price,Start,End,Owner\nhat,9,2031-01-02,2031-02-02,rosa\n"),
        ("a.csv", "Event,Contact,Team,End\nFair,rosa.vidal@shop.example,Stock,soon\n"),
        ("a.csv", "repository,stars,language\nshop/web,9,Go\n"),
        ("a.csv", "key,name,owner,expires\nlocale,title,shop,\n"),
        ("a.csv", f"User name,Access key ID,Secret access key,Created\nsvc-a,{KEY},{'aB3/dE6+' * 5},2031-01-02\n"),
        ("a.yaml", f"server: {{port: 80}}\nruns_as: {{email: {ACCOUNT}, owner: rosa}}\nother: {{a: 1}}\n"),
        ("a.yaml", f"jobs:\n  - {{account: {ACCOUNT}, enabled: true}}\nserver:\n  password: x\n"),
        ("a.json", json.dumps({"apps": [{"name": "x", "scope": "all", "permissions": ["read", "write"]}]})),
        ("a.json", json.dumps([{"id": 7, "email": ROSA, "name": "x", "end": "2031-02-28", "status": "paid"}])),
        ("a.json", json.dumps({f"Operation{n}": json.loads(AWS["array"]) for n in range(20)})),
        ("a.json", json.dumps([{"name": "x", "id": "46c6cfc2-3f6d-4c6b-a388-6a3d34013651", "end": "2099-01-01"}])),
    ],
)
def test_what_says_too_little_is_no_list(path: str, text: str) -> None:
    assert principals(path, text) == {}


def test_ids_in_a_table_that_nobody_understands_are_references() -> None:
    table = f"ticket;subject;seen in\n7;rotate it;{KEY}\n"
    config = f"[default]\naws_access_key_id = {KEY}\n"
    for path, expected in (("x/t.csv", 0), ("x/credentials.ini", 1)):
        seen = scan(path, (table if expected == 0 else config).encode(), "", detector(), mark).sightings
        assert len([one for one in seen if isinstance(one, Credential)]) == expected
    pair = f"User name,Access key ID,Secret access key\nsvc-a,{KEY},kT9vRz3LmQ8xWp2NsB5yHd7JgF4cUa6eXo1iZk0V\n"
    seen = scan("x/new_user_credentials.csv", pair.encode(), "", detector(), mark).sightings
    assert len([one for one in seen if isinstance(one, Credential)]) == 2


def test_a_list_that_nobody_understands_is_said_where_exports_are() -> None:
    odd = "gadget,colour,weight\nhat,red,7\n"
    files = {"lists/people.csv": PEOPLE, "lists/odd.csv": odd, "data/odd.csv": odd, "lists/s.json": '{"a": {"b": 1}}'}
    seen = [one for path, text in files.items() for one in scan(path, text.encode(), "", detector(), mark).sightings]
    said = [(one.path, one.why) for one in unlisted(seen)]
    assert said == [("lists/odd.csv", "not understood as a list: columns gadget, colour, weight")]
    assert [one.path for one in unlisted(seen, ("data",))] == ["data/odd.csv", "lists/odd.csv"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "lists/statements.json",
            '{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},'
            ' {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}]}',
        ),
        (
            "lists/query.yaml",
            "Shop-Token:\n  description: expires\n  in: header\n  required: true\n  type: string\n"
            "token_id:\n  description: of the token\n  in: path\n  required: true\n  type: string\n",
        ),
    ],
)
def test_a_list_whose_entries_a_standard_names_is_of_no_accounts(path: str, text: str) -> None:
    seen = [
        one
        for p, t in ((path, text), ("lists/p.csv", PEOPLE))
        for one in scan(p, t.encode(), "", detector(), mark).sightings
    ]
    assert [one for one in unlisted(seen) if one.path == path] == []
    assert principals(path, text) == {}


@pytest.mark.parametrize(("kind", "expected"), [("Microsoft.Search/searchServices", 0), ("admin key", 1)])
def test_a_resource_of_azure_is_no_token_whatever_its_properties_are_called(kind: str, expected: int) -> None:
    rows = [
        {
            "name": f"find-{n}",
            "type": kind,
            "createdBy": ROSA,
            "createdAt": "2030-01-01",
            "expirationDate": None,
            "scopes": "all",
        }
        for n in range(3)
    ]
    assert (
        len([one for one in principals("a.json", json.dumps({"value": rows})) if one.startswith("api-token:")])
        == 3 * expected
    )


def test_no_value_is_among_the_columns_that_are_named() -> None:
    token = "glpat-" + "Xk3v9QmZ7tLpW2sBnR4y"
    seen = scan("x/headless.csv", f"svc,{token},7\nx,y,8\n".encode(), "", detector(), mark).sightings
    (table,) = [one for one in seen if isinstance(one, Remark) and one.topic == "table"]
    assert token[6:] not in repr(table)


def test_a_persons_token_of_a_table_with_which_an_agent_works() -> None:
    token = "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"
    table = f"Label,Owner,Kind,Scopes,Ends,Seen,Last eight\nnightly,b,{{}},{{}},2031-06-01,2031-04-30,{token[-8:]}\n"
    server = {"command": "npx", "args": ["server-github@1.2.3"], "env": {"GITHUB_TOKEN": token}}
    agent = {"repos/shop/.mcp.json": json.dumps({"mcpServers": {"github": server}}, indent=1)}
    assert "personal-token-used-by-agent" in cases({"x/t.csv": table.format("classic", "repo workflow"), **agent})
    bounded = table.format("fine-grained", "contents:read metadata:read")
    assert "personal-token-used-by-agent" not in cases({"x/t.csv": bounded, **agent})


def test_a_service_account_needs_no_key_to_be_somebodys_who_has_left() -> None:
    table = f"email,owner,disabled\n{ACCOUNT},{ROSA},{{}}\n"
    assert cases({"x/s.csv": table.format("false")}) == {"identity-of-leaver-still-active"}
    assert cases({"x/s.csv": table.format("true")}) == set()
