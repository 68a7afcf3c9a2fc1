"""Lines: the five that are told first, for who never heard of us, and those that count."""

from collections import Counter
from collections.abc import Sequence

from taskbound.posture.cases import CASES, SEVERITIES
from taskbound.posture.report import Report, fix
from taskbound.posture.sighting import Holder, Place, Principal

KINDS = {  # of holders: one, several
    "agent": ("agent or MCP server", "agents and MCP servers"),
    "pipeline": ("pipeline", "pipelines"),
    "workload": ("workload", "workloads"),
    "infrastructure": ("piece of infrastructure code", "pieces of infrastructure code"),
}
NAMED = 3  # holders that a line names before it says how many more there are


def first_lines(report: Report) -> tuple[str, ...]:
    """Return the five lines that matter: who is there, what they hold, who shares it, the worst, what to do."""
    return (
        f"{_who(report)} in {_where(report)}",
        _what(report),
        _shared(report),
        _worst(report),
        f"next: {_next(report)}",
    )


def totals(report: Report) -> str:
    counts = Counter(one.severity for one in report.open)
    told = ", ".join(f"{counts[one]} {one}" for one in SEVERITIES if counts[one])
    aside = [
        f"{len(some)} {what}"
        for what, some in (("in the baseline", report.standing.known), ("suppressed", report.standing.suppressed))
        if some
    ]
    return "; ".join([f"{counted(len(report.open), 'finding')}{': ' + told if told else ''}", *aside])


def not_counted(report: Report) -> list[str]:
    """Return how many credentials were found and are no finding, by why."""
    told = (
        ("ended", "token past its own end", "tokens past their own end"),
        ("made_up", "value that stands in tests and examples alone", "values that stand in tests and examples alone"),
    )
    found = report.inventory.not_counted
    return [counted(found[why], one, several) for why, one, several in told if found[why]]


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
    return f"worst: {worst.severity}: {CASES[worst.case].title}, {at(worst.places[0])}"


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


def at(place: Place) -> str:
    return f"{place.path}:{place.line}"
