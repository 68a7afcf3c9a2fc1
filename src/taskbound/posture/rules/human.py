"""Human: people who act as services, as logs and histories show. What is done so is nobody's."""

import re
from collections.abc import Iterator

from taskbound.posture.facts import text
from taskbound.posture.inventory import SERVICE, Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, label
from taskbound.posture.sighting import Use

# What names of roles say of who takes them: IRSA, EKS, ECS tasks, Lambda, EC2's instances.
OF_WORKLOADS = frozenset({"irsa", "eks", "ecs", "lambda", "pod", "task", "instance", "ec2", "workload", "svc"})
HOME = re.compile(
    r"(?:(?:^|/)(?:home|Users)/([\w.@-]+)/|^)(?:\.aws/(?:credentials|config)|\.config/gcloud/\S*|\.boto|\.s3cfg)$"
)


def as_service(inventory: Inventory) -> Iterator[Draft]:
    """Yield services' identities that somebody has used by hand, where the log tells no key."""
    for identity, uses in grouped((use for use in inventory.uses if not use.mark), lambda use: use.principal).items():
        people = [use for use in uses if use.by == "person"]
        known = inventory.principals.get(identity)
        # Passwords of users of AWS have a rule of their own.
        if not people or (known and known.kind in ("aws-iam-user", "aws-root")) or not _is_machine(inventory, identity):
            continue
        last = people[-1]
        where = f" ({last.address})" if last.address else ""
        says = f"Somebody acted as {identity} by hand{where} on {last.at.date()}."
        yield _draft(inventory, identity, people, says)


def in_roles(inventory: Inventory) -> Iterator[Draft]:
    """Yield roles of workloads in which a person works: a browser or a workstation in a session with a person's name.

    A role is a workload's where programs have sessions of their own in it, or where its name says so.
    """
    for identity, uses in grouped((one for one in inventory.uses if not one.mark), lambda use: use.principal).items():
        if not identity.startswith("aws:role/"):
            continue
        words = set(re.split(r"[^a-z0-9]+", identity.rpartition("/")[2].lower()))
        machines = not OF_WORKLOADS.isdisjoint(words) or any(not use.session and use.by != "person" for use in uses)
        people = [use for use in uses if use.session and (use.by == "person" or inventory.person(use.session))]
        known = [use for use in people if not inventory.people or inventory.person(use.session)]
        if machines and known:
            last = known[-1]
            says = f"{last.session} works as {identity}, which is a workload's, since {known[0].at.date()}."
            yield _draft(inventory, identity, known, says)


def at_home(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys of services that lie among a person's own (~/.aws/credentials and kin)."""
    for unit in inventory.units:
        held = [one for one in unit.credentials if HOME.search(one.place.path)]
        key = inventory.key_of(unit)
        if not held or not key or not (of := text(key, "of")) or not inventory.is_service(of):
            continue
        who = HOME.search(held[0].place.path)
        if who and who[1] and inventory.is_service(f"/{who[1]}") and not SERVICE.isdisjoint(re.split(r"\W", who[1])):
            continue  # the home of a service's own user
        says = f"{label(held[0])}, a key of {of}, lies among a person's own in {held[0].place.path}."
        yield Draft(
            "service-key-kept-by-person",
            (of, label(held[0])),
            says,
            (*(one.place for one in held), key.place),
            owner=inventory.owner(of),
            name=of.rpartition("/")[2],
            key=f"{held[0].place.path} {of}",
        )


def typed(inventory: Inventory) -> Iterator[Draft]:
    """Yield services' identities that somebody took at a shell, and services' keys in a shell's history."""
    for (path, identity), typings in grouped(
        inventory.remarks.get("typed", ()), lambda one: (one.place.path, one.of)
    ).items():
        says = f"Somebody took the identity of {identity} at a shell ({text(typings[0], 'how')}), as {path} shows."
        places = tuple(one.place for one in typings)
        yield Draft(
            "service-identity-used-at-a-shell",
            (identity,),
            says,
            places,
            owner=inventory.owner(identity),
            name=identity.partition(":")[2],
            key=f"{path} {identity}",
        )
    for unit in inventory.units:
        key = inventory.key_of(unit)
        held = [one for one in unit.credentials if one.spot == "history"]
        if key and held and (of := text(key, "of")) and inventory.is_service(of):
            says = f"{label(held[0])}, a key of {of}, was typed at a shell."
            yield Draft(
                "service-identity-used-at-a-shell",
                (of, label(held[0])),
                says,
                (held[0].place, key.place),
                owner=inventory.owner(of),
                name=of.rpartition("/")[2],
                key=f"{held[0].place.path} {of}",
            )


def _is_machine(inventory: Inventory, identity: str) -> bool:
    """Tell whether an identity is a machine's by its kind; of users and logins by their names."""
    if identity.startswith(("k8s-sa:", "gcp-sa:", "entra-app:", "github-app:")):
        return True
    if identity.startswith(("aws:role/", "aws:root/")):  # a session of a role names who took it
        return False
    name = identity.partition(":")[2].rpartition("/")[2].partition("@")[0].lower()
    if identity.startswith("database:"):
        return inventory.is_service(name)
    return not inventory.person(name) and not SERVICE.isdisjoint(re.split(r"[^a-z]+", name))


def _draft(inventory: Inventory, identity: str, uses: list[Use], says: str) -> Draft:
    return Draft(
        "service-identity-used-by-hand",
        (identity,),
        says,
        tuple(place for use in reversed(uses) for place in (use.place, *use.more)),
        owner=inventory.owner(identity),
        name=identity.rpartition("/")[2].rpartition(":")[2],
        key=identity,
    )


RULES = (as_service, in_roles, at_home, typed)
