"""Agents' own files: settings with permission lists, instructions, memory. Their holder is the agent that reads."""

import re
from collections.abc import Callable, Iterator, Mapping

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import unsafe
from taskbound.posture.readers.paths import Paths
from taskbound.posture.readers.reading import Notes, Reading, each

# Path (after its first "/" or from its beginning) -> the agent. The first that matches counts.
SETTINGS = Paths(
    (re.compile(rf"(?:^|/)(?:{pattern})$"), agent)
    for pattern, agent in (
        (
            r"\.claude/[^/]*settings[^/]*\.json|\.claude\.json|managed-settings\.json|claude-settings\.json",
            "claude-code",
        ),
        (r"claude_desktop_config\.json", "claude-desktop"),
        (r"\.codex/[^/]*\.toml|codex\.toml", "codex"),
        (r"\.gemini/[^/]*\.json|gemini-extension\.json", "gemini-cli"),
        (r"\.qwen/[^/]*\.json", "qwen-code"),
        (r"\.cursor/(?:[^/]*\.json|environment\.json)", "cursor"),
        (
            r"\.vscode/(?:settings|mcp)\.json|[^/]+\.code-workspace|Code(?: - Insiders)?/User/(?:settings|mcp)\.json",
            "vscode",
        ),
        (r"\.(?:codeium/)?windsurf/[^/]*\.json", "windsurf"),
        (r"\.?zed/settings\.json", "zed"),
        (r"cline_mcp_settings\.json", "cline"),
        (r"\.roo/[^/]*\.json|\.roomodes|mcp_settings\.json", "roo"),
        (r"\.continue/.*\.(?:json|ya?ml)", "continue"),
        (r"\.?(?:config/)?opencode/[^/]*\.jsonc?|opencode\.jsonc?", "opencode"),
        (r"\.?crush\.json|crush/crush\.json", "crush"),
        (r"\.aws/amazonq/.*\.json|\.amazonq/.*\.json", "amazon-q"),
        (r"\.kiro/.*\.json", "kiro"),
        (r"\.junie/.*\.json", "junie"),
        (r"goose/config\.ya?ml|\.goose/[^/]*\.ya?ml", "goose"),
        (r"\.aider\.conf\.ya?ml", "aider"),
        (r"\.copilot/[^/]*\.json|\.github/copilot[^/]*\.json", "copilot"),
        (r"\.factory/[^/]*\.json", "droid"),
        (r"\.?amp/settings\.json", "amp"),
        (r"\.openhands/[^/]*\.(?:toml|json|ya?ml)", "openhands"),
        (r"\.?lmstudio/mcp\.json", "lm-studio"),
    )
)
INSTRUCTIONS = Paths(
    (re.compile(rf"(?:^|/)(?:{pattern})$", re.I), agent)
    for pattern, agent in (
        (r"CLAUDE(?:\.local)?\.md|\.claude/.*\.mdx?", "claude-code"),
        (r"\.cursorrules|\.cursor/(?:rules|commands|memories)/.*|\.cursor/.*\.mdc", "cursor"),
        (r"GEMINI\.md|\.gemini/.*\.md", "gemini-cli"),
        (r"QWEN\.md|\.qwen/.*\.md", "qwen-code"),
        (r"\.windsurfrules|\.windsurf/(?:rules|workflows)/.*|\.codeium/windsurf/memories/.*", "windsurf"),
        (r"\.clinerules(?:/.*)?|memory-bank/.*\.md", "cline"),
        (r"\.roorules[^/]*|\.roo/.*\.md", "roo"),
        (r"\.github/copilot-instructions\.md|\.github/(?:instructions|prompts|agents|chatmodes)/.*\.md", "copilot"),
        (r"\.junie/.*\.md", "junie"),
        (r"\.goosehints|\.goose/.*\.md", "goose"),
        (r"\.continue/.*\.md|\.continuerules", "continue"),
        (r"\.amazonq/.*\.md", "amazon-q"),
        (r"\.kiro/.*\.md", "kiro"),
        (r"\.codex/.*\.md", "codex"),
        (r"\.opencode/.*\.md", "opencode"),
        (r"\.openhands/.*\.md|\.openhands_instructions", "openhands"),
        (r"\.trae/.*\.md", "trae"),
        (
            r"AGENTS?(?:\.override)?\.md|\.rules|(?:\.agents?|\.ai)/.*\.md|(?:agent[_-])?memory\.md|SKILL\.md|\.airules",
            "instructions",
        ),
    )
)
# Where permission lists stand; whatever lies in one was allowed to be run, and was often pasted with its secrets.
_LISTS = re.compile(
    r"(?:^|\.)(?:permissions|allowedTools|allowed_tools|allowedCommands|deniedCommands|autoApprove|alwaysAllow|toolsSettings"
    r"|cascadeCommands(?:Allow|Deny)List|coreTools|excludeTools|approvedCommands|commandAllowlist|alwaysAllow[A-Z]\w*|permission)$"
)
_EVERYTHING = re.compile(
    r"\*|(?:Bash|Shell|Execute|run_shell_command|ShellTool|execute_bash|shell|run_command)(?:\((?::?\*{1,2}|\*:\*)?\))?"
)
MOST_LEVELS = 6

Test = Callable[[Node], bool]


def _is(*wanted: str) -> Test:
    return lambda node: node.text.lower() in wanted


def _on(node: Node) -> bool:
    return node.value is True or node.text.lower() == "true"


# The last key, or the last two -> when its value means that nothing is asked. Keys of editors are written with dots.
_SWITCHES: Mapping[str, Test] = {
    "permissions.defaultMode": _is("bypasspermissions"),
    "skipDangerousModePermissionPrompt": _on,
    "bypassPermissionsModeAccepted": _on,
    "sandbox_mode": _is("danger-full-access"),
    "general.defaultApprovalMode": _is("yolo"),
    "approvalMode": _is("yolo"),
    "tools.approvalMode": _is("yolo"),
    "chat.tools.autoApprove": _on,
    "chat.tools.global.autoApprove": _on,
    "agent.always_allow_tool_actions": _on,
    "agent.tool_permissions.default": _is("allow"),
    "amp.dangerouslyAllowAll": _on,
    "dangerouslyAllowAll": _on,
    "GOOSE_MODE": _is("auto"),
    "yes-always": _on,
    "yolo": _on,
    "yoloMode": _on,
    "trustAllTools": _on,
    "alwaysAllowExecute": _on,
    "permission": _is("allow"),
    "permission.*": _is("allow"),
    "autoApprovalSettings.actions.executeAllCommands": _on,
    "sessionDefaultAutonomyMode": _is("auto-high"),
}
# Lists in which one entry that means everything is as much: key -> what may be said of it.
_OPEN_LISTS = re.compile(
    r"(?:^|\.)(?:permissions\.allow|allowedTools|allowed_tools|allowedCommands|cascadeCommandsAllowList|coreTools|commandAllowlist)$"
)
_FOR_EVERY_PROJECT = "enableAllProjectMcpServers"


def settings_of(path: str) -> str:
    """The agent whose settings a path holds; "" where it holds none."""
    return SETTINGS.of(path)


def client_of(path: str) -> str:
    """The agent that starts the MCP servers of a file; "" where its path does not say which one does."""
    return settings_of(path) or ("claude-code" if path.rsplit("/", 1)[-1] == ".mcp.json" else "")


def instructions_of(path: str) -> str:
    """The agent that reads the text at a path as instructions or memory; "" where none does."""
    return INSTRUCTIONS.of(path)


def read_settings(document: Document, repository: str) -> Reading:
    """Settings: what is allowed without a question, and whatever else stands there (environment, hooks)."""
    notes = Notes(document, repository)
    name = f"agent:{settings_of(document.path) or 'unknown'}"
    subject, holder = notes.named(name), notes.holder("agent", name)
    notes.hold_all(holder, "config")
    notes.principal(subject, "agent", 1, environment=holder.environment)
    for number, root in enumerate(document.roots):
        for keys, node in _settings(root):
            dotted = ".".join(keys)
            if _LISTS.search(dotted):
                notes.hold(holder, "agent-permission", number, *keys)
            if keys[-1] == _FOR_EVERY_PROJECT and _on(node):
                says = f"{subject} starts every MCP server that a checked-out project asks for, without asking anybody."
                notes.weakness("all-project-mcp-servers-enabled", subject, node, says)
            if _turned_on(keys, node):
                says = f"{keys[-1]} lets {subject} act without asking anybody, whatever it has read before."
                notes.weakness("agent-runs-without-permission-checks", subject, node, says)
            if _OPEN_LISTS.search(dotted):
                for one in each(node):
                    if _EVERYTHING.fullmatch(one.text):
                        says = f"An entry of {keys[-1]} lets {subject} run any command without asking anybody."
                        notes.weakness("agent-runs-without-permission-checks", subject, one, says)
        for keys, node in root.scalars():
            if "command" in keys or "args" in keys or "hooks" in keys or "scripts" in keys:
                for at, flag in unsafe.flags(node):
                    says = f"An agent is started with {flag}: it acts without asking anybody."
                    notes.weakness("agent-runs-without-permission-checks", subject, at, says)
    return notes.reading()


def _settings(root: Node) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield every member of the first levels with the keys that lead to it."""
    waiting: list[tuple[tuple[str, ...], Node]] = [((), root)]
    while waiting:
        keys, node = waiting.pop()
        for key, below in node.items.items():
            yield (*keys, key), below
            if len(keys) < MOST_LEVELS and below.items:
                waiting.append(((*keys, key), below))


def _turned_on(keys: tuple[str, ...], node: Node) -> bool:
    for taken in (1, 2, 3):
        test = _SWITCHES.get(".".join(keys[-taken:]))
        if test and test(node):
            # "yolo" and "permission" are common words: they count where they stand alone.
            return taken > 1 or len(keys) == 1 or keys[-1] not in ("permission", "yolo", "approvalMode")
    return False


def read_instructions(document: Document, repository: str) -> Reading:
    """Instructions and memory: all of the text is put before a model, and repeated by it."""
    notes = Notes(document, repository)
    name = f"agent:{instructions_of(document.path) or 'instructions'}"
    holder = notes.holder("agent", name)
    notes.hold_all(holder, "agent-instructions")
    subject = notes.named(name)
    notes.principal(subject, "agent", 1, environment=holder.environment)
    return notes.reading()
