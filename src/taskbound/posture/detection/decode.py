"""Encodings in which secrets lie: base64, hexadecimal, URL and JSON escapes. Only what becomes text counts."""

import re
from base64 import b64decode
from binascii import Error
from binascii import unhexlify as from_hex
from collections.abc import Iterator
from string import ascii_letters, digits
from urllib.parse import unquote_to_bytes

DEEPEST = 3  # encodings within each other
LARGEST = 1 << 20  # bytes of one encoded text that are looked at

_SPACE = re.compile(rb"\s+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{8,}={0,2}")
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]{8,}={0,2}")
_HEX = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2}){8,})")
_URL = re.compile(rb"%[0-9a-fA-F]{2}")
_JSON = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ENCODED = (ascii_letters + digits + "+/-_=\t\n\r\v\f").encode()  # base64 (hexadecimal too), on lines
# What no text begins with in base64 (its first byte would be a control character, or go on with another one), nor in
# hexadecimal: most words.
_NO_BEGINNING = frozenset("GHghijklmnopqrstuv+/-_=")
_OTHER = re.compile(r"[^A-Za-z0-9+/\-_=\t\n\r\v\f]")
_UNSEEN = bytes(set(range(32)) - set(b"\t\n\r")) + b"\x7f"
_SHORT = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def is_text(data: bytes) -> bool:
    """Say whether `data` is UTF-8 without control characters."""
    if len(data) < 4 or len(data.translate(None, _UNSEEN)) != len(data):
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def may_be_encoded(data: bytes) -> bool:
    """Say whether `decodings` could find any: a cheap question that most values of a document answer with no."""
    return b"%" in data or b"\\" in data or not data.translate(None, _ENCODED)


def is_perhaps_encoded(text: str) -> bool:
    """Say the same of a text before it is bytes, or yes."""
    whole = text.strip()
    if len(whole) < 8 and whole.isascii():
        return False
    return "%" in whole or "\\" in whole or (whole[0] not in _NO_BEGINNING and not _OTHER.search(whole))


def from_base64(data: bytes) -> bytes:
    """Return what base64 (standard or URL alphabet, padded or not) stands for; b"" where it is none, or no text."""
    data = data[:LARGEST]
    if b"\n" in data:
        data = _SPACE.sub(b"", data)
    url = not _BASE64.fullmatch(data)
    if (url and not _BASE64URL.fullmatch(data)) or len(data.rstrip(b"=")) % 4 == 1:
        return b""
    try:
        plain = b64decode(data.rstrip(b"=") + b"=" * (-len(data.rstrip(b"=")) % 4), altchars=b"-_" if url else None)
    except Error:
        return b""
    return plain if is_text(plain) else b""


def _json_char(found: "re.Match[bytes]") -> bytes:
    one = found[0][1:]
    if one[:1] != b"u":
        return _SHORT[one]
    return chr(int(one[1:], 16)).encode("utf-8", "replace")


def unescape(data: bytes) -> bytes:
    """Return `data` without JSON's escapes."""
    return _JSON.sub(_json_char, data)


def decodings(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what the whole of `data` may stand for, with the encoding's name. Nothing that is the same again."""
    if len(data) > LARGEST:
        return
    found = _HEX.fullmatch(data)
    if found:
        plain = from_hex(found[1])
        if is_text(plain):
            yield "hex", plain
    elif len(data) >= 8:
        plain = from_base64(data)
        if plain:
            yield "base64", plain
    if _URL.search(data) and is_text(plain := unquote_to_bytes(data)):  # else a percent sign is one
        yield "url", plain
    if _JSON.search(data):
        yield "json", unescape(data)
