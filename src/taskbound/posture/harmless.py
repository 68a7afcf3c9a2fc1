"""Harmless: what looks like a credential and opens nothing: sealed for somebody's key, said beside it to be dead, or
shown as an example of what anybody can make up."""

import re
from array import array
from bisect import bisect_left
from functools import lru_cache

from taskbound.posture.document import Document

# Members whose values are encrypted: Sealed Secrets, Travis, AppVeyor, Google's and AWS' encryption services.
SEALED = frozenset(("encryptedData", "encrypted_data", "ciphertext", "CiphertextBlob", "secure"))
_DEAD = re.compile(
    r"\b(?:revoked|invalidated|deactivated|disabled|destroyed|dead)\b|\b(?:has|is|was|already)\b[^.|]{0,20}\b(?:rotated|expired)\b",
    re.I,
)
_NOT_YET = re.compile(
    r"\b(?:not|never|to be|must|should|shall|will|please|needs?|todo|if|when|until|unless|before|yet|still|un)\b|n't\b",
    re.I,
)
# What anybody can make up; what an issuer gave out is told, in a test and in an example too.
MADE_UP = frozenset(
    ("password", "generic-api-key", "private-key", "jwt", "jwt-base64", "authorization-basic", "authorization-bearer")
)
_EXAMPLES = re.compile(r"(?i)(?:x-)?examples?")  # members of OpenAPI, JSON Schema
_SHOWN = (b">>> ", b"/// ", b"//! ")  # Python's prompt, Rust's and .NET's documentation
# Remarks and texts of Python, in order: quotes within one of them open nothing.
_TEXTS = re.compile(
    rb"#[^\n]*+"
    rb'|"""(?:[^"\\]|\\.|"(?!""))*+(?:"""|\Z)'
    rb"|'''(?:[^'\\]|\\.|'(?!''))*+(?:'''|\Z)"
    rb'|"(?:[^"\\\n]|\\.)*+"?'
    rb"|'(?:[^'\\\n]|\\.)*+'?",
    re.S,
)
PROSE = frozenset(("markdown", "text"))
LONGEST = 2000  # bytes of a line of prose


def is_sealed(keys: tuple[str, ...]) -> bool:
    """Whether a value stands where a format keeps what it has encrypted."""
    return not SEALED.isdisjoint(keys)


def is_docstring(data: bytes, at: int) -> bool:
    """Whether a place of Python lies in a text that is bound to nothing."""
    docstrings = _docstrings(data)
    number = bisect_left(docstrings, (at,))  # of the first that does not begin before it
    return number > 0 and at < docstrings[number - 1][1]


@lru_cache(maxsize=1)  # each place of a file is asked for
def _docstrings(data: bytes) -> tuple[tuple[int, int], ...]:
    texts = (one.span() for one in _TEXTS.finditer(data) if one[0].startswith((b'"""', b"'''")))
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
    ends = _ends_of_lines(data)
    return ends[line - 2] if 1 < line <= len(ends) + 1 else 0


@lru_cache(maxsize=1)  # each place of a file is asked for
def _ends_of_lines(data: bytes) -> "array[int]":
    return array("I", (one.end() for one in re.finditer(rb"\n", data)))


def dead_lines(document: Document, data: bytes) -> frozenset[int]:
    """The lines of prose that say of what stands on them that it was revoked, and not that it is yet to be."""
    if document.format not in PROSE:
        return frozenset()
    lines = enumerate(data.split(b"\n"), 1)
    return frozenset(number for number, line in lines if len(line) <= LONGEST and _is_said_dead(line))


def _is_said_dead(line: bytes) -> bool:
    text = line.decode(errors="replace")
    return bool(_DEAD.search(text)) and not _NOT_YET.search(text)
