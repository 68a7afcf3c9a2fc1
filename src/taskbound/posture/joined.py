"""Joined: what several places say of one thing is put together, and what has something in common."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from taskbound.posture.facts import moment, text
from taskbound.posture.sighting import Principal

T = TypeVar("T")
K = TypeVar("K")


def joined(of: Sequence[Principal]) -> Principal:
    """Put together what several lists say of one; the place is where most is said."""
    if len(of) == 1:
        return of[0]
    best = max(of, key=lambda one: (len(one.facts), one.place.path, -one.place.line))
    facts: dict[str, object] = {}
    for one in (*(one for one in of if one is not best), best):
        facts |= one.facts
    return Principal(best.id, best.kind, best.place, facts)


def same_keys(keys: Iterable[Principal]) -> tuple[Principal, ...]:
    """Join keys that two lists tell of: of one identity, made on one day."""
    known: dict[object, Principal] = {}
    for one in keys:
        created = moment(one, "created")
        same = (one.kind, text(one, "of"), created.date()) if created and text(one, "of") else one.id
        if one.kind != "aws-access-key":
            same = one.id
        known[same] = joined([known[same], one]) if same in known else one
    return tuple(known.values())


def grouped(of: Iterable[T], by: Callable[[T], K]) -> dict[K, list[T]]:
    """Return values by what they have in common, in the order in which they come."""
    groups: dict[K, list[T]] = defaultdict(list)
    for one in of:
        groups[by(one)].append(one)
    return dict(groups)
