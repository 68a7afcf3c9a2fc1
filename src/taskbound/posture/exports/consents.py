"""Consents: what applications were allowed to do for people, and whose applications they are.

Entra ID (`oauth2PermissionGrants`, `servicePrincipals`, `appRoleAssignments` of Microsoft Graph), Google Workspace
(tokens of the Directory API, domain-wide delegation), and tables of the same for any directory or marketplace.

Topic `consent`, of the application: `everybody` (not one person alone), `application` (it acts as itself, and
nobody need be signed in), `scopes`, `name`, `lines`.
Topic `right`, of a role of the directory: `names` (people who hold it by name), `what`.
Topic `service-principal`, of its object: `name`, `app`, `tenant` (whose it is), `verified`, `enabled`, `own`.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports import entra
from taskbound.posture.exports.columns import plain
from taskbound.posture.exports.rows import below, first, folded, words
from taskbound.posture.sighting import Mark, Place, Remark, Sighting

# Application permissions of Microsoft Graph and Exchange by their ids (Graph permissions reference).
ROLES = {
    "19dbc75e-c2e2-444c-a770-ec69d8559fc7": "Directory.ReadWrite.All",
    "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8": "RoleManagement.ReadWrite.Directory",
    "06b708a9-e830-4db3-a914-8e69da51d44f": "AppRoleAssignment.ReadWrite.All",
    "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9": "Application.ReadWrite.All",
    "e2a3a72e-5f79-4c64-b1b1-878b674786c9": "Mail.ReadWrite",
    "810c84a8-4a9e-49e6-bf7d-12d183f40d01": "Mail.Read",
    "b633e1c5-b582-4048-a93e-9f11b44c7e96": "Mail.Send",
    "75359482-378d-4052-8f01-80520e7db3cd": "Files.ReadWrite.All",
    "01d4889c-1287-42c6-ac1f-5d1e02578ef6": "Files.Read.All",
    "a82116e5-55eb-4c41-a434-62fe8a61c773": "Sites.FullControl.All",
    "741f803b-c850-494e-b5df-cde7c675a1ca": "User.ReadWrite.All",
    "62a82d76-70ea-41e2-9197-370581804d09": "Group.ReadWrite.All",
    "dc890d15-9560-4a4c-9b7f-a736ec74ec40": "full_access_as_app",
}
# Roles of the directory that can make anybody an administrator, by their ids and names (Entra built-in roles).
ADMINISTRATORS = {
    "62e90394-69f5-4237-9190-012177145e10": "Global Administrator",
    "e8611ab8-c189-46e8-94e1-60213ab1f814": "Privileged Role Administrator",
    "7be44c8a-adaf-4e2a-84d6-ab2649e08a13": "Privileged Authentication Administrator",
    "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3": "Application Administrator",
    "158c047a-c907-4556-b7ef-446551a6b5f7": "Cloud Application Administrator",
}
_EVERYBODY = re.compile(
    r"allprincipals|admin|tenant|organi[sz]ation|everyone|everybody|all users|domain|workspace", re.IGNORECASE
)
_UNVERIFIED = re.compile(r"^(?:false|no|unverified|not verified|none|unknown|0)$", re.IGNORECASE)
_SCOPES = (
    "scopes",
    "scope",
    "permissions",
    "oauthscopes",
    "apiscopes",
    "delegatedpermissions",
    "applicationpermissions",
    "grantedscopes",
    "grantedpermissions",
)
_VERIFIED = (
    "verified",
    "verifiedpublisher",
    "publisherverified",
    "publisherverification",
    "verificationstatus",
    "verifiedstatus",
    "ispublisherverified",
    "publisherstatus",
)
_NAMES = (
    "appname",
    "applicationname",
    "app",
    "application",
    "displaytext",
    "displayname",
    "clientname",
    "appdisplayname",
    "name",
)
_CONSENT = (
    "consenttype",
    "consent",
    "grantedto",
    "consentedfor",
    "scopeofconsent",
    "consentscope",
    "granttype",
    "installedfor",
    "access",
    "type",
)


def read_grant(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a delegated permission that was consented to."""
    scope, kind = row.at("scope"), row.at("consentType")
    facts = {
        "everybody": kind.text == "AllPrincipals",
        "scopes": tuple(scope.text.split()),
        "lines": tuple(below(scope.line, client=row.at("clientId"), kind=kind).values()),
    }
    yield Remark("consent", row.at("clientId").text, Place(path, scope.line), facts)


def read_role(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an application permission: it is for everybody by its nature. Ids that we do not know are left out."""
    role = row.at("appRoleId")
    if row.at("principalType").text in ("", "ServicePrincipal") and (name := ROLES.get(role.text.lower())):
        facts = {
            "everybody": True,
            "application": True,
            "scopes": (name,),
            "name": row.at("principalDisplayName").text,
            "lines": tuple(below(role.line, name=row.at("principalDisplayName")).values()),
        }
        yield Remark("consent", row.at("principalId").text, Place(path, role.line), facts)


def read_directory_role(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read who has a role of the directory: `roleAssignments` of Microsoft Graph, or a table of the same."""
    members, principal = folded(row), row.at("principal")
    role = first(members, "roledefinitionid", "role", "rolename", "roledisplayname")
    said = first(row.at("roleDefinition").items, "displayName", "templateId") or role
    kind = plain(principal.at("@odata.type").text or first(members, "principaltype", "objecttype", "type").text)
    name = first(principal.items, "displayName", "appId") or first(members, *_HOLDERS)
    if kind.endswith("serviceprincipal") or kind == "application":
        facts: dict[str, object] = {
            "everybody": True,
            "application": True,
            "scopes": (ADMINISTRATORS.get(said.text, said.text),),
            "name": name.text,
            "lines": tuple(below(said.line, name=name).values()),
        }
        yield Remark("consent", name.text, Place(path, said.line), facts)
    elif (who := first(principal.items, "userPrincipalName", "mail") or name) and kind.endswith("user"):
        names: dict[str, object] = {"names": (who.text.lower(),), "what": ADMINISTRATORS.get(said.text, said.text)}
        yield Remark("right", f"entra:{names['what']}", Place(path, who.line), names)


def read_permission(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table of permissions, each with the application that has it, by name or by Graph's id."""
    members = folded(row)
    name, said = first(members, *_APPS), first(members, *_PERMISSIONS)
    kind = plain(first(members, *_KINDS).text)
    application = kind in ("application", "approle", "role", "serviceprincipal", "apponly")
    if kind in ("user", "group") or not name:
        return
    facts: dict[str, object] = {
        "everybody": application or bool(_EVERYBODY.search(first(members, *_CONSENT).text)),
        "application": application,
        "scopes": tuple(ROLES.get(one.text.lower(), one.text) for one in words(said)),
        "name": name.text,
    }
    yield Remark("consent", name.text, Place(path, said.line), facts)


def read_principal(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a service principal: an application as this tenant knows it."""
    name = first(row.items, "appDisplayName", "displayName", "appId", "id")
    publisher = row.at("verifiedPublisher")
    facts: dict[str, object] = {
        "name": name.text,
        "app": row.at("appId").text,
        "tenant": row.at("appOwnerOrganizationId").text or row.at("appOwnerTenantId").text,
        "enabled": row.at("accountEnabled").text != "false",
        "own": row.at("signInAudience").text == "AzureADMyOrg"
        or row.at("servicePrincipalType").text == "ManagedIdentity",
    }
    if "verifiedPublisher" in row.items:
        facts["verified"] = bool(publisher.at("verifiedPublisherId").text or publisher.at("displayName").text)
    yield Remark("service-principal", row.at("id").text or name.text, Place(path, name.line), facts)
    if (
        row.at("appId").text
        and not set(entra.KINDS).isdisjoint(row.items)
        and any(row.at(kind).list for kind in entra.KINDS)
    ):
        yield from entra.read_application(path, row, mark)


def read_table(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table of consented applications."""
    members = folded(row)
    scopes = next((members[name] for name in _SCOPES if name in members), row)
    names = tuple(one.text for one in scopes.list) or tuple(re.split(r"[\s,;|]+", scopes.text.strip()))
    name, consent, verified = first(members, *_NAMES), first(members, *_CONSENT), first(members, *_VERIFIED)
    blocked = first(members, "access", "status", "state").text.lower() in ("blocked", "revoked", "disabled", "denied")
    everybody = "anonymous" not in members and bool(_EVERYBODY.search(consent.text))
    facts: dict[str, object] = {
        "everybody": everybody and not blocked,
        "scopes": names,
        "name": name.text,
        "verified": not _UNVERIFIED.match(verified.text.strip() or "none"),
    }
    yield Remark("consent", name.text, Place(path, name.line), facts)


# A table of permissions: whose they are, what they are, and whether an application has them as itself.
_APPS = (
    *("clientdisplayname", "appdisplayname", "applicationname", "appname", "serviceprincipalname", "serviceprincipal"),
    *("principaldisplayname", "principalname", "application", "app"),
)
_PERMISSIONS = (
    *("permission", "permissions", "permissionname", "approlevalue", "approlename", "approle", "rolevalue"),
    *("apipermission", "apipermissions", "approleid"),
)
_KINDS = ("permissiontype", "granttype", "typeofpermission", "type", "principaltype")
_HOLDERS = ("principal", "principalname", "principaldisplayname", "member", "displayname", "userprincipalname")
READERS = (
    ((frozenset({"roleDefinitionId"}), frozenset({"principal"}), frozenset({"principalId"})), read_directory_role),
    ((frozenset({"consentType"}), frozenset({"clientId"}), frozenset({"scope"})), read_grant),
    (
        (frozenset({"appRoleId"}), frozenset({"principalId"}), frozenset({"resourceId", "resourceDisplayName"})),
        read_role,
    ),
    (
        (
            frozenset({"servicePrincipalType", "appOwnerOrganizationId", "appOwnerTenantId"}),
            frozenset({"id", "appId"}),
            frozenset({"appDisplayName", "displayName"}),
        ),
        read_principal,
    ),
)
TABLES = (((frozenset(_NAMES), frozenset(_SCOPES), frozenset(_VERIFIED), frozenset(_CONSENT)), read_table),)
# After all that has more of its own: many tables have an application, a kind and a permission.
PERMISSIONS = (
    ((frozenset(_APPS), frozenset(_PERMISSIONS), frozenset(_KINDS)), read_permission),
    (
        (
            frozenset({"role", "rolename", "roledisplayname"}),
            frozenset(_HOLDERS),
            frozenset({"principaltype", "objecttype"}),
        ),
        read_directory_role,
    ),
)
