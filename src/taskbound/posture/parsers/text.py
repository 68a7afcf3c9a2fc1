"""Text by lines: plain text, instructions for agents, shell scripts and what was typed into a shell.

The first root is a sequence of the lines that are not empty. A second one has what the text states in another way: the
front matter of Markdown (YAML between two lines of ---), the variables that a shell script sets, also for one command
or by an option (`-e NAME=value`).
"""

import re

from taskbound.posture.document import Node, TextLines
from taskbound.posture.parsers.tree import Lines, Tree, Unreadable, put
from taskbound.posture.parsers.yaml import read_yaml

_FRONT = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_GLOBS = re.compile(r"^(globs:[ \t]*)(\*[^\n\"]*)$", re.MULTILINE)  # of Cursor's rules: in YAML that were an alias
_TYPED = re.compile(r": [0-9]+:[0-9]+;")  # zsh, EXTENDED_HISTORY
_ASSIGNED = re.compile(
    r"""(?:(?<=[\s;(])|^)([A-Za-z_]\w*+)\+?=(?:
    "((?:[^"\\]|\\.)*+)" | \$?'([^']*+)' | ([^\s;&|)"'`]*+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\([\\\"$`\n])")


def read_text(text: str, tree: Tree) -> None:
    """Read lines. Raises Unreadable."""
    tree.add(Node(TextLines(text), 1), 1)


def read_markdown(text: str, tree: Tree) -> None:
    """Read lines, and the front matter. Raises Unreadable."""
    read_text(text, tree)
    if front := _FRONT.match(text):
        try:
            read_yaml("\n" + _GLOBS.sub(r'\1"\2"', front[1]), tree)
        except Unreadable as error:
            tree.unwind()
            tree.note(str(error), error.line)


def read_shell(text: str, tree: Tree) -> None:
    """Read lines, and the variables that they set. Raises Unreadable."""
    text = "\n".join(_TYPED.sub("", line, count=1) if line.startswith(": ") else line for line in text.split("\n"))
    read_text(text, tree)
    line_of = Lines(text).at
    variables = tree.open_mapping(1)
    for found in _ASSIGNED.finditer(text):
        group = found.lastindex or 1
        value = (
            _ESCAPE.sub(lambda escape: "" if escape[1] == "\n" else escape[1], found[2]) if group == 2 else found[group]
        )
        put(variables, found[1], tree.node(value, line_of(found.start(group)), line_of(found.end(group))))
    tree.close()
