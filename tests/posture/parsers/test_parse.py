"""Which format a file is read as: by its name, else by its content (taskbound.posture.parsers)."""

import pytest

from taskbound.posture.parsers import parse
from taskbound.posture.parsers.tree import MAX_LINES

JSON, YAML, ENV = b'{\n  "a": "b"\n}\n', b"a: b\n", b"A=b\n"


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        *(
            (path, JSON, "json")
            for path in (".mcp.json", "a/mcp.json", "claude_desktop_config.json", ".docker/config.json")
        ),
        *(
            (path, JSON, "json")
            for path in ("settings.local.json", "a.code-workspace", "a.ipynb", "A.JSON", "a.tf.json")
        ),
        *((path, JSON, "json") for path in ("a.tfstate", "a.json.example", "a.json.tmpl.bak", ".dockerconfigjson")),
        *((path, YAML, "yaml") for path in ("a.yml", "b/values.yaml", "docker-compose.override.yml", "docker-compose")),
        *((path, YAML, "yaml") for path in ("home/.kube/config", "kubeconfig", "a.kubeconfig", "a.yaml.j2")),
        *(
            (path, b"FROM a\n", "dockerfile")
            for path in ("Dockerfile", "Dockerfile.x", "x.Dockerfile", "Dockerfile.j2")
        ),
        *((path, ENV, "dotenv") for path in (".env", ".env.production", "x.env", ".env.example", "x.env.sample")),
        *(
            (path, ENV, "ini")
            for path in ("a.ini", "a.cfg", "a.conf", ".npmrc", ".pypirc", "a.properties", ".aws/config")
        ),
        *((path, ENV, "ini") for path in (".aws/credentials", ".netrc", ".pgpass", ".gitconfig", "x/.git/config")),
        *((path, ENV, "shell") for path in ("a.sh", ".bash_history", ".zsh_history", ".envrc")),
        *((path, b"a = 1\n", "hcl") for path in ("a.tf", "a.tfvars", "a.auto.tfvars", "a.hcl")),
        *((path, b"text\n", "markdown") for path in ("AGENTS.md", "CLAUDE.md", ".cursorrules", "a.mdc", "copilot.MD")),
        *((path, b"text\n", "text") for path in ("Jenkinsfile", "CODEOWNERS", "a.py", "a.txt", "config")),
        ("a.toml", b"a = 1\n", "toml"),
        ("a.csv", b"a,b\n1,2\n", "csv"),
        ("a.xml", b"<a>b</a>", "xml"),
        ("web.config", b"<a>b</a>", "xml"),
        ("a.ndjson", b'{"a": 1}\n', "jsonl"),
        ("a.log", b"text\n", "jsonl"),
    ],
)
def test_a_name_tells_the_format(path, data, kind):
    document = parse(path, data)
    assert (document.format, document.roots != ()) == (kind, True)


@pytest.mark.parametrize(
    ("path", "data", "kind"),
    [
        ("a.conf", JSON, "json"),
        (".env", JSON, "json"),
        ("config", b"// remark\n" + JSON, "json"),
        ("a.txt", b'[{"a": 1}]', "json"),
        ("a.json", b"---\na: b\n", "yaml"),
        ("a.yaml", b'{"a": 1, // b\n\t"c": 2,}', "json"),
        ("config", b"apiVersion: v1\nkind: Config\n", "yaml"),
        ("a.cfg", b"<?xml version='1.0'?><a>b</a>", "xml"),
        ("run", b"#!/usr/bin/env bash\nA=b\n", "shell"),
        ("vars", b"# remark\nA_B=c\nexport D=e\n", "dotenv"),
        ("Makefile", b"A_B=c\nD=e\n\nall:\n\trun\n", "text"),
        ("secrets.txt", b"A_B=c\nD=e\n", "dotenv"),
        ("events", b'{"a": 1}\n{"a": 2}\n', "jsonl"),
        ("a.md", b"---\na: b\n---\ntext\n", "markdown"),
        ("settings", b"[a]\nb = c\n", "ini"),
        ("a.ini", b"[{a}]\nb = c\n", "ini"),
        ("a.log", b"[INFO] a\n", "jsonl"),
        ("page.html", b"<p>a<br>b</p>", "xml"),
    ],
)
def test_a_wrong_name_or_none_is_met_by_the_content(path, data, kind):
    assert parse(path, data).format == kind


def test_what_is_not_at_all_what_its_name_says_is_text_with_a_problem():
    document = parse("a.json", b"sorry,\nno settings\n")
    assert (document.format, document.problem) == ("text", "line 1: a word is no value")
    assert [(node.line, node.value) for node in document.roots[0].list] == [(1, "sorry,"), (2, "no settings")]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("public/404.html", "<html><head><meta charset='utf-8'>\n<p>a</html>"),
        ("app/login.html.erb", "<div><input name='a'>\n</p></div>"),
        ("templates/home.ftlh", "<!DOCTYPE html>\n<html><br>"),
    ],
)
def test_a_page_is_no_xml_and_nothing_is_wrong_with_it(path, text):
    assert parse(path, text.encode()).problem == ""
    assert parse("pom.xml", b"<project><a></project>").problem == "line 1: an element does not end"


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("web.config", "<configuration><a/></configuration>", "xml"),
        ("logstash.config", "input {\n  beats { port => 1 }\n}\n", "text"),
        ("chart/_helpers.tpl", "{{/* a name */}}\n{{/* and more */}}\n", "text"),
        ("answers.txt", '{"a": 1\n... 20 more lines\n', "text"),
        ("page.twig", "{% extends 'a' %}\n{% block b %}\n", "text"),
        ("guide.mdx", "---\ntitle: a\n---\n\nSay: <A b={1} />: c: d\n", "markdown"),
    ],
)
def test_what_only_resembles_a_format_is_not_read_as_one(path, text, kind):
    document = parse(path, text.encode())
    assert (document.format, document.problem) == (kind, "")


def test_no_more_lines_are_read_than_the_limit():
    document = parse("a.txt", b"x\n" * (MAX_LINES + 1))
    assert document.problem.endswith(f"and {MAX_LINES} lines were read")
    assert len(document.roots[0].list) < MAX_LINES + 1


def test_a_binary_file_is_not_read():
    document = parse("a.json", b"\x7fELF\0\0\0")
    assert (document.roots, document.problem) == ((), "binary")


@pytest.mark.parametrize("path", ["", "/", "a//", "\\", "a\0b", "é" * 500, ".j2", "~", ".bak.bak.bak"])
def test_any_name_is_one(path):
    assert parse(path, b"A=b\n").path == path
