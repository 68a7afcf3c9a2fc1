"""What names, commands and hosts tell."""

import time

import pytest

from taskbound.posture.document import Node
from taskbound.posture.readers import aws_policy, hosts, launch, unsafe, words


@pytest.mark.parametrize(
    ("said", "environment"),
    [
        (("pay-prod",), "production"),
        (("payProd2",), "production"),
        (("PROD_DB",), "production"),
        (("pre-prod",), "staging"),
        (("non-prod",), "test"),
        (("nonprod",), "test"),
        (("uat",), "staging"),
        (("dev-eu",), "development"),
        (("lab-agents",), "research"),
        (("product", "staging"), "staging"),
        (("reproduce", "device", "latest", "contest", "collaborate"), ""),
        (("", "prod", "dev"), "production"),
    ],
)
def test_environment(said, environment):
    assert words.environment(*said) == environment


@pytest.mark.parametrize(
    "name", ["mcp-gateway", "claims-agent", "opsAgent", "acme/coding_agent", "claude", "gpt-runner"]
)
def test_driven_by_a_model(name):
    assert words.driven_by_a_model(name)


@pytest.mark.parametrize(
    "name",
    ["datadog-agent", "buildkite-agent", "jenkins/inbound", "jenkins/agent", "user-agent", "pay", "agenta", "reagent"],
)
def test_driven_by_nobody(name):
    assert not words.driven_by_a_model(name)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("mcp.acme.example", "acme.example"),
        ("a.b.acme.co.uk", "acme.co.uk"),
        ("a.workers.dev", "a.workers.dev"),
        ("x.a.workers.dev", "a.workers.dev"),
        ("10.0.0.1", "10.0.0.1"),
        ("localhost", "localhost"),
    ],
)
def test_domain(host, domain):
    assert hosts.domain(host) == domain


@pytest.mark.parametrize("name", ["api_key", "X-Api-Key", "Authorization", "access_token", "tavilyApiKey", "password"])
def test_names_of_secrets(name):
    assert words.is_secret_name(name)


@pytest.mark.parametrize("name", ["tenant", "Content-Type", "keyboard", "author", "X-Trace"])
def test_names_of_other_things(name):
    assert not words.is_secret_name(name)


@pytest.mark.parametrize(
    "text", ["npx " * 20_000, "codex " * 20_000 + "--yolo", "a=" * 20_000, "sh -c " * 10_000, "-y " * 20_000]
)
def test_long_texts_cost_bounded_time(text):
    begin = time.perf_counter()
    node = Node(text, 1)
    list(unsafe.flags(node))
    unsafe.tool(text)
    launch.fetched(launch.command_line(node, [node]))
    words.environment(text)
    hosts.address("https://" + text)
    aws_policy.statements(Node('{"Statement": "' + text + '"}', 1))
    assert time.perf_counter() - begin < 0.25 * len(text) / 1024
