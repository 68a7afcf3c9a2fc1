"""Terms: until when an identity was to live, and who owns it, as labels, annotations and tags of manifests say.

Kubernetes has no end of its own for an account; who makes one for a preview writes it down for a janitor
(`janitor/expires`, `janitor/ttl`, `…/delete-after`) or for people. Clouds are tagged likewise.

Topics `ends` and `owned`, of the identity: `group` (what ends together), `end`, `owner`, `kind`, `offsets`.
Topic `right`, of what is given: `names` (people who hold it by name).
"""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.beside import words
from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.rows import below
from taskbound.posture.readers.reading import each, texts
from taskbound.posture.sighting import Place, Remark

WORDS = (b"metadata", b'resource "', b'"resource"')

# Objects that are an identity, give one something, or run as one.
_KINDS = frozenset(
    [
        "ServiceAccount",
        "RoleBinding",
        "ClusterRoleBinding",
        "Role",
        "ClusterRole",
        "Secret",
        "Namespace",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "Pod",
        "ExternalSecret",
        "SealedSecret",
        "KafkaUser",
        "IAMServiceAccount",
        "IAMServiceAccountKey",
        "IAMPolicyMember",
        "User",
        "AccessKey",
        "PostgresqlUser",
        "DatabaseUser",
        "Application",
        "AppProject",
        "Certificate",
        "VaultAuth",
        "PodIdentityAssociation",
        "AgentRuntime",
        "Agent",
        "Component",
        "Resource",
        "MCPServer",
    ]
)
_FIRST = ("ServiceAccount", "IAMServiceAccount", "KafkaUser", "User", "RoleBinding", "ClusterRoleBinding")
# Resources of Terraform that are an identity, or a credential of one.
_IDENTITY = re.compile(
    r"aws_iam_(?:user|role|access_key)|google_service_account(?:_key)?|azuread_(?:application|service_principal)\w*"
    r"|azurerm_user_assigned_identity|kubernetes_service_account(?:_v1)?|kubernetes_(?:cluster_)?role_binding(?:_v1)?"
    r"|postgresql_role|mysql_user|snowflake_user|mongodbatlas_database_user|confluent_(?:api_key|service_account)"
    r"|datadog_(?:service_account|api_key|application_key)|aws_(?:transfer_user|key_pair|secretsmanager_secret)"
    r"|github_(?:repository_deploy_key|actions_secret)|gitlab_\w*token|vault_\w*role\w*"
)
# Resources that give a person something by name -> the members that name the person.
_RIGHTS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"google_\w+_iam_(?:member|binding)"), ("member", "members")),
    (re.compile(r"github_(?:membership|team_membership|repository_collaborator|\w*maintainer\w*)"), ("username",)),
    (re.compile(r"aws_iam_(?:user|access_key|user_ssh_key)|aws_identitystore_user"), ("name", "user", "user_name")),
    (
        re.compile(r"postgresql_role|mysql_user|snowflake_user|databricks_user|redshift_user|rabbitmq_user"),
        ("name", "user", "login_name", "email", "user_name"),
    ),
    (
        re.compile(r"(?:datadog|pagerduty|grafana|newrelic|sentry\w*|opsgenie|tfe|cloudflare)_\w*(?:user|member\w*)"),
        ("email", "username"),
    ),
    (re.compile(r"aws_key_pair|hcloud_ssh_key|digitalocean_ssh_key|gitlab_user_sshkey"), ("key_name", "name", "title")),
    (re.compile(r"(?:azuread|okta|jumpcloud)_user"), ()),  # the directory itself: who has left there is disabled there
)
_PERSON = re.compile(r"^(?:user:)?([\w.+-]{3,64}(?:@[\w.-]+)?)$")


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield what a document says of ends, owners and people's rights."""
    for root in document.roots:
        if root.at("resource").items:
            yield from _resources(document, root)
        for one in _objects(root):
            yield from _object(document, one, repository)


def _objects(root: Node) -> Iterator[Node]:
    for one in root.at("items").list or root.list or (root,):
        if one.at("kind").text and one.at("apiVersion").text and one.at("metadata").items:
            yield one


def _object(document: Document, one: Node, repository: str) -> Iterator[Remark]:
    kind, metadata = one.at("kind").text, one.at("metadata")
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        for subject in each(one.at("subjects")):
            name = subject.at("name")
            if subject.at("kind").text == "User" and (person := _PERSON.match(name.text)):
                of = f"k8s-binding:{metadata.at('name').text}"
                yield Remark(
                    "right",
                    of,
                    Place(document.path, name.line),
                    {"names": (person[1],), "what": one.at("roleRef", "name").text},
                )
    if kind not in _KINDS:
        return
    called = metadata.at("name").text
    namespace = metadata.at("namespace").text or (called if kind == "Namespace" else "")
    of = (
        f"k8s-sa:{namespace}/{called}"
        if kind == "ServiceAccount" and namespace
        else f"k8s-{_dashed(kind)}:{namespace}/{called}"
    )
    if not namespace and repository:
        of = f"k8s-{'sa' if kind == 'ServiceAccount' else _dashed(kind)}:{called}@{repository}"
    tags = {**metadata.at("labels").items, **metadata.at("annotations").items}
    if kind in ("Component", "Resource"):  # Backstage: owner: user:default/jane
        tags |= {
            "owner": Node(re.sub(r"^user:(?:\w+/)?", "", one.at("spec", "owner").text), one.at("spec", "owner").line)
        }
    first = _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
    yield from _said(
        document, of, kind, metadata.at("name"), tags, metadata.at("creationTimestamp"), f"{namespace} {first}"
    )


def _resources(document: Document, root: Node) -> Iterator[Remark]:
    for type, labels in root.at("resource").items.items():
        named = next((members for rule, members in _RIGHTS if rule.fullmatch(type)), ())
        identity = _IDENTITY.fullmatch(type)
        if not named and not identity:
            continue
        for label, nodes in labels.items.items():
            for node in each(nodes):
                of = f"{type}.{label}"
                for member in named:
                    for one in texts(node.at(member)):
                        if person := _PERSON.match(one.text):
                            yield Remark(
                                "right", of, Place(document.path, one.line), {"names": (person[1],), "what": type}
                            )
                if identity:
                    metadata = next(iter(each(node.at("metadata"))), NOTHING)
                    tags: dict[str, Node] = {}
                    for member in ("tags", "labels"):
                        tags |= {**node.at(member).items, **metadata.at(member).items}
                    tags |= metadata.at("annotations").items
                    tags |= {"owner": node.at("owner")} if node.at("owner").text else {}
                    yield from _said(document, of, type, node, tags, NOTHING, of)


def _said(
    document: Document, of: str, kind: str, at: Node, tags: Mapping[str, Node], made: Node, group: str
) -> Iterator[Remark]:
    owner, ends = words.owner(tags), words.end(tags, made)
    facts: dict[str, object] = {"kind": kind, "group": group}
    if owner:
        facts["owner"] = re.sub(r"_at_|\.at\.", "@", owner.text.strip())
        yield Remark("owned", of, Place(document.path, owner.line), {**facts, "offsets": below(owner.line, of=at)})
    if ends:
        lines = below(ends[0].line, of=at, **({"owner": owner} if owner else {}))
        yield Remark("ends", of, Place(document.path, ends[0].line), {**facts, "end": ends[1], "offsets": lines})


def _dashed(kind: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
