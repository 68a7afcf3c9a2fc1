"""Risks: the findings that a registry keeps, as they stand at a moment: open, accepted, expired; what is left of them.

`expired` is open too: somebody answered for it, and the day is over. Texts of findings come from files that anybody may
have written. In a table for a spreadsheet none of them begins a formula (CWE-1236); in a page all of them are spelled.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from taskbound.posture.cases import CASES, SEVERITIES
from taskbound.posture.page import POLICY, STYLE, spelled

STANDINGS = ("open", "expired", "accepted")  # in the order in which they are told
COLUMNS = (
    "standing", "severity", "id", "seen_as", "title", "says", "place", "owner", "accepted_by", "until", "reason",
    "kept", "raised", "next",
)  # fmt: skip
# How a cell begins that is calculated, also one that a spreadsheet of another country sees behind a ";".
# Behind one a quote may be taken for that of a cell.
FORMULA = re.compile(r"(^|[;|,])([\s\"]*)(?=[=+@\-＝＋－＠])")


@dataclass(frozen=True, slots=True)
class Risk:
    """One finding that is not closed."""

    standing: str
    of: Mapping[str, Any]  # as GET /v1/findings tells it

    @property
    def title(self) -> str:
        case = self.of["case"]
        return CASES[case].title if case in CASES else str(case)

    @property
    def place(self) -> str:
        first, *more = self.of["places"]
        return f"{first['path']}:{first['line']}" + (f" and {len(more)} more" if more else "")

    def row(self) -> dict[str, str]:
        """Return what each column says."""
        own = {"standing": self.standing, "title": self.title, "place": self.place}
        return {name: own[name] if name in own else str(self.of[name] or "") for name in COLUMNS}


def risks(found: Iterable[Mapping[str, Any]], now: datetime) -> list[Risk]:
    """Return what is not closed, by standing, the worst first."""
    known = [Risk(_standing(one, now), one) for one in found if one["state"] != "closed"]
    return sorted(
        known,
        key=lambda one: (STANDINGS.index(one.standing), SEVERITIES.index(one.of["severity"]), one.of["id"]),
    )


def _standing(one: Mapping[str, Any], now: datetime) -> str:
    if one["state"] == "accepted" and now < datetime.fromisoformat(one["until"]):
        return "accepted"
    return "expired" if one["accepted_by"] else "open"


def summary(known: Iterable[Risk]) -> str:
    """Return the residual risk in a sentence."""
    counts = Counter((one.standing, one.of["severity"]) for one in known)
    told = []
    for standing in STANDINGS:
        each = [f"{counts[standing, one]} {one}" for one in SEVERITIES if counts[standing, one]]
        if each:
            told.append(f"{standing}: {', '.join(each)}")
    return f"residual risk: {'; '.join(told) or 'none is known'}"


def as_csv(known: Iterable[Risk]) -> Iterator[str]:
    """Yield lines of RFC 4180, each cell in quotes, none of which a spreadsheet calculates."""
    yield ",".join(map(_cell, COLUMNS))
    for one in known:
        yield ",".join(map(_cell, one.row().values()))


def _cell(text: str) -> str:
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return '"' + _inert(text).replace('"', '""') + '"'


def _inert(text: str) -> str:
    """Return a text in which nothing is calculated."""
    return FORMULA.sub(r"\1\2'", text)


def as_html(known: Iterable[Risk], now: datetime) -> Iterator[str]:
    """Yield a page that loads nothing and runs nothing."""
    known = list(known)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Residual risk</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Residual risk</h1>"
    told = summary(known).removeprefix("residual risk: ").capitalize()
    yield f"<p class=dim>At {now:%Y-%m-%d %H:%M} UTC. {spelled(told)}.</p>"
    for standing in STANDINGS:
        some = [one for one in known if one.standing == standing]
        if some:
            yield f"<h2>{standing.capitalize()}: {len(some)}</h2>"
        for one in some:
            yield from _article(one)
    yield "</body>\n</html>"


def _article(risk: Risk) -> Iterator[str]:
    row = risk.row()
    yield f'<article class="{spelled(row["severity"])}"><span class="tag">{spelled(row["severity"])}</span>'
    yield f'<span class="dim">{spelled(row["id"])} {spelled(row["seen_as"])}</span>'
    yield f"<h3>{spelled(row['title'])}</h3>\n<dl>"
    told = (
        ("where", row["place"]),
        ("what", row["says"]),
        ("owner", row["owner"] or "not known"),
        ("accepted", f"by {_who(row)}" if row["accepted_by"] else ""),
        ("kept", row["kept"]),
        ("since", row["raised"]),
        ("next", row["next"]),
    )
    yield from (f"<dt>{name}</dt><dd>{spelled(text)}</dd>" for name, text in told if text)
    yield "</dl>\n</article>"


def _who(row: Mapping[str, str]) -> str:
    return f"{row['accepted_by']} until {last_day(row['until'])}: {row['reason']}"


def last_day(until: str) -> str:
    """Return the last day before a midnight, which is the one that was named; another moment as it stands."""
    try:
        moment = datetime.fromisoformat(until).astimezone(UTC)
    except ValueError:
        return until
    return f"{moment.date() - timedelta(days=1)}" if moment.timetz() == time.min.replace(tzinfo=UTC) else until


def as_table(known: Iterable[Risk]) -> Iterator[str]:
    """Yield lines for a terminal."""
    known = list(known)
    yield summary(known)
    for one in known:
        row = one.row()
        yield ""
        yield f"{row['standing'].upper():8}  {row['severity']:8}  {row['title']}  {row['id']}  {row['seen_as']}"
        yield f"  at       {row['place']}"
        yield f"  what     {row['says']}"
        if row["accepted_by"]:
            yield f"  accepted by {_who(row)}"
        if row["kept"]:
            yield f"  kept     {row['kept']}"
        yield f"  next     {row['next']}"
