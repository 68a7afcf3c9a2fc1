"""Scan: what stands in one file. It is parsed, read for who holds what, searched; each hit gets its holder.

A parser that fails costs its file the structure, not the search; a search that is ended costs what was not found yet.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

from taskbound.posture.anchors import NONE, Anchored, anchored, in_code
from taskbound.posture.beside import beside
from taskbound.posture.detection import Detector, Hit, Stopped
from taskbound.posture.document import CODE, Document
from taskbound.posture.exports import read_columns, read_export
from taskbound.posture.harmless import MADE_UP, dead_lines, is_locked, is_sealed, is_shown
from taskbound.posture.held import Holdings
from taskbound.posture.located import located
from taskbound.posture.parsers import asked_of, parse
from taskbound.posture.readers import Reading, may_read_code, read
from taskbound.posture.seen import NOTHING, Scanned
from taskbound.posture.sighting import (
    Credential,
    Holder,
    Holding,
    Mark,
    Place,
    Principal,
    Remark,
    Sighting,
    Weakness,
)
from taskbound.posture.signs import weaknesses
from taskbound.posture.twice import Said, Twice, Way
from taskbound.posture.values import FLAT, Value

BY_LINE = (".jsonl", ".ndjson", ".log", ".csv", ".tsv")  # a part of such a file is as good as a whole one
SOURCE, PART = "source", "part"


def scan(
    path: str,
    data: bytes,
    repository: str,
    detector: Detector,
    mark: Mark,
    *,
    whole: bool = True,
    twice: Twice | None = None,
) -> Scanned:
    """Return what stands in a file, or in a part of one, with lines counted from the data's first.

    `twice`: what texts said that were looked at before, by the same detector.
    """
    way = _way(path, whole)
    key = twice.key(data, way) if twice and way != PART else None
    known = twice.get(key) if twice and key else None
    lost = ""
    if way == SOURCE:
        if known is None:
            there, lost = _anchored(data)
            known = Said(None, in_code(there), located(Document(path, "text", ()), data, detector, listed=False))
            if twice and key and not (lost or known.found.problem):
                twice.keep(key, known)
        if known.is_silent and not may_read_code(path):
            problem = lost or known.found.problem
            return Scanned(problem=problem) if problem else NOTHING
    document, reading, problem = _read(path, data, repository, way, whole, known)
    if reading is None:
        reading, key, known = Reading(), None, None
    told = partial(_told, detector)
    holdings = tuple(_renamed(one, told(one.holder.name)) for one in reading.holdings)
    exported, trouble = _exported(document, mark)
    there, lost = (known.anchored, lost) if known else _anchored(data)
    seen = reading.sightings
    declared, doubt = _declared(document, data, repository, there, (*seen, *exported)) if whole else ((), "")
    seen = tuple(_retold(one, told) for one in (*seen, *declared))
    remarked, untold = _beside(document, data, repository, there)
    table = _table(document, exported, partial(_told, detector))
    found = known.found if known else located(document, data, detector, listed=bool(exported))
    dead = known.dead if known else frozenset[int]()
    if found.hits and not (known or _is_code(path)):
        dead = dead_lines(document, data, (hit.line for hit, _ in found.hits))
    if twice and key and not (known or trouble or lost or found.problem):
        twice.keep(key, Said(document if document.format not in FLAT else None, there, found, dead))
    trouble = trouble or lost or untold
    held: list[Sighting] = []
    hits = found.hits
    if table and all(hit.is_identifier for hit, _ in hits):  # a table of ids tells of keys, and holds none
        hits = ()
    try:
        held_by = Holdings(holdings if hits else (), document)
        for hit, value in hits:
            if (value and is_sealed(value.keys)) or hit.line in dead:
                continue
            one = _credential(hit, value, document, held_by, path, repository)
            if is_locked(path, one.kind):
                continue
            if one.kind in MADE_UP and is_shown(path, value.keys if value else (), data, hit.line):
                one = replace(one, spot="example")
            held.append(_retold(one, told))
    except Exception as error:  # the alarm of who waits: what is known by now is told
        trouble = trouble or f"not all of what it holds is told ({type(error).__name__})"
    holders = tuple(dict.fromkeys(one.holder for one in holdings))
    remarked = tuple(_retold(one, told) for one in remarked)
    return Scanned((*exported, *table, *seen, *remarked, *held), holders, problem or trouble or doubt or found.problem)


def _way(path: str, whole: bool) -> Way:
    """Return how a file is read: what is not, for it is code or a part, is searched as text.

    A line that is all of a text stands under the file's name.
    """
    if not whole and not path.lower().endswith(BY_LINE):
        return PART
    return SOURCE if _is_code(path) else (path.rpartition("/")[2], *asked_of(path))


def _is_code(path: str) -> bool:
    return path.lower().endswith(CODE)


@lru_cache(maxsize=4096)
def _told(detector: Detector, text: str) -> str:
    """Return a name or a sentence without credentials: a key, a server's name or a URL of a file may hold one."""
    data = text.encode(errors="replace")
    parts, at = [], 0
    try:
        hits = detector.in_text(data)
    except Stopped:
        return "…"
    for hit in sorted(hits, key=lambda hit: hit.start):
        if hit.is_identifier:
            continue
        if hit.start >= at:
            parts += [data[at : hit.start], "…".encode()]
        at = max(at, hit.end)
    return b"".join((*parts, data[at:])).decode(errors="replace")


def _renamed(holding: Holding, name: str) -> Holding:
    return holding if name == holding.holder.name else replace(holding, holder=replace(holding.holder, name=name))


def _retold(sighting: Sighting, told: Callable[[str], str]) -> Sighting:
    if isinstance(sighting, Credential):
        return replace(sighting, name=told(sighting.name), login=told(sighting.login))
    if isinstance(sighting, Principal):
        return replace(sighting, id=told(sighting.id))
    if isinstance(sighting, Weakness):
        return replace(sighting, subject=told(sighting.subject), says=told(sighting.says))
    if isinstance(sighting, Remark):
        facts = {name: told(said) if isinstance(said, str) else said for name, said in sighting.facts.items()}
        return replace(sighting, of=told(sighting.of), facts=facts)
    return sighting


def _read(
    path: str, data: bytes, repository: str, way: Way, whole: bool, known: Said | None
) -> tuple[Document, Reading | None, str]:
    """Return the document, what its readers say, None where they cannot, and what is wrong with it."""
    document = Document(path, "text", ())
    if way == PART:
        return document, Reading(), "too large for its structure to be read; searched as text"
    try:
        if way != SOURCE:
            document = replace(known.document, path=path) if known and known.document else parse(path, data)
        reading = read(document, repository)
    except Exception as error:  # of whatever kind: a file's text must not decide what is looked at
        return Document(path, "text", ()), None, f"its structure cannot be read ({type(error).__name__})"
    # Where a part breaks off, its last line is no problem of the file.
    problem = f"its structure is not read to its end: {document.problem}" if document.problem and whole else ""
    return document, reading, problem


def _anchored(data: bytes) -> tuple[Anchored, str]:
    try:
        return anchored(data), ""
    except Exception as error:
        return NONE, f"not all that it says is looked for ({type(error).__name__})"


def _declared(
    document: Document, data: bytes, repository: str, there: Anchored, seen: tuple[Sighting, ...]
) -> tuple[tuple[Sighting, ...], str]:
    """Return what the file itself says is weak, beside what its reader has seen."""
    try:
        return weaknesses(document, data, repository, there.signs, there.shapes, seen), ""
    except Exception as error:
        return (), f"what it says of itself cannot be read ({type(error).__name__})"


def _exported(document: Document, mark: Mark) -> tuple[tuple[Sighting, ...], str]:
    try:
        return read_export(document, mark), ""
    except Exception as error:
        return (), f"it cannot be read as an exported list ({type(error).__name__})"


def _table(document: Document, exported: tuple[Sighting, ...], told: Callable[[str], str]) -> tuple[Sighting, ...]:
    """Return what a table's columns are called, where it is one: who reads exports says which nobody understood."""
    try:
        remark = read_columns(document)
    except Exception:  # that it cannot be read is said of it anyway
        return ()
    if remark is None:
        return ()
    return (replace(remark, facts={"columns": "" if exported else told(str(remark.facts["columns"]))}),)


def _beside(document: Document, data: bytes, repository: str, there: Anchored) -> tuple[tuple[Sighting, ...], str]:
    try:
        return tuple(beside(document, data, repository, there.beside)), ""
    except Exception as error:
        return (), f"not all that it says is understood ({type(error).__name__})"


def _credential(
    hit: Hit, value: Value | None, document: Document, held_by: Holdings, path: str, repository: str
) -> Credential:
    holding = held_by.of_value(value) if value else held_by.of_line(hit.line)
    account = _account(value, document) if value and hit.kind == "private-key" else ""
    spot = "file" if document.format in FLAT or not document.roots else "config"
    return Credential(
        mark=hit.mark,
        kind="gcp-service-account-key" if account else hit.kind,
        last4=hit.last4,
        place=Place(path, hit.line),
        holder=holding.holder if holding else Holder("file", path, repository),
        spot=holding.spot if holding else spot,
        encoding=hit.encoding,
        name=value.name if value else "",
        target=hit.target,
        login=hit.login or account,
        tail=hit.tail,
        is_identifier=hit.is_identifier,
        life=hit.life,
    )


def _account(value: Value, document: Document) -> str:
    """Return the service account of Google Cloud whose key a value is, as what stands beside it says."""
    mail = document.roots[value.root].at(*value.keys[:-1], "client_email").text
    return mail if mail.endswith(".gserviceaccount.com") else ""
