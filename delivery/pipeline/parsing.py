"""Parses a producer's bytes into events; the bytes of `data` stay as they came. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from delivery.domain.errors import Invalid, TooLarge
from delivery.domain.event_patterns import MAX_CHANNELS_PER_EVENT, check_channel, check_event_type
from delivery.domain.ids import Prefix, format_id

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """The largest event in bytes of JSON, and the largest batch in events and bytes."""

    event_bytes: int = 262_144
    batch_events: int = 1_000
    batch_bytes: int = 33_554_432


class NewEvent(NamedTuple):
    """An event as a producer sent it; `data` is the exact JSON.

    With `channels`, it is sent to endpoints with one of these channels, and to endpoints without channels.
    """

    type: str
    data: bytes
    channels: tuple[str, ...] = ()


class _EventIn(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    data: msgspec.Raw
    channels: list[str] | None = None


class _BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


# For missing and unknown fields, msgspec names the field only in its message.
_FIELD_ERROR = re.compile(
    r"Object (?P<what>missing required|contains unknown) field `(?P<field>.+)`", re.DOTALL
)
_FIELD_ERROR_REASONS = {"missing required": "is needed", "contains unknown": "is not a known field"}
_event_decoder = msgspec.json.Decoder(_EventIn)
_batch_decoder = msgspec.json.Decoder(_BatchIn)
_any_decoder = msgspec.json.Decoder[object]()
# Producers use few types and channels, again and again.
_check_event_type_cached = lru_cache(maxsize=4096)(check_event_type)
_check_channel_cached = lru_cache(maxsize=4096)(check_channel)


def parse_event(body: bytes, limits: IntakeLimits, *, location: str = "") -> NewEvent:
    """Parse `{"type": …, "data": …, "channels": […]}`; the last is optional.

    Raises Invalid, which names the field, or TooLarge. `location` is the event's path in a larger body.
    """
    return _parse(body, limits, location=location)


def parse_batch(body: bytes, limits: IntakeLimits) -> tuple[NewEvent, ...]:
    """Parse `{"events": […]}`; one invalid event refuses the batch. Raises Invalid or TooLarge."""
    if len(body) > limits.batch_bytes:
        raise TooLarge("The batch", size=len(body), limit=limits.batch_bytes)
    batch = decode_json(_batch_decoder, body, location="")
    if not batch.events:
        raise Invalid("events", "must hold at least one event")
    if len(batch.events) > limits.batch_events:
        raise TooLarge("The batch", size=len(batch.events), limit=limits.batch_events, unit="events")
    return tuple(_parse(bytes(raw), limits, location=f"events.{n}") for n, raw in enumerate(batch.events))


def build_test_event(endpoint_id: EndpointId) -> NewEvent:
    """Build the event that is sent to one endpoint to test it."""
    data = {"message": "This is a test.", "endpoint_id": format_id(Prefix.ENDPOINT, endpoint_id)}
    return NewEvent("waybill.test", msgspec.json.encode(data))


def _parse(body: bytes, limits: IntakeLimits, *, location: str) -> NewEvent:
    if len(body) > limits.event_bytes:
        raise TooLarge(location or "The event", size=len(body), limit=limits.event_bytes)
    event = decode_json(_event_decoder, body, location=location)
    try:
        type_ = _check_event_type_cached(event.type)
    except ValueError as error:
        raise Invalid(_join_path(location, "type"), str(error)) from None
    # The bytes are sent as they came; decoding them proves that every receiver can read them.
    data = bytes(event.data)
    decode_json(_any_decoder, data, location=_join_path(location, "data"))
    return NewEvent(type_, data, _parse_channels(event.channels, location) if event.channels else ())


def _parse_channels(channels: list[str], location: str) -> tuple[str, ...]:
    if len(channels) > MAX_CHANNELS_PER_EVENT:
        raise Invalid(
            _join_path(location, "channels"), f"must be at most {MAX_CHANNELS_PER_EVENT}, not {len(channels)}"
        )
    for position, channel in enumerate(channels):
        try:
            _check_channel_cached(channel)
        except ValueError as error:
            raise Invalid(_join_path(location, f"channels.{position}"), str(error)) from None
    return tuple(dict.fromkeys(channels))


def decode_json(decoder: msgspec.json.Decoder[T], body: bytes, *, location: str) -> T:
    """Decode JSON; raises Invalid, which names the field. `location` is its path in a larger body."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        field_error = _FIELD_ERROR.fullmatch(reason)
        if field_error is not None:
            path, reason = field_error["field"], _FIELD_ERROR_REASONS[field_error["what"]]
        raise Invalid(_join_path(location, path.rstrip("`").lstrip(".")) or "body", reason) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(location or "body", f"is not JSON: {error}") from None
    except RecursionError:
        raise Invalid(location or "body", "is nested too deeply") from None


def _join_path(location: str, field: str) -> str:
    return f"{location}.{field}" if location and field else location or field
