"""Standing: which findings count, after those known before (baseline) and those set aside for a time (suppressions).

A suppression has a reason and a last day. From the day after that it hides nothing, and is told.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from taskbound.core.errors import InvalidRequest
from taskbound.core.refusal import nearest, problem, quoted, read_toml
from taskbound.posture.findings import Finding

HINT = 'each is spelled [[suppression]] with id = "…", reason = "…", until = 2027-01-31'
MEMBERS = ("id", "reason", "until", "holds")

Baseline = Mapping[str, tuple[str, ...]]  # what findings hold, by their ids


@dataclass(frozen=True, slots=True)
class Suppression:
    """A finding that is set aside until the end of a day."""

    id: str
    reason: str
    until: date
    holds: int = 1  # at most so many credentials: one that is added later is nobody's exception


@dataclass(frozen=True, slots=True)
class Standing:
    """What becomes of findings. Each is in one of `open`, `known` and `suppressed`."""

    open: tuple[Finding, ...]
    known: tuple[Finding, ...] = ()  # in the baseline
    suppressed: tuple[tuple[Finding, Suppression], ...] = ()
    expired: tuple[Suppression, ...] = ()  # of findings that are still there
    outgrown: tuple[tuple[Finding, Suppression], ...] = ()  # of findings that hold more than they say
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # since, to findings of the baseline
    idle: tuple[Suppression, ...] = ()  # of findings that are not there
    gone: tuple[str, ...] = ()  # ids of the baseline that are not there any more
    has_baseline: bool = False


def judge(
    findings: Iterable[Finding], baseline: Baseline | None, suppressions: Sequence[Suppression], as_of: date
) -> Standing:
    """Return what becomes of findings. Where both speak of one, the suppression does: it ends.

    A baseline and a suppression cover what the finding held then, and no credential that came to it since.
    """
    findings = tuple(findings)
    there = {one.id for one in findings}
    before = baseline or {}
    added = {one.id: _added(one, before[one.id]) for one in findings if one.id in before}
    not_over = {one.id: one for one in suppressions if one.until >= as_of}
    outgrown = tuple(
        (one, not_over[one.id]) for one in findings if one.id in not_over and len(one.holds) > not_over[one.id].holds
    )
    in_force = not_over.keys() - {one.id for one, _ in outgrown}
    others = tuple(one for one in findings if one.id not in in_force)
    return Standing(
        open=tuple(one for one in others if added.get(one.id, True)),
        known=tuple(one for one in others if not added.get(one.id, True)),
        suppressed=tuple((one, not_over[one.id]) for one in findings if one.id in in_force),
        expired=tuple(one for one in suppressions if one.id in there and one.id not in not_over),
        outgrown=outgrown,
        added={id: more for id, more in added.items() if more},
        idle=tuple(one for one in suppressions if one.id not in there),
        gone=tuple(sorted(before.keys() - there)),
        has_baseline=baseline is not None,
    )


def _added(finding: Finding, before: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a finding holds and did not before."""
    return tuple(sorted((Counter(finding.holds) - Counter(before)).elements()))


def read_suppressions(file: str, data: bytes) -> tuple[Suppression, ...]:
    """Read a suppressions file. Raises InvalidRequest, which names the file, the entry, and its line."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _refused(f"{file}: it is not UTF-8") from None
    content = read_toml(file, text, "invalid_config")
    try:
        for key in content:
            if key != "suppression":
                raise _refused(f"unknown key {quoted(key)}", f"{nearest(key, ['suppression'])} {HINT}")
        listed = content.get("suppression", [])
        if not isinstance(listed, list):
            raise _refused("'suppression' is no list of tables")
        return tuple(_suppression(f"suppression {place}", one) for place, one in enumerate(listed, start=1))
    except InvalidRequest as error:
        raise problem(file, text, str(error), hint=error.hint, code="invalid_config") from None


def _suppression(where: str, one: Any) -> Suppression:
    if not isinstance(one, dict):
        raise _refused(f"{where} is no table")
    for key in one:
        if key not in MEMBERS:
            raise _refused(f"{where}: unknown key {quoted(key)}", f"{nearest(key, MEMBERS)} {HINT}")
    if missing := [member for member in MEMBERS if member not in one and member != "holds"]:
        raise _refused(f"{where}: without {', '.join(missing)}")
    id_, reason, until, holds = one["id"], one["reason"], one["until"], one.get("holds", 1)
    if not (isinstance(id_, str) and id_ and isinstance(reason, str) and reason.strip()):
        raise _refused(f"{where}: id and reason are texts, and not empty")
    if type(until) is not date:  # a date and a time is a date too, and means another day elsewhere
        raise _refused(f"{where}: until is a day such as 2027-01-31, without quotes")
    if type(holds) is not int or holds < 1:
        raise _refused(f"{where}: holds is a number of credentials, 1 where it is left out")
    return Suppression(id_, reason.strip(), until, holds)


def read_baseline(file: str, data: bytes) -> Baseline:
    """Read what a baseline knows. Raises InvalidRequest."""
    try:
        content = json.loads(data)
        if content["taskbound_baseline"] != 2:
            raise ValueError("of another version")
        return {str(one["id"]): tuple(map(str, one["holds"])) for one in content["findings"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _refused(f"{file} is no baseline", hint="taskbound discover --write-baseline FILE") from None


def render_baseline(findings: Iterable[Finding]) -> bytes:
    """Return findings as a baseline: what they are known by and hold, with what a person needs in a review."""
    listed = sorted(
        (
            {"id": one.id, "case": one.case, "severity": one.severity, "path": one.places[0].path, "holds": one.holds}
            for one in findings
        ),
        key=lambda one: (one["path"], one["case"], one["id"]),
    )
    return json.dumps({"taskbound_baseline": 2, "findings": listed}, indent=1).encode() + b"\n"


def _refused(message: str, hint: str = HINT) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_config", hint=hint)
