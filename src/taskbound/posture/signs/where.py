"""Where a sign counts: whether what it speaks of is another machine, and whether anybody is there to be harmed."""

import re

from taskbound.posture.readers import hosts
from taskbound.posture.signs.sign import Spot

_TRIALS = frozenset(("development", "test", "research"))
# A host in a connection string, in a table of settings, in the arguments of a command.
_IN_URL = re.compile(r"[a-z][\w+.-]*://(?:[^\s/@\"']*@)?(?:tcp\()?(\[[0-9a-f:.]+\]|[\w.-]+)", re.I)
_NAMED = re.compile(
    r"(?:\b|_)(?:host(?:name|s)?|server|data source|addr(?:ess)?|endpoint|url|uri|bootstrap[-_.]servers?|brokers?)"
    r"[\"']?(?:\s*(?:=>|:=|[:=])\s*|,?\s+[\"']?value[\"']?\s*[:=]\s*)"
    # What a setting is where nobody sets it: env('DB_HOST', '127.0.0.1'), ${DB_HOST:-localhost}
    r"(?:[\w.]*(?:env|get|fetch)\([\"'][\w.]+[\"'],\s*(?=[\"'])|\$\{\w+:-?(?=[\w\[]))?[\"']?(?:tcp:)?"
    r"(?!(?:https?|jdbc|\w+)://)(\[[0-9a-f:.]+\]|[A-Za-z0-9][\w.-]*)",
    re.I,
)
PIPELINE = re.compile(
    r"(?:^|/)(?:\.github/workflows/|\.gitea/|\.forgejo/|\.?[\w.-]*gitlab-ci|\.circleci/|azure-pipelines|bitbucket-pipelines"
    r"|\.travis|\.drone|\.woodpecker|\.buildkite/|cloudbuild|buildspec|\.?appveyor|\.semaphore/|Jenkinsfile|\.tekton/|codemagic)"
)
_OF_THIS_MACHINE = ("localhost", "host.docker.internal", "metadata.google.internal")
_ASKED = re.compile(
    r"insecure|skip|verif|validat|cert_?reqs|check_?hostname|assert_?hostname|self_?signed|trust_?(?:all|any)|allow_?invalid"
    r"|ignore_?(?:ssl|tls|cert)|accept_?(?:any|invalid|all)|unsafe",
    re.I,
)
_BRANCH = re.compile(r"\s*(?:\}\s*)?(?:if|unless|elif|elsif|elseif|else|case|when)\b", re.I)
_ELSE = re.compile(r"\s*(?:\}\s*)?(?:elif|elsif|elseif|else)\b", re.I)
_FUNCTION = re.compile(r"\s*(?:\w+\s+){0,3}(?:def|func|function|fn|fun|sub|class)\b")
# func (c *Client) SetInsecureSkipVerify(on bool): who calls it wants that.
_SETTER = re.compile(
    rf"\s*(?:\w+\s+){{0,3}}(?:def|func|function|fn|fun|sub)\s+(?:\([^)]*\)\s*)?(?:set|with|allow|enable|disable|skip|ignore)\w*?(?:{_ASKED.pattern})",
    re.I,
)
# In one line: verify = False if insecure; mode = verify ? PEER : NONE
_IF_BEHIND = re.compile(
    rf"\b(?:if|unless)\b[^\n]*?(?:{_ASKED.pattern})[^\n]*$|(?:{_ASKED.pattern})\w*\)?[ \t]\?[ \t]", re.I
)
_TEMPLATE_IF = re.compile(r"\{\{-?\s*(if|with|range|define|block)\b")
_TEMPLATE_END = re.compile(r"\{\{-?\s*end\b")
_COMPOSE = re.compile(r"(?:^|/)(?:docker-)?compose[^/]*\.ya?ml$")


def is_trial(spot: Spot) -> bool:
    """Whether the path says that nobody depends on it."""
    return spot.environment in _TRIALS


def counts(spot: Spot) -> bool:
    """Whether it is about another machine, as far as it can be told; where no host is seen it is."""
    known = _hosts(spot)
    if known:
        return any(map(is_far, known)) or (spot.environment == "production" and not all(map(_is_loopback, known)))
    return not is_trial(spot) and not PIPELINE.search(spot.path)


def counts_surely(spot: Spot) -> bool:
    """Whether another machine is named, or the place is production's."""
    known = _hosts(spot)
    return any(map(is_far, known)) or (
        spot.environment == "production" and not (known and all(map(_is_loopback, known)))
    )


def is_served(spot: Spot) -> bool:
    """Whether what is switched off there serves others: no pipeline's container, and none of a developer's machine."""
    if is_trial(spot) or PIPELINE.search(spot.path):
        return False
    return spot.environment in ("production", "staging") or not _COMPOSE.search(spot.path)


def is_asked_for(spot: Spot) -> bool:
    """Whether the line is reached, in code, only where a setting for just that was given: `if insecure:`, `else` of
    `if verify:`. What the code does by itself is another matter, and so is a condition that speaks of something else.
    """
    if _IF_BEHIND.search(spot.line):
        return True
    before = spot.above.split("\n")[:-1]
    return _is_in_branch(spot.line, before) or _is_in_template(before)


def _is_in_branch(line: str, before: list[str]) -> bool:
    """Whether a condition that asks for it stands around a line, as its indentation tells."""
    depth, inside = _depth(line), False  # inside a condition that is written on several lines
    for line in reversed(before):
        around = bool(line.strip()) and _depth(line) < depth
        if (inside or (around and _BRANCH.match(line))) and _ASKED.search(line):
            return True
        if around and _FUNCTION.match(line):
            return bool(_SETTER.match(line))
        if around:
            inside = line.lstrip().startswith(")")
            depth = _depth(line) + (inside or bool(_ELSE.match(line)))  # its `if` stands as deep
    return False


def _is_in_template(before: list[str]) -> bool:
    """The same of a template of Go (Helm), whose branches no indentation tells."""
    ended = 0
    for line in reversed(before):
        begins, ends = _TEMPLATE_IF.search(line), _TEMPLATE_END.search(line)
        if begins and not ends:
            if not ended and begins[1] == "if" and _ASKED.search(line):
                return True
            ended = max(0, ended - 1)
        elif ends and not begins:
            ended += 1
    return False


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


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
    """Whether it is this machine, or what a cloud serves to this one alone, on an address that no router passes on."""
    address = hosts.ip(host)
    if address:
        return address.is_loopback or address.is_link_local
    return host.lower() in _OF_THIS_MACHINE or host.lower().endswith(".localhost")


def is_far(host: str) -> bool:
    """Whether it is a machine elsewhere: a name of one label is a container beside this one."""
    address = hosts.ip(host)
    if address:
        return not (_is_loopback(host) or address.is_unspecified)
    return "." in host.strip(".") and not _is_loopback(host)


def says(pattern: str) -> "re.Pattern[str]":
    return re.compile(pattern, re.I)
