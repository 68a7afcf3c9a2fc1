"""Figures: what was measured, as one line of a table that people and docs/figures.md read."""

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One line: what, the figure as people read it, what is to be reached, and whether it is (None: only stated)."""

    what: str
    said: str
    reach: str = ""
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        return {None: "stated", True: "reached", False: "NOT REACHED"}[self.reached]


def at(values: Iterable[float], share: float) -> float:
    """Return the value below which this share of the values lies; 0.5 is the median."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median of repetitions with the least and the most of them: "1,500 (1,400 to 1,600)"."""
    middle, least, most = (f"{one:,.{digits}f}" for one in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least} to {most})"


def machine() -> str:
    """Return what the figures were measured on, and when."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {date.today()},"
        f" load before the run {load}"
    )


def as_text(figures: Sequence[Figure]) -> list[str]:
    """Return the lines of a table for a terminal."""
    widths = [max([len(value(one)) for one in figures], default=0) for value in _COLUMNS]
    return [
        "  ".join(f"{value(one):{width}}" for value, width in zip(_COLUMNS, widths, strict=True)).rstrip()
        for one in figures
    ]


def as_markdown(figures: Sequence[Figure]) -> list[str]:
    """Return the lines of a table for docs/figures.md."""
    rows = ["| What | Measured | Reach | |", "|---|---|---|---|"]
    return rows + [f"| {' | '.join(value(one).replace('|', '/') for value in _COLUMNS)} |" for one in figures]


_COLUMNS: tuple[Callable[[Figure], str], ...] = (
    lambda one: one.what,
    lambda one: one.said,
    lambda one: one.reach,
    lambda one: one.verdict,
)
