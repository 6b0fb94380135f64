"""The certificate that a bot may use instead of a secret."""

from base64 import b64decode
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, both PEM. The key is in no repr."""

    public: str
    private_key: str = field(repr=False)


def read_certificate(content: bytes) -> Certificate:
    """Read a certificate with its RSA key.

    Args:
        content: PEM, or PKCS #12 without a password, as bytes or in base64. Key Vault gives one of
            these for a certificate's secret.

    Raises:
        ValueError: it is none of these; the message holds no part of it.
    """
    try:
        if b"-----BEGIN" in content:
            certificate: x509.Certificate | None = x509.load_pem_x509_certificate(content)
            key: object = load_pem_private_key(content, password=None)
        else:
            bundle = b64decode(content, validate=True) if content.isascii() else content
            key, certificate, _ = pkcs12.load_key_and_certificates(bundle, None)
    except (ValueError, TypeError) as error:
        raise ValueError("it cannot be read") from error
    if certificate is None or not isinstance(key, RSAPrivateKey):
        raise ValueError("it has no certificate, or no RSA key")
    if certificate.public_key() != key.public_key():
        raise ValueError("the key is another certificate's")
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(certificate.public_bytes(Encoding.PEM).decode(), private_key.decode())
