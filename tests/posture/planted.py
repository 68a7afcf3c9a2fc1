"""Sees what lies in the planted organisations, and scores findings against what was planted there."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from taskbound.posture.cases import CASES
from taskbound.posture.detection import Detector
from taskbound.posture.findings import Finding
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Mark, Place, Sighting

PLANTED = Path(__file__).parents[1] / "data" / "planted-organisations"
ORGANISATIONS = tuple(sorted(one.name for one in PLANTED.iterdir() if one.is_dir()))
AS_OF = date(2026, 11, 1)


@dataclass(frozen=True, slots=True)
class Score:
    """`missed`: planted and not found. `false`: found where nothing may fire. `beside`: of nothing that was planted."""

    planted: int
    missed: tuple[str, ...]
    false: tuple[Finding, ...]
    beside: tuple[Finding, ...]


def key(organisation: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PLANTED / organisation / "expected.json").read_text())
    return found


def scored(organisation: str, findings: Sequence[Finding]) -> Score:
    expected = key(organisation)
    planted = expected["findings"]
    candidates = [[n for n, one in enumerate(findings) if _speaks_of(one, of)] for of in planted]
    owner: dict[int, int] = {}

    def match(which: int, tried: set[int]) -> bool:
        for result in candidates[which]:
            if result not in tried:
                tried.add(result)
                if result not in owner or match(owner[result], tried):
                    owner[result] = which
                    return True
        return False

    missed = tuple(f"{of['id']} {of['case']}" for n, of in enumerate(planted) if not match(n, set()))
    spoken_of = {n for found in candidates for n in found}
    others = [one for n, one in enumerate(findings) if n not in spoken_of]
    false = tuple(one for one in others if any(_near(p, m) for m in expected["must_not_fire"] for p in one.places))
    return Score(len(planted), missed, false, tuple(others))


def _speaks_of(one: Finding, planted: Mapping[str, Any]) -> bool:
    same = planted["nhi"] == f"NHI{CASES[one.case].nhi}:2025"
    return same and any(_near(place, evidence) for evidence in planted["evidence"] for place in one.places)


def _near(place: Place, evidence: Mapping[str, Any]) -> bool:
    line = evidence.get("line")
    return place.path == evidence["path"] and (line is None or abs(place.line - line) <= 1)


def mark(text: str, key: bytes = b"test") -> str:
    return hashlib.blake2b(text.encode(), key=key, digest_size=16).hexdigest()


def seen(organisation: str, mark: Mark = mark) -> Iterator[Sighting]:
    """Yield what stands in the organisation's files."""
    files, detector = PLANTED / organisation / "files", Detector(mark)
    for path in sorted(one for one in files.rglob("*") if one.is_file()):
        name = path.relative_to(files).as_posix()
        repository = name.split("/")[1] if name.startswith("repos/") else ""
        yield from scan(name, path.read_bytes(), repository, detector, mark).sightings
