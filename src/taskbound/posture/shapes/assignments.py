"""Assignments of roles that own all: Azure's and Google's, in exports, Terraform, its modules and Config Connector.

Sources: Azure built-in roles; Google's basic roles; `az role assignment list`, `gcloud projects get-iam-policy`. What a
cloud's own agents are given is theirs; what people and their groups are given is another matter.
"""

import re

from taskbound.posture.document import Document, Node
from taskbound.posture.readers.reading import Notes, texts
from taskbound.posture.shapes.walk import Trail, first, folded, mappings, named

ANCHOR = (
    r"role_?definition_?name|roles/(?:owner|editor|iam\.securityAdmin|iam\.serviceAccountTokenCreator"
    r"|resourcemanager\.)|issuer_?uri"
)
_AZURE = ("Owner", "User Access Administrator", "Role Based Access Control Administrator", "Contributor")
_WHOLE = re.compile(
    r"/subscriptions/[^/]+/?$|/providers/Microsoft\.Management/managementGroups/[^/]+/?$|^/$"
    r"|azurerm_(?:subscription|management_group)"
    r"|subscription_?(?:id|resource_?id|scope)|management_?group",
    re.I,
)
_GROUP = re.compile(r"/resourceGroups/[^/]+/?$|azurerm_resource_group\.", re.I)
_GOOGLE = re.compile(
    r"roles/(owner|editor|iam\.securityAdmin|iam\.serviceAccountTokenCreator"
    r"|resourcemanager\.(?:projectIamAdmin|organizationAdmin|folderAdmin))$"
)
_WHERE = re.compile(r"google_(?:project|folder|organization)_iam_(?:member|binding)")
_OWN_AGENT = re.compile(
    r"@cloudservices\.gserviceaccount\.com|serviceAccount:service-\d+@|@gcp-sa-|@gs-project-accounts"
)
_SHARED = re.compile(
    r"token\.actions\.githubusercontent\.com|gitlab\.com|app\.terraform\.io|circleci|bitbucket\.org|buildkite"
)


def read(document: Document, notes: Notes) -> None:
    for node, trail in mappings(document):
        members = folded(node)
        if "roledefinitionname" in members:
            _azure(notes, members, named(trail))
        elif "role" in members and (found := _GOOGLE.search(members["role"].text)):
            _google(notes, members, found[1], trail)
        elif len(trail) == 3 and trail[1][0] == "module":
            _module(notes, node, trail[-1][0])
        elif "issuer" in "".join(members) and first(members, "issueruri").text and document.format != "hcl":
            _provider(notes, members, trail)


def _azure(notes: Notes, members: dict[str, Node], name: str) -> None:
    role, scope = members["roledefinitionname"], first(members, "scope")
    kind = first(members, "principaltype").text.lower()
    if role.text not in _AZURE or kind in ("user", "group"):
        return
    whole = _WHOLE.search(scope.text)
    if whole or (role.text != "Contributor" and _GROUP.search(scope.text)):
        who = first(members, "principalname", "displayname").text or name
        subject = notes.named(f"azure:assignment/{who}")
        of = "a whole subscription or more" if whole else "a whole resource group"
        says = f"{subject} is {role.text} of {of}: whoever signs in as it can change and delete all of it."
        notes.weakness("owner-role-assigned", subject, role, says, scope)


def _google(notes: Notes, members: dict[str, Node], role: str, trail: Trail) -> None:
    type = next((key for key, _ in reversed(trail) if key.startswith("google_")), "")
    if type and not _WHERE.fullmatch(type):
        return  # of one resource
    who = [*texts(first(members, "member")), *texts(first(members, "members"))]
    who += [one for _, one in first(members, "memberfrom").scalars()]
    machine = next((one for one in who if _is_machine(one.text)), None)
    if machine is None and first(members, "memberfrom"):
        machine = first(members, "memberfrom")
    if machine:
        subject = notes.named(f"gcp:binding/{named(trail) if type else machine.text.rpartition(':')[2] or 'member'}")
        says = f"{subject} is {role} of the whole project or more: whoever holds its key can do as much."
        notes.weakness("owner-role-assigned", subject, members["role"], says, machine)


def _is_machine(text: str) -> bool:
    return bool(
        re.search(r"serviceAccount:|service_account|principalSet|principal://", text)
    ) and not _OWN_AGENT.search(text)


def _module(notes: Notes, node: Node, label: str) -> None:
    """Note a basic role among a module's arguments, unless they speak of people alone."""
    found = [one for _, one in node.scalars() if re.search(r"roles/(owner|editor)$", one.text)]
    everything = " ".join(one.text for _, one in node.scalars())
    if found and not (re.search(r"\b(?:group|user):", everything) and "serviceAccount" not in everything):
        subject = notes.named(f"terraform-module:{label}")
        says = f"{subject} is handed {found[0].text[-40:]}: what it makes owns the whole project."
        notes.weakness("owner-role-assigned", subject, found[0], says)


def _provider(notes: Notes, members: dict[str, Node], trail: Trail) -> None:
    """Note an exported identity pool provider of a shared issuer that no condition narrows."""
    around = folded(trail[-2][1]) if len(trail) > 1 else {}
    issuer = _SHARED.search(members["issueruri"].text)
    said = first(around, "attributecondition") or first(members, "attributecondition")
    if issuer and not said.text and ("attributemapping" in around or "attributemapping" in members):
        subject = notes.named(
            f"gcp:workload-identity-provider/{first(around, 'name').text.rpartition('/')[2] or notes.file}"
        )
        says = f"{subject} trusts every job of {issuer[0]}: no condition says whose."
        notes.weakness("oidc-trust-too-wide", subject, members["issueruri"], says)
