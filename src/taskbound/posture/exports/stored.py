"""Stored secrets: what stores tell of them without their values, which is how old they are.

GitHub's Actions secrets, AWS Secrets Manager (`list-secrets`), Azure Key Vault (`az keyvault secret list`), Parameter
Store (`describe-parameters`).

Topic `stored`, of the secret: `name`, `changed`, `rotates` (by itself), `expires`.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import first, moment
from taskbound.posture.sighting import Mark, Place, Remark, Sighting, Weakness

PRODUCTION = frozenset({"prod", "prd", "production"})


def read_github(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a secret of an organisation, an environment or a repository."""
    name, seen_by = row.at("name"), row.at("visibility")
    if seen_by.text == "all" and _is_production(name.text):
        says = f"{name.text} is given to the workflows of every repository, those to come included."
        of, places = f"github-secret:{name.text}", (Place(path, name.line),)
        yield Weakness("production-secret-for-every-branch", of, Place(path, seen_by.line), says, places)
    yield Remark(
        "stored", f"github-secret:{name.text}", Place(path, name.line), {"changed": moment(row.at("updated_at").text)}
    )


def read_variable(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a variable of GitLab: one of production that every branch, in every environment, is given."""
    key, scope = row.at("key"), row.at("environment_scope")
    if _is_production(key.text) and row.at("protected").text == "false" and scope.text in ("", "*"):
        of = f"gitlab-variable:{key.text}"
        says = f"{key.text} is given to the jobs of every branch: it is not protected, and for every environment."
        yield Weakness("production-secret-for-every-branch", of, Place(path, key.line), says)


def _is_production(name: str) -> bool:
    return not PRODUCTION.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def read_aws(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a secret of Secrets Manager, or a parameter that is encrypted."""
    name = row.at("Name")
    if row.at("Type").text not in ("", "SecureString") or row.at("DeletedDate").text:
        return
    changed = first(row.items, "LastRotatedDate", "LastChangedDate", "LastModifiedDate", "CreatedDate")
    facts = {"changed": moment(changed.text), "rotates": row.at("RotationEnabled").text == "true"}
    yield Remark("stored", f"aws-secret:{name.text}", Place(path, name.line), facts)


def read_vault(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a secret of a key vault."""
    of = row.at("attributes")
    if of.at("enabled").text == "false":
        return
    facts = {"changed": moment(first(of.items, "updated", "created").text), "expires": moment(of.at("expires").text)}
    name = row.at("id").text.partition("/secrets/")[2].partition("/")[0]
    if name:
        yield Remark("stored", f"azure-secret:{name}", Place(path, row.at("id").line), facts)


READERS = (
    ((frozenset({"variable_type"}), frozenset({"key"}), frozenset({"protected"})), read_variable),
    (
        (
            frozenset({"name"}),
            frozenset({"updated_at"}),
            frozenset({"created_at"}),
            frozenset({"visibility", "selected_repositories_url"}),
        ),
        read_github,
    ),
    (
        (
            frozenset({"Name"}),
            frozenset({"LastChangedDate", "LastModifiedDate"}),
            frozenset({"SecretVersionsToStages", "ARN", "Type"}),
        ),
        read_aws,
    ),
    ((frozenset({"attributes"}), frozenset({"id"}), frozenset({"contentType", "managed", "tags"})), read_vault),
)
