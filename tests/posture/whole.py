"""A small organisation of a few files, from bytes to findings: as `discover` sees it, without files and processes."""

from collections.abc import Mapping
from datetime import date
from functools import cache

from taskbound.posture.anchors import anchored
from taskbound.posture.detection import Detector
from taskbound.posture.findings import Finding, find
from taskbound.posture.parsers import parse
from taskbound.posture.scan import scan
from taskbound.posture.sighting import Sighting
from taskbound.posture.signs import weaknesses
from tests.posture.planted import mark

AS_OF = date(2031, 5, 1)


@cache
def detector() -> Detector:
    return Detector(mark)


def findings(files: Mapping[str, str], as_of: date = AS_OF) -> list[Finding]:
    """Return what is wrong in files, by their paths; the repository is the folder after `repos`."""
    seen: list[Sighting] = []
    for path, text in files.items():
        repository = path.split("/")[1] if path.startswith("repos/") else ""
        scanned = scan(path, text.encode(), repository, detector(), mark)
        assert not scanned.problem, (path, scanned.problem)
        seen += scanned.sightings
    return find(seen, as_of)


def places(case: str, files: Mapping[str, str]) -> set[tuple[str, int]]:
    """Return where findings of a case have their first place."""
    return {(one.places[0].path, one.places[0].line) for one in findings(files) if one.case == case}


def said(path: str, data: bytes, *known: Sighting) -> tuple[Sighting, ...]:
    """Return what a file itself says is weak."""
    there = anchored(data)
    return weaknesses(parse(path, data), data, "shop", there.signs, there.shapes, known)
