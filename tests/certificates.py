"""Certificates made in a test: an authority, and what it signs."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
SINCE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """Signs certificates; its own, for who should believe it, is `pem`."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._certificate(self._key, [], is_ca=True)

    def certificate(self, *names: str, password: bytes | None = None) -> tuple[str, str]:
        """Return a certificate for these DNS names and addresses, and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        lock = BestAvailableEncryption(password) if password else NoEncryption()
        return self._certificate(key, names), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock).decode()

    def _certificate(
        self, key: ec.EllipticCurvePrivateKey, names: "tuple[str, ...] | list[str]", is_ca: bool = False
    ) -> str:
        made = (
            x509.CertificateBuilder()
            .subject_name(NAME if is_ca else x509.Name([]))
            .issuer_name(NAME)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(SINCE)
            .not_valid_after(SINCE + datetime.timedelta(days=36500))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if is_ca:
            usage = {"key_cert_sign": True, "crl_sign": True}
            others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                      "key_agreement", "encipher_only", "decipher_only")  # fmt: skip
            made = made.add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False)), critical=True)
        if names:
            general = [_general(name) for name in names]
            made = made.add_extension(x509.SubjectAlternativeName(general), critical=not is_ca)
        return made.sign(self._key, SHA256()).public_bytes(Encoding.PEM).decode()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def written(directory: Path, certificate: str, key: str) -> tuple[Path, Path]:
    """Write both as an operator would: the certificate for everybody, the key for nobody else."""
    paths = directory / "cert.pem", directory / "key.pem"
    for path, text, mode in zip(paths, (certificate, key), (0o644, 0o600), strict=True):
        path.write_text(text)
        path.chmod(mode)
    return paths
