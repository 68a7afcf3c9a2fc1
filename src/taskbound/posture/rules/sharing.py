"""Sharing: one credential with several holders, in several environments, repositories or encodings."""

import re
from collections.abc import Iterator, Sequence

from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, label, labels, listed, places_of
from taskbound.posture.sighting import Credential
from taskbound.posture.units import Unit

# What an agent is told or has said, and what it may do: no holder beside the agent of the same repository itself.
SAME_AGENT = frozenset({"agent-permission", "agent-instructions", "transcript"})
ENVIRONMENT_FILES = frozenset({"dotenv", "dotenv-local"})
DEPLOYED = frozenset({"production", "staging"})
OUTSIDE = frozenset({"staging", "development", "test", "research"})
PRODUCTION = frozenset({"prod", "prd", "production"})
DATABASE = re.compile(
    r"postgres|mysql|mariadb|mongo|redis|mssql|sqlserver|oracle|clickhouse|database|\bdb|db\b|_db|db_", re.I
)
TOLD = frozenset({"log", "transcript", "history"})  # what was done with it, where the rest says with what
# Encodings that a search for the text of a credential does not see through.
UNSEEN = frozenset({"base64", "hex", "url"})


def shared(inventory: Inventory) -> Iterator[Draft]:
    """Yield what is shared by holders. Across repositories is said only where nothing sharper is."""
    for unit in inventory.units:
        if not _counts(unit):
            continue
        agents, pipelines, workloads = (_of(unit, kind) for kind in ("agent", "pipeline", "workload"))
        sharper = False
        if agents and pipelines:
            sharper = True
            yield _draft(inventory, unit, "credential-shared-agent-and-ci", (*agents, *pipelines))
        if agents and workloads:
            sharper = True
            yield _draft(inventory, unit, "credential-shared-agent-and-workload", (*agents, *workloads))
        if len(several := _agents(agents)) > 1:
            sharper = True
            yield _draft(inventory, unit, "credential-shared-between-agents", several)
        repositories = {one.holder.repository for one in unit.credentials if one.holder.repository}
        if len(repositories) > 1 and not sharper:
            yield _draft(inventory, unit, "credential-shared-across-repositories", unit.credentials)


def encoded(inventory: Inventory) -> Iterator[Draft]:
    """Yield what lies here as text, or in one encoding, and there in another one, with another holder or in a log."""
    for unit in inventory.units:
        forms = grouped(unit.secrets, lambda one: UNSEEN.intersection(re.split(r"\W+", one.encoding)))
        apart = {(one.holder.name, one.spot if one.spot in TOLD else "") for one in unit.secrets}
        if len(forms) > 1 and len(apart) > 1:
            ordered = sorted(forms, key=sorted)  # what is text comes first
            hidden = {one.place for form in ordered[1:] for one in forms[form]}
            first = [forms[form][0] for form in ordered]
            rest = [one for one in unit.secrets if one.place not in hidden]
            rest += [one for form in ordered[1:] for one in forms[form]]
            yield _draft(inventory, unit, "credential-reused-across-encodings", [*first, *rest])


def environments(inventory: Inventory) -> Iterator[Draft]:
    """Yield what is in production and outside, and production database passwords that agents outside hold."""
    for unit in inventory.units:
        if not _counts(unit):
            continue
        inside = [one for one in unit.credentials if one.holder.environment == "production"]
        outside = [one for one in unit.credentials if one.holder.environment in OUTSIDE and one.holder.kind != "agent"]
        if inside and outside:
            yield _draft(inventory, unit, "same-credential-in-staging-and-prod", (*outside, *inside))
        if not (inside or any(map(_opens_production, unit.credentials))):
            continue
        agents = [one for one in _of(unit, "agent") if one.holder.environment != "production"]
        if agents and any(map(_is_database, unit.credentials)):
            case = "research-agent-holds-production-database-password"
            yield _draft(inventory, unit, case, (*agents, *inside))
        elif inside and (told := [one for one in agents if one.holder.environment in OUTSIDE]) and not outside:
            yield _draft(inventory, unit, "same-credential-in-staging-and-prod", (*told, *inside))


def _counts(unit: Unit) -> bool:
    """Tell whether sharing it means something: a secret, or the id of a key; the id of a client is no secret."""
    return bool(unit.secrets) or any(one.kind.startswith("aws") for one in unit.credentials)


def _of(unit: Unit, kind: str) -> tuple[Credential, ...]:
    """Return the places that holders of a kind have.

    An environment file is everybody's in its repository; one of an environment that is deployed is that workload's.
    """
    return tuple(
        one
        for one in unit.credentials
        if one.holder.kind == kind and (one.spot not in ENVIRONMENT_FILES or one.holder.environment in DEPLOYED)
    )


def _agents(agents: Sequence[Credential]) -> tuple[Credential, ...]:
    """Return the places of several agents; settings and instructions are their repository's agent."""
    servers = [one for one in agents if one.spot not in SAME_AGENT]
    with_server = {one.holder.repository for one in servers}
    others: dict[str, Credential] = {}
    for one in agents:
        if one.spot in SAME_AGENT and one.holder.repository not in with_server:
            others.setdefault(one.holder.repository, one)
    if len({one.holder.name for one in servers}) + len(others) < 2 and len(_clients(servers)) < 2:
        return ()
    return (*servers, *others.values())


def _clients(agents: Sequence[Credential]) -> set[str]:
    """Return the agents that hold it by their files: each starts a server of its own, of whatever name."""
    return {client for one in agents if (client := _client_of(one.place.path))}


def _client_of(path: str) -> str:
    from taskbound.posture.readers.agents import client_of  # late: who finds nothing shared needs no readers

    return client_of(path)


def _opens_production(one: Credential) -> bool:
    return bool(PRODUCTION & set(re.split(r"[^a-z0-9]+|_", f"{one.target} {one.name}".lower())))


def _is_database(one: Credential) -> bool:
    return bool(one.target) or bool(DATABASE.search(one.kind) or DATABASE.search(one.name))


def _draft(inventory: Inventory, unit: Unit, case: str, held: Sequence[Credential]) -> Draft:
    subject = label(next(iter(unit.secrets), unit.credentials[0]))
    holders = tuple(dict.fromkeys(one.holder.name for one in held))
    # Two agents may call a server alike: then their files tell them apart.
    names = tuple(dict.fromkeys((one.holder.name, _client_of(one.place.path)) for one in held))
    told = [f"{name} ({client})" if client and len(names) > len(holders) else name for name, client in names]
    key = inventory.key_of(unit)
    # One place of each holder comes first, so that none is lost where there are many.
    leading = list({(one.holder.name, _client_of(one.place.path)): one for one in reversed(held)}.values())[::-1]
    return Draft(
        case,
        (*dict.fromkeys((subject, *labels(unit.secrets))),) if unit.secrets else (subject,),
        f"{subject} is held by {listed(told)}.",
        places_of((*leading, *held)),
        owner=inventory.owner(key.id) if key else "",
        name=held[0].name,
        holder=holders[0],
        repository=held[0].holder.repository,
        key=subject,
    )
