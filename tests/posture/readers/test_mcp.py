"""MCP client files: all common layouts are read, each rule fires where it should and is silent where it should be."""

from typing import Any

import pytest

from tests.posture.readers.made import cases, document, held, principals, reading, weaknesses
from tests.posture.whole import findings

NPX = {"command": "npx", "args": ["-y", "@acme/mcp"], "env": {"TOKEN": "x"}}

CLIENTS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "claude desktop": ("claude_desktop_config.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "claude code project": (".mcp.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "claude code home": (
        ".claude.json",
        {"projects": {"/work": {"mcpServers": {"s": NPX}}}},
        ("projects", "/work", "mcpServers", "s", "env", "TOKEN"),
    ),
    "cursor": (".cursor/mcp.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "vs code": (".vscode/mcp.json", {"inputs": [], "servers": {"s": NPX}}, ("servers", "s", "env", "TOKEN")),
    "vs code settings": (
        ".vscode/settings.json",
        {"mcp": {"servers": {"s": NPX}}},
        ("mcp", "servers", "s", "env", "TOKEN"),
    ),
    "devcontainer": (
        ".devcontainer/devcontainer.json",
        {"customizations": {"vscode": {"mcp": {"servers": {"s": NPX}}}}},
        ("customizations", "vscode", "mcp", "servers", "s", "env", "TOKEN"),
    ),
    "windsurf": (".codeium/windsurf/mcp_config.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "zed": (
        ".zed/settings.json",
        {"context_servers": {"s": {"command": {"path": "npx", "args": ["-y", "@acme/mcp"], "env": {"TOKEN": "x"}}}}},
        ("context_servers", "s", "command", "env", "TOKEN"),
    ),
    "cline": (
        "cline_mcp_settings.json",
        {"mcpServers": {"s": NPX | {"disabled": False}}},
        ("mcpServers", "s", "env", "TOKEN"),
    ),
    "roo": (".roo/mcp.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "continue": (".continue/config.yaml", {"mcpServers": [NPX | {"name": "s"}]}, ("mcpServers", "0", "env", "TOKEN")),
    "continue before": (
        ".continue/config.json",
        {"experimental": {"modelContextProtocolServers": [{"name": "s", "transport": NPX | {"type": "stdio"}}]}},
        ("experimental", "modelContextProtocolServers", "0", "transport", "env", "TOKEN"),
    ),
    "gemini": (".gemini/settings.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "codex": (".codex/config.toml", {"mcp_servers": {"s": NPX}}, ("mcp_servers", "s", "env", "TOKEN")),
    "junie": (".junie/mcp/mcp.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "goose": (
        ".config/goose/config.yaml",
        {"extensions": {"s": {"type": "stdio", "cmd": "npx", "args": ["-y", "@acme/mcp"], "envs": {"TOKEN": "x"}}}},
        ("extensions", "s", "envs", "TOKEN"),
    ),
    "opencode": (
        "opencode.json",
        {"mcp": {"s": {"type": "local", "command": ["npx", "-y", "@acme/mcp"], "environment": {"TOKEN": "x"}}}},
        ("mcp", "s", "environment", "TOKEN"),
    ),
    "amazon q": (".amazonq/mcp.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "lm studio": (".lmstudio/mcp.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
    "openhands": (
        "config.toml",
        {"mcp": {"stdio_servers": [NPX | {"name": "s"}]}},
        ("mcp", "stdio_servers", "0", "env", "TOKEN"),
    ),
    "unknown client": ("tools/agent.json", {"mcpServers": {"s": NPX}}, ("mcpServers", "s", "env", "TOKEN")),
}


@pytest.mark.parametrize(("path", "root", "keys"), CLIENTS.values(), ids=CLIENTS)
def test_servers_of_every_client_are_read(path, root, keys):
    found = reading(path, root)
    holding = held(found, *keys)
    assert (holding.holder.kind, holding.holder.name, holding.spot) == ("agent", "mcp:s@shop", "mcp-env")
    assert [one.id for one in principals(found, "mcp-server")] == ["mcp:s@shop"]
    assert [one.case for one in weaknesses(found)] == ["unpinned-mcp-package"]


def test_tables_of_other_kinds_are_no_servers():
    assert not principals(reading("docker.json", {"servers": {"web": {"url": "https://a.example/"}}}), "mcp-server")
    assert not principals(reading("package.json", {"extensions": {"a": {"type": "module"}}}), "mcp-server")
    assert not principals(reading("openapi.yaml", {"servers": [{"url": "https://api.acme.example/v1"}]}), "mcp-server")


def test_lock_files_are_not_gone_into():
    many = {f"p{n}": {"mcpServers": {"s": NPX}} for n in range(2001)}
    assert not principals(reading("lock.json", {"packages": many}), "mcp-server")
    assert principals(reading("lock.json", {"packages": many, "mcpServers": {"s": NPX}}), "mcp-server")


def test_each_part_of_a_server_has_its_spot():
    found = reading(
        ".mcp.json",
        {
            "mcpServers": {
                "s": {
                    "command": "a",
                    "args": ["--x"],
                    "env": {"A": "b"},
                    "url": "https://h.example/",
                    "headers": {"Authorization": "c"},
                }
            }
        },
    )
    spots = {
        ("args", "0"): "mcp-argument",
        ("command",): "mcp-argument",
        ("env", "A"): "mcp-env",
        ("url",): "mcp-url",
        ("headers", "Authorization"): "mcp-header",
    }
    assert {keys: held(found, "mcpServers", "s", *keys).spot for keys in spots} == spots


def test_environment_of_a_server_is_told_by_path_and_repository():
    root = {"mcpServers": {"s": NPX}}
    assert held(reading("experiments/.mcp.json", root), "mcpServers", "s").holder.environment == "research"
    assert held(reading(".mcp.json", root, repository="lab-agents"), "mcpServers", "s").holder.environment == "research"
    assert held(reading(".mcp.json", root), "mcpServers", "s").holder.environment == ""
    other = {"mcpServers": {"prod-db": NPX}}
    assert held(reading("lab/.mcp.json", other), "mcpServers", "prod-db").holder.environment == "research"


def started(*words: str, **more: Any) -> dict[str, Any]:
    return {"mcpServers": {"s": {"command": words[0], "args": list(words[1:])} | more}}


UNPINNED = {
    "npx": ("npx", "-y", "@acme/mcp"),
    "npx latest": ("npx", "-y", "acme-mcp@latest"),
    "npx range": ("npx", "-y", "acme-mcp@^1.2.0"),
    "npx major": ("npx", "acme-mcp@1"),
    "npx package option": ("npx", "-y", "-p", "acme", "acme-mcp"),
    "npx equals": ("npx", "--package=@acme/mcp", "acme"),
    "bunx": ("bunx", "acme-mcp"),
    "pnpm dlx": ("pnpm", "dlx", "acme-mcp"),
    "yarn dlx": ("yarn", "dlx", "acme-mcp"),
    "npm exec": ("npm", "exec", "--", "acme-mcp"),
    "cmd": ("cmd", "/c", "npx", "-y", "acme-mcp"),
    "shell": ("sh", "-c", "npx -y acme-mcp"),
    "one text": ("npx -y acme-mcp",),
    "full path": ("/usr/local/bin/npx", "acme-mcp"),
    "env": ("env", "A=b", "npx", "acme-mcp"),
    "uvx": ("uvx", "acme-mcp"),
    "uvx from": ("uvx", "--from", "acme", "acme-mcp"),
    "uvx range": ("uvx", "acme-mcp>=1.0"),
    "uv tool run": ("uv", "tool", "run", "acme-mcp"),
    "uv run": ("uv", "run", "--with", "acme-mcp", "acme-mcp"),
    "pipx": ("pipx", "run", "acme-mcp"),
    "python option": ("uvx", "--python", "3.12", "acme-mcp"),
    "docker": ("docker", "run", "-i", "--rm", "-e", "TOKEN", "acme/mcp"),
    "docker latest": ("docker", "run", "-i", "ghcr.io/acme/mcp:latest"),
    "docker port": ("docker", "run", "-p", "8080:8080", "localhost:5000/acme/mcp"),
}


@pytest.mark.parametrize("words", UNPINNED.values(), ids=UNPINNED)
def test_what_is_fetched_anew_is_unpinned(words):
    assert cases(".mcp.json", started(*words)) == ["unpinned-mcp-package"]


PINNED = {
    "npx": ("npx", "-y", "@acme/mcp@1.2.3"),
    "npx prerelease": ("npx", "-y", "acme-mcp@1.2.3-beta.1"),
    "npx local": ("npx", "./server"),
    "npx script runner": ("npx", "tsx", "src/server.ts"),
    "uvx": ("uvx", "acme-mcp==1.2.3"),
    "uvx at": ("uvx", "acme-mcp@1.2.3"),
    "uvx from": ("uvx", "--from", "acme[cli]==1.2", "acme-mcp"),
    "uv run with": ("uv", "run", "--with", "acme-mcp==1.0.0", "acme-mcp"),
    "git commit": ("uvx", "--from", "git+https://git.acme.example/a/b@0123456789abcdef0123456789abcdef01234567", "b"),
    "git release": ("uvx", "--from", "git+https://git.acme.example/a/b@v1.2.3", "b"),
    "docker digest": ("docker", "run", "-i", "acme/mcp@sha256:" + "ab" * 32),
    "docker version": ("docker", "run", "-i", "acme/mcp:1.2.3"),
    "node": ("node", "dist/server.js"),
    "python": ("python", "-m", "acme"),
    "uv run": ("uv", "run", "server.py"),
    "reference": ("npx", "${PACKAGE}"),
    "docker compose": ("docker", "compose", "run", "x"),
}


@pytest.mark.parametrize("words", PINNED.values(), ids=PINNED)
def test_what_stays_the_same_is_pinned(words):
    assert cases(".mcp.json", started(*words)) == []


def test_a_server_that_is_switched_off_is_not_started():
    assert cases(".mcp.json", started("npx", "acme-mcp", disabled=True)) == []
    assert cases(".mcp.json", started("npx", "acme-mcp", enabled=False)) == []


@pytest.mark.parametrize(
    "words",
    [
        ("uvx", "--from", "git+https://git.acme.example/a/b@main", "b"),
        ("uvx", "--from", "git+https://git.acme.example/a/b", "b"),
        ("uvx", "git+ssh://git@git.acme.example/a/b.git"),
        ("npx", "-y", "github:acme/mcp"),
        ("npx", "-y", "acme/mcp#develop"),
        ("npx", "-y", "git+https://git.acme.example/a/b.git#main"),
    ],
)
def test_a_branch_is_mutable(words):
    assert cases(".mcp.json", started(*words)) == ["mcp-from-mutable-git-branch"]


def test_a_password_in_a_git_url_is_not_told():
    root = started("uvx", "--from", "git+https://user:pass@git.acme.example/a/b", "b")
    assert "pass" not in repr(reading(".mcp.json", root).sightings)


@pytest.mark.parametrize(
    "words",
    [
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "/"),
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "/srv/data", "/Users/kim"),
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "C:\\"),
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "${HOME}"),
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "~"),
        ("docker", "run", "-i", "-v", "/:/host", "acme/mcp:1.2.3"),
        ("docker", "run", "-i", "--mount", "type=bind,src=/home/kim,dst=/home", "acme/mcp:1.2.3"),
        ("node", "server.js", "/"),
    ],
)
def test_the_whole_disk_is_given_away(words):
    assert cases(".mcp.json", started(*words)) == ["mcp-filesystem-root"]


@pytest.mark.parametrize(
    "words",
    [
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "/Users/kim/work"),
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "."),
        ("npx", "-y", "@modelcontextprotocol/server-filesystem@1.0.0", "${workspaceFolder}"),
        ("docker", "run", "-i", "-v", "/srv/data:/data", "acme/mcp:1.2.3"),
        ("docker", "run", "-i", "-v", "data:/", "acme/mcp:1.2.3"),
        ("node", "server.js", "--prefix", "/"),
    ],
)
def test_a_folder_is_not_the_whole_disk(words):
    assert cases(".mcp.json", started(*words)) == []


def test_the_runtime_socket_and_privileges():
    words = ("docker", "run", "--privileged", "-v", "/var/run/docker.sock:/var/run/docker.sock", "acme/mcp:1.2.3")
    assert cases(".mcp.json", started(*words)) == ["docker-socket-mounted", "privileged-container"]


def remote(**servers: Any) -> dict[str, Any]:
    return {"mcpServers": {name: one if isinstance(one, dict) else {"url": one} for name, one in servers.items()}}


SECRET = "q7Zk2Vw9Lx4Tn8Rb"
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    "server",
    [
        {"url": "http://mcp.acme.example/sse", "headers": BEARER},
        {"serverUrl": "http://10.1.2.3:8080/mcp", "headers": BEARER},
        {"httpUrl": "http://mcp.acme.example/mcp", "headers": BEARER},
        {"url": "ws://mcp.acme.example/mcp", "headers": BEARER},
        {"command": "npx", "args": ["-y", "mcp-remote@0.1.2", "http://mcp.acme.example/sse", "--allow-http"]},
    ],
)
def test_no_tls(server):
    assert cases(".mcp.json", remote(s=server)) == ["plaintext-http-mcp"]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/sse",
        "http://127.0.0.1/sse",
        "http://[::1]:3000/mcp",
        "http://host.docker.internal:1/mcp",
        "http://mcp-gateway:8811/sse",
        "http://${HOST}/mcp",
        "stdio",
        "http://[broken",
    ],
)
def test_on_this_machine_no_tls_and_no_proof_are_needed(url):
    assert cases(".mcp.json", remote(s=url)) == []


@pytest.mark.parametrize(
    "server",
    [
        {"url": "https://mcp.acme.example/mcp"},
        {"url": "https://10.1.2.3/mcp", "headers": {"X-Trace": "1"}},
        {"type": "http", "url": "https://mcp.acme.example/mcp?tenant=a"},
    ],
)
def test_nothing_proves_who_calls(server):
    assert cases(".mcp.json", remote(s=server)) == ["remote-mcp-without-auth"]


@pytest.mark.parametrize("off", [{"oauth": False}, {"auth": "none"}, {"authentication": "disabled"}, {"apiKey": ""}])
def test_a_member_that_says_no_proves_nobody(off):
    assert cases(".mcp.json", remote(s={"url": "https://mcp.acme.example/mcp", **off})) == ["remote-mcp-without-auth"]
    on = dict.fromkeys(off, "a1")
    assert cases(".mcp.json", remote(s={"url": "https://mcp.acme.example/mcp", **on})) == []


def test_where_it_says_no_is_the_same_matter():
    text = '{"mcpServers": {"s": {\n"url": "https://mcp.acme.example/mcp",\n"type": "http",\n"x": 1,\n"auth": "none"}}}'
    assert [(one.case, one.places[0].line) for one in findings({"repos/shop/.mcp.json": text})] == [
        ("remote-mcp-without-auth", 2)
    ]


@pytest.mark.parametrize(
    "server",
    [
        {"url": "https://mcp.acme.example/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        {"url": "https://mcp.acme.example/mcp", "headers": {"X-Api-Key": "${input:key}"}},
        {"url": "https://mcp.acme.example/mcp", "requestOptions": {"headers": {"Authorization": "Bearer ${T}"}}},
        {"url": "https://mcp.acme.example/mcp", "bearer_token_env_var": "TOKEN"},
        {"url": "https://mcp.acme.example/mcp", "oauth": {"clientId": "a"}},
        {"url": "https://mcp.notion.com/mcp"},
        {"url": "https://api.githubcopilot.com/mcp/"},
        {"url": "https://docs.acme.example/mcp"},
        {"command": "npx", "args": ["mcp-remote@0.1.2", "https://mcp.acme.example/mcp"]},
    ],
)
def test_who_calls_is_proven_or_need_not_be(server):
    assert cases(".mcp.json", remote(s=server)) == []


def test_documentation_of_ones_own_is_not_open_on_purpose():
    root = remote(docs="https://docs.acme.example/mcp", s={"url": "https://mcp.acme.example/mcp", "headers": BEARER})
    assert [(one.case, one.subject) for one in weaknesses(reading(".mcp.json", root))] == [
        ("remote-mcp-without-auth", "mcp:docs@shop")
    ]


def test_a_key_in_the_query_is_weak_even_where_it_is_a_reference():
    assert cases(".mcp.json", remote(s="https://mcp.acme.example/mcp?api_key=${KEY}")) == ["key-in-query-of-url"]
    assert cases(".mcp.json", remote(s="https://mcp.notion.com/mcp?page=2&lang=sv")) == []


THIRD_PARTY = {
    "in the url": remote(s=f"https://mcp.other.example/mcp?api_key={SECRET}"),
    "in a header": remote(s={"url": "https://mcp.other.example/mcp", "headers": BEARER}),
    "in the user information": remote(s=f"https://me:{SECRET}@mcp.other.example/mcp"),
    "beside ones own": remote(
        a={"url": "https://a.acme.example/mcp", "headers": BEARER},
        b={"url": "https://b.acme.example/mcp", "headers": BEARER},
        s=f"https://mcp.other.example/mcp?token={SECRET}",
    ),
    "on a host for everybody": remote(
        a={"url": "https://a.workers.dev/mcp", "headers": {"Authorization": "${T}"}},
        s={"url": "https://b.workers.dev/mcp", "headers": BEARER},
    ),
}


@pytest.mark.parametrize("root", THIRD_PARTY.values(), ids=THIRD_PARTY)
def test_a_credential_goes_to_somebody_else(root):
    (found,) = (one for one in weaknesses(reading(".mcp.json", root)) if one.case != "key-in-query-of-url")
    assert (found.case, found.subject) == ("secret-sent-to-third-party-mcp", "mcp:s@shop")
    assert SECRET not in repr(reading(".mcp.json", root))


OWN = {
    "a reference": remote(s={"url": "https://mcp.other.example/mcp", "headers": {"Authorization": "Bearer ${T}"}}),
    "two of one domain": remote(
        a={"url": "https://a.acme.example/mcp", "headers": BEARER},
        s={"url": "https://b.acme.example/mcp", "headers": BEARER},
    ),
    "its issuer": remote(s={"url": "https://mcp.stripe.com/", "headers": BEARER}),
    "an internal host": remote(s={"url": "https://mcp.acme.internal/mcp", "headers": BEARER}),
    "a port of ones own": remote(s={"url": "https://mcp.acme.example:8443/mcp", "headers": BEARER}),
}


@pytest.mark.parametrize("root", OWN.values(), ids=OWN)
def test_a_credential_stays_with_its_own(root):
    assert cases(".mcp.json", root) == []


def test_the_repository_s_name_makes_a_domain_ones_own():
    root = remote(s={"url": "https://mcp.acme.example/mcp", "headers": BEARER})
    assert cases(".mcp.json", root, repository="acme-agents") == []
    assert cases(".mcp.json", root, repository="agents") == ["secret-sent-to-third-party-mcp"]


@pytest.mark.parametrize("more", [{"trust": True}, {"alwaysAllow": ["*"]}, {"autoApprove": ["*"]}])
def test_tools_that_run_unasked(more):
    assert cases(".mcp.json", started("node", "s.js", **more)) == ["agent-runs-without-permission-checks"]


@pytest.mark.parametrize("more", [{"trust": False}, {"alwaysAllow": ["read_file"]}, {"autoApprove": []}])
def test_tools_that_are_asked_for(more):
    assert cases(".mcp.json", started("node", "s.js", **more)) == []


def test_the_place_is_the_line_of_the_value():
    made = document(".mcp.json", started("npx", "-y", "acme-mcp"))
    (found,) = weaknesses(reading(".mcp.json", started("npx", "-y", "acme-mcp")))
    assert found.place.line == made.roots[0].at("mcpServers", "s", "args").list[1].line
    assert found.place.path == ".mcp.json"
