"""Comma-separated values (taskbound.posture.parsers.csv)."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form


@pytest.fixture(scope="module")
def form() -> Form:
    def render(pairs):
        return "\n".join(["name,value,note", *(f'{name},{marker},"a ""b""\nc"' for name, marker in pairs)])

    return Form(
        "keys.csv",
        "csv",
        render,
        [",", ";", "\t", '"', '""', "\n", "a", '"a\n', "a,b\n", '"a"b,', ',"'],
        has_names=False,
    )


CELLS = st.text(st.sampled_from('ab",\n ;é'), max_size=5).map(str.strip)


@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5))
def test_cells_are_those_that_were_written(rows):
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["x", "y", "z"], *rows])
    document = parse("a.csv", written.getvalue().encode())
    assert document.problem == ""
    assert [[cell.value for cell in row.items.values()] for row in document.roots[0].list] == rows


@pytest.mark.parametrize(
    ("path", "text", "meant"),
    [
        ("a.csv", "a;b\n1,5;2\n", [{"a": "1,5", "b": "2"}]),
        ("a.tsv", "a\tb\n\n1\t\n", [{"a": "1", "b": ""}]),
        ("a.csv", "a,,a\n1,2,3,4\n5\n", [{"a (line 2)": "1", "column 2": "2", "a": "3", "column 4": "4"}, {"a": "5"}]),
        ("a.csv", 'a,b\n"1"x, "2"\n', [{"a": "1", "b": "2"}]),
    ],
)
def test_rows_are_mappings_by_the_header(path, text, meant):
    rows = parse(path, text.encode()).roots[0].list
    assert [{name: cell.value for name, cell in row.items.items()} for row in rows] == meant


def test_lines_stay_right_behind_cells_of_many_lines():
    rows = parse("a.csv", b'a,b,c\n1,"x\ny\nz",2\n3,4,5\n').roots[0].list
    assert [(row.line, row.at("b").line_of(2), row.at("c").line) for row in rows] == [(2, 4, 4), (5, 5, 5)]


def test_a_quote_that_does_not_end_is_told_and_swallows_nothing():
    document = parse("a.csv", b'a,b\n1,"x\n2,y\n')
    assert document.problem == "line 2: a quote does not end"
    assert [row.at("a").value for row in document.roots[0].list] == ["1", "2"]


@pytest.mark.parametrize(
    ("above", "sign"),
    [
        ("Tokens of the shop (2 May 2031);;;\n", ";"),
        ("Tokens of the shop\n", ";"),
        ("Tokens of the shop\n\nfor the audit of May\n", ","),
        ('"Tokens of the shop",,,\n,,,\n', ","),
        ("sep=;\n", ";"),
        ("SEP=\t\n", "\t"),
        ('"sep=|"\n', "|"),
    ],
)
def test_what_stands_above_the_header_is_no_row(above: str, sign: str) -> None:
    rows = sign.join(("Name", "Owner", "Last used", "Note")), sign.join(("mirror", "rv", "2 May", "a, b"))
    if sign == ",":
        rows = rows[0], 'mirror,rv,2 May,"a, b"'
    document = parse("a.csv", (above + "\n".join(rows) + "\n").encode())
    [row] = document.roots[0].list
    assert {name: one.text for name, one in row.items.items()} == {
        "Name": "mirror",
        "Owner": "rv",
        "Last used": "2 May",
        "Note": "a, b",
    }
    assert row.line == above.count("\n") + 2


@pytest.mark.parametrize(
    "text",
    [
        "Last used,,\nmirror,rv,2031-05-02\n",  # a day is no column's name
        "Token name\nmirror\nloader\n",  # one column
        "Token name;Made by;Role\nmirror;a, b, c, d;x\n",  # commas of a text
        "Token name\nmirror, as of May\n",  # two words of a remark
        "token=a b\nx,y,z\n",
        "name,,\nalpha,beta,gamma\n",  # one word is a name
    ],
)
def test_a_header_that_looks_odd_stays_one(text: str) -> None:
    names = list(parse("a.csv", text.encode()).roots[0].list[0].items)
    assert names[0] in text.partition("\n")[0]
