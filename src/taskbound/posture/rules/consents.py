"""Consents: what others' applications may do in an organisation's name, because somebody once agreed."""

from collections import Counter
from collections.abc import Iterator, Mapping

from taskbound.posture.inventory import Inventory, text, texts
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
    apps = {one.of: one for one in inventory.remarks.get("service-principal", ())}
    apps |= {text(one, "app"): one for one in apps.values() if text(one, "app")}
    own = _own_tenants(inventory)
    for grant in inventory.remarks.get("consent", ()):
        app = apps.get(grant.of, grant)
        tenant = text(app, "tenant")
        if (
            not grant.facts.get("everybody")
            or tenant in own | MICROSOFT
            or app.facts.get("own")
            or app.facts.get("enabled") is False
        ):
            continue
        if text(app, "app") in {text(one, "app") for one in inventory.by_kind.get("entra-app", ())} - {""}:
            continue
        verified = app.facts.get("verified")
        scopes = tuple(one for one in texts(grant, "scopes") if one.lower() not in BASIC)
        ruling = tuple(one for one in scopes if one in RULING)
        broad = ruling or tuple(one for one in scopes if any(part in one.lower() for part in BROAD))
        if verified is False and broad:
            case, whose = "tenant-wide-consent-to-unverified-publisher", "whose publisher nobody has verified,"
        elif ruling and (tenant or verified is not None):
            case, whose = "third-party-app-rules-the-tenant", "which is somebody else's,"
        else:
            continue
        name = text(app, "name") or grant.of
        says = f"{name}, {whose} has {listed(broad, 4)} for everybody in the organisation."
        yield Draft(case, (f"app:{name}",), says, _places(grant, app), name=name, key=name)


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


RULES = (consents,)
