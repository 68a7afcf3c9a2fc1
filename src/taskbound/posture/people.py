"""People: by every name that lists give them, and when they have left."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from taskbound.posture.facts import moment, texts
from taskbound.posture.joined import grouped, joined
from taskbound.posture.sighting import Principal

_UNKNOWN = datetime.max.replace(tzinfo=UTC)


def person_of(of: Sequence[Principal]) -> Principal:
    """Put together what several lists say of a person: gone is who is gone by one of them, an application's aside.

    A table that has a person twice, gone and here, tells of two employments.
    """
    lists = grouped([one for one in of if not one.facts.get("account")] or of, lambda one: one.place.path).values()
    gone = [list(filter(None, map(_gone_since, rows))) for rows in lists if all(map(_gone_since, rows))]
    left_on = min((max((day for day in days if day != _UNKNOWN), default=_UNKNOWN) for days in gone), default=None)
    facts = {
        "left": left_on == _UNKNOWN,
        "left_on": None if left_on == _UNKNOWN else left_on,
        "logins": tuple(dict.fromkeys(login for one in of for login in texts(one, "logins"))),
        "account": all(one.facts.get("account") for one in of),
    }
    one = joined(of)
    return Principal(one.id, one.kind, one.place, {**one.facts, **facts})


def _gone_since(one: Principal) -> datetime | None:
    """Return when somebody has left by one list, or is to leave; _UNKNOWN where it says no day."""
    return moment(one, "left_on") or (_UNKNOWN if one.facts.get("left") else None)


def people_of(people: Sequence[Principal]) -> Iterator[tuple[str, Principal]]:
    """Yield each person by every name: mail, logins, the mail's local part; one that several share names nobody."""
    names: dict[str, set[str]] = defaultdict(set)
    by_id = {one.id: one for one in people}
    nameless = {one.id for one in people if one.facts.get("account") and "@" not in one.id}
    accounts = [one for one in people if one.id in nameless]
    people = [one for one in people if one.id not in nameless]
    for one in people:
        for name in (one.id.removeprefix("person:"), *texts(one, "logins")):
            names[name.lower()].add(one.id)
    told = set(names)  # a login that the list tells is nobody else's local part
    for one in people:
        local = one.id.removeprefix("person:").partition("@")[0]
        for name in {local, re.sub(r"[._+-]", "", local)} - told:
            names[name].add(one.id)
    for one in accounts:  # without an address it is somebody's whose login, or name, it has
        called = [name.lower() for name in (one.id.removeprefix("person:"), *texts(one, "logins"))]
        whose = next((names[name] for name in called if name in names), {one.id})
        for name in called:
            names[name] |= whose
    taken = set(names)
    for one in people:  # jdoe and janed of jane.doe, where nobody else could be meant
        for name in set(_initialled(one.id.removeprefix("person:"))) - taken:
            names[name].add(one.id)
    yield from ((name, by_id[min(ids)]) for name, ids in names.items() if len(ids) == 1)


def _initialled(mail: str) -> Iterator[str]:
    """Yield the logins that are made of an address: first letter and last name, first name and last letter."""
    parts = re.split(r"[^a-z]+", mail.partition("@")[0])
    if len(parts) == 2 and len(parts[0]) > 1 and len(parts[1]) > 2:
        yield from (parts[0][:1] + parts[1], parts[0] + parts[1][:1])


def parts_of(people: Iterable[str]) -> Iterator[str]:
    """Yield the parts of people's names of which a login may be made: jane, doe, jdoe, janed."""
    for name in people:
        parts = re.split(r"[^a-z]+", name.partition("@")[0])
        yield from (part for part in parts if len(part) > 2)
        if len(parts) > 1:
            yield from (parts[0][:1] + parts[-1], parts[0] + parts[-1][:1])
