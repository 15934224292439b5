"""Signs a webhook after Standard Webhooks: three headers, one signature for each live secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .secrets import Secret

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

# Visible ASCII without the full stop, which separates id, timestamp and body in the signed content. An id
# with one would let parts of a signed webhook pass as another.
_MESSAGE_ID: Final = re.compile(r"[!-\-/-~]+")


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """The headers of a signed webhook, and the ids of the keys that signed it."""

    message_id: str
    timestamp: int
    signature: str
    key_ids: tuple[str, ...]

    def to_dict(self) -> dict[str, str]:
        """The three headers by name."""
        return {
            ID_HEADER: self.message_id,
            TIMESTAMP_HEADER: str(self.timestamp),
            SIGNATURE_HEADER: self.signature,
        }


def sign(
    secrets: Sequence[Secret], *, message_id: str, timestamp: int | datetime, body: bytes
) -> SignedHeaders:
    """Sign a body with each secret. `timestamp`: seconds since 1970, or an aware datetime.

    Raises ValueError for an empty list of secrets, a message id that is not visible ASCII without a full
    stop, and a negative or naive timestamp.
    """
    if not secrets:
        raise ValueError("A webhook is signed by one secret at least.")
    if not is_message_id(message_id):
        raise ValueError("A message id is visible ASCII without a full stop.")
    seconds = _whole_seconds(timestamp) if isinstance(timestamp, datetime) else timestamp
    if seconds < 0:
        raise ValueError("A timestamp counts seconds since 1970.")
    content = f"{message_id}.{seconds}.".encode() + body
    return SignedHeaders(
        message_id,
        seconds,
        " ".join([secret.sign(content) for secret in secrets]),
        tuple([secret.key_id for secret in secrets]),
    )


def is_message_id(text: str) -> bool:
    """Whether this can be a message id: visible ASCII without a full stop."""
    return _MESSAGE_ID.fullmatch(text) is not None


def _whole_seconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("A timestamp without a time zone could mean any of several moments.")
    return int(moment.timestamp())
