"""References lead to a lease's fields, and to nothing else; no refusal repeats a value."""

import pytest

from taskbound.posture import parsers, splice
from taskbound.posture.references import Unresolved, is_one, resolved, resolved_file

VALUES = {
    "github": {"value": "ghp-canary"},
    "git": {"value": "git-canary"},
    "shop": {"user": "tb_x", "password": "p\"w'\\ canary", "url": "postgresql://tb_x:canary@h:1/shop"},
}


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("taskbound://github", "ghp-canary"),
        ("Bearer taskbound://github", "Bearer ghp-canary"),
        ("taskbound://shop/user:taskbound://github", "tb_x:ghp-canary"),
        ("taskbound://shop", "p\"w'\\ canary"),
        ("taskbound://shop/url", "postgresql://tb_x:canary@h:1/shop"),
        ("a taskbound:// b", "a taskbound:// b"),
    ],
)
def test_a_reference_becomes_what_it_leads_to(text, becomes):
    assert resolved(text, VALUES) == becomes


@pytest.mark.parametrize(
    ("text", "says"),
    [("taskbound://other", "has no lease called other"), ("taskbound://github/user", "has no field 'user'")],
)
def test_what_leads_to_nothing_is_refused_without_a_value(text, says):
    with pytest.raises(Unresolved, match=says) as refused:
        resolved(text, VALUES)
    assert "canary" not in str(refused.value)


def test_only_a_reference_alone_is_one():
    assert is_one("taskbound://a/b") and not is_one("Bearer taskbound://a") and not is_one("taskbound://a\n")


def test_a_file_is_resolved_in_its_values_and_nowhere_else():
    before = b"# taskbound://github\r\nA=taskbound://github\r\nB='taskbound://git'\r\nC=1\r\n"
    after = b"# taskbound://github\r\nA=ghp-canary\r\nB='git-canary'\r\nC=1\r\n"
    assert resolved_file(".env", before, VALUES) == after


def test_one_name_may_be_the_beginning_of_another():
    before = b'{"a": "taskbound://git taskbound://github taskbound://git"}'
    assert resolved_file("a.json", before, VALUES) == b'{"a": "git-canary ghp-canary git-canary"}'


def test_a_value_is_spelled_as_its_place_needs_it():
    assert resolved_file("a.json", b'{"a": "taskbound://shop"}', VALUES) == b'{"a": "p\\"w\'\\\\ canary"}'
    assert resolved_file("a.yml", b"a: 'taskbound://shop'\n", VALUES) == b"a: 'p\"w''\\ canary'\n"


def test_a_value_that_is_a_reference_itself_is_not_followed():
    assert resolved_file(".env", b"A=taskbound://a\n", {"a": {"value": "taskbound://a"}}) == b"A=taskbound://a\n"


@pytest.mark.parametrize("data", [b'{"a": "taskbound://github"', b"\0\0"])
def test_a_file_that_cannot_be_read_is_refused(data):
    with pytest.raises(Unresolved, match="cannot be read to its end"):
        resolved_file("a.json", data, VALUES)


def test_a_value_that_no_spelling_fits_is_refused_without_it():
    values = {"a": {"value": "x\ncanary"}}
    with pytest.raises(Unresolved, match="cannot be written there") as refused:
        resolved_file("a.properties", b"A=taskbound://a\nB=1\n", values)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "line"), [(".env", "A{}=taskbound://git\n"), ("a.yml", "a{}: 'taskbound://shop'  # its own\n")]
)
def test_a_file_is_parsed_once_before_and_once_for_each_way_to_spell_a_value_however_many_it_has(
    monkeypatch, path, line
):
    data = "".join(line.format(number) for number in range(200)).encode()
    seen = list[int]()

    def parse(path, data):
        seen.append(len(data))
        return parsers.parse(path, data)

    monkeypatch.setattr(splice, "parse", parse)
    after = resolved_file(path, data, VALUES)
    assert len(seen) <= 1 + len(splice.SPELLINGS) and b"taskbound://" not in after
    assert set((splice.texts_of(path, after) or {}).values()) == {
        VALUES["git"]["value"] if path == ".env" else VALUES["shop"]["password"]
    }


def test_a_remark_on_the_line_of_a_value_stays():
    before = b"A=taskbound://git # taskbound://git\nB=taskbound://git\n"
    assert resolved_file(".env", before, VALUES) == b"A=git-canary # taskbound://git\nB=git-canary\n"


def test_what_stands_in_a_remark_and_is_spelled_otherwise_in_its_value_is_not_taken_for_it():
    before = b'a: "taskbound:\\/\\/git" # taskbound://other\n'
    assert resolved_file("a.yml", before, VALUES) == b'a: "git-canary" # taskbound://other\n'


def test_values_of_one_file_may_be_spelled_in_different_ways():
    before = b"a: 'taskbound://shop'\nb: \"taskbound://shop\"\nc: taskbound://git\n"
    after = b"a: 'p\"w''\\ canary'\nb: \"p\\\"w'\\\\ canary\"\nc: git-canary\n"
    assert resolved_file("a.yml", before, VALUES) == after


def test_a_file_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    def parsed(*_):
        raise AssertionError("it was parsed")

    monkeypatch.setattr(parsers, "parse", parsed)
    with pytest.raises(Unresolved, match=r"\.env has, or with its values would have, more than 4 MiB"):
        resolved_file(".env", b"A=taskbound://git\n" + b"#" * splice.LARGEST, VALUES)


def test_a_file_that_its_values_would_make_too_large_is_refused_without_one(monkeypatch):
    monkeypatch.setattr(splice, "LARGEST", 1 << 20)
    many = b"".join(b"A%d=taskbound://long\n" % number for number in range(20))
    with pytest.raises(Unresolved, match="more than 1 MiB") as refused:
        resolved_file(".env", many, {"long": {"value": "canary" * 10_000}})
    assert "canary" not in str(refused.value)
