"""Typed: commands of a shell's history with which a person takes the identity of a service.

A person may act as a service in a way that names the person (`--impersonate-service-account`, `--as`, a role that is
assumed by single sign-on); that is not meant here. Sources: the references of gcloud, aws, az, kubectl, oc, psql,
mysql, mongosh, docker, vault, ssh.

Topic `typed`, of the identity: `how`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskbound.posture.document import Document
from taskbound.posture.sighting import Place, Remark

WORDS = (
    b"gcloud",
    b"GOOGLE_APPLICATION_CREDENTIALS",
    b"aws",
    b"AWS_PROFILE",
    b"kubectl",
    b"oc login",
    b"psql",
    b"mysql",
    b"mongosh",
    b"az login",
    b"Connect-AzAccount",
    b"docker login",
    b"vault",
    b"snowsql",
    b"ssh ",
    b"gsutil",
    b"sqlcmd",
    b"PGUSER",
)
_HISTORY = re.compile(
    r"(?:^|/)(?:\.?[\w-]*_history(?:\.\w+)?|\.history|\.sh_history|ConsoleHost_history\.txt|[\w.-]*\.history|fish_history)$"
    r"|(?:^|/)(?:shell|bash|zsh)[-_]?history[^/]*$"
)
# Words of a name that is no person's. For databases and clusters an application's name is one, too.
SERVICE = frozenset(
    [
        "svc",
        "service",
        "srv",
        "bot",
        "robot",
        "ci",
        "cicd",
        "deploy",
        "deployer",
        "automation",
        "runner",
        "pipeline",
        "machine",
        "jenkins",
        "sa",
    ]
)
APPLICATION = SERVICE | frozenset(["app", "api", "job", "worker", "etl", "sync", "agent", "backend", "batch", "cron"])
_JSON = frozenset({"json", "key", "robot"})  # users of registries whose password is a service account's key

_NAME = r"[\"']?([^\s\"';|&:@]{1,200})"
_FILE = r"[\"']?([^\s\"';|&]{1,200})"
_HERE = re.compile(
    r"(?:-h ?|--host[= ]|@|-H ?)(?:localhost|127\.0\.0\.1|\[?::1|/)|docker[- ]compose|docker exec|PGHOST=localhost"
)
_THERE = re.compile(r"(?:-h ?|--host[= ]|@|PGHOST=|host=|-S |-H ?)[\w-]+\.[\w.-]*[a-z]|-a \w|--account")


@dataclass(frozen=True, slots=True)
class _Command:
    """How a service's identity is taken.

    `words`: the name must have one of them; `elsewhere`: of a database that is not on this machine.
    """

    how: str
    identity: str
    pattern: re.Pattern[str]
    words: frozenset[str] = frozenset()
    elsewhere: bool = False


def _of(
    how: str, identity: str, *patterns: str, words: frozenset[str] = frozenset(), elsewhere: bool = False
) -> Iterator[_Command]:
    yield from (_Command(how, identity, re.compile(one, re.IGNORECASE), words, elsewhere) for one in patterns)


_LOGIN = "gcloud auth activate-service-account"
_COMMANDS: tuple[_Command, ...] = (
    *_of(
        _LOGIN,
        "gcp-sa:{}",
        r"\bgcloud\b.*\bactivate-service-account\s+(?!-)(\S{1,200})",
        rf"\bgcloud\b.*\bactivate-service-account\b.*--key-file[= ]{_FILE}",
        r"\bgcloud\b.*\bactivate-service-account\b",
    ),
    *_of("GOOGLE_APPLICATION_CREDENTIALS", "gcp-sa:{}", rf"\bGOOGLE_APPLICATION_CREDENTIALS={_FILE}"),
    *_of("aws --profile", "aws:profile/{}", rf"\baws\b.*\s--profile[= ]{_NAME}", words=SERVICE),
    *_of("AWS_PROFILE", "aws:profile/{}", rf"\bAWS_(?:DEFAULT_)?PROFILE={_NAME}", words=SERVICE),
    *_of(
        "az login --service-principal",
        "entra-app:{}",
        rf"\baz\s+login\b.*--service-principal\b.*(?:-u|--username)[= ]{_NAME}",
        r"\baz\s+login\b.*--service-principal\b",
    ),
    *_of(
        "Connect-AzAccount -ServicePrincipal",
        "entra-app:{}",
        rf"\bConnect-AzAccount\b.*-ApplicationId\s+{_NAME}",
        r"\bConnect-AzAccount\b.*-ServicePrincipal\b",
    ),
    *_of(
        "kubectl --token",
        "k8s-sa:{}",
        rf"\bkubectl\b.*\s--token[= ].*create\s+token\s+{_NAME}",
        r"\bkubectl\b.*\s--token[= ]\S",
    ),
    *_of(
        "a service's kubeconfig",
        "k8s:{}",
        rf"\bkubectl\b.*--kubeconfig[= ]{_FILE}",
        rf"\bKUBECONFIG={_FILE}",
        words=SERVICE,
    ),
    *_of("oc login --token", "k8s-sa:{}", r"\boc\s+login\b.*\s--token[= ]"),
    *_of(
        "psql",
        "database:{}",
        rf"\bpsql\b.*(?:\s-U ?|--username[= ]|postgres(?:ql)?://|\buser=){_NAME}",
        rf"\bPGUSER={_NAME}.*\bpsql\b",
        words=APPLICATION,
        elsewhere=True,
    ),
    *_of("mysql", "database:{}", rf"\bmysql\b.*(?:\s-u ?|--user[= ]){_NAME}", words=APPLICATION, elsewhere=True),
    *_of(
        "mongosh",
        "database:{}",
        rf"\bmongosh?\b.*(?:\s-u ?|--username[= ]|mongodb(?:\+srv)?://){_NAME}",
        words=APPLICATION,
        elsewhere=True,
    ),
    *_of(
        "a database's client",
        "database:{}",
        rf"\b(?:snowsql|sqlcmd)\b.*\s(?:-u|--username)[= ]?{_NAME}",
        words=APPLICATION,
        elsewhere=True,
    ),
    *_of(
        "docker login",
        "registry:{}",
        rf"\b(?:docker|podman|helm registry|crane auth)\s+login\b.*(?:\s-u ?|--username[= ]){_NAME}",
        words=SERVICE | _JSON,
    ),
    *_of(
        "vault login",
        "vault:{}",
        r"\bvault\s+login\b.*-method=(approle|kubernetes|aws)",
        r"\bvault\s+write\b.*\bauth/(approle|kubernetes|jwt)/login\b",
    ),
    *_of("ssh -i", "ssh-key:{}", rf"\bssh\b.*\s-i ?{_FILE}", words=SERVICE),
)
_DELEGATED = re.compile(r"--impersonate-service-account|\s--as[= ]|--help\b|\brevoke\b|\bman\s")
_TYPED = re.compile(r"^(?:: \d+:\d+;|- cmd: |\s*\d+\s{2})")
_ENDING = re.compile(r"\.(?:json|p12|pem|key|ya?ml|kubeconfig|conf|config)$", re.IGNORECASE)


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield each command with which somebody took a service's identity."""
    if not _HISTORY.search(document.path):
        return
    for number, raw in enumerate(data.decode(errors="replace").split("\n"), 1):
        line = _TYPED.sub("", raw.strip()[:1000])
        if not line or line.startswith("#") or _DELEGATED.search(line):
            continue
        if taken := next(filter(None, (_taken(one, line) for one in _COMMANDS)), None):
            yield Remark("typed", taken[0], Place(document.path, number), {"how": taken[1]})


def _taken(command: _Command, line: str) -> tuple[str, str] | None:
    """Return whose identity a line takes by a command, and how."""
    found = command.pattern.search(line)
    if found is None or (command.elsewhere and (_HERE.search(line) or not _THERE.search(line))):
        return None
    name = _ENDING.sub("", (found[1] if found.lastindex else "").rpartition("/")[2])
    if command.words and command.words.isdisjoint(re.split(r"[^a-z]+", name.lower())):
        return None
    return command.identity.format(name or command.how), command.how
