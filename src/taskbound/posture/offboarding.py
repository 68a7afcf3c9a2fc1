"""Offboarding: what somebody who leaves still holds in files and lists, and what to do about each, in order.

A credential that others hold too is told with who they are: to end it breaks them, so that it is never ended by itself.
What a login's server is, and whose it is, stands beside it in the file; where it does not, a person has to look.
"""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from taskbound.posture.entries import issuer_of, maker_of
from taskbound.posture.facts import text
from taskbound.posture.inventory import KEYS, Inventory
from taskbound.posture.rules.draft import label
from taskbound.posture.sighting import Holder, Place, Principal, Sighting
from taskbound.posture.units import Unit

NOT_HELD = frozenset({"person", "owner", "owner-list", "repository"})
LOGINS = frozenset({"postgres-role", "redis-user"})
AGENTS = frozenset({"agent", "mcp-server"})
SERVERS = ("postgresql://", "redis://")
# The step that ends a credential at who issued it, by how its kind begins. {name} is one word of a shell; a command can
# be pasted as it stands: what a person has to put in (…) comes after what shows it, and is refused as it is.
STEPS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("aws-",), "aws iam list-access-keys --user-name {name} && aws iam delete-access-key --user-name {name} …"),
    (
        ("gcp-service-account-key",),
        "gcloud iam service-accounts keys list --iam-account {name} && gcloud iam service-accounts keys delete … "
        "--iam-account {name}",
    ),
    (("github-deploy-key",), "delete it in the repository's settings, under deploy keys"),
    (("github-",), "GitHub: organisation settings, personal access tokens: revoke {name}; or let its owner delete it"),
    (
        ("gitlab-",),
        "glab api personal_access_tokens && glab api --method DELETE personal_access_tokens/…",
    ),
    (
        ("entra-", "azure-"),
        "az ad app list --display-name {name} && az ad app credential list --id … && "
        "az ad app credential delete --id … --key-id …",
    ),
)


@dataclass(frozen=True, slots=True)
class Held:
    """A credential, a login or a key in their hands."""

    what: str  # as reports name it
    kind: str
    issuer: str
    login: str
    name: str  # what a step is typed with
    places: tuple[Place, ...]  # in their hands; where it is in nobody's that is known to be theirs, all
    others: tuple[str, ...]  # who else holds it

    @property
    def can_be_asked(self) -> bool:
        """Whether its server may be one of ours, and whose login it is is known."""
        return self.issuer.startswith(SERVERS) and bool(self.login)


@dataclass(frozen=True, slots=True)
class Belongings:
    """What somebody has, as far as it was looked at."""

    is_known: bool  # whether anything that was looked at tells of them
    person: Principal | None
    has_left: bool  # whether the list says so
    identities: tuple[Principal, ...]
    held: tuple[Held, ...]
    answers_for: tuple[Principal, ...] = ()  # lines of CODEOWNERS

    def logins(self) -> list[dict[str, str]]:
        """Return the logins that may be ended by us: nobody else holds them. Listed: its server itself told of it."""
        mine = {(one.issuer, one.login): None for one in self.held if one.can_be_asked and not one.others}
        shared = {(one.issuer, one.login) for one in self.held if one.others}
        listed = {(one.issuer, one.login) for one in self.held if one.kind in LOGINS}
        return [
            {"issuer": key[0], "login": key[1], "proof": "listed" if key in listed else ""}
            for key in mine
            if key not in shared
        ]


def belongings(who: Sequence[str], sightings: Iterable[Sighting], as_of: date) -> Belongings:
    """Return what belongs to somebody: `who` is their name and the names of what they own, as people write them."""
    inventory = Inventory(sightings, as_of)
    names = frozenset(_bare(one) for one in who)
    person = next((found for one in sorted(names) if (found := inventory.person(one))), None)
    mine = tuple(one for one in inventory.all_principals if _is_theirs(one, names, person, inventory))
    ids = {one.id for one in mine}
    keys = tuple(
        one for one in inventory.keys if one.id in ids or text(one, "of") in ids or _owns(one, names, person, inventory)
    )
    held = [*_credentials(inventory, names, keys, mine), *_logins(mine)]
    told = {one.mark for unit in inventory.units for one in unit.credentials if inventory.key_of(unit) in keys}
    held += [_key(one) for one in keys if text(one, "mark") not in told and not inventory.held(one)]
    identities = tuple(one for one in mine if one.kind not in KEYS | LOGINS)
    has_left = person is not None and inventory.has_left(person.id.removeprefix("person:"))
    lines = tuple(one for of in inventory.code_owners.values() for one in of if _answers(one, names, person, inventory))
    return Belongings(bool(person or mine or held or lines), person, has_left, identities, tuple(held), lines)


def _bare(name: str) -> str:
    return re.sub(r"^(human|agent|service)/", "", name).lower()


def _words(name: str) -> set[str]:
    """Return the parts of a holder's name that may be an agent's: mcp:orders@shop is of orders and of shop."""
    return {name.lower(), *re.split(r"[:@/]", name.lower())}


def _is_held_by(holder: Holder, names: frozenset[str]) -> bool:
    """Whether a holder is one of them. A pipeline is nobody's, whatever repository it lies in."""
    if holder.kind in ("agent", "person"):
        return bool(_words(holder.name) & names)
    return holder.kind == "workload" and re.split("[:/]", holder.name.partition("@")[0].lower())[-1] in names


def _is_theirs(one: Principal, names: frozenset[str], person: Principal | None, inventory: Inventory) -> bool:
    if one.kind in NOT_HELD:
        return False
    if one.kind in LOGINS:
        return text(one, "login").lower() in names
    last = re.split(r"[:/]", one.id)[-1].lower()
    if last in names or one.id.lower() in names or (one.kind in AGENTS and _words(one.id) & names):
        return True
    return (person is not None and inventory.person(last) == person) or _owns(one, names, person, inventory)


def _owns(one: Principal, names: frozenset[str], person: Principal | None, inventory: Inventory) -> bool:
    owner = inventory.owner(one.id)
    if not owner:
        return False
    return owner.lower() in names or (person is not None and inventory.person(owner) == person)


def _answers(line: Principal, names: frozenset[str], person: Principal | None, inventory: Inventory) -> bool:
    """Whether a line of CODEOWNERS names them: by an address, or a login after its @; a team is nobody's."""
    owner = text(line, "owner").lower()
    return owner.lstrip("@") in names or (person is not None and inventory.person(owner.lstrip("@")) == person)


def _credentials(
    inventory: Inventory, names: frozenset[str], keys: Sequence[Principal], mine: Sequence[Principal]
) -> Iterator[Held]:
    users: dict[tuple[str, str], set[Holder]] = defaultdict(set)  # of a login, whatever password each has
    for one in (one for unit in inventory.units for one in unit.credentials if one.login):
        users[issuer_of(one), one.login].add(one.holder)
    theirs = {text(one, "server") + " " + text(one, "login") for one in mine if one.kind in LOGINS}
    for unit in inventory.units:
        first = next(iter(unit.secrets), unit.credentials[0])
        key = inventory.key_of(unit)
        holders = {one.holder for one in unit.credentials}
        own = {one for one in holders if _is_held_by(one, names)}
        by_login = any(one.login.lower() in names for one in unit.credentials if one.login)
        if not own and key not in keys and not by_login and f"{_server(unit)} {first.login}" not in theirs:
            continue
        yield Held(
            what=label(first),
            kind=first.kind,
            issuer=issuer_of(first),
            login=first.login,
            name=_typed(key) if key else first.login or first.name,
            places=tuple(dict.fromkeys(one.place for one in unit.credentials if not own or one.holder in own)),
            others=tuple(sorted(_names_of_others(holders | users.get((issuer_of(first), first.login), set()), names))),
        )


def _names_of_others(holders: Iterable[Holder], names: frozenset[str]) -> set[str]:
    return {one.name for one in holders if one.kind != "file" and not _is_held_by(one, names)}


def _server(unit: Unit) -> str:
    return issuer_of(unit.credentials[0]).partition("://")[2]


def _logins(mine: Iterable[Principal]) -> Iterator[Held]:
    """Yield logins that a server tells of, whether a file holds their password or not."""
    for one in mine:
        if one.kind in LOGINS and one.facts.get("enters") is not False:
            scheme = "postgresql" if one.kind == "postgres-role" else "redis"
            login = text(one, "login")
            yield Held(one.id, one.kind, f"{scheme}://{text(one, 'server')}", login, login, (one.place,), ())


def _key(key: Principal) -> Held:
    return Held(key.id, key.kind, maker_of(key.kind), "", _typed(key), (key.place,), ())


def _typed(key: Principal) -> str:
    """Return what a key is typed with at its issuer: the identity that it proves, else what it is called itself."""
    return (text(key, "of") or key.id).partition(":")[2].rpartition("/")[2]


# --- what is to be done ----------------------------------------------------------------------------


def step(one: Held) -> str:
    """Return what a person does to end a credential where it was issued."""
    name = shlex.quote(one.name or "NAME")
    if one.issuer.startswith("postgresql://") and one.login:
        role = '"' + one.login.replace('"', '""') + '"'
        user = "'" + one.login.replace("'", "''") + "'"
        ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {user}"
        psql = f"psql {shlex.quote(f'{one.issuer}/postgres')}"
        return f"{psql} -c {shlex.quote(f'ALTER ROLE {role} NOLOGIN')} -c {shlex.quote(ends)}"
    if one.issuer.startswith("redis://") and one.login:
        server = f"redis-cli -u {shlex.quote(one.issuer)}"
        return f"{server} ACL SETUSER {name} off && {server} CLIENT KILL USER {name}"
    if one.kind.startswith("gitlab-") and one.name.isdecimal():  # its id, from a list
        return f"glab api --method DELETE personal_access_tokens/{one.name}"
    found = next((words for begins, words in STEPS if one.kind.startswith(begins)), "revoke it at {issuer}")
    return found.format(name=name, issuer=one.issuer)


def record(done: Mapping[str, Any], has: Belongings, unseen: Sequence[str], *, dry: bool) -> Iterator[str]:
    """Yield the record for people: what was done, each with its proof, what a person has to do, what was not seen.

    `done` is what `POST /v1/offboardings` told.
    """
    yield f"{'WOULD OFFBOARD' if dry else 'OFFBOARDED'}  {done['name']}" + _state(done, dry)
    yield from _section("1  TASKS", [f"{id}  {'open' if dry else 'ended'}" for id in done["tasks"]])
    yield from _section("2  LEASES", [_lease(one) for one in done["leases"]])
    yield from _section("3  IDENTITIES", [f"{one['name']}  {one['state']}" for one in done["owned"]])
    yield from _section("4  LOGINS AT THEIR SERVERS", [_login(one, dry) for one in done["logins"]])
    yield from _section("5  ACCEPTED RISKS, OPEN AGAIN", done["accepted"])
    yield from _section("6  TO DO BY A PERSON", list(_left(done, has, dry)))
    yield from _section("7  NOT SEEN, NOT VERIFIED", [*unseen, *_unverified(done, has, dry)])


def _state(done: Mapping[str, Any], dry: bool) -> str:
    if done["state"] is None:
        return "  (not registered here)"
    return f"  is {done['state']}" if dry else f"  {done['state']}, in the log as identity.offboarded"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", title)
        yield from (f"  {line}" for line in lines)


def _lease(one: Mapping[str, Any]) -> str:
    return f"{one['lease']}  {one['target']}  {one['name']}  {one['state']}" + (
        f"  probe: {one['probe']}" if one["probe"] else ""
    )


def _login(one: Mapping[str, Any], dry: bool) -> str:
    where = f"{one['login']} at {one['issuer']}"
    return f"{where}  {one['before']}" if dry else f"{where}  {one['before']} -> {one['after']}  {one['why']}".rstrip()


def _dead(done: Mapping[str, Any], dry: bool) -> set[tuple[str, str]]:
    """Return the logins that are dead; in a dry run those too that would end: they still log in, and are asked."""
    told = ("dead", "alive") if dry else ("dead",)
    return {(one["issuer"], one["login"]) for one in done["logins"] if one["after"] in told}


def _left(done: Mapping[str, Any], has: Belongings, dry: bool) -> Iterator[str]:
    """Yield what nobody but a person can do, each with the exact step."""
    dead = _dead(done, dry)
    for one in has.held:
        if (one.issuer, one.login) not in dead:
            breaks = f"it breaks {', '.join(one.others)}, which hold"
            shared = (
                f"; {breaks} it too: give them one of their own first"
                if len(one.others) > 1
                else f"; {breaks}s it too: give it one of its own first"
            )
            yield f"{one.what}: {step(one)}{shared if one.others else ''}"
        yield from (f"  take it out of {at.path}:{at.line}" for at in one.places if one.kind not in LOGINS)
    for it in has.identities:
        yield f"{it.id} ({it.kind}): delete it, or give it another owner  ({it.place.path}:{it.place.line})"
    for it in has.answers_for:
        what = f"{text(it, 'pattern')} (it names {text(it, 'owner')})"
        yield f"{it.place.path}:{it.place.line}: name another owner of {what}"
    if has.person is not None and not has.has_left:
        yield f"{has.person.id.removeprefix('person:')}: deactivate the account in the directory"
    for one_of in ({"name": done["name"], "groups": done["groups"]}, *done["owned"]):
        if one_of["groups"]:
            yield f"{one_of['name']}: take it out of {', '.join(one_of['groups'])} (groups in registrations.toml)"
    for owned in (one for one in done["owned"] if one["state"] != "retired"):
        name = shlex.quote(owned["name"])
        yield f"{owned['name']}: give it a living owner in registrations.toml, or: taskbound identity retire {name}"


def _unverified(done: Mapping[str, Any], has: Belongings, dry: bool) -> Iterator[str]:
    dead = _dead(done, dry)
    yield from dict.fromkeys(one["why"] for one in done["logins"] if one["why"].startswith("cannot be verified"))
    told = {one["issuer"] for one in done["logins"]}
    issuers = {one.issuer for one in has.held if (one.issuer, one.login) not in dead} - told
    yield from (f"cannot be verified: {one}" for one in sorted(issuers))
    late = [one["lease"] for one in done["leases"] if one["state"] != "revoked"]
    yield from (f"lease {one} is not revoked yet: taskbound lease list" for one in late)
