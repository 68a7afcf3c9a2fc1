"""Seen: what stands in a file, what a discoverer hands over, part by part, and what it could not look at."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from taskbound.posture.sighting import Holder, Place, Sighting, Use, Weakness


@dataclass(frozen=True, slots=True)
class Scanned:
    """What stands in a file. `holders`: all that its format says could hold something, whether they do or not."""

    sightings: tuple[Sighting, ...] = ()
    holders: tuple[Holder, ...] = ()
    problem: str = ""  # why it could not be read to its end


NOTHING = Scanned()  # what stands in most files
Scan = Callable[[str, bytes, str, bool], Scanned]  # path, data, repository, whether the data is the whole file


def moved(scanned: Scanned, path: str, lines: int) -> Scanned:
    """Return what was seen as it is in the file that a part or an unpacked text belongs to, `lines` further down."""

    def there(place: Place) -> Place:
        return Place(path, place.line + lines)

    def one(sighting: Sighting) -> Sighting:
        if isinstance(sighting, Weakness):
            return replace(sighting, place=there(sighting.place), more=tuple(map(there, sighting.more)))
        if isinstance(sighting, Use):
            return replace(sighting, place=there(sighting.place), more=tuple(map(there, sighting.more)))
        return replace(sighting, place=there(sighting.place))

    return replace(scanned, sightings=tuple(map(one, scanned.sightings)))


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that lies there and was not looked at, or not to its end."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a discoverer has seen since it last said something."""

    sightings: tuple[Sighting, ...] = ()
    holders: tuple[Holder, ...] = ()  # all that it knows could hold a credential, whether they do or not
    unread: tuple[Unread, ...] = ()
    repositories: tuple[str, ...] = ()
    files: int = 0  # looked at
    skipped: int = 0  # of a kind that is never looked at: no text
    size: int = 0  # bytes of what was looked at
    servers: int = 0  # asked about their logins, which answered
    known: int = 0  # files found until now, looked at or not: for who shows how far it is


def joined(parts: Iterable[Seen]) -> Seen:
    """Return what was seen in some files as what was seen in all of them."""
    all_ = tuple(parts)
    return Seen(
        sightings=tuple(one for part in all_ for one in part.sightings),
        holders=tuple(dict.fromkeys(one for part in all_ for one in part.holders)),
        unread=tuple(one for part in all_ for one in part.unread),
        files=sum(part.files for part in all_),
        skipped=sum(part.skipped for part in all_),
        size=sum(part.size for part in all_),
    )
