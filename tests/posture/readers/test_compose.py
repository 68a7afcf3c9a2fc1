"""Compose files: who holds what, and what of the host a service may touch."""

from typing import Any

import pytest

from tests.posture.readers.made import cases, held, principals, reading, weaknesses

PATH = "docker-compose.yml"


def services(**named: Any) -> dict[str, Any]:
    return {"services": named}


def test_each_service_holds_its_own():
    root = services(
        api={"image": "a", "environment": {"A": "b"}}, agent={"image": "acme/coder:1.0", "env_file": ".env"}
    )
    found = reading(PATH, root)
    api, agent = held(found, "services", "api", "environment", "A"), held(found, "services", "agent")
    assert (api.holder.kind, api.holder.name, api.spot) == ("workload", "compose:api@shop", "compose")
    assert (agent.holder.kind, agent.holder.name) == ("agent", "compose:agent@shop")
    assert held(found, "secrets").holder.name == "compose@shop"
    assert principals(found, "compose-service")[1].facts["env_files"] == (".env",)
    assert held(reading("deploy/compose.prod.yaml", root), "services", "api").holder.environment == "production"


@pytest.mark.parametrize(
    "service",
    [
        {"image": "a", "volumes": ["/var/run/docker.sock:/var/run/docker.sock"]},
        {"image": "a", "volumes": ["/run/docker.sock:/var/run/docker.sock:ro"]},
        {"image": "a", "volumes": [{"type": "bind", "source": "/var/run/docker.sock", "target": "/x"}]},
        {"image": "a", "use_api_socket": True},
    ],
)
def test_the_runtime_of_the_host_is_given_away(service):
    (found,) = weaknesses(reading(PATH, services(s=service)))
    assert (found.case, found.subject) == ("docker-socket-mounted", "compose:s@shop")


def test_other_mounts():
    assert (
        cases(PATH, services(s={"image": "a", "volumes": ["./docker.sock:/x", "data:/var/run", "/run/app:/app"]})) == []
    )


def test_privileges():
    assert cases(PATH, services(s={"image": "a", "privileged": True})) == ["privileged-container"]
    assert cases(PATH, services(s={"image": "a", "privileged": False})) == []
    assert cases(PATH, services(agent={"build": ".", "cap_add": ["SYS_ADMIN"]})) == ["privileged-container"]
    assert cases(PATH, services(agent={"build": ".", "cap_add": ["NET_BIND_SERVICE"]})) == []


@pytest.mark.parametrize(
    "service",
    [{"image": "acme/mcp-gateway"}, {"image": "acme/mcp-gateway:latest"}, {"image": "ghcr.io/acme/coding-agent:main"}],
)
def test_an_agent_s_image_that_can_change(service):
    assert cases(PATH, services(s=service)) == ["image-not-pinned"]


@pytest.mark.parametrize(
    "service",
    [
        {"image": "acme/mcp-gateway:1.2.3"},
        {"image": "acme/mcp-gateway@sha256:" + "0a" * 32},
        {"image": "acme/pay:latest"},
        {"image": "datadog/agent:latest"},
        {"image": "acme/mcp", "build": "."},
        {"image": "${MCP_IMAGE}"},
    ],
)
def test_an_image_that_stays_or_is_no_agent_s(service):
    assert cases(PATH, services(s=service)) == []


def test_an_agent_of_another_kind_is_one_by_its_command_too():
    found = reading(PATH, services(drone={"image": "drone/agent:1", "command": "agent"}, helper={"command": "agent"}))
    assert held(found, "services", "drone").holder.kind == "workload"
    assert held(found, "services", "helper").holder.kind == "agent"


def test_an_agent_that_asks_nobody():
    words = ["claude", "--dangerously-skip-permissions"]
    assert cases(PATH, services(s={"build": ".", "command": words})) == ["agent-runs-without-permission-checks"]
    assert cases(PATH, services(s={"build": ".", "command": "claude -p x"})) == []


@pytest.mark.parametrize("root", [{"services": None}, {"services": ["a"]}, {"services": {"a": "b"}}, "x", {}])
def test_a_broken_file_says_nothing(root):
    assert cases(PATH, root) == []
