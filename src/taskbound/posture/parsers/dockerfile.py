"""Dockerfile (Docker's reference, and Containerfile): a sequence of instructions, each a mapping with one key.

{"FROM": "python:3.12 AS build"}, {"ENV": {"NAME": "value"}}, {"CMD": ["a", "b"]}. ENV, ARG and LABEL are mappings; the
exec form is a sequence; of any other instruction the lines are kept as they stand, without the sign that they go on.
The text below RUN <<EOF belongs to it. Parser directives and remarks are passed over, also between lines that go on.
"""

import re

from taskbound.posture.parsers.json import read_json
from taskbound.posture.parsers.tree import Tree, Unreadable

_DIRECTIVE = re.compile(r"#\s*escape\s*=\s*(\S)\s*", re.IGNORECASE)
_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)(?:\s+|$)")
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_]\w*)\1")
_PAIRS = re.compile(r"""["']?([^\s="']++)["']?(?:=((?:"(?:[^"\\]|\\.)*+"|'[^']*+'|\\.|[^\s"'\\]++)*+))?""", re.DOTALL)
_OLD = re.compile(r"(\S+)\s+(.*)", re.DOTALL)
_PART = re.compile(r""""((?:[^"\\]|\\.)*+)"|'([^']*+)'|\\(.)|([^"'\\]++)""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
MAX_HEREDOCS = 8  # of one instruction
_MAPPINGS = ("ENV", "ARG", "LABEL")


def read_dockerfile(text: str, tree: Tree) -> None:
    """Read instructions until the end. Raises Unreadable."""
    lines = text.split("\n")
    directive = _DIRECTIVE.fullmatch(lines[0])
    sign = directive[1] if directive else "\\"
    tree.open_sequence(1)
    at = 0
    while at < len(lines):
        begin = at
        at += 1
        if not lines[begin].strip() or lines[begin].lstrip().startswith("#"):
            continue
        parts = [lines[begin]]
        while at < len(lines) and _goes_on(parts[-1], sign):
            remark = lines[at].lstrip().startswith("#")
            parts[-1] = parts[-1].rstrip()[:-1]
            # A remark between lines is none of the text, but its line counts; the line above still goes on.
            parts.append(sign if remark or not lines[at].strip() else lines[at])
            at += 1
        if at == len(lines) and _goes_on(parts[-1], sign):
            parts[-1] = parts[-1].rstrip()[:-1]
        if (found := _INSTRUCTION.match(parts[0])) is None:
            tree.note("no instruction", begin + 1)
            continue
        name = found[1].upper()
        if name in ("RUN", "COPY", "ADD"):
            for heredoc in list(_HEREDOC.finditer("\n".join(parts)))[:MAX_HEREDOCS]:
                while at < len(lines):
                    parts.append(lines[at])
                    at += 1
                    if parts[-1].strip() == heredoc[2]:
                        break
        parts[0] = parts[0][found.end() :]
        tree.open_mapping(begin + 1)
        tree.key(name, begin + 1)
        _instruction(name, "\n".join(parts), begin + 1, tree)
        tree.close()
    tree.close()


def _goes_on(line: str, sign: str) -> bool:
    return line.rstrip().endswith(sign)


def _instruction(name: str, text: str, line: int, tree: Tree) -> None:
    if name == "ONBUILD" and (found := _INSTRUCTION.match(text)):
        tree.open_mapping(line)
        tree.key(found[1].upper(), line)
        _plain(found[1].upper(), text[found.end() :], line, tree)
        tree.close()
    else:
        _plain(name, text, line, tree)


def _plain(name: str, text: str, line: int, tree: Tree) -> None:
    stripped = text.strip()
    line += text[: len(text) - len(text.lstrip())].count("\n")
    if name in _MAPPINGS:
        _pairs(name, stripped, line, tree)
    elif not stripped.startswith("[") or not _exec(stripped, line, tree):
        tree.add(stripped, line, line + stripped.count("\n"))


def _pairs(name: str, text: str, line: int, tree: Tree) -> None:
    """Read NAME=value …, the old form ENV NAME value, or ARG NAME."""
    tree.open_mapping(line)
    old = _OLD.fullmatch(text)
    if name != "ARG" and old and "=" not in old[1]:
        tree.key(old[1], line)
        tree.add(old[2], line + text.count("\n", 0, old.start(2)), line + text.count("\n"))
    else:
        counted = 0
        for pair in _PAIRS.finditer(text):
            line += text.count("\n", counted, pair.start())
            counted = pair.start()
            tree.key(pair[1], line)
            tree.add(None if pair[2] is None else _value(pair[2]), line, line + pair[0].count("\n"))
    tree.close()


def _value(spelled: str) -> str:
    """Return a value without its quotes."""
    return "".join(
        _ESCAPE.sub(r"\1", part[1])
        if part[1] is not None
        else next(text for text in part.groups()[1:] if text is not None)
        for part in _PART.finditer(spelled)
    )


def _exec(text: str, line: int, tree: Tree) -> bool:
    """Read the exec form, which is JSON; return whether it is."""
    below = Tree()
    try:
        read_json(text, below, line)
    except Unreadable:
        return False
    if len(below.roots) != 1:
        return False
    tree.add(below.roots[0], line, cost=below.used)
    return True
