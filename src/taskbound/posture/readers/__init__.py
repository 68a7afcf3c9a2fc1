"""Readers: what a document means. Each system has its own; a document is read by all that know it.

What a reader says of a part counts over what is said of the whole, so that one of a file's MCP servers holds its own
credentials and the agent whose settings they are holds the rest. What no reader knows is a configuration or a file.
"""

import re
from collections.abc import Callable

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import (
    agents,
    cloudformation,
    compose,
    config,
    dockerfile,
    dotenv,
    github_actions,
    gitlab,
    helm,
    kubernetes,
    mcp,
    owners,
    terraform,
)
from taskbound.posture.readers.paths import any_of
from taskbound.posture.readers.reading import Reading

__all__ = ["Reading", "read"]

Test = Callable[[Document], bool]
Reader = Callable[[Document, str], Reading]

_WORKFLOW = re.compile(r"(?:^|/)(?:\.(?:github|gitea|forgejo)/workflows/[^/]+|action)\.ya?ml$")
_DATA = ("json", "yaml", "toml")


def _at(pattern: re.Pattern[str]) -> Test:
    return lambda document: bool(pattern.search(document.path))


def _data(document: Document) -> tuple[Node, ...]:
    """The roots by which a document may be known: none of a log's, which has one a line."""
    return document.roots if document.format in _DATA else ()


def _by_content(test: Test) -> Test:
    return lambda document: bool(_data(document)) and test(document)


def _is_workflow(document: Document) -> bool:
    """By path, or by what makes a workflow: jobs whose steps say `uses` or `run` beside `on`."""
    if _WORKFLOW.search(document.path):
        return True
    jobs = [job for root in _data(document) for job in root.at("jobs").items.values()]
    return any(job.at("runs-on") and job.at("steps").list for job in jobs)


def _is_compose(document: Document) -> bool:
    """By name, or by services that have an image or a build; a Helm chart's values have no such table."""
    services = [one for root in _data(document) for one in root.at("services").items.values()]
    known = [one for one in services if one.at("image").text or one.at("build")]
    return bool(known) if services else bool(compose.PATHS.search(document.path))


def _is_dockerfile(document: Document) -> bool:
    return document.format == "dockerfile" or bool(dockerfile.PATHS.search(document.path))


def _is_dotenv(document: Document) -> bool:
    return document.format == "dotenv" or bool(dotenv.PATHS.search(document.path))


def _has_servers(document: Document) -> bool:
    return any(next(mcp.servers(document, root), None) for root in range(len(_data(document))))


def _is_terraform(document: Document) -> bool:
    return document.format == "hcl" or bool(terraform.PATHS.search(document.path))


def _is_helm(document: Document) -> bool:
    return bool(helm.PATHS.search(document.path)) and not kubernetes.is_manifest(document)


# Of these, the first that knows a document says who holds the whole of it.
_WHOLE: tuple[tuple[Test, Reader], ...] = (
    (lambda document: bool(config.transcript_of(document.path)), config.read_transcript),
    (_at(owners.PATHS), owners.read),
    (_is_workflow, github_actions.read),
    (_at(gitlab.PATHS), gitlab.read),
    (lambda document: bool(agents.settings_of(document.path)), agents.read_settings),
    (lambda document: bool(agents.instructions_of(document.path)), agents.read_instructions),
    (_is_dotenv, dotenv.read),
    (_is_dockerfile, dockerfile.read),
    (_by_content(kubernetes.is_manifest), kubernetes.read),
    (_by_content(cloudformation.is_template), cloudformation.read),
    (_by_content(cloudformation.is_policy), cloudformation.read_policy),
    (_is_compose, compose.read),
    (_is_helm, helm.read),
    (_is_terraform, terraform.read),
)


# All patterns of paths by which a document is known.
PATTERNS: tuple[re.Pattern[str], ...] = (
    _WORKFLOW,
    *(pattern for table in (config.TRANSCRIPTS, agents.SETTINGS, agents.INSTRUCTIONS) for pattern in table.patterns),
    *(one.PATHS for one in (owners, gitlab, dotenv, dockerfile, compose, helm, terraform)),
)
_PATHS = any_of(PATTERNS)
# One of these stands in each path of source code that one of PATTERNS finds: folders of agents, .env.js, Dockerfile.py.
_OF_CODE = ("/.", "file", "goose/", "opencode/", "/tasks/")


def may_read_code(path: str) -> bool:
    """Whether a reader could know source code, which has no structure, by its path: asked of most files there are."""
    lower = f"/{path}".lower()
    return any(one in lower for one in _OF_CODE)


def read(document: Document, repository: str) -> Reading:
    """Read a document: who holds which part of it, who is named in it, and what is wrong whatever else there is."""
    if not document.roots and not _PATHS.search(document.path):
        return Reading()
    reader = next((reader for test, reader in _WHOLE if test(document)), config.read)
    whole = reader(document, repository)
    if reader is config.read_transcript or not _has_servers(document):
        return whole
    servers = mcp.read(document, repository)
    return Reading((*whole.holdings, *servers.holdings), (*whole.sightings, *servers.sightings))
