"""Stats: how many identities that are no humans there are, whose they are, how long they live, what binds them.

They come from two sources, counted together and told apart: the registry of `up`, which knows when each began and ended
and whether it worked in tasks; and what was seen in files and lists, of which nothing is bound to a task.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median
from typing import Any

from taskbound.posture.facts import moment
from taskbound.posture.inventory import KEYS, Inventory
from taskbound.posture.report.lines import counted as counted_as
from taskbound.posture.sighting import Sighting

NONE_OF_THEM = frozenset({"person", "owner", "owner-list", "repository"}) | KEYS  # a key proves an identity, it is none
HUMAN = frozenset({"aws-iam-user", "postgres-role"})  # kinds of which some are people's
DAYS = 14  # told to people, the last ones; --format json tells all


@dataclass(frozen=True, slots=True)
class Known:
    """An identity that is no human."""

    kind: str
    source: str  # registry, files
    owner: str  # "": nobody who is still here
    since: datetime | None
    until: datetime | None = None
    is_governed: bool = False  # what it can do is bound to tasks: it is registered, and has worked in one


@dataclass(frozen=True, slots=True)
class Stats:
    """What was counted. `is_registry_known`: whether an `up` was asked."""

    known: tuple[Known, ...]
    people: frozenset[str]
    now: datetime
    is_registry_known: bool

    @property
    def live(self) -> tuple[Known, ...]:
        return tuple(one for one in self.known if one.until is None)

    @property
    def per_person(self) -> float | None:
        return len(self.live) / len(self.people) if self.people else None

    @property
    def days(self) -> dict[date, tuple[int, int]]:
        """How many began and ended on each day on which one did."""
        new = Counter(one.since.date() for one in self.known if one.since)
        gone = Counter(one.until.date() for one in self.known if one.until)
        return {day: (new[day], gone[day]) for day in sorted(new.keys() | gone.keys())}

    @property
    def median_life(self) -> float | None:
        """Days, of those that ended."""
        lives = [(one.until - one.since).total_seconds() / 86_400 for one in self.known if one.since and one.until]
        return median(lives) if lives else None

    @property
    def median_age(self) -> float | None:
        """Days until now, of those that live."""
        ages = [(self.now - one.since).total_seconds() / 86_400 for one in self.live if one.since]
        return median(ages) if ages else None

    def share(self, of: Iterable[bool]) -> float | None:
        told = list(of)
        return sum(told) / len(told) if told else None

    @property
    def with_an_owner(self) -> float | None:
        return self.share(bool(one.owner) for one in self.live)

    @property
    def governed(self) -> float | None:
        return self.share(one.is_governed for one in self.live)


def stats(lives: Sequence[Mapping[str, Any]] | None, sightings: Iterable[Sighting], now: datetime) -> Stats:
    """Return what there is at a moment. `lives` as `GET /v1/identities/lives` tells them; None: nobody was asked."""
    humans = {one["name"] for one in lives or () if one["kind"] == "human" and one["state"] == "registered"}
    inventory = Inventory(sightings, now.date())
    seen = {
        one.id.removeprefix("person:") for one in inventory.by_kind.get("person", ()) if not _left(inventory, one.id)
    }
    known = (*_registered(lives or (), humans), *_seen(inventory))
    people = {_person(one) for one in humans} | {_person(one) for one in seen}
    return Stats(known, frozenset(people), now, lives is not None)


def _person(name: str) -> str:
    """Return what a person is called in both sources: human/kaya is kaya@example.org."""
    return name.removeprefix("human/").partition("@")[0].lower()


def _left(inventory: Inventory, id: str) -> bool:
    return inventory.has_left(id.removeprefix("person:"))


def _registered(lives: Iterable[Mapping[str, Any]], humans: set[str]) -> Iterator[Known]:
    for one in lives:
        if one["kind"] != "human":
            yield Known(
                one["kind"],
                "registry",
                _person(one["owner"]) if one["owner"] in humans else "",
                _moment(one["since"]),
                _moment(one["until"]),
                one["has_worked"] and one["state"] != "retired",
            )


def _seen(inventory: Inventory) -> Iterator[Known]:
    for one in inventory.all_principals:
        if one.kind in NONE_OF_THEM or inventory.person(one.id.rpartition("/")[2]) is not None:
            continue
        if one.kind in HUMAN and not inventory.is_service(one.id):
            continue
        owner = inventory.owner(one.id) or inventory.owner_of(one.place)
        owner = "" if owner and inventory.has_left(owner) else owner
        yield Known(one.kind, "files", _person(owner), moment(one, "created"))


def _moment(told: str | None) -> datetime | None:
    return datetime.fromisoformat(told) if told else None


def as_json(counted: Stats) -> dict[str, Any]:
    return {
        "identities": len(counted.live),
        "by_source": dict(sorted(Counter(one.source for one in counted.live).items())),
        "by_kind": dict(sorted(Counter(one.kind for one in counted.live).items())),
        "people": len(counted.people),
        "per_person": counted.per_person,
        "owners": dict(sorted(Counter(one.owner for one in counted.live if one.owner).items())),
        "days": [{"day": day.isoformat(), "new": new, "retired": gone} for day, (new, gone) in counted.days.items()],
        "median_life_days": counted.median_life,
        "median_age_days": counted.median_age,
        "with_owner": counted.with_an_owner,
        "governed": counted.governed,
        "registry": counted.is_registry_known,
    }


def as_table(counted: Stats) -> Iterator[str]:
    live = counted.live
    sources = Counter(one.source for one in live)
    told = ", ".join(f"{sources[one]:,} in {where}" for one, where in SOURCES.items() if sources[one])
    yield f"{counted_as(len(live), 'non-human identity', 'non-human identities')}{f': {told}' if told else ''}"
    if not counted.is_registry_known:
        yield "the registry was not asked: taskbound up does not run here"
    yield f"for each person      {_number(counted.per_person)} ({len(counted.people):,} people)"
    yield f"with an owner        {_percent(counted.with_an_owner)}"
    yield f"bound to tasks       {_percent(counted.governed)}"
    yield f"median life          {_number(counted.median_life, ' days')} of those that ended"
    yield f"median age           {_number(counted.median_age, ' days')} of those that live"
    owners = Counter(one.owner for one in live if one.owner).most_common(10)
    yield from ("", "OWNERS") if owners else ()
    yield from (f"  {count:6,}  {name}" for name, count in owners)
    days = list(counted.days.items())[-DAYS:]
    yield from ("", "DAY         NEW  RETIRED") if days else ()
    yield from (f"{day}  {new:3,}  {gone:7,}" for day, (new, gone) in days)


SOURCES = {"registry": "the registry", "files": "files and lists"}


def _number(value: float | None, unit: str = "") -> str:
    return "not known" if value is None else f"{value:,.1f}{unit}"


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0%}"
