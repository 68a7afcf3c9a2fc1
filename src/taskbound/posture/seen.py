"""Seen: what a discoverer hands over, part by part, and what it could not look at."""

from dataclasses import dataclass

from taskbound.posture.sighting import Holder, Sighting


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
