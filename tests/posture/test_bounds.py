"""What is dense costs time by its size, and who is out of time has what was found until then."""

import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from taskbound.posture import detection
from taskbound.posture.detection import Detector, Stopped, bindings, exempt, forms
from taskbound.posture.detection.effort import Effort
from taskbound.posture.inventory import Inventory
from taskbound.posture.scan import scan
from taskbound.posture.seen import Scanned
from taskbound.posture.sighting import Credential, Holder, Place
from tests.posture.planted import mark

if TYPE_CHECKING:
    from _typeshed import TraceFunction


def password(number: int) -> str:
    return f"Wq7#kkf{number:05d}LmzQ"


def scanned(path: str, text: str) -> Scanned:
    return scan(path, text.encode(), "repo", Detector(mark), mark)


def found(told: Scanned) -> list[Credential]:
    return [one for one in told.sightings if isinstance(one, Credential)]


def line_of_values(many: int) -> tuple[str, str]:
    return "a.json", json.dumps([{"password": password(number)} for number in range(many)])


def beyond_ascii(many: int) -> tuple[str, str]:
    text = "ü " + " ".join(f"password={password(number)}" for number in range(many))
    return "a.json", json.dumps({"text": text}, ensure_ascii=False)


def servers(many: int) -> tuple[str, str]:
    each = {f"s{number}": {"command": "x", "env": {"DB_PASSWORD": password(number)}} for number in range(many)}
    return ".mcp.json", json.dumps({"mcpServers": each}, indent=1)


def encoded(many: int) -> tuple[str, str]:
    return "a.txt", " ".join(base64.b64encode(f"password={password(n)}".encode()).decode() for n in range(many))


def code(many: int) -> tuple[str, str]:
    return "a.py", "\n" * 40 * many + "".join(f'"""a"""\npassword = "{password(number)}"\n' for number in range(many))


@pytest.mark.parametrize("make", [line_of_values, beyond_ascii, servers, encoded, code])
def test_four_times_as_many_take_no_square_of_time_and_none_is_lost(make):
    scanned(*make(10))
    took = []
    for many in (1000, 4000):
        path, text = make(many)
        begin = time.process_time()
        assert len(found(scanned(path, text))) == many
        took.append(time.process_time() - begin)
    assert took[1] < 9 * took[0], took


def raising_after(many: int, function):
    left = [many]

    def called(*words):
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("not to be told")
        return function(*words)

    return called


def test_a_search_that_is_ended_keeps_what_it_found(monkeypatch):
    monkeypatch.setattr(bindings, "by_name", raising_after(5, bindings.by_name))
    told = scanned("a.txt", "\n".join(f"password={password(number)}" for number in range(9)))
    assert [one.place.line for one in found(told)] == [1, 2, 3, 4, 5]
    assert told.problem == "it is searched in part (ValueError)"
    with pytest.raises(Stopped) as stopped:
        Detector(mark).in_text(f"password={password(1)}".encode())
    assert stopped.value.hits == [] and stopped.value.__cause__ is None


def test_values_that_are_not_all_searched_are_told_as_far_as_they_are(monkeypatch):
    monkeypatch.setattr(detection, "by_name", raising_after(5, bindings.by_name))
    text = "".join(f"- password: >-\n    {password(number)}\n" for number in range(9))
    assert len(found(scanned("a.yaml", text))) == 5
    assert scanned("a.yaml", text).problem == "it is searched in part (ValueError)"


def test_a_large_encoded_text_is_read_in_pieces():
    plain = b"nothing " * 200_000 + f"password={password(1)}".encode()
    told = scanned("a.txt", base64.b64encode(b"password nothing " + plain).decode())
    assert [one.encoding for one in found(told)] == ["base64"]


def work(do: Callable[[], object]) -> int:
    """Count the lines of Python that run: what else the machine does changes nothing of it."""
    count, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: object) -> "TraceFunction":
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
    return count


def key_pair(number: int) -> str:
    told = hashlib.sha256(str(number).encode()).digest()
    return f"AKIA{base64.b32encode(told).decode()[:16]} {base64.b64encode(told + told).decode()[:40]}"


def names_of_all_kinds(many: int) -> tuple[str, str]:
    return "a.json", json.dumps({f"k{number}_token": key_pair(number)[21:41] for number in range(many)})


def large_value(many: int) -> tuple[str, str]:
    plain = " ".join(f"password={password(number)}" for number in range(many))
    return "a.json", json.dumps({"a": base64.b64encode(plain.encode()).decode()})


def key_pairs(many: int) -> tuple[str, str]:
    return "a.txt", "\n".join(key_pair(number) for number in range(many))


@pytest.mark.parametrize("make", [names_of_all_kinds, large_value, key_pairs])
def test_four_times_as_many_take_four_times_the_work(make):
    scanned(*make(10))
    few, many = (work(partial(scanned, *make(many))) for many in (100, 400))
    assert many < 5 * few, (few, many)


@pytest.mark.parametrize("make", [line_of_values, encoded, names_of_all_kinds, large_value, key_pairs])
def test_of_what_holds_too_much_a_part_is_looked_at_and_that_is_told(make, monkeypatch):
    monkeypatch.setattr(detection, "Effort", lambda: Effort(finds=50))
    path, text = make(1000)
    told = scanned(path, text)
    assert 50 <= len(found(told)) <= 160  # of a key pair one more is found beside each, of values those of the text too
    assert told.problem == "it is searched in part (it has more than is looked at)"
    bounded = work(lambda: scanned(path, text))
    monkeypatch.undo()
    assert 2 * bounded < work(lambda: scanned(path, text))


@pytest.mark.parametrize("spent", [{"events": 200}, {"looks": 100}])
@pytest.mark.parametrize("make", [line_of_values, key_pairs])
def test_places_that_are_looked_at_are_counted_as_well(make, spent, monkeypatch):
    monkeypatch.setattr(detection, "Effort", lambda: Effort(**spent))
    told = scanned(*make(1000))
    assert 10 < len(found(told)) <= 500
    assert told.problem == "it is searched in part (it has more than is looked at)"


def test_a_key_and_its_secret_are_put_together_without_asking_of_each_about_all():
    def held(many: int) -> list[Credential]:
        holder = Holder("file", "a", "r")
        kinds = (("aws-access-token", True), ("aws-secret-access-key", False))
        return [
            Credential(f"{kind}{line}", kind, "", Place("a", line), holder, "file", is_identifier=is_identifier)
            for line in range(many)
            for kind, is_identifier in kinds
        ]

    inventories = [Inventory(held(many), date(2030, 1, 1)) for many in (10, 40)]
    assert [len(one.units) for one in inventories] == [10, 40]
    few, many = (work(partial(Inventory, held(many), date(2030, 1, 1))) for many in (100, 400))
    assert many < 5 * few, (few, many)


def test_words_are_found_wherever_they_stand_in_a_value():
    words = ("abc", "abcd", "xyz0")
    for value in ("abc", "ABC", "..abcd", "xyz", "xyz0", "xxyz01", "ab", "", "aabbc"):
        assert exempt.has_word(value, words) == any(one in value.lower() for one in words), value


def test_what_lies_beside_several_keys_is_judged_once(monkeypatch):
    asked: list[str] = []

    def is_random(value: str, *_: float) -> bool:
        asked.append(value)
        return False

    monkeypatch.setattr(forms, "is_random", is_random)
    scanned(*key_pairs(100))
    assert 0 < len(asked) <= 100 and len(asked) == len(set(asked))
