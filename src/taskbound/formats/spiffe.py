"""SPIFFE ID: the name of a workload (SPIFFE-ID.md 2, commit 665a28f).

`spiffe://<trust domain>/<path>`: scheme and trust domain are read in any case and written in
lower case, the path is case-sensitive; no percent-encoding, port, userinfo, query or fragment.
Only IDs with a path are made here: a trust domain's own ID is never somebody who acts.
"""

import re
from typing import NamedTuple

MAX_LENGTH = 2048  # SPIFFE-ID.md 2.3
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")  # 2.1
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")  # 2.2


class SpiffeId(NamedTuple):
    trust_domain: str
    path: str  # without the leading slash, e.g. "agent/nightly"

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/{self.path}"


class MalformedSpiffeId(ValueError):
    """The text is no SPIFFE ID with a path; says which rule it breaks."""


def make(trust_domain: str, path: str) -> SpiffeId:
    """Return the ID of a path in a trust domain. Raises MalformedSpiffeId."""
    if not _TRUST_DOMAIN.fullmatch(trust_domain):
        raise MalformedSpiffeId("a trust domain has 1 to 255 characters of a-z 0-9 . - _")
    for segment in path.split("/"):
        if segment in ("", ".", "..") or not _SEGMENT.fullmatch(segment):
            raise MalformedSpiffeId("a path has non-empty segments of a-z A-Z 0-9 . - _, none of them . or ..")
    made = SpiffeId(trust_domain, path)
    if len(str(made)) > MAX_LENGTH:
        raise MalformedSpiffeId(f"a SPIFFE ID has at most {MAX_LENGTH} bytes")
    return made


def parse(text: str) -> SpiffeId:
    """Return the SPIFFE ID that a text spells. Raises MalformedSpiffeId."""
    if text[:9].lower() != "spiffe://":
        raise MalformedSpiffeId("a SPIFFE ID begins with spiffe://")
    trust_domain, slash, path = text[9:].partition("/")
    if not slash:
        raise MalformedSpiffeId("a trust domain alone names nobody who acts")
    return make(trust_domain.lower(), path)
