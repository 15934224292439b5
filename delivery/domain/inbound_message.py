"""A message as a producer published it, and what of it has to be right. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Final

from delivery.domain.errors import Invalid

KEY_HEADER: Final = "waybill-key"
# Of the body of one that is set aside: the rest would be read by nobody.
MAX_STORED_BODY_BYTES: Final = 1 << 20
_VALID_ID: Final = re.compile(r"[!-~]{1,255}")
_MAX_TEXT_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class OriginalBody:
    """What is known of a body that was cut: how large it was, and by what the message is known again."""

    size: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """What came: the body is that of `POST /v1/events`, the message-id its idempotency key.

    `key` is the API key that its header carries; `publisher` is whom the broker says it is from.
    """

    body: bytes
    message_id: str | None = None
    api_key: str | None = field(default=None, repr=False)
    content_encoding: str | None = None
    publisher: str | None = None
    original: OriginalBody | None = None

    @property
    def size(self) -> int:
        """Bytes of the body as it came."""
        return len(self.body) if self.original is None else self.original.size

    def truncate_body(self, max_bytes: int) -> InboundMessage:
        """The same; of a body that is larger than `most`, only what is kept of one that is set aside.

        A process holds hundreds, and must not run out of memory by what it will refuse.
        """
        if len(self.body) <= max(max_bytes, MAX_STORED_BODY_BYTES):
            return self
        return replace(
            self,
            body=self.body[:MAX_STORED_BODY_BYTES],
            original=OriginalBody(self.size, self.compute_fingerprint()),
        )

    def require_message_id(self) -> str:
        """The message-id. Raises Invalid: without one, a message that comes twice would be two events."""
        if not self.message_id:
            raise Invalid("message-id", "is needed: by it a message that comes twice is one event")
        return check_idempotency_key("message-id", self.message_id)

    def check_encoding(self) -> None:
        """Raise Invalid for a packed body."""
        if self.content_encoding and self.content_encoding.lower() not in {"identity", "utf-8"}:
            raise Invalid("content-encoding", "packed bodies are not taken")

    def compute_fingerprint(self) -> bytes:
        """By which the same message is known again, whoever read it meanwhile."""
        if self.original is not None:
            return self.original.fingerprint
        parts = (self.api_key or "", self.message_id or "", self.publisher or "")
        hashes = [hashlib.sha256(part.encode(errors="surrogatepass")).digest() for part in parts]
        return hashlib.sha256(b"".join(hashes) + self.body).digest()


def check_idempotency_key(name: str, key: str) -> str:
    """Give an idempotency key back; raises Invalid, which names the field."""
    if _VALID_ID.fullmatch(key) is None:
        raise Invalid(name, "must be 1 to 255 visible ASCII characters")
    return key


def sanitize_text(text: str | None) -> str | None:
    """What a stranger wrote, in a form that the ledger takes: no NUL, no half characters, not too long."""
    if text is None:
        return None
    return text.encode(errors="replace").decode(errors="replace").replace("\0", "␀")[:_MAX_TEXT_CHARS]
