"""Signed notes (C2SP signed-note v1.0.0): a text, and lines below it by which known keys vouch for it.

    <text, ending in a newline>
    <empty line>
    — <key name> <base64(4-byte key id || signature)>

A signature covers the text with its final newline, not the empty line. A reader ignores keys it
does not know, refuses a note that no known key signed, and refuses one that a known key signed
badly. Keys are Ed25519 (type 0x01), spelled `<name>+<key id>+<base64(type || public key)>`.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = b"\x01"
MAX_NOTE = 1_000_000  # bytes; Go's reader has the same limit
MAX_SIGNATURES = 100  # at least 16 must be accepted
_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY = re.compile(r"([^+]*)\+([0-9a-f]{8})\+(.*)")


class MalformedNote(ValueError):
    """The bytes are no note, key or checkpoint; says which rule they break."""


class Unverified(ValueError):
    """The note is well formed, and not vouched for by a known key."""


class VerifierKey(NamedTuple):
    """Whose signatures are believed."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256(name || 0x0A || type || public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"


class Signature(NamedTuple):
    """One line below the text."""

    name: str
    key_id: bytes
    bytes: bytes


def make_key(name: str, public: bytes) -> VerifierKey:
    """Return the key of that name. Raises MalformedNote."""
    if not _is_name(name):
        raise MalformedNote("a key's name is not empty and has no space and no +")
    if len(public) != 32:
        raise MalformedNote(f"an Ed25519 key has 32 bytes, this one has {len(public)}")
    return VerifierKey(name, public)


def parse_key(text: str) -> VerifierKey:
    """Return the key that a vkey spells. Raises MalformedNote."""
    spelled = _KEY.fullmatch(text)
    if not spelled:
        raise MalformedNote("a key is spelled <name>+<8 hexadecimal digits>+<base64>")
    coded = unbase64(spelled[3])
    if coded[:1] != ED25519:
        raise MalformedNote("the key's type is not Ed25519")
    key = make_key(spelled[1], coded[1:])
    if key.id.hex() != spelled[2]:
        raise MalformedNote(f"the key's id is {key.id.hex()}, the text says {spelled[2]}")
    return key


def render_note(text: str, signatures: Iterable[Signature]) -> bytes:
    """Return the note. Raises MalformedNote for a text or names that no reader would accept."""
    lines = [f"{_DASH}{name} {base64.b64encode(key_id + signed).decode()}\n" for name, key_id, signed in signatures]
    note = f"{text}\n{''.join(lines)}".encode()
    if parse_note(note)[0] != text:
        raise MalformedNote("the text reads as another one")
    return note


def parse_note(note: bytes) -> tuple[str, tuple[Signature, ...]]:
    """Return the text and the signatures of a note, none of them verified. Raises MalformedNote."""
    if len(note) > MAX_NOTE:
        raise MalformedNote(f"the note has {len(note)} bytes, at most {MAX_NOTE} are read")
    try:
        decoded = note.decode()
    except UnicodeDecodeError:
        raise MalformedNote("the note is not UTF-8") from None
    if _CONTROL.search(decoded):
        raise MalformedNote("the note has a control character")
    text, gap, below = decoded.rpartition("\n\n")
    if not gap or not below.endswith("\n"):
        raise MalformedNote("the note has no line of signatures, or ends within one")
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedNote(f"the note has {len(lines)} signatures, at most {MAX_SIGNATURES} are read")
    return text + "\n", tuple(map(_signature, lines))


def verify_note(note: bytes, keys: Iterable[VerifierKey]) -> str:
    """Return the text of a note that a known key signed. Raises MalformedNote, Unverified."""
    known = {(key.name, key.id): key for key in keys}
    text, signatures = parse_note(note)
    verified: set[tuple[str, bytes]] = set()
    for signature in signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or (key.name, key.id) in verified:
            continue
        if not verifies(key, text.encode(), signature.bytes):
            raise Unverified(f"the signature of {key.name} does not verify")
        verified.add((key.name, key.id))
    if not verified:
        raise Unverified("no known key signed the note")
    return text


def verifies(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    """Whether this is the key's signature of the message."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def unbase64(text: str) -> bytes:
    """Return what standard, padded base64 spells, if it is spelled the one right way. Raises MalformedNote."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if base64.b64encode(decoded).decode() != text:  # the last character may have bits that decode to nothing
        raise MalformedNote("not standard base64")
    return decoded


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)


def _signature(line: str) -> Signature:
    name, space, coded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not _is_name(name):
        raise MalformedNote("a signature is spelled — <key name> <base64>")
    decoded = unbase64(coded)
    if len(decoded) < 5:
        raise MalformedNote("a signature is longer than its key's id")
    return Signature(name, decoded[:4], decoded[4:])
