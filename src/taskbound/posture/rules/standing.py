"""Standing: identities, apps and repositories as lists tell of them. Whose they are, and what is left behind."""

from collections import defaultdict
from collections.abc import Iterator

from taskbound.posture.facts import at, called, moment, text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.rules.draft import Draft, labels, listed, places_of
from taskbound.posture.rules.issued import WIDE_PERMISSIONS
from taskbound.posture.rules.limits import LIMITS
from taskbound.posture.sighting import Credential, Place, Principal

# Of these kinds a list says who owns them: a missing owner means that there is none.
WRITING_PERMISSIONS = frozenset({"contents:write", "workflows:write", "actions:write", "environments:write"})
OWNED = {"aws-iam-user": "of AWS", "entra-app": "in Entra ID", "service-account": "accounts of services"}


# The case, the fact of an application, and what is said of it.
GRANTS = (("implicit-grant-enabled", "implicit", "is given access tokens in the address of a page (implicit grant)"),)


def of_leavers(inventory: Inventory) -> Iterator[Draft]:
    """Yield identities whose owner has left and which can still sign in."""
    for identity in _identities(inventory):
        said = text(identity, "owner") or inventory.said_owner(identity)
        owners = texts(identity, "owners") or tuple(filter(None, (said,)))
        own = inventory.person(_name(identity.id))
        if own and inventory.has_left(own.id.removeprefix("person:")):
            owners = (own.id.removeprefix("person:"),)
        if not owners or not all(map(inventory.has_left, owners)) or not _is_active(inventory, identity):
            continue
        left_on = inventory.left_on(owners[0])
        since = f" on {left_on.date()}" if left_on else ""
        says = f"{identity.id} is active, and its owner {inventory.named(owners[0])} has left{since}."
        yield _draft(inventory, "identity-of-leaver-still-active", identity, says)


def without_owner(inventory: Inventory) -> Iterator[Draft]:
    """Yield identities that the list of owners knows nothing of: one finding of each kind."""
    for kind, named in OWNED.items():
        lists = inventory.by_kind.get("owner-list", ())
        sources = [one.place for one in lists if one.id == f"owners:{kind}"]
        # A list of names and owners is one of these if it has the name of any of them.
        known = [
            said
            for one in _identities(inventory)
            if one.kind == kind and (said := inventory.owners_of.get(called(one)))
        ]
        sources += [Place(said.place.path, 1) for said in known[:1] if not sources]
        without = [
            one
            for one in _identities(inventory)
            if one.kind == kind
            and (kind != "service-account" or inventory.is_service(one.id.replace(":", "/")))
            and not inventory.owner(one.id)
            and (
                "owners" in one.facts
                or (sources and _is_active(inventory, one) and not inventory.person(_name(one.id)))
            )
        ]
        if without:
            names = tuple(one.id for one in without)
            yield Draft(
                "no-owner",
                names,
                f"Nobody is known to own {listed(names, 5)} ({named}).",
                (*sources, *(one.place for one in without)),
                name=text(without[0], "app") or _name(names[0]),
                kind=kind,
                key=kind,
            )


def console_logins(inventory: Inventory) -> Iterator[Draft]:
    """Yield service users with whose password somebody signs in."""
    signed = {use.principal: use for use in inventory.uses if use.by == "person" and not use.mark}
    for identity in inventory.by_kind.get("aws-iam-user", ()):
        used, use = moment(identity, "console_used"), signed.get(identity.id)
        with_key = any(key.facts.get("active") for key in inventory.keys_of(identity.id))
        recent = (
            used is not None and bool(identity.facts.get("console")) and (inventory.now - used).days <= LIMITS.unused
        )
        if not (recent or use) or not (inventory.is_service(identity.id) and (with_key or use)):
            continue
        day = max(one for one in (used, use.at if use else None) if one).date()
        says = f"Somebody signed in to the console as {identity.id} on {day}, which is a service's user."
        yield _draft(inventory, "console-login-of-service-user", identity, says, *((use.place,) if use else ()))


def apps(inventory: Inventory) -> Iterator[Draft]:
    """Yield apps that may administer every repository, and those of others that may write to every one."""
    for app in inventory.by_kind.get("github-app", ()):
        permissions, account = texts(app, "permissions"), text(app, "account")
        wide = tuple(one for one in permissions if one in WIDE_PERMISSIONS)
        writing = tuple(one for one in permissions if one in WRITING_PERMISSIONS)
        if app.facts.get("suspended") or text(app, "selection") != "all" or not (wide or writing):
            continue
        own = _is_own(app)
        if wide:
            case = "app-administers-all-repositories" if own else "third-party-app-all-repositories-admin"
        elif own:
            continue
        else:
            case = "third-party-app-writes-all-repositories"
        says = f"The app {_name(app.id)} has {listed(wide or writing)} on all repositories of {account}."
        members = ("selection", *(f"permission {one}" for one in wide or writing))
        yield _draft(inventory, case, app, says, *at(app, *members))


def _is_own(app: Principal) -> bool:
    """Tell whether an app is of whom it is installed at: a list says who owns it, or its name begins with theirs."""
    account = text(app, "account").lower()
    owner = text(app, "app_owner").lower()
    return owner == account if owner else bool(account) and _name(app.id).lower().startswith(f"{account}-")


def grants(inventory: Inventory) -> Iterator[Draft]:
    """Yield applications that get tokens in ways that OAuth 2.1 has taken out: the implicit and the password grant."""
    for case, fact, what in GRANTS:
        for app in inventory.all_principals:
            if app.facts.get(fact) is True and app.facts.get("enabled", True):
                places = at(app, fact)
                yield _draft(inventory, case, app, f"{app.id} {what}.", *places)


def archived(inventory: Inventory) -> Iterator[Draft]:
    """Yield archived repositories with credentials of which nobody says that they are dead."""
    dead = {
        one.mark
        for key in inventory.keys
        if key.facts.get("active") is False or ((end := moment(key, "expires")) and end < inventory.now)
        for one in inventory.held(key)
    }
    units = [unit for unit in inventory.units if unit.secrets and dead.isdisjoint(unit.marks)]
    held_in: dict[str, list[Credential]] = defaultdict(list)
    for one in (one for unit in units for one in unit.credentials):
        # A checkout may lie deeper than where what was scanned is divided into repositories.
        for name in {one.holder.repository, *one.place.path.split("/")[:-1]}:
            held_in[name].append(one)
    for repository in inventory.by_kind.get("repository", ()):
        name = repository.id.removeprefix("repository:")
        if not repository.facts.get("archived"):
            continue
        held = sorted(held_in.get(name, ()), key=lambda one: one.place)
        if held:
            secrets = [one for one in held if not one.is_identifier] or held
            pushed = moment(repository, "pushed")
            since = f", last changed {pushed.date()}" if pushed else ""
            yield Draft(
                "archived-repository-holds-live-credential",
                (repository.id, *labels(secrets)),
                f"{name} is archived{since}, and holds {listed(labels(secrets))}.",
                (*places_of(held[:1]), repository.place, *places_of(held)),
                repository=name,
                key=name,
            )


def _identities(inventory: Inventory) -> Iterator[Principal]:
    for kind in ("aws-iam-user", "aws-root", "entra-app", "gcp-service-account", "service-account"):
        yield from inventory.by_kind.get(kind, ())


def _is_active(inventory: Inventory, identity: Principal) -> bool:
    """Tell whether it can sign in: a key that works, a password, or, in Google Cloud, any machine that it is given."""
    if identity.kind == "gcp-service-account":
        return not identity.facts.get("suspended")
    keys = inventory.keys_of(identity.id)
    return bool(identity.facts.get("console")) or any(key.facts.get("active", True) for key in keys)


def _name(identity: str) -> str:
    return identity.rpartition("/")[2].rpartition(":")[2]


def _draft(inventory: Inventory, case: str, identity: Principal, says: str, *places: Place) -> Draft:
    return Draft(
        case,
        (identity.id,),
        says,
        (identity.place, *places),
        owner=inventory.owner(identity.id),
        name=_name(identity.id),
        kind=identity.kind,
        key=identity.id,
    )
