"""Offboarding: what is still there of people who have left, and what has outlived its own end."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from taskbound.posture.facts import at, moment, text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.rules.draft import Draft, listed
from taskbound.posture.sighting import Place, Remark

# Kinds of principals that a file owns by being there: who answers for the file answers for them.
OWNED = frozenset({"k8s-service-account", "aws-iam-user", "aws-iam-role", "mcp-server", "agent"})


def ssh_keys(inventory: Inventory) -> Iterator[Draft]:
    """Yield SSH keys that still let in somebody who has left."""
    for remark in inventory.remarks.get("ssh-key", ()):
        ends = moment(remark, "ends")
        if (ends and ends < inventory.now) or not (who := leaver(inventory, texts(remark, "names"))):
            continue
        says = f"A key of {gone(inventory, who)} still opens what {remark.place.path} is for."
        yield _draft(inventory, "ssh-key-of-leaver", remark, who, says)


def rights(inventory: Inventory) -> Iterator[Draft]:
    """Yield rights and logins that are given by name to somebody who has left."""
    for remark in inventory.remarks.get("right", ()):
        if who := leaver(inventory, texts(remark, "names")):
            says = f"{remark.of} gives {text(remark, 'what') or 'rights'} to {gone(inventory, who)}."
            yield _draft(inventory, "right-of-leaver", remark, who, says)


def past_end(inventory: Inventory) -> Iterator[Draft]:
    """Yield identities that were to end and are still there; what ends together is one."""
    groups: dict[tuple[str, str], list[Remark]] = defaultdict(list)
    for remark in inventory.remarks.get("ends", ()):
        end = moment(remark, "end")
        if end and end < inventory.now:
            groups[remark.place.path, text(remark, "group").partition(" ")[0]].append(remark)
    for of in groups.values():
        first = min(of, key=lambda one: (text(one, "group"), one.place))
        end = moment(first, "end")
        owner = text(first, "owner")
        since = f"; {gone(inventory, owner)}" if owner and inventory.has_left(owner) else ""
        says = f"{first.of} was to end on {end.date() if end else ''} and is still there{since}."
        places = tuple(place for one in (first, *of) for place in (one.place, *at(one, "of", "owner")))
        yield Draft(
            "identity-past-its-end",
            (first.of,),
            says,
            places,
            owner=inventory.named(owner) if owner else "",
            name=_name(first.of),
            key=first.of,
        )


def owned(inventory: Inventory) -> Iterator[Draft]:
    """Yield identities whose owner, by a label or a tag, has left; one that is past its end is told there."""
    ended = {one.of for one in inventory.remarks.get("ends", ()) if (end := moment(one, "end")) and end < inventory.now}
    groups: dict[tuple[str, str, str], list[Remark]] = defaultdict(list)
    for remark in inventory.remarks.get("owned", ()):
        owner = text(remark, "owner")
        if remark.of not in ended and inventory.has_left(owner):
            groups[remark.place.path, text(remark, "group").partition(" ")[0], owner].append(remark)
    for (*_, owner), of in groups.items():
        first = min(of, key=lambda one: (text(one, "group"), one.place))
        says = f"{first.of} is there, and its owner is {gone(inventory, owner)}."
        places = tuple(place for one in (first, *of) for place in (one.place, *at(one, "of")))
        yield Draft(
            "identity-of-leaver-still-active",
            (first.of,),
            says,
            places,
            owner=inventory.named(owner),
            name=_name(first.of),
            key=first.of,
        )


def code_owners(inventory: Inventory) -> Iterator[Draft]:
    """Yield lines of CODEOWNERS by which nobody but people who have left answers for identities."""
    covered: dict[str, list[str]] = defaultdict(list)
    for one in inventory.all_principals:
        if one.kind in OWNED and (owners := inventory.owner_of(one.place)):
            covered[owners].append(one.id)
    for owners, identities in covered.items():
        names = owners.split(", ")
        if all(map(inventory.has_left, names)):
            said = [
                one
                for lines in inventory.code_owners.values()
                for one in lines
                if inventory.named(text(one, "owner")) in names
            ]
            if said:
                says = f"Only {listed([gone(inventory, one) for one in names])} answers for {listed(identities)}."
                places = tuple(one.place for one in said)
                yield Draft("code-owner-has-left", tuple(identities), says, places, owner=owners, key=owners)


def leaver(inventory: Inventory, names: Sequence[str]) -> str:
    """Return the first of some names that is a person's, if that person has left; "" where they are here or unknown."""
    known = next((name for name in names if inventory.person(name)), "")
    return inventory.named(known) if known and inventory.has_left(known) else ""


def gone(inventory: Inventory, who: str) -> str:
    """Say who has left, and since when."""
    left_on = inventory.left_on(who)
    return f"{inventory.named(who)}, who left{f' on {left_on.date()}' if left_on else ''}"


def _draft(inventory: Inventory, case: str, remark: Remark, who: str, says: str) -> Draft:
    places: tuple[Place, ...] = (remark.place, *at(remark, "of"))
    return Draft(case, (remark.of,), says, places, owner=who, name=_name(who), key=f"{remark.of} {who}")


def _name(of: str) -> str:
    return of.rpartition("/")[2].rpartition(":")[2].partition("@")[0]


RULES = (ssh_keys, rights, past_end, owned, code_owners)
