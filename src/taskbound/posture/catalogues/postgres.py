"""Roles of a PostgreSQL, as its catalogue has them: who logs in, who is a member of what, what each one may do.

What a role may do is said where it is granted: a member leads on to the role that it is a member of, and every login
to what is granted to everybody. That a schema may have to be opened too (USAGE) is not weighed: a grant counts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskbound.posture.catalogues.server import server
from taskbound.posture.sighting import Place, Principal, Sighting, Weakness

# Members of these act as the machine's user that runs the server, and so do all that it does.
AS_SERVER = frozenset({"pg_execute_server_program", "pg_write_server_files", "pg_read_server_files"})
# What a role may do anywhere at the server, by attribute; but for SUPERUSER, which is everything.
ATTRIBUTES: Mapping[str, str] = {
    "creates_roles": "make and change roles at {server}",
    "creates_databases": "make databases at {server}",
    "replicates": "copy all data of {server} (REPLICATION)",
    "bypasses": "read rows of others at {server} (BYPASSRLS)",
}
# What members of predefined roles may do (PostgreSQL documentation, 21.5); those of all others are told by grants.
PREDEFINED: Mapping[str, str] = {
    "pg_execute_server_program": "run programs on the machine of {server}",
    "pg_write_server_files": "write files on the machine of {server}",
    "pg_read_server_files": "read files on the machine of {server}",
    "pg_read_all_data": "read all tables of {server}",
    "pg_write_all_data": "write all tables of {server}",
    "pg_signal_backend": "end sessions at {server}",
}
EVERYBODY = "PUBLIC"
NAMED = 3  # tables: of more than that their number is told
ALL = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"})


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    enters: bool
    is_super: bool
    creates_roles: bool
    creates_databases: bool
    replicates: bool
    bypasses: bool
    is_first: bool  # the one that initdb made: there has to be one
    is_over: bool  # VALID UNTIL is past
    connections: int  # at most; -1: no limit
    expires: datetime | None
    has_password: bool | None = None  # None: not seen
    is_md5: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do with those tables of a schema with which they may do the same."""

    role: str  # "": everybody
    schema: str
    privileges: tuple[str, ...]
    tables: int
    names: tuple[str, ...]  # of the first ones


@dataclass(frozen=True, slots=True)
class Line:
    """A line of pg_hba.conf that lets in."""

    number: int
    type: str  # local, host, hostssl, …
    method: str
    address: str
    databases: tuple[str, ...]
    users: tuple[str, ...]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What was read. None where it could not be."""

    name: str  # postgresql://host:port
    database: str  # whose tables were looked at
    roles: Sequence[Role] = ()
    members: Sequence[tuple[str, str]] = ()  # who, of which role
    sessions: Mapping[str, int] | None = None
    grants: Sequence[Grant] = ()
    lines: Sequence[Line] = ()


def sightings(catalogue: Catalogue) -> tuple[Sighting, ...]:
    return (*_principals(catalogue), *_weaknesses(catalogue))


def _principals(catalogue: Catalogue) -> Iterator[Principal]:
    where = catalogue.name.removeprefix("postgresql://")

    def id_of(role: str) -> str:
        return f"postgres-role:{role}@{where}"

    member_of = defaultdict[str, list[str]](list)
    for member, role in catalogue.members:
        member_of[member].append(role)
    granted = defaultdict[str, list[Grant]](list)
    for grant in catalogue.grants:
        granted[grant.role or EVERYBODY].append(grant)
    roles = sorted(catalogue.roles, key=lambda one: one.name)
    supers = {one.name for one in roles if one.is_super} | AS_SERVER
    joined = {role for _, role in catalogue.members}
    for row, one in enumerate(roles, start=1):
        if one.name.startswith("pg_") and one.name not in joined:
            continue  # of the server itself, and nobody's
        above = _above(one.name, member_of)
        through = sorted(({one.name} | above) & supers)
        may = [f"everything at {catalogue.name}"] if one.is_super else [*_may(one, catalogue.name)]
        may += [f"{PREDEFINED[one.name].format(server=catalogue.name)}"] if one.name in PREDEFINED else []
        may += [_granted(grant, catalogue) for grant in granted[one.name]] if not one.is_super else []
        everybody = [EVERYBODY] if one.enters and granted[EVERYBODY] else []
        facts: dict[str, object] = {
            "server": server(where, "postgres"),
            "login": one.name,
            "enters": one.enters and not one.is_over,
            "everything": bool(through),
            "through": tuple(through),
            "wide": tuple(name for name in ATTRIBUTES if getattr(one, name)),
            "first": one.is_first,
            "may": tuple(may),
            "member_of": tuple(id_of(role) for role in sorted(member_of[one.name]) + everybody),
            "expires": one.expires,
            "limit": one.connections,
            "md5": one.is_md5,
            "password": one.has_password,
        }
        if catalogue.sessions is not None:
            facts["sessions"] = catalogue.sessions.get(one.name, 0)
        yield Principal(id_of(one.name), "postgres-role", Place(f"{catalogue.name}/pg_roles", row), facts)
    if granted[EVERYBODY]:
        may = [_granted(grant, catalogue) for grant in granted[EVERYBODY]]
        place = Place(f"{catalogue.name}/pg_roles", len(roles) + 1)
        yield Principal(id_of(EVERYBODY), "postgres-role", place, {"enters": False, "may": tuple(may)})


def _may(role: Role, name: str) -> Iterator[str]:
    yield from (what.format(server=name) for attribute, what in ATTRIBUTES.items() if getattr(role, attribute))


def _granted(grant: Grant, catalogue: Catalogue) -> str:
    """Two roles share a target where it is the same tables; what is told by number alone is each one's own."""
    privileges = "ALL" if set(grant.privileges) >= ALL else ", ".join(grant.privileges)
    where = f"{catalogue.database}.{grant.schema}"
    if grant.tables <= NAMED:
        return f"{privileges} on {', '.join(f'{where}.{name}' for name in grant.names)} at {catalogue.name}"
    return f"{privileges} on {grant.tables} tables of {where} at {catalogue.name}, as {grant.role or EVERYBODY}"


def _above(role: str, member_of: Mapping[str, Sequence[str]]) -> set[str]:
    """Return all roles that a role is a member of, also through others."""
    found: set[str] = set()
    waiting = list(member_of.get(role, ()))
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += member_of.get(one, ())
    return found


def _weaknesses(catalogue: Catalogue) -> Iterator[Weakness]:
    """Yield the lines of pg_hba.conf that ask for no password, or for one in clear. One finding for each kind."""
    files = Counter(line.file for line in catalogue.lines)
    for line in catalogue.lines:
        case = _case(line)
        if case:
            file = line.file.rpartition("/")[2] if len(files) > 1 else "pg_hba.conf"
            who = "everybody" if "all" in line.users else ", ".join(line.users[:3])
            what = "every database" if "all" in line.databases else ", ".join(line.databases[:3])
            from_ = f" from {line.address}" if line.address else " from this machine"
            says = f"{line.type} {line.method}: {who}{from_} into {what}."
            yield Weakness(case, catalogue.name, Place(f"{catalogue.name}/{file or 'pg_hba.conf'}", line.number), says)


def _case(line: Line) -> str:
    here = line.type == "local" or line.address.startswith(("127.", "::1")) or line.address == "samehost"
    if line.method == "trust":
        return "database-trusts-its-machine" if here else "database-trusts-the-network"
    if line.method == "password" and line.type in ("host", "hostnossl") and not here:
        return "database-takes-password-in-clear"
    return ""
