"""Dockerfiles, environment files, owners, and everything that no other reader knows."""

import json

import pytest

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import read
from tests.posture.readers.made import cases, held, principals, reading


def dockerfile(*instructions: str) -> list[dict[str, object]]:
    parts = [one.split(" ", 1) for one in instructions]
    return [{name: json.loads(said) if said.startswith("[") else said} for name, said in parts]


def docker_cases(*instructions: str) -> list[str]:
    return cases("agent/Dockerfile", dockerfile(*instructions), format="dockerfile")


def test_an_image_holds_what_is_baked_in():
    found = reading("services/pay/Dockerfile", dockerfile("ENV TOKEN=x"), format="dockerfile")
    holding = held(found, "0", "ENV")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == ("workload", "image:pay@shop", "image")
    assert held(reading("mcp/Dockerfile", dockerfile("ENV A=b"), format="dockerfile"), "0").holder.kind == "agent"


def test_bases_of_agents():
    assert docker_cases("FROM acme/mcp-gateway") == ["image-not-pinned"]
    assert docker_cases("FROM --platform=linux/amd64 acme/mcp-gateway:latest AS base") == ["image-not-pinned"]
    assert docker_cases("FROM acme/mcp-gateway:1.2.3") == []
    assert docker_cases("FROM node:latest AS agent", "FROM agent") == []
    assert docker_cases("FROM ${MCP_BASE}") == []


def test_commands_of_agents():
    assert docker_cases('CMD ["claude", "--dangerously-skip-permissions"]') == ["agent-runs-without-permission-checks"]
    assert docker_cases("RUN apt-get update\n && gemini\n --yolo") == ["agent-runs-without-permission-checks"]
    assert docker_cases('CMD ["claude"]', "ENV ARGS=--dangerously-skip-permissions") == []


@pytest.mark.parametrize(
    ("path", "root", "environment"),
    [
        (".env", {"ENV": "dev"}, "development"),
        (".env", {"APP_ENV": "production"}, "production"),
        (".env.staging", {"A": "b"}, "staging"),
        (".env.live", {"A": "b"}, "production"),
        ("live/.env", {"A": "b"}, ""),  # a folder of all environments
        ("deploy/prod/.env", {"A": "b"}, "production"),
        (".env", {"A": "b"}, ""),
    ],
)
def test_variables_and_their_environment(path, root, environment):
    holding = held(reading(path, root, format="dotenv"), "A")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == ("workload", "env:shop", "dotenv")
    assert holding.holder.environment == environment


def owners(*text: str, **more: str) -> list[tuple[object, object]]:
    found = reading(more.get("path", "CODEOWNERS"), list(text))
    return [(one.id, one.facts["pattern"]) for one in principals(found, "owner")]


def test_owners():
    assert owners("# comment", "* kim@acme.example", "", "/api/ @acme/api @kim # both") == [
        ("person:kim@acme.example", "*"),
        ("team:acme/api", "/api/"),
        ("person:@kim", "/api/"),
    ]
    assert owners("[Docs][2] @acme/docs", "docs/", "^[Tests]", "tests/ @kim", path=".gitlab/CODEOWNERS") == [
        ("team:acme/docs", "docs/"),
        ("person:@kim", "tests/"),
    ]
    assert owners("/nobody/", "a\\ b @kim") == [("person:@kim", "a\\ b")]
    assert owners("* kim@acme.example", path="CODEOWNERS.md") == []


def test_owners_of_one_text():
    found = read(Document("CODEOWNERS", "text", (Node("# a\n* @kim", 1),)), "shop")
    (owner,) = principals(found, "owner")
    assert owner.place.line == 2
    assert owner.facts["repository"] == "shop"


@pytest.mark.parametrize(
    ("path", "format", "kind", "name", "spot"),
    [
        ("config/prod.ini", "ini", "file", "config@shop", "config"),
        ("settings.yaml", "yaml", "file", "config@shop", "config"),
        ("src/app.properties", "text", "file", "config@shop", "config"),
        ("notes.txt", "text", "file", "config@shop", "file"),
        ("train.ipynb", "json", "file", "config@shop", "notebook"),
        ("var/app.log", "text", "file", "config@shop", "log"),
        ("logs/app.jsonl", "jsonl", "file", "config@shop", "log"),
        (".bash_history", "text", "person", "workstation@shop", "history"),
        (".zsh_history", "text", "person", "workstation@shop", "history"),
        (".local/share/fish/fish_history", "text", "person", "workstation@shop", "history"),
        (".aws/credentials", "ini", "person", "workstation@shop", "config"),
        (".netrc", "ini", "person", "workstation@shop", "config"),
        (".claude/projects/x/1.jsonl", "jsonl", "agent", "agent:claude-code@shop", "transcript"),
        (".codex/sessions/2026/a.jsonl", "jsonl", "agent", "agent:codex@shop", "transcript"),
        (".aider.chat.history.md", "markdown", "agent", "agent:aider@shop", "transcript"),
        ("runs/agent-transcript.jsonl", "jsonl", "agent", "agent:transcript@shop", "transcript"),
    ],
)
def test_everything_else(path, format, kind, name, spot):
    holding = held(reading(path, {"a": "b"}, format=format), "a")
    assert (holding.holder.kind, holding.holder.name, holding.spot) == (kind, name, spot)


def test_a_line_of_a_log_is_no_manifest():
    found = reading("audit.jsonl", {"apiVersion": "v1", "kind": "Secret", "data": {"a": "b"}}, format="jsonl")
    assert held(found, "data", "a").spot == "log"


def test_a_home_has_no_repository():
    assert held(reading(".netrc", {"a": "b"}, repository=""), "a").holder.name == "workstation"


def test_the_path_tells_the_environment():
    assert held(reading("config/prod.ini", {"a": "b"}), "a").holder.environment == "production"
    assert held(reading("tests/config.ini", {"a": "b"}), "a").holder.environment == "test"
    assert held(reading("config/values-live.yaml", {"a": "b"}, format="yaml"), "a").holder.environment == "production"
    assert held(reading("config/product.ini", {"a": "b"}), "a").holder.environment == ""
    assert held(reading("config/deliver-live-chat.ini", {"a": "b"}), "a").holder.environment == ""


def test_a_document_of_nothing():
    assert read(Document("x.json", "json", (), "binary"), "shop").holdings == ()


@pytest.mark.parametrize(
    "path", [".mcp.json", "a.tf", "k.yaml", ".github/workflows/a.yml", "compose.yml", "CODEOWNERS", ".env"]
)
def test_a_deep_document_costs_bounded_time(path):
    node = Node("x", 1)
    for _ in range(50_000):
        node = Node({"mcp": node}, 1)
    found = read(Document(path, "json", (node,)), "shop")
    assert len(found.sightings) < 5
    waiting = [node]
    while waiting:  # taken apart by hand: nested so deeply, Python would end the process when it frees it
        waiting += waiting.pop().items.values()
