"""Agents' own files: permission lists, switches that turn questions off, instructions and memory."""

from typing import Any

import pytest

from tests.posture.readers.made import cases, held, reading, weaknesses

UNASKED = "agent-runs-without-permission-checks"


def test_a_permission_list_is_held_by_its_agent():
    found = reading(".claude/settings.local.json", {"permissions": {"allow": ["Bash(npm test:*)"]}, "env": {"A": "b"}})
    holding = held(found, "permissions", "allow", "0")
    assert (holding.holder.kind, holding.holder.name) == ("agent", "agent:claude-code@shop")
    assert holding.spot == "agent-permission"
    assert holding.holder.environment == "", "local says who reads it, not where it runs"
    assert held(found, "env", "A").spot == "config"
    assert weaknesses(found) == []


def test_every_project_s_servers_are_started():
    root = {"enableAllProjectMcpServers": True}
    (found,) = weaknesses(reading(".claude/settings.json", root))
    assert (found.case, found.subject) == ("all-project-mcp-servers-enabled", "agent:claude-code@shop")
    assert cases(".claude/settings.json", {"enableAllProjectMcpServers": False}) == []
    assert cases(".claude/settings.json", {"enabledMcpjsonServers": ["a"]}) == []


UNSAFE: dict[str, tuple[str, Any]] = {
    "claude mode": (".claude/settings.json", {"permissions": {"defaultMode": "bypassPermissions"}}),
    "claude all commands": (".claude/settings.json", {"permissions": {"allow": ["Bash(*)"]}}),
    "claude bare tool": (".claude/settings.json", {"permissions": {"allow": ["Read", "Bash"]}}),
    "claude hook": (
        ".claude/settings.json",
        {"hooks": {"Stop": [{"hooks": [{"command": "claude -p x --dangerously-skip-permissions"}]}]}},
    ),
    "codex": (".codex/config.toml", {"sandbox_mode": "danger-full-access"}),
    "codex profile": (".codex/config.toml", {"profiles": {"fast": {"sandbox_mode": "danger-full-access"}}}),
    "gemini": (".gemini/settings.json", {"general": {"defaultApprovalMode": "yolo"}}),
    "vs code": (".vscode/settings.json", {"chat.tools.global.autoApprove": True}),
    "vs code nested": (".vscode/settings.json", {"chat": {"tools": {"autoApprove": True}}}),
    "roo": (".vscode/settings.json", {"roo-cline.allowedCommands": ["*"]}),
    "windsurf": (".vscode/settings.json", {"windsurf.cascadeCommandsAllowList": ["*"]}),
    "zed": (".zed/settings.json", {"agent": {"always_allow_tool_actions": True}}),
    "goose": (".config/goose/config.yaml", {"GOOSE_MODE": "auto"}),
    "aider": (".aider.conf.yml", {"yes-always": True}),
    "opencode": ("opencode.json", {"permission": "allow"}),
    "opencode star": ("opencode.json", {"permission": {"*": "allow"}}),
    "amazon q": (".amazonq/cli-agents/a.json", {"allowedTools": ["*"]}),
    "cursor": (".cursor/cli.json", {"permissions": {"allow": ["Shell(**)"]}}),
    "amp": ("amp/settings.json", {"amp.dangerouslyAllowAll": True}),
}


@pytest.mark.parametrize(("path", "root"), UNSAFE.values(), ids=UNSAFE)
def test_nobody_is_asked(path, root):
    assert cases(path, root) == [UNASKED]


SAFE: dict[str, tuple[str, Any]] = {
    "claude mode": (".claude/settings.json", {"permissions": {"defaultMode": "acceptEdits"}}),
    "claude commands": (
        ".claude/settings.json",
        {"permissions": {"allow": ["Bash(npm test:*)", "Read(*)", "WebFetch"]}},
    ),
    "claude denied": (".claude/settings.json", {"permissions": {"deny": ["Bash"]}}),
    "claude asked": (".claude/settings.json", {"permissions": {"ask": ["Bash(*)"]}}),
    "claude hook": (".claude/settings.json", {"hooks": {"Stop": [{"hooks": [{"command": "npm run lint"}]}]}}),
    "codex": (".codex/config.toml", {"approval_policy": "on-request", "sandbox_mode": "workspace-write"}),
    "gemini": (".gemini/settings.json", {"general": {"defaultApprovalMode": "auto_edit"}, "yolo": False}),
    "vs code": (".vscode/settings.json", {"chat.tools.autoApprove": False, "editor.formatOnSave": True}),
    "goose": (".config/goose/config.yaml", {"GOOSE_MODE": "approve"}),
    "opencode": ("opencode.json", {"permission": {"bash": "ask", "edit": "allow"}}),
    "a word of others": (".vscode/settings.json", {"eslint": {"yolo": True}}),
    "nobody's settings": ("settings.json", {"permissions": {"allow": ["*"]}}),
}


@pytest.mark.parametrize(("path", "root"), SAFE.values(), ids=SAFE)
def test_somebody_is_asked(path, root):
    assert cases(path, root) == []


@pytest.mark.parametrize(
    ("path", "agent"),
    [
        ("AGENTS.md", "instructions"),
        ("packages/api/AGENTS.md", "instructions"),
        ("CLAUDE.md", "claude-code"),
        (".claude/agents/reviewer.md", "claude-code"),
        (".claude/projects/x/memory/MEMORY.md", "claude-code"),
        (".cursorrules", "cursor"),
        (".cursor/rules/style.mdc", "cursor"),
        ("GEMINI.md", "gemini-cli"),
        (".windsurfrules", "windsurf"),
        (".clinerules/a.md", "cline"),
        ("memory-bank/progress.md", "cline"),
        (".github/copilot-instructions.md", "copilot"),
        (".github/instructions/py.instructions.md", "copilot"),
        (".junie/guidelines.md", "junie"),
        (".goosehints", "goose"),
    ],
)
def test_what_an_agent_reads_is_held_by_it(path, agent):
    holding = held(reading(path, ["# Notes", "Use the staging tenant."]), "1")
    assert (holding.holder.kind, holding.holder.name) == ("agent", f"agent:{agent}@shop")
    assert holding.spot == ("transcript" if "/projects/" in path else "agent-instructions")


@pytest.mark.parametrize(
    "path", ["README.md", "docs/agents.md.txt", ".github/PULL_REQUEST_TEMPLATE.md", "CHANGELOG.md"]
)
def test_what_people_read_is_held_by_nobody_we_know(path):
    assert held(reading(path, ["# Notes"]), "0").holder.kind == "file"
