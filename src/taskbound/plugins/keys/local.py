"""Keys in files: one key for each purpose, `<purpose>.pem` with mode 0600, made at first use.

Whoever can read the directory can sign as us: it is the operator's, and an agent never sees it
(INTERFACES 10). A file that others may read is refused, so that a careless copy is noticed.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from taskbound.core.errors import Unavailable
from taskbound.ports import ES256

Key = Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class LocalKeys:
    """The keys in one directory, made (0700) when there is none."""

    def __init__(self, directory: Path, purposes: Sequence[str]) -> None:
        self._directory, self._purposes = directory, tuple(purposes)
        self._keys: dict[str, Key] = {}
        self._public: dict[str, bytes] = {}

    async def sign(self, purpose: str, message: bytes) -> bytes:
        key = self._key(purpose)
        if isinstance(key, Ed25519PrivateKey):
            return key.sign(message)
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    async def public(self) -> Mapping[str, bytes]:
        if not self._public:
            self._public = {purpose: _public(self._key(purpose)) for purpose in self._purposes}
        return self._public

    def _key(self, purpose: str) -> Key:
        if purpose not in self._purposes:
            raise Unavailable(f"there is no key for {purpose[:32]!r}")
        if purpose not in self._keys:
            path = self._directory / f"{purpose}.pem"
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not path.exists():
                    _make(path, _fresh(purpose))
                key = _load(path)
                if isinstance(key, ec.EllipticCurvePrivateKey) != (purpose in ES256):
                    raise ValueError("it is a key of another algorithm")
                self._keys[purpose] = key
            except (OSError, ValueError) as error:
                raise Unavailable(f"the key {path} cannot be used: {error}") from error
        return self._keys[purpose]


def _fresh(purpose: str) -> Key:
    return ec.generate_private_key(ec.SECP256R1()) if purpose in ES256 else Ed25519PrivateKey.generate()


def _public(key: Key) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.public_key().public_bytes_raw()
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _make(path: Path, key: Key) -> None:
    """Keep the key whole and durable before it has its name; of two who make one, one is kept."""
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _load(path: Path) -> Key:
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ValueError(f"it is open to others (mode {mode & 0o777:03o}), expected 600")
        key = load_pem_private_key(file.read(), None)
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("it is neither an Ed25519 nor a P-256 key")
