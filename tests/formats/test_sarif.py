"""SARIF 2.1.0 as code scanning wants it."""

import json

from taskbound.formats.sarif import RELATED, Location, Result, Rule, render

RULE = Rule("r", "title", "text", "help", "9.5")


def result(**more):
    said = {"rule": "r", "level": "error", "message": "m", "place": Location("a b/ü#1.txt", 3), "tags": ("NHI2:2025",)}
    return Result(**{**said, **more})


def rendered(*results, notes=()):
    (run,) = render({"name": "taskbound", "version": "1"}, [RULE], results, notes)["runs"]
    return run


def test_nothing_found_is_an_empty_list_and_not_a_missing_one():
    log = render({"name": "taskbound"}, [], [])
    assert log["version"] == "2.1.0" and log["runs"][0]["results"] == []


def test_a_result_has_one_place_with_a_line_and_no_snippet():
    (told,) = rendered(result(fingerprints={"taskboundFinding/v1": "f-1"}))["results"]
    (place,) = told["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b/%C3%BC%231.txt", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 3},
    }  # fmt: skip
    assert (told["ruleId"], told["ruleIndex"], told["partialFingerprints"]) == ("r", 0, {"taskboundFinding/v1": "f-1"})
    assert told["properties"]["tags"] == ["NHI2:2025"] and "snippet" not in json.dumps(told)


def test_at_most_eight_related_places_are_told():
    (told,) = rendered(result(related=tuple(Location("x", line) for line in range(1, 20))))["results"]
    related = told["relatedLocations"]
    assert len(related) == RELATED == 8 and [one["id"] for one in related] == list(range(1, 9))
    assert all(one["physicalLocation"]["region"]["startLine"] >= 1 for one in related)
    assert "relatedLocations" not in rendered(result())["results"][0]


def test_a_path_is_a_uri_that_nobody_takes_for_another():
    for path, uri in (
        ("c:x.txt", "c%3Ax.txt"),
        ("/abs/x y", "file:///abs/x%20y"),
        ("~/.aws/config", "~/.aws/config"),
        ("a.zip!/b.txt", "a.zip!/b.txt"),
    ):
        (told,) = rendered(result(place=Location(path, 0)))["results"]
        physical = told["locations"][0]["physicalLocation"]
        assert physical["artifactLocation"]["uri"] == uri and physical["region"]["startLine"] == 1
        assert ("uriBaseId" in physical["artifactLocation"]) is not path.startswith("/")


def test_what_is_set_aside_says_why_and_what_is_known_says_so():
    told, plain = rendered(result(baseline="unchanged", suppressed="until then"), result())["results"]
    assert told["baselineState"] == "unchanged"
    assert told["suppressions"] == [{"kind": "external", "justification": "until then"}]
    assert not plain.keys() & {"baselineState", "suppressions"}


def test_what_was_not_read_is_a_note_of_the_run():
    (invocation,) = rendered(notes=[("x", "too large")])["invocations"]
    (note,) = invocation["toolExecutionNotifications"]
    assert invocation["executionSuccessful"] and note["message"]["text"] == "not read: too large"
