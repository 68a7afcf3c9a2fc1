"""Joined: what several places say of one thing is put together, and what has something in common."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
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


_SINCE = (("created", "age"), ("used", "idle"))  # a day, and how many days before the scan it was


def dated(key: Principal, now: datetime) -> Principal:
    """Give a key its days, where a list counts them back from the day of the scan ("400 days ago")."""
    told = {fact: now - timedelta(days=days) for fact, since in _SINCE if isinstance(days := key.facts.get(since), int)}
    return Principal(key.id, key.kind, key.place, {**key.facts, **told}) if told else key
