"""Harmless: what looks like a credential and opens nothing: sealed for somebody's key, said beside it to be dead, or
shown as an example of what anybody can make up."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

from taskbound.posture.document import Document

# Members whose values are encrypted: Sealed Secrets, with names of their own below; Google's and AWS' encryption
# services, Travis and AppVeyor, of which below "secure" others keep what they like.
SEALED = frozenset(("encryptedData", "encrypted_data"))
SEALED_ITSELF = frozenset(("ciphertext", "CiphertextBlob", "secure"))
_DEAD = re.compile(
    r"\b(?:revoked|invalidated)\b|\b(?:has|is|was|already)\b[^.|]{0,20}\b(?:rotated|expired)\b",
    re.I,
)
# Said of much else too: only where it is said of something that looks like a credential.
_OFF = re.compile(r"\b(?:deactivated|disabled|destroyed|dead)\b", re.I)
_CLAUSE = re.compile(r"[.;,|](?:\s|\Z)")
_LONG = re.compile(r"(?<!\S)(?=[^\s\d]{0,200}\d)\S{12}")
_NOT_YET = re.compile(
    r"\b(?:not|never|to be|must|should|shall|will|please|needs?|todo|if|when|until|unless|before|yet|still|un)\b|n't\b",
    re.I,
)
# What anybody can make up; what an issuer gave out is told, in a test and in an example too.
MADE_UP = frozenset(
    (
        *("password", "generic-api-key", "private-key", "gcp-service-account-key", "jwt"),
        *("authorization-basic", "authorization-bearer"),
    )
)
# Files in which a tool keeps what it resolved: versions and digests, under the names of packages (`js-tokens`).
_LOCKS = re.compile(
    r"(?:^|/)(?:(?:package-lock|npm-shrinkwrap|packages\.lock)\.json|pnpm-lock\.yaml|(?:bun|deno|yarn|composer|Pipfile"
    r"|poetry|uv|pdm|Cargo|Gemfile|mix|pubspec|flake|Podfile)\.lock)$"
)
_BY_NAME = frozenset(("password", "generic-api-key"))  # told by the name before it, not by a form of its own
_EXAMPLES = re.compile(r"(?i)(?:x-)?examples?")  # members of OpenAPI, JSON Schema
_SHOWN = (b">>> ", b"/// ", b"//! ")  # Python's prompt, Rust's and .NET's documentation
# Python up to the end of a text in three quotes: quotes within remarks and other texts open nothing.
_TEXTS = re.compile(
    rb"(?:[^\"'#]++|#[^\n]*+"
    rb'|"(?!"")(?:[^"\\\n]++|\\.)*+"?|""(?!")'
    rb"|'(?!'')(?:[^'\\\n]++|\\.)*+'?|''(?!'))*+"
    rb'("""(?:[^"\\]++|\\(?:.|\Z)|"(?!""))*+(?:"""|\Z)'
    rb"|'''(?:[^'\\]++|\\(?:.|\Z)|'(?!''))*+(?:'''|\Z))?",
    re.S,
)
PROSE = frozenset(("markdown", "text"))
LONGEST = 2000  # bytes of a line of prose
_STEP = 4096  # bytes after which it is known how many lines have ended


def is_sealed(keys: tuple[str, ...]) -> bool:
    """Whether a value stands where a format keeps what it has encrypted."""
    named = next((one for one in reversed(keys) if not one.isdigit()), "")
    return named in SEALED_ITSELF or not SEALED.isdisjoint(keys)


def is_locked(path: str, kind: str) -> bool:
    """Whether it is the version or the digest of a package; a token in an address of a registry is none."""
    return kind in _BY_NAME and bool(_LOCKS.search(path))


def is_docstring(data: bytes, at: int) -> bool:
    """Whether a place of Python lies in a text that is bound to nothing."""
    docstrings = _docstrings(data)
    number = bisect_left(docstrings, (at,))  # of the first that does not begin before it
    return number > 0 and at < docstrings[number - 1][1]


@lru_cache(maxsize=1)  # each place of a file is asked for
def _docstrings(data: bytes) -> tuple[tuple[int, int], ...]:
    texts = (one.span(1) for one in _TEXTS.finditer(data) if one[1])
    return tuple(
        (start, end) for start, end in texts if not data[data.rfind(b"\n", 0, start) + 1 : start].strip(b" \trR")
    )


def is_shown(path: str, keys: tuple[str, ...], data: bytes, line: int) -> bool:
    """Whether a value stands under an example, or its line in a text from which documentation is made."""
    if keys:
        return any(map(_EXAMPLES.fullmatch, keys))
    begin = _begin_of(data, line)
    text = data[begin : begin + 200].lstrip()
    if text.startswith(b"*"):
        opened = data.rfind(b"/**", 0, begin)
        return opened >= 0 and data.find(b"*/", opened, begin) < 0
    return text.startswith(_SHOWN) or (path.endswith(".py") and is_docstring(data, begin))


def _begin_of(data: bytes, line: int) -> int:
    """Return where a line begins; 0 of one that is not there."""
    ends = line - 1  # how many lines end before it
    counted = _counted(data)
    step = bisect_left(counted, ends)  # of the first that begins after its end
    if ends < 1 or step == len(counted):
        return 0
    at = (step - 1) * _STEP
    for _ in range(ends - counted[step - 1]):
        at = data.find(b"\n", at) + 1
    return at


@lru_cache(maxsize=1)  # each place of a file is asked for
def _counted(data: bytes) -> list[int]:
    """Return how many lines end before each step of a file, and before its end."""
    return list(accumulate((data.count(b"\n", at, at + _STEP) for at in range(0, len(data), _STEP)), initial=0))


def dead_lines(document: Document, data: bytes, of: Iterable[int]) -> frozenset[int]:
    """Those lines of prose, of some, that say of what stands on them that it was revoked, and not that it is to be."""
    if document.format not in PROSE:
        return frozenset()
    return frozenset(line for line in set(of) if _is_said_dead(data, _begin_of(data, line)))


def _is_said_dead(data: bytes, begin: int) -> bool:
    end = data.find(b"\n", begin, begin + LONGEST + 1)
    if end < 0 and len(data) - begin > LONGEST:
        return False
    text = data[begin : end if end >= 0 else len(data)].decode(errors="replace")
    is_off = any(_OFF.search(one) and _LONG.search(one) for one in _CLAUSE.split(text)) if _OFF.search(text) else False
    return (is_off or bool(_DEAD.search(text))) and not _NOT_YET.search(text)
