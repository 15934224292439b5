"""Client certificates for mutual TLS: parsed, encoded for storage, and described by public facts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from delivery.domain.durations import format_rfc3339

if TYPE_CHECKING:
    from datetime import datetime

MAX_PEM_CHARS: Final = 32_768
MAX_CERTIFICATES: Final = 10
MIN_RSA_BITS: Final = 2_048
_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class BadCertificate(ValueError):
    """An unusable certificate or key; `field` is which one. Never quotes a key."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field
        self.why = why


class ClientIdentity(msgspec.Struct, frozen=True):
    """A certificate chain, its own certificate first, and its private key; all PEM."""

    chain: str
    private_key: str

    def __repr__(self) -> str:
        return "ClientIdentity(…)"


def parse_identity(certificate: str, private_key: str, *, now: datetime) -> ClientIdentity:
    """Read a chain and the unencrypted key of its first certificate, both PEM; raises BadCertificate."""
    chain, key = _parse_chain(certificate), _parse_private_key(private_key)
    if _encode_public_key(chain[0].public_key()) != _encode_public_key(key.public_key()):
        raise BadCertificate("private_key", "is not the key of the first certificate")
    if chain[0].not_valid_after_utc <= now:
        raise BadCertificate("certificate", f"ended at {format_rfc3339(chain[0].not_valid_after_utc)}")
    return ClientIdentity(
        "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def describe_identity(identity: ClientIdentity) -> dict[str, str]:
    """Describe the first certificate; every receiver sees as much."""
    first = x509.load_pem_x509_certificate(identity.chain.encode())
    return {
        "subject": first.subject.rfc4514_string(),
        "issuer": first.issuer.rfc4514_string(),
        "serial_number": f"{first.serial_number:x}",
        "sha256": first.fingerprint(SHA256()).hex(),
        "not_before": format_rfc3339(first.not_valid_before_utc),
        "not_after": format_rfc3339(first.not_valid_after_utc),
    }


def encode_identity(identity: ClientIdentity) -> bytes:
    """Encode an identity as the bytes that are encrypted."""
    return msgspec.json.encode(identity)


def decode_identity(encoded: bytes) -> ClientIdentity:
    """Read what `encode_identity` wrote; raises msgspec.MsgspecError."""
    return msgspec.json.decode(encoded, type=ClientIdentity)


def _parse_chain(pem: str) -> list[x509.Certificate]:
    _check_pem_size("certificate", pem)
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
        # The library parses these fields only on access, and may fail then.
        for certificate in chain:
            _ = (certificate.subject, certificate.issuer, certificate.not_valid_after_utc)
            _encode_public_key(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate("certificate", "must be one or more certificates as PEM") from None
    if len(chain) > MAX_CERTIFICATES:
        raise BadCertificate("certificate", f"must be at most {MAX_CERTIFICATES} certificates")
    return chain


def _parse_private_key(pem: str) -> _PrivateKey:
    _check_pem_size("private_key", pem)
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise BadCertificate("private_key", "must not be encrypted: Waybill encrypts it at rest") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate("private_key", "must be a private key as PEM") from None
    if not isinstance(key, _PrivateKey) or (
        isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS
    ):
        raise BadCertificate(
            "private_key", f"must be RSA of at least {MIN_RSA_BITS} bits, an elliptic curve's or ed25519"
        )
    return key


def _check_pem_size(field: str, pem: str) -> None:
    if len(pem) > MAX_PEM_CHARS or not pem.isascii():
        raise BadCertificate(field, f"must be at most {MAX_PEM_CHARS} characters of ASCII")


def _encode_public_key(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]
