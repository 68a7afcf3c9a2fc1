"""Standing: which findings count, after those known before (baseline) and those set aside for a time (suppressions).

A suppression has a reason and a last day. From the day after that it hides nothing, and is told.
"""

import json
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from taskbound.core.errors import InvalidRequest
from taskbound.posture.findings import Finding

HINT = 'each is spelled [[suppression]] with id = "…", reason = "…", until = 2027-01-31'
MEMBERS = {"id", "reason", "until"}


@dataclass(frozen=True, slots=True)
class Suppression:
    """A finding that is set aside until the end of a day."""

    id: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Standing:
    """What becomes of findings. Each is in one of `open`, `known` and `suppressed`."""

    open: tuple[Finding, ...]
    known: tuple[Finding, ...] = ()  # in the baseline
    suppressed: tuple[tuple[Finding, Suppression], ...] = ()
    expired: tuple[Suppression, ...] = ()  # of findings that are still there
    idle: tuple[Suppression, ...] = ()  # of findings that are not there
    gone: tuple[str, ...] = ()  # ids of the baseline that are not there any more
    has_baseline: bool = False


def judge(
    findings: Iterable[Finding], baseline: Collection[str] | None, suppressions: Sequence[Suppression], as_of: date
) -> Standing:
    """Return what becomes of findings. Where both speak of one, the suppression does: it ends."""
    findings = tuple(findings)
    there = {one.id for one in findings}
    in_force = {one.id: one for one in suppressions if one.until >= as_of}
    set_aside = tuple((one, in_force[one.id]) for one in findings if one.id in in_force)
    known = tuple(one for one in findings if one.id in (baseline or ()) and one.id not in in_force)
    return Standing(
        open=tuple(one for one in findings if one.id not in in_force and one.id not in (baseline or ())),
        known=known,
        suppressed=set_aside,
        expired=tuple(one for one in suppressions if one.id in there and one.id not in in_force),
        idle=tuple(one for one in suppressions if one.id not in there),
        gone=tuple(sorted(set(baseline or ()) - there)),
        has_baseline=baseline is not None,
    )


def read_suppressions(file: str, data: bytes) -> tuple[Suppression, ...]:
    """Read a suppressions file. Raises InvalidRequest, which names the file and the entry."""
    try:
        content = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _refused(f"{file}: {error}") from None
    except RecursionError:
        raise _refused(f"{file}: nested too deep") from None
    listed = content.pop("suppression", [])
    if content or not isinstance(listed, list):
        raise _refused(f"{file}: unknown key {next(iter(content), 'suppression')!r}")
    return tuple(_suppression(f"{file}: suppression {place}", one) for place, one in enumerate(listed, start=1))


def _suppression(where: str, one: Any) -> Suppression:
    if not isinstance(one, dict) or one.keys() != MEMBERS:
        wrong = sorted(MEMBERS.symmetric_difference(one if isinstance(one, dict) else ()))
        raise _refused(f"{where}: id, reason and until are needed, and nothing else: see {', '.join(wrong)}")
    id_, reason, until = one["id"], one["reason"], one["until"]
    if not (isinstance(id_, str) and id_ and isinstance(reason, str) and reason.strip()):
        raise _refused(f"{where}: id and reason are texts, and not empty")
    if type(until) is not date:  # a date and a time is a date too, and means another day elsewhere
        raise _refused(f"{where}: until is a day such as 2027-01-31, without quotes")
    return Suppression(id_, reason.strip(), until)


def read_baseline(file: str, data: bytes) -> frozenset[str]:
    """Read the ids of a baseline. Raises InvalidRequest."""
    try:
        content = json.loads(data)
        if content["taskbound_baseline"] != 1:
            raise ValueError("of another version")
        return frozenset(str(one["id"]) for one in content["findings"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _refused(f"{file} is no baseline", hint=f"taskbound discover --write-baseline {file}") from None


def render_baseline(findings: Iterable[Finding]) -> bytes:
    """Return findings as a baseline: their ids, with what a person needs to read it in a review."""
    listed = sorted(
        ({"id": one.id, "case": one.case, "severity": one.severity, "path": one.places[0].path} for one in findings),
        key=lambda one: (one["path"], one["case"], one["id"]),
    )
    return json.dumps({"taskbound_baseline": 1, "findings": listed}, indent=1).encode() + b"\n"


def _refused(message: str, hint: str = HINT) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_config", hint=hint)
