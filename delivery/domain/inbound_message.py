"""A message as a producer published it, and the checks on it. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Final

from delivery.domain.errors import Invalid

KEY_HEADER: Final = "waybill-key"
# How much of a dead letter's body is stored.
MAX_STORED_BODY_BYTES: Final = 1 << 20
_VALID_ID: Final = re.compile(r"[!-~]{1,255}")
_MAX_TEXT_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class OriginalBody:
    """The size and the fingerprint of a body that was truncated."""

    size: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message: its body is that of `POST /v1/events`, its message-id the idempotency key.

    `api_key` is from its header; `publisher` is the sender that the broker reports.
    """

    body: bytes
    message_id: str | None = None
    api_key: str | None = field(default=None, repr=False)
    content_encoding: str | None = None
    publisher: str | None = None
    original: OriginalBody | None = None

    @property
    def size(self) -> int:
        """Bytes of the original body."""
        return len(self.body) if self.original is None else self.original.size

    def truncate_body(self, max_bytes: int) -> InboundMessage:
        """Truncate a body larger than `max_bytes` to what a dead letter stores.

        A process holds hundreds of messages, and must not run out of memory by those it will refuse.
        """
        if len(self.body) <= max(max_bytes, MAX_STORED_BODY_BYTES):
            return self
        return replace(
            self,
            body=self.body[:MAX_STORED_BODY_BYTES],
            original=OriginalBody(self.size, self.compute_fingerprint()),
        )

    def require_message_id(self) -> str:
        """The message-id. Raises Invalid: without one, a duplicate message would be a second event."""
        if not self.message_id:
            raise Invalid("message-id", "is needed: by it a message that comes twice is one event")
        return check_idempotency_key("message-id", self.message_id)

    def check_encoding(self) -> None:
        """Raise Invalid for a compressed body."""
        if self.content_encoding and self.content_encoding.lower() not in {"identity", "utf-8"}:
            raise Invalid("content-encoding", "packed bodies are not taken")

    def compute_fingerprint(self) -> bytes:
        """A hash by which a redelivered message is recognized."""
        if self.original is not None:
            return self.original.fingerprint
        parts = (self.api_key or "", self.message_id or "", self.publisher or "")
        hashes = [hashlib.sha256(part.encode(errors="surrogatepass")).digest() for part in parts]
        return hashlib.sha256(b"".join(hashes) + self.body).digest()


def check_idempotency_key(name: str, key: str) -> str:
    """Return the idempotency key if it is valid; raises Invalid for this field."""
    if _VALID_ID.fullmatch(key) is None:
        raise Invalid(name, "must be 1 to 255 visible ASCII characters")
    return key


def sanitize_text(text: str | None) -> str | None:
    """Untrusted text in a form that PostgreSQL stores: no NUL, no lone surrogates, truncated."""
    if text is None:
        return None
    return text.encode(errors="replace").decode(errors="replace").replace("\0", "␀")[:_MAX_TEXT_CHARS]
