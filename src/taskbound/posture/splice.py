"""Splice: another text for one value of a file, and not one byte more than that changed.

The bytes in which a value stands are looked for on its lines, in each way in which a format may spell it; what comes
of it is parsed, and counts only where every other value is what it was. So nothing here knows a format: comments,
order, commas at the end, line ends and quotes stay, and a value that would break out of its quotes is refused.
"""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from re import Pattern

from taskbound.posture.document import Document
from taskbound.posture.parsers import parse

Key = tuple[int, tuple[str, ...]]  # which root, and the keys that lead to a value
Spell = Callable[[str], str]
LARGEST = 4 << 20  # bytes of a file in which something is changed

ESCAPED = frozenset({"json", "yaml", "toml", "dotenv"})  # formats in which quotes and escapes mean what they do in JSON

# How a text may stand in a file, by name.
SPELLINGS: Mapping[str, Spell] = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "ascii": lambda text: json.dumps(text)[1:-1],
    "slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "single": lambda text: text.replace("'", "''"),
}


@dataclass(frozen=True, slots=True)
class Splice:
    """A change of some bytes. `at`: where they begin, before and after it."""

    at: int
    old: bytes = field(repr=False)
    new: bytes = field(repr=False)
    spelling: str

    def on(self, data: bytes) -> bytes:
        return data[: self.at] + self.new + data[self.at + len(self.old) :]


def respelled(spelling: str, text: str) -> bytes:
    """Return the bytes in which a text stood, as a splice says that it was spelled; what got quotes had none."""
    return _bytes(SPELLINGS.get(spelling, SPELLINGS["plain"])(text))


def texts(document: Document) -> dict[Key, str]:
    """Return every scalar of a document, by the keys that lead to it."""
    return {(root, keys): node.text for root, top in enumerate(document.roots) for keys, node in top.scalars()}


def splice(path: str, data: bytes, key: Key, old: str, new: str) -> Splice | None:
    """Return what makes of a part of a value another one; None where no spelling does that and nothing else.

    What is one value under several keys (an alias of YAML) changes under all of them.
    """
    if len(data) > LARGEST:
        return None
    document = parse(path, data)
    before = texts(document)
    if document.problem or old not in before.get(key, ""):
        return None
    first, last = _lines(document, key)
    begin, end = _bytes_of(data, first, last)
    for spelling, raw_old, raw_new in _spelled(before[key], old, new, document.format):
        at = data.find(raw_old, begin, end)
        while at >= 0:
            found = Splice(at, raw_old, raw_new, spelling)
            if _changes_only(before, texts_of(path, found.on(data)), key, old, new):
                return found
            at = data.find(raw_old, at + 1, end)
    return None


def spliced(
    path: str, data: bytes, document: Document, pattern: Pattern[str], becomes: Mapping[str, str]
) -> bytes | None:
    """Return a file in which whatever in its values is of a pattern is what it becomes; None where that takes a
    `splice` for each: they are spelled in different ways, or one stands in a remark beside a value.

    One parse for each spelling; it counts only where every value is then what it is to be.
    """
    before = texts(document)
    keys = [key for key, text in before.items() if pattern.search(text)]
    starts = [0, *(found.end() for found in re.finditer(b"\n", data))]
    lines = {line for key in keys for first, last in [_lines(document, key)] for line in range(first, last + 1)}
    found = [one for one in re.finditer(pattern.pattern.encode(), data) if bisect_right(starts, one.start()) in lines]
    there = Counter(one[0].encode() for key in keys for one in pattern.finditer(before[key]))
    if Counter(one[0] for one in found) != there:
        return None
    wanted = {key: pattern.sub(lambda one: becomes[one[0]], text) for key, text in before.items()}
    for spell in SPELLINGS.values() if document.format in ESCAPED else (SPELLINGS["plain"],):
        spelled = {old.encode(): _bytes(spell(new)) for old, new in becomes.items()}
        if len(data) + sum(len(spelled[one[0]]) - len(one[0]) for one in found) > LARGEST:  # before it is put together
            return None
        parts, at = list[bytes](), 0
        for one in found:
            parts += [data[at : one.start()], spelled[one[0]]]
            at = one.end()
        after = b"".join((*parts, data[at:]))
        now = texts_of(path, after)
        if now == wanted and list(now) == list(wanted):
            return after
    return None


def texts_of(path: str, data: bytes) -> dict[Key, str] | None:
    """Return every scalar of a file; None where it cannot be read to its end."""
    document = parse(path, data)
    return None if document.problem else texts(document)


def _spelled(whole: str, old: str, new: str, form: str) -> Iterator[tuple[str, bytes, bytes]]:
    for name, spell in SPELLINGS.items():
        yield name, _bytes(spell(old)), _bytes(spell(new))
        if form not in ESCAPED:
            return
    if old == whole:  # it stands without quotes, and the new one cannot
        for mark, spell in (("'", lambda text: text), ("'", SPELLINGS["single"]), ('"', SPELLINGS["json"])):
            yield f"quoted {mark}", _bytes(old), _bytes(f"{mark}{spell(new)}{mark}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _changes_only(before: Mapping[Key, str], after: Mapping[Key, str] | None, key: Key, old: str, new: str) -> bool:
    if after is None or list(after) != list(before) or after[key] == before[key]:
        return False
    whole = before[key]
    changed = {one for one in before if after[one] != before[one]}
    return all(before[one] == whole and after[one] in _replaced(whole, old, new) for one in changed)


def _replaced(whole: str, old: str, new: str) -> Iterator[str]:
    """Yield a text with one part of it replaced, for each place in which it stands."""
    at = whole.find(old)
    while at >= 0:
        yield whole[:at] + new + whole[at + len(old) :]
        at = whole.find(old, at + 1)


def _lines(document: Document, key: Key) -> tuple[int, int]:
    node = document.roots[key[0]]
    for one in key[1]:
        node = node.list[int(one)] if node.list else node.at(one)
    return node.line, max(node.line, node.last)


def _bytes_of(data: bytes, first: int, last: int) -> tuple[int, int]:
    """Return where some lines begin and end; a value may begin on the line before, behind its key."""
    begin = 0
    for _ in range(first - 1):
        begin = data.find(b"\n", begin) + 1
    end = begin
    for _ in range(last - first + 1):
        at = data.find(b"\n", end)
        if at < 0:
            return begin, len(data)
        end = at + 1
    return begin, end
