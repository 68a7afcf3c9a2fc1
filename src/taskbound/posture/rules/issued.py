"""Issued: keys and tokens as their issuers list them. Old, unused, endless, too wide, or somebody's who has left."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from taskbound.posture.cases import CRITICAL, HIGH
from taskbound.posture.exports.columns import plain
from taskbound.posture.facts import at, moment, text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.rules.draft import Draft, label, listed, places_of
from taskbound.posture.rules.limits import LIMITS
from taskbound.posture.sighting import Credential, Holder, Place, Principal

# Tokens that the issuer itself wants to have an end; deploy keys and access keys have none by their nature.
ENDING = frozenset({"github-token", "gitlab-token", "api-token"})
ROTATED = frozenset({"aws-access-key", "gcp-service-account-key", "account-password"})
WORDS = {"entra-client-secret": "secret", "account-password": "password"}  # what is called otherwise than a key
# Scopes that administer or delete, whatever else a token is for.
WIDE_SCOPES = frozenset(
    {"admin:org", "admin:enterprise", "manage_billing:enterprise", "delete_repo", "delete:packages", "site_admin"}
    | {"admin:org_hook", "admin:repo_hook", "admin:public_key", "admin:gpg_key", "admin:ssh_signing_key", "write:org"}
    | {"sudo", "admin_mode", "api"}
    # As policies, roles and people call it.
    | {"root", "admin", "administrator", "superuser", "owner", "*", "fullaccess", "fullcontrol", "orgowner"}
    | {"accountadmin", "accountowner", "organizationadmin", "organizationowner", "superadmin", "globaladmin"}
    | {"superadministrator", "organizationadministrator", "orgadmin", "globaladministrator", "accountadministrator"}
    | {"systemadmin", "systemadministrator", "sysadmin", "fulladmin", "fulladministrator", "tenantadmin"}
)
WIDE_PERMISSIONS = frozenset(
    {"administration:write", "organization_administration:write", "members:write", "secrets:write"}
    | {"organization_secrets:write", "organization_hooks:write"}
)
PERSONAL_KINDS = frozenset({"github-pat"})  # values that can only be a person's


def unused(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys that nobody uses: for long, or at all."""
    for key in _live(inventory):
        used, created = moment(key, "used"), moment(key, "created")
        if used and (days := (inventory.now - used).days) > LIMITS.unused:
            yield _of_key(inventory, key, "stale-access-key", f"{_named(key, True)} was last used {days} days ago.")
        days = (inventory.now - created).days if created else 0
        if "used" in key.facts and used is None and days > LIMITS.never_used:
            says = f"{_named(key, True)} is {days} days old and was never used."
            yield _of_key(inventory, key, "never-used-access-key", says)


def not_rotated(inventory: Inventory) -> Iterator[Draft]:
    """Yield keys that work and are old. What nobody uses is to be deleted, not rotated, and no less a copy to find."""
    for key in _live(inventory):
        created, used = moment(key, "created"), moment(key, "used")
        idle = "used" in key.facts and (used is None or (inventory.now - used).days > LIMITS.unused)
        if key.kind not in ROTATED or created is None:
            continue
        if (days := (inventory.now - created).days) > LIMITS.rotated:
            severity = CRITICAL if days > LIMITS.long_unrotated and not idle else HIGH
            since = "still works, though nobody uses it: it is to be deleted" if idle else "is in use since"
            says = f"{_named(key, True)} was made {days} days ago and {since}."
            yield _of_key(inventory, key, "access-key-not-rotated", says, severity=severity)


def endless(inventory: Inventory) -> Iterator[Draft]:
    """Yield tokens without an end, and secrets whose end is years away."""
    for key in _live(inventory):
        if "expires" not in key.facts:
            continue
        expires, created = moment(key, "expires"), moment(key, "created")
        if expires is None and key.kind in ENDING:
            yield _of_key(inventory, key, "token-without-expiry", f"{_named(key, True)} has no end.", "name", "expires")
        elif key.kind in ENDING and expires and (days := (expires - (created or inventory.now)).days) > LIMITS.token:
            after = "after it was made" if created else "from now"
            says = f"{_named(key, True)} works until {expires.date()}, {_span(days)} {after}."
            yield _of_key(inventory, key, "token-with-long-life", says, "name", "expires")
        elif key.kind in LIMITS.lifetime and expires:
            days = (expires - (created or inventory.now)).days
            if days > LIMITS.lifetime[key.kind]:
                says = (
                    f"{_named(key, True)} works until {expires.date()}, {round(days / 365.25)} years after it was made."
                )
                yield _of_key(inventory, key, "client-secret-until-2099", says)


def lasting(inventory: Inventory) -> Iterator[Draft]:
    """Yield tokens in files that say themselves that they last for years, or for ever (JWT: iat, exp; SAS: st, se)."""
    for unit in inventory.units:
        told = next((one for one in unit.secrets if one.life), None)
        if told is None or told.life is None:
            continue
        issued, ends = (datetime.fromtimestamp(second, UTC) if second else None for second in told.life)
        if ends and ends < inventory.now:
            continue
        days = (ends - (issued or inventory.now)).days if ends else 0
        if ends is None:
            case, says = "token-that-never-ends", f"{label(told)} has no end (no exp)."
        elif days > LIMITS.token:
            case, says = (
                "token-with-long-life",
                f"{label(told)} works until {ends.date()}, {_span(days)} after it was made.",
            )
        else:
            continue
        yield Draft(
            case,
            (label(told),),
            says,
            places_of(unit.secrets),
            name=told.name,
            holder=told.holder.name,
            repository=told.holder.repository,
            key=label(told),
        )


def _span(days: int) -> str:
    return f"{round(days / 365.25)} years" if days > 700 else f"{days} days"


def too_wide(inventory: Inventory) -> Iterator[Draft]:
    """Yield tokens that may administer or delete."""
    for key in _live(inventory):
        scopes = tuple(scope for scope in texts(key, "scopes") if scope in WIDE_SCOPES or plain(scope) in WIDE_SCOPES)
        permissions = tuple(one for one in texts(key, "permissions") if one in WIDE_PERMISSIONS)
        if not scopes and not (permissions and text(key, "selection") in ("all", "")):
            continue
        members = (*(f"scope {one}" for one in scopes), *(f"permission {one}" for one in permissions))
        says = f"{_named(key, True)} has {listed((*scopes, *permissions), 5)}."
        wide = at(key, *members)
        yield _draft(inventory, key, "token-scopes-too-wide", says, (*wide[-1:], *wide[:-1], key.place))


def of_leavers(inventory: Inventory) -> Iterator[Draft]:
    """Yield personal tokens of people who have left: used since, or still working."""
    for key in _live(inventory):
        owner = text(key, "owner")
        if not owner or not inventory.has_left(owner):
            continue
        used, left_on = moment(key, "used"), inventory.left_on(owner)
        since = f" on {left_on.date()}" if left_on else ""
        gone = f"{inventory.named(owner)} has left{since}; {_named(key)} of theirs"
        if used and (left_on is None or used > left_on):
            says = f"{gone} was used on {used.date()}."
            yield _of_key(inventory, key, "token-of-leaver-still-used", says, held=True)
        else:
            yield _of_key(inventory, key, "identity-of-leaver-still-active", f"{gone} still works.", held=True)


# Who is not to work with a person's token, and the case of it.
OF_PERSONS = (("agent", "personal-token-used-by-agent"), ("pipeline", "personal-token-used-by-ci"))


def personal(inventory: Inventory) -> Iterator[Draft]:
    """Yield people's tokens with which agents and pipelines work. A bounded one is what a person should give away."""
    told = {one.mark for key in _live(inventory) for one in inventory.held(key)}
    for kind, case in OF_PERSONS:
        for key in _live(inventory):
            held = _at_work([one for one in inventory.held(key) if one.holder.kind == kind])
            if not held or not key.facts.get("personal") or key.facts.get("bounded"):
                continue
            says = f"{_work(held)} with {_named(key)}, which is {inventory.owner(key.id) or 'a person'}'s own."
            places = (*places_of(held), key.place, *at(key, "name", "owner"))
            yield _draft(inventory, key, case, says, places, holder=held[0].holder)
        for unit in inventory.units:
            held = _at_work([one for one in unit.secrets if one.holder.kind == kind and one.kind in PERSONAL_KINDS])
            if held and held[0].mark not in told:
                holder = held[0].holder
                says = f"{_work(held)} with {label(held[0])}, a token of a person."
                yield Draft(
                    case,
                    (label(held[0]),),
                    says,
                    places_of(held),
                    name=held[0].name,
                    holder=holder.name,
                    repository=holder.repository,
                    key=label(held[0]),
                )


def _at_work(held: list[Credential]) -> list[Credential]:
    """Put last what an agent has only seen: nothing that is to be changed stands in a transcript."""
    return sorted(held, key=lambda one: one.spot == "transcript")


def _work(held: Sequence[Credential]) -> str:
    names = [one.holder.name for one in held]
    return f"{listed(names)} work{'s' if len(set(names)) == 1 else ''}"


def _live(inventory: Inventory) -> Iterator[Principal]:
    """Yield keys that work: not switched off, not past their end, and passwords of services alone."""
    for key in inventory.keys:
        expires = moment(key, "expires")
        if key.kind == "account-password" and not inventory.is_service(text(key, "of").replace(":", "/")):
            continue
        if key.facts.get("active", True) and not (expires and expires < inventory.now):
            yield key


def _named(key: Principal, first: bool = False) -> str:
    """Say which key is meant: that of a user, or a token by its name; `first`: as a sentence begins."""
    if of := text(key, "of"):
        return f"{'A' if first else 'a'} {WORDS.get(key.kind, 'key')} of {of}"
    kind = "key" if key.kind.endswith("key") else "token"
    named = text(key, "name") or key.id.partition(":")[2]
    return f"{kind.capitalize() if first else kind} {named}"


def _of_key(
    inventory: Inventory, key: Principal, case: str, says: str, *members: str, severity: str = "", held: bool = False
) -> Draft:
    places = (key.place, *at(key, *members), *(places_of(inventory.held(key)) if held else ()))
    return _draft(inventory, key, case, says, places, severity=severity)


def _draft(
    inventory: Inventory,
    key: Principal,
    case: str,
    says: str,
    places: tuple[Place, ...],
    *,
    severity: str = "",
    holder: Holder | None = None,
) -> Draft:
    of = text(key, "of")
    held = inventory.held(key)
    return Draft(
        case,
        tuple(dict.fromkeys((of or key.id, *(label(one) for one in held)))),
        says,
        places,
        severity=severity,
        owner=inventory.owner(key.id),
        name=(of or key.id).rpartition("/")[2].rpartition(":")[2],
        holder=holder.name if holder else "",
        repository=holder.repository if holder else "",
        kind=key.kind,
        key=key.id,
    )
