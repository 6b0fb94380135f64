"""Certificates for bots that have one instead of a secret."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def a_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def a_certificate(
    *, key: Key | None = None, packed: Key | None = None, as_pkcs12: bool = False
) -> bytes:
    """A certificate with a key, PEM or PKCS #12.

    Args:
        key: that it is of; a new one.
        packed: the key beside it; the same.
        as_pkcs12: without a password.
    """
    key = key or a_key()
    packed = packed or key
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a bot")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    if as_pkcs12:
        return pkcs12.serialize_key_and_certificates(
            b"a bot", packed, certificate, None, NoEncryption()
        )
    return packed.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ) + certificate.public_bytes(Encoding.PEM)
