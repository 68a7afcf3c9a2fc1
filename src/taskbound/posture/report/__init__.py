"""Report: what a scan has found, as it is told. How it is spelled for people and for machines stands beside it."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from taskbound.posture.cases import FIXABLE, SEVERITIES
from taskbound.posture.findings import PLACES, Finding
from taskbound.posture.inventory import Inventory
from taskbound.posture.seen import Seen, Unread
from taskbound.posture.sighting import Credential, Holder, Place, Sighting
from taskbound.posture.standing import Standing


@dataclass(frozen=True, slots=True)
class Held:
    """One credential, in all the places where it was seen."""

    mark: str
    kind: str
    last4: str
    sightings: tuple[Credential, ...]

    @property
    def holders(self) -> tuple[Holder, ...]:
        return tuple(dict.fromkeys(one.holder for one in self.sightings))

    @property
    def said(self) -> str:
        return f"{self.kind} …{self.last4}" if self.last4 else self.kind


@dataclass(slots=True)
class Gathered:
    """What a discoverer has seen until now."""

    sightings: list[Sighting] = field(default_factory=list)
    holders: dict[Holder, None] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    files: int = 0
    skipped: int = 0
    size: int = 0
    known: int = 0
    servers: int = 0
    places: int = 0  # where a credential was seen

    def add(self, seen: Seen) -> None:
        self.sightings += seen.sightings
        holding = [one.holder for one in seen.sightings if isinstance(one, Credential)]
        self.holders.update(dict.fromkeys((*seen.holders, *holding)))
        self.places += len(holding)
        self.unread += seen.unread
        self.repositories += seen.repositories
        self.files += seen.files
        self.skipped += seen.skipped
        self.size += seen.size
        self.servers += seen.servers
        self.known = seen.known or self.known


@dataclass(frozen=True)
class Report:
    """All that is told. `where`: what was looked at, as it was named."""

    where: str
    as_of: date
    seen: Gathered
    standing: Standing
    seconds: float
    again: str = ""  # the words by which a command looks at the same; "": it does so without any
    within: str = ""  # the folder that paths are relative to, where it is not this one
    by_file: bool = False  # only files were named: those of a finding are enough to look at it again

    @cached_property
    def inventory(self) -> Inventory:
        return Inventory(self.seen.sightings, self.as_of)

    @cached_property
    def credentials(self) -> tuple[Held, ...]:
        """Every credential, those with the most holders first. An access key's id and its secret are one.

        An id whose secret is nowhere to be seen opens nothing, and is none; findings tell what is wrong with it.
        """
        held = (_held_as(unit.secrets, unit.credentials) for unit in self.inventory.units if unit.secrets)
        return tuple(sorted(held, key=lambda one: (-len(one.holders), one.sightings[0].place)))

    @cached_property
    def shared(self) -> tuple[Held, ...]:
        return tuple(one for one in self.credentials if len(one.holders) > 1)

    @cached_property
    def open(self) -> tuple[Finding, ...]:
        """The findings that count, the worst first."""
        return tuple(sorted(self.standing.open, key=rank))


def _held_as(secrets: Sequence[Credential], all_: tuple[Credential, ...]) -> Held:
    return Held(secrets[0].mark, _kind(secrets), secrets[0].last4, all_)


def _kind(some: Sequence[Credential]) -> str:
    """Return what a credential is, as the place says that says most of it."""
    return next((one.kind for one in some if not one.kind.startswith("generic")), some[0].kind)


def rank(finding: Finding) -> tuple[int, int, int, Place, str]:
    """The worst first; of two that are as bad the one that more files say together: nobody who reads one sees it."""
    files = {one.path for one in finding.places}
    return SEVERITIES.index(finding.severity), -len(files), -len(finding.subjects), finding.places[0], finding.case


def fix(report: Report, finding: Finding) -> str:
    """Return the command that mends a finding, as it is typed where this report was asked for; "": there is none."""
    is_packed = any("!/" in one.path for one in finding.places)  # in an archive, or in what git keeps
    if finding.case not in FIXABLE or is_packed:
        return ""
    files = dict.fromkeys(word(one.path) for one in finding.places)
    is_whole = report.by_file and len(finding.places) < PLACES  # else there may be more places than are told
    return " ".join(filter(None, ("taskbound fix", finding.id, " ".join(files) if is_whole else report.again)))


def word(path: str) -> str:
    """Return a path as one word of a shell, which is no option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def at_least(findings: Iterable[Finding], severity: str) -> bool:
    """Return whether one of the findings is as bad as that, or worse."""
    return any(SEVERITIES.index(one.severity) <= SEVERITIES.index(severity) for one in findings)
