"""What bytes say is found out once, and is the same wherever they lie as it is for who never saw them before."""

import random
from pathlib import Path

import pytest

from taskbound.posture import scan as scan_module
from taskbound.posture import twice as twice_module
from taskbound.posture.anchors import NONE
from taskbound.posture.detection import Detector
from taskbound.posture.located import Located
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential
from taskbound.posture.twice import Said, Twice
from tests.posture.planted import ORGANISATIONS, PLANTED, mark

SETTINGS = b'{"db": {"password": "Wq7#kkf92LmzQ"}, "port": 5432}\n'
CHART = b"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: Wq7#kkf92LmzQ}\n"
CODE = b'password = "Wq7#kkf92LmzQ"\n'
FOLDERS = ("", "prod/", "repos/shop/.github/workflows/", ".claude/projects/a/", "tests/")


def files() -> list[Path]:
    return [one for name in ORGANISATIONS for one in sorted((PLANTED / name / "files").rglob("*")) if one.is_file()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_copy_says_what_it_would_say_alone(folder):
    twice, chance = Twice(), random.Random(folder)
    for file in files():
        data = file.read_bytes()
        cut = data[: chance.randrange(len(data) + 1)]
        for text in (data, cut):
            for path in (file.name, f"{folder}{file.name}", f"{folder}{file.parent.name}/{file.name}"):
                alone = scan(path, text, "shop", Detector(mark), mark)
                assert scan(path, text, "shop", Detector(mark), mark, twice=twice) == alone, path


@pytest.mark.parametrize(("name", "data"), [("a.json", SETTINGS), ("a.yaml", CHART), ("a.py", CODE)])
def test_the_second_time_nothing_is_searched_or_parsed(monkeypatch, name, data):
    twice = Twice()
    first = scan(f"a/{name}", data, "shop", Detector(mark), mark, twice=twice)
    for one in ("parse", "located", "anchored", "dead_lines"):
        monkeypatch.delattr(scan_module, one)
    again = scan(f"b/{name}", data, "shop", Detector(mark), mark, twice=twice)
    assert [one.place.path for one in again.sightings if isinstance(one, Credential)] == [f"b/{name}"]
    assert len(again.sightings) == len(first.sightings)


def test_the_same_bytes_under_a_name_that_is_read_in_another_way_are_read_in_that_way():
    twice = Twice()
    spots = [
        one.spot
        for name in ("a.txt", "a.json", ".env", "a.py")
        for one in scan(name, SETTINGS, "", Detector(mark), mark, twice=twice).sightings
        if isinstance(one, Credential)
    ]
    assert spots == ["config", "config", "dotenv", "file"]


def test_a_value_that_is_alone_in_its_file_stands_under_the_name_of_each():
    twice, text = Twice(), b"Wq7#kkf92LmzQ\n"
    for path in ("a/readme", "a/db_password", "b/db_password"):
        alone = scan(path, text, "", Detector(mark), mark)
        assert scan(path, text, "", Detector(mark), mark, twice=twice) == alone
        assert len([one for one in alone.sightings if isinstance(one, Credential)]) == path.endswith("password")


def test_a_fault_that_is_none_of_pages_is_told_of_others():
    twice, text = Twice(), b"<a><b></a>"
    for path in ("a.html", "a.unknown", "b.html"):
        alone = scan(path, text, "", Detector(mark), mark)
        assert scan(path, text, "", Detector(mark), mark, twice=twice) == alone
        assert bool(alone.problem) == (path == "a.unknown")


def test_where_a_reader_fails_its_file_is_a_text_and_its_copies_are_not(monkeypatch):
    def fails(document, repository):
        raise ValueError if "broken" in document.path else KeyError

    twice = Twice()
    good = scan("a.json", SETTINGS, "", Detector(mark), mark, twice=twice)
    with monkeypatch.context() as patch:
        patch.setattr(scan_module, "read", fails)
        bad = scan("broken.json", SETTINGS, "", Detector(mark), mark, twice=twice)
        assert "ValueError" in bad.problem
        assert bad == scan("broken.json", SETTINGS, "", Detector(mark), mark)
    assert scan("a.json", SETTINGS, "", Detector(mark), mark, twice=twice) == good


def test_what_was_not_looked_at_to_its_end_is_not_remembered(monkeypatch):
    def slow(*_: object) -> None:
        raise TimeoutError

    twice = Twice()
    with monkeypatch.context() as patch:
        patch.setattr(scan_module, "anchored", slow)
        assert "TimeoutError" in scan("a.json", SETTINGS, "", Detector(mark), mark, twice=twice).problem
    assert not scan("a.json", SETTINGS, "", Detector(mark), mark, twice=twice).problem


def test_what_says_nothing_is_known_to_all_who_share_the_table(monkeypatch):
    table = bytearray(twice_module.TABLE)
    scan("a.py", b"print(1)\n", "", Detector(mark), mark, twice=Twice(table))
    one, other = Twice(table), Twice()
    monkeypatch.setattr(scan_module, "located", lambda *_, **__: pytest.fail("it was looked at"))
    assert scan("b.py", b"print(1)\n", "", Detector(mark), mark, twice=one).sightings == ()
    for text, twice in ((b"print(2)\n", one), (b"print(1)\n", other)):
        with pytest.raises(pytest.fail.Exception):
            scan("b.py", text, "", Detector(mark), mark, twice=twice)


def test_half_of_what_a_text_is_known_by_is_none_of_a_text():
    table = bytearray(twice_module.TABLE)
    twice, key = Twice(table), Twice().key(CODE, "source")
    twice.keep(key, Said(None, NONE, Located(())))
    assert twice.get(key)
    at = table.index(key)
    table[at + 16 : at + 32] = bytes(16)
    assert twice.get(key) is None
    assert len(scan("a.py", CODE, "", Detector(mark), mark, twice=twice).sightings) == 1


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(twice_module, "MOST_TEXTS", 10)
    monkeypatch.setattr(twice_module, "MOST_NODES", 100)
    twice = Twice()
    for number in range(60):
        scan("a.json", b'{"a": [%s]}' % b", ".join([b"%d" % number] * number), "", Detector(mark), mark, twice=twice)
        assert twice.size[0] <= 10
        assert twice.size[1] <= 100
    assert twice.size[0] >= 1


def test_a_document_that_is_too_large_is_not_kept():
    twice = Twice()
    many = b"[%s]" % b",".join([b"1"] * (twice_module.LARGEST + 1))
    scan("a.json", many, "", Detector(mark), mark, twice=twice)
    assert twice.size == (0, 0)
