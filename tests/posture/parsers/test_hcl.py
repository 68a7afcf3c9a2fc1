"""HCL: Terraform and kin (taskbound.posture.parsers.hcl)."""

import pytest

from taskbound.posture.parsers import parse
from taskbound.posture.parsers.tree import MAX_DEPTH
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    'a "b" {',
    "a {",
    "}",
    "{",
    "[",
    "]",
    "(",
    ")",
    "a = ",
    "=",
    '"',
    "${",
    "%{",
    "<<A\n",
    "<<-A\n",
    "A\n",
    ",",
    "#",
    "//",
    "/*",
    "*/",
]
PIECES += [
    "jsonencode(",
    "merge(",
    "for ",
    "[for ",
    "? 1 : 2",
    "\\",
    "\\u00e9",
    '"${',
    "a = [",
    "(<<A\n",
    "1",
    "null",
    "a = (",
    '"${"',
]


@pytest.fixture(scope="module", params=["main.tf", "prod.tfvars", "job.hcl"])
def form(request) -> Form:
    def render(pairs):
        styles = (
            '{} = "{}"',
            '{} = "{}" # remark',
            "{} = <<-EOT\n   {}\n  EOT",
            '{} = var.x ? "{}" : null',
            '{} = sensitive("{}")',
        )
        return "\n".join(['provider "x" {', "}", *(styles[n % 5].format(*pair) for n, pair in enumerate(pairs))])

    return Form(request.param, "hcl", render, PIECES)


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('resource "a" "b" {\n c = 1\n d = true\n e = null\n}\nresource "a" "f" {}\n',
         {"resource": {"a": {"b": {"c": 1, "d": True, "e": None}, "f": {}}}}),
        ('data "p" "d" {\n statement {\n  effect = "Allow"\n }\n statement {}\n}\n',
         {"data": {"p": {"d": {"statement": [{"effect": "Allow"}, {}]}}}}),
        ("locals {}\nlocals {\n a = 1\n}\nlocals {}\n", {"locals": [{}, {"a": 1}, {}]}),
        ('a = jsonencode({ b = "c", "d" : [1, "e"], (var.f) = g.h })\n',
         {"a": {"b": "c", "d": [1, "e"], "(var.f)": "g.h"}}),
        ('a = merge(var.t, { b = "c" }, { d = 1 })\n', {"a": {"b": "c", "d": 1}}),
        ('a = sensitive("b")\nc = file("d")\ne = f("g", "h")\n', {"a": "b", "c": 'file("d")', "e": 'f("g", "h")'}),
        ('a = "x-${lookup(var.m, "k${y}")}-$${z}\\"\\u00e9"\n', {"a": 'x-${lookup(var.m, "k${y}")}-$${z}"\u00e9'}),
        ('a = b ? "c" : "d"\ne = "f" == "g"\nh = [1][0]\n', {"a": 'b ? "c" : "d"', "e": '"f" == "g"', "h": "[1][0]"}),
        ("a = [for x in y : x.z]\nb = { for k, v in c : k => v }\n",
         {"a": "[for x in y : x.z]", "b": "{ for k, v in c : k => v }"}),
        ("a = <<EOF\n x\n  y\nEOF\nb = <<-E\n   c\n    d\n  E\n", {"a": " x\n  y", "b": "c\n d"}),
        ('a = <<EOF\n{"Statement": [{"Effect": "Allow"}]}\nEOF\n', {"a": {"Statement": [{"Effect": "Allow"}]}}),
        ("a = 1 /* b */\n# c\n// d\ne = { f : 1\n g = 2 }\nh = 1.10\n", {"a": 1, "e": {"f": 1, "g": 2}, "h": "1.10"}),
        ("a = foo(\n  b,\n  c,\n)\nd = 1\n", {"a": "foo(\n  b,\n  c,\n)", "d": 1}),
    ],
)  # fmt: skip
def test_blocks_and_values_are_as_the_json_syntax_has_them(text, meant):
    document = parse("a.tf", text.encode())
    assert document.problem == ""
    assert plain(document.roots[0]) == meant


def test_lines_are_those_where_values_stand():
    text = (
        b'resource "a" "b" {\n\n c = <<X\nd\ne\nX\n p = jsonencode({\n  S = [{\n   E = "f" }]\n })\n'
        b' j = <<X\n\n{"k":\n"l"}\nX\n}\n'
    )
    body = parse("a.tf", text).roots[0].at("resource", "a", "b")
    assert body.line == 1
    assert [body.at("c").line_of(n) for n in range(2)] == [4, 5]
    assert (body.at("p").line, body.at("p", "S").line, body.at("p", "S").list[0].at("E").line) == (7, 8, 9)
    assert body.at("j", "k").line == 14


@pytest.mark.parametrize("opens", ["[", "{ a = ", "(", "f(", "jsonencode(", '"${'])
def test_nesting_ends_at_the_limit(opens):
    document = parse("a.tf", f"a = 1\nb = {opens * 500}".encode())
    assert document.problem == f"line 2: nested more than {MAX_DEPTH} deep"
    assert document.roots[0].at("a").value == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('a = 1\nb = "c\nd = 2\n', ""),  # an expression of one line, as far as can be told
        ("a = 1\n%%\nd = 2\n", "line 2: a name is missing"),
        ("a = 1\n}\nd = 2\n", "line 2: a bracket closes nothing that is open"),
        ("a = 1\nx {\nd = 2\n", "line 4: the text ends within a block"),
    ],
)
def test_reading_goes_on_behind_what_is_broken(text, problem):
    document = parse("a.tf", text.encode())
    assert document.problem == problem
    assert {"a", "d"} <= {keys[-1] for keys, _ in document.roots[0].scalars()}
