"""What a token says about itself: GitHub's checksum, a JWT's header, the body of a PEM key, user and password."""

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from taskbound.posture.detection.decode import from_base64

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def github_checksum_holds(token: str) -> bool:
    """Say whether the last six characters of ghp_, gho_, ghu_, ghs_, ghr_ and 36 more are the CRC-32 of those between.

    In base 62, digits first, filled up with zeros (GitHub, "Behind GitHub's new authentication token formats", 2021).
    """
    _, _, rest = token.partition("_")
    number, said = crc32(rest[:-6].encode()), ""
    while number:
        number, digit = divmod(number, 62)
        said = _DIGITS[digit] + said
    return said.rjust(6, "0") == rest[-6:]


def jwt_parts(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and claims of a JWT; a header without `alg`, or what is no JSON, is {} (RFC 7515, 7519)."""
    parts = []
    for text in token.split(".")[:2]:
        try:
            part = json.loads(from_base64(text.encode()) or b"{}")
        except (ValueError, RecursionError):
            part = {}
        parts.append(part if isinstance(part, dict) else {})
    header, claims = parts if len(parts) == 2 else ({}, {})
    return (header, claims) if isinstance(header.get("alg"), str) or "enc" in header else ({}, {})


# What code and remarks put around the lines of a key: escapes, "…" + "…", // at the beginning.
_ENDS = re.compile(r"""\\[nrt]|["'][ \t]*\+|^[ \t]*//[ \t]|[^A-Za-z0-9+/=]""", re.MULTILINE)
_HEADER = re.compile(r"(?:Proc-Type|DEK-Info|Comment|Version|Hash|Charset|MessageID)\s?:[^\n\\]*")


def pem_body(text: str) -> str:
    """Return the base64 of what stands between the lines of a PEM or PGP key, whatever quotes and escapes wrap it.

    "" where it is no key: too short, filled with one pattern, or not of the binary form that its kind has (a DER
    sequence, OpenSSH's magic, an OpenPGP packet).
    """
    body = _ENDS.sub("", _HEADER.sub("", text)).rstrip("=")
    if len(body) < 56 or len(set(body)) < 16:
        return ""
    return (
        body
        if body.startswith(
            ("MC", "MI", "MF", "MG", "MH", "ME", "MD", "b3BlbnNzaC1rZXktdjE", "lQ", "lF", "lI", "xc", "xV", "xY")
        )
        else ""
    )


def is_most_of_key(body: str) -> bool:
    """Say whether at least half of a key stands in a body of PEM whose end is not there.

    DER says its length (X.690, 8.1.3); less than half of an RSA key has no more than its public part. OpenSSH's and
    OpenPGP's keys say nothing: 300 characters are those of the shortest.
    """
    if not body.startswith("M"):
        return len(body) >= 300
    head = b64decode(body[:8])
    size = head[1] if head[1] < 0x80 else int.from_bytes(head[2 : 2 + (head[1] & 3)], "big")
    return len(body) * 3 // 4 * 2 >= size


def password_of_basic(value: str) -> str:
    """Return the password of base64 of "user:password" (RFC 7617); the user where that is all; "" for other text."""
    plain = from_base64(value.encode()).decode()
    user, colon, password = plain.partition(":")
    return (password or user) if colon and not any(one.isspace() for one in plain) else ""
