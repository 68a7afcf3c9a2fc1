"""Ends: until when a secret is made to work, as Terraform declares it. Whether that is too far is told by the day.

Sources: azuread_application_password and its kin (`end_date`; without one they last two years); the providers' pages of
tokens and API keys, which have no end where nothing says one; azurerm_storage_account_sas.
"""

from taskbound.posture.document import Document, Node
from taskbound.posture.exports.rows import moment
from taskbound.posture.readers.reading import Notes, each

# Resource -> the member that says its end, the kind of credential whose life is bounded, whose it is.
_ENDS = {
    "azuread_application_password": ("end_date", "entra-client-secret", "entra-app"),
    "azuread_service_principal_password": ("end_date", "entra-client-secret", "entra-app"),
    "azuread_application_certificate": ("end_date", "entra-certificate", "entra-app"),
}
# Resource -> the members of which one says its end; without any of them it has none.
_TOKENS = {
    "gitlab_project_access_token": ("expires_at", "rotation_configuration"),
    "gitlab_group_access_token": ("expires_at", "rotation_configuration"),
    "gitlab_personal_access_token": ("expires_at", "rotation_configuration"),
    "gitlab_deploy_token": ("expires_at",),
    "cloudflare_api_token": ("expires_on",),
    "grafana_service_account_token": ("seconds_to_live",),
    "grafana_cloud_access_policy_token": ("expires_at",),
    "tfe_team_token": ("expired_at",),
    "tfe_organization_token": ("expired_at",),
    "rancher2_token": ("ttl",),
    "artifactory_access_token": ("end_date", "end_date_relative"),
    "artifactory_scoped_token": ("expires_in",),
    "databricks_token": ("lifetime_seconds",),
    "databricks_obo_token": ("lifetime_seconds",),
    "sonarqube_user_token": ("expiration_date",),
    "elasticstack_elasticsearch_security_api_key": ("expiration",),
    "scaleway_iam_api_key": ("expires_at",),
    "digitalocean_token": ("expiry_seconds",),
    "linode_token": ("expiry",),
    "minio_iam_service_account": ("expiration",),
    "argocd_account_token": ("expires_in",),
    "argocd_project_token": ("expires_in",),
}
_SIGNATURES = {
    "azurerm_storage_account_sas": ("expiry", "start"),
    "azurerm_storage_account_blob_container_sas": ("expiry", "start"),
}
ANCHOR = rf"\bend_date[ \t]*=|{'|'.join((*_TOKENS, 'azurerm_storage_account_(?:blob_container_)?sas'))}"


def read(document: Document, notes: Notes) -> None:
    for root in document.roots:
        for type, (member, kind, of) in _ENDS.items():
            for label, node in _blocks(root.at("resource", type)):
                at = node.at(member)
                if ends := moment(at.text):
                    id = f"{kind}:{notes.repository}/{label}"
                    notes.principal(id, kind, at, of=f"{of}:{label}", expires=ends, active=True)
        for type, members in _TOKENS.items():
            for label, node in _blocks(root.at("resource", type)):
                _token(notes, f"{type}.{label}", node, members)
        for type, (member, start) in _SIGNATURES.items():
            for label, node in _blocks(root.at("data", type)):
                _until(notes, f"{type}.{label}", node.at(member), node.at(start))


def _blocks(of: Node) -> list[tuple[str, Node]]:
    return [(label, node) for label, nodes in of.items.items() for node in each(nodes) if node.items]


def _token(notes: Notes, name: str, node: Node, members: tuple[str, ...]) -> None:
    """Note a token that has no end, or when that is."""
    said = [node.at(member) for member in members if node.at(member)]
    if said:
        _until(notes, name, said[0], node.at("start"))
    else:
        subject = notes.named(name)
        notes.weakness("credential-made-without-end", subject, node, f"{subject} has no end: {members[0]} is not set.")


def _until(notes: Notes, name: str, at: Node, start: Node) -> None:
    if ends := moment(at.text):
        facts = {"name": name, "expires": ends, "created": moment(start.text), "active": True}
        notes.principal(f"api-token:{notes.repository}/{name}", "api-token", at, **facts)
