"""Secrets at rest: AES-256-GCM, bound to the row they belong to, under keys that can be rotated."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from delivery.errors import Misconfigured, SecretUnreadable

if TYPE_CHECKING:
    from uuid import UUID

_KEY_BYTES = 32
_MARK_BYTES = 4
_NONCE_BYTES = 12


def generate_key() -> str:
    """A fresh encryption key, in the form WAYBILL_SECRET_KEYS takes: base64 of 32 random bytes."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True, repr=False)
class SecretBox:
    """Seals with the newest key, opens with any. Sealed: 4 bytes of key mark, 12 of nonce, then ciphertext.

    `context` ties a sealed value to its place (tenant and endpoint): moved to another row it does not open.
    """

    _ciphers: dict[bytes, AESGCM]
    _newest: bytes

    @classmethod
    def from_keys(cls, text: str) -> SecretBox:
        """Build from the setting: base64 keys, comma separated, newest first. Raises Misconfigured."""
        ciphers: dict[bytes, AESGCM] = {}
        for position, part in enumerate(text.split(","), start=1):
            try:
                key = base64.b64decode(part.strip(), validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != _KEY_BYTES:
                raise Misconfigured(
                    f"WAYBILL_SECRET_KEYS: key {position} is not base64 of {_KEY_BYTES} bytes."
                )
            ciphers[hashlib.sha256(b"waybill key mark" + key).digest()[:_MARK_BYTES]] = AESGCM(key)
        return cls(ciphers, next(iter(ciphers)))

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt under the newest key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._newest + nonce + self._ciphers[self._newest].encrypt(nonce, plain, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Decrypt; raises SecretUnreadable where no key fits or the value is not where it was sealed."""
        mark = sealed[:_MARK_BYTES]
        cipher = self._ciphers.get(mark)
        if cipher is None:
            raise SecretUnreadable(mark.hex())
        nonce = sealed[_MARK_BYTES : _MARK_BYTES + _NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[_MARK_BYTES + _NONCE_BYTES :], context)
        except (InvalidTag, ValueError):
            raise SecretUnreadable(mark.hex()) from None


def secret_context(tenant_id: UUID, endpoint_id: UUID) -> bytes:
    """The place of an endpoint's signing secret."""
    return b"secret|" + tenant_id.bytes + endpoint_id.bytes


def headers_context(tenant_id: UUID, endpoint_id: UUID) -> bytes:
    """The place of an endpoint's custom headers."""
    return b"headers|" + tenant_id.bytes + endpoint_id.bytes
