"""Consents: what others' applications may do in an organisation's name, because somebody once agreed."""

from collections import Counter
from collections.abc import Iterator, Mapping

from taskbound.posture.exports.consents import ADMINISTRATORS
from taskbound.posture.facts import text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, listed
from taskbound.posture.sighting import Place, Remark

MICROSOFT = frozenset({"f8cdef31-a31e-4b4a-93e4-5f571e91255a", "72f988bf-86f1-41af-91ab-2d7cd011db47"})  # its tenants
# Permissions with which an application rules the directory: roles, applications, consents.
RULING = frozenset(
    [
        "Directory.ReadWrite.All",
        "RoleManagement.ReadWrite.Directory",
        "Application.ReadWrite.All",
        "AppRoleAssignment.ReadWrite.All",
        "Directory.AccessAsUser.All",
        "full_access_as_user",
        "full_access_as_app",
        "Sites.FullControl.All",
        "https://www.googleapis.com/auth/admin.directory.user",
        "https://www.googleapis.com/auth/cloud-platform",
        "https://mail.google.com/",
        "admin",
        "admin.users:write",
        "admin:org",
    ]
)
# Permissions of Microsoft Graph with which an application that acts as itself makes anybody an administrator: it gives
# roles, consents or memberships that carry them, adds a secret to an application that has them, or signs in as who has
# them; and roles of the directory that do the same. Source: azure-tiering's application permissions of tier 0.
DIRECTORY = frozenset(
    {"RoleManagement.ReadWrite.Directory", "AppRoleAssignment.ReadWrite.All", "Application.ReadWrite.All"}
    | {"Directory.ReadWrite.All", "RoleAssignmentSchedule.ReadWrite.Directory", "Policy.ReadWrite.PermissionGrant"}
    | {"RoleEligibilitySchedule.ReadWrite.Directory", "PrivilegedAccess.ReadWrite.AzureADGroup"}
    | {"UserAuthenticationMethod.ReadWrite.All"}
    | set(ADMINISTRATORS.values())
)
# Parts of permissions' names that mean other people's data.
BROAD = (
    "mail",
    "files",
    "calendars",
    "sites",
    "chat",
    "channelmessage",
    "contacts",
    "notes",
    "drive",
    "gmail",
    "directory",
    "user.read",
    "group",
    "people",
    "repo",
    "history",
    "contents",
)
BASIC = frozenset({"openid", "profile", "email", "offline_access", "user.read", "user.readbasic.all"})


def consents(inventory: Inventory) -> Iterator[Draft]:
    """Yield applications of others that may act for everybody: of publishers whom nobody has verified, or that rule."""
    apps, own = _apps(inventory), _own_tenants(inventory)
    for grant in inventory.remarks.get("consent", ()):
        app = apps.get(grant.of, grant)
        if not grant.facts.get("everybody") or not _is_strangers(inventory, app, own):
            continue
        verified = app.facts.get("verified")
        scopes = tuple(one for one in texts(grant, "scopes") if one.lower() not in BASIC)
        ruling = tuple(one for one in scopes if one in RULING)
        broad = ruling or tuple(one for one in scopes if any(part in one.lower() for part in BROAD))
        if verified is False and broad:
            case, whose = "tenant-wide-consent-to-unverified-publisher", "whose publisher nobody has verified,"
        elif ruling and _is_known(app):
            case, whose = "third-party-app-rules-the-tenant", "which is somebody else's,"
        else:
            continue
        name = text(app, "name") or grant.of
        says = f"{name}, {whose} has {listed(broad, 4)} for everybody in the organisation."
        yield Draft(case, (f"app:{name}",), says, _places(grant, app), name=name, key=name)


def rulers(inventory: Inventory) -> Iterator[Draft]:
    """Yield applications that rule the directory and are one's own, as far as lists tell."""
    apps, own = _apps(inventory), _own_tenants(inventory)
    ruling = [
        grant
        for grant in inventory.remarks.get("consent", ())
        if grant.facts.get("application") and not DIRECTORY.isdisjoint(texts(grant, "scopes"))
    ]
    for of, grants in grouped(ruling, lambda one: one.of).items():
        app = apps.get(of, grants[0])
        if (
            text(app, "tenant") in MICROSOFT
            or app.facts.get("enabled") is False
            or (_is_known(app) and _is_strangers(inventory, app, own))
        ):
            continue
        name = text(app, "name") or of
        held = [one for grant in grants for one in texts(grant, "scopes") if one in DIRECTORY]
        says = f"{name} has {listed(held, 4)} as itself: it can make anybody an administrator of the directory."
        places = tuple(place for grant in grants for place in _places(grant, app))
        yield Draft(
            "application-rules-the-directory",
            (f"entra-app:{name}",),
            says,
            places,
            owner=inventory.owner(f"entra-app:{name}"),
            name=name,
            key=name,
        )


def _apps(inventory: Inventory) -> Mapping[str, Remark]:
    """Return applications as the tenant knows them, by their object and by their number."""
    apps = {one.of: one for one in inventory.remarks.get("service-principal", ())}
    return apps | {text(one, "app"): one for one in apps.values() if text(one, "app")}


def _is_known(app: Remark) -> bool:
    """Tell whether a list says whose an application is, or whether somebody has verified it."""
    return bool(text(app, "tenant")) or app.facts.get("verified") is not None


def _is_strangers(inventory: Inventory, app: Remark, own: frozenset[str]) -> bool:
    """Tell whether an application that works may be somebody else's."""
    return not (
        text(app, "tenant") in own | MICROSOFT
        or app.facts.get("own")
        or app.facts.get("enabled") is False
        or text(app, "app") in {text(one, "app") for one in inventory.by_kind.get("entra-app", ())} - {""}
    )


def _own_tenants(inventory: Inventory) -> frozenset[str]:
    """Return the organisation's own tenants: those of its applications, else the one that most apps are of."""
    known: Mapping[str, str] = {text(one, "app"): one.id for one in inventory.by_kind.get("entra-app", ())}
    names = {one.id.partition(":")[2] for one in inventory.by_kind.get("entra-app", ())}
    apps = [one for one in inventory.remarks.get("service-principal", ()) if text(one, "tenant")]
    own = {
        text(one, "tenant")
        for one in apps
        if (text(one, "app") in known and text(one, "app")) or text(one, "name") in names
    }
    if not own:
        counted = Counter(text(one, "tenant") for one in apps if text(one, "tenant") not in MICROSOFT).most_common(2)
        if counted and counted[0][1] > 1 and (len(counted) == 1 or counted[0][1] > counted[1][1]):
            own = {counted[0][0]}
    return frozenset(own)


def _places(grant: Remark, app: Remark) -> tuple[Place, ...]:
    places = grant.facts.get("lines")
    more = (
        [Place(grant.place.path, grant.place.line + offset) for offset in places if isinstance(offset, int)]
        if isinstance(places, tuple)
        else []
    )
    return (grant.place, *more, app.place)


RULES = (consents, rulers)
