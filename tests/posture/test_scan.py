"""A file is scanned: each credential has its holder, its line and its name, and no parser stops the search."""

import pytest

from taskbound.posture import scan as scan_module
from taskbound.posture.document import Document, Node
from taskbound.posture.parsers import parse
from taskbound.posture.readers import Reading
from taskbound.posture.scan import scan
from taskbound.posture.seen import Scanned, moved
from taskbound.posture.sighting import Credential, Holder, Holding, Place, Principal, Weakness
from taskbound.posture.values import named, values
from tests.posture.standin import Detector, mark, standing_in


@pytest.fixture(autouse=True)
def _standing_in():
    with standing_in():
        yield


def scanned(text: str, path: str = "a/x.conf", **more: bool) -> list[Credential]:
    return [one for one in whole(text, path, **more).sightings if isinstance(one, Credential)]


def whole(text: str, path: str = "a/x.conf", **more: bool) -> Scanned:
    return scan(path, text.encode(), "repo", Detector(mark), mark, **more)  # type: ignore[arg-type]


def test_the_innermost_holding_is_the_holder():
    first, second = scanned("a=tok_aaaa1111\nagent.env.B=tok_bbbb2222\n")
    assert (first.holder.name, first.spot, first.name) == ("env:x.conf", "dotenv", "a")
    assert first.place == Place("a/x.conf", 1)
    assert (second.holder.name, second.spot, second.name, second.place.line) == ("mcp:x.conf", "mcp-env", "B", 2)
    assert (first.last4, first.mark, first.holder.repository) == ("1111", mark("tok_aaaa1111"), "repo")


def test_what_stands_in_no_value_belongs_to_what_is_above_it():
    (one,) = scanned("agent.a=1\n# once it was tok_aaaa1111\n")
    assert (one.holder.name, one.name, one.place.line) == ("mcp:x.conf", "", 2)


def test_a_text_is_held_by_its_file():
    (one,) = scanned("see\ntok_aaaa1111\n", "notes.txt")
    assert (one.holder.kind, one.holder.name, one.spot, one.place.line) == ("file", "notes.txt", "file", 2)


def test_a_text_of_one_line_stands_under_the_name_of_its_file():
    def told(text: str) -> list[tuple[str, str, int]]:
        document = parse("run/secrets/shop_password.txt", text.encode())
        return [(one.name, one.text, one.node.line) for one in values(document)]

    assert told("# of the shop\n\n hunter22\n") == [("shop_password.txt", "hunter22", 3)]
    assert told("hunter22\nand more\n") == told("# nothing\n") == told("") == []


def test_what_a_key_opens_does_not_stand_under_the_name_of_its_file():
    """As the credentials of Rails, and what sops, gpg or age made of a text."""
    text = f"{'kT9xQ2mLr7KpZ4wB' * 4}--aB3x--Qz8w\n".encode()
    assert [len(list(values(parse(path, text)))) for path in ("shop_password.txt", "shop_password.yml.enc")] == [1, 0]


def test_a_value_and_its_text_are_one_credential_of_the_kind_that_says_most():
    (one,) = scanned("password=tok_aaaa1111\n")
    assert (one.kind, one.name) == ("demo-token", "password")
    (one,) = scanned("password=hunter22\n")
    assert (one.kind, one.last4) == ("generic-password", "er22")


def test_what_is_vague_counts_where_no_value_says_otherwise():
    assert scanned("a=key-aaaa1111\n") == [], "its value was searched, with its name"
    assert [one.kind for one in scanned("# key-aaaa1111\n")] == ["generic-api-key"]


def test_two_places_of_one_credential_are_two_sightings():
    assert [one.place.line for one in scanned("a=tok_aaaa1111\nb=tok_aaaa1111\n")] == [1, 2]


def test_a_parser_that_fails_costs_the_structure_and_not_the_search():
    told = whole("explode=tok_aaaa1111\n")
    assert [one.holder.kind for one in told.sightings if isinstance(one, Credential)] == ["file"]
    assert told.problem == "its structure cannot be read (RecursionError)" and "tok_" not in told.problem


def test_source_code_is_searched_and_not_parsed(monkeypatch):
    monkeypatch.setattr("taskbound.posture.scan.parse", lambda path, data: 1 / 0)
    told = whole("a=tok_aaaa1111\n", "a/x.py")
    assert len(told.sightings) == 1 and told.problem == ""


def test_what_was_not_read_to_its_end_is_told():
    assert whole("a=1\nBROKEN").problem == "its structure is not read to its end: the end is missing"


def test_of_a_part_only_lines_are_parsed():
    told = whole("a=tok_aaaa1111\n", whole=False)
    assert told.problem.startswith("too large") and len(told.sightings) == 1
    assert whole("tok_aaaa1111\n", "a.jsonl", whole=False).problem == ""


def test_holders_are_told_also_where_they_hold_nothing():
    assert [one.name for one in whole("a=1\n").holders] == ["env:x.conf", "mcp:x.conf"]


def test_in_an_exported_list_only_what_is_certain_has_leaked(monkeypatch):
    listed = Principal("p", "person", Place("people.csv", 2))
    monkeypatch.setattr("taskbound.posture.scan.read_export", lambda document, mark: (listed,))
    told = whole("password=hunter22\nagent.x=tok_aaaa1111\n# key-aaaa1111\n")
    assert told.sightings[0] == listed and [one.place.line for one in told.sightings[1:]] == [2]
    monkeypatch.setattr("taskbound.posture.scan.read_export", lambda document, mark: 1 / 0)
    assert whole("a=tok_aaaa1111\n").problem.endswith("(ZeroDivisionError)")


def names(tree: Node) -> dict[str, str]:
    return {value.node.text: value.name for value in values(Document("x", "yaml", (tree,)))}


def text(value: str) -> Node:
    return Node(value, 1)


def test_a_value_has_the_name_that_a_person_would_say():
    env = Node({"name": text("TOKEN"), "value": text("one-value")}, 1)
    variable = Node({"db_password": Node({"type": text("string"), "default": text("two-value")}, 1)}, 1)
    args = Node((text("--token"), text("three-value"), text("other")), 1)
    found = names(Node({"env": Node((env,), 1), "variable": variable, "args": args}, 1))
    assert found["one-value"] == "TOKEN" and found["two-value"] == "db_password"
    assert found["three-value"] == "token" and found["other"] == "args"


def test_what_is_assigned_within_a_list_has_its_own_name():
    words = ("--token=abc", "TOKEN=abc", "https://a.example/?x=1", "plain")
    assert [named("args", word) for word in words] == [
        ("token", "abc"), ("TOKEN", "abc"), ("args", "https://a.example/?x=1"), ("args", "plain"),
    ]  # fmt: skip


def test_a_document_that_is_nested_deeper_than_any_is_left():
    node = text("inner-value")
    for _ in range(5000):
        node = Node((node,), 1)
    assert names(node) == {}


def test_what_was_seen_in_a_part_is_moved_to_its_place():
    seen = Scanned((Weakness("c", "s", Place("x", 1), "says", (Place("x", 3),)), Principal("p", "k", Place("x", 2))))
    weakness, principal = moved(seen, "big.log.gz", 10).sightings
    assert isinstance(weakness, Weakness) and (weakness.place.line, weakness.more[0].line) == (11, 13)
    assert isinstance(principal, Principal) and principal.place == Place("big.log.gz", 12)


def test_what_is_told_holds_no_credential(monkeypatch):
    def reading(document: Document, repository: str) -> Reading:
        holder = Holder("agent", "mcp:tok_aaaa1111@repo", repository)
        seen = (
            Weakness(
                "plain-http-mcp-server", "mcp:tok_aaaa1111@repo", Place("x", 1), "It sends ü to http://tok_aaaa1111/."
            ),
            Principal("mcp:tok_aaaa1111@repo", "mcp-server", Place("x", 1)),
        )
        return Reading((Holding(holder, "mcp-env", 0, ()),), seen)

    monkeypatch.setattr(scan_module, "read", reading)
    told = whole("tok_bbbb2222=tok_cccc3333\n")
    assert "tok_" not in repr(told)
    assert {one.holder.name for one in told.sightings if isinstance(one, Credential)} == {"mcp:…@repo"}
    assert [one.says for one in told.sightings if isinstance(one, Weakness)] == ["It sends ü to http://…/."]
