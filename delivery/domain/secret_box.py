"""Secrets at rest: each encrypted under its own data key, which is wrapped by a rotatable key.

Both are AES-256-GCM, and bound to the row that the secret belongs to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from delivery.domain.errors import SecretUnreadable

if TYPE_CHECKING:
    from uuid import UUID

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_MARK_BYTES: Final = 4
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
# A sealed value is the mark, a nonce and the data key under the wrapping key, then a nonce and the secret
# under the data key.
_WRAPPED_KEY_BYTES: Final = KEY_MARK_BYTES + _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES


def generate_key() -> str:
    """A fresh encryption key, in the form WAYBILL_SECRET_KEYS takes: base64 of 32 random bytes."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The operator's keys as WAYBILL_SECRET_KEYS writes them, newest first."""

    text: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SecretKeys:
        """Read base64 of 32 bytes each, comma separated; raises ValueError."""
        return cls(text, tuple(_parse_key(part, at) for at, part in enumerate(text.split(","), start=1)))


def _parse_key(text: str, position: int) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError(f"key {position} is not base64 of {_KEY_BYTES} bytes.")
    return key


@dataclass(frozen=True, slots=True)
class _WrappingKey:
    """One of WAYBILL_SECRET_KEYS. `mark` prefixes data keys that it wraps, `plain_mark` sealed secrets.

    Older releases sealed secrets with it directly, without data keys; such values can still be opened.
    """

    mark: bytes
    plain_mark: bytes
    key: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, key: bytes) -> _WrappingKey:
        return cls(_compute_mark(b"wrap", key), _compute_mark(b"key", key), key)


@dataclass(frozen=True, slots=True, repr=False)
class SecretBox:
    """Seals under the newest key, opens under any. The first bytes of a sealed value identify its key.

    `context` ties a sealed value to its place (tenant and endpoint): moved to another row it does not open.
    """

    _keys: tuple[_WrappingKey, ...]
    _by_mark: dict[bytes, _WrappingKey]

    @classmethod
    def from_keys(cls, keys: SecretKeys) -> SecretBox:
        """Seal under the first key, open under any."""
        wrapping = tuple(map(_WrappingKey.from_bytes, keys.keys))
        return cls(wrapping, {mark: key for key in wrapping for mark in (key.mark, key.plain_mark)})

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the configured keys, newest first. An id does not reveal its key."""
        return tuple(dict.fromkeys(key.mark.hex() for key in self._keys))

    def read_key_id(self, sealed: bytes) -> str:
        """The id of the key that a value needs, or its mark if that key is not configured."""
        mark = sealed[:KEY_MARK_BYTES]
        key = self._by_mark.get(mark)
        return (mark if key is None else key.mark).hex()

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt under a new data key, and wrap that under the newest key."""
        data_key, nonce = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        return self._wrap(data_key, context) + nonce + _build_cipher(data_key).encrypt(nonce, plain, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Decrypt; raises SecretUnreadable if no key fits or the context is another one."""
        mark = sealed[:KEY_MARK_BYTES]
        key = self._by_mark.get(mark)
        if key is None:
            raise SecretUnreadable(mark.hex())
        if mark == key.mark:
            data_key = self._unwrap(key, sealed, context)
            return _decrypt(data_key, sealed[_WRAPPED_KEY_BYTES:], context, mark)
        return _decrypt(key.key, sealed[KEY_MARK_BYTES:], context, mark)

    def rewrap(self, sealed: bytes, *, context: bytes) -> bytes | None:
        """Wrap the data key again, under the newest key. None: it is already. Raises SecretUnreadable.

        The secret itself is not decrypted, except for a value without a data key.
        """
        mark = sealed[:KEY_MARK_BYTES]
        if mark == self._keys[0].mark:
            return None
        key = self._by_mark.get(mark)
        if key is None or mark != key.mark:
            return self.seal(self.open(sealed, context=context), context=context)
        return self._wrap(self._unwrap(key, sealed, context), context) + sealed[_WRAPPED_KEY_BYTES:]

    def _wrap(self, data_key: bytes, context: bytes) -> bytes:
        newest, nonce = self._keys[0], secrets.token_bytes(_NONCE_BYTES)
        return newest.mark + nonce + _build_cipher(newest.key).encrypt(nonce, data_key, b"key|" + context)

    @staticmethod
    def _unwrap(key: _WrappingKey, sealed: bytes, context: bytes) -> bytes:
        return _decrypt(key.key, sealed[KEY_MARK_BYTES:_WRAPPED_KEY_BYTES], b"key|" + context, key.mark)


def _compute_mark(purpose: bytes, key: bytes) -> bytes:
    return hashlib.sha256(b"waybill " + purpose + b" mark" + key).digest()[:KEY_MARK_BYTES]


def _build_cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  most commands need none

    return AESGCM(key)


def _decrypt(key: bytes, sealed: bytes, context: bytes, mark: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  see `_build_cipher`

    try:
        return _build_cipher(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise SecretUnreadable(mark.hex()) from None


def build_secret_context(tenant_id: UUID, endpoint_id: UUID) -> bytes:
    """The place of an endpoint's signing secret."""
    return b"secret|" + tenant_id.bytes + endpoint_id.bytes


def build_auth_context(tenant_id: UUID, endpoint_id: UUID) -> bytes:
    """The place of an endpoint's authentication."""
    return b"auth|" + tenant_id.bytes + endpoint_id.bytes


def build_identity_context(tenant_id: UUID, endpoint_id: UUID) -> bytes:
    """The place of an endpoint's client certificate and key."""
    return b"identity|" + tenant_id.bytes + endpoint_id.bytes


def build_headers_context(tenant_id: UUID, endpoint_id: UUID) -> bytes:
    """The place of an endpoint's custom headers."""
    return b"headers|" + tenant_id.bytes + endpoint_id.bytes
