"""Crossing: what reaches from one environment into another. Identities and secrets by names and places."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from taskbound.posture.facts import at, text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, listed
from taskbound.posture.rules.sharing import OUTSIDE
from taskbound.posture.sighting import Remark

PRODUCTION = "production"
_SHARED = re.compile("externalid|principalorg|sourceaccount|sourcearn", re.IGNORECASE)


def borrowed(inventory: Inventory) -> Iterator[Draft]:
    """Yield production's identities and secrets that are used from outside production."""
    accounts = _accounts(inventory)
    for identity, uses in grouped(inventory.remarks.get("uses", ()), lambda one: one.of).items():
        outside = [one for one in uses if text(one, "environment") in OUTSIDE]
        inside = [one for one in uses if text(one, "environment") == PRODUCTION]
        said = next((text(one, "stands") for one in uses if text(one, "stands")), "")
        stands = said or next((accounts.get(text(one, "account"), "") for one in uses), "")
        if not outside or (stands and stands != PRODUCTION) or not (stands or inside):
            continue
        if not stands and not _same(outside, inside):
            continue
        where = listed([text(one, "environment") for one in outside])
        why = "which is production's" if stands else "with which production works too"
        says = f"{listed([text(one, 'holder') for one in outside])} ({where}) uses {identity}, {why}."
        yield _draft(inventory, "production-identity-outside-production", identity, (*outside, *inside), says)


def trusted(inventory: Inventory) -> Iterator[Draft]:
    """Yield roles of production that principals of another environment may take."""
    accounts = _accounts(inventory)
    for role, of in grouped(inventory.remarks.get("trust", ()), lambda one: one.of).items():
        environment = accounts.get(text(of[0], "account"), "") or text(of[0], "environment")
        found = [
            one
            for one in of
            if environment == PRODUCTION
            and (text(one, "stands") or next((accounts.get(a, "") for a in texts(one, "accounts")), "")) in OUTSIDE
        ]
        if found:
            its = text(found[0], "stands") or accounts.get(texts(found[0], "accounts")[0], "")
            says = f"{role} is production's and can be taken by {text(found[0], 'principal')}, which is {its}'s."
            yield _draft(inventory, "production-trusts-other-environment", role, found, says)


def strangers(inventory: Inventory) -> Iterator[Draft]:
    """Yield roles that an account may take which is none of those that the organisation lists, without a shared id."""
    known = {one.of for one in inventory.remarks.get("account", ())}
    for role, of in grouped(inventory.remarks.get("trust", ()), lambda one: one.of).items():
        own = known | {text(one, "account") for one in of}
        others = [one for one in of if own.isdisjoint(texts(one, "accounts"))]
        found = [one for one in others if not _SHARED.search(text(one, "conditions"))]
        if found and len(known) > 1:
            who = text(found[0], "principal")
            says = f"{role} can be taken by {who}, an account that no list of yours has, without an external id."
            yield _draft(inventory, "role-for-strangers", role, found, says)


def _accounts(inventory: Inventory) -> Mapping[str, str]:
    """Return what each account is for; one of which several things are said is for none of them."""
    said: dict[str, set[str]] = defaultdict(set)
    for one in inventory.remarks.get("account", ()):
        if not text(one, "environment"):
            continue
        said[one.of].add(text(one, "environment"))
    return {account: min(found) for account, found in said.items() if len(found) == 1} | {
        account: text(one, "stands")
        for one in inventory.remarks.get("uses", ())
        if (account := text(one, "account")).startswith("gcp:") and text(one, "stands")
    }


def _same(outside: list[Remark], inside: list[Remark]) -> bool:
    """Tell whether both environments use it in the same way: a file that only names it uses nothing."""
    return bool({text(one, "how") for one in outside} & {text(one, "how") for one in inside})


def _draft(inventory: Inventory, case: str, of: str, said: "tuple[Remark, ...] | list[Remark]", says: str) -> Draft:
    places = (*(one.place for one in said), *(place for one in said for place in at(one, "*")))
    return Draft(
        case,
        (of,),
        says,
        places,
        owner=inventory.owner(of),
        name=of.rpartition("/")[2].rpartition(":")[2],
        holder=text(said[0], "holder"),
        key=of,
    )


RULES = (borrowed, trusted, strangers)
