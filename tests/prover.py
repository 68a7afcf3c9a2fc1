"""Somebody off the host with a key of their own, who proves it (RFC 9449): for tests, over joserfc alone."""

import itertools
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

_numbers = itertools.count()


def part(value: Any) -> str:
    """Return a part of a token: a JSON value, a text or bytes in base64url."""
    data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Prover:
    """One P-256 key; `now` is the clock of who has it, in seconds since 1970."""

    def __init__(self, now: Any = time.time) -> None:
        self.key = ECKey.generate_key("P-256")
        self.jwk: Mapping[str, Any] = self.key.as_dict(private=False)
        self.jkt: str = self.key.thumbprint()
        self.now = now

    def signed(self, header: Mapping[str, Any], claims: Any) -> str:
        """Return a JWS of whatever header and claims."""
        text = claims if isinstance(claims, str | bytes) else json.dumps(claims)
        registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        return jws.serialize_compact({"alg": "ES256", **header}, text, self.key, registry=registry)

    def proof(self, method: str, url: str, token: str | None = None, **claims: Any) -> str:
        """Return a proof for one request; a claim given as None is left out."""
        said = {
            "jti": f"proof-{next(_numbers)}",
            "htm": method,
            "htu": url,
            "iat": int(self.now()),
            "ath": None if token is None else urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode(),
            **claims,
        }
        header = {"typ": "dpop+jwt", "jwk": {name: self.jwk[name] for name in ("kty", "crv", "x", "y")}}
        return self.signed(header, {name: value for name, value in said.items() if value is not None})

    def headers(self, method: str, url: str, token: str, **claims: Any) -> dict[str, str]:
        """Return what is sent with a token."""
        return {"authorization": f"DPoP {token}", "dpop": self.proof(method, url, token, **claims)}
