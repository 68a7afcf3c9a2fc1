"""YAML and what is made to it: CloudFormation's tags, templates of Helm, aliases (taskbound.posture.parsers.yaml)."""

import pytest

from taskbound.posture.parsers import parse
from taskbound.posture.parsers.tree import MAX_NODES
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "a: ",
    "- ",
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    '"',
    "|\n",
    ">-\n",
    "!Ref ",
    "\t",
]
PIECES += [
    "{{",
    "}}",
    "{{ x }}",
    "{%",
    "%}",
    "? ",
    ": ",
    "#",
    "%YAML",
    "!!str ",
    "!a!b ",
    "a: {{ x }}\n",
    "{{ x }}\n",
    "- &a\n",
]
PIECES += ["{a: ", "[[", "a,", "\\x", "- - ", "a: *a\n", "{{-", "{#"]


@pytest.fixture(scope="module")
def form() -> Form:
    def render(pairs):
        styles = ("{}: {}", '{}: "{}" # remark', "{}: '{}'", "{}: !vault |\n  {}", "{}: >-\n  {}")
        return "\n".join(["on:", "  push: x", "---", *(styles[n % 5].format(*pair) for n, pair in enumerate(pairs))])

    return Form(".github/workflows/a.yml", "yaml", render, PIECES)


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


def values(text: str) -> list[object]:
    document = parse("a.yaml", text.encode())
    assert document.problem == ""
    return [plain(root) for root in document.roots]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("on: {push: yes}\n", {"on": {"push": "yes"}}),
        ("a: true\nb: ~\nc:\nd: 12\ne: 1.5\nf: 1.10\ng: 010\nh: '12'\ni: 2026-01-01\n",
         {"a": True, "b": None, "c": None, "d": 12, "e": 1.5, "f": "1.10", "g": "010", "h": "12", "i": "2026-01-01"}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, d: 2}\nc:\n  <<: *x\n  d: 3\n", {"a": {"b": 1, "d": 2}, "c": {"d": 3, "b": 1}}),
        ("a: &x {b: 1}\ne: &y {f: 2}\nc:\n  <<: [*x, *y]\n",
         {"a": {"b": 1}, "e": {"f": 2}, "c": {"b": 1, "f": 2}}),
        ("a: 1\na: 2\n", {"a (line 1)": 1, "a": 2}),
        ("a: !Ref Password\nb: !Sub '${A}'\nc: !Join ['', [x, !GetAtt d.e]]\n",
         {"a": {"Ref": "Password"}, "b": {"Fn::Sub": "${A}"}, "c": {"Fn::Join": ["", ["x", {"Fn::GetAtt": "d.e"}]]}}),
        ("a: !reference [.b, script]\nc: !vault |\n  x\n  y\n", {"a": [".b", "script"], "c": "x\ny\n"}),
        ("a: {{ .Values.x }}\nb: \"{{ .y | default \"z\" }}\"\n",
         {"a": "{{ .Values.x }}", "b": '{{ .y | default "z" }}'}),
        ("{{- if .x }}\na: 1\n{{- else }}\na: 2\n{{- end }}\n", {"a (line 2)": 1, "a": 2}),
        ("a: ${{ secrets.X }}\nrun: |\n  {{ y }}\n  z\n", {"a": "${{ secrets.X }}", "run": "{{ y }}\nz\n"}),
        ("a:\n{{ toYaml .b | indent 2 }}\nc: {{ d }}-{{ e }}\n", {"a": None, "c": "{{ d }}-{{ e }}"}),
        ("a: \"x\x01y\"\nb: c\x85d\n", {"a": "x\ufffdy", "b": "c\ufffdd"}),
    ],
)  # fmt: skip
def test_what_stands_there_is_read_as_its_tool_means_it(text, meant):
    assert values(text) == [meant]


def test_a_text_of_many_lines_knows_each():
    root = parse("a.yaml", b"a: |  # remark\n\n  x\n  y\nb: 'c\n  d'\ne: \"f\\ng\"\nh: >\n  i\n  j\n").roots[0]
    assert [root.at("a").line_of(n) for n in range(3)] == [2, 3, 4]
    assert [root.at(key).line_of(0) for key in "beh"] == [5, 7, 9]
    assert root.at("e").line_of(1) == 7


def test_lines_stay_right_behind_actions_of_many_lines():
    root = parse("a.yaml", b"{{/* a\n b\n*/}}\na: {{ x }}\n{{ if b\n}}\nb: y\n").roots[0]
    assert (root.at("a").line, root.at("b").line) == (4, 7)


def test_reading_goes_on_behind_a_document_that_is_broken():
    document = parse("a.yaml", b"a: 1\n---\nb: 2\nc: [\n---\nd: 4\n---\n\te\n---\nf: 6\n")
    assert document.problem.startswith("line 5: ")
    assert [plain(root) for root in document.roots] == [{"a": 1}, {"b": 2, "c": []}, {"d": 4}, {"f": 6}]
    assert document.roots[-1].at("f").line == 10


@pytest.mark.parametrize("alias", ["*a", "{x: *a}", "[*b]"])
def test_an_alias_of_nothing_or_of_itself_is_null(alias):
    document = parse("a.yaml", f"k: &a\n  l: {alias}\n".encode())
    assert document.problem == "line 2: an alias of nothing, or of what it stands in"


def test_aliases_cost_what_they_stand_for():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 20):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    document = parse("a.yaml", bomb.encode())
    assert document.problem == f"line 6: more than {MAX_NODES} values"
    assert sum(1 for _ in document.roots[0].scalars()) <= MAX_NODES


def test_aliases_nest_no_deeper_than_anything_else():
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    document = parse("a.yaml", chain.encode())
    assert "deep" in document.problem
    assert max(len(keys) for keys, _ in document.roots[0].scalars()) <= 66


def test_keys_within_keys_are_bounded_in_depth():
    document = parse("a.yaml", b"{" * 1_000 + b"}" * 1_000)
    assert document.problem == "line 1: nested more than 64 deep"
