"""Used: what a log of uses says. A service's key in a person's hand; one key for machines of different kinds."""

from collections.abc import Iterator
from datetime import timedelta

from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, label, listed
from taskbound.posture.sighting import Use

MACHINES = ("pipeline", "agent", "workload")
NAMES = {"pipeline": "a pipeline", "agent": "an agent", "workload": "a service", "person": "a person"}
TOGETHER = timedelta(hours=1)


def by_people(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys of services that were used from a workstation."""
    for (mark, identity), uses in _by_key(inventory).items():
        people = [use for use in uses if use.by == "person"]
        machines = {use.by for use in uses} & set(MACHINES)
        if not people or not (machines or inventory.is_service(identity)):
            continue
        last = people[-1]
        where = f" ({last.address})" if last.address else ""
        says = f"A key of {identity} was used from a workstation{where} on {last.at.date()}."
        yield _draft(inventory, "service-key-used-from-workstation", mark, identity, people, says)


def by_many(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys that machines of different kinds use, or an agent and people."""
    for (mark, identity), uses in _by_key(inventory).items():
        kinds = {use.by for use in uses}
        if len(kinds & set(MACHINES)) < 2 and not kinds >= {"agent", "person"}:
            continue
        # One use of each kind comes first.
        shown = list({use.by: use for use in uses if use.by}.values())
        says = f"One key of {identity} is used by {listed([NAMES[use.by] for use in shown], 4)}."
        yield _draft(inventory, "one-key-used-by-ci-agent-and-human", mark, identity, shown, says)


def from_many_places(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys that several programs use from networks apart within an hour: each has its copy.

    One program from many addresses is one that scales; several at one address are one machine's.
    """
    for (mark, identity), uses in _by_key(inventory).items():
        kinds = {use.by for use in uses}
        if len(kinds & set(MACHINES)) > 1 or kinds >= {"agent", "person"}:
            continue  # told already
        inside = sorted((use for use in uses if use.client and use.address[:1].isalnum()), key=lambda use: use.at)
        for begin, first in enumerate(inside):
            near = [use for use in inside[begin:] if use.at - first.at <= TOGETHER and not _is_of_cloud(use)]
            apart = list({(use.client, _network(use.address)): use for use in reversed(near)}.values())[::-1]
            if min(len({use.client for use in apart}), len({_network(use.address) for use in apart})) >= 3:
                named = listed(list(dict.fromkeys(use.client for use in apart)), 4)
                says = f"One key of {identity} is used within an hour by {named}, each from a network of its own."
                yield _draft(inventory, "one-key-used-by-ci-agent-and-human", mark, identity, apart, says)
                break


def _network(address: str) -> str:
    """Return the first half of an IPv4 address, or the first three groups of another: what one provider gives out."""
    return ".".join(address.split(".")[:2]) if "." in address else ":".join(address.split(":")[:3])


def _is_of_cloud(use: Use) -> bool:
    return use.address.endswith(".amazonaws.com")


def _by_key(inventory: Inventory) -> dict[tuple[str, str], list[Use]]:
    return grouped((use for use in inventory.uses if use.mark), lambda use: (use.mark, use.principal))


def _draft(inventory: Inventory, case: str, mark: str, identity: str, uses: list[Use], says: str) -> Draft:
    held = inventory.with_mark(mark)
    return Draft(
        case,
        tuple(dict.fromkeys((identity, *(label(one) for one in held)))),
        says,
        (*(use.place for use in uses), *(place for use in uses for place in use.more), *(one.place for one in held)),
        owner=inventory.owner(identity),
        name=identity.rpartition("/")[2],
        key=f"{identity} {label(held[0])}" if held else identity,
    )
