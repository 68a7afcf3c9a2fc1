"""Sinks of a running `up`: each sealed event is in each file, in order; one that cannot be written holds up nothing."""

import json
import re
from pathlib import Path

import httpx2

from tests.stories.place import ANY, Place, until


def _indexes(file: Path) -> list[int]:
    return [json.loads(line)["index"] for line in file.read_text().splitlines()] if file.exists() else []


def _measured(place: Place, name: str) -> float:
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=f"{place.state}/run/api.sock"), timeout=5) as client:
        text = client.get("http://localhost/metrics").text
    return float(re.findall(rf"^taskbound_{name} (\S+)$", text, re.M)[0])


def test_sealed_events_go_to_every_sink_that_can_be_written(tmp_path: Path) -> None:
    place = Place(tmp_path / "home")
    good, bad = tmp_path / "events.jsonl", tmp_path / "absent" / "events.jsonl"
    (place.state / "taskbound.toml").write_text(f'sinks = ["file:{good}", "file:{bad}"]\n{ANY}')
    with place.up():
        until(lambda: len(_indexes(good)) > 1, 20)
        until(lambda: _measured(place, "sink_lag_events") == _measured(place, "sealed_events") > 1, 20)
        bad.parent.mkdir()
        until(lambda: _indexes(bad) == _indexes(good), 60)
        until(lambda: _measured(place, "sink_lag_events") == 0, 20)
    seen = _indexes(good)
    with place.up():  # it goes on behind its own last line
        until(lambda: len(_indexes(good)) > len(seen), 20)
    assert _indexes(good) == list(range(len(_indexes(good))))
