"""Server-sent events: read wherever the bytes are split, and never at any cost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats.sse import EventReader, TooLarge, encode_event

objects = st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text(), max_size=3), max_size=4)


def events_of(*parts, limit=1_000):
    reader = EventReader(limit)
    return [event for part in parts for event in reader.feed(part)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b": comment\n\ndata: a\n\n", [b"a"]),
        (b"event: message\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data\n\n", []),
        (b"data:\nid: 1\n\n", []),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"datax: a\n\nDATA: b\n\n", []),
        (b"data: \xff\n\n", [b"\xff"]),
    ],
)
def test_events_are_read_wherever_the_bytes_are_split(stream, events):
    assert events_of(stream) == events
    assert events_of(*(bytes([one]) for one in stream)) == events
    for at in range(len(stream)):
        assert events_of(stream[:at], stream[at:]) == events


@given(st.lists(objects, max_size=4), st.integers(1, 17))
def test_what_is_sent_as_events_is_read_as_events(messages, size):
    stream = b"".join(encode_event(json.dumps(one, ensure_ascii=False).encode()) for one in messages)
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [json.loads(event) for event in events_of(*parts, limit=1 << 20)] == messages


@pytest.mark.parametrize(
    "part", [b"x" * 101, b"data: " + b"x" * 101, b"data: " + b"x" * 101 + b"\n", b"data: x\n" * 20, b"data\n" * 20]
)
def test_an_event_that_is_too_large_is_not_read(part):
    with pytest.raises(TooLarge):
        events_of(part, limit=100)
    with pytest.raises(TooLarge):
        events_of(*(bytes([one]) for one in part), limit=100)


def test_many_small_events_are_no_large_one():
    assert len(events_of(*[b"data: " + b"x" * 50 + b"\n\n"] * 100, limit=100)) == 100
