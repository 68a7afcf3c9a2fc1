"""Finding: something wrong that a scan saw, kept until it is gone from every place and dead where it was issued.

Its id is made of what it is about: case, subjects and places, so that two scans of one thing raise one finding. A
person may answer for one until a day (`accepted`); from then on it is open again, whoever looks first. The value of a
credential is nowhere in it.
"""

import hashlib
from base64 import b32encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from taskbound.core.event import Kind
from taskbound.core.thing import Lifecycle

SEVERITIES = ("critical", "high", "medium", "low")  # the worst first
TEXT = 4096  # bytes of a sentence, a path or a step, at most
NAME = 512  # bytes of a name
MANY = 1000  # subjects, places and credentials of one finding


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of a file on the machine that was looked at, or of what a server told of itself."""

    path: str  # absolute; of a server its address
    line: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential in a finding, and where it would die."""

    mark: str  # the beginning of its keyed digest, as reports print it; "": a list told of it, no file holds it
    kind: str  # github-pat, postgresql-password, …
    issuer: str  # postgresql://host:port, or the name of who makes such ones
    login: str = ""  # whose it is there; "": not known


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, with its evidence, who answers for it, and what would end it."""

    LIFECYCLE: ClassVar[Lifecycle] = {
        "":         {Kind.FINDING_RAISED: "raised"},
        # Raised again: why it is kept although it was not seen any more.
        "raised":   {Kind.FINDING_RAISED: "raised", Kind.FINDING_ACCEPTED: "accepted", Kind.FINDING_CLOSED: "closed"},
        "accepted": {Kind.FINDING_ACCEPTED: "accepted", Kind.FINDING_RAISED: "raised", Kind.FINDING_CLOSED: "closed"},
        "closed":   {Kind.FINDING_RAISED: "raised"},
    }  # fmt: skip
    INDEXED: ClassVar[tuple[str, ...]] = ("seen_as", "accepted_by", "state")

    id: str
    org: str
    seen_as: str  # the id that reports of a scan give it
    case: str
    severity: str
    says: str
    subjects: tuple[str, ...]
    places: tuple[Spot, ...]
    issued: tuple[Issued, ...]
    owner: str  # as the scan knows it; "": nobody
    next: str
    raised: datetime
    kept: str = ""  # why it is still open though it is gone from its places: cannot be verified: …
    accepted_by: str = ""  # SPIFFE ID of the human who answers for leaving it so
    reason: str = ""
    due: datetime | None = None  # until when it is accepted, or was
    state: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in ("raised", "accepted")

    def is_accepted(self, now: datetime) -> bool:
        """Whether somebody answers for it at this moment."""
        return self.state == "accepted" and self.due is not None and now < self.due


def finding_id(case: str, subjects: Sequence[str], paths: Sequence[str]) -> str:
    """Return the id of a finding: the same for the same thing in the same files. Lines move; they are no part of it."""
    about = "\0".join((case, *subjects, "", *sorted(set(paths))))
    return "f" + b32encode(hashlib.sha256(about.encode(errors="surrogatepass")).digest()).decode().lower()[:20]


def why_kept(finding: Finding, standings: Mapping[Issued, str]) -> str:
    """Return why a finding that is gone from its places stays open; "" where all that was in it is dead.

    `standings`: what the issuers said of those that could be asked about: alive, dead, unknown.
    """
    alive, unverified = [], []
    for one in finding.issued:
        match standings.get(one, "unknown"):
            case "dead":
                continue
            case "alive":
                alive.append(f"{one.login} still logs in at {one.issuer}")
            case _:
                unverified.append(f"cannot be verified: {one.issuer}")
    return "; ".join(dict.fromkeys((*alive, *unverified)))
