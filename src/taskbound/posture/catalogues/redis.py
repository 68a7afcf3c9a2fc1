"""Users of a Redis, by the lines of `ACL LIST` (redis.io, "ACL"): what each one may do, and how it logs in.

A line holds digests of passwords, without salt. They are counted here, and go no further.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from taskbound.posture.catalogues.server import server
from taskbound.posture.sighting import Place, Principal, Sighting

_SELECTOR = re.compile(r"\(([^()]*)\)")
USERS_MADE_BY = frozenset({"@all", "allcommands", "nocommands", "@admin", "@dangerous", "acl", "acl|setuser"})


@dataclass(frozen=True, slots=True)
class User:
    """A line. `rules`: the main ones and one for each selector, each commands and keys."""

    name: str
    is_on: bool
    is_open: bool  # nopass: any password lets in
    passwords: int
    rules: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    @property
    def enters(self) -> bool:
        return self.is_on and (self.is_open or self.passwords > 0)


def user(line: str) -> User | None:
    """Read a line of `ACL LIST`; None where it is none."""
    main = _SELECTOR.sub("", line).split()
    if len(main) < 3 or main[0] != "user":
        return None
    words = main[2:]
    rules = tuple(filter(None, map(_rule, (words, *(one.split() for one in _SELECTOR.findall(line))))))
    hashes = sum(word.startswith("#") for word in words)
    return User(main[1], "on" in words, "nopass" in words, hashes, rules)


def sightings(name: str, users: Iterable[User], sessions: Sequence[str] | None) -> tuple[Sighting, ...]:
    """Return the users of the server redis://host:port, in order. `sessions`: whose connections there are now."""
    return tuple(_principals(name, sorted(users, key=lambda one: one.name), sessions))


def _principals(name: str, users: Iterable[User], sessions: Sequence[str] | None) -> Iterator[Principal]:
    where = name.removeprefix("redis://")
    for row, one in enumerate(users, start=1):
        everything = any(_is_everything(commands) for commands, _ in one.rules)
        may = tuple(f"{' '.join(commands)} on {' '.join(keys)} at {name}" for commands, keys in one.rules)
        facts: dict[str, object] = {
            "server": server(where, "redis"),
            "login": one.name,
            "enters": one.enters,
            "open": one.is_on and one.is_open,
            "passwords": one.passwords,
            "everything": everything,
            "may": (f"everything at {name}",) if everything else may,
            "expires": None,  # no password of Redis ends
        }
        if sessions is not None:
            facts["sessions"] = sum(session == one.name for session in sessions)
        yield Principal(f"redis-user:{one.name}@{where}", "redis-user", Place(f"{name}/acl", row), facts)


def _rule(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the commands and keys of one set of rules; None where it lets nothing be done with keys."""
    keys = tuple(word for word in words if word.startswith(("~", "%")) or word == "allkeys")
    commands = tuple(word for word in words if word[:1] in "+-" or word in ("allcommands", "nocommands"))
    allowed = any(word.startswith("+") or word == "allcommands" for word in commands)
    return (commands, keys or ("no key",)) if allowed else None


def _is_everything(commands: Sequence[str]) -> bool:
    """Whether ACL SETUSER is left: who may run it gives itself the rest, whatever was kept from it."""
    last = [word[0] if word[0] in "+-" else word for word in commands if word.lstrip("+-") in USERS_MADE_BY]
    return bool(last) and last[-1] in ("+", "allcommands")
