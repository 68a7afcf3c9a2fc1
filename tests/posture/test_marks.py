"""Marks are made under a key that is another in each run and on each machine: nothing that is told depends on it."""

from collections.abc import Callable
from functools import partial

import pytest

from taskbound.posture.detection import Detector
from taskbound.posture.findings import find
from taskbound.posture.graph import Thing, build
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Credential, Mark, Sighting
from tests.posture.planted import AS_OF, ORGANISATIONS, mark, seen

KEYS = tuple(f"key {number}".encode() for number in range(8))
# On one line, in one holder, several that are as near to an identifier; and some that lie elsewhere too.
LINE = '{"a": {"password": "Wq7#kkf2LmzQ"}, "b": {"password": "Zt4!mmPq81xv"}, "c": {"password": "Hn2$vvYr65ks"}}'
KEY_FILE = """[default]
aws_access_key_id = AKIAQYLPMN5HHHFPZAM2
aws_secret_access_key = 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
[other]
aws_secret_access_key = kB5nZp0WqYh3LtVx9SdJc7Ru2Mf8GaEe4iOyN6Tz
"""
FILES = {
    "web/settings.json": LINE,
    "web/compose.yaml": "services:\n  web:\n    image: web@sha256:1\n    environment:\n"
    "      DB_PASSWORD: Zt4!mmPq81xv\n      API_PASSWORD: Hn2$vvYr65ks\n",
    "agent/.mcp.json": '{"mcpServers": {"db": {"command": "db", "env": {"PASSWORD": "Hn2$vvYr65ks"}}}}',
    "agent/notes.txt": "password=Wq7#kkf2LmzQ password=Zt4!mmPq81xv password=Hn2$vvYr65ks\n",
    "agent/.aws/credentials": KEY_FILE,
    "agent/keys.txt": KEY_FILE.replace("\n", " "),
}


def dense(mark: Mark) -> list[Sighting]:
    detector = Detector(mark)
    return [
        one
        for path, text in FILES.items()
        for one in scan(path, text.encode(), path.partition("/")[0], detector, mark).sightings
    ]


def told(see: Callable[[Mark], list[Sighting]], key: bytes) -> object:
    """Return all that is told of what is seen: findings with their ids, in order, credentials without marks."""
    sightings = see(partial(mark, key=key))
    shown = [(one.place, one.kind, one.name, one.last4) for one in sightings if isinstance(one, Credential)]
    graph = build(sightings, AS_OF)
    labels: list[Thing | str] = [one.label if one.kind == "credential" else one for one in graph.things]
    return find(sightings, AS_OF), shown, labels, graph.leads_to


@pytest.mark.parametrize("organisation", [*ORGANISATIONS, "dense"])
def test_the_key_of_marks_changes_nothing_that_is_told(organisation: str) -> None:
    def see(mark: Mark) -> list[Sighting]:
        return dense(mark) if organisation == "dense" else list(seen(organisation, mark))

    first, *others = (told(see, key) for key in KEYS[: 8 if organisation == "dense" else 2])
    assert all(one == first for one in others)


def test_the_dense_sample_has_what_could_be_told_in_several_orders() -> None:
    seen_there = [one for one in dense(mark) if isinstance(one, Credential)]
    places = [one.place for one in seen_there]
    assert max(map(places.count, places)) >= 3 and len({one.mark for one in seen_there}) >= 6
