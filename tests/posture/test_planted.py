"""Findings on the planted organisations: all that was planted, nothing where nothing may fire."""

import json
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

from taskbound.cli import main
from taskbound.posture.findings import PLACES, find
from tests.posture.planted import AS_OF, ORGANISATIONS, PLANTED, key, scored, seen


@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_all_that_was_planted_is_found(organisation: str) -> None:
    score = scored(organisation, find(seen(organisation), AS_OF))
    assert score.missed == ()
    assert score.false == ()
    # Each of these was read by hand and is true; the key names one of several like it.
    assert {one.case for one in score.beside} <= {
        "action-not-pinned",
        "key-in-query-of-url",
        "k8s-secret-manifest-in-repository",
        "literal-secret-in-mcp-config",
        "literal-secret-in-workflow",
        "no-owner",
        "same-credential-in-staging-and-prod",
        "unpinned-mcp-package",
    }
    assert len(score.beside) <= 9


@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_findings_have_the_severity_and_the_owner_of_the_key(organisation: str) -> None:
    found = find(seen(organisation), AS_OF)
    planted = key(organisation)["findings"]
    assert {(one["case"], one["severity"]) for one in planted} <= {(one.case, one.severity) for one in found}
    owned = {(one["case"], one["owner"]) for one in planted if "owner" in one}
    assert owned and owned <= {(one.case, one.owner) for one in found}


@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_the_order_of_sightings_changes_nothing(organisation: str) -> None:
    sightings = list(seen(organisation))
    found = find(sightings, AS_OF)
    random.Random(7).shuffle(sightings)
    assert find(sightings, AS_OF) == found
    assert len({one.id for one in found}) == len(found)
    assert all(len(one.places) <= PLACES for one in found)


def test_the_score_notices_what_is_missed_and_what_is_false() -> None:
    organisation = ORGANISATIONS[0]
    found = find(seen(organisation), AS_OF)
    less = scored(organisation, [one for one in found if one.case != "iam-star-star"])
    assert [one.partition(" ")[2] for one in less.missed] == ["iam-star-star"]


@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_each_result_in_sarif_has_one_number_one_place_and_at_most_eight_others(organisation, capsys, monkeypatch):
    monkeypatch.chdir(PLANTED / organisation / "files")
    words = ["repos", "--export", "exports", "--as-of", AS_OF.isoformat(), "--format", "sarif"]
    assert main(["discover", *words]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    results = run["results"]
    assert len(results) >= len(key(organisation)["findings"])
    assert [one for one in results if wrong_in(one)] == []
    wrongs: tuple[dict[str, Any], ...] = (
        {"properties": {"tags": [*results[0]["properties"]["tags"], "NHI5:2025"]}},
        {"properties": {"tags": []}},
        {"locations": results[0]["locations"] * 2},
        {"locations": [{"physicalLocation": {"artifactLocation": {"uri": "a"}}}]},
        {"relatedLocations": results[0]["locations"] * 9},
        {"relatedLocations": [{"physicalLocation": {"artifactLocation": {"uri": "a"}, "region": {}}}]},
    )
    assert [one for one in wrongs if not wrong_in({**results[0], **one})] == []


def wrong_in(result: Mapping[str, Any]) -> bool:
    """Tell whether a result has not exactly one number and one place, or a place without a line, or too many others."""
    places, others = result["locations"], result.get("relatedLocations", [])
    lines = [one["physicalLocation"].get("region", {}).get("startLine", 0) for one in (*places, *others)]
    numbers = [tag for tag in result["properties"]["tags"] if re.fullmatch(r"NHI([1-9]|10):2025", tag)]
    return len(numbers) != 1 or len(places) != 1 or len(others) > 8 or min(lines) < 1
