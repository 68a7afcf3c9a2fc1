"""Moved: literal secrets of one file become references, and the texts that stood there go into static targets.

What is moved is the text as it stands in a value: a token is moved alone, of an address or of something encoded the
whole word, so that what `run` puts back is what stood there. In a remark it is replaced too. A file either loses all
that was asked for, or is not changed at all.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from taskbound.core.errors import Conflict
from taskbound.core.secret import Secret
from taskbound.posture.detection import Detector, Hit
from taskbound.posture.findings import Finding
from taskbound.posture.parsers import parse
from taskbound.posture.references import CONTINUES, spelled
from taskbound.posture.rules.draft import label
from taskbound.posture.sighting import Credential, Sighting
from taskbound.posture.splice import SPELLINGS, Splice, respelled, splice, texts_of
from taskbound.posture.values import named, values

# Where what reads the file gets it from a program that `run` can start: how a credential lies there (LEAKS).
MOVABLE = frozenset({"mcp-env", "mcp-header", "mcp-url", "mcp-argument", "dotenv", "dotenv-local", "compose", "config"})
ENDINGS = ("json", "yaml", "toml", "dotenv")  # formats of those files
VAGUE = frozenset(
    {"token", "key", "apikey", "api_key", "secret", "password", "url", "uri", "auth", "authorization", "value", "env"}
    | {"args", "arguments", "command", "headers", "environment", "access_token", "bearer", "x_api_key", "dsn"}
)
MOST = 10_000  # changes of a file
PLAINLY = "write it there in one piece, in UTF-8 and without escapes, and try again; or take it out by hand"


@dataclass(frozen=True, slots=True)
class Move:
    """One change of a file, as it can be undone: the bytes at a place, and the target that has what stood there."""

    at: int
    target: str
    spelling: str
    new: str  # the bytes that stand there now: a reference


@dataclass(frozen=True, slots=True)
class Moved:
    """What becomes of a file."""

    path: str
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)  # other credentials may stand in it
    moves: tuple[Move, ...]
    spots: frozenset[str]
    hidden: tuple[tuple[bytes, str], ...] = field(repr=False)  # raw text and what is shown in its place


class Names:
    """Names of targets, by the text that each has. Two texts never share one, and one text has one."""

    def __init__(self, known: Mapping[str, Secret | None]) -> None:
        self._taken = set(known)
        self._by_text = {value.reveal(): name for name, value in known.items() if value is not None}
        self.new: dict[str, Secret] = {}
        self.environments: dict[str, str] = {}

    def text_of(self, name: str) -> str:
        """Return the text of a target that was given one here, or had it."""
        if name in self.new:
            return self.new[name].reveal()
        return next(text for text, known in self._by_text.items() if known == name)

    def of(self, text: str, wanted: str, environment: str) -> str:
        """Return the target of a text: the one that has it, else a new one."""
        if text in self._by_text:
            name = self._by_text[text]
            self.environments.setdefault(name, environment)
            return name
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted[:60]}_{number}"
        self._taken.add(name)
        self._by_text[text] = name
        self.new[name] = Secret(text)
        self.environments[name] = environment
        return name


def credentials_of(finding: Finding, sightings: Iterable[Sighting]) -> tuple[Credential, ...]:
    """Return what a finding is about: the secrets of its files that are among its subjects, in order of places."""
    paths = {place.path for place in finding.places}
    found = [
        one
        for one in sightings
        if isinstance(one, Credential)
        and one.place.path in paths
        and not one.is_identifier
        and label(one) in finding.subjects
    ]
    return tuple(sorted(found, key=lambda one: (one.place, one.name)))


def move(path: str, data: bytes, about: Iterable[Credential], detector: Detector, names: Names) -> Moved:
    """Return a file without the credentials. Raises Conflict, and says why, where one of them would stay."""
    by_mark = {one.mark: one for one in about}
    before, moves, hidden = data, list[Move](), dict[bytes, str]()

    def changed(change: Splice, target: str, hit: Hit) -> None:
        nonlocal data
        data = change.on(data)
        moves.append(Move(change.at, target, change.spelling, change.new.decode()))
        hidden[change.old] = _mask(hit)
        if len(moves) > MOST:
            raise Conflict(f"{path} has more than {MOST} places to change")

    document = parse(path, data)
    if document.problem:
        raise Conflict(f"{path} cannot be read to its end ({document.problem})", hint="mend it first")
    there = list(values(document))
    for number, hits in detector.in_values([named(one.name, one.text) for one in there]):
        value = there[number]
        name, inner = named(value.name, value.text)
        offset = len(value.text) - len(inner)
        for hit in hits:
            if hit.mark not in by_mark:
                continue
            one = by_mark[hit.mark]
            text = _part(value.text, hit.start + offset, hit.end + offset, offset, hit.encoding)
            name = "" if detector.in_text(name.encode(errors="replace")) else name  # a key may be a credential itself
            target = names.of(text, _name(name, one), one.holder.environment)
            key = (value.root, value.keys)
            for _ in range(MOST):
                change = splice(path, data, key, text, spelled(target))
                if change is None:
                    break
                changed(change, target, hit)
            if text in (texts_of(path, data) or {key: text})[key]:
                raise Conflict(f"{path}:{value.node.line}: it cannot be changed there alone", hint=PLAINLY)
    for _ in range(MOST):  # in remarks, and what the text shows and no value
        left = [hit for hit in detector.in_text(data) if hit.mark in by_mark]
        if not left:
            break
        hit, one = left[0], by_mark[left[0].mark]
        raw = data[hit.start : hit.end]
        target = names.of(raw.decode("utf-8", "replace"), _name("", one), one.holder.environment)
        change = Splice(hit.start, raw, spelled(target).encode(), "plain")
        if not _changes_no_other(path, data, change):
            raise Conflict(f"{path}:{hit.line + 1}: it cannot be changed there alone", hint=PLAINLY)
        changed(change, target, hit)
    _require_gone(path, data, by_mark, detector)
    _require_undoable(path, before, data, moves, names)
    return Moved(path, before, data, tuple(moves), frozenset(one.spot for one in by_mark.values()), _longest(hidden))


def marks_of(path: str, data: bytes, detector: Detector) -> set[str]:
    """Return the marks of the credentials that a file shows, encoded or not."""
    return {hit.mark for hit in _hits(path, data, detector)}


def holds_secret(path: str, data: bytes, detector: Detector) -> bool:
    """Return whether a file shows a secret, encoded or not, also one that only its name tells."""
    return any(not hit.is_identifier for hit in _hits(path, data, detector))


def _hits(path: str, data: bytes, detector: Detector) -> Iterator[Hit]:
    yield from detector.in_text(data)
    there = [named(one.name, one.text) for one in values(parse(path, data))]
    for _, hits in detector.in_values(there):
        yield from hits


def undone(after: bytes, moves: Iterable[Move], value: Callable[[str], str]) -> bytes:
    """Return a file as it was before its secrets were moved. `value` gives what a target has. Raises Conflict."""
    data = after
    for one in reversed(tuple(moves)):
        new = one.new.encode()
        if data[one.at : one.at + len(new)] != new:
            raise Conflict("the references are not where they were put")
        data = data[: one.at] + respelled(one.spelling, value(one.target)) + data[one.at + len(new) :]
    return data


def diff(path: str, before: bytes, after: bytes, hidden: Iterable[tuple[bytes, str]], detector: Detector) -> list[str]:
    """Return the lines of a unified diff, without lines around what changed, with every credential masked."""
    masks = dict(hidden) | _of_values(path, before, detector) | _of_values(path, after, detector)
    shown = [_masked(_covered(data, detector), _longest(masks)).splitlines() for data in (before, after)]
    return list(difflib.unified_diff(shown[0], shown[1], f"a/{path}", f"b/{path}", n=0, lineterm=""))


def _masked(data: bytes, hidden: Iterable[tuple[bytes, str]]) -> str:
    for raw, mask in hidden:
        data = data.replace(raw, mask.encode())
    return data.decode("utf-8", "replace")


def _of_values(path: str, data: bytes, detector: Detector) -> dict[bytes, str]:
    """Return what stands in values and only their names tell that it is one, with what is shown in its place."""
    found = dict[bytes, str]()
    there = [named(one.name, one.text) for one in values(parse(path, data))]
    for number, hits in detector.in_values(there):
        for hit in hits:
            if not hit.is_identifier:
                text = there[number][1][hit.start : hit.end]
                found |= {spell(text).encode("utf-8", "replace"): _mask(hit) for spell in SPELLINGS.values()}
    return found


def _covered(data: bytes, detector: Detector) -> bytes:
    """Return a text with every credential that is found in it masked, whichever it is."""
    parts, at = list[bytes](), 0
    for hit in sorted(detector.in_text(data), key=lambda one: (one.start, -one.end)):
        if hit.start >= at and not hit.is_identifier:
            parts += [data[at : hit.start], _mask(hit).encode()]
            at = hit.end
    return b"".join((*parts, data[at:]))


def _mask(hit: Hit) -> str:
    return f"****{hit.last4}"


def _longest(hidden: Mapping[bytes, str]) -> tuple[tuple[bytes, str], ...]:
    return tuple(sorted(hidden.items(), key=lambda one: -len(one[0])))


def _part(text: str, start: int, end: int, offset: int, encoding: str) -> str:
    """Return what of a value is moved: the credential, or the whole word in which it stands where it is none."""
    before, after = text[offset:start], text[end:]
    first = max((before.rfind(sign) for sign in " \t\n\"'`"), default=-1) + 1 + offset
    last = next((end + at for at, sign in enumerate(after) if sign in " \t\n\"'`"), len(text))
    is_word = (start == first or text[start - 1] in "=:,;(") and not CONTINUES.match(text[end : end + 1] or " ")
    return text[start:end] if encoding == "plain" and is_word and "://" not in text[first:last] else text[first:last]


def _name(key: str, one: Credential) -> str:
    """Return how a target could be called: after the key, with the holder before it where that says little."""
    name = _slug(key or one.name) or _slug(one.kind)
    if name in VAGUE or name.isdigit() or len(name) < 4:
        name = f"{_slug(one.holder.name.partition('@')[0].rpartition(':')[2])}_{name}".strip("_")
    return name[:60] or "credential"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _changes_no_other(path: str, data: bytes, change: Splice) -> bool:
    """Whether a change leaves every value as it is, or changes none but where the credential stood."""
    before, after = texts_of(path, data), texts_of(path, change.on(data))
    if before is None or after is None or list(before) != list(after):
        return False
    old, new = change.old.decode("utf-8", "replace"), change.new.decode()
    return all(before[key] == after[key] or before[key].replace(old, new) == after[key] for key in before)


def _require_gone(path: str, data: bytes, marks: Mapping[str, object], detector: Detector) -> None:
    """Refuse a file that still shows one of the credentials, encoded or not. Raises Conflict."""
    if marks_of(path, data, detector) & marks.keys():
        raise Conflict(f"{path} would still hold one of the credentials", hint="take it out by hand")


def _require_undoable(path: str, before: bytes, after: bytes, moves: Iterable[Move], names: Names) -> None:
    """Refuse what would not come back as it was: what stood there is kept as text. Raises Conflict."""
    if undone(after, moves, names.text_of) != before:
        raise Conflict(f"{path} could not be put back byte for byte", hint="take it out by hand")
