"""What is dense costs time by its size, and who is out of time has what was found until then."""

import base64
import json
import time

import pytest

from taskbound.posture import detection
from taskbound.posture.detection import Detector, Stopped, bindings
from taskbound.posture.scan import Scanned, scan
from taskbound.posture.sighting import Credential
from tests.posture.planted import mark


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


@pytest.mark.parametrize("make", [line_of_values, beyond_ascii, servers, encoded])
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
