"""Report: what a scan has found, for people and for machines. The first five lines are for who never heard of us."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property, partial
from typing import Any

from taskbound.formats import sarif
from taskbound.posture.cases import CASES, CRITICAL, FIXABLE, HIGH, LOW, MEDIUM, SEVERITIES
from taskbound.posture.findings import PLACES, Finding
from taskbound.posture.inventory import LOGINS, Inventory
from taskbound.posture.seen import Seen, Unread
from taskbound.posture.sighting import Credential, Holder, Place, Principal, Sighting
from taskbound.posture.standing import Standing

KINDS = {  # of holders: one, several
    "agent": ("agent or MCP server", "agents and MCP servers"),
    "pipeline": ("pipeline", "pipelines"),
    "workload": ("workload", "workloads"),
    "infrastructure": ("piece of infrastructure code", "pieces of infrastructure code"),
}
LEVEL = {CRITICAL: "error", HIGH: "error", MEDIUM: "warning", LOW: "note"}  # of SARIF
SCORE = {CRITICAL: "9.5", HIGH: "8.0", MEDIUM: "5.5", LOW: "2.5"}  # bounds of code scanning: 9.0, 7.0, 4.0
NAMED = 3  # holders that a line names before it says how many more there are
TOLD = 10  # files that were not read and are named one by one; --format json names all


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
        return tuple(sorted(self.standing.open, key=_rank))


def _held_as(secrets: Sequence[Credential], all_: tuple[Credential, ...]) -> Held:
    return Held(secrets[0].mark, _kind(secrets), secrets[0].last4, all_)


def _kind(some: Sequence[Credential]) -> str:
    """Return what a credential is, as the place says that says most of it."""
    return next((one.kind for one in some if not one.kind.startswith("generic")), some[0].kind)


def _rank(finding: Finding) -> tuple[int, int, int, Place, str]:
    """The worst first; of two that are as bad the one that more files say together: nobody who reads one sees it."""
    files = {one.path for one in finding.places}
    return SEVERITIES.index(finding.severity), -len(files), -len(finding.subjects), finding.places[0], finding.case


# --- for people ------------------------------------------------------------------------------------


def first_lines(report: Report) -> tuple[str, ...]:
    """Return the five lines that matter: who is there, what they hold, who shares it, the worst, what to do."""
    return (
        f"{_who(report)} in {_where(report)}",
        _what(report),
        _shared(report),
        _worst(report),
        f"next: {_next(report)}",
    )


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


def counted(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _who(report: Report) -> str:
    found = Counter(one.kind for one in report.seen.holders)
    told = [counted(found[kind], *words) for kind, words in KINDS.items() if found[kind]]
    identities = len({one.id for one in report.seen.sightings if isinstance(one, Principal)})
    told += [counted(identities, "identity", "identities")] if identities else []
    return ", ".join(told) or "no agent, pipeline or workload"


def _where(report: Report) -> str:
    seen = report.seen
    within = f" of {counted(len(seen.repositories), 'repository', 'repositories')}" if seen.repositories else ""
    asked = f" and {counted(seen.servers, 'server')}" if seen.servers else ""
    where = "this folder" if report.where == "." else report.where
    return f"{counted(seen.files, 'file')}{within}{asked} ({where}, {report.seconds:.1f} s)"


def _what(report: Report) -> str:
    held = report.credentials
    if not held:
        return "no credential lies open"
    places = {one.place for credential in held for one in credential.sightings}
    paths = {one.path for one in places}
    lie = "lies" if len(held) == 1 else "lie"
    spread = f"{counted(len(places), 'place')} of {counted(len(paths), 'file')}"
    return f"{counted(len(held), 'credential')} {lie} open in {spread}"


def _shared(report: Report) -> str:
    shared = report.shared
    if not shared:
        return "none is seen to be held by more than one"
    verb = "is" if len(shared) == 1 else "are"
    return f"{len(shared):,} {verb} shared: {shared[0].said} by {names(shared[0].holders)}"


def names(holders: Sequence[Holder]) -> str:
    told = [one.name for one in holders[:NAMED]]
    more = len(holders) - len(told)
    *first, last = [*told, f"{more:,} more"] if more else told
    return f"{', '.join(first)} and {last}" if first else last


def _worst(report: Report) -> str:
    if not report.open:
        return "worst: no finding is open"
    worst = report.open[0]
    return f"worst: {worst.severity}: {CASES[worst.case].title}, {_at(worst.places[0])}"


def _next(report: Report) -> str:
    """Return what to type: what shows how the worst is mended and changes nothing, else what a person does about it."""
    if not report.open:
        return _nothing_left(report)
    command = fix(report, report.open[0])
    return f"{command} --dry-run" if command else report.open[0].next


def _nothing_left(report: Report) -> str:
    if report.seen.unread:
        return "see what was not read"
    return "taskbound discover --home" if "~" not in report.where else "taskbound up"


def _at(place: Place) -> str:
    return f"{place.path}:{place.line}"


def detail_lines(report: Report) -> Iterator[str]:
    """Yield what comes after the first lines: findings, who shares what, what was set aside, what was not read."""
    if report.within and report.open:
        yield from ("", f"paths are relative to {report.within}")
    for finding in report.open:
        case = CASES[finding.case]
        yield ""
        yield f"{finding.severity.upper():8}  {case.title}  NHI{case.nhi}:2025  {finding.id}"
        yield f"  at    {_at(finding.places[0])}"
        yield from (f"  also  {_at(one)}" for one in finding.places[1:])
        yield f"  what  {finding.says}"
        if more := report.standing.added.get(finding.id):
            yield f"  new   since the baseline: {', '.join(more)}"
        yield f"  why   {case.why}"
        yield f"  owner {finding.owner or 'not known'}"
        yield f"  next  {finding.next}"
        if command := fix(report, finding):
            yield f"  fix   {command}  (--dry-run shows what it would change)"
    if report.shared:
        yield from ("", "SHARED CREDENTIALS")
    for held in report.shared:
        yield f"  {held.said}"
        yield from (f"    {one.holder.name}  {_at(one.place)}" for one in held.sightings)
    yield from _set_aside(report)
    yield from _not_counted(report)
    yield from _not_read(report)
    yield from ("", totals(report))


def totals(report: Report) -> str:
    counts = Counter(one.severity for one in report.open)
    told = ", ".join(f"{counts[one]} {one}" for one in SEVERITIES if counts[one])
    aside = [
        f"{len(some)} {what}"
        for what, some in (("in the baseline", report.standing.known), ("suppressed", report.standing.suppressed))
        if some
    ]
    return "; ".join([f"{counted(len(report.open), 'finding')}{': ' + told if told else ''}", *aside])


def _set_aside(report: Report) -> Iterator[str]:
    standing = report.standing
    lines = [
        *(f"  {one.id}  until {why.until}: {why.reason}" for one, why in standing.suppressed),
        *(f"  {one.id}  EXPIRED on {one.until}, hides nothing any more: {one.reason}" for one in standing.expired),
        *(
            f"  {one.id}  hides nothing any more: of {counted(why.holds, 'credential')} it spoke, now it is"
            f" {len(one.holds)} (holds = {len(one.holds)})"
            for one, why in standing.outgrown
        ),
        *(f"  {one.id}  hides nothing: there is no such finding" for one in standing.idle),
    ]
    yield from ("", "SUPPRESSIONS", *lines) if lines else ()
    if standing.gone:
        yield from ("", f"{counted(len(standing.gone), 'finding')} of the baseline gone")


def _not_counted(report: Report) -> Iterator[str]:
    if some := not_counted(report):
        yield from ("", f"NOT COUNTED  {', '.join(some)}")


def not_counted(report: Report) -> list[str]:
    """Return how many credentials were found and are no finding, by why."""
    told = (
        ("ended", "token past its own end", "tokens past their own end"),
        ("made_up", "value that stands in tests and examples alone", "values that stand in tests and examples alone"),
    )
    found = report.inventory.not_counted
    return [counted(found[why], one, several) for why, one, several in told if found[why]]


def _not_read(report: Report) -> Iterator[str]:
    unread = report.seen.unread
    if unread:
        servers = {one.path for one in unread if "://" in one.path}
        files = sum(one.path not in servers for one in unread)
        told = [counted(files, "file")] if files or not servers else []
        told += [counted(len(servers), "server")] if servers else []
        yield from ("", f"NOT READ, OR NOT TO THE END  {', '.join(told)}")
        yield from (f"  {one.path}: {one.why}" for one in unread[:TOLD])
    if len(unread) > TOLD:
        yield f"  and {len(unread) - TOLD:,} more (--format json names all)"


# --- for machines ----------------------------------------------------------------------------------


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
            *(_finding(report, one, "known") for one in sorted(standing.known, key=_rank)),
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


def as_sarif(report: Report, version: str) -> dict[str, Any]:
    """Return the report as SARIF: one number of OWASP NHI for a result, on the result."""
    standing = report.standing
    fresh = "new" if standing.has_baseline else ""
    result = partial(_result, within=report.within)
    results = [
        *(result(one, baseline=fresh) for one in report.open),
        *(result(one, baseline="unchanged") for one in sorted(standing.known, key=_rank)),
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


def at_least(findings: Iterable[Finding], severity: str) -> bool:
    """Return whether one of the findings is as bad as that, or worse."""
    return any(SEVERITIES.index(one.severity) <= SEVERITIES.index(severity) for one in findings)


def as_table(report: Report) -> Iterator[str]:
    yield from first_lines(report)
    yield from detail_lines(report)
