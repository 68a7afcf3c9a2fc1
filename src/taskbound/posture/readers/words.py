"""What names tell: the environment that something belongs to, and whether a model drives it.

Only whole words count, taken apart at signs, at changes of case and before closing digits: `pay-prod2` and `payProd`
say production, `product` says nothing.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

# The first word that is in this table decides. `live` is left out: it names repositories that hold all environments.
ENVIRONMENTS: Mapping[str, str] = {
    "prod": "production",
    "prd": "production",
    "production": "production",
    "staging": "staging",
    "stage": "staging",
    "stg": "staging",
    "preprod": "staging",
    "preproduction": "staging",
    "uat": "staging",
    "preview": "staging",
    "dev": "development",
    "devel": "development",
    "develop": "development",
    "development": "development",
    "local": "development",
    "localhost": "development",
    "nonprod": "test",
    "test": "test",
    "tests": "test",
    "testing": "test",
    "tst": "test",
    "qa": "test",
    "e2e": "test",
    "sandbox": "test",
    "lab": "research",
    "labs": "research",
    "research": "research",
    "experiment": "research",
    "experiments": "research",
    "experimental": "research",
    "playground": "research",
    "prototype": "research",
    "prototypes": "research",
    "poc": "research",
    "scratch": "research",
    "notebooks": "research",
    "datascience": "research",
}

# Words that say that a model drives it. Of `agent` alone there are other kinds: see ERRANDS.
AGENTS = frozenset(
    [
        "mcp",
        "agent",
        "agents",
        "agentic",
        "claude",
        "codex",
        "copilot",
        "cursor",
        "gemini",
        "gpt",
        "llm",
        "chatbot",
        "assistant",
        "openhands",
        "opencode",
        "openclaw",
        "autogen",
        "crewai",
        "langgraph",
        "langchain",
        "aider",
        "goose",
        "cline",
        "windsurf",
        "devin",
        "n8n",
    ]
)
# Programs called agents long before models were: they collect, build or forward.
ERRANDS = frozenset(
    [
        "datadog",
        "dd",
        "newrelic",
        "jenkins",
        "buildkite",
        "drone",
        "woodpecker",
        "bamboo",
        "gocd",
        "octopus",
        "rancher",
        "cattle",
        "dynatrace",
        "splunk",
        "sysdig",
        "instana",
        "beszel",
        "zabbix",
        "telegraf",
        "grafana",
        "elastic",
        "fluent",
        "fluentd",
        "ssh",
        "gpg",
        "user",
        "cloudwatch",
        "ssm",
        "consul",
        "nomad",
        "vault",
        "puppet",
        "wazuh",
        "azp",
        "azure",
        "azdo",
        "portainer",
        "netdata",
        "otel",
        "opentelemetry",
        "teamcity",
        "ecs",
        "kubernetes",
        "gitlab",
        "monitoring",
        "metrics",
        "logging",
        "log",
        "logs",
        "node",
        "build",
        "backup",
        "snmp",
        "prometheus",
        "loki",
        "alloy",
        "beszel",
        "sentry",
        "bamboo",
        "circleci",
        "instana",
        "dynatrace",
        "appdynamics",
        "splunk",
        "tunnel",
        "patch",
        "update",
        "sysdig",
        "falco",
        "aqua",
        "twistlock",
        "crowdstrike",
        "qualys",
        "tenable",
        "lacework",
        "scalyr",
        "sumologic",
        "harness",
        "octopus",
        "tfc",
        "terraform",
        "spacelift",
        "woodpecker",
        "concourse",
        "chef",
        "salt",
        "rancher",
        "cattle",
        "karmada",
        "argocd",
        "flux",
        "calico",
        "cilium",
        "antrea",
        "konnectivity",
        "cluster",
        "edge",
        "csi",
        "longhorn",
        "ceph",
        "etcd",
        "guest",
        "virt",
        "collector",
        "trace",
        "tracing",
        "apm",
        "iot",
        "transfer",
        "ironic",
        "rapid7",
        "okta",
        "daemon",
        "telemetry",
    ]
)
# What stands in for a value that is somewhere else: ${VAR}, $VAR, {{ var }}, %VAR%, <var>, $(var), op://, vault:
_REFERENCE = re.compile(
    r"\$\{|\$[A-Za-z_]|\{\{|%[A-Za-z_]+%|<[^>]+>|\$\(|^(op|vault|keyring|secretref|env|doppler)://?|^!"
    r"|taskbound://"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NON_PRODUCTION = re.compile(r"\b(?:non|pre)[-_. ]?prod(?:uction)?\b", re.I)


def split(text: str) -> list[str]:
    """The words of a name, in lower case; of the first 500 characters."""
    return [word.lower() for word in _WORD.findall(text[:500])]


def environment(*said: str) -> str:
    """The environment of the first text that names one; "" where none does."""
    return next(filter(None, map(_environment, said)), "")


@lru_cache(maxsize=4096)  # folders, which many files have
def _environment(text: str) -> str:
    if close := _NON_PRODUCTION.search(text):
        return "staging" if close[0].lower().startswith("pre") else "test"
    return next((ENVIRONMENTS[word] for word in split(text) if word in ENVIRONMENTS), "")


def driven_by_a_model(*said: str) -> bool:
    """Whether one of the texts names an agent, a model's tool or an MCP server."""
    for text in said:
        named = split(text)
        for place, word in enumerate(named):
            other_agent = word in ("agent", "agents") and (ERRANDS & set(named[max(0, place - 2) : place]))
            if word in AGENTS and not other_agent:
                return True
    return False


def is_reference(text: str) -> bool:
    """Whether a text stands for a value that lies elsewhere."""
    return bool(_REFERENCE.search(text))


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is a credential: api_key, X-Api-Key, access_token, Authorization."""
    named = split(name)
    joined = "".join(named)
    return bool(
        {"token", "secret", "password", "passwd", "pwd", "auth", "authorization", "credential", "credentials", "cookie"}
        & set(named)
    ) or joined.endswith(("key", "token", "secret", "apikey", "pat"))
