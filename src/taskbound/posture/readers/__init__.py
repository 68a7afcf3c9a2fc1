"""Readers: what a document means. Each system has its own; a document is read by all that know it.

What a reader says of a part counts over what is said of the whole, so that one of a file's MCP servers holds its own
credentials and the agent whose settings they are holds the rest. What no reader knows is a configuration or a file.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache

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


def _has_jobs(document: Document) -> bool:
    """What makes a workflow, wherever it lies: jobs whose steps say `uses` or `run` beside `on`."""
    jobs = [job for root in _data(document) for job in root.at("jobs").items.values()]
    return any(job.at("runs-on") and job.at("steps").list for job in jobs)


def _services(document: Document) -> list[Node]:
    return [one for root in _data(document) for one in root.at("services").items.values()]


def _has_services(document: Document) -> bool:
    """Services that have an image or a build; a Helm chart's values have no such table."""
    return any(one.at("image").text or one.at("build") for one in _services(document))


def _is_compose(document: Document) -> bool:
    """By name; services that are none of Compose's are something else's."""
    return bool(compose.PATHS.search(document.path)) and not _services(document)


def _is_helm(document: Document) -> bool:
    return bool(helm.PATHS.search(document.path)) and not kubernetes.is_manifest(document)


def _has_servers(document: Document) -> bool:
    return any(next(mcp.servers(document, root), None) for root in range(len(_data(document))))


def _is_so(document: Document) -> bool:
    return True


# How a document is known: by its path, or, of some formats, by what is in it. The first reader that knows it says who
# holds all of it.
_WHOLE: tuple[tuple[Test | None, tuple[str, ...], Test, Reader], ...] = (
    (lambda document: bool(config.transcript_of(document.path)), (), _is_so, config.read_transcript),
    (_at(owners.PATHS), (), _is_so, owners.read),
    (_at(_WORKFLOW), _DATA, _has_jobs, github_actions.read),
    (_at(gitlab.PATHS), (), _is_so, gitlab.read),
    (lambda document: bool(agents.settings_of(document.path)), (), _is_so, agents.read_settings),
    (lambda document: bool(agents.instructions_of(document.path)), (), _is_so, agents.read_instructions),
    (_at(dotenv.PATHS), ("dotenv",), _is_so, dotenv.read),
    (_at(dockerfile.PATHS), ("dockerfile",), _is_so, dockerfile.read),
    (None, _DATA, kubernetes.is_manifest, kubernetes.read),
    (None, _DATA, cloudformation.is_template, cloudformation.read),
    (None, _DATA, cloudformation.is_policy, cloudformation.read_policy),
    (_is_compose, _DATA, _has_services, compose.read),
    (_is_helm, (), _is_so, helm.read),
    (_at(terraform.PATHS), ("hcl",), _is_so, terraform.read),
)


@cache
def _tests(format: str, by_path: bool) -> tuple[tuple[Test, Reader], ...]:
    """Return what a document of a format is asked, in order: of most nothing."""
    asked = []
    for at, formats, has, reader in _WHOLE:
        if by_path and at is not None:
            asked.append((at, reader))
        if format in formats:
            asked.append((has, reader))
    return tuple(asked)


# All patterns of paths by which a document is known.
PATTERNS: tuple[re.Pattern[str], ...] = (
    _WORKFLOW,
    *(pattern for table in (config.TRANSCRIPTS, agents.SETTINGS, agents.INSTRUCTIONS) for pattern in table.patterns),
    *(one.PATHS for one in (owners, gitlab, dotenv, dockerfile, compose, helm, terraform)),
)
_PATHS = any_of(PATTERNS)
# One of these stands in each path of source code that one of PATTERNS finds: folders of agents, .env.js, Dockerfile.py.
_OF_CODE = ("/.", "file", "goose/", "opencode/", "/tasks/")
# And of these in each path at all, in lower case: in the folders that lead to it, in its name.
_OF_FOLDERS = re.compile(r"/\.|/(?:goose|opencode|tasks|memory-bank|values)/")
_OF_NAMES = re.compile(
    r"^\.|action\.y|transcript|conversation|chat[_-]history|session[_-]log|settings\.json|claude|codex\.toml|gemini|qwen|"
    r"\.code-workspace|mcp\.json|opencode|crush|agents?\.|memory\.md|skill\.md|codeowners|gitlab-ci|pipelines|cloudbuild|"
    r"buildspec|appveyor|(?:docker|container|jenkins|helm)file|\.env|^env\.|compose|docker-stack|values|\.tf|\.tofu|\.hcl"
)


def may_read_code(path: str) -> bool:
    """Whether a reader could know source code, which has no structure, by its path: asked of most files there are."""
    lower = f"/{path}".lower()
    return any(one in lower for one in _OF_CODE)


def may_be_known(path: str) -> bool:
    """Whether a reader could know a document by its path: of most no is the answer to all of PATTERNS."""
    folders, _, name = path.lower().rpartition("/")
    return _is_of_interest(_OF_FOLDERS, f"/{folders}/") or _is_of_interest(_OF_NAMES, name)


@lru_cache(maxsize=4096)  # what one checkout has is in others
def _is_of_interest(words: re.Pattern[str], text: str) -> bool:
    return bool(words.search(text))


def read(document: Document, repository: str) -> Reading:
    """Read a document: who holds which part of it, who is named in it, and what is wrong whatever else there is."""
    by_path = may_be_known(document.path)
    if not document.roots and not (by_path and _PATHS.search(document.path)):
        return Reading()
    reader = next((reader for test, reader in _tests(document.format, by_path) if test(document)), config.read)
    whole = reader(document, repository)
    if reader is config.read_transcript or not _has_servers(document):
        return whole
    servers = mcp.read(document, repository)
    return Reading((*whole.holdings, *servers.holdings), (*whole.sightings, *servers.sightings))
