"""Kubernetes manifests: secrets, workloads and their service accounts, who is bound to what. Source: the API reference.

A manifest without a namespace is put into one by whoever applies it: its service accounts are then named by
repository, since two of one name may be two identities.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import compose, launch, pipeline, words
from taskbound.posture.readers.reading import Notes, Reading, each, texts

WORKLOADS = {
    # kind -> the keys that lead to the pod's specification
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "ReplicationController": ("spec", "template", "spec"),
    "Rollout": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "Service": ("spec", "template", "spec"),  # Knative
}
_BINDINGS = ("ClusterRoleBinding", "RoleBinding")
_ROLES = ("ClusterRole", "Role")
TOKEN = "kubernetes.io/service-account-token"
OF_ACCOUNT = "kubernetes.io/service-account.name"
# Groups that everybody, or every workload of a cluster, belongs to.
_EVERYBODY = ("system:serviceaccounts", "system:authenticated", "system:unauthenticated", "system:anonymous")


@dataclass(frozen=True, slots=True)
class _Object:
    """One object: which root it stands in, and the keys that lead to it (a List holds many)."""

    root: int
    keys: tuple[str, ...]
    node: Node

    @property
    def kind(self) -> str:
        return self.node.at("kind").text

    @property
    def name(self) -> str:
        return self.node.at("metadata", "name").text or self.node.at("metadata", "generateName").text

    @property
    def namespace(self) -> str:
        return self.node.at("metadata", "namespace").text

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(slots=True)
class _Accounts:
    """Which workloads of the document run as which service account."""

    users: dict[str, list[tuple[str, Node]]] = field(default_factory=dict)


def is_manifest(document: Document) -> bool:
    """Whether one of the roots is an object of the API."""
    return any(root.at("apiVersion").text and root.at("kind").text and not _is_login(root) for root in document.roots)


def _is_login(root: Node) -> bool:
    """Tell whether it is a kubeconfig: nothing that a cluster is given, but what people and programs sign in with."""
    return root.at("kind").text == "Config" and bool(root.at("users").list or root.at("contexts").list)


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    notes.hold_all(notes.holder("workload", "k8s"), "k8s-workload")
    objects = [one for root in range(len(document.roots)) for one in _objects(document, root)]
    accounts = _Accounts()
    wide = {(one.kind, one.name): at for one in objects if one.kind in _ROLES and (at := _wildcards(one.node))}
    bound: set[tuple[str, str]] = set()
    for one in objects:
        if one.kind == "Secret":
            _secret(notes, one)
        elif one.kind == "ServiceAccount":
            _account(notes, one.namespace, one.name, one.node.at("metadata", "name") or one.node)
        elif one.kind in _BINDINGS:
            bound.add(_binding(notes, one, wide))
        elif one.kind in WORKLOADS:
            _workload(notes, one, accounts)
        elif one.kind == "ConfigMap":
            holder = notes.holder("workload", f"k8s-configmap:{one.full_name}", one.namespace, one.name)
            notes.hold(holder, "k8s-workload", one.root, *one.keys)
    for one in objects:
        if (one.kind, one.name) in wide and (one.kind, one.name) not in bound:
            _role(notes, one, wide[one.kind, one.name])
    for account, users in accounts.users.items():
        if len(users) > 1:
            named = ", ".join(name for name, _ in users[:8])
            says = (
                f"{account} is used by {len(users)} workloads ({named}): what one of them does looks like the others."
            )
            notes.weakness(
                "service-account-shared-by-workloads", account, users[0][1], says, *(at for _, at in users[1:])
            )
    return notes.reading()


def _objects(document: Document, root: int) -> Iterator[_Object]:
    node = document.roots[root]
    if node.at("kind").text.endswith("List") and node.at("items").list:
        for place, one in enumerate(node.at("items").list):
            yield _Object(root, ("items", str(place)), one)
    elif node.list:
        for place, one in enumerate(node.list):
            yield _Object(root, (str(place),), one)
    else:
        yield _Object(root, (), node)


def account_id(notes: Notes, namespace: str, name: str) -> str:
    return f"k8s-sa:{namespace}/{name}" if namespace else notes.named(f"k8s-sa:{name}")


def _account(notes: Notes, namespace: str, name: str, at: Node) -> str:
    id = account_id(notes, namespace, name)
    notes.principal(
        id,
        "k8s-service-account",
        at,
        namespace=namespace,
        agent=words.driven_by_a_model(name, namespace),
        environment=notes.environment(namespace, name),
    )
    return id


def _secret(notes: Notes, one: _Object) -> None:
    holder = notes.holder("workload", f"k8s-secret:{one.full_name}", one.namespace, one.name)
    notes.hold(holder, "k8s-secret", one.root, *one.keys)
    account = one.node.at("metadata", "annotations", OF_ACCOUNT).text
    if one.node.at("type").text == TOKEN and account:
        id = account_id(notes, one.namespace, account)
        says = f"This secret holds a token of {id} that never ends; a workload gets a short one without it."
        notes.weakness("long-lived-service-account-token", id, one.node.at("type"), says)


def _binding(notes: Notes, one: _Object, wide: dict[tuple[str, str], Node]) -> tuple[str, str]:
    """Note who is bound to everything, and return which role is bound."""
    role = one.node.at("roleRef", "name")
    kind = one.node.at("roleRef", "kind").text
    at = role if role.text == "cluster-admin" else wide.get((kind, role.text), NOTHING)
    if not at:
        return kind, role.text
    reach = (
        f"everything in namespace {one.namespace or 'of the binding'}"
        if one.kind == "RoleBinding"
        else "everything in the cluster"
    )
    for subject in each(one.node.at("subjects")):
        name, namespace = subject.at("name").text, subject.at("namespace").text or one.namespace
        if subject.at("kind").text == "ServiceAccount" or name.startswith("system:serviceaccount:"):
            if name.startswith("system:serviceaccount:"):
                _, _, namespace, name = (*name.split(":", 3), "", "")[:4]
            id = _account(notes, namespace, name, subject.at("name"))
            case = (
                "cluster-admin-to-agent"
                if words.driven_by_a_model(name, one.name, namespace)
                else "cluster-admin-to-workload"
            )
        elif name.startswith(_EVERYBODY):
            id, case = f"k8s-group:{name}", "cluster-admin-to-workload"
        else:
            continue  # people and their groups: a matter of the cluster's own operation
        says = f"{id} may do {reach}: read every secret, run anything, change every right."
        notes.weakness(case, id, at, says, role, subject.at("name"))
    return kind, role.text


def _role(notes: Notes, one: _Object, at: Node) -> None:
    id = notes.named(f"k8s-role:{one.full_name}")
    case = "cluster-admin-to-agent" if words.driven_by_a_model(one.name, one.namespace) else "cluster-admin-to-workload"
    notes.weakness(case, id, at, f"{id} allows every verb on every resource: it is cluster-admin by another name.")


def _wildcards(role: Node) -> Node:
    """The verbs of a rule that allows everything on everything."""
    for rule in each(role.at("rules")):
        everything = all(
            any(one.text == "*" for one in texts(rule.at(part))) for part in ("apiGroups", "resources", "verbs")
        )
        if everything:
            return next(one for one in texts(rule.at("verbs")) if one.text == "*")
    return NOTHING


def _workload(notes: Notes, one: _Object, accounts: _Accounts) -> None:
    pod = one.node.at(*WORKLOADS[one.kind])
    containers = [found for key in ("containers", "initContainers") for found in each(pod.at(key))]
    if not containers:
        return
    images = [found.at("image").text for found in containers]
    # What runs on every node under the name of an agent collects or connects; no model drives it.
    named = [re.sub("agents?", "", said) if one.kind == "DaemonSet" else said for said in (one.name, *images)]
    is_agent = words.driven_by_a_model(*named)
    holder = notes.holder("agent" if is_agent else "workload", f"k8s:{one.full_name}", one.namespace, one.name)
    subject = notes.named(f"k8s:{one.full_name}")
    notes.hold(holder, "k8s-workload", one.root, *one.keys)
    account = pod.at("serviceAccountName") or pod.at("serviceAccount")
    id = account_id(notes, one.namespace, account.text) if account.text and account.text != "default" else ""
    if id and not words.is_reference(account.text):
        accounts.users.setdefault(id, []).append((one.name, account))
    notes.principal(
        subject,
        "k8s-workload",
        one.node.at("metadata", "name") or one.node,
        agent=is_agent,
        namespace=one.namespace,
        service_account=id,
        environment=holder.environment,
    )
    for found in containers:
        _container(notes, subject, found, is_agent)
    for volume in each(pod.at("volumes")):
        path = volume.at("hostPath", "path")
        if compose.SOCKET.match(path.text):
            says = f"{subject} can reach the container runtime of its node: whoever takes it over is root there."
            notes.weakness("docker-socket-mounted", subject, path, says)


def _container(notes: Notes, subject: str, container: Node, is_agent: bool) -> None:
    image = container.at("image")
    found = launch.image(image) if image.text and not words.is_reference(image.text) else None
    if is_agent and found and not found.pinned and words.driven_by_a_model(found.name, container.at("name").text):
        says = f"{subject} runs {found.name} at {found.version or 'no version'}: the next pull can bring other code."
        notes.weakness("image-not-pinned", subject, image, says)
    privileged = container.at("securityContext", "privileged")
    if is_agent and privileged.value is True:
        says = f"{subject} is an agent's and runs privileged: whoever takes it over is root on its node."
        notes.weakness("privileged-container", subject, privileged, says)
    pipeline.unasked(notes, subject, [compose.joined(container.at("command")), compose.joined(container.at("args"))])
