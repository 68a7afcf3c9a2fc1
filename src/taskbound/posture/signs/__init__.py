"""Signs: what a file itself says is weak, in whatever language it says so.

Not looked at: prose, logs, transcripts and histories (they tell what was, not what is), what is made to be copied
(`.env.example`), tests, and lines that are comments.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from taskbound.posture.cases import CASES
from taskbound.posture.document import Document
from taskbound.posture.harmless import is_docstring
from taskbound.posture.readers.reading import Notes
from taskbound.posture.shapes import SHAPES
from taskbound.posture.sighting import Sighting, Weakness
from taskbound.posture.signs import clouds, doors, lifetimes, rights, services, tokens, transport, trust
from taskbound.posture.signs.sign import Sign, Spot

SIGNS: tuple[Sign, ...] = (
    *transport.SIGNS,
    *doors.SIGNS,
    *tokens.SIGNS,
    *rights.SIGNS,
    *trust.SIGNS,
    *lifetimes.SIGNS,
    *clouds.SIGNS,
    *services.SIGNS,
)
PIPELINES = "static-cloud-key-in-pipeline"  # its subject is the pipeline, as its reader names it
MOST = 200  # places of one file that are looked at: what says the same a thousand times is data
TRIED = 400  # places of one file at which one sign is tried: a person has written fewer
WIDTH = 2000  # bytes of a line, before and after a sign
ABOVE = 3000  # bytes before the line, in which a condition is looked for
LINES = 8  # before and after, in which what belongs to a sign is looked for
BEFORE, AFTER = 480, 600  # bytes around the end of a match: no expression matches more
_SKIPPED = re.compile(
    r"\.(?:md|mdx|rst|adoc|txt|pyi|control|log|jsonl|ndjson|csv|tsv|html?|svg|ipynb|po|css|lock|sum|map|min\.js|gz|bak)(?:\.\d+)?$"
    r"|(?:^|/)(?:tests?|__tests__|spec|fixtures?|testdata|mocks?|examples?|benchmarks?|vendor|third_party|node_modules|docs?)/"
    r"|(?:^|/)[^/]*(?:_test\.go|\.test\.[jt]sx?|\.spec\.[jt]sx?|_spec\.rb|Tests?\.(?:java|cs|kt))$|(?:^|/)(?:test_[^/]*|conftest)\.py$"
    r"|[._-](?:example|sample|template|dist|tmpl)(?:\.[\w]+)?$|(?:^|/)(?:package-lock\.json|pnpm-lock\.yaml|CHANGELOG[^/]*)$"
    r"|(?:^|/)\.(?:\w*_)?history$",
    re.I,
)
_NOTHING = re.compile(r"[:=(,\[][ \t]*None\b\W?$")  # of Python: an argument that was not given, and no word "none"
_COMMENT = re.compile(r"\s*(?:#|//|/?\*|--\s|;|<!--|REM\s|dnl\s)", re.I)


def weaknesses(
    document: Document,
    data: bytes,
    repository: str,
    words: Sequence[tuple[int, int]],
    shaped: Set[int],
    known: Iterable[Sighting] = (),
) -> tuple[Sighting, ...]:
    """Return what a file says is weak, but what is `known` to be, by its readers, on the same lines.

    `words`: where an anchor of a sign ends, and the sign's number, in order. `shaped`: numbers of the shapes of which
    an anchor is there.
    """
    if not (words or shaped) or _SKIPPED.search(document.path):
        return ()
    notes = _shaped(document, repository, shaped if document.roots else frozenset())
    told = _places(known)
    notes.sightings = [one for one in notes.sightings if not _is_told(one, told)]
    told |= _places(notes.sightings)
    said: set[tuple[str, int]] = set()  # one line may say one thing in two ways
    for sign, says, line in _seen(document, data, notes.environment(), words) if words else ():
        if (sign.case, line) in said:
            continue
        said.add((sign.case, line))
        if not any((CASES[sign.case].nhi, line + beside) in told for beside in (-1, 0, 1)):
            subject = f"{'ci' if sign.case == PIPELINES else sign.case}:{notes.file}"
            notes.weakness(sign.case, notes.named(subject), line, f"{notes.named(notes.file)} {says}.")
    return tuple(notes.sightings)


def _shaped(document: Document, repository: str, which: Set[int]) -> Notes:
    """Return the notes of the readers of shapes that could find anything."""
    notes = Notes(document, repository)
    for number in sorted(which):
        SHAPES[number][1](document, notes)
    return notes


def _places(of: Iterable[Sighting]) -> set[tuple[int, int]]:
    """The numbers and lines of what is told already; one matter is told once, whoever sees it."""
    return {
        (CASES[one.case].nhi, place.line)
        for one in of
        if isinstance(one, Weakness) and one.case in CASES
        for place in (one.place, *one.more)
    }


def _is_told(one: Sighting, told: set[tuple[int, int]]) -> bool:
    return isinstance(one, Weakness) and any(
        (CASES[one.case].nhi, one.place.line + beside) in told for beside in (-1, 0, 1)
    )


def _seen(
    document: Document, data: bytes, environment: str, found: Sequence[tuple[int, int]]
) -> "Iterator[tuple[Sign, str, int]]":
    """Yield each sign that counts, what is said of it, and its line."""
    looked: set[tuple[int, int]] = set()
    is_python = document.path.endswith(".py")
    tried = Counter[int]()
    for end, number in found:
        tried[number] += 1
        if len(looked) >= MOST or tried[number] > TRIED:
            continue
        sign = SIGNS[number]
        begins = max(data.rfind(b"\n", 0, end - 1) + 1, end - BEFORE)
        if _COMMENT.match(data[begins:end].decode("latin-1")):
            continue
        first = max(0, begins - 160) if sign.goes_back else begins
        text = data[first : end + AFTER].decode("latin-1")  # a character a byte, so that places are those of the data
        match = _covering(sign.compiled, text, end - first)
        if match is None:
            continue
        if is_python and _NOTHING.search(match[0]):
            continue
        at = first + match.start() + len(match[0].rstrip())
        begin, stop = data.rfind(b"\n", 0, max(0, at - 1)) + 1, _end(data, at)
        if (number, begin) in looked:
            continue
        looked.add((number, begin))
        line = data[max(begin, at - WIDTH) : min(stop, at + WIDTH)].decode("utf-8", "replace")
        if _COMMENT.match(line) or (sign.excused and sign.excused.search(line)):
            continue
        spot = Spot(
            document.path,
            environment,
            match,
            line,
            _around(data, begin, stop, at),
            data[max(0, begin - ABOVE) : begin].decode("utf-8", "replace"),
            text[match.start() :],
        )
        said = sign.only(spot)
        if said and not (is_python and is_docstring(data, begin)):
            yield sign, said if isinstance(said, str) else sign.says, data.count(b"\n", 0, begin) + 1


def _covering(expression: "re.Pattern[str]", text: str, place: int) -> "re.Match[str] | None":
    """Return the first match that begins before a place and ends there or later: what follows is not looked through."""
    at = 0
    while at < place:
        match = expression.match(text, at)
        if match and place <= match.end() + 1:
            return match
        at = max(match.end(), at + 1) if match else at + 1
    return None


def _end(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    return end if end >= 0 else len(data)


def _around(data: bytes, begin: int, stop: int, at: int) -> str:
    """The lines before and after a line, and itself, as far as they are near."""
    for _ in range(LINES):
        begin = data.rfind(b"\n", 0, max(0, begin - 1)) + 1
        stop = _end(data, min(len(data), stop + 1))
    return data[max(begin, at - 8192) : min(stop, at + 8192)].decode("utf-8", "replace")
