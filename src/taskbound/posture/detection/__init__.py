"""Detection: bytes, or a value with its name, to hits. What is found is known by its mark; the value stays inside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from taskbound.posture.detection.bindings import by_name
from taskbound.posture.detection.decode import DEEPEST, decodings, is_perhaps_encoded, may_be_encoded
from taskbound.posture.detection.effort import Effort
from taskbound.posture.detection.found import NAME, Found
from taskbound.posture.detection.names import kind_of_name
from taskbound.posture.detection.search import Search, find, may_hold
from taskbound.posture.sighting import Mark

SHORTEST = 6  # characters of a value; no credential is shorter
TOGETHER = 1 << 18  # bytes of values that are searched at once
TOO_MUCH = "it has more than is looked at"
_TAIL = 8  # characters: what exports of tokens tell


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret in one place of a text."""

    kind: str  # the rule: github-pat, aws-access-token, postgres-password, generic-api-key, …
    mark: str  # of the canonical value
    last4: str
    tail: str  # the mark of the last eight characters
    line: int  # of the text given, 0-based
    start: int  # of the secret as it stands there: bytes (in_text), characters (in_value)
    end: int
    encoding: str  # plain, base64, url, …; of nested ones the outermost first, "+" between
    target: str  # host:port/database where a connection string or URL says so, else ""
    is_identifier: bool  # it opens nothing alone
    life: tuple[int, int] | None = None  # issued and expires, in Unix seconds, where it says so itself; 0: not said
    login: str = ""  # whose it is at its target, where that is said beside it


class Stopped(Exception):
    """The search was ended from outside, or failed: `hits` are those made until then."""

    def __init__(self, hits: list[Hit], why: str) -> None:
        super().__init__(why)
        self.hits, self.why = hits, why


class Detector:
    """Finds secrets. `mark` makes of a value what it is known by; it is the only one that is shown one."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def in_text(self, data: bytes) -> list[Hit]:
        """Return the secrets in a whole file. Raises Stopped."""
        effort = Effort()
        search = Search(effort)
        try:
            search.run(data)
        except Exception as error:  # who waits rings an alarm, which is one of whatever kind
            raise Stopped(self._hits(data, search.found()), type(error).__name__) from None
        hits = self._hits(data, search.found())
        if effort.is_spent:
            raise Stopped(hits, TOO_MUCH)
        return hits

    def in_value(self, name: str, text: str) -> list[Hit]:
        """Return the secrets in one value of a document, known by the key under which it stands.

        What the key says of all of the value counts only where nothing more certain was found in it.
        """
        return next((hits for _, hits in self.in_values([(name, text)])), [])

    def in_values(self, values: Sequence[tuple[str, str]]) -> Iterator[tuple[int, list[Hit]]]:
        """Yield, of names and texts, the place of each value that holds secrets, and the hits in it.

        What is known by its form is asked of hyperscan for many values at once: most have nothing of it.
        Raises Stopped, after what was found until then.
        """
        effort = Effort()
        for begin, end in _groups(values):
            loud = may_hold([text for _, text in values[begin:end]], effort)
            for number, (name, text) in enumerate(values[begin:end]):
                if len(text) < SHORTEST or not (number in loud or kind_of_name(name) or is_perhaps_encoded(text)):
                    continue
                data = text.encode("utf-8", "surrogatepass")
                found = _in_value(name, data, find(data, effort) if number in loud else [], effort)
                effort.finds -= len(found)
                if found:
                    hits = self._hits(data, found)
                    yield begin + number, hits if len(data) == len(text) else _in_characters(hits, data)
                if effort.is_spent:
                    raise Stopped([], TOO_MUCH)

    def _hits(self, data: bytes, found: list[Found]) -> list[Hit]:
        hits, line, counted = [], 0, 0
        for one in found:
            line, counted = line + data.count(b"\n", counted, one.start), one.start
            hits.append(
                Hit(
                    one.kind,
                    self._mark(one.value),
                    one.value[-4:] if len(one.value) >= 12 else "",
                    self._mark(one.value[-_TAIL:]),
                    line,
                    one.start,
                    one.end,
                    one.encoding,
                    one.target,
                    one.is_identifier,
                    one.life,
                    one.login,
                )
            )
        return hits


def _groups(values: Sequence[tuple[str, str]]) -> Iterator[tuple[int, int]]:
    """Yield where some values begin that are searched together, and where they end."""
    begin, size = 0, 0
    for number, (_, text) in enumerate(values, 1):
        size += len(text)
        if size > TOGETHER:
            yield begin, number
            begin, size = number, 0
    if begin < len(values):
        yield begin, len(values)


def _may_be_encoded(data: bytes) -> bool:
    whole = data.strip()
    return len(whole) >= 8 and may_be_encoded(whole)


def _in_value(name: str, data: bytes, found: list[Found], effort: Effort, depth: int = 0) -> list[Found]:
    """Return the secrets in a value, of which those of known forms are found already."""
    if any(one.rank > NAME for one in found):
        return found
    whole = data.strip()
    start = len(data) - len(data.lstrip())
    if depth < DEEPEST and _may_be_encoded(data):
        for encoding, plain in decodings(whole):
            inner = [
                one
                for one in _in_value(name, plain, find(plain, effort, depth + 1), effort, depth + 1)
                if depth or one.rank > NAME or one.encoding != "plain"
            ]
            if inner:
                return [
                    replace(
                        one,
                        start=start,
                        end=start + len(whole),
                        encoding=encoding if one.encoding == "plain" else f"{encoding}+{one.encoding}",
                    )
                    for one in inner
                ]
    if kind_of_name(name):
        text = whole.decode("utf-8", "replace")
        known = by_name(name, text, f"{name}={text}")
        if known:
            kind, value, encoding = known
            return [Found(kind, value, start, start + len(whole), NAME, encoding)]
    return found


def _in_characters(hits: Sequence[Hit], data: bytes) -> list[Hit]:
    """Return hits, which come in the order of their starts, with places counted in characters."""
    told, counted, at = [], 0, 0
    for hit in hits:
        counted, at = counted + len(data[at : hit.start].decode("utf-8", "replace")), hit.start
        size = len(data[hit.start : hit.end].decode("utf-8", "replace"))
        told.append(replace(hit, start=counted, end=counted + size))
    return told
