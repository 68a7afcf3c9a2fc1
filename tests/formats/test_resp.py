"""RESP2: what is written is read, whatever answers is bounded, and no error tells what it says."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats import resp
from taskbound.formats.resp import Address, Garbled, Refusal, Reply, address, command

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values: st.SearchStrategy[Reply] = st.recursive(
    st.none() | st.integers(-(10**17), 10**17) | texts, lambda inner: st.lists(inner, max_size=4), max_leaves=12
)


def read(data: bytes) -> tuple[Reply, bytes]:
    """Return the first reply in some bytes, and what is left of them. Raises EOFError."""
    reading = resp.reply()
    wanted = next(reading)
    while True:
        end = data.find(b"\r\n") + 2 if wanted == resp.LINE else wanted
        if end < 2 or end > len(data):
            raise EOFError
        part, data = data[:end], data[end:]
        try:
            wanted = reading.send(part)
        except StopIteration as done:
            return done.value, data


def written(value: Reply) -> bytes:
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(written, value))
    assert isinstance(value, str)
    return b"$%d\r\n%b\r\n" % (len(value.encode()), value.encode())


@given(values, st.binary(max_size=8))
def test_a_reply_is_read_and_what_comes_after_it_is_left(value: Reply, after: bytes) -> None:
    assert read(written(value) + after) == (value, after)


@given(st.lists(texts, min_size=1, max_size=5))
def test_a_command_is_read_as_it_was_written(words: list[str]) -> None:
    assert read(command(*words)) == (words, b"")


def test_a_name_with_an_end_of_line_in_it_is_one_word() -> None:
    assert command("AUTH", "a\r\nPING\r\n") == b"*2\r\n$4\r\nAUTH\r\n$9\r\na\r\nPING\r\n\r\n"


def test_an_error_is_known_by_its_first_word_and_shows_no_more() -> None:
    said, _ = read(b"-ERR unknown command, with args beginning with: 'app' 's3cret'\r\n")
    assert isinstance(said, Refusal) and said.code == "ERR" and "s3cret" not in repr(said)


def hostile() -> Iterator[bytes]:
    yield from (
        b"\r\n",
        b"x\r\n",
        b":\r\n",
        b":1e9\r\n",
        b":-\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"$ 1\r\n",
        b":\xd9\xa1\r\n",
    )
    yield b"$%d\r\n" % (resp.LARGEST + 1)
    yield b"*%d\r\n" % (resp.MOST + 1)
    yield b"*1\r\n" * (resp.DEEPEST + 1) + b":1\r\n"
    yield b"*2\r\n" + b"$%d\r\n%b\r\n" % (resp.LARGEST // 2, b"x" * (resp.LARGEST // 2)) * 2
    yield b":" + b"1" * 30 + b"\r\n"


@pytest.mark.parametrize("data", list(hostile()))
def test_what_is_no_reply_or_too_much_of_one_is_refused_before_it_is_kept(data: bytes) -> None:
    with pytest.raises(Garbled):
        read(data)


def test_many_values_in_lists_within_lists_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskbound.formats.resp.MOST", 10)
    with pytest.raises(Garbled):
        read(b"*2\r\n" + b"*5\r\n" + b":1\r\n" * 5 + b"*5\r\n" + b":1\r\n" * 5)


def test_many_lines_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskbound.formats.resp.LARGEST", 100)
    with pytest.raises(Garbled, match="more than a reply"):
        read(b"*9\r\n" + b"+xxxxxxxxxxxxxxx\r\n" * 9)


@given(st.binary(max_size=64))
def test_whatever_comes_is_a_reply_or_none(data: bytes) -> None:
    try:
        read(data)
    except (Garbled, EOFError):
        return


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://h", Address("h", 6379, "default", "")),
        ("redis://:p%40ss@h:7", Address("h", 7, "default", "p@ss")),
        ("rediss://app:p@h.example/2", Address("h.example", 6379, "app", "p", True)),
    ],
)
def test_an_address_is_read(url: str, read: Address) -> None:
    assert address(url) == read and (not read.password or f"'{read.password}'" not in repr(read))


@pytest.mark.parametrize("url", ["http://h", "redis:h", "redis://h:p4ss", "redis://[::1", "", "redis://h:99999"])
def test_what_is_no_address_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        address(url)
    assert str(refused.value) == "no address of a Redis server" and refused.value.__cause__ is None
