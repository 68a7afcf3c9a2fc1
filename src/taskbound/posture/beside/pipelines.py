"""Pipelines: which job, of which environment, signs in as whom, or is given which secret.

One walk for all of them: an environment is said by a member (`environment`, `deployment`, `stage`), else by the name
of a job; what stands below it belongs to it. Sources: the syntax references of GitHub Actions, GitLab CI,
CircleCI, Azure Pipelines, Bitbucket Pipelines, Buildkite and Drone.

Topic `uses` (see cluster): of identities of clouds, secrets, contexts and service connections.
"""

import re
from collections.abc import Iterator

from taskbound.posture.beside.cluster import uses
from taskbound.posture.beside.identities import GUID
from taskbound.posture.document import Document, Node
from taskbound.posture.readers import words
from taskbound.posture.sighting import Place, Remark

WORDS = (b"jobs:", b"script:", b"stages:", b"steps:", b"pipelines:", b"workflows:")
_PATH = re.compile(
    r"(?:^|/)\.(?:github|gitea|forgejo)/workflows/|gitlab-ci[^/]*\.ya?ml$|azure-pipelines?[^/]*\.ya?ml$|bitbucket-pipelines"
    r"|(?:^|/)\.circleci/|(?:^|/)\.(?:drone|woodpecker)|(?:^|/)\.?buildkite|cloudbuild[^/]*\.ya?ml$|(?:^|/)(?:ci|pipelines?)/"
)
_SECTIONS = frozenset(
    {"jobs", "stages", "steps", "pipelines", "workflows", "branches", "custom", "default", "parallel"}
)
_SECRET = re.compile(r"\bsecrets\s*\.\s*([A-Za-z_]\w*)|\$\{?([A-Z][A-Z0-9_]*)\}?|\$\(([\w.-]+)\)")
# Members whose text is the name of something that opens a door: contexts of CircleCI, connections of Azure Pipelines.
_DOORS = frozenset(
    [
        "context",
        "azuresubscription",
        "connectedservicename",
        "connectedservicenamearm",
        "kubernetesserviceconnection",
        "awscredentials",
        "serviceconnection",
        "dockerregistryserviceconnection",
        "azureresourcemanagerconnection",
        "group",
    ]
)
# Members whose text is the id of an application.
_CLIENTS = frozenset({"clientid", "azureclientid", "armclientid", "appid"})
_BRANCH = re.compile(r"refs/heads/(develop|dev|development|staging|stage|test|qa)\b|['\"](develop|dev|staging)['\"]")
MOST = 20_000  # nodes of one pipeline


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield what each job uses."""
    if not _PATH.search(document.path) and not _is_pipeline(document):
        return
    file = document.path.rpartition("/")[2]
    name = f"ci:{file}@{repository}" if repository else f"ci:{file}"
    begins = words.environment(re.sub(r"(?<=\w)tests?(?=\W)", "", file))
    left = MOST
    for root in document.roots:
        waiting: list[tuple[str, Node, str, str]] = [("" if root.at("jobs") else "jobs", root, begins, "")]
        while waiting and (left := left - 1):
            key, node, environment, job = waiting.pop()
            if node.items:
                said = _said(node)
                environment = said or environment
                section = key.removesuffix("[]") in _SECTIONS
                for inner, one in node.items.items():
                    its = words.environment(inner) if section and (one.items or one.list) else ""
                    waiting.append(
                        (
                            inner,
                            one,
                            its or environment,
                            inner if key in ("jobs", "stages") and one.items and inner not in _SECTIONS else job,
                        )
                    )
            elif node.list:
                waiting += [(f"{key.removesuffix('[]')}[]", one, environment, job) for one in node.list]
            elif node.text:
                yield from _text(document, key, node, f"{name} ({job})" if job else name, environment)


def _said(node: Node) -> str:
    """Return the environment that a job says it is for; its branch counts where it says none."""
    named = node.at("environment", "name").text or node.at("environment").text or node.at("deployment").text
    stage = node.at("stage").text or node.at("displayName").text or node.at("name").text
    if found := words.environment(named) or (words.environment(stage) if not named else ""):
        return found
    if not named and (branch := _BRANCH.search(node.at("if").text)):
        return words.environment(branch[1] or branch[2])
    return ""


def _text(document: Document, key: str, node: Node, holder: str, environment: str) -> Iterator[Remark]:
    key = key.removesuffix("[]")
    if key not in ("name", "image", "uses", "if"):
        yield from uses(document, node, holder, environment, "pipeline")
    if re.sub(r"[^a-z]", "", key.lower()) in _CLIENTS and GUID.fullmatch(node.text):
        facts = {"holder": holder, "environment": environment, "how": "pipeline"}
        yield Remark("uses", f"entra-app:{node.text.lower()}", Place(document.path, node.line), facts)
    names = [next(filter(None, found.groups())) for found in _SECRET.finditer(node.text[:20_000])]
    if re.sub(r"[^a-z]", "", key.lower()) in _DOORS:
        names += [] if words.is_reference(node.text) else [node.text]
    for one in dict.fromkeys(names):
        if (stands := words.environment(one)) and (
            words.is_secret_name(one) or "secrets." in node.text or one == node.text
        ):
            facts = {"holder": holder, "environment": environment, "stands": stands, "how": "pipeline-secret"}
            yield Remark("uses", f"secret:{one}", Place(document.path, node.line), facts)


def _is_pipeline(document: Document) -> bool:
    return any(
        job.at("steps").list or job.at("script")
        for root in document.roots
        for job in (*root.at("jobs").items.values(), *root.at("stages").list, *root.items.values())
    )
