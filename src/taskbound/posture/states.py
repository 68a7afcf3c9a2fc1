"""States: which values of Terraform's (and OpenTofu's) state, backups and plans are secrets, whatever their name.

Sources: the state file's versions 4 (`instances[].attributes`, `sensitive_attributes`) and 3 (`primary.attributes`),
"JSON Output Format" (`values`, `sensitive_values`, `change.after`, `after_sensitive`), sensitive outputs. A state
keeps in plain text what the providers call sensitive; where it does not say so, the type of the resource does.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping

from taskbound.posture.document import Document, Node

# Type of a resource -> its attributes that are secrets and have no name that says so.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "random_password": ("result",),
    "aws_iam_access_key": ("secret", "ses_smtp_password_v4"),
    "aws_secretsmanager_secret_version": ("secret_string",),
    "azuread_application_password": ("value",),
    "azuread_service_principal_password": ("value",),
    "azurerm_key_vault_secret": ("value",),
    "google_service_account_key": ("private_key",),
    "google_secret_manager_secret_version": ("secret_data",),
    "vault_generic_secret": ("data_json",),
    "github_actions_secret": ("plaintext_value",),
    "gitlab_project_variable": ("value",),
    "cloudflare_api_token": ("value",),
    "kubernetes_secret": ("data",),
    "kubernetes_secret_v1": ("data",),
    "tls_private_key": ("private_key_pem", "private_key_openssh", "private_key_pem_pkcs8"),
}
_SIGNS = ("terraform_version", "lineage", "planned_values", "resource_changes")
NAME = "secret"
Keys = tuple[str, ...]
_MADE = re.compile(r"(?=\D*\d)(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[^\s/.:@=]{10,200}={0,2}")
# What says by itself that it is one, and what is none.
_NONE = re.compile(
    r"pass|pwd|secret|token|key|cred|auth|user|login|host|url|uri|server|database|\bid\b|client.?id|name|cert|\.crt$"
    r"|\bca\b|pub|version|digest|hash|sha\d",
    re.IGNORECASE,
)


def secrets(document: Document) -> Mapping[tuple[int, Keys], str]:
    """Return, of a state or a plan, the root and keys of each value that is a secret, with a name that says so."""
    kept = {(number, keys): NAME for number, root in enumerate(document.roots) for keys in _kept(root)}
    if document.format != "json":
        return kept
    return kept | {
        (number, keys): NAME
        for number, root in enumerate(document.roots)
        if any(sign in root.items for sign in _SIGNS)
        for keys in _secrets(root)
    }


def _kept(root: Node) -> Iterator[Keys]:
    """Yield what a Secret of Kubernetes keeps under a name that does not say so in words known here.

    That all of it is secret is said by its kind; users, hosts and settings are kept there too, so that it has to look
    like what a machine made: both cases and digits, in base64 or as it is (`data`, `stringData`).
    """
    if not root.items:  # a line of a log: there are many
        return
    objects = [((), root), *((("items", str(place)), one) for place, one in enumerate(root.at("items").list))]
    for keys, one in objects:
        if one.at("kind").text == "Secret" and one.at("apiVersion").text == "v1":
            for member in ("data", "stringData"):
                for key, node in one.at(member).items.items():
                    text = _plain(node.text) if member == "data" else node.text
                    if _MADE.fullmatch(text) and not _NONE.search(key):
                        yield (*keys, member, key)


def _plain(text: str) -> str:
    try:
        return b64decode(text[:1024], validate=True).decode()
    except ValueError:
        return ""


def _secrets(root: Node) -> Iterator[Keys]:
    waiting: list[tuple[Keys, Node]] = [((), root)]
    while waiting:
        keys, node = waiting.pop()
        if node.at("sensitive").value is True and "value" in node.items:
            yield from _below((*keys, "value"), node.at("value"))
        known = ATTRIBUTES.get(node.at("type").text, ())
        for inner, values, marked in _attributes(node):
            for name in known:
                yield from _below((*keys, *inner, name), values.at(name))
            yield from ((*keys, *inner, *path) for path in marked)
        waiting += [((*keys, key), one) for key, one in node.items.items() if one.items or one.list]
        waiting += [((*keys, str(place)), one) for place, one in enumerate(node.list) if one.items or one.list]


def _attributes(node: Node) -> Iterator[tuple[Keys, Node, list[Keys]]]:
    """Yield, of a resource, the keys of a table of attributes, the table, and the attributes it marks as sensitive."""
    for place, one in enumerate(node.at("instances").list):
        paths = [_path(path) for path in one.at("sensitive_attributes").list]
        yield ("instances", str(place), "attributes"), one.at("attributes"), [path for path in paths if path]
    if node.at("primary", "attributes"):
        yield ("primary", "attributes"), node.at("primary", "attributes"), []
    if node.at("values").items and node.at("type").text:
        yield ("values",), node.at("values"), list(_marked(node.at("sensitive_values")))
    for when in ("before", "after"):
        if node.at("change", when).items:
            yield ("change", when), node.at("change", when), list(_marked(node.at("change", f"{when}_sensitive")))


def _path(steps: Node) -> Keys:
    """A path as the state writes it: [{"type": "get_attr", "value": "password"}]; "" where it is an older text."""
    if steps.text:
        return tuple(steps.text.split("."))
    return tuple(step.at("value").text or step.at("value", "value").text for step in steps.list)


def _marked(node: Node) -> Iterator[Keys]:
    """The keys that lead to `true` in a table of the same form as the values."""
    return (keys for keys, one in node.scalars() if one.value is True)


def _below(keys: Keys, node: Node) -> Iterator[Keys]:
    return (found for found, _ in node.scalars(keys))
