"""Reuse: one identity for things that have nothing to do with each other, seen over many files."""

from collections.abc import Iterator

from taskbound.posture.facts import at, text
from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, listed
from taskbound.posture.sighting import Remark


def service_accounts(inventory: Inventory) -> Iterator[Draft]:
    """Yield service accounts that workloads of several applications run as; what one file shows alone is told there."""
    told = {one.subject for one in inventory.weaknesses if one.case == "service-account-shared-by-workloads"}
    for account, runs in grouped(inventory.remarks.get("runs-as", ()), lambda one: one.of).items():
        apps = _apart(runs)
        if account in told or len(apps) < 2:
            continue
        named = listed([text(one, "workload") for one in apps], 8)
        says = f"{account} is used by {len(apps)} workloads ({named}): what one of them does looks like the others."
        yield _draft(inventory, "service-account-shared-by-workloads", account, (*apps, *runs), says)


def cloud_identities(inventory: Inventory) -> Iterator[Draft]:
    """Yield identities of clouds that several service accounts are, or pipelines of several repositories."""
    for identity, uses in grouped(inventory.remarks.get("uses", ()), lambda one: one.of).items():
        if identity.startswith("secret:"):
            continue
        accounts = [one for one in uses if text(one, "how") == "account"]
        names = {text(one, "holder").rpartition("/")[2] for one in accounts}
        if len(names) > 1:
            says = f"{identity} is what {listed([text(one, 'holder') for one in accounts], 6)} are in the cloud."
            yield _draft(inventory, "cloud-identity-shared-by-workloads", identity, accounts, says)
        pipelines = [one for one in uses if text(one, "how") == "pipeline"]
        repositories = {text(one, "holder").partition("@")[2].partition(" ")[0] for one in pipelines}
        if len(repositories - {""}) > 1:
            says = f"{identity} is taken by pipelines of {listed(sorted(repositories), 6)}."
            yield _draft(inventory, "cloud-identity-shared-by-pipelines", identity, pipelines, says)


def _apart(runs: list[Remark]) -> list[Remark]:
    """Return one workload of each application: of one instance or name by its labels, or named as a part of another."""
    found: list[Remark] = []
    for one in sorted(runs, key=lambda run: len(text(run, "workload"))):
        if not any(
            text(one, "app") == text(other, "app") or _part(text(one, "workload"), text(other, "workload"))
            for other in found
        ):
            found.append(one)
    return found


def _part(name: str, other: str) -> bool:
    shorter, longer = sorted((name, other), key=len)
    return longer == shorter or longer.startswith(f"{shorter}-")


def _draft(inventory: Inventory, case: str, of: str, said: "list[Remark] | tuple[Remark, ...]", says: str) -> Draft:
    return Draft(
        case,
        (of,),
        says,
        (*(one.place for one in said), *(place for one in said for place in at(one, "*"))),
        owner=inventory.owner(of),
        name=of.rpartition("/")[2].rpartition(":")[2],
        key=of,
    )


RULES = (service_accounts, cloud_identities)
