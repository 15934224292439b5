"""An event as options say it, as the request that the HTTP API would get. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from delivery.checks import field
from delivery.errors import Invalid
from delivery.filters import check_event_type

if TYPE_CHECKING:
    from collections.abc import Sequence


def event_body(event_type: str, data: bytes, channels: Sequence[str]) -> bytes:
    """The body; the data is checked alone first, or it could add fields. Raises Invalid."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("data", f"is not JSON: {error}") from None
    with field("type"):
        named = msgspec.json.encode(check_event_type(event_type))
    on = b',"channels":%b' % msgspec.json.encode(list(channels)) if channels else b""
    return b'{"type":%b,"data":%b%b}' % (named, data, on)
