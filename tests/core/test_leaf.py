"""A leaf keeps an event's header for ever, and only a commitment to its body (INTERFACES 9)."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.core.event import Kind
from taskbound.core.leaf import (
    LIMIT,
    Header,
    MalformedLeaf,
    commitment,
    erased_by,
    parse_leaf,
    parse_ranges,
    render_leaf,
    render_ranges,
)
from taskbound.formats import canonical

AT = datetime(2026, 11, 24, 12, 0, 0, 5, tzinfo=UTC)
HEADER = Header(
    "main",
    "task.opened",
    AT,
    "spiffe://example.org/agent/nightly",
    "task",
    "t" + "a" * 20,
    "r" + "b" * 20,
    b"\x01" * 32,
)
LEAF = (
    b'{"at":"2026-11-24T12:00:00.000005Z","body":"' + b"01" * 32 + b'","by":"spiffe://example.org/agent/nightly",'
    b'"id":"taaaaaaaaaaaaaaaaaaaa","index":7,"kind":"task.opened","noun":"task","org":"main",'
    b'"request":"rbbbbbbbbbbbbbbbbbbbb","v":1}'
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HEADERS = st.builds(
    Header, TEXTS, st.sampled_from(sorted(Kind)), st.datetimes(timezones=st.just(UTC)),
    TEXTS, TEXTS, TEXTS, TEXTS, st.binary(min_size=32, max_size=32),
)  # fmt: skip


def test_a_leaf_is_this_text():
    assert render_leaf(HEADER, 7) == LEAF
    assert len(LEAF) < LIMIT


@given(HEADERS, st.integers(0, 2**53 - 1))
def test_a_leaf_gives_back_its_header(header, index):
    assert parse_leaf(render_leaf(header, index)) == (index, header)


@given(HEADERS, st.integers(0, 2**53 - 1))
def test_a_leaf_is_canonical_json(header, index):
    leaf = render_leaf(header, index)
    assert canonical.render(canonical.parse(leaf)) == leaf


def test_a_text_without_utf8_makes_no_leaf():
    with pytest.raises(MalformedLeaf):
        render_leaf(replace(HEADER, id="\ud800"), 7)


def test_a_moment_is_written_in_utc():
    elsewhere = replace(HEADER, at=AT.astimezone(timezone(timedelta(hours=5))))
    assert render_leaf(elsewhere, 7) == LEAF


def test_every_field_changes_the_leaf():
    changes: dict[str, Any] = {
        "org": "other", "kind": "task.ended", "at": AT + timedelta(microseconds=1), "by": "x", "noun": "lease",
        "id": "t", "request": "", "commitment": b"\x02" * 32,
    }  # fmt: skip
    assert set(changes) == set(Header.__slots__)
    leaves = {render_leaf(replace(HEADER, **{name: value}), 7) for name, value in changes.items()}
    assert len(leaves | {LEAF, render_leaf(HEADER, 8)}) == len(changes) + 2


@pytest.mark.parametrize(
    "leaf",
    [
        b"", b"{}", b"[]", b"1", LEAF[:-1], LEAF + b" ", b" " + LEAF, LEAF.replace(b'"v":1', b'"v":2'),
        LEAF.replace(b'"v":1', b'"v":1.0'), LEAF.replace(b'"v":1', b'"v":true'), LEAF.replace(b":7,", b":7.0,"),
        LEAF.replace(b":7,", b':"7",'), LEAF.replace(b":7,", b":true,"), LEAF.replace(b'"01', b'"zz'),
        LEAF.replace(b"000005Z", b"000005"), LEAF.replace(b"000005Z", b"5Z"), LEAF.replace(b'"org":"main",', b""),
        LEAF.replace(b'"v":1', b'"v":1,"w":1'), LEAF.replace(b'"main"', b"null"), LEAF.replace(b"main", b"\xff"),
        LEAF.replace(b'"v":1', b'"v":1,"v":1'), json.dumps(json.loads(LEAF)).encode(),
        LEAF.replace(b'"01', b'"0A'), LEAF.replace(b"2026", b"0000"), LEAF.replace(b'"body":"01', b'"body":" 01'),
    ],
)  # fmt: skip
def test_anything_else_is_no_leaf(leaf):
    with pytest.raises(MalformedLeaf):
        parse_leaf(leaf)


def test_a_commitment_binds_salt_and_body():
    assert commitment(b"s" * 32, b"{}") == hashlib.sha256(b"s" * 32 + b"{}").digest()


@given(st.sets(st.integers(0, 300)))
def test_ranges_give_back_their_indexes(indexes):
    text, named = render_ranges(sorted(indexes), 10_000)
    assert named == len(indexes)
    if indexes:
        assert [index for run in parse_ranges(text) for index in run] == sorted(indexes)


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=400))
def test_ranges_stop_where_the_text_would_be_too_long(indexes):
    text, named = render_ranges(sorted(indexes), 60)
    assert len(text) <= 60
    assert [index for run in parse_ranges(text) for index in run] == sorted(indexes)[:named]


@pytest.mark.parametrize("text", ["", "x", "1,", "-1", "01", "2-1", "1,1", "1-3,2", "3,1", "1 ", "1-", "+1", "١"])
def test_anything_else_is_no_range(text):
    with pytest.raises(MalformedLeaf):
        parse_ranges(text)


def test_only_body_erased_erases():
    erased = replace(HEADER, kind="body.erased", noun="body", id="0-2,5")
    assert erased_by(erased) == [range(3), range(5, 6)]
    assert erased_by(replace(erased, kind="task.opened")) == []
