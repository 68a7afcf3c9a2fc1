"""The search finds each of 30 planted leaks, and nothing where nothing was planted."""

import base64
import hashlib
import json
import random
import secrets as randomness
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tests.secrets.sweep import leaks, needles, spellings

HANDLE = b"tbh_" + base64.urlsafe_b64encode(bytes(range(7, 39))).rstrip(b"=")
AWKWARD = b'pass/word+with "quotes" & \\ %41 =?'
PEM = b"MC4CAQAwBQYDK2VwBCIEIJ+/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
KEY = bytes(range(128, 160))
SECRETS = {"handle": HANDLE, "awkward": AWKWARD, "pem": PEM, "key": KEY}


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(at: int, between: bytes) -> Callable[[bytes], bytes]:
    return lambda secret: secret[:at] + between + secret[at:]


def around(before: bytes, write: Callable[[bytes], bytes], after: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda secret: write(before + secret + after)


def as_text(write: Callable[[str], str]) -> Callable[[bytes], bytes]:
    return lambda secret: write(secret.decode("latin-1")).encode("latin-1")


def escaped(secret: bytes) -> bytes:
    return "".join(f"\\u{byte:04x}" for byte in secret).encode()


PLANTED = {
    "raw":                            (HANDLE, bytes),
    "raw, any bytes":                 (KEY, bytes),
    "in a header":                    (HANDLE, lambda s: b"Authorization: Bearer " + s + b"\r\n"),
    "in a URL":                       (AWKWARD, as_text(lambda s: f"postgresql://u:{quote(s, safe='')}@h/d")),
    "in a form":                      (HANDLE, as_text(lambda s: f"token={quote_plus(s)}&x=1")),
    "a URL that leaves slashes":      (PEM, as_text(lambda s: f"https://h/{quote(s)}")),
    "percent, all of it":             (HANDLE, lambda s: b"".join(b"%%%02X" % byte for byte in s)),
    "percent, lower":                 (HANDLE, lambda s: b"".join(b"%%%02x" % byte for byte in s)),
    "in JSON":                        (AWKWARD, as_text(lambda s: json.dumps({"password": s}))),
    "in JSON, slashes escaped":       (PEM, as_text(lambda s: json.dumps(s).replace("/", "\\/"))),
    "in JSON, all escaped":           (HANDLE, escaped),
    "in JSON in JSON":                (HANDLE, as_text(lambda s: json.dumps(json.dumps({"h": s})))),
    "in an exception":                (AWKWARD, lambda s: repr(ValueError(s)).encode()),
    "base64":                         (HANDLE, base64.b64encode),
    "base64 after one byte":          (HANDLE, around(b"x", base64.b64encode, b"!")),
    "base64 after two bytes":         (HANDLE, around(b"xy", base64.b64encode, b"??")),
    "basic authentication":           (AWKWARD, around(b"taskbound_broker:", base64.b64encode)),
    "base64url":                      (KEY, base64.urlsafe_b64encode),
    "base64url, cut from a JWT":      (KEY, around(b'{"k":"', base64.urlsafe_b64encode, b'"}')),
    "base64 over two lines":          (PEM + PEM[::-1], base64.encodebytes),
    "hex":                            (KEY, lambda s: s.hex().encode()),
    "HEX":                            (HANDLE, lambda s: s.hex().upper().encode()),
    "hex dump of a column":           (AWKWARD, lambda s: b"\\x" + s.hex().encode()),
    "reversed":                       (HANDLE, lambda s: s[::-1]),
    "UTF-16":                         (HANDLE, lambda s: s.decode().encode("utf-16")),
    "its first half, then dots":      (HANDLE, lambda s: s[: len(s) // 2] + b"..."),
    "its last half":                  (HANDLE, lambda s: b"..." + s[len(s) // 2 :]),
    "all but the last six":           (AWKWARD, lambda s: s[:-6]),
    "over two pages of a database":   (HANDLE, cut(9, noise(700))),
    "over two lines of a log":        (HANDLE, cut(31, b"\n2026-11-26 LOG:  ")),
}  # fmt: skip


def test_there_are_thirty() -> None:
    assert len(PLANTED) == 30


@pytest.mark.parametrize("way", PLANTED)
def test_what_is_planted_is_found_wherever_it_lies(way):
    secret, write = PLANTED[way]
    planted = write(secret)
    for before in (0, 1, 4095, 70_000):
        place = noise(before) + planted + noise(500, 2)
        found = leaks({"it": secret, "another": randomness.token_bytes(32)}, [("clean", noise(9000)), ("here", place)])
        assert {(one.secret, one.place) for one in found} == {("it", "here")}, way
        assert all(before <= one.at < before + len(planted) for one in found)
        assert all(secret not in str(one).encode("latin-1", "replace") for one in found), "it says it again"


def test_nothing_is_found_in_what_is_clean():
    """Noise, text about the secrets, and what is made of them by a one-way function or a cipher."""
    words = b" ".join(json.dumps({"handle": "tbh_", "password": "***", "n": n}).encode() for n in range(5_000))
    letters = base64.b64encode(noise(1 << 17, 3)) + noise(1 << 17, 4).hex().encode() + noise(1 << 18, 5)
    digests = b"".join(hashlib.sha256(secret).hexdigest().encode() for secret in SECRETS.values())
    packed = zlib.compress(b"".join(SECRETS.values()))
    shown = b"".join(secret[: len(secret) // 2 - 3] for secret in SECRETS.values())  # less than a half
    places = {"words": words, "letters": letters, "digests": digests, "packed": packed[:20], "shown": shown}
    assert leaks(SECRETS, places.items()) == []
    fresh = {f"fresh {n}": randomness.token_bytes(32) for n in range(10)}
    assert leaks(fresh, places.items()) == []


def test_control_whole_a_cut_secret_is_missed():
    secret, write = PLANTED["over two pages of a database"]
    assert all(spelled not in write(secret) for _, spelled in spellings(secret))


def test_a_secret_that_chance_could_write_is_refused():
    with pytest.raises(ValueError, match="15 bytes, expected 16 or more"):
        needles(b"x" * 15)
    assert all(len(piece) >= 8 for piece in needles(b"0123456789abcdef"))
