"""Located: each hit with the line of its file and the value in which it lies.

The values of a document are searched with the name that each stands under, and its text as a whole, for what no
value shows: comments, keys, what could not be parsed. A hit of the text that lies in a value which was searched adds
something only where its kind is certain without a name.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from taskbound.posture.detection import Detector, Hit, Stopped
from taskbound.posture.document import Document
from taskbound.posture.values import Value, named, values

EFFORT = 1 << 28  # characters that are gone over to find the values of a document's hits: 0.1 s


@dataclass(frozen=True, slots=True)
class Located:
    """Hits with their lines, each with the value in which it lies, and why they are not all."""

    hits: "tuple[tuple[Hit, Value | None], ...]"
    problem: str = ""


def located(document: Document, data: bytes, detector: Detector, *, listed: bool) -> Located:
    """Return one hit for each credential on a line, of the kind that says most, in the order of lines.

    What was found until the search was ended, or failed, is kept. An exported list (`listed`) is about credentials:
    identifiers in it are references, and what only its name makes a credential is a digest or an id. What is certain
    by itself has leaked there too.
    """
    in_text, problem = _searched(data, detector)
    best = _Best()
    if listed:
        for hit in in_text:
            if not (_is_vague(hit) or hit.is_identifier):
                best.take(hit, hit.line + 1, None)
        return Located(best.ordered(), problem)
    there: list[Value] = []
    if not problem:  # what is ended once does not begin again
        try:
            for one in _in_values(document, detector, there if in_text else None):
                best.take(*one)
        except Exception as error:  # of whatever kind, the alarm of who waits too: what was found until then counts
            problem = _in_part(error)
    _place(in_text, data, there, best)
    return Located(best.ordered(), problem)


def _searched(data: bytes, detector: Detector) -> tuple[Sequence[Hit], str]:
    try:
        return detector.in_text(data), ""
    except Stopped as stopped:
        return stopped.hits, _in_part(stopped)


def _in_part(error: Exception) -> str:
    return f"it is searched in part ({error.why if isinstance(error, Stopped) else type(error).__name__})"


def _in_values(
    document: Document, detector: Detector, there: "list[Value] | None"
) -> "Iterator[tuple[Hit, int, Value | None]]":
    """Yield the hits in values, with lines; `there` gets every value, where it is asked for."""
    found = values(document)
    if there is not None:
        there += found
    if not found:
        return
    for place, hits in detector.in_values([named(one.name, one.text) for one in found]):
        yield from ((hit, found[place].node.line_of(hit.line), found[place]) for hit in hits)


def _place(in_text: Sequence[Hit], data: bytes, there: Sequence[Value], best: "_Best") -> None:
    """Take the hits of the text: those that no value has shown, and those that are certain."""
    beside = _Beside(there, {hit.line + 1 for hit in in_text}) if there else None
    for hit in in_text:
        line = hit.line + 1
        if best.has_better(hit, line):
            continue
        inside = beside.around(data[hit.start : hit.end].decode(errors="replace"), line) if beside else None
        if inside is None or not _is_vague(hit):
            best.take(hit, line, inside)


class _Best:
    """One hit for each credential on a line."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[Hit, Value | None]] = {}

    def has_better(self, hit: Hit, line: int) -> bool:
        """Whether what is known of it there says as much."""
        known = self._found.get((hit.mark, line))
        return known is not None and (_is_vague(hit) or not _is_vague(known[0]))

    def take(self, hit: Hit, line: int, value: "Value | None") -> None:
        if not self.has_better(hit, line):
            known = self._found.get((hit.mark, line))
            self._found[hit.mark, line] = (replace(hit, line=line), value or (known[1] if known else None))

    def ordered(self) -> "tuple[tuple[Hit, Value | None], ...]":
        return tuple(sorted(self._found.values(), key=_order))


def _order(found: "tuple[Hit, Value | None]") -> tuple[int, str, str, str]:
    """Line, kind, name, last characters; else as they were found. Never the mark: its key is another elsewhere."""
    hit, value = found
    return hit.line, hit.kind, value.name if value else "", hit.last4


def _is_vague(hit: Hit) -> bool:
    """Whether only the name beside it makes it a credential."""
    return hit.kind.startswith("generic")


class _Beside:
    """The values on some lines. Thousands may stand on one: they are one text, gone over once, in order."""

    def __init__(self, there: Iterable[Value], lines: Iterable[int]) -> None:
        self._values: list[Value] = []
        self._ranges: dict[int, tuple[int, int]] = {}  # of values, by line
        asked = set(lines)
        wanted = sorted(asked)
        for one in there:
            line, last = one.node.line, one.node.last
            if last > line:
                covered = wanted[bisect_left(wanted, line) : bisect_right(wanted, last)]
            else:
                covered = [line] if line in asked else []
            if covered:
                number = len(self._values)
                self._values.append(one)
                for line in covered:
                    self._ranges[line] = (self._ranges.get(line, (number, 0))[0], number)
        self._text = "\0".join(one.text for one in self._values)
        self._starts = [0]
        for one in self._values:
            self._starts.append(self._starts[-1] + len(one.text) + 1)
        self._at, self._left = 0, EFFORT

    def around(self, secret: str, line: int) -> Value | None:
        """Return the value on a line in which a text stands; from where the last one stood on, then before that."""
        if line not in self._ranges:
            return None
        first, last = self._ranges[line]
        begin, end = self._starts[first], self._starts[last + 1]
        middle = min(max(begin, self._at), end)
        return self._between(secret, line, middle, end) or self._between(secret, line, begin, middle + len(secret))

    def _between(self, secret: str, line: int, at: int, end: int) -> Value | None:
        while self._left > 0:
            found = self._text.find(secret, at, end)
            self._left -= (found if found >= 0 else end) - at + 1
            if found < 0:
                return None
            one = self._values[bisect_right(self._starts, found) - 1]
            if one.node.line <= line <= one.last:
                self._at = found
                return one
            at = found + 1
        return None
