"""JSON: the report as docs/discover.md documents it."""

from collections import Counter
from datetime import datetime
from typing import Any

from taskbound.posture.cases import CASES, SEVERITIES
from taskbound.posture.findings import Finding
from taskbound.posture.inventory import LOGINS
from taskbound.posture.report import Held, Report, fix, rank
from taskbound.posture.report.lines import first_lines
from taskbound.posture.sighting import Holder, Place, Principal


def as_json(report: Report, version: str) -> dict[str, Any]:
    """Return the report as docs/discover.md documents it."""
    standing, seen = report.standing, report.seen
    kinds = Counter(one.kind for one in seen.holders)
    return {
        "taskbound": version,
        "as_of": report.as_of.isoformat(),
        "where": report.where,
        "lines": list(first_lines(report)),
        "counts": {
            "files": seen.files,
            "skipped": seen.skipped,
            "bytes": seen.size,
            "repositories": len(seen.repositories),
            "servers": seen.servers,
            "holders": dict(sorted(kinds.items())),
            "credentials": len(report.credentials),
            "shared": len(report.shared),
            "not_counted": report.inventory.not_counted,
            "findings": {one: sum(f.severity == one for f in report.open) for one in SEVERITIES},
        },
        "findings": [
            *(_finding(report, one, "open") for one in report.open),
            *(_finding(report, one, "known") for one in sorted(standing.known, key=rank)),
            *(
                {**_finding(report, one, "suppressed"), "reason": why.reason, "until": why.until.isoformat()}
                for one, why in standing.suppressed
            ),
        ],
        "credentials": [_held(one) for one in report.credentials],
        "holders": [_holder(one) for one in seen.holders],
        "identities": [
            {"id": one.id, "kind": one.kind, "place": _place(one.place), **_login(one)}
            for one in seen.sightings
            if isinstance(one, Principal)
        ],
        "unread": [{"path": one.path, "why": one.why} for one in seen.unread],
        "suppressions": {
            name: [{"id": one.id, "reason": one.reason, "until": one.until.isoformat()} for one in some]
            for name, some in (
                ("expired", standing.expired),
                ("outgrown", tuple(why for _, why in standing.outgrown)),
                ("idle", standing.idle),
            )
        },
        "gone": list(standing.gone),
    }


def _finding(report: Report, finding: Finding, standing: str) -> dict[str, Any]:
    case = CASES[finding.case]
    return {
        "id": finding.id,
        "case": finding.case,
        "nhi": f"NHI{case.nhi}:2025",
        "severity": finding.severity,
        "standing": standing,
        "title": case.title,
        "says": finding.says,
        "why": case.why,
        "subjects": list(finding.subjects),
        "places": [_place(one) for one in finding.places],
        "owner": finding.owner,
        "next": finding.next,
        "fix": fix(report, finding),
    }


def _login(one: Principal) -> dict[str, Any]:
    """Return what a server says of a login of its own; of others nothing."""
    if one.kind not in LOGINS:
        return {}
    told = {name: one.facts[name] for name in ("enters", "may", "member_of", "sessions", "limit") if name in one.facts}
    expires = one.facts.get("expires")
    return {**told, "expires": expires.isoformat() if isinstance(expires, datetime) else None}


def _place(place: Place) -> dict[str, Any]:
    return {"path": place.path, "line": place.line}


def _holder(holder: Holder) -> dict[str, str]:
    return {
        "kind": holder.kind,
        "name": holder.name,
        "repository": holder.repository,
        "environment": holder.environment,
    }


def _held(held: Held) -> dict[str, Any]:
    return {
        "id": held.mark[:16],
        "kind": held.kind,
        "last4": held.last4,
        "holders": [one.name for one in held.holders],
        "targets": sorted({one.target for one in held.sightings if one.target}),
        "places": [
            {
                **_place(one.place),
                "holder": one.holder.name,
                "spot": one.spot,
                "encoding": one.encoding,
                "name": one.name,
            }
            for one in held.sightings
        ],
    }
