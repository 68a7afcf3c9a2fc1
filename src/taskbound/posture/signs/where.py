"""Where a sign counts: whether what it speaks of is another machine, and whether anybody is there to be harmed."""

import re

from taskbound.posture.readers import hosts
from taskbound.posture.signs.sign import Spot

_TRIALS = frozenset(("development", "test", "research"))
# A host in a connection string, in a table of settings, in the arguments of a command.
_IN_URL = re.compile(r"[a-z][\w+.-]*://(?:[^\s/@\"']*@)?(?:tcp\()?(\[[0-9a-f:.]+\]|[\w.-]+)", re.I)
_NAMED = re.compile(
    r"(?:\b|_)(?:host(?:name|s)?|server|data source|addr(?:ess)?|endpoint|url|uri|bootstrap[-_.]servers?|brokers?)"
    r"[\"']?(?:\s*(?:=>|:=|[:=])\s*|,?\s+[\"']?value[\"']?\s*[:=]\s*)[\"']?(?:tcp:)?"
    r"(?!(?:https?|jdbc|\w+)://)(\[[0-9a-f:.]+\]|[A-Za-z0-9][\w.-]*)",
    re.I,
)
PIPELINE = re.compile(
    r"(?:^|/)(?:\.github/workflows/|\.gitea/|\.forgejo/|\.?[\w.-]*gitlab-ci|\.circleci/|azure-pipelines|bitbucket-pipelines"
    r"|\.travis|\.drone|\.woodpecker|\.buildkite/|cloudbuild|buildspec|\.?appveyor|\.semaphore/|Jenkinsfile|\.tekton/|codemagic)"
)
_COMPOSE = re.compile(r"(?:^|/)(?:docker-)?compose[^/]*\.ya?ml$")


def is_trial(spot: Spot) -> bool:
    """Whether the path says that nobody depends on it."""
    return spot.environment in _TRIALS


def counts(spot: Spot) -> bool:
    """Whether it is about another machine, as far as it can be told; where no host is seen it is."""
    known = _hosts(spot)
    if known:
        return any(map(_is_far, known)) or (spot.environment == "production" and not all(map(_is_loopback, known)))
    return not is_trial(spot) and not PIPELINE.search(spot.path)


def counts_surely(spot: Spot) -> bool:
    """Whether another machine is named, or the place is production's."""
    known = _hosts(spot)
    return any(map(_is_far, known)) or (
        spot.environment == "production" and not (known and all(map(_is_loopback, known)))
    )


def is_served(spot: Spot) -> bool:
    """Whether what is switched off there serves others: no pipeline's container, and none of a developer's machine."""
    if is_trial(spot) or PIPELINE.search(spot.path):
        return False
    return spot.environment in ("production", "staging") or not _COMPOSE.search(spot.path)


def _hosts(spot: Spot) -> list[str]:
    """The hosts of the line; where it names none those around it."""
    for text in (spot.line, spot.around):
        if found := [*_IN_URL.findall(text), *_NAMED.findall(text)]:
            told = [
                one for one in found if one.lower() not in ("true", "false", "none", "null", "os", "process", "env")
            ]
            if told:
                return told
    return []


def _is_loopback(host: str) -> bool:
    address = hosts.ip(host)
    if address:
        return address.is_loopback
    return host.lower() in ("localhost", "host.docker.internal") or host.lower().endswith(".localhost")


def _is_far(host: str) -> bool:
    """Whether it is a machine elsewhere: a name of one label is a container beside this one."""
    address = hosts.ip(host)
    if address:
        return not (address.is_loopback or address.is_unspecified)
    return "." in host.strip(".") and not _is_loopback(host)


def says(pattern: str) -> "re.Pattern[str]":
    return re.compile(pattern, re.I)
