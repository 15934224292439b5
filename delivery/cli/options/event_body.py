"""Build the body of an event from options, as the HTTP API takes it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from delivery.domain.errors import Invalid
from delivery.domain.event_patterns import check_event_type
from delivery.domain.validation import validating_field

if TYPE_CHECKING:
    from collections.abc import Sequence


def build_event_body(event_type: str, data: bytes, channels: Sequence[str]) -> bytes:
    """Build the body. The data is parsed on its own first, or it could add fields. Raises Invalid."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("data", f"is not JSON: {error}") from None
    with validating_field("type"):
        type_json = msgspec.json.encode(check_event_type(event_type))
    channels_json = b',"channels":%b' % msgspec.json.encode(list(channels)) if channels else b""
    return b'{"type":%b,"data":%b%b}' % (type_json, data, channels_json)
