"""T7.3: an operator who has the real key writes another history, cuts it, forks it, or restores an old copy.

Whoever kept a checkpoint finds it, and so does the second place. Without either nothing can: then
`audit verify` does not call the history compared, it says what it cannot prove.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_audit import Place

CANNOT = "no earlier checkpoint given (--from): that nothing was rewritten before is not provable"


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "true")
    made.record(40, days_ago=1)
    made.export("first")
    return made


def twin(place: Place, name: str, *events: int) -> Place:
    """Another history of the same size and more, by the same operator: instance and key are the real ones."""
    made = Place(place.root.parent / name)
    made.state.mkdir(mode=0o700)
    shutil.copy(place.state / "instance", made.state)
    shutil.copytree(place.state / "keys", made.state / "keys")
    for n in events:
        made.record(n)
    return made


def copied(place: Place) -> Path:
    copy = place.root / "copy"
    shutil.copytree(place.state, copy)
    return copy


def verified(place: Place, export: Path, capsys, *words: object) -> tuple[int, str]:
    """Verify with the real key; return the status and what is said."""
    key = (place.root / "first/vkey").read_text().strip()
    capsys.readouterr()
    status = place.run("verify", export, "--vkey", key, *words)
    return status, capsys.readouterr().out


@pytest.mark.parametrize("size", [41, 40, 12], ids=["rewritten", "of-one-size", "shorter"])
def test_another_history_with_the_real_key_is_told_by_a_kept_checkpoint_alone(place, capsys, size):
    forged = twin(place, "forged", size).export()
    status, said = verified(place, forged, capsys)
    assert status == 0 and CANNOT in said, "it verifies by itself, and is not called whole"
    told = json.loads(verified(place, forged, capsys, "--json")[1])
    assert (told["verified"], told["history"], told["key_from"]) == (True, "not provable", "given")
    status, said = verified(place, forged, capsys, "--from", place.root / "first/checkpoint")
    assert status == 4 and "NOT verified" in said and CANNOT not in said
    place.record(3)
    status, said = verified(place, place.export("later"), capsys, "--from", place.root / "first/checkpoint")
    assert status == 0 and CANNOT not in said, "the control: the true one goes on from there"


def test_a_fork_for_two_readers_is_found_when_they_compare(place, capsys):
    fork = twin(place, "fork")
    shutil.copy(place.state / "taskbound.db", fork.state)
    shutil.copytree(place.second, fork.second, dirs_exist_ok=True)
    place.record(5)
    fork.record(6)
    for one, other in ((place, fork), (fork, place)):
        mine = one.root / "mine"
        if not mine.exists():
            one.export("mine")
            other.export("mine")
        assert verified(place, mine, capsys, "--from", place.root / "first/checkpoint")[0] == 0, "each goes on"
    longer, shorter = fork.root / "mine", place.root / "mine"
    assert verified(place, longer, capsys, "--from", shorter / "checkpoint")[0] == 4
    assert verified(place, shorter, capsys, "--from", longer / "checkpoint")[0] == 4


@pytest.mark.parametrize("goes_on", [False, True], ids=["as-it-was", "and-goes-on"])
def test_an_old_copy_is_refused_by_the_second_place(place, capsys, goes_on):
    copy = copied(place)
    place.record(10)
    place.export("newer")
    shutil.rmtree(place.state)
    copy.rename(place.state)
    if goes_on:  # past what the second place has seen
        place.record(20)
    capsys.readouterr()
    assert place.run("export", place.root / "rolled-back") == 4
    assert "log_broken" in capsys.readouterr().err


def test_another_history_is_refused_by_the_second_place(place, capsys):
    forged = twin(place, "forged", 60)
    forged.second = place.second
    capsys.readouterr()
    assert forged.run("export", forged.root / "export") == 4
    assert "log_broken" in capsys.readouterr().err
