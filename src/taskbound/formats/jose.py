"""JOSE, as far as we use it: one kid, one key, one algorithm (D24): ES256 (RFC 7515, 7518 3.4), over joserfc.

A public key is its uncompressed point (SEC 1 2.3.3), 65 bytes; on the wire it is a JWK with the thumbprint
of RFC 7638 as its kid. Nothing in a token chooses a key or an algorithm: `alg` and `typ` are compared with
what is expected, and a header or a claim that is not expected refuses, `crit`, `jku`, `x5u`, `x5c` and `zip`
among them. Text is read by one strict parser: base64url without padding or idle bits, JSON without duplicate
members, 8 KiB in all.

An access token (RFC 9068, `at+jwt`) is ours alone, so it has exactly the claims that we write, one audience,
and a key that it is bound to (RFC 9449 6). It says who works for whom in which task, never what is granted.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from taskbound.formats.canonical import Malformed, parse, render

ALGORITHM = "ES256"
LIMIT = 8 << 10  # bytes of a token (D24)
LIFE = 300  # seconds of an access token at most (D14)
MAX_ACT = 8  # actors in one token: twice what a chain of tasks has
LATEST = 253_402_300_799 - 86_400  # a day before the last second that a datetime can say: some is added to it
_JWK_MEMBERS = {"kty", "crv", "x", "y", "kid", "alg", "use"}
_POINT = 65
_TEXT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")


class MalformedToken(ValueError):
    """The text is no token of the kind that is expected, or its signature is another's; says which rule it breaks."""


class Compact(NamedTuple):
    """A JWS in compact serialisation (RFC 7515 7.1), read but not verified."""

    text: str
    header: Mapping[str, Any]
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a task token says. Times in seconds since 1970 (RFC 7519 2)."""

    issuer: str
    audience: str
    subject: str  # whom the work is for
    actor: str  # who works: `client_id`
    act: tuple[str, ...]  # who acted, nearest first: nested as `act` (RFC 8693 4.1); empty where nobody delegated
    org: str
    task: str
    id: str  # jti
    issued: int
    expires: int
    jkt: str  # thumbprint of the key that it is bound to (RFC 9449 6.1)


# --- text and keys ---------------------------------------------------------------------------------


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return what base64url without padding spells, each value by one text alone. Raises MalformedToken."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise MalformedToken("it is not base64url") from None
    if encode(data) != text:
        raise MalformedToken("it is not base64url in its one form")
    return data


def jwk_of(public: bytes) -> dict[str, str]:
    """Return a public key as a JWK, with no members but those of its thumbprint (RFC 7638 3.2)."""
    return {"crv": "P-256", "kty": "EC", "x": encode(public[1:33]), "y": encode(public[33:])}


def point_of(jwk: Any) -> bytes:
    """Return the public key that a JWK is. Raises MalformedToken, also for a private key."""
    if not isinstance(jwk, Mapping) or not set(jwk) <= _JWK_MEMBERS:  # `d` is none of them
        raise MalformedToken("jwk is no public key")
    if (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256") or jwk.get("alg", ALGORITHM) != ALGORITHM:
        raise MalformedToken("jwk is no P-256 key")
    if jwk.get("use", "sig") != "sig" or not all(isinstance(jwk.get(name), str) for name in "xy"):
        raise MalformedToken("jwk is no P-256 key to sign with")
    x, y = decode(jwk["x"]), decode(jwk["y"])
    if len(x) != 32 or len(y) != 32:  # RFC 7518 6.2.1.2
        raise MalformedToken("a coordinate of jwk has not 32 bytes")
    return b"\x04" + x + y


def thumbprint(public: bytes) -> str:
    """Return the SHA-256 thumbprint of a public key (RFC 7638 3), in base64url."""
    return encode(hashlib.sha256(render(jwk_of(public))).digest())


def key_set(*public: bytes) -> dict[str, Any]:
    """Return public keys as a JWK Set (RFC 7517 5)."""
    return {"keys": [{**jwk_of(one), "kid": thumbprint(one), "use": "sig", "alg": ALGORITHM} for one in public]}


# --- JWS -------------------------------------------------------------------------------------------


def read_compact(text: str, typ: str, members: frozenset[str]) -> Compact:
    """Return a token with this type and no other members in its header. Raises MalformedToken."""
    if len(text) > LIMIT:
        raise MalformedToken(f"it has {len(text)} bytes, at most {LIMIT} are read")
    if not _TEXT.fullmatch(text):
        raise MalformedToken("it has not three parts of base64url")
    first, second, _ = text.split(".")
    header, payload = _object(first, "the header"), _object(second, "the payload")
    if not set(header) <= members | {"typ", "alg"}:
        raise MalformedToken("its header has a member that is not expected")
    if header.get("typ") != typ:
        raise MalformedToken(f"its typ is not {typ}")
    if header.get("alg") != ALGORITHM:
        raise MalformedToken(f"its alg is not {ALGORITHM}")
    return Compact(text, header, payload)


def require_signature(token: Compact, public: bytes) -> None:
    """Raises MalformedToken unless this key signed the token."""
    try:
        jws.deserialize_compact(token.text, _key(public), algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        raise MalformedToken("it is not signed by the key that is expected") from None


@lru_cache(maxsize=1024)
def _key(public: bytes) -> ECKey:
    """Return a key to verify with. Raises ValueError for a point that is not on the curve."""
    return ECKey.import_key(EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public))


def _object(part: str, what: str) -> Mapping[str, Any]:
    try:
        value = parse(decode(part), limit=LIMIT)
    except Malformed:  # which may quote the token, and a refusal is kept
        raise MalformedToken(f"{what} is malformed") from None
    if not isinstance(value, dict):
        raise MalformedToken(f"{what} is no object")
    return value


# --- access tokens ---------------------------------------------------------------------------------


def signing_input(token: AccessToken, public: bytes) -> bytes:
    """Return what is signed of a token (RFC 7515 5.1), for the key with this public half."""
    header = {"typ": "at+jwt", "alg": ALGORITHM, "kid": thumbprint(public)}
    return f"{encode(render(header))}.{encode(render(_claims(token)))}".encode()


def compact(signed: bytes, signature: bytes) -> str:
    """Return the token: what was signed, and the signature, 64 bytes (RFC 7518 3.4)."""
    return f"{signed.decode()}.{encode(signature)}"


def verify_access_token(text: str, public: bytes, *, issuer: str, audience: str) -> AccessToken:
    """Return what a token of ours says; whether its time has come is for who knows the time. Raises MalformedToken."""
    token = read_compact(text, "at+jwt", frozenset({"kid"}))
    if token.header.get("kid") != thumbprint(public):
        raise MalformedToken("its kid is no key of ours")
    require_signature(token, public)
    said = _said(token.payload)
    if _claims(said) != token.payload:  # what is read is all that it says
        raise MalformedToken("it has other claims than we write")
    if said.issuer != issuer:
        raise MalformedToken("it has another issuer")
    if said.audience != audience:
        raise MalformedToken("it is for another audience")
    if not 0 < said.expires - said.issued <= LIFE:
        raise MalformedToken(f"it is valid for longer than {LIFE} s")
    return said


def _claims(token: AccessToken) -> dict[str, Any]:
    act: dict[str, Any] = {}
    for actor in reversed(token.act):
        act = {"sub": actor, **({"act": act} if act else {})}
    return {
        "iss": token.issuer,
        "aud": token.audience,
        "sub": token.subject,
        "client_id": token.actor,
        **({"act": act} if act else {}),
        "org": token.org,
        "task": token.task,
        "jti": token.id,
        "iat": token.issued,
        "exp": token.expires,
        "cnf": {"jkt": token.jkt},
    }


def _said(claims: Mapping[str, Any]) -> AccessToken:
    act: list[str] = []
    inner = claims.get("act")
    while isinstance(inner, Mapping):
        if len(act) == MAX_ACT:
            raise MalformedToken(f"act is nested deeper than {MAX_ACT}")
        act.append(text_of(inner, "sub"))
        inner = inner.get("act")
    cnf = claims.get("cnf")
    return AccessToken(
        issuer=text_of(claims, "iss"),
        audience=text_of(claims, "aud"),
        subject=text_of(claims, "sub"),
        actor=text_of(claims, "client_id"),
        act=tuple(act),
        org=text_of(claims, "org"),
        task=text_of(claims, "task"),
        id=text_of(claims, "jti"),
        issued=second_of(claims, "iat"),
        expires=second_of(claims, "exp"),
        jkt=text_of(cnf if isinstance(cnf, Mapping) else {}, "jkt"),
    )


def text_of(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a text, and not empty. Raises MalformedToken."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedToken(f"{name} is missing, or no text")
    return value


def second_of(claims: Mapping[str, Any], name: str) -> int:
    """Return a claim that is a whole second since 1970. Raises MalformedToken."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= LATEST:
        raise MalformedToken(f"{name} is missing, or no moment")
    return value
