"""A message as a producer published it, and what of it has to be right. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Final

from delivery.errors import Invalid

KEY_HEADER: Final = "waybill-key"
# Of the body of one that is set aside: the rest would be read by nobody.
MOST_KEPT: Final = 1 << 20
_ID: Final = re.compile(r"[!-~]{1,255}")
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of a body that was cut: how large it was, and by what the message is known again."""

    size: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What came: the body is that of `POST /v1/events`, the message-id its idempotency key.

    `key` is the API key that its header carries; `publisher` is whom the broker says it is from.
    """

    body: bytes
    message_id: str | None = None
    key: str | None = field(default=None, repr=False)
    content_encoding: str | None = None
    publisher: str | None = None
    whole: Whole | None = None

    @property
    def size(self) -> int:
        """Bytes of the body as it came."""
        return len(self.body) if self.whole is None else self.whole.size

    def cut(self, most: int) -> Message:
        """The same; of a body that is larger than `most`, only what is kept of one that is set aside.

        A process holds hundreds, and must not run out of memory by what it will refuse.
        """
        if len(self.body) <= max(most, MOST_KEPT):
            return self
        return replace(self, body=self.body[:MOST_KEPT], whole=Whole(self.size, self.fingerprint()))

    def checked_id(self) -> str:
        """The message-id. Raises Invalid: without one, a message that comes twice would be two events."""
        if not self.message_id:
            raise Invalid("message-id", "is needed: by it a message that comes twice is one event")
        return checked_key("message-id", self.message_id)

    def check_encoding(self) -> None:
        """Raise Invalid for a packed body."""
        if self.content_encoding and self.content_encoding.lower() not in {"identity", "utf-8"}:
            raise Invalid("content-encoding", "packed bodies are not taken")

    def fingerprint(self) -> bytes:
        """By which the same message is known again, whoever read it meanwhile."""
        if self.whole is not None:
            return self.whole.fingerprint
        parts = (self.key or "", self.message_id or "", self.publisher or "")
        hashes = [hashlib.sha256(part.encode(errors="surrogatepass")).digest() for part in parts]
        return hashlib.sha256(b"".join(hashes) + self.body).digest()


def checked_key(name: str, key: str) -> str:
    """Give an idempotency key back; raises Invalid, which names the field."""
    if _ID.fullmatch(key) is None:
        raise Invalid(name, "must be 1 to 255 visible ASCII characters")
    return key


def storable(text: str | None) -> str | None:
    """What a stranger wrote, in a form that the ledger takes: no NUL, no half characters, not too long."""
    if text is None:
        return None
    return text.encode(errors="replace").decode(errors="replace").replace("\0", "␀")[:_LONGEST]
