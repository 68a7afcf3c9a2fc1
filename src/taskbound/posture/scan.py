"""Scan: what stands in one file. It is parsed, read for who holds what, searched; each hit gets its holder.

The values of a document are searched one by one, with the name that each stands under, and its text as a whole, for
what no value shows: comments, keys, what could not be parsed. A hit of the text that lies in a value which was
searched adds something only where its kind is certain without a name. A parser that fails costs its file the
structure, not the search.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from taskbound.posture.detection import Detector, Hit
from taskbound.posture.document import Document, Node
from taskbound.posture.exports import read_export
from taskbound.posture.parsers import parse
from taskbound.posture.readers import read
from taskbound.posture.sighting import Credential, Holder, Holding, Mark, Place, Principal, Sighting, Weakness

BY_LINE = (".jsonl", ".ndjson", ".log", ".csv", ".tsv")  # a part of such a file is as good as a whole one
# Source code: it has no structure that tells who holds what, and most bytes of a checkout are its.
CODE = tuple(
    f".{ending}"
    for ending in (
        *(
            "py",
            "pyi",
            "pyx",
            "js",
            "mjs",
            "cjs",
            "jsx",
            "ts",
            "tsx",
            "vue",
            "svelte",
            "go",
            "rs",
            "java",
            "kt",
            "scala",
        ),
        *(
            "c",
            "h",
            "cc",
            "cpp",
            "hpp",
            "m",
            "mm",
            "cs",
            "fs",
            "vb",
            "swift",
            "rb",
            "php",
            "pl",
            "pm",
            "lua",
            "r",
            "jl",
        ),
        *(
            "ex",
            "exs",
            "erl",
            "hs",
            "ml",
            "clj",
            "dart",
            "sql",
            "css",
            "scss",
            "less",
            "proto",
            "asm",
            "s",
            "po",
            "rst",
        ),
    )
)
FLAT = frozenset({"text", "markdown"})  # formats whose values are their text: it is searched once
DEPTH = 200  # levels of a document; nothing that holds a credential is nested deeper
SHORTEST = 4  # characters; no credential is shorter
NAMED = ("name", "key")  # in {"name": "TOKEN", "value": "…"} the name of the value
VALUES = frozenset({"value", "default", "string_value", "stringvalue", "literal", "plaintext"})
ASSIGNED = re.compile(r"--?([A-Za-z][\w.-]*)=|([A-Za-z_][\w.]*)=")  # --token=…, TOKEN=…
OPTION = re.compile(r"--?([A-Za-z][\w-]*)")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What stands in a file. `holders`: all that its format says could hold something, whether they do or not."""

    sightings: tuple[Sighting, ...] = ()
    holders: tuple[Holder, ...] = ()
    problem: str = ""  # why it could not be read to its end


Scan = Callable[[str, bytes, str, bool], Scanned]  # path, data, repository, whether the data is the whole file


@dataclass(frozen=True, slots=True)
class _Value:
    """A scalar of a document, and the name that it stands under."""

    root: int
    keys: tuple[str, ...]
    name: str
    node: Node


def scan(path: str, data: bytes, repository: str, detector: Detector, mark: Mark, *, whole: bool = True) -> Scanned:
    """Return what stands in a file, or in a part of one, with lines counted from the data's first."""
    document, holdings, seen, problem = _read(path, data, repository, whole)
    told = partial(_told, detector)
    holdings = tuple(replace(one, holder=replace(one.holder, name=told(one.holder.name))) for one in holdings)
    seen = tuple(_retold(one, told) for one in seen)
    exported, trouble = _exported(document, mark)
    hits = _unique(_located(document, data, detector, listed=bool(exported)))
    held = [_retold(_credential(hit, value, document, holdings, path, repository), told) for hit, value in hits]
    holders = tuple(dict.fromkeys(one.holder for one in holdings))
    return Scanned((*exported, *seen, *held), holders, problem or trouble)


def _told(detector: Detector, text: str) -> str:
    """Return a name or a sentence without credentials: a key, a server's name or a URL of a file may hold one."""
    data = text.encode(errors="replace")
    for start, end in sorted({(hit.start, hit.end) for hit in detector.in_text(data) if not hit.is_identifier})[::-1]:
        data = data[:start] + "…".encode() + data[end:]
    return data.decode(errors="replace")


def _retold(sighting: Sighting, told: Callable[[str], str]) -> Sighting:
    if isinstance(sighting, Credential):
        return replace(sighting, name=told(sighting.name))
    if isinstance(sighting, Principal):
        return replace(sighting, id=told(sighting.id))
    if isinstance(sighting, Weakness):
        return replace(sighting, subject=told(sighting.subject), says=told(sighting.says))
    return sighting


def moved(scanned: Scanned, path: str, lines: int) -> Scanned:
    """Return what was seen as it is in the file that a part or an unpacked text belongs to, `lines` further down."""

    def there(place: Place) -> Place:
        return Place(path, place.line + lines)

    def one(sighting: Sighting) -> Sighting:
        if isinstance(sighting, Weakness):
            return replace(sighting, place=there(sighting.place), more=tuple(map(there, sighting.more)))
        return replace(sighting, place=there(sighting.place))

    return replace(scanned, sightings=tuple(map(one, scanned.sightings)))


def _read(
    path: str, data: bytes, repository: str, whole: bool
) -> tuple[Document, tuple[Holding, ...], tuple[Sighting, ...], str]:
    """Return the document, who holds what stands in it, what else is seen, and what is wrong with it."""
    if not whole and not path.lower().endswith(BY_LINE):
        return Document(path, "text", ()), (), (), "too large for its structure to be read; searched as text"
    try:
        document = Document(path, "text", ()) if path.lower().endswith(CODE) else parse(path, data)
        reading = read(document, repository)
    except Exception as error:  # of whatever kind: a file's text must not decide what is looked at
        return Document(path, "text", ()), (), (), f"its structure cannot be read ({type(error).__name__})"
    # Where a part breaks off, its last line is no problem of the file.
    problem = f"its structure is not read to its end: {document.problem}" if document.problem and whole else ""
    return document, reading.holdings, reading.sightings, problem


def _exported(document: Document, mark: Mark) -> tuple[tuple[Sighting, ...], str]:
    try:
        return read_export(document, mark), ""
    except Exception as error:
        return (), f"it cannot be read as an exported list ({type(error).__name__})"


# --- hits and the values they lie in ---------------------------------------------------------------


def _located(
    document: Document, data: bytes, detector: Detector, *, listed: bool
) -> Iterator[tuple[Hit, "_Value | None"]]:
    """Yield each hit, its line that of the document, and the value in which it lies: first those of values.

    An exported list is about credentials: identifiers in it are references, and what only its name makes a
    credential is a digest or an id. What is certain by itself has leaked there too.
    """
    in_text = detector.in_text(data)
    if listed:
        yield from ((_at(hit, hit.line + 1), None) for hit in in_text if not (_is_vague(hit) or hit.is_identifier))
        return
    lines = {hit.line + 1 for hit in in_text}
    beside: dict[int, list[_Value]] = {}
    for value in _values(document):
        text = value.node.text
        hits = _in_value(detector, value.name, text)
        yield from ((_at(hit, value.node.line_of(hit.line)), value) for hit in hits)
        for line in range(value.node.line, max(value.node.line, value.node.last) + 1) if lines else ():
            if line in lines:
                beside.setdefault(line, []).append(value)
    for hit in in_text:
        line = hit.line + 1
        secret = data[hit.start : hit.end].decode(errors="replace")
        inside = next((one for one in beside.get(line, ()) if secret in one.node.text), None)
        if inside is None or not _is_vague(hit):
            yield _at(hit, line), inside


def _unique(hits: "Iterable[tuple[Hit, _Value | None]]") -> "list[tuple[Hit, _Value | None]]":
    """Return one hit for each credential on a line, of the kind that says most, in the order of lines."""
    best: dict[tuple[str, int], tuple[Hit, _Value | None]] = {}
    for hit, value in hits:
        known = best.get((hit.mark, hit.line))
        if known is None or (_is_vague(known[0]) and not _is_vague(hit)):
            best[hit.mark, hit.line] = (hit, value or (known[1] if known else None))
    return sorted(best.values(), key=_order)


def _order(found: "tuple[Hit, _Value | None]") -> tuple[int, str, str, str]:
    """Line, kind, name, last characters; else as they were found. Never the mark: its key is another elsewhere."""
    hit, value = found
    return hit.line, hit.kind, value.name if value else "", hit.last4


def _at(hit: Hit, line: int) -> Hit:
    return replace(hit, line=line)


def _is_vague(hit: Hit) -> bool:
    """Whether only the name beside it makes it a credential."""
    return hit.kind.startswith("generic")


def _in_value(detector: Detector, name: str, text: str) -> list[Hit]:
    """Search a value; of `--token=x` and `TOKEN=x`, which stand in lists, the x under its own name."""
    if assigned := ASSIGNED.match(text):
        return detector.in_value(assigned[1] or assigned[2], text[assigned.end() :])
    return detector.in_value(name, text)


def _values(document: Document) -> Iterator[_Value]:
    """Yield every scalar that could be a credential, in order."""
    if document.format in FLAT:
        return
    for root, top in enumerate(document.roots):
        waiting: list[tuple[tuple[str, ...], str, Node]] = [((), "", top)]
        while waiting:
            keys, name, node = waiting.pop()
            if len(keys) > DEPTH:
                continue
            if node.items:
                own = next((text for key in node.items if key.lower() in NAMED if (text := node.items[key].text)), name)
                waiting += [
                    ((*keys, key), own if key.lower() in VALUES else key, one)
                    for key, one in reversed(list(node.items.items()))
                ]
            elif node.list:
                waiting += reversed(
                    [((*keys, str(n)), _before(node.list, n) or name, one) for n, one in enumerate(node.list)]
                )
            elif len(node.text) >= SHORTEST:
                yield _Value(root, keys, name, node)


def _before(words: Sequence[Node], place: int) -> str:
    """Return the option that a word of a list is the argument of: `--token` in front of it."""
    option = OPTION.fullmatch(words[place - 1].text) if place else None
    return option[1] if option else ""


# --- who holds it ----------------------------------------------------------------------------------


def _credential(
    hit: Hit, value: "_Value | None", document: Document, holdings: Sequence[Holding], path: str, repository: str
) -> Credential:
    holding = _of_value(holdings, value) if value else _of_line(holdings, document, hit.line)
    spot = "file" if document.format in FLAT or not document.roots else "config"
    return Credential(
        mark=hit.mark,
        kind=hit.kind,
        last4=hit.last4,
        place=Place(path, hit.line),
        holder=holding.holder if holding else Holder("file", path, repository),
        spot=holding.spot if holding else spot,
        encoding=hit.encoding,
        name=value.name if value else "",
        target=hit.target,
        tail=hit.tail,
        is_identifier=hit.is_identifier,
    )


def _of_value(holdings: Iterable[Holding], value: _Value) -> Holding | None:
    """Return the innermost holding whose keys lead to a value."""
    over = [one for one in holdings if one.root == value.root and value.keys[: len(one.keys)] == one.keys]
    return max(over, key=lambda one: len(one.keys), default=None)


def _of_line(holdings: Iterable[Holding], document: Document, line: int) -> Holding | None:
    """Return the holding that begins last before a line, for what stands in no value: a comment belongs to it."""
    begins = [(_begins(document.roots[one.root], one.keys) if one.keys else 1, len(one.keys), one) for one in holdings]
    return max((one for one in begins if one[0] <= line), key=lambda one: one[:2], default=(0, 0, None))[2]


def _begins(node: Node, keys: Iterable[str]) -> int:
    """Return the line where what keys lead to begins."""
    for key in keys:
        node = node.list[int(key)] if node.list else node.at(key)
    return node.line
