"""What a registry is told of a scan, and what a scan may say is gone: never what it did not look at."""

from dataclasses import replace

import pytest

from taskbound.core.finding import MANY, finding_id
from taskbound.posture.entries import Looked, entries, issuer_of, missed
from taskbound.posture.findings import Finding
from taskbound.posture.sighting import Credential, Holder, Place, Principal

MARK = "0123456789abcdef" * 4
HELD = Credential(
    mark=MARK,
    kind="postgres-password",
    last4="ab12",
    place=Place("shop/.env", 3),
    holder=Holder("file", "shop/.env"),
    spot="file",
    target="127.0.0.1:5433/shop",
    login="shop",
)
FOUND = Finding("leak", ("postgres-password …ab12",), "high", "it lies there", (HELD.place,), "", "mend it", "abc")
LOOKED = Looked(roots=(("", "/srv"),), skipped=frozenset({"node_modules"}))


def entry(finding=FOUND, sightings=(HELD,), looked=LOOKED):
    (told,) = entries([finding], sightings, looked)
    return told


def known(told):
    id = finding_id(told["case"], told["subjects"], [at["path"] for at in told["places"]])
    return {**told, "id": id, "state": "raised"}


def test_an_entry_has_absolute_places_and_who_issued_what_is_in_it():
    told = entry()
    assert told["places"] == [{"path": "/srv/shop/.env", "line": 3}]
    issued = {"mark": MARK[:16], "kind": "postgres-password", "issuer": "postgresql://localhost:5433", "login": "shop"}
    assert told["issued"] == [issued]


def test_two_scans_that_point_elsewhere_mean_one_finding():
    inner = replace(FOUND, places=(Place(".env", 3),))
    held = replace(HELD, place=Place(".env", 3))
    assert known(entry())["id"] == known(entry(inner, [held], Looked((("", "/srv/shop"),))))["id"]
    assert known(entry())["id"] != known(entry(looked=Looked((("", "/mnt"),))))["id"]


@pytest.mark.parametrize(
    ("kind", "target", "issuer"),
    [
        ("postgres-password", "db.example.org/pay", "postgresql://db.example.org:5432"),
        ("redis-password", "[::1]:7000", "redis://localhost:7000"),
        ("postgres-password", "", "who issued the postgres-password"),
        ("github-pat", "", "GitHub"),
        ("aws-access-key", "", "AWS"),
        ("odd", "x:1", "who issued the odd"),
    ],
)
def test_where_a_credential_dies(kind, target, issuer):
    assert issuer_of(replace(HELD, kind=kind, target=target)) == issuer


def test_a_key_that_a_list_tells_of_is_issued_by_its_maker():
    key = Principal("aws:key/AKIA1", "aws-access-key", Place("keys.csv", 2))
    finding = replace(FOUND, subjects=(key.id,), places=(key.place,))
    assert entry(finding, [key])["issued"] == [
        {"mark": "", "kind": "aws-access-key", "issuer": "AWS", "login": "aws:key/AKIA1"}
    ]


def test_more_credentials_than_are_kept_leave_one_that_nobody_can_verify():
    many = [replace(HELD, mark=f"{n:064x}"[::-1], place=Place("shop/.env", 3)) for n in range(MANY + 5)]
    issued = entry(FOUND, many)["issued"]
    assert len(issued) == MANY
    assert issued[-1]["issuer"] == "6 more issuers"


def test_what_is_no_unicode_is_told_all_the_same():
    told = entry(replace(FOUND, places=(Place("a\udcff", 1),)))
    assert told["places"][0]["path"] == "/srv/a\\udcff"


GONE = {
    "it is gone": (LOOKED, (), True),
    "a file that was named alone": (Looked((("shop/.env", "/srv/shop/.env"),)), (), True),
    "it is there": (LOOKED, (HELD,), False),
    "it lies elsewhere now": (LOOKED, (replace(HELD, place=Place("b.env", 1)),), False),
    "another folder": (Looked((("", "/srv/shop2"),)), (), False),
    "a folder beside it": (Looked((("", "/srv/sho"),)), (), False),
    "its file was not read": (replace(LOOKED, unread=frozenset({"shop/.env"})), (), False),
    "its folder was not read": (replace(LOOKED, unread=frozenset({"shop"})), (), False),
    "another was not read": (replace(LOOKED, unread=frozenset({"shop/.envrc"})), (), True),
    "its folder is skipped": (replace(LOOKED, skipped=frozenset({"shop"})), (), False),
}


@pytest.mark.parametrize(("looked", "seen", "is_gone"), GONE.values(), ids=GONE)
def test_gone_is_only_what_was_looked_for_in_each_place(looked, seen, is_gone):
    there = known(entry())
    assert missed([there], frozenset(), seen, looked) == ([there["id"]] if is_gone else [])


def test_what_a_scan_tells_of_is_not_gone_nor_what_is_closed():
    there = known(entry())
    assert missed([there], frozenset({there["id"]}), (), LOOKED) == []
    assert missed([{**there, "state": "closed"}], frozenset(), (), LOOKED) == []
    assert missed([{**there, "state": "accepted"}], frozenset(), (), LOOKED) == [there["id"]]


def test_of_two_places_both_were_looked_at():
    two = replace(FOUND, places=(HELD.place, Place("ci/deploy.yml", 1)))
    there = known(entry(two))
    assert missed([there], frozenset(), (), Looked((("", "/srv/shop"),))) == []
    assert missed([there], frozenset(), (), LOOKED) == [there["id"]]


def test_what_git_keeps_is_gone_only_where_its_history_was_read():
    there = known(entry(replace(FOUND, places=(Place("shop/.git!/0123456789:.env", 1),))))
    assert missed([there], frozenset(), (), LOOKED) == []
    assert missed([there], frozenset(), (), replace(LOOKED, history=True)) == [there["id"]]


def test_a_server_is_asked_by_its_name():
    server = "postgresql://127.0.0.1:5433"
    there = known(entry(replace(FOUND, places=(Place(server, 1),))))
    assert missed([there], frozenset(), (), LOOKED) == []
    assert missed([there], frozenset(), (), replace(LOOKED, servers=(server,))) == [there["id"]]
    unread = replace(LOOKED, servers=(server,), unread=frozenset({server}))
    assert missed([there], frozenset(), (), unread) == []
