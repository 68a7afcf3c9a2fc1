"""Table: the report for people, as lines: what matters first, then each finding with its evidence."""

from collections.abc import Iterator

from taskbound.posture.cases import CASES
from taskbound.posture.report import Report, fix
from taskbound.posture.report.lines import at, counted, first_lines, not_counted, totals

TOLD = 10  # files that were not read and are named one by one; --format json names all


def as_table(report: Report) -> Iterator[str]:
    yield from first_lines(report)
    yield from detail_lines(report)


def detail_lines(report: Report) -> Iterator[str]:
    """Yield what comes after the first lines: findings, who shares what, what was set aside, what was not read."""
    if report.within and report.open:
        yield from ("", f"paths are relative to {report.within}")
    for finding in report.open:
        case = CASES[finding.case]
        yield ""
        yield f"{finding.severity.upper():8}  {case.title}  NHI{case.nhi}:2025  {finding.id}"
        yield f"  at    {at(finding.places[0])}"
        yield from (f"  also  {at(one)}" for one in finding.places[1:])
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
        yield from (f"    {one.holder.name}  {at(one.place)}" for one in held.sightings)
    yield from _set_aside(report)
    yield from _not_counted(report)
    yield from _not_read(report)
    yield from ("", totals(report))


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
