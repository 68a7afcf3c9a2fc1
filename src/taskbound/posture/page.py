"""Page: the report as one HTML file. It loads nothing, runs nothing, and is read in light, in dark and on a phone."""

from collections.abc import Iterator
from html import escape

from taskbound.posture.cases import CASES, SEVERITIES
from taskbound.posture.findings import Finding
from taskbound.posture.report import Held, Report, fix
from taskbound.posture.report.lines import first_lines, not_counted, totals
from taskbound.posture.sighting import Place

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--paper:#fff;--card:#f6f8fa;--line:#d0d7de;
--critical:#a40e26;--high:#b35900;--medium:#7a6400;--low:#0a5cad}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9aa4af;--paper:#0d1117;--card:#161b22;--line:#30363d;
--critical:#ff8182;--high:#f0a35e;--medium:#e3c14d;--low:#79b8ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:62rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:2.5rem 0 .75rem}h3{font-size:1rem;margin:0 0 .5rem}
.dim{color:var(--dim)}
.first{margin:0;padding:1rem 1rem 1rem 2.2rem;background:var(--card);border:1px solid var(--line);border-radius:8px}
.first li{margin:.2rem 0}
article{margin:0 0 1rem;padding:.9rem 1rem;background:var(--card);border:1px solid var(--line);
border-left:4px solid var(--tone);border-radius:8px}
.critical{--tone:var(--critical)}.high{--tone:var(--high)}.medium{--tone:var(--medium)}.low{--tone:var(--low)}
.tag{font-weight:600;color:var(--tone);text-transform:uppercase;font-size:.8rem;letter-spacing:.03em}
code{font:.875rem/1.5 ui-monospace,monospace}a{color:var(--low)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:1rem 0 0}
dl{display:grid;grid-template-columns:4.5rem 1fr;gap:.25rem .75rem;margin:0}dt{color:var(--dim)}dd{margin:0}
ul{margin:0;padding:0;list-style:none}.list li{padding:.4rem 0;border-top:1px solid var(--line)}
@media(max-width:34rem){dl{grid-template-columns:1fr;gap:0}dt{margin-top:.4rem}body{padding-top:1rem}}
@media print{article{break-inside:avoid}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def as_html(report: Report) -> str:
    """Return the report as a page. Everything that came from a file is escaped, and shown as it was written."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{spelled(f'Who holds what: {report.where}')}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield f"<h1>Who holds which credentials</h1>\n<p class=dim>As of {report.as_of}. {spelled(totals(report))}.</p>"
    aside = ", ".join(not_counted(report))
    yield f"<p class=dim>Not counted: {spelled(aside)}.</p>" if aside else ""
    yield '<ol class="first">'
    yield from (f"<li>{spelled(line)}</li>" for line in first_lines(report))
    yield "</ol>"
    found = {one: [each for each in report.open if each.severity == one] for one in SEVERITIES}
    lists = dict(_lists(report))
    counts = {title: len(some) for title, some in found.items()} | {title: len(rows) for title, rows in lists.items()}
    yield "<nav>"
    yield from (f'<a href="#{_anchor(one)}">{one.capitalize()}: {n:,}</a>' for one, n in counts.items() if n)
    yield "</nav>"
    yield f"<p class=dim>Paths are relative to {_code(report.within)}.</p>" if report.within else ""
    for severity, some in found.items():
        yield _heading(severity, f": {len(some):,}") if some else ""
        yield from (line for one in some for line in _finding(one, fix(report, one)))
    for title, rows in lists.items():
        if rows:
            yield f'{_heading(title)}\n<ul class="list">'
            yield from (f"<li>{row}</li>" for row in rows)
            yield "</ul>"
    yield "</body>\n</html>"


def _lists(report: Report) -> Iterator[tuple[str, list[str]]]:
    """Yield what is told beside the findings, by title: who holds what, what was set aside, what was not read."""
    yield "Credentials with more than one holder", [_held(one) for one in report.shared]
    yield "Credentials with one holder", [_held(one) for one in report.credentials if len(one.holders) == 1]
    standing = report.standing
    aside = [f"{_code(one.id)} until {why.until}: {spelled(why.reason)}" for one, why in standing.suppressed]
    aside += [
        f"{_code(one.id)} expired on {one.until}, hides nothing any more: {spelled(one.reason)}"
        for one in standing.expired
    ]
    aside += [
        f"{_code(one.id)} hides nothing any more: it spoke of fewer credentials (holds = {len(one.holds)})"
        for one, _ in standing.outgrown
    ]
    aside += [f"{_code(one.id)} hides nothing: there is no such finding" for one in standing.idle]
    aside += [f"{_code(one.id)} in the baseline: {spelled(CASES[one.case].title)}" for one in standing.known]
    yield "Set aside", aside
    yield "Not read", [f"{_code(one.path)} {spelled(one.why)}" for one in report.seen.unread]


def _heading(title: str, more: str = "") -> str:
    return f'<h2 id="{_anchor(title)}">{title.capitalize()}{more}</h2>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _finding(finding: Finding, command: str) -> Iterator[str]:
    case = CASES[finding.case]
    yield f'<article class="{finding.severity}" id="{spelled(finding.id)}">'
    yield f'<span class="tag">{finding.severity}</span> '
    yield f'<span class="dim">NHI{case.nhi}:2025 {spelled(finding.id)}</span>'
    yield f"<h3>{spelled(case.title)}</h3>\n<dl>"
    yield f"<dt>where</dt><dd>{'<br>'.join(map(_at, finding.places))}</dd>"
    yield f"<dt>what</dt><dd>{spelled(finding.says)}</dd>\n<dt>why</dt><dd>{spelled(case.why)}</dd>"
    yield f"<dt>owner</dt><dd>{spelled(finding.owner or 'not known')}</dd>"
    yield f"<dt>next</dt><dd>{spelled(finding.next)}</dd>"
    yield f"<dt>fix</dt><dd>{_code(command)}</dd>" if command else ""
    yield "</dl>\n</article>"


def _held(held: Held) -> str:
    places = "<br>".join(f"{spelled(one.holder.name)} {_at(one.place)}" for one in held.sightings)
    return f"<strong>{spelled(held.said)}</strong><br>{places}"


def _at(place: Place) -> str:
    return _code(f"{place.path}:{place.line}")


def _code(text: str) -> str:
    return f"<code>{spelled(text)}</code>"


def spelled(text: str) -> str:
    """Escape a text for content and attributes; what steers a reader's eye or terminal is spelled out."""
    return escape("".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text))
