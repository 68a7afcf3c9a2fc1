"""The search for secrets: where any spelling of one stands in some bytes. Pure: it reads nothing itself.

A secret is looked for raw, in base64 and base64url at each of the three places that it may begin
at, in hex of both cases, percent-encoded (all of it, or only what must be), escaped as JSON (all of
it, or only what must be), reversed; and in UTF-16, as some logs are. Each spelling is looked for by
its halves, a long one by more pieces: so a secret that was cut once, wherever, that fills lines, or
of which half is shown, is found as well.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

SHORTEST = 16  # bytes: the half of a shorter secret could stand somewhere by chance
PIECE = 36  # characters at most: a line of 76, as MIME and PEM have them, holds a whole one wherever it begins


@dataclass(frozen=True, slots=True)
class Leak:
    """A piece of a spelling of a secret, at a place. It names the secret and never holds it."""

    secret: str
    spelling: str
    place: str
    at: int

    def __str__(self) -> str:
        return f"{self.secret} ({self.spelling}) in {self.place} at byte {self.at}"


def spellings(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each way in which the secret may be written down, with its name; one way may come twice."""
    text = secret.decode("latin-1")
    yield "raw", secret
    yield "reversed", secret[::-1]
    for start in range(3):
        yield f"base64 at {start}", _base64(secret, start)
        yield f"base64url at {start}", _base64(secret, start).translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    yield "percent-encoded", quote(secret, safe="").encode()
    yield "percent-encoded throughout", "".join(f"%{byte:02x}" for byte in secret).encode()
    yield "PERCENT-ENCODED THROUGHOUT", "".join(f"%{byte:02X}" for byte in secret).encode()
    yield "in JSON", json.dumps(text)[1:-1].encode()
    yield "in JSON with \\/", json.dumps(text)[1:-1].replace("/", "\\/").encode()
    yield "in JSON throughout", "".join(f"\\u{byte:04x}" for byte in secret).encode()
    yield "in UTF-16", text.encode("utf-16-le")
    yield "in Python", repr(secret)[2:-1].encode()


def _base64(secret: bytes, start: int) -> bytes:
    """Return the characters of the base64 of a longer text that only the secret makes, which begins at start mod 3."""
    written = base64.b64encode(bytes(start) + secret)
    return written[(0, 2, 3)[start] : (start + len(secret)) * 8 // 6]


def needles(secret: bytes) -> dict[bytes, str]:
    """Return the pieces of each spelling, with its name. Raises ValueError for a secret that is too short."""
    if len(secret) < SHORTEST:
        raise ValueError(f"a secret has {len(secret)} bytes, expected {SHORTEST} or more")
    found: dict[bytes, str] = {}
    for name, spelled in spellings(secret):
        pieces = max(2, -(-len(spelled) // PIECE))
        for n in range(pieces):
            piece = spelled[n * len(spelled) // pieces : (n + 1) * len(spelled) // pieces]
            found.setdefault(piece, name)
    return found


def leaks(secrets: Mapping[str, bytes], places: Iterable[tuple[str, bytes]]) -> list[Leak]:
    """Return what of the named secrets stands in the named places, each spelling once a place."""
    wanted = {name: needles(secret) for name, secret in secrets.items()}
    return [
        Leak(name, spelling, place, at)
        for place, data in places
        for name, pieces in wanted.items()
        for piece, spelling in pieces.items()
        if (at := data.find(piece)) >= 0
    ]
