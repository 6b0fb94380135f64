"""In which forms a bot's certificate may come, and that a bad one says nothing of its key."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.certificate import read_certificate
from tests.certificates import a_certificate, a_key


def test_every_form_of_a_certificate_is_read() -> None:
    key = a_key()
    pem = a_certificate(key=key)
    pkcs12 = a_certificate(key=key, as_pkcs12=True)
    private_keys = set()
    for content in (pem, pkcs12, b64encode(pkcs12)):
        certificate = read_certificate(content)
        assert certificate.public.startswith("-----BEGIN CERTIFICATE-----")
        private_keys.add(certificate.private_key)
    assert len(private_keys) == 1


def test_the_key_is_in_no_repr() -> None:
    certificate = read_certificate(a_certificate())
    assert "PRIVATE" not in repr(certificate)
    assert certificate.private_key.splitlines()[1] not in repr(certificate)


KEYLESS = a_certificate().partition(b"-----BEGIN CERTIFICATE")
BAD = {
    "nothing": b"",
    "text": b"not a certificate",
    "an unresolved reference": b"@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/x)",
    "binary": b"\x30\x82\xff",
    "base64 of something else": b64encode(b"something else"),
    "no key": KEYLESS[1] + KEYLESS[2],
    "no certificate": KEYLESS[0],
    "cut": a_certificate()[:-200],
    "another's key": a_certificate(packed=a_key()),
    "an elliptic key": a_certificate(key=ec.generate_private_key(ec.SECP256R1())),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_is_no_certificate_with_its_key_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it cannot be read|it has no|the key is)") as caught:
        read_certificate(content)
    assert content.decode(errors="replace")[:40] not in str(caught.value) or not content
