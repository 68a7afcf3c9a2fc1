"""Harmless: what looks like a credential and opens nothing: sealed for somebody's key, or said beside it to be dead."""

import re

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
PROSE = frozenset(("markdown", "text"))
LONGEST = 2000  # bytes of a line of prose


def is_sealed(keys: tuple[str, ...]) -> bool:
    """Whether a value stands where a format keeps what it has encrypted."""
    return not SEALED.isdisjoint(keys)


def dead_lines(document: Document, data: bytes) -> frozenset[int]:
    """The lines of prose that say of what stands on them that it was revoked, and not that it is yet to be."""
    if document.format not in PROSE:
        return frozenset()
    lines = enumerate(data.split(b"\n"), 1)
    return frozenset(number for number, line in lines if len(line) <= LONGEST and _is_said_dead(line))


def _is_said_dead(line: bytes) -> bool:
    text = line.decode(errors="replace")
    return bool(_DEAD.search(text)) and not _NOT_YET.search(text)
