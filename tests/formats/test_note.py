"""A signed note is what C2SP signed-note v1.0.0 says (vector of the fact sheet)."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats.note import (
    MalformedNote,
    Signature,
    Unverified,
    make_key,
    parse_key,
    parse_note,
    render_note,
    verify_note,
)

VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
TEXT = "This is an example message.\n"
SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
NOTE = f"{TEXT}\n— example.com/foo {SIGNATURE}\n".encode()

PRIVATE = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
OURS = make_key("abcdef/main", PRIVATE.public_key().public_bytes_raw())


def signed(text: str, name: str = OURS.name, key_id: bytes = OURS.id) -> Signature:
    return Signature(name, key_id, PRIVATE.sign(text.encode()))


def test_the_published_note_verifies():
    assert verify_note(NOTE, [parse_key(VKEY)]) == TEXT


def test_a_key_is_spelled_one_way():
    assert str(parse_key(VKEY)) == VKEY
    assert parse_key(str(OURS)) == OURS
    assert parse_key(VKEY).id.hex() == "530d903a"


@pytest.mark.parametrize(
    "vkey",
    [
        "", "example.com/foo", VKEY.replace("530d", "530e"), VKEY.replace("530d903a", "530D903A"), VKEY[:-1],
        VKEY + "=",
        VKEY.replace("+Ae", "+Ce"), VKEY.replace("foo", "bar"), "+530d903a+" + VKEY.rpartition("+")[2],
        VKEY.replace("example.com/", "example com/"), VKEY + "\n",
        "a+00000000+" + base64.b64encode(b"\x01" + b"k" * 31).decode(),
    ],
)  # fmt: skip
def test_anything_else_is_no_key(vkey):
    with pytest.raises(MalformedNote):
        parse_key(vkey)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n")))
def test_what_is_signed_is_what_is_read(text):
    text += "\n"
    note = render_note(text, [signed(text)])
    assert verify_note(note, [OURS]) == text
    assert parse_note(note) == (text, (signed(text),))


def test_a_text_with_an_empty_line_ends_at_the_last_one():
    text = "a\n\n— abcdef/main AAAA\n\nb\n"
    assert verify_note(render_note(text, [signed(text)]), [OURS]) == text


def test_unknown_keys_are_ignored_and_a_known_bad_one_refuses():
    other = Signature("example.com/other", b"1234", b"whatever")
    many = [other] * 16
    assert verify_note(render_note(TEXT, [*many, signed(TEXT)]), [OURS]) == TEXT
    namesake = Signature(OURS.name, b"1234", b"by another key of that name")
    assert verify_note(render_note(TEXT, [namesake, signed(TEXT)]), [OURS]) == TEXT
    with pytest.raises(Unverified, match="no known key"):
        verify_note(render_note(TEXT, [other, namesake]), [OURS])
    with pytest.raises(Unverified, match="no known key"):
        verify_note(render_note(TEXT, [signed(TEXT)]), [])
    bad = Signature(OURS.name, OURS.id, signed("another text\n").bytes)
    with pytest.raises(Unverified, match="does not verify"):
        verify_note(render_note(TEXT, [bad]), [OURS])
    also = f"\n— example.com/foo {SIGNATURE}\n".encode()
    both = NOTE + render_note(TEXT, [bad]).removeprefix(TEXT.encode() + b"\n")
    assert also in NOTE
    with pytest.raises(Unverified, match="does not verify"):
        verify_note(both, [OURS, parse_key(VKEY)])


@pytest.mark.parametrize(
    "note",
    [
        b"", b"\n", TEXT.encode(), NOTE[:-1], NOTE + b"\n", NOTE + b"x\n", NOTE.replace(b"\n\n", b"\n"),
        NOTE.replace("— ".encode(), b"- "), NOTE.replace("— ".encode(), "—  ".encode()),
        NOTE.replace(b"foo ", b"foo+a "),
        NOTE.replace(b"foo ", "foo\u2003a ".encode()), NOTE.replace(b"message", b"mess\x00age"),
        NOTE.replace(b"message", b"mess\rage"), NOTE.replace(b"message", b"mess\xffage"),
        NOTE.replace(b"aQM=", b"aQM"),
        NOTE.replace(b"aQM=", b"aQN="), NOTE.replace(SIGNATURE.encode(), b"Uw2QOg=="), b"a" * 1_000_001,
        TEXT.encode() + b"\n" + NOTE.partition(b"\n\n")[2] * 101,
    ],
)  # fmt: skip
def test_anything_else_is_no_note(note):
    with pytest.raises(MalformedNote):
        verify_note(note, [parse_key(VKEY)])


def test_every_flipped_byte_of_a_note_is_refused():
    for at in range(len(NOTE)):
        for flip in (0x01, 0x20, 0x80):
            forged = bytearray(NOTE)
            forged[at] ^= flip
            with pytest.raises((MalformedNote, Unverified)):
                verify_note(bytes(forged), [parse_key(VKEY)])


@pytest.mark.parametrize("text", ["", "no newline", "a\x07\n"])
def test_a_text_that_no_reader_would_accept_is_not_rendered(text):
    with pytest.raises(MalformedNote):
        render_note(text, [signed(text)])
