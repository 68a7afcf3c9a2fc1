"""What is moved out of a value, and how its target is called; and a file that would still hold it is refused."""

from typing import Any

import pytest

from taskbound.core.errors import Conflict
from taskbound.core.secret import Secret
from taskbound.posture import moved
from taskbound.posture.detection import Hit
from taskbound.posture.sighting import Credential, Holder, Place

PARTS = [
    ("ghp-canary", "ghp-canary", "ghp-canary", "plain"),
    ("Bearer ghp-canary", "ghp-canary", "ghp-canary", "plain"),
    ("postgres://u:canary@h/db", "canary", "postgres://u:canary@h/db", "plain"),
    ("psql postgres://u:canary@h/db -c 1", "canary", "postgres://u:canary@h/db", "plain"),
    ("https://h/?key=canary", "canary", "https://h/?key=canary", "plain"),
    ("password=canary;host=h", "canary", "canary", "plain"),
    ("key:canary/rest", "canary", "key:canary/rest", "plain"),
    ("Basic Y2FuYXJ5", "Y2FuYXJ5", "Y2FuYXJ5", "base64"),
]


@pytest.mark.parametrize(("text", "found", "part", "encoding"), PARTS)
def test_a_token_is_moved_alone_and_of_an_address_the_whole_word(text, found, part, encoding):
    start = text.index(found)
    assert moved._part(text, start, start + len(found), 0, encoding) == part


def holding(name: str, holder: str = "mcp:github@claims") -> Credential:
    return Credential("m", "github-pat", "3456", Place("a.json", 1), Holder("agent", holder), "mcp-env", name=name)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("GITHUB_TOKEN", "github_token"),
        ("Authorization", "github_authorization"),
        ("apiKey", "github_apikey"),
        ("x-api-key", "github_x_api_key"),
        ("", "github_pat"),
        ("Ü" * 80, "github_pat"),
    ],
)
def test_a_target_is_called_after_the_key_and_where_that_says_little_after_the_holder(key, name):
    assert moved._name(key, holding("")) == name


def test_one_text_has_one_target_and_two_texts_have_two():
    names = moved.Names({"token": Secret("known"), "login": None})
    assert names.of("known", "other", "") == "token"
    assert names.of("new", "token", "dev") == "token_2" == names.of("new", "x", "")
    assert names.of("another", "login", "") == "login_2", "a target of another provider is not taken over"
    assert set(names.new) == {"token_2", "login_2"}


class Stubborn:
    """A detector that finds a credential in whatever stands there."""

    def __init__(self) -> None:
        self.hit = Hit("k", "m", "3456", "t", 0, 0, 16, "plain", "", False)

    def in_values(self, values: Any) -> Any:
        yield from ((number, [self.hit]) for number in range(len(list(values))))

    def in_text(self, data: bytes) -> list[Hit]:
        return []


def test_a_file_that_would_still_hold_one_is_refused():
    detector: Any = Stubborn()
    with pytest.raises(Conflict, match="would still hold"):
        moved.move("a.json", b'{"TOKEN": "0123456789abcdef"}', [holding("TOKEN")], detector, moved.Names({}))


class Legacy:
    """A detector of one credential, which stands in a remark that is no UTF-8."""

    there = "k\xe4y0123456789abcd".encode("latin-1")

    def in_values(self, values: Any) -> Any:
        return iter(())

    def in_text(self, data: bytes) -> list[Hit]:
        at = data.find(self.there)
        return [Hit("k", "m", "abcd", "t", 0, at, at + len(self.there), "plain", "", False)] if at >= 0 else []


def test_what_could_not_be_put_back_byte_for_byte_is_not_taken_out():
    detector: Any = Legacy()
    with pytest.raises(Conflict, match="byte for byte") as refused:
        moved.move(".env", b"# " + Legacy.there + b"\nA=1\n", [holding("A")], detector, moved.Names({}))
    assert "by hand" in str(refused.value.hint)
