"""How many identities there are, whose they are and how long they live: counted on small organisations."""

import json
from datetime import UTC, datetime

import pytest

from taskbound.posture.stats import as_json, as_table, stats
from tests.posture.test_findings import days, key, person, user

NOW = datetime(2031, 5, 1, tzinfo=UTC)


def life(name, owner="human/rosa", since="2031-04-21T00:00:00Z", until=None, worked=False, state="registered"):
    kind = name.partition("/")[0]
    told = {"name": name, "kind": kind, "owner": owner, "state": "retired" if until else state}
    return {**told, "since": since, "until": until, "has_worked": worked}


ROSA = life("human/rosa")


def counted(lives=(), seen=()):
    return as_json(stats(lives, seen, NOW))


def test_what_is_no_human_is_counted_for_each_person():
    told = counted([ROSA, life("human/kaya"), life("agent/a"), life("agent/b"), life("service/c")])
    assert (told["identities"], told["people"], told["per_person"]) == (3, 2, 1.5)
    assert told["by_kind"] == {"agent": 2, "service": 1}
    assert told["owners"] == {"rosa": 3}


def test_who_left_is_no_person_and_owns_nothing():
    gone = life("human/kaya", state="retired")
    told = counted([ROSA, gone, life("agent/a"), life("agent/b", "human/kaya")])
    assert (told["people"], told["with_owner"]) == (1, 0.5)


def test_new_and_retired_are_counted_by_day_and_lives_by_their_median():
    told = counted([
        ROSA,
        life("agent/a", since="2031-04-01T00:00:00Z", until="2031-04-03T00:00:00Z"),
        life("agent/b", since="2031-04-01T00:00:00Z", until="2031-04-05T00:00:00Z"),
        life("agent/c", since="2031-04-01T00:00:00Z", until="2031-04-29T00:00:00Z"),
        life("agent/d"),
    ])  # fmt: skip
    assert told["days"][0] == {"day": "2031-04-01", "new": 3, "retired": 0}
    assert told["days"][1] == {"day": "2031-04-03", "new": 0, "retired": 1}
    assert (told["median_life_days"], told["median_age_days"], told["identities"]) == (4, 10, 1)


def test_governed_is_what_works_in_tasks():
    told = counted([ROSA, life("agent/a", worked=True), life("agent/b")], [user("svc-robot")])
    assert (told["identities"], told["governed"]) == (3, pytest.approx(1 / 3))


def test_what_files_tell_is_counted_with_it_and_a_person_is_one_in_both():
    seen = [
        person("rosa@shop.example"),
        person("kaya@shop.example", left=True),
        user("svc-robot", owner="rosa", created=days(3)),
        user("svc-other", owner="kaya"),
        user("rosa"),
        key("svc-robot"),
    ]
    told = counted([ROSA, life("agent/a")], seen)
    assert told["by_source"] == {"files": 2, "registry": 1}
    assert (told["people"], told["owners"], told["with_owner"]) == (1, {"rosa": 2}, pytest.approx(2 / 3))
    assert {"day": "2031-04-28", "new": 1, "retired": 0} in told["days"]


def test_of_nothing_nothing_is_known_and_nothing_is_divided():
    told = counted()
    assert (told["per_person"], told["with_owner"], told["governed"], told["median_life_days"]) == (None,) * 4
    assert "for each person      not known (0 people)" in list(as_table(stats((), (), NOW)))
    assert any("the registry was not asked" in line for line in as_table(stats(None, (), NOW)))
    json.dumps(told)
