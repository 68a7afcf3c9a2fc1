"""Keys in files: one Ed25519 key for each purpose, `<purpose>.pem` with mode 0600, made at first use.

Whoever can read the directory can sign as us: it is the operator's, and an agent never sees it
(INTERFACES 10). A file that others may read is refused, so that a careless copy is noticed.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from taskbound.core.errors import Unavailable


class LocalKeys:
    """The keys in one directory, made (0700) when there is none."""

    def __init__(self, directory: Path, purposes: Sequence[str]) -> None:
        self._directory, self._purposes = directory, tuple(purposes)
        self._keys: dict[str, Ed25519PrivateKey] = {}

    async def sign(self, purpose: str, message: bytes) -> bytes:
        return self._key(purpose).sign(message)

    async def public(self) -> Mapping[str, bytes]:
        return {purpose: self._key(purpose).public_key().public_bytes_raw() for purpose in self._purposes}

    def _key(self, purpose: str) -> Ed25519PrivateKey:
        if purpose not in self._purposes:
            raise Unavailable(f"there is no key for {purpose[:32]!r}")
        if purpose not in self._keys:
            path = self._directory / f"{purpose}.pem"
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not path.exists():
                    _make(path)
                self._keys[purpose] = _load(path)
            except (OSError, ValueError) as error:
                raise Unavailable(f"the key {path} cannot be used: {error}") from error
        return self._keys[purpose]


def _make(path: Path) -> None:
    """Make the key whole and durable before it has its name; of two who make it, one is kept."""
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
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


def _load(path: Path) -> Ed25519PrivateKey:
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ValueError(f"it is open to others (mode {mode & 0o777:03o}), expected 600")
        key = load_pem_private_key(file.read(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is not an Ed25519 key")
    return key
