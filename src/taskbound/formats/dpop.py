"""DPoP: a proof, for one request, that who sends it has the key (RFC 9449).

`verify_proof` makes the checks of section 4.3 that need neither a clock nor a memory; whether the proof is
fresh and its first use is for who has both. ES256 alone is taken, and what we say we take (`algs`). The
address is compared in its normal form (RFC 3986 6.2.2, 6.2.3) with what the listener knows of itself; what
`Host` says has no part in it. A nonce is not asked for: the window is short, and each proof works once.
"""

import hashlib
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from taskbound.formats.jose import (
    MalformedToken,
    encode,
    point_of,
    read_compact,
    require_signature,
    second_of,
    text_of,
    thumbprint,
)

WINDOW = 60  # seconds after its `iat` in which a proof works, once
AHEAD = 10  # seconds that the sender's clock may go before ours
MAX_ID = 256  # characters of a jti
_PORTS = {"http": 80, "https": 443}
_URI = re.compile(r"([A-Za-z]+)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{0,5}))?(/[^?#\s\\]*)?", re.ASCII)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


class Address(NamedTuple):
    """Where a request came in, as the listener knows it."""

    scheme: str
    names: Collection[str]  # of the host; "*.example.org" is any one label before .example.org (RFC 9525 6.3)
    port: int
    path: str  # as it was sent, without the query


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof whose signature holds, for this request."""

    jkt: str  # thumbprint of the key (RFC 7638)
    id: str  # its jti: an id of this key alone
    issued: int  # seconds since 1970, by the sender's clock


def verify_proof(text: str, *, method: str, address: Address, token: str | None) -> Proof:
    """Return the proof that was sent with a request, and with an access token or without one. Raises MalformedToken."""
    sent = read_compact(text, "dpop+jwt", frozenset({"jwk", "kid"}))
    public = point_of(sent.header.get("jwk"))
    require_signature(sent, public)
    claims = sent.payload
    proof = Proof(thumbprint(public), text_of(claims, "jti"), second_of(claims, "iat"))
    if len(proof.id) > MAX_ID:
        raise MalformedToken(f"jti has more than {MAX_ID} characters")
    if text_of(claims, "htm") != method:
        raise MalformedToken("htm is another method")
    if not is_at(text_of(claims, "htu"), address):
        raise MalformedToken("htu is another address")
    if claims.get("ath") != (None if token is None else hash_of(token)):
        raise MalformedToken("ath is of another token")
    return proof


def hash_of(token: str) -> str:
    """Return the `ath` of an access token (RFC 9449 4.2)."""
    return encode(hashlib.sha256(token.encode()).digest())


def is_at(uri: str, address: Address) -> bool:
    """Whether a URI without query and fragment is this address, in their normal forms."""
    parts = _URI.fullmatch(uri)
    if parts is None:
        return False
    scheme = parts[1].lower()
    port = int(parts[3]) if parts[3] else _PORTS.get(scheme, 0)
    return (
        (scheme, port) == (address.scheme, address.port)
        and covers(address.names, parts[2])
        and normal_path(parts[4] or "/") == normal_path(address.path)
    )


def covers(names: Collection[str], host: str) -> bool:
    """Whether a host is among the names of a listener."""
    host = normal_host(host)
    return host in names or f"*.{host.partition('.')[2]}" in names


def normal_host(host: str) -> str:
    """Return a host in its normal form; an IPv6 address in brackets and shortest (RFC 5952)."""
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return ""
    return host.lower()


def normal_path(path: str) -> str:
    """Return a path in its normal form (RFC 3986 6.2.2): escapes, dot segments."""

    def escape(found: re.Match[str]) -> str:
        character = unquote_to_bytes(found[0]).decode("latin-1")
        return character if _UNRESERVED.fullmatch(character) else found[0].upper()

    kept: list[str] = []
    segments = _ESCAPE.sub(escape, path).split("/")[1:]
    for place, segment in enumerate(segments):
        if segment not in (".", ".."):
            kept.append(segment)
            continue
        if segment == "..":
            kept = kept[:-1]
        if place == len(segments) - 1:
            kept.append("")
    return "/" + "/".join(kept)
