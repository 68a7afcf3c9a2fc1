"""Kubernetes: which workload runs as which account, which cloud identity an account is, who reaches into production.

Topic `runs-as`, of a service account: `workload`, `app` (what it is a part of, by the recommended labels).
Topic `uses`, of a cloud identity or a secret: `holder`, `environment` (of the place), `account`, `stands` (the
environment that its own name says), `how`.
Source: the API reference; "Recommended Labels"; EKS, GKE and Azure on workload identity; External Secrets' API.
"""

import re
from collections.abc import Iterator

from taskbound.posture.beside.identities import GUID, OUTSIDE, PRODUCTION, named, where
from taskbound.posture.document import Document, Node
from taskbound.posture.exports.rows import below
from taskbound.posture.readers import words
from taskbound.posture.readers.kubernetes import WORKLOADS
from taskbound.posture.readers.reading import each
from taskbound.posture.sighting import Place, Remark, Sighting, Weakness

WORDS = (
    b"serviceAccount",
    b"system:serviceaccounts:",
    b"ServiceAccount",
    b"ExternalSecret",
    b"remoteRef",
)
_VALUES = re.compile(r"(?:^|/)[\w.-]*values[\w.-]*\.ya?ml$")
_PART_OF = ("app.kubernetes.io/instance", "app.kubernetes.io/name", "app", "k8s-app", "name")
_IDENTITY = (
    "eks.amazonaws.com/role-arn",
    "iam.gke.io/gcp-service-account",
    "azure.workload.identity/client-id",
    "iam.amazonaws.com/role",
)


def read(document: Document, data: bytes, repository: str) -> Iterator[Sighting]:
    """Yield who runs as whom, who uses what, and bindings that let other environments in."""
    for root in document.roots:
        yield from _values(document, root, repository)
        for one in root.at("items").list or root.list or (root,):
            if one.at("kind").text and one.at("metadata").items:
                yield from _object(document, one, repository)


def _values(document: Document, root: Node, repository: str) -> Iterator[Remark]:
    """Yield the account that the values of a Helm chart name and do not make: it is somebody else's, too."""
    account = root.at("serviceAccount")
    name, folders = account.at("name"), document.path.split("/")[:-1]
    if not _VALUES.search(document.path) or account.at("create").text != "false" or name.text in ("", "default"):
        return
    if folders and not words.is_reference(name.text):
        chart = next(
            (one for one in reversed(folders) if one not in ("chart", "charts", "helm", "values", "deploy")),
            folders[-1],
        )
        namespace = root.at("namespace").text or root.at("namespaceOverride").text
        facts = {"workload": chart, "app": chart}
        yield Remark("runs-as", _account(namespace, name.text, repository), Place(document.path, name.line), facts)


def _object(document: Document, one: Node, repository: str) -> Iterator[Sighting]:
    kind, metadata = one.at("kind").text, one.at("metadata")
    name, namespace = metadata.at("name"), metadata.at("namespace").text
    at = where(document.path, namespace, name.text)
    if kind in WORKLOADS:
        pod = one.at(*WORKLOADS[kind])
        account = pod.at("serviceAccountName") or pod.at("serviceAccount")
        if account.text and account.text != "default" and not words.is_reference(account.text):
            facts = {"workload": name.text, "app": _app(one), "offsets": below(account.line, name=name)}
            yield Remark(
                "runs-as", _account(namespace, account.text, repository), Place(document.path, account.line), facts
            )
    elif kind == "ServiceAccount":
        for key in _IDENTITY:
            said = metadata.at("annotations", key)
            yield from uses(document, said, f"k8s-sa:{namespace}/{name.text}", at, "account")
            if GUID.fullmatch(said.text):
                facts = {"holder": f"k8s-sa:{namespace}/{name.text}", "environment": at, "how": "account"}
                yield Remark("uses", f"entra-app:{said.text.lower()}", Place(document.path, said.line), facts)
    elif kind in ("ExternalSecret", "ClusterExternalSecret", "SecretProviderClass"):
        spec = one.at("spec", "externalSecretSpec") or one.at("spec")
        keys = [part.at("remoteRef", "key") for part in each(spec.at("data"))]
        keys += [part.at("extract", "key") for part in each(spec.at("dataFrom"))]
        for ref in keys:
            if ref.text and not words.is_reference(ref.text):
                facts = {
                    "holder": f"k8s:{namespace}/{name.text}",
                    "environment": at,
                    "stands": words.environment(ref.text),
                    "how": "secret",
                }
                yield Remark("uses", f"secret:{ref.text}", Place(document.path, ref.line), facts)
    elif kind == "RoleBinding" and words.environment(namespace) == PRODUCTION:
        yield from _binding(document, one, namespace)


def _binding(document: Document, one: Node, namespace: str) -> Iterator[Weakness]:
    for subject in each(one.at("subjects")):
        name, of = subject.at("name"), subject.at("namespace").text
        if name.text.startswith("system:serviceaccount:"):
            _, _, of, _ = (*name.text.split(":", 3), "", "")[:4]
        elif name.text.startswith("system:serviceaccounts:"):
            of = name.text.rpartition(":")[2]
        elif subject.at("kind").text != "ServiceAccount":
            continue
        environment = words.environment(of)
        if environment in OUTSIDE:
            account = f"k8s-sa:{of}/{name.text.rpartition(':')[2]}"
            says = f"{account}, of {environment}, has rights in {namespace}: who gets in there is in production."
            places = (
                Place(document.path, at.line)
                for at in (one.at("metadata", "name"), one.at("roleRef", "name"), one.at("metadata", "namespace"))
            )
            yield Weakness(
                "other-environment-in-production",
                account,
                Place(document.path, name.line),
                says,
                tuple(dict.fromkeys(places)),
            )


def uses(document: Document, said: Node, holder: str, environment: str, how: str) -> Iterator[Remark]:
    """Yield what a text names, as used by somebody."""
    for one in named(said.text):
        facts = {
            "holder": holder,
            "environment": environment,
            "account": one.account,
            "stands": one.environment,
            "how": how,
        }
        yield Remark("uses", one.id, Place(document.path, said.line), facts)


def _app(one: Node) -> str:
    """Return which application a workload is of: parts of one share an account by design."""
    labels = {**one.at("metadata", "labels").items}
    return next((labels[key].text for key in _PART_OF if key in labels), one.at("metadata", "name").text)


def _account(namespace: str, name: str, repository: str) -> str:
    return f"k8s-sa:{namespace}/{name}" if namespace else f"k8s-sa:{name}@{repository}"
