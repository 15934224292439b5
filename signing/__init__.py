"""Standard Webhooks, `v1` (HMAC-SHA256) and `v1a` (ed25519): sign, rotate, verify. Pure: no I/O, no clock."""

from .ring import KeyRing, RingEntry
from .secrets import (
    Ed25519Secret,
    HmacSecret,
    MalformedSecret,
    PublicKey,
    Secret,
    generate_ed25519,
    generate_hmac,
    parse_public_key,
    parse_secret,
)
from .sign import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, SignedHeaders, sign
from .verify import DEFAULT_TOLERANCE, VerificationError, VerificationFailure, Verified, verify

__all__ = [
    "DEFAULT_TOLERANCE",
    "ID_HEADER",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "Ed25519Secret",
    "HmacSecret",
    "KeyRing",
    "MalformedSecret",
    "PublicKey",
    "RingEntry",
    "Secret",
    "SignedHeaders",
    "VerificationError",
    "VerificationFailure",
    "Verified",
    "generate_ed25519",
    "generate_hmac",
    "parse_public_key",
    "parse_secret",
    "sign",
    "verify",
]
