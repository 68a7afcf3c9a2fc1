"""Roles of Kubernetes that are an administrator's by another way: in manifests and in Terraform.

Source: "Role Based Access Control Good Practices" (privilege escalation risks): escalate, bind, impersonate, tokens of
service accounts, every verb on roles or secrets; node proxy. A cluster role `admin` or `edit` bound everywhere is one.
"""

from collections.abc import Iterator

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import words
from taskbound.posture.readers.reading import Notes, each, texts
from taskbound.posture.shapes.walk import folded, mappings

ANCHOR = r"\bverbs\b|\brole_?ref\b"
_CASE = "cluster-role-that-can-raise-itself"
_RAISING = ("escalate", "bind", "impersonate")
_OF_RAISING = (
    "roles",
    "clusterroles",
    "rolebindings",
    "clusterrolebindings",
    "users",
    "groups",
    "serviceaccounts",
    "*",
)
_ALL_VERBS_ON = ("secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "serviceaccounts", "*")
_TERRAFORM = ("kubernetes_cluster_role", "kubernetes_cluster_role_v1", "kubernetes_role", "kubernetes_role_v1")
_TOKENS = ("serviceaccounts/token",)
_SYSTEM = ("system:", "kube-", "cattle-", "olm", "operator")


def read(document: Document, notes: Notes) -> None:
    for node, trail in mappings(document):
        kind = node.at("kind").text
        if kind in ("ClusterRole", "Role") and node.at("rules"):
            _rules(notes, node.at("metadata", "name").text, kind == "ClusterRole", each(node.at("rules")))
        elif trail[-1][0] in _TERRAFORM:
            for label, one in node.items.items():
                cluster = "cluster" in trail[-1][0]
                _rules(notes, label, cluster, each(one.at("rule")))
        elif kind in ("ClusterRoleBinding", "RoleBinding") and (group := _anybody(node)):
            _for_anybody(notes, node, group)
        elif kind == "ClusterRoleBinding" and node.at("roleRef", "name").text in ("admin", "edit"):
            for subject in each(node.at("subjects")):
                if subject.at("kind").text == "ServiceAccount":
                    id = notes.named(f"k8s-sa:{subject.at('namespace').text}/{subject.at('name').text}")
                    role = node.at("roleRef", "name")
                    says = (
                        f"{id} may read every secret and run anything in every namespace ({role.text}, cluster-wide)."
                    )
                    notes.weakness(_CASE, id, role, says, subject.at("name"))


# Groups that are everybody's, and roles that are theirs by default.
_ANYBODYS = ("system:unauthenticated", "system:anonymous")
_EVERYBODYS = (*_ANYBODYS, "system:authenticated", "system:serviceaccounts")
_OPEN_BY_DEFAULT = ("system:public-info-viewer", "system:basic-user", "system:discovery")


def _anybody(binding: Node) -> Node | None:
    """The subject that is everybody: whoever has not signed in, or for a role that changes things whoever has."""
    role = binding.at("roleRef", "name").text
    named = _EVERYBODYS if role in ("admin", "edit") else _ANYBODYS
    if role in _OPEN_BY_DEFAULT or role == "cluster-admin":
        return None
    return next((one.at("name") for one in each(binding.at("subjects")) if one.at("name").text in named), None)


def _for_anybody(notes: Notes, binding: Node, group: Node) -> None:
    role, name = binding.at("roleRef", "name"), binding.at("metadata", "name").text
    subject = notes.named(f"k8s-binding:{name}")
    if group.text in _ANYBODYS:
        says = f"{subject} gives {role.text} to {group.text}: whoever reaches the API server has it, without a login."
        notes.weakness("service-without-authentication", subject, group, says, role)
    else:
        says = f"{subject} gives {role.text} to {group.text}: every workload has it."
        notes.weakness(_CASE, subject, group, says, role)


def _rules(notes: Notes, name: str, cluster: bool, rules: tuple[Node, ...]) -> None:
    if name.startswith(_SYSTEM):
        return
    for rule in rules:
        for at, what in _raises(rule, cluster, words.driven_by_a_model(name)):
            subject = notes.named(f"k8s-role:{name}")
            notes.weakness(_CASE, subject, at, f"{subject} may {what}.")
            break


def _raises(rule: Node, cluster: bool, agent: bool) -> "Iterator[tuple[Node, str]]":
    members = folded(rule)
    verbs = texts(members["verbs"]) if "verbs" in members else ()
    resources = {one.text for one in texts(members["resources"])} if "resources" in members else set()
    groups = {one.text for one in texts(members["apigroups"])} if "apigroups" in members else {""}
    narrow = "resourcenames" in members
    for verb in verbs:
        if verb.text in _RAISING and resources & set(_OF_RAISING) and not narrow:
            yield verb, f"{verb.text} {', '.join(sorted(resources))[:60]}, and with that take every right"
        elif (
            verb.text == "*"
            and "*" in resources
            and groups & {"", "*", "rbac.authorization.k8s.io"}
            and groups != {"*"}
        ):
            yield verb, "do everything with all that a group of the API has"
        elif verb.text == "*" and resources & set(_ALL_VERBS_ON) and cluster and not narrow and "*" not in resources:
            yield verb, f"do everything with {', '.join(sorted(resources & set(_ALL_VERBS_ON)))} of the whole cluster"
        elif verb.text in ("create", "*") and resources & set(_TOKENS) and not narrow:
            yield verb, "make tokens of any service account, and be each of them"
        elif agent and cluster and verb.text in ("get", "list", "watch", "*") and "secrets" in resources and not narrow:
            yield verb, "read every secret of the cluster"
        elif agent and verb.text in ("create", "*") and resources & {"pods/exec"}:
            yield verb, "run commands in every pod that it can see"
