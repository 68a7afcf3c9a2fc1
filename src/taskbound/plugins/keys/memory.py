"""Keys that are forgotten when the process ends; for tests and for trying out."""

from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from taskbound.core.errors import Unavailable


class MemoryKeys:
    """One Ed25519 key for each purpose."""

    def __init__(self, purposes: Sequence[str]) -> None:
        self._keys = {purpose: Ed25519PrivateKey.generate() for purpose in purposes}

    async def sign(self, purpose: str, message: bytes) -> bytes:
        if purpose not in self._keys:
            raise Unavailable(f"there is no key for {purpose[:32]!r}")
        return self._keys[purpose].sign(message)

    async def public(self) -> Mapping[str, bytes]:
        return {purpose: key.public_key().public_bytes_raw() for purpose, key in self._keys.items()}
