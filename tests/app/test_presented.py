"""What was found is shown to its server alone, and only a server that knows it is taken for the one that it is for."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from taskbound.app import presented as showing
from taskbound.app.discover import Discovery, gather, mark_key
from taskbound.app.presented import presented
from tests.redis.server import Server, redis  # noqa: F401

# ruff: noqa: F811 - fixtures are imported by name

WORD, OTHER = "q7%Vb2+xT9m:Zr@4Lw", "u8Kq2ZtR5wXc9Lm3"


class Place:
    """A folder with an agent's file, and what is seen and shown of it."""

    def __init__(self, base: Any) -> None:
        self.folder, self.state = base / "work", base / "state"
        self.folder.mkdir()
        self.state.mkdir()

    def holds(self, **env: str) -> None:
        text = json.dumps({"mcpServers": {"shop": {"command": "shop", "env": env}}})
        (self.folder / ".mcp.json").write_text(text)

    def shown(self, *logins: tuple[str, str], between: Any = lambda: None) -> Any:
        asked = Discovery(as_of=date(2031, 1, 1), paths=(self.folder,), state=self.state)
        key = mark_key(None)
        seen = gather(asked, key)
        between()
        return presented(asked, key, seen.sightings, logins, self.state)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def url(redis: Server, user: str, word: str) -> str:
    return redis.url(user, word.replace("%", "%25").replace(":", "%3A").replace("@", "%40"))


@pytest.fixture
def cart(redis: Server):
    assert redis.ask("ACL", "SETUSER", "cart", "on", "resetpass", f">{WORD}", "~*", "+@all") == "OK"
    yield f"redis://localhost:{redis.port}"
    redis.ask("ACL", "DELUSER", "cart")


@pytest.mark.parametrize(("word", "standing"), [(WORD, "alive"), (OTHER, "dead")])
def test_what_is_let_in_is_alive_and_what_is_refused_is_dead(place, redis, cart, word, standing):
    place.holds(REDIS_URL=url(redis, "cart", word))
    assert place.shown((cart, "cart")) == {(cart, "cart"): standing}


def test_of_several_passwords_one_that_is_let_in_counts(place, redis, cart):
    place.holds(OLD_URL=url(redis, "cart", OTHER), REDIS_URL=url(redis, "cart", WORD))
    assert place.shown((cart, "cart")) == {(cart, "cart"): "alive"}


def test_a_server_that_lets_in_whoever_comes_knows_nobody(place, redis, cart):
    redis.ask("ACL", "SETUSER", "cart", "nopass")
    place.holds(REDIS_URL=url(redis, "cart", OTHER))
    assert place.shown((cart, "cart")) == {(cart, "cart"): "unknown"}


def test_only_what_is_asked_for_is_shown(place, redis, cart, monkeypatch):
    asked = list[str]()

    def nobody(address: str) -> Iterator[Any]:
        asked.append(address)
        yield from ()

    monkeypatch.setattr(showing, "nearby", nobody)
    place.holds(REDIS_URL=url(redis, "cart", WORD), OTHER_URL="redis://a:u8Kq2ZtR5wXc9Lm3@localhost:1")
    assert (place.shown((cart, "cart")), asked) == ({}, [cart])


def test_what_is_gone_or_has_changed_meanwhile_is_not_known(place, redis, cart):
    place.holds(REDIS_URL=url(redis, "cart", WORD))
    file = place.folder / ".mcp.json"
    assert place.shown((cart, "cart"), between=file.unlink) == {}
    place.holds(REDIS_URL=url(redis, "cart", WORD))
    assert place.shown((cart, "cart"), between=lambda: place.holds(REDIS_URL="redis://cart@localhost")) == {}


def test_it_is_shown_as_its_file_says_also_where_we_come_in_another_way(place, redis, cart, monkeypatch):
    """By a Unix socket, say, where the server asks for no password but for who comes."""

    class Socket:
        name = cart

        async def probe(self, login, password):
            return "unknown"

    monkeypatch.setattr(showing, "configured", lambda *_: [Socket()])
    place.holds(REDIS_URL=url(redis, "cart", WORD))
    assert place.shown((cart, "cart")) == {(cart, "cart"): "alive"}


def test_a_server_that_does_not_answer_says_nothing(place, redis):
    place.holds(REDIS_URL="redis://cart:u8Kq2ZtR5wXc9Lm3@localhost:1")
    near = ("redis://localhost:1", "cart")
    assert place.shown(near) == {near: "unknown"}
