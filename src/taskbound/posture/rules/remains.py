"""Remains: keys of what is switched off or archived, and secrets in stores that nobody has changed for years."""

from collections.abc import Iterator

from taskbound.posture.facts import moment, text
from taskbound.posture.inventory import Inventory
from taskbound.posture.rules.draft import Draft
from taskbound.posture.rules.limits import LIMITS


def of_archived(inventory: Inventory) -> Iterator[Draft]:
    """Yield deploy keys of archived repositories."""
    archived = {one.id: one for one in inventory.by_kind.get("repository", ()) if one.facts.get("archived")}
    for key in inventory.by_kind.get("github-deploy-key", ()):
        if repository := archived.get(f"repository:{text(key, 'repository')}"):
            says = f"The deploy key {text(key, 'name')} still opens {text(key, 'repository')}, which is archived."
            yield Draft(
                "key-of-what-is-switched-off",
                (key.id,),
                says,
                (key.place, repository.place),
                owner=inventory.owner(key.id),
                name=text(key, "name"),
                kind=key.kind,
                key=key.id,
            )


def of_disabled(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys of accounts that are switched off: who switches one on again switches on every copy of its keys."""
    for account in inventory.by_kind.get("gcp-service-account", ()):
        keys = [key for key in inventory.keys_of(account.id) if key.facts.get("active", True)]
        if account.facts.get("suspended") and keys:
            says = f"{account.id} is switched off, and its keys are not."
            yield Draft(
                "key-of-what-is-switched-off",
                (account.id,),
                says,
                (keys[0].place, account.place),
                owner=inventory.owner(account.id),
                name=account.id.partition(":")[2],
                kind=account.kind,
                key=account.id,
            )


def stored(inventory: Inventory) -> Iterator[Draft]:
    """Yield secrets of stores that have not changed for long, and do not change by themselves."""
    for one in inventory.remarks.get("stored", ()):
        changed, expires = moment(one, "changed"), moment(one, "expires")
        if one.facts.get("rotates") or changed is None or (expires and (expires - changed).days <= LIMITS.rotated):
            continue
        if (days := (inventory.now - changed).days) > LIMITS.rotated:
            says = f"{one.of} was last changed {days} days ago."
            yield Draft(
                "stored-secret-not-rotated", (one.of,), says, (one.place,), name=one.of.partition(":")[2], key=one.of
            )


def hooks(inventory: Inventory) -> Iterator[Draft]:
    """Yield webhooks that tell somebody else everything, unsigned."""
    mails = {person.id.rpartition("@")[2] for person in inventory.by_kind.get("person", ())}
    for one in inventory.remarks.get("hook", ()):
        host = text(one, "host")
        own = any(host == mail or host.endswith(f".{mail}") for mail in mails)
        if mails and not own and one.facts.get("everything") and not one.facts.get("secret"):
            says = f"{host}, which is not yours, is sent every event, and nothing proves to it or to you who sends."
            yield Draft("webhook-tells-stranger-everything", (one.of,), says, (one.place,), name=host, key=one.of)


RULES = (of_archived, of_disabled, stored, hooks)
