"""The residual risk as a table, a spreadsheet and a page: nothing that a file says is calculated or run."""

import csv
import io
from datetime import UTC, datetime

import pytest

from taskbound.posture.risks import COLUMNS, as_csv, as_html, as_table, last_day, risks, summary

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def finding(**changes):
    return {
        "id": "f1",
        "seen_as": "0123",
        "state": "raised",
        "case": "docker-socket-mounted",
        "severity": "high",
        "says": "it is mounted",
        "places": [{"path": "/srv/compose.yml", "line": 3}, {"path": "/srv/b.yml", "line": 1}],
        "owner": "",
        "next": "mend it",
        "raised": "2026-11-01T00:00:00Z",
        "kept": "",
        "accepted_by": None,
        "until": None,
        "reason": "",
        **changes,
    }


ACCEPTED = {"state": "accepted", "accepted_by": "human/kaya", "until": "2026-12-01T00:00:00Z", "reason": "a test"}


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, ["open"]),
        ({"state": "closed"}, []),
        (ACCEPTED, ["accepted"]),
        ({**ACCEPTED, "until": "2026-11-27T12:00:00Z"}, ["expired"]),
        ({**ACCEPTED, "state": "raised"}, ["expired"]),
    ],
    ids=["open", "closed", "accepted", "its day is over", "it was raised again"],
)
def test_a_risk_is_open_accepted_or_expired_at_a_moment(changes, standing):
    assert [one.standing for one in risks([finding(**changes)], NOW)] == standing


def test_the_open_ones_come_first_the_worst_of_them_first_and_are_counted():
    known = risks(
        [
            finding(id="f1", **ACCEPTED),
            finding(id="f2", severity="low"),
            finding(id="f3", severity="critical"),
            finding(id="f4", **{**ACCEPTED, "until": "2026-11-01T00:00:00Z"}),
        ],
        NOW,
    )
    assert [one.of["id"] for one in known] == ["f3", "f2", "f4", "f1"]
    assert summary(known) == "residual risk: open: 1 critical, 1 low; expired: 1 high; accepted: 1 high"
    assert "accepted by human/kaya until 2026-11-30: a test" in "\n".join(as_table(known))
    assert summary([]) == "residual risk: none is known"


FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
EVIL = (
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1", "  =1", "＝1+1", "a;=1+1", "a; =1",
    'x"; =1', 'a","=1+1', 'a;"=1', 'a; "" =1', "a|=1", "=1\x1b[31m",
)  # fmt: skip


@pytest.mark.parametrize("text", EVIL, ids=ascii)
def test_no_cell_of_the_spreadsheet_is_calculated_in_any_country(text):
    lines = list(as_csv(risks([finding(**{**ACCEPTED, "says": text, "reason": text})], NOW)))
    assert len(lines) == 2 and all(line.isprintable() for line in lines)
    cells = [cell for by in ",;|" for row in csv.reader(io.StringIO(lines[1]), delimiter=by) for cell in row]
    assert [cell for cell in cells if cell.lstrip(' \t\r\n"')[:1] in FORMULA] == []


def test_the_spreadsheet_says_what_the_finding_says():
    lines = as_csv(risks([finding(says='a "quoted" word, and another')], NOW))
    (row,) = csv.DictReader(io.StringIO("\r\n".join(lines)))
    assert tuple(row) == COLUMNS
    assert (row["says"], row["place"]) == ('a "quoted" word, and another', "/srv/compose.yml:3 and 1 more")


def test_the_page_shows_what_a_file_says_and_runs_none_of_it():
    page = "".join(as_html(risks([finding(says="<script>alert(1)</script>\u202e", id='"><b>')], NOW), NOW))
    assert "<script" not in page and "<b>" not in page and "\u202e" not in page
    assert " UTC. Open: 1 " in page and "residual risk:" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in page and "default-src 'none'" in page


def test_a_case_of_a_later_program_is_named_as_it_is():
    assert risks([finding(case="of-tomorrow")], NOW)[0].title == "of-tomorrow"


@pytest.mark.parametrize(("until", "told"), [
    ("2027-02-01T00:00:00Z", "2027-01-31"), ("2027-02-01T12:00:00Z", "2027-02-01T12:00:00Z"), ("", ""),
])  # fmt: skip
def test_the_last_day_is_told_as_it_was_named(until, told):
    assert last_day(until) == told
