"""Leaf: what the log keeps of an event for ever: its header, with a salted commitment to its body (INTERFACES 9).

The header is canonical JSON and becomes a leaf of the organisation's tree. The body lies beside
it: who has it and its salt can show that it is the one; once both are erased, what is left says
nothing about it, and every proof still verifies. Which bodies were erased stands in the header of
`body.erased`, as ranges of indexes, so that it cannot itself be erased.

A leaf says its organisation and index, so a leaf that was moved is not one of its new place.
A version is for ever: a reader of a later one reads this one.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from taskbound.core.event import Kind

VERSION = 1
LIMIT = 1024  # bytes of a leaf; what is longer belongs into the body
NAMED = LIMIT // 2  # bytes of a leaf that name what was erased
MEMBERS = frozenset(("v", "org", "index", "kind", "at", "by", "noun", "id", "request", "body"))
_RANGE = re.compile(r"(0|[1-9][0-9]{0,17})(?:-([1-9][0-9]{0,17}))?")


class MalformedLeaf(ValueError):
    """The bytes are no leaf of a known version."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in a leaf besides its version and index. `kind` is text: a reader meets later kinds too."""

    org: str
    kind: str
    at: datetime
    by: str
    noun: str
    id: str
    request: str
    commitment: bytes


@dataclass(frozen=True, slots=True)
class Fact:
    """An event as the log has it. `row` is the store's own number; `index` is None until it is sealed."""

    row: int
    index: int | None
    header: Header
    salt: bytes | None  # None with the body: erased
    body: bytes | None


def commitment(salt: bytes, body: bytes) -> bytes:
    return hashlib.sha256(salt + body).digest()


def render_leaf(header: Header, index: int) -> bytes:
    """Return the leaf: canonical JSON. Raises MalformedLeaf for a text that has no UTF-8 form."""
    return render_flat(
        {
            "at": header.at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z",
            "body": header.commitment.hex(),
            "by": header.by,
            "id": header.id,
            "index": index,
            "kind": str(header.kind),
            "noun": header.noun,
            "org": header.org,
            "request": header.request,
            "v": VERSION,
        }
    )


def parse_leaf(leaf: bytes) -> tuple[int, Header]:
    """Return the index and the header that a leaf says. Raises MalformedLeaf."""
    said = parse_flat(leaf)
    if said.keys() != MEMBERS or said["v"] != VERSION or type(said["index"]) is not int:
        raise MalformedLeaf("not the members of a leaf of version 1")
    if not all(isinstance(said[name], str) for name in MEMBERS - {"index", "v"}):
        raise MalformedLeaf("a member of the leaf is of another type")
    try:
        header = Header(
            org=said["org"],
            kind=said["kind"],
            at=datetime.fromisoformat(said["at"]).astimezone(UTC),
            by=said["by"],
            noun=said["noun"],
            id=said["id"],
            request=said["request"],
            commitment=bytes.fromhex(said["body"]),
        )
        if render_leaf(header, said["index"]) == leaf:
            return said["index"], header
    except (ValueError, OverflowError):
        pass
    raise MalformedLeaf("the leaf is not in its canonical form")


_render_flat = msgspec.json.Encoder(order="sorted").encode


def render_flat(members: Mapping[str, str | int]) -> bytes:
    """Return the canonical JSON (RFC 8785) of an object of texts and small integers, by ASCII names.

    For these msgspec writes the same as `canonical.render`, many times as fast.
    """
    try:
        return _render_flat(members)
    except UnicodeEncodeError:
        raise MalformedLeaf("a text has no UTF-8 form") from None


def parse_flat(text: bytes) -> dict[str, Any]:
    """Return the members of an object. Raises MalformedLeaf.

    One member named twice, or spelled otherwise, is for the caller to see: what it read does not
    render to the same bytes.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise MalformedLeaf("not an object of JSON")
    return said


def erased_by(header: Header) -> list[range]:
    """Return the ranges of indexes whose bodies this fact erased; none for any other kind. Raises MalformedLeaf."""
    return parse_ranges(header.id) if header.kind == Kind.BODY_ERASED else []


def render_ranges(indexes: Iterable[int], limit: int = NAMED) -> tuple[str, int]:
    """Return ascending indexes as text, "0-41,43", of at most `limit` bytes, and how many of them it names."""
    parts: list[str] = []
    named = 0
    for run in _runs(indexes):
        part = f"{run.start}-{run[-1]}" if len(run) > 1 else str(run.start)
        if sum(map(len, parts)) + len(parts) + len(part) > limit:
            break
        parts.append(part)
        named += len(run)
    return ",".join(parts), named


def parse_ranges(text: str) -> list[range]:
    """Return the ranges, ascending and apart. Raises MalformedLeaf."""
    ranges: list[range] = []
    for part in text.split(","):
        spelled = _RANGE.fullmatch(part)
        first = int(spelled[1]) if spelled else 0
        last = int(spelled[2] or first) if spelled else -1
        if last < first or (ranges and first < ranges[-1].stop):
            raise MalformedLeaf("indexes are spelled 0-41,43 in ascending order")
        ranges.append(range(first, last + 1))
    return ranges


def _runs(indexes: Iterable[int]) -> list[range]:
    runs: list[range] = []
    for index in indexes:
        if runs and index == runs[-1].stop:
            runs[-1] = range(runs[-1].start, index + 1)
        else:
            runs.append(range(index, index + 1))
    return runs
