"""The report: five lines first, then each finding with evidence, reason, owner and the next command."""

import json
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest

from taskbound.posture.page import as_html
from taskbound.posture.report import Gathered, Report, at_least
from taskbound.posture.report.json import as_json
from taskbound.posture.report.lines import first_lines, names
from taskbound.posture.report.sarif import as_sarif
from taskbound.posture.report.table import as_table
from taskbound.posture.seen import Seen, Unread
from taskbound.posture.sighting import Credential, Holder, Place, Principal
from taskbound.posture.standing import Suppression, judge
from tests.posture.standin import find, finding, standing_in

DAY = date(2026, 11, 1)
AGENT, PIPELINE = Holder("agent", "mcp:github@bot", "bot"), Holder("pipeline", "ci:build.yml@bot", "bot")
EVIL = '<script>alert(1)</script>"\x1b[31m'


@pytest.fixture(autouse=True)
def _standing_in():
    with standing_in():
        yield


def credential(path: str, line: int, holder: Holder, mark: str = "m" * 64, **more) -> Credential:
    return Credential(mark, "github-pat", "a1b2", Place(path, line), holder, "mcp-env", **more)


def report(*sightings, baseline=None, suppressions=(), unread=(), holders=()) -> Report:
    seen = Gathered()
    seen.add(Seen(tuple(sightings), tuple(holders), tuple(unread), ("bot",), files=7, size=9, known=7))
    return Report(".", DAY, seen, judge(find(seen.sightings, DAY), baseline, suppressions, DAY), 0.25)


def shared(**more) -> Report:
    return report(
        credential(".mcp.json", 10, AGENT), credential("build.yml", 18, PIPELINE),
        Principal("person:a", "person", Place("people.csv", 2)), **more,
    )  # fmt: skip


def test_the_first_five_lines_say_who_what_shared_worst_and_next():
    told = first_lines(shared(holders=[Holder("agent", "mcp:other@bot", "bot")]))
    assert told[0] == "2 agents and MCP servers, 1 pipeline, 1 identity in 7 files of 1 repository (this folder, 0.2 s)"
    assert told[1] == "1 credential lies open in 2 places of 2 files"
    assert told[2] == "1 is shared: github-pat …a1b2 by mcp:github@bot and ci:build.yml@bot"
    assert told[3] == "worst: critical: A credential is shared, .mcp.json:10"
    assert told[4].startswith("next: taskbound fix f-") and len(told) == 5


def test_where_nothing_is_found_five_lines_say_that():
    told = first_lines(report())
    assert told[0].startswith("no agent, pipeline or workload in 7 files") and told[1] == "no credential lies open"
    assert told[3:] == ("worst: no finding is open", "next: taskbound discover --home")
    assert first_lines(report(unread=[Unread("x", "why")]))[4] == "next: see what was not read"


def test_what_opens_nothing_alone_is_no_open_credential():
    told = first_lines(report(credential("x", 1, AGENT, is_identifier=True)))
    assert told[1] == "no credential lies open"


def test_many_holders_are_counted():
    some = [Holder("agent", f"mcp:{one}") for one in "abcde"]
    assert names(some) == "mcp:a, mcp:b, mcp:c and 2 more"
    assert (names(some[:1]), names(some[:2]), names(some[:3])) == ("mcp:a", "mcp:a and mcp:b", "mcp:a, mcp:b and mcp:c")


def test_findings_come_by_severity_each_with_evidence_reason_owner_and_next():
    lines = list(as_table(shared()))
    heads = [line.split()[0] for line in lines if line.split() and line.split()[0].isupper() and "NHI" in line]
    assert heads == ["CRITICAL", "HIGH", "HIGH"]
    first = next(place for place, line in enumerate(lines) if line.startswith("CRITICAL"))
    assert [line.split()[0] for line in lines[first + 1 : first + 7]] == ["at", "also", "what", "why", "owner", "next"]
    assert lines[first + 1 : first + 3] == ["  at    .mcp.json:10", "  also  build.yml:18"]
    assert lines[first + 5] == "  owner not known"
    assert lines[-1] == "3 findings: 1 critical, 2 high"


def test_of_findings_as_bad_the_one_about_more_comes_first():
    few, many = finding("token", "high", (Place("a", 1),)), finding("token", "high", (Place("z", 1),), ("x", "y"))
    told = Report(".", DAY, Gathered(), judge([few, many], None, (), DAY), 0.1)
    assert told.open == (many, few)


def test_of_findings_as_bad_the_one_that_more_files_say_together_comes_first():
    alone = finding("token", "high", (Place("a", 1), Place("a", 2)), ("x", "y"))
    joined = finding("token", "high", (Place("z", 1), Place("b", 1)))
    told = Report(".", DAY, Gathered(), judge([alone, joined], None, (), DAY), 0.1)
    assert told.open == (joined, alone)


def test_what_can_be_mended_is_told_with_the_words_that_look_at_the_same():
    here = finding("dotenv-committed", "critical", (Place(".env", 1),))
    packed = finding("dotenv-committed", "high", (Place("a.zip!/.env", 1),))
    standing = judge([here, packed, finding("no-owner", "low", (Place("x", 1),))], None, (), DAY)
    told = Report("shop", DAY, Gathered(), standing, 0.1, again="'a b' --export lists", within="a b")
    command = f"taskbound fix {here.id} 'a b' --export lists"
    lines = list(as_table(told))
    assert lines[4] == f"next: {command} --dry-run" and lines[6] == "paths are relative to a b"
    assert [one for one in lines if one.startswith("  fix")] == [
        f"  fix   {command}  (--dry-run shows what it would change)"
    ]
    assert [one["fix"] for one in as_json(told, "1")["findings"]] == [command, "", ""]
    page = as_html(told)
    assert page.count("<dt>fix</dt>") == 1 and "relative to <code>a b</code>" in page
    without = replace(told, again="", within="")
    assert first_lines(without)[4] == f"next: taskbound fix {here.id} --dry-run"
    assert not [one for one in as_table(without) if "relative to" in one] and "relative to" not in as_html(without)


def test_a_suppression_that_has_expired_is_told_and_hides_nothing():
    one = report(credential("x", 1, AGENT)).open[0]
    late = Suppression(one.id, "later", date(2026, 10, 31))
    told = report(credential("x", 1, AGENT), suppressions=[late])
    assert [f.id for f in told.open] == [one.id] and at_least(told.open, "high")
    text = "\n".join(as_table(told))
    assert f"{one.id}  EXPIRED on 2026-10-31, hides nothing any more: later" in text
    assert as_json(told, "1")["suppressions"]["expired"][0]["id"] == one.id and "expired on 2026-10-31" in as_html(told)


def test_an_access_keys_id_and_its_secret_are_one_and_an_id_alone_is_none():
    id: dict[str, Any] = {"kind": "aws-access-token", "last4": "ZAM2", "is_identifier": True}
    secret: dict[str, Any] = {"kind": "aws-secret-access-key", "last4": "U0IU"}
    pair = [
        replace(credential("x", line, holder, mark), **what)
        for holder in (AGENT, PIPELINE)
        for line, mark, what in ((1, "i" * 64, id), (2, "s" * 64, secret))
    ]
    told = report(*pair, *(replace(credential("y", 1, one, "a" * 64), **id) for one in (AGENT, PIPELINE)))
    assert (
        [one.said for one in told.credentials] == ["aws-secret-access-key …U0IU"] == [one.said for one in told.shared]
    )
    assert "1 credential lies open" in first_lines(told)[1] and first_lines(told)[2].startswith(
        "1 is shared: aws-secret"
    )
    assert as_json(told, "1")["counts"]["credentials"] == 1 == len(as_json(told, "1")["credentials"])


def test_what_is_known_or_set_aside_is_counted_and_not_shown():
    one, two = (find([credential(path, 1, AGENT)], DAY)[0] for path in "xy")
    told = report(
        credential("x", 1, AGENT), credential("y", 1, AGENT, "n" * 64), baseline={one.id: (), "f-gone": ()},
        suppressions=[Suppression(two.id, "accepted", DAY)],
    )  # fmt: skip
    lines = list(as_table(told))
    assert told.open == () and lines[-1] == "0 findings; 1 in the baseline; 1 suppressed"
    assert f"  {two.id}  until 2026-11-01: accepted" in lines and "1 finding of the baseline gone" in lines
    about = as_json(told, "1")
    assert {f["id"]: f["standing"] for f in about["findings"]} == {one.id: "known", two.id: "suppressed"}
    states = {
        r["partialFingerprints"]["taskboundFinding/v1"]: (r["baselineState"], "suppressions" in r)
        for r in as_sarif(told, "1")["runs"][0]["results"]
    }
    assert states == {one.id: ("unchanged", False), two.id: ("new", True)}


def test_what_was_not_read_is_named_up_to_ten():
    lines = list(as_table(report(unread=[Unread(f"f{n}", "permission denied") for n in range(12)])))
    assert "NOT READ, OR NOT TO THE END  12 files" in lines and "  f9: permission denied" in lines
    assert "  and 2 more (--format json names all)" in lines
    assert len(as_json(report(unread=[Unread("x", "y")] * 12), "1")["unread"]) == 12


def test_what_was_not_counted_is_told_with_its_number():
    told = report(
        *(replace(credential(f"tests/test_{n}.py", 1, AGENT, mark=f"{n}" * 64), kind="password") for n in range(2)),
        credential("a.env", 1, AGENT, mark="e" * 64, life=(0, 1)),
        credential("b.env", 1, AGENT),
    )
    assert as_json(told, "1")["counts"]["not_counted"] == {"ended": 1, "made_up": 2}
    assert first_lines(told)[1] == "1 credential lies open in 1 place of 1 file"
    line = "NOT COUNTED  1 token past its own end, 2 values that stand in tests and examples alone"
    assert line in as_table(told) and line.removeprefix("NOT COUNTED  ") in as_html(told)
    assert "Not counted" not in as_html(shared())
    assert not [one for one in as_table(shared()) if one.startswith("NOT COUNTED")]


def test_at_least_is_that_bad_or_worse():
    some = [finding("token", "high", (Place("x", 1),))]
    assert [at_least(some, one) for one in ("critical", "high", "medium", "low")] == [False, True, True, True]


def test_the_json_has_its_documented_members():
    about = json.loads(json.dumps(as_json(shared(), "1.2")))
    assert list(about) == [
        "taskbound", "as_of", "where", "lines", "counts", "findings", "credentials", "holders", "identities", "unread",
        "suppressions", "gone",
    ]  # fmt: skip
    assert about["counts"]["findings"] == {"critical": 1, "high": 2, "medium": 0, "low": 0}
    (held,) = about["credentials"]
    assert held["holders"] == ["mcp:github@bot", "ci:build.yml@bot"] and held["places"][0]["line"] == 10
    assert about["findings"][0]["nhi"] == "NHI9:2025" and about["findings"][0]["places"][1]["path"] == "build.yml"


def test_a_sarif_result_has_one_number_one_place_and_its_related_ones():
    (run,) = as_sarif(shared(), "1")["runs"]
    rules = {one["id"]: one for one in run["tool"]["driver"]["rules"]}
    assert list(rules) == ["shared", "token"] and rules["shared"]["properties"]["security-severity"] == "9.5"
    for one in run["results"]:
        tags = one["properties"]["tags"] + rules[one["ruleId"]]["properties"]["tags"]
        assert len([tag for tag in tags if tag.startswith("NHI")]) == 1
        assert len(one["locations"]) == 1 and "baselineState" not in one
        assert list(rules)[one["ruleIndex"]] == one["ruleId"]
    assert [one["level"] for one in run["results"]] == ["error"] * 3
    assert len(run["results"][0]["relatedLocations"]) == 1


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action")]


def test_the_page_runs_nothing_loads_nothing_and_escapes_what_came_from_files():
    told = report(
        credential(f"{EVIL}/x", 1, Holder("agent", EVIL)), credential("y", 1, PIPELINE), unread=[Unread(EVIL, EVIL)],
        suppressions=[Suppression(EVIL, EVIL, DAY)],
    )  # fmt: skip
    text = as_html(told)
    page = _Page()
    page.feed(text)
    assert page.links and all(one.startswith("#") and f'id="{one[1:]}"' in text for one in page.links)
    assert "script" not in page.tags and "\x1b" not in text and "<secret>" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert 'content="width=device-width' in text and "prefers-color-scheme:dark" in text
    for line in first_lines(told):
        assert line[:9] in text
