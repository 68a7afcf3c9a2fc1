"""The contract of a parser (taskbound.posture.parsers). Every format passes every test here.

A module that runs it imports `*` and gives the fixture `form`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskbound.posture.document import Document
from taskbound.posture.parsers import parse
from taskbound.posture.parsers.tree import MAX_BYTES, MAX_DEPTH, MAX_LINES, MAX_NODES
from tests.profile import trials

Pair = tuple[str, str]


@dataclass(frozen=True)
class Form:
    """A format: how pairs of a name and a marker are written in it, one below the other, and what it is made of."""

    path: str
    format: str
    render: Callable[[Sequence[Pair]], str]
    pieces: Sequence[str]  # signs and words that mean something in this format, for making hostile texts of
    has_names: bool = True  # whether the name is the last key that leads to its marker


@dataclass(frozen=True)
class Seen:
    """A marker that was found."""

    name: str
    line: int


# Markers stand apart from anything else, between lines that push them down.
PAIRS = st.lists(st.sampled_from("abcdefgh"), max_size=6, unique=True).map(
    lambda names: [(f"key_{name}", f"MARKER{place}X") for place, name in enumerate(names)]
)
BREAKS = st.lists(st.integers(0, 3), min_size=8, max_size=8)


def planted(document: Document) -> dict[str, Seen]:
    """Return the markers found in a document, with the last key and the line of each."""
    return {
        text: Seen(keys[-1] if keys else "", node.line_of(within))
        for root in document.roots
        for keys, node in root.scalars()
        for within, one in enumerate(node.text.split("\n"))
        for text in [one[one.find("MARKER") :].partition("X")[0] + "X"]
        if "MARKER" in one
    }


def spread(form: Form, pairs: Sequence[Pair], breaks: Sequence[int]) -> str:
    """Return the text with empty lines between its lines; where a text of many lines has them, it is longer."""
    lines = form.render(pairs).split("\n")
    return "".join(f"{line}\n" + "\n" * breaks[place % len(breaks)] for place, line in enumerate(lines))


def expected(text: str) -> dict[str, int]:
    """Return the line of every marker in a text."""
    return {
        one[one.find("MARKER") :].partition("X")[0] + "X": line
        for line, one in enumerate(text.split("\n"), 1)
        if "MARKER" in one
    }


@given(pairs=PAIRS, breaks=BREAKS)
def test_every_value_is_found_under_its_name_on_its_line(form, pairs, breaks):
    text = spread(form, pairs, breaks)
    document = parse(form.path, text.encode())
    assert (document.path, document.problem) == (form.path, "")
    assert document.format == form.format
    seen = planted(document)
    assert {marker: one.line for marker, one in seen.items()} == expected(text)
    if form.has_names:
        assert {marker: one.name for marker, one in seen.items()} == {marker: name for name, marker in pairs}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le+", "utf-16-be+", "crlf"])
def test_marks_of_an_encoding_and_ends_of_lines_change_nothing(form, encoding):
    text = spread(form, [(f"key_{name}", f"MARKER{place}X") for place, name in enumerate("abcdefgh")], [1, 0, 2])
    whole = parse(form.path, text.encode())
    if encoding == "crlf":
        data = text.replace("\n", "\r\n").encode()
    elif encoding.endswith("+"):
        data = f"\ufeff{text}".encode(encoding[:-1])
    else:
        data = text.encode(encoding)
    assert planted(whole)
    assert parse(form.path, data) == whole


def test_what_is_no_utf_8_is_read_as_latin_1(form):
    text = form.render([("key_a", "MARKER0X"), ("key_b", "MARKER1X\xe9")])
    document = parse(form.path, text.encode("latin-1"))
    assert document.problem == ""
    assert any("MARKER1X\xe9" in node.text for root in document.roots for _, node in root.scalars())


def test_what_was_read_before_the_end_of_a_broken_text_stays(form):
    pairs = [(f"key_{name}", f"MARKER{place}X") for place, name in enumerate("abcdefgh")]
    text = form.render(pairs)
    lines = expected(text)
    for cut in range(len(text)):
        part = text[:cut]
        seen = {marker: one.line for marker, one in planted(parse(form.path, part.encode())).items()}
        # Of the line on which it breaks off, and of a value that the break runs into, nothing is promised.
        whole = {marker: line for marker, line in lines.items() if line < part.count("\n")}
        assert whole.items() <= seen.items(), part[-40:]


@given(data=st.binary(max_size=300))
@settings(max_examples=trials(1000, 100))
def test_no_bytes_raise(form, data):
    check(parse(form.path, data))


@given(data=st.data())
@settings(max_examples=trials(3000, 300), deadline=1000)
def test_no_text_of_what_means_something_raises(form, data):
    pieces = st.sampled_from([*form.pieces, "\n", " ", "x", "MARKER0X", "\ud7ff", "\\ud800", "\x85", "\u2028", "\0"])
    text = "".join(data.draw(st.lists(pieces, max_size=40)))
    document = parse(form.path, text.encode())
    check(document)
    assert "MARKER" not in document.problem  # what stands there may be a credential
    last = text.count("\n") + 1
    for root in document.roots:
        for _, node in root.scalars():
            assert 1 <= node.line <= last and node.last <= last
            node.text.encode()  # also what comes later can write it


@pytest.mark.parametrize("times", [trials(100_000, 20_000)])
def test_what_is_repeated_without_end_takes_bounded_time(form, times):
    """Whatever stands there thousands of times; what grows with the square takes ten times as long on any machine."""
    for piece in form.pieces:
        text = piece * (times // len(piece))
        begin = time.process_time()
        document = parse(form.path, text.encode())
        check(document)
        assert time.process_time() - begin < times / 2_000, piece


@pytest.mark.parametrize("filling", [b"\n", b"x" * 1023 + b"\n"], ids=["lines", "bytes"])
def test_no_more_is_read_than_the_limits_say(form, filling):
    beginning = form.render([("key_a", "MARKER0X")]).encode() + b"\n"
    end = form.render([("key_b", "MARKER1X")]).encode() + b"\n" + filling
    document = parse(form.path, beginning + filling * (MAX_BYTES // len(filling) + 1) + end)
    assert document.problem == f"no more than {MAX_BYTES >> 20} MiB and {MAX_LINES} lines were read"
    assert set(planted(document)) == {"MARKER0X"}


def check(document: Document) -> None:
    """What holds for every document; walking it is bounded."""
    count = 0
    for root in document.roots:
        for keys, _ in root.scalars():
            count += 1
            assert len(keys) <= MAX_DEPTH + 3
    assert count <= MAX_NODES + 1
