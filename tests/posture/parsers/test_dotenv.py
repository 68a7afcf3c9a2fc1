"""Environment files (taskbound.posture.parsers.dotenv)."""

import pytest

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = ["A=", "export ", '"', "'", "`", "\\", "\\n", "#", " #", "=", ":", ": ", "${B}", "\n", '="', "='", "A=1\n"]


@pytest.fixture(scope="module", params=[".env", "prod.env", ".env.local", "app.env.example"])
def form(request) -> Form:
    def render(pairs):
        styles = ("{}={}", 'export {}="{}" # remark', "{} = '{}'", "{}={} # remark", '{}="x\ny {}"')
        return "\n".join(["# remark", *(styles[n % 5].format(*pair) for n, pair in enumerate(pairs))])

    return Form(request.param, "dotenv", render, PIECES)


def test_what_stands_there_is_read_as_a_shell_means_it():
    text = 'A=1\nexport B=\'x # y\' # z\nC="l\\nm\\"${D}"\nE=\nF=#\nG=a#b #c\nH: i\nJ="k\nL=m\nA=2\nN="o" p\nQ=1.10\n'
    document = parse(".env", text.encode())
    assert document.problem == ""
    assert {name: node.value for name, node in document.roots[0].items.items()} == {
        "A (line 1)": "1", "B": "x # y", "C": 'l\nm"${D}', "E": "", "F": "", "G": "a#b", "H": "i", "J": '"k', "L": "m",
        "A": "2", "N": '"o" p', "Q": "1.10",
    }  # fmt: skip


def test_a_text_of_many_lines_knows_each_and_an_escaped_end_is_none():
    root = parse(".env", b'KEY="-----BEGIN\nx\n-----END"\nB="c\\nd"\n').roots[0]
    assert [root.at("KEY").line_of(n) for n in range(3)] == [1, 2, 3]
    assert [root.at("B").line_of(n) for n in range(2)] == [4, 4]


def test_a_line_that_sets_nothing_is_told():
    document = parse(".env", b"A=1\nnonsense here\nB=2\n")
    assert (document.problem, list(document.roots[0].items)) == ("line 2: no NAME=value", ["A", "B"])
