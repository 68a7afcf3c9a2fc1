"""SARIF: the report as code scanning reads it. One number of OWASP NHI for a result, on the result."""

from functools import partial
from typing import Any

from taskbound.formats import sarif
from taskbound.posture.cases import CASES, CRITICAL, HIGH, LOW, MEDIUM
from taskbound.posture.findings import Finding
from taskbound.posture.report import Report, rank

LEVEL = {CRITICAL: "error", HIGH: "error", MEDIUM: "warning", LOW: "note"}  # of SARIF
SCORE = {CRITICAL: "9.5", HIGH: "8.0", MEDIUM: "5.5", LOW: "2.5"}  # bounds of code scanning: 9.0, 7.0, 4.0


def as_sarif(report: Report, version: str) -> dict[str, Any]:
    """Return the report as SARIF: one number of OWASP NHI for a result, on the result."""
    standing = report.standing
    fresh = "new" if standing.has_baseline else ""
    result = partial(_result, within=report.within)
    results = [
        *(result(one, baseline=fresh) for one in report.open),
        *(result(one, baseline="unchanged") for one in sorted(standing.known, key=rank)),
        *(
            result(one, baseline=fresh, suppressed=f"until {why.until}: {why.reason}")
            for one, why in standing.suppressed
        ),
    ]
    rules = [_rule(name) for name in sorted({one.rule for one in results})]
    notes = [(_from_here(report.within, one.path), one.why) for one in report.seen.unread]
    return sarif.render({"name": "taskbound", "version": version}, rules, results, notes)


def _rule(name: str) -> sarif.Rule:
    case = CASES[name]
    return sarif.Rule(name, case.title, case.why, case.next, SCORE[case.severity])


def _from_here(within: str, path: str) -> str:
    """Return a path as seen from the working directory, where the folder that was looked at lies below it.

    Code scanning takes it from the top of the checkout, where pipelines run.
    """
    is_below = within and not within.startswith(("/", ".."))
    return path if not is_below or path.startswith("~/") or "://" in path else f"{within}/{path}"


def _result(finding: Finding, within: str, baseline: str = "", suppressed: str = "") -> sarif.Result:
    first, *more = (sarif.Location(_from_here(within, one.path), one.line) for one in finding.places)
    owner = f" Owner: {finding.owner}." if finding.owner else ""
    return sarif.Result(
        rule=finding.case,
        level=LEVEL[finding.severity],
        message=f"{finding.says}{owner} Next: {finding.next}",
        place=first,
        related=tuple(more),
        tags=(f"NHI{CASES[finding.case].nhi}:2025",),
        fingerprints={"taskboundFinding/v1": finding.id},
        baseline=baseline,
        suppressed=suppressed,
    )
