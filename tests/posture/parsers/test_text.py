"""Text by lines, Markdown, shell scripts and histories (taskbound.posture.parsers.text)."""

import pytest

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "---\n",
    "a: ",
    "a=",
    "A=b ",
    "export A=",
    '"',
    "'",
    "$'",
    "\\",
    "\n",
    ": 12:0;",
    "#12\n",
    "a=b;",
    "(",
    "`",
    "$(",
    ")",
    "{{",
]


@pytest.fixture(
    scope="module",
    params=[
        "AGENTS.md:markdown",
        ".cursor/rules/a.mdc:markdown",
        ".cursorrules:markdown",
        "a.txt:text",
        "Jenkinsfile:text",
        "a.sh:shell",
        ".bash_history:shell",
        ".zsh_history:shell",
    ],
)
def form(request) -> Form:
    path, _, kind = request.param.partition(":")
    return Form(
        path, kind, lambda pairs: "\n".join(f"use {name} {marker}" for name, marker in pairs), PIECES, has_names=False
    )


def test_markdown_has_its_front_matter_beside_its_lines():
    document = parse("agent.md", b"---\ntools: [a,\n  b]\n---\n\n# Title\n  text\n")
    lines, front = document.roots
    assert (document.format, document.problem) == ("markdown", "")
    assert [(node.line, node.value) for node in lines.list][-2:] == [(6, "# Title"), (7, "text")]
    assert [(node.line, node.value) for node in front.at("tools").list] == [(2, "a"), (3, "b")]


def test_what_rules_of_cursor_are_for_is_read_though_yaml_takes_it_for_an_alias():
    document = parse(".cursor/rules/a.mdc", b"---\nglobs: *.ts, **/*.tsx\nalwaysApply: false\n---\nx\n")
    assert document.problem == "" and document.roots[1].at("globs").text == "*.ts, **/*.tsx"


def test_front_matter_that_is_broken_is_told_with_its_line():
    document = parse("agent.md", b"---\na: [\n---\nx\n")
    assert document.problem.startswith("line ")
    assert [node.value for node in document.roots[0].list] == ["---", "a: [", "---", "x"]


def test_a_script_has_its_variables_beside_its_lines():
    text = (
        b"#!/bin/sh\nexport A=1 B='c d'\nif x; then D=\"e\\\"$f\"; fi\nrun -e G=h --url=i 'j k=l'\nM='n\no'\n"
        b"curl https://a.example/?p=q\n"
    )
    lines, variables = parse("run", text).roots
    assert len(lines.list) == 7
    assert {name: (node.value, node.line) for name, node in variables.items.items()} == {
        "A": ("1", 2), "B": ("c d", 2), "D": ('e"$f', 3), "G": ("h", 4), "k": ("l", 4), "M": ("n\no", 5),
    }  # fmt: skip
    assert variables.at("M").line_of(1) == 6


def test_a_history_has_what_was_typed():
    lines, variables = parse(".zsh_history", b": 1700000000:0;export A=b\n: 1700000001:3;ls\n").roots
    assert [node.value for node in lines.list] == ["export A=b", "ls"]
    assert variables.at("A").value == "b"
