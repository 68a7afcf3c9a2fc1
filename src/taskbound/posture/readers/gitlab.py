"""GitLab CI, and other systems that run jobs from a file in the repository: their commands and variables.

Sources: ".gitlab-ci.yml keyword reference"; the file names of CircleCI, Azure Pipelines, Bitbucket, Travis, Drone,
Woodpecker, Buildkite, Cloud Build, CodeBuild, AppVeyor and Jenkins.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import launch, pipeline, unsafe, words
from taskbound.posture.readers.reading import Notes, Reading, each

PATHS = re.compile(
    r"(?:^|/)(?:\.?[\w.-]*gitlab-ci(?:\.[\w-]+)?\.ya?ml|\.gitlab/(?:ci/)?.*\.ya?ml|\.circleci/.*\.ya?ml"
    r"|\.?azure-pipelines[^/]*\.ya?ml|bitbucket-pipelines\.ya?ml|\.travis\.ya?ml|\.drone\.ya?ml|\.woodpecker(?:/.*)?\.ya?ml"
    r"|\.buildkite/.*\.ya?ml|cloudbuild[^/]*\.ya?ml|buildspec[^/]*\.ya?ml|\.?appveyor\.ya?ml|\.cirrus\.ya?ml"
    r"|\.semaphore/.*\.ya?ml|Jenkinsfile[^/]*|\.tekton/.*\.ya?ml)$"
)
_KEYWORDS = frozenset(
    [
        "default",
        "include",
        "stages",
        "variables",
        "workflow",
        "image",
        "services",
        "cache",
        "before_script",
        "after_script",
        "pages",
        "spec",
    ]
)
_VARIABLES = ("variables", "environment", "env")
MOST_LEVELS = 7


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    name = f"ci:{notes.file}"
    if notes.file in ("config.yml", "config.yaml"):
        name = f"ci:{'/'.join(document.path.split('/')[-2:])}"
    subject = notes.named(name)
    notes.hold_all(notes.holder("pipeline", name), "workflow")
    agents: set[str] = set()
    for number, root in enumerate(document.roots):
        for job, node in root.items.items():
            if job not in _KEYWORDS and node.at("script"):
                said = node.at("environment").text or node.at("environment", "name").text
                notes.hold(notes.holder("pipeline", name, said, job), "workflow", number, job)
        commands = [node for _, node in root.scalars() if isinstance(node.value, str)]
        pipeline.unasked(notes, subject, commands)
        agents |= {tool for node in commands if (tool := unsafe.tool(node.text))}
        for variables in _variables(root):
            pipeline.cloud_keys(notes, subject, variables)
        for image in _images(root):
            found = launch.image(image)
            if found and not found.pinned and words.driven_by_a_model(found.name):
                of = f"{found.name} at {found.version or 'no version'}"
                says = f"{subject} runs in {of}: it can be another one at the next run."
                notes.weakness("image-not-pinned", subject, image, says)
    first = document.roots[0] if document.roots else Node(None, 1)
    notes.principal(subject, "ci-workflow", first, agents=tuple(sorted(agents)), environment=notes.environment())
    return notes.reading()


def _below(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield (key, node) of the mappings of the first levels, through sequences too."""
    waiting = [("", root, 0)]
    while waiting:
        key, node, level = waiting.pop()
        yield key, node
        if level < MOST_LEVELS:
            waiting += [(one, below, level + 1) for one, below in node.items.items()]
            waiting += [(key, below, level + 1) for below in node.list]


def _variables(root: Node) -> Iterator[Node]:
    """Tables of variables: mappings, lists of `name` and `value` (Azure), with GitLab's long form taken apart."""
    for key, node in _below(root):
        if key not in _VARIABLES or not node.items:
            continue
        if node.at("name").text and node.at("value"):
            yield Node({node.at("name").text: node.at("value")}, node.line)
        else:
            yield Node({name: one.at("value") or one for name, one in node.items.items()}, node.line)


def _images(root: Node) -> Iterator[Node]:
    for key, node in _below(root):
        if key in ("image", "docker") and not node.list:
            for one in each(node.at("name") or node.at("image") or node):
                if one.text and not words.is_reference(one.text):
                    yield one
