"""Terraform and OpenTofu: variables, providers, and identities with what they may do and who may become them.

A block `resource "aws_iam_user" "deployer" {…}` is at ("resource", "aws_iam_user", "deployer"); a block that stands
more than once is a sequence. References (`aws_iam_user.deployer.name`) are followed within one document.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import aws_policy, kubernetes, words
from taskbound.posture.readers.reading import Notes, Reading, each, texts

PATHS = re.compile(r"\.(?:tf|tofu|tfvars|tf\.json|tofu\.json|tfvars\.json|tfstate|tfstate\.backup|hcl)$")
# Resource that carries a policy of its own -> (member that names whom it is for, type of that, prefix of its name).
_POLICIES = {
    "aws_iam_user_policy": ("user", "aws_iam_user", "aws:user/"),
    "aws_iam_role_policy": ("role", "aws_iam_role", "aws:role/"),
    "aws_iam_group_policy": ("group", "aws_iam_group", "aws:group/"),
    "aws_iam_policy": ("name", "aws_iam_policy", "aws:policy/"),
}
_ATTACHMENTS = {
    "aws_iam_user_policy_attachment": ("user", "aws_iam_user", "aws:user/"),
    "aws_iam_role_policy_attachment": ("role", "aws_iam_role", "aws:role/"),
    "aws_iam_group_policy_attachment": ("group", "aws_iam_group", "aws:group/"),
}
_KINDS = {"aws_iam_user": ("aws:user/", "aws-iam-user"), "aws_iam_role": ("aws:role/", "aws-iam-role")}
_ADMINISTRATOR = re.compile(r"arn:aws[\w-]*:iam::aws:policy/AdministratorAccess$")
_WHOLE_SCOPE = re.compile(r"/subscriptions/[^/]+/?|/providers/Microsoft\.Management/managementGroups/[^/]+/?|/")
_REFERS_TO_WHOLE = re.compile(r"(?:data\.)?azurerm_(?:subscription|management_group)\.")
_SAID = re.compile(
    r"(?:\$\{\s*)?(?:data\.)?\b(local|var|aws_iam_openid_connect_provider)\.([\w-]+)(?:\.(?:arn|url|id)\b)?(?:\s*\})?"
)
_GOOGLE = re.compile(r"google_(project|folder|organization)_iam_(member|binding)")


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    notes.hold_all(notes.holder("infrastructure", "terraform", notes.file), "terraform")
    for number, root in enumerate(document.roots):
        for name in root.at("variable").items:
            notes.hold(
                notes.holder("infrastructure", "terraform", name, notes.file), "terraform", number, "variable", name
            )
        if root.at("resource") or root.at("data"):
            _Reader(notes, root).read()
    return notes.reading()


class _Reader:
    """Reads one document; what refers to each other is looked up in it."""

    def __init__(self, notes: Notes, root: Node) -> None:
        self.notes, self.root = notes, root
        self.used: set[str] = set()  # policy documents that an identity of this document refers to

    def read(self) -> None:
        for type, (prefix, kind) in _KINDS.items():
            for label, node in self.resources(type):
                name = self.name(node, label)
                at = node.at("name") or node
                self.notes.principal(prefix + name, kind, at, environment=self.notes.environment(name), label=label)
        for type, (member, of, prefix) in _POLICIES.items():
            for label, node in self.resources(type):
                subject = self.subject(node.at(member), of, prefix, label)
                users = self.users(label) if type == "aws_iam_policy" else ()
                self.rights(users or (subject,), node.at("policy"))
        for type, (member, of, prefix) in _ATTACHMENTS.items():
            for label, node in self.resources(type):
                self.administrator(self.subject(node.at(member), of, prefix, label), node.at("policy_arn"))
        for label, node in self.resources("aws_iam_role"):
            subject = f"aws:role/{self.name(node, label)}"
            for inline in each(node.at("inline_policy")):
                self.rights((subject,), inline.at("policy"))
            for arn in texts(node.at("managed_policy_arns")):
                self.administrator(subject, arn)
            self.trust(subject, node.at("assume_role_policy"))
        self.documents()
        self.azure()
        self.google()
        self.kubernetes()

    def resources(self, type: str) -> Iterator[tuple[str, Node]]:
        for label, node in self.root.at("resource", type).items.items():
            for one in each(node):
                yield label, one

    def name(self, node: Node, label: str) -> str:
        """The name that it has in the cloud; its label where that is put together elsewhere."""
        said = node.at("name").text or node.at("name_prefix").text
        return said if said and not _is_expression(said) else label

    def subject(self, node: Node, type: str, prefix: str, label: str) -> str:
        """Whom `aws_iam_user.deployer.name`, "svc-deployer" or an expression stands for."""
        text = node.text
        if found := re.search(rf"\b{type}\.([\w-]+)", text):
            return prefix + self.name(self.first(type, found[1]), found[1])
        return prefix + (text if text and not _is_expression(text) else label)

    def first(self, type: str, label: str) -> Node:
        return next(iter(each(self.root.at("resource", type, label))), NOTHING)

    def users(self, policy: str) -> tuple[str, ...]:
        """To whom the document attaches a policy."""
        found = []
        for type, (member, of, prefix) in _ATTACHMENTS.items():
            for label, node in self.resources(type):
                if re.search(rf"\baws_iam_policy\.{re.escape(policy)}\b", node.at("policy_arn").text):
                    found.append(self.subject(node.at(member), of, prefix, label))
        for label, node in self.resources("aws_iam_policy_attachment"):
            if re.search(rf"\baws_iam_policy\.{re.escape(policy)}\b", node.at("policy_arn").text):
                for member, of, prefix in _ATTACHMENTS.values():
                    found += [self.subject(one, of, prefix, label) for one in texts(node.at(f"{member}s"))]
        return tuple(dict.fromkeys(found))

    def statements(self, policy: Node) -> tuple[aws_policy.Statement, ...]:
        if found := re.search(r"\bdata\.aws_iam_policy_document\.([\w-]+)", policy.text[:500]):
            self.used.add(found[1])
            data = next(iter(each(self.root.at("data", "aws_iam_policy_document", found[1]))), NOTHING)
            return aws_policy.from_blocks(data)
        return aws_policy.statements(policy)

    def rights(self, subjects: tuple[str, ...], policy: Node) -> None:
        for case, what, action, resource in aws_policy.rights(self.statements(policy)):
            for subject in subjects:
                self.notes.weakness(case, subject, action, f"{subject} may {what}.", resource, policy)

    def documents(self) -> None:
        """Policy documents that are used from another file: whose they are is not seen here."""
        for label, nodes in self.root.at("data", "aws_iam_policy_document").items.items():
            if label in self.used:
                continue
            subject = self.notes.named(f"aws:policy-document/{label}")
            for node in each(nodes):
                # What names principals belongs to a resource, and says who may come, not what somebody may do.
                if not any(one.at("principals") for one in each(node.at("statement"))):
                    for case, what, action, resource in aws_policy.rights(aws_policy.from_blocks(node)):
                        says = f"Whoever {subject} is attached to may {what}."
                        self.notes.weakness(case, subject, action, says, resource)
                for at, why in aws_policy.wide_trust(self.resolved(aws_policy.from_blocks(node)), self.issuers()):
                    says = f"{subject} trusts too much: {why}."
                    self.notes.weakness("oidc-trust-too-wide", subject, at, says)

    def administrator(self, subject: str, arn: Node) -> None:
        if _ADMINISTRATOR.search(arn.text):
            says = f"{subject} is given AdministratorAccess: whoever holds one of its credentials owns the account."
            self.notes.weakness("iam-star-star", subject, arn, says)

    def trust(self, subject: str, policy: Node) -> None:
        for at, why in aws_policy.wide_trust(self.resolved(self.statements(policy)), self.issuers()):
            self.notes.weakness("oidc-trust-too-wide", subject, at, f"{subject} trusts too much: {why}.", policy)

    def resolved(self, found: tuple[aws_policy.Statement, ...]) -> tuple[aws_policy.Statement, ...]:
        """Statements whose federated principals and conditions name what their locals, variables and resources say."""
        return tuple(
            replace(
                one,
                federated=tuple(Node(self.said(each.text), each.line) for each in one.federated),
                conditions=tuple(replace(of, variable=self.said(of.variable)) for of in one.conditions),
            )
            for one in found
        )

    def said(self, text: str) -> str:
        """A text with what its locals, variables (their defaults) and identity providers stand for in this document."""

        def stands_for(found: re.Match[str]) -> str:
            keys = {"local": ("locals", found[2]), "var": ("variable", found[2], "default")}.get(found[1])
            node = self.root.at(*keys) if keys else self.first(found[1], found[2]).at("url")
            return re.sub(r"^https?://", "", node.text) or found[0]

        return _SAID.sub(stands_for, text[:2000])

    def issuers(self) -> str:
        return " ".join(node.at("url").text for _, node in self.resources("aws_iam_openid_connect_provider"))

    def azure(self) -> None:
        for label, node in self.resources("azurerm_role_assignment"):
            role, scope = node.at("role_definition_name"), node.at("scope")
            whole = _WHOLE_SCOPE.fullmatch(scope.text) or _REFERS_TO_WHOLE.search(scope.text)
            if role.text in ("Owner", "User Access Administrator") and whole:
                subject = f"azure:assignment/{label}"
                says = (
                    f"{subject} makes somebody {role.text} of a whole subscription: whoever signs in as them owns it."
                )
                self.notes.weakness("iam-star-star", subject, role, says, scope)

    def google(self) -> None:
        for type, nodes in self.root.at("resource").items.items():
            if not _GOOGLE.fullmatch(type):
                continue
            for label, each_node in nodes.items.items():
                for node in each(each_node):
                    self.owner(label, node)
        for label, node in self.resources("google_iam_workload_identity_pool_provider"):
            issuer = node.at("oidc", "issuer_uri") or next((o.at("issuer_uri") for o in each(node.at("oidc"))), NOTHING)
            shared = re.search(
                r"token\.actions\.githubusercontent\.com|gitlab\.com|app\.terraform\.io|circleci", issuer.text
            )
            if shared and not node.at("attribute_condition").text:
                subject = f"gcp:workload-identity-provider/{self.named(node, label)}"
                says = f"{subject} trusts every job of {shared[0]}: no condition says whose."
                self.notes.weakness("oidc-trust-too-wide", subject, issuer, says)

    def kubernetes(self) -> None:
        for type in ("kubernetes_cluster_role_binding", "kubernetes_cluster_role_binding_v1"):
            for _, node in self.resources(type):
                role = next((one.at("name") for one in each(node.at("role_ref"))), NOTHING)
                for subject in each(node.at("subject")) if role.text == "cluster-admin" else ():
                    if subject.at("kind").text != "ServiceAccount":
                        continue
                    name, namespace = (_plain(subject.at(one).text) for one in ("name", "namespace"))
                    id = kubernetes.account_id(self.notes, namespace, name)
                    case = "cluster-admin-to-agent" if words.driven_by_a_model(name) else "cluster-admin-to-workload"
                    says = (
                        f"{id} may do everything in the cluster: read every secret, run anything, change every right."
                    )
                    self.notes.weakness(case, id, role, says, subject.at("name"))
        for type in ("kubernetes_secret", "kubernetes_secret_v1"):
            for _, node in self.resources(type):
                metadata = next(iter(each(node.at("metadata"))), NOTHING)
                account = metadata.at("annotations", kubernetes.OF_ACCOUNT).text
                if node.at("type").text == kubernetes.TOKEN and account:
                    namespace = _plain(metadata.at("namespace").text)
                    id = kubernetes.account_id(self.notes, namespace, _plain(account))
                    says = f"This secret holds a token of {id} that never ends; a workload gets a short one without it."
                    self.notes.weakness("long-lived-service-account-token", id, node.at("type"), says)

    def named(self, node: Node, label: str) -> str:
        said = node.at("workload_identity_pool_provider_id").text
        return said if said and not _is_expression(said) else label

    def owner(self, label: str, node: Node) -> None:
        members = [*texts(node.at("member")), *texts(node.at("members"))]
        machine = next(
            (one for one in members if "serviceAccount:" in one.text or "service_account." in one.text), None
        )
        if node.at("role").text == "roles/owner" and machine:
            subject = f"gcp:binding/{label}"
            says = f"{subject} makes a service account owner: whoever holds its key owns everything in there."
            self.notes.weakness("iam-star-star", subject, node.at("role"), says, machine)


def _plain(text: str) -> str:
    """A name, or the label in a reference to a resource (`kubernetes_namespace.tools.metadata[0].name`)."""
    found = re.search(r"\bkubernetes_\w+\.([\w-]+)", text)
    return found[1] if found else text


def _is_expression(text: str) -> bool:
    return words.is_reference(text) or bool(
        re.match(r"(?:var|local|data|module|aws_\w+|each|random_\w+)\.|[a-z_]+\(", text)
    )
