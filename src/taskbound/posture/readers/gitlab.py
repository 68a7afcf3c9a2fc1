"""GitLab CI, and other systems that run jobs from a file in the repository: their commands and variables.

Sources: ".gitlab-ci.yml keyword reference"; the file names of CircleCI, Azure Pipelines, Bitbucket, Travis, Drone,
Woodpecker, Buildkite, Cloud Build, CodeBuild, AppVeyor and Jenkins.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import NOTHING, Document, Node
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
BRANCHES = frozenset(("main", "master", "develop", "development", "trunk", "head", "next", "latest"))
_COMMIT = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?:[0-9a-f]{24})?(?![0-9a-f])")
_IN_URL = re.compile(r"/(?:raw/|-/raw/|refs/heads/)?(main|master|develop|trunk|HEAD|next|latest)/")
_PIPE = re.compile(r"(?:docker://)?[\w.-]+/[\w.-]+:(?:latest|master|main)")
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
        for at, what, ref in _included(root, document.path):
            says = f"{subject} takes in {what} at {ref or 'its default branch'}: who can push there decides what runs."
            notes.weakness("pipeline-include-not-pinned", subject, at, says)
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


def _included(root: Node, path: str) -> Iterator[tuple[Node, str, str]]:
    """Yield (place, what, reference) of what others keep and a branch or a moving tag names.

    GitLab: `include` of a remote file, of another project and of a component; CircleCI: orbs; Azure Pipelines:
    repositories with templates; Bitbucket: pipes. A tag is taken as fixed, a branch or no reference at all is not.
    """
    for one in each(root.at("include")):
        if remote := one.at("remote") or (one if one.text.startswith("https://") else NOTHING):
            if not one.at("integrity").text and not _COMMIT.search(remote.text):
                branch = _IN_URL.search(remote.text)
                yield remote, remote.text.partition("?")[0][:200], branch[1] if branch else "no fixed version"
        elif project := one.at("project"):
            ref = one.at("ref")
            if not words.is_reference(ref.text) and (not ref.text or ref.text.lower() in BRANCHES):
                yield ref or project, project.text, ref.text
        elif component := one.at("component"):
            name, _, version = component.text.partition("@")
            if version.startswith("~") or version.lower() in BRANCHES or not version:
                yield component, name, version
    for orb in root.at("orbs").items.values():
        name, _, version = orb.text.partition("@")
        if version in ("volatile", "dev:first", "dev:latest") or (name and orb.text and not version):
            yield orb, name, version
    for one in each(root.at("resources", "repositories")):
        ref = one.at("ref")
        ours = one.at("type").text.lower() in ("git", "")  # of the same Azure organisation
        if not ours and (not ref.text or ref.text.lower().removeprefix("refs/heads/") in BRANCHES):
            yield ref or one.at("name"), one.at("name").text, ref.text
    for _, one in root.scalars() if path.endswith(("bitbucket-pipelines.yml", "bitbucket-pipelines.yaml")) else ():
        if _PIPE.fullmatch(one.text):
            yield one, *one.text.partition(":")[::2]


def _images(root: Node) -> Iterator[Node]:
    for key, node in _below(root):
        if key in ("image", "docker") and not node.list:
            for one in each(node.at("name") or node.at("image") or node):
                if one.text and not words.is_reference(one.text):
                    yield one
