"""The keys that sign and verify webhooks, as Standard Webhooks writes them: `whsec_`, `whsk_`, `whpk_`.

Only `reveal()` returns key material; `repr` and errors never do. `cryptography` is loaded with the first
ed25519 key, so HMAC works without it. Source: the Standard Webhooks specification, "Signature scheme".
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from binascii import b2a_base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HMAC_PREFIX: Final = "whsec_"
ED25519_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"

_MIN_HMAC_BYTES: Final = 24
_MAX_HMAC_BYTES: Final = 64
_SEED_BYTES: Final = 32
_PUBLIC_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_FINGERPRINT_LETTERS: Final = 12


class MalformedSecret(ValueError):
    """The text or bytes are not a key that signs or verifies webhooks. The message never quotes them."""


@dataclass(frozen=True, slots=True, repr=False)
class PublicKey:
    """The public half of an ed25519 key pair, which receivers hold. Verifies `v1a`; it is not secret."""

    raw: bytes
    key_id: str = field(init=False, compare=False)
    _verifier: Ed25519PublicKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.raw) != _PUBLIC_BYTES:
            raise MalformedSecret(f"A public key has {_PUBLIC_BYTES} bytes, not {len(self.raw)}.")
        object.__setattr__(self, "_verifier", _load_ed25519().Ed25519PublicKey.from_public_bytes(self.raw))
        object.__setattr__(self, "key_id", _fingerprint(b"waybill key id, ed25519\0", self.raw))

    def to_text(self) -> str:
        """The form that receivers configure: `whpk_…`."""
        return PUBLIC_PREFIX + _encode(self.raw)

    def accepts(self, signature: bytes, content: bytes) -> bool:
        """Whether this is a `v1a,<base64>` signature of the content; False for any other bytes."""
        if not signature.startswith(b"v1a,"):
            return False
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  there is a key, so it is loaded

        text = signature.removeprefix(b"v1a,")
        try:
            raw = b64decode(text, validate=True)
            # Base64 can spell the same bytes in several ways; accept only the canonical one.
            if len(raw) != _SIGNATURE_BYTES or _encode(raw).encode() != text:
                return False
            self._verifier.verify(raw, content)
        except (ValueError, InvalidSignature):
            return False
        return True

    def __repr__(self) -> str:
        return f"PublicKey({self.to_text()!r})"


@dataclass(frozen=True, slots=True, repr=False)
class HmacSecret:
    """A secret that sender and receiver share: signs and verifies `v1` (HMAC-SHA256). 24 to 64 bytes.

    `key_id` is the start of a hash over the secret. 48 bits of a hash do not lead back to 192 or more random
    bits, and reveal no more about them than any signature does.
    """

    key: bytes
    key_id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not _MIN_HMAC_BYTES <= len(self.key) <= _MAX_HMAC_BYTES:
            raise MalformedSecret(
                f"An HMAC secret has {_MIN_HMAC_BYTES} to {_MAX_HMAC_BYTES} bytes, not {len(self.key)}."
            )
        object.__setattr__(self, "key_id", _fingerprint(b"waybill key id, hmac\0", self.key))

    def reveal(self) -> str:
        """The secret itself, as receivers configure it: `whsec_…`."""
        return HMAC_PREFIX + _encode(self.key)

    def sign(self, content: bytes) -> str:
        """One signature of the content: `v1,` and its base64."""
        return "v1," + _encode(hmac.digest(self.key, content, "sha256"))

    def accepts(self, signature: bytes, content: bytes) -> bool:
        """Whether this is a signature of the content; takes the same time wherever the two differ."""
        return hmac.compare_digest(self.sign(content).encode(), signature)

    def __repr__(self) -> str:
        return f"HmacSecret({HMAC_PREFIX}***, key_id={self.key_id!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Secret:
    """The private half of an ed25519 key pair: signs `v1a`. Made from a seed of 32 bytes.

    `key_id` is the public key's, so both halves of a pair share one id.
    """

    seed: bytes
    public: PublicKey = field(init=False, compare=False)
    _signer: Ed25519PrivateKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != _SEED_BYTES:
            raise MalformedSecret(f"An ed25519 seed has {_SEED_BYTES} bytes, not {len(self.seed)}.")
        signer: Ed25519PrivateKey = _load_ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        object.__setattr__(self, "_signer", signer)
        object.__setattr__(self, "public", PublicKey(signer.public_key().public_bytes_raw()))

    @property
    def key_id(self) -> str:
        """The fingerprint of the public key."""
        return self.public.key_id

    def reveal(self) -> str:
        """The secret itself: `whsk_` and the base64 of seed and public key, 64 bytes in all."""
        return ED25519_PREFIX + _encode(self.seed + self.public.raw)

    def sign(self, content: bytes) -> str:
        """One signature of the content: `v1a,` and its base64."""
        return "v1a," + _encode(self._signer.sign(content))

    def accepts(self, signature: bytes, content: bytes) -> bool:
        """Whether this is a signature of the content, checked with the public key."""
        return self.public.accepts(signature, content)

    def __repr__(self) -> str:
        return f"Ed25519Secret({ED25519_PREFIX}***, key_id={self.key_id!r})"


Secret = HmacSecret | Ed25519Secret


def generate_hmac(random_bytes: bytes) -> HmacSecret:
    """Make a shared secret from 24 to 64 random bytes that the caller provides; 32 is a good number."""
    return HmacSecret(random_bytes)


def generate_ed25519(random_bytes: bytes) -> Ed25519Secret:
    """Make a key pair from 32 random bytes that the caller provides."""
    return Ed25519Secret(random_bytes)


def parse_secret(text: str) -> Secret:
    """Parse a signing secret: `whsec_…`, `whsk_…`, or bare base64 for HMAC. Raises MalformedSecret."""
    if text.startswith(PUBLIC_PREFIX):
        raise MalformedSecret("A public key (whpk_) signs nothing; the secret key begins with whsk_.")
    if text.startswith(ED25519_PREFIX):
        return _parse_pair(_decode(text.removeprefix(ED25519_PREFIX)))
    return HmacSecret(_decode(text.removeprefix(HMAC_PREFIX)))


def parse_public_key(text: str) -> PublicKey:
    """Parse `whpk_…`. Raises MalformedSecret."""
    if not text.startswith(PUBLIC_PREFIX):
        raise MalformedSecret("A public key begins with whpk_.")
    return PublicKey(_decode(text.removeprefix(PUBLIC_PREFIX)))


def _load_ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  HMAC needs no package
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ed25519 keys need the package `cryptography`: pip install cryptography", name=error.name
        ) from None
    return ed25519


def _parse_pair(raw: bytes) -> Ed25519Secret:
    """Parse seed and public key, as Svix, Go and libsodium write a secret key, or the seed alone."""
    secret = Ed25519Secret(raw[:_SEED_BYTES])
    if raw[_SEED_BYTES:] not in (b"", secret.public.raw):
        raise MalformedSecret("The two halves of this ed25519 key do not belong together.")
    return secret


def _decode(text: str) -> bytes:
    """Decode base64, padded or not."""
    # Python versions differ in how much excess padding they accept; reject any.
    letters = text.rstrip("=")
    padding = "=" * (-len(letters) % 4)
    if text not in (letters, letters + padding):
        raise MalformedSecret("The secret is not base64.")
    try:
        return b64decode(letters + padding, validate=True)
    except ValueError:
        # Without the cause: an error about a secret must not carry the secret along.
        raise MalformedSecret("The secret is not base64.") from None


def _encode(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()


def _fingerprint(domain: bytes, key: bytes) -> str:
    return hashlib.sha256(domain + key).hexdigest()[:_FINGERPRINT_LETTERS]
