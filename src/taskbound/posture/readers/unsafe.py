"""Ways to run an agent without anybody being asked: options of commands and settings of every common agent tool."""

import re
from collections.abc import Iterator

from taskbound.posture.document import Node

# Options that mean nothing else wherever they stand.
_PLAIN = re.compile(
    r"(?<![\w-])(--dangerously-skip-permissions|--dangerously-bypass-approvals-and-sandbox|--dangerously-allow-all"
    r"|--dangerously-bypass-hook-trust|--skip-permissions-unsafe"
    r"|--permission-mode[= ]['\"]?bypassPermissions|--approval-mode[= ]['\"]?yolo"
    r"|--sandbox[= ]['\"]?danger-full-access|sandbox_mode\s*=\s*\\?['\"]?danger-full-access"
    r"|--trust-all-tools)(?![\w-])"
)
# Options that mean this for one program only.
_OF_PROGRAM = re.compile(
    r"(?<![\w.-])(?:"
    r"(?:gemini|qwen|codex|copilot|crush|kimi|opencode)\b[^\n;|&]{0,400}?\s(?P<yolo>--yolo)"
    r"|(?:gemini|qwen)\b[^\n;|&]{0,400}?\s(?P<y>-y)"
    r"|(?:copilot)\b[^\n;|&]{0,400}?\s(?P<tools>--allow-all(?:-tools)?)"
    r"|(?:cursor-agent)\b[^\n;|&]{0,400}?\s(?P<force>--force|-f)"
    r"|(?:aider)\b[^\n;|&]{0,400}?\s(?P<yes>--yes-always|--yes)"
    r"|(?:codex)\b[^\n;|&]{0,400}?\s(?P<full>-s\s+danger-full-access)"
    r"|(?:droid\s+exec)\b[^\n;|&]{0,400}?\s(?P<auto>--auto\s+high)"
    r")(?![\w-])"
)
_COMMENT = re.compile(r"\s*(#|//|--\s)")
# Commands that run an agent, at the beginning of a command.
_RUNS = re.compile(
    r"(?:^|[;&|(]|\b(?:then|do|else|exec|time)\s|\bnpx\s+(?:-y\s+|--yes\s+)?|\bbunx\s+|\buvx\s+|\btimeout\s+\w+\s+|\bsudo\s+(?:-E\s+)?)\s*"
    r"(?:@anthropic-ai/|@openai/|@google/|@github/)?"
    r"(?P<tool>claude-code|claude(?=\s+(?:-|mcp\b|['\"$]))|codex(?=\s+(?:exec|-|e\b))|gemini-cli|gemini(?=\s+-)"
    r"|aider(?=\s)|goose(?=\s+run)"
    r"|opencode(?=\s+run)|cursor-agent|copilot(?=\s+-)|amp(?=\s+-)|droid(?=\s+exec)|q(?=\s+chat)|openhands|qwen(?=\s+-)|crush(?=\s+run))",
    re.M,
)


def flags(node: Node) -> Iterator[tuple[Node, str]]:
    """Yield (place, option) for each option in a text of commands that turns off an agent's questions.

    A line that a backslash ends goes on in the next. Comments, and what is beyond the first 20,000 characters of a
    line, are not looked at.
    """
    if "-" not in node.text:
        return
    first = node.line
    for line in _joined(node.text).split("\n"):
        part = "" if _COMMENT.match(line) else line[:20_000]
        if found := _PLAIN.search(part):
            option = re.split(r"[= ]", found[1])[0] + _value(found[1])
            yield Node(None, first + part.count("\r", 0, found.start(1))), option
        elif found := _OF_PROGRAM.search(part):
            option = next(one for one in found.groups() if one)
            yield Node(None, first + part.count("\r", 0, found.end())), option
        first += 1 + line.count("\r")


def _joined(text: str) -> str:
    """The commands of a text on one line each: where it went on there is a carriage return, which is white space."""
    return text.replace("\r", "").replace("\\\n", "\r")


def _value(option: str) -> str:
    value = re.split(r"[= ]+['\"\\]*", option, maxsplit=1)
    return f" {value[1]}" if len(value) > 1 else ""


def tool(text: str) -> str:
    """The agent that a text of commands runs; "" where none is seen."""
    found = _RUNS.search(_joined(text[:100_000]))
    return found["tool"].removesuffix("-code").removesuffix("-cli") if found else ""
