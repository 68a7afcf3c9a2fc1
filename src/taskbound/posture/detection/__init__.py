"""Detection: bytes, or a value with its name, to hits. What is found is known by its mark; the value stays inside."""

from dataclasses import dataclass

from taskbound.posture.detection.bindings import by_name
from taskbound.posture.detection.decode import DEEPEST, decodings, may_be_encoded
from taskbound.posture.detection.found import NAME, Found
from taskbound.posture.detection.names import kind_of_name
from taskbound.posture.detection.search import find
from taskbound.posture.sighting import Mark

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


class Detector:
    """Finds secrets. `mark` makes of a value what it is known by; it is the only one that is shown one."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def in_text(self, data: bytes) -> list[Hit]:
        """Return the secrets in a whole file."""
        return self._hits(data, find(data))

    def in_value(self, name: str, text: str) -> list[Hit]:
        """Return the secrets in one value of a document, known by the key under which it stands.

        What the key says of all of the value counts only where nothing more certain was found in it.
        """
        if len(text) < 6:
            return []
        data = text.encode("utf-8", "surrogatepass")
        hits = self._hits(data, _in_value(name, data))
        if len(data) == len(text):
            return hits
        return [_in_characters(one, data) for one in hits]

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
                )
            )
        return hits


def _in_value(name: str, data: bytes, depth: int = 0) -> list[Found]:
    found = find(data, depth)
    if found and any(one.rank > NAME for one in found):
        return found
    whole = data.strip()
    start = len(data) - len(data.lstrip())
    if depth < DEEPEST and len(whole) >= 8 and may_be_encoded(whole):
        for encoding, plain in decodings(whole):
            inner = [
                one for one in _in_value(name, plain, depth + 1) if depth or one.rank > NAME or one.encoding != "plain"
            ]
            if inner:
                return [
                    Found(
                        one.kind,
                        one.value,
                        start,
                        start + len(whole),
                        one.rank,
                        encoding if one.encoding == "plain" else f"{encoding}+{one.encoding}",
                        one.target,
                        one.is_identifier,
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


def _in_characters(hit: Hit, data: bytes) -> Hit:
    start = len(data[: hit.start].decode("utf-8", "replace"))
    size = len(data[hit.start : hit.end].decode("utf-8", "replace"))
    return Hit(
        hit.kind,
        hit.mark,
        hit.last4,
        hit.tail,
        hit.line,
        start,
        start + size,
        hit.encoding,
        hit.target,
        hit.is_identifier,
    )
