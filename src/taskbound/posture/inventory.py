"""Inventory: sightings joined. Credentials that are one, keys with the identities they prove, people, owners.

What one export says of an identity and what another says of it are put together by its id; a key of a list and the
value in a file by the keyed digest of value, identifier or last eight characters.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase

from taskbound.posture.catalogues.server import server
from taskbound.posture.counted import has_ended, made_up
from taskbound.posture.facts import called, moment, text
from taskbound.posture.joined import dated, grouped, joined, same_keys
from taskbound.posture.people import parts_of, people_of, person_of
from taskbound.posture.sighting import Credential, Place, Principal, Remark, Sighting, Use, Weakness
from taskbound.posture.units import Unit, units_of

KEYS = frozenset(
    {"aws-access-key", "gcp-service-account-key", "github-token", "github-deploy-key", "gitlab-token"}
    | {"entra-client-secret", "entra-certificate", "api-token", "account-password"}
)
NAMED = frozenset({"aws-iam-user", "aws-iam-role", "entra-app", "gcp-service-account", "service-account"})
LOGINS = frozenset({"postgres-role", "redis-user"})  # at servers that were asked
SERVICE = frozenset(
    {"svc", "service", "srv", "bot", "robot", "ci", "cd", "cicd", "deploy", "deployer", "agent", "app", "api", "job"}
    | {
        "jobs",
        "runner",
        "automation",
        "system",
        "sys",
        "terraform",
        "backup",
        "etl",
        "sync",
        "cron",
        "worker",
        "pipeline",
    }
)


class Inventory:
    """Everything that was seen, by what it is asked for. Built once, then only read."""

    def __init__(self, sightings: Iterable[Sighting], as_of: date) -> None:
        self.now = datetime.combine(as_of, time.max, UTC)
        seen = set[object]()
        credentials: list[Credential] = []
        self.weaknesses: list[Weakness] = []
        self.uses: list[Use] = []
        remarks: list[Remark] = []
        told: dict[tuple[str, str, str], list[Principal]] = defaultdict(list)
        code_owners: list[Principal] = []
        for one in sightings:
            if isinstance(one, Credential):
                if (which := (one.mark, one.place, one.holder.name)) not in seen:
                    seen.add(which)
                    credentials.append(one)
            elif isinstance(one, Weakness):
                self.weaknesses.append(one)
            elif isinstance(one, Use):
                self.uses.append(one)
            elif isinstance(one, Remark):
                remarks.append(one)
            elif one.kind == "owner":
                code_owners.append(one)
            else:
                # Each list of owners is one of its own: what has none is to be written down in the one that knows it.
                told[one.kind, one.id, one.place.path if one.kind == "owner-list" else ""].append(one)
        ended = frozenset(one.mark for one in credentials if has_ended(one, self.now))
        tried = made_up(credentials) - ended
        self.not_counted = {"ended": len(ended), "made_up": len(tried)}  # by why
        credentials = [one for one in credentials if one.mark not in ended and one.mark not in tried]
        self.credentials = sorted(credentials, key=_order)
        self.weaknesses.sort(key=lambda one: (one.case, one.subject, one.place))
        self.uses.sort(key=lambda one: (one.at, one.place, one.principal, one.by, one.address))
        remarks.sort(key=lambda one: (one.topic, one.of, one.place, repr(sorted(one.facts.items()))))
        self.remarks: Mapping[str, Sequence[Remark]] = grouped(remarks, lambda one: one.topic)
        principals = [
            person_of(of) if kind == "person" and len(of) > 1 else joined(of) for (kind, *_), of in sorted(told.items())
        ]
        self.all_principals = principals
        self.principals = {one.id: one for one in principals}
        self.owners_of = {one.of.lower(): one for one in self.remarks.get("owner-of", ())}
        self.by_kind: Mapping[str, Sequence[Principal]] = grouped(principals, lambda one: one.kind)
        self.people = dict(people_of(self.by_kind.get("person", ())))
        self._parts_of_people = set(parts_of(self.people))
        self.code_owners = grouped(sorted(code_owners, key=lambda one: (one.place, one.id)), _root)
        self.keys = tuple(dated(one, self.now) for one in same_keys(one for one in principals if one.kind in KEYS))
        self._keys_of = grouped(self.keys, lambda one: text(one, "of"))
        self.units = units_of(self.credentials)
        logins = (one for one in principals if one.kind in LOGINS)
        self._logins = {(text(one, "server"), text(one, "login")): one for one in logins}
        self._by_mark: dict[str, list[Credential]] = defaultdict(list)
        self._by_tail: dict[str, list[Credential]] = defaultdict(list)
        for held in self.credentials:
            self._by_mark[held.mark].append(held)
            if held.tail:
                self._by_tail[held.tail].append(held)
        self._key_of = {known: key for key in self.keys for known in _known_by(key)}

    def held(self, key: Principal) -> tuple[Credential, ...]:
        """Return where the value of a key, or its identifier, lies in files."""
        return (*self._by_mark.get(text(key, "mark"), ()), *self._by_tail.get(text(key, "tail"), ()))

    def keys_of(self, identity: str) -> Sequence[Principal]:
        """Return the keys that prove an identity."""
        return self._keys_of.get(identity, ())

    def key_of(self, unit: Unit) -> Principal | None:
        """Return what a list says of a credential."""
        for one in unit.credentials:
            if key := self.key_of_mark(one):
                return key
        return None

    def key_of_mark(self, one: Credential) -> Principal | None:
        """Return what a list says of the credential in one place."""
        return self._key_of.get(one.mark) or (self._key_of.get(one.tail) if one.tail else None)

    def login_of(self, one: Credential) -> Principal | None:
        """Return the login that a credential is said to be of, at a server that was asked."""
        if not (self._logins and one.target and one.login):
            return None
        return self._logins.get((server(one.target, one.kind), one.login))

    def logins_of(self, unit: Unit) -> Sequence[tuple[Credential, Principal]]:
        return [(one, login) for one in unit.credentials if (login := self.login_of(one))]

    def with_mark(self, mark: str) -> tuple[Credential, ...]:
        """Return where a value or an identifier lies."""
        return tuple(self._by_mark.get(mark, ()))

    def person(self, name: str) -> Principal | None:
        """Return a person of the list by mail, by login, or by a login that is the mail's local part."""
        name = name.strip().removeprefix("@").lower()
        if written := re.search(r"<([^<>@\s]+@[^<>\s]+)>", name):  # Jane Doe <jane.doe@…>
            name = written[1]
        return self.people.get(name) or self.people.get(re.sub(r"[._+-]", "", name))

    def has_left(self, name: str) -> bool:
        person = self.person(name)
        if person is None:
            return False
        left_on = moment(person, "left_on")
        return bool(person.facts.get("left")) or (left_on is not None and left_on <= self.now)

    def left_on(self, name: str) -> datetime | None:
        person = self.person(name)
        return moment(person, "left_on") if person else None

    def owner(self, identity: str) -> str:
        """Return who owns an identity or key, as a mail where the list of people has one; "" where nobody is known."""
        principal = self.principals.get(identity)
        if principal is None:
            return ""
        owners = principal.facts.get("owners")
        named = text(principal, "owner") or (str(owners[0]) if isinstance(owners, tuple) and owners else "")
        named = named or self.said_owner(principal)
        return self.named(named) if named else self.owner(text(principal, "of"))

    def said_owner(self, one: Principal) -> str:
        """Return who owns an identity by a list of names and owners; "" where none has its name."""
        said = self.owners_of.get(called(one)) if one.kind in NAMED else None
        return text(said, "owner") if said else ""

    def named(self, name: str) -> str:
        person = self.person(name)
        return person.id.removeprefix("person:") if person else name

    def owner_of(self, place: Place) -> str:
        """Return the owners of a file by the nearest CODEOWNERS above it: the last line that fits counts."""
        if "://" in place.path:  # of a server: in no repository
            return ""
        parts = place.path.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            lines = self.code_owners.get("/".join(parts[:depth]), ())
            inside = "/".join(parts[depth:])
            covering = [line for line in lines if _covers(text(line, "pattern"), inside)]
            if covering:
                last = [line for line in covering if line.place == covering[-1].place]
                return ", ".join(dict.fromkeys(self.named(text(line, "owner")) for line in last))
        return ""

    def is_service(self, identity: str) -> bool:
        """Tell whether an identity is a service's: its name says so, or who owns it, and it is nobody of the people."""
        name = identity.rpartition("/")[2].lower()
        if self.person(name) or self.person(name.partition("@")[0]):
            return False
        words = set(re.split(r"[^a-z]+", name))
        return bool(SERVICE & words or self.owner(identity)) or bool(self.people and not self._resembles(words))

    def _resembles(self, words: set[str]) -> bool:
        """Tell whether a name is made of a person's: jane, doe.j and jdoe are jane.doe@…."""
        return not self._parts_of_people.isdisjoint(words)


def _order(one: Credential) -> tuple[Place, str, str, str, str, str, str, str]:
    """All that is seen of a credential but its marks: their key is another in each run, and on each machine."""
    return one.place, one.kind, one.name, one.spot, one.last4, one.holder.name, one.target, one.encoding


def _root(one: Principal) -> str:
    """Return the folder that a CODEOWNERS is for: where it lies, or above .github, .gitlab and docs."""
    folders = one.place.path.split("/")[:-1]
    return "/".join(folders[:-1] if folders and folders[-1] in (".github", ".gitlab", "docs") else folders)


def _known_by(key: Principal) -> Iterator[str]:
    yield from (found for fact in ("mark", "tail") if (found := text(key, fact)))


def _covers(pattern: str, inside: str) -> bool:
    """Tell whether a line of CODEOWNERS covers a file, by its path inside the repository."""
    pattern = pattern.strip()
    if pattern in ("*", "**", "/**", ""):
        return True
    if pattern.startswith("/"):
        tried = [pattern[1:]]
    elif "/" in pattern.rstrip("/"):
        tried = [pattern]
    else:
        tried = [pattern, f"*/{pattern}"]
    return any(
        fnmatchcase(inside, one) or fnmatchcase(inside, f"{one.rstrip('/')}/*")
        for one in (t.replace("**", "*") for t in tried)
    )
