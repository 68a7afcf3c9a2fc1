"""Keys that are forgotten when the process ends; for tests and for trying out."""

from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from taskbound.core.errors import Unavailable
from taskbound.ports import ES256


class MemoryKeys:
    """One key for each purpose."""

    def __init__(self, purposes: Sequence[str]) -> None:
        self._keys = {purpose: Ed25519PrivateKey.generate() for purpose in purposes if purpose not in ES256}
        self._p256 = {purpose: ec.generate_private_key(ec.SECP256R1()) for purpose in purposes if purpose in ES256}

    async def sign(self, purpose: str, message: bytes) -> bytes:
        if purpose in self._p256:
            r, s = decode_dss_signature(self._p256[purpose].sign(message, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if purpose not in self._keys:
            raise Unavailable(f"there is no key for {purpose[:32]!r}")
        return self._keys[purpose].sign(message)

    async def public(self) -> Mapping[str, bytes]:
        point = (Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            **{purpose: key.public_key().public_bytes_raw() for purpose, key in self._keys.items()},
            **{purpose: key.public_key().public_bytes(*point) for purpose, key in self._p256.items()},
        }
