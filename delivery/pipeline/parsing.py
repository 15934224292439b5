"""From a producer's bytes to events; the bytes of `data` stay as they came. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from delivery.errors import Invalid, TooLarge
from delivery.filters import MOST_OF_EVENT, check_channel, check_event_type
from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from delivery.model import EndpointId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """How much is taken: bytes of one event's JSON, events and bytes of one batch."""

    event_bytes: int = 262_144
    batch_events: int = 1_000
    batch_bytes: int = 33_554_432


class NewEvent(NamedTuple):
    """What a producer says happened; `data` is the exact JSON it sent.

    `channels` say whom it is for: endpoints that name one of them, and those that name none.
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


# Where it is the object that is wrong, msgspec names the field only in its sentence.
_NAMES_A_FIELD = re.compile(
    r"Object (?P<what>missing required|contains unknown) field `(?P<field>.+)`", re.DOTALL
)
_WHY = {"missing required": "is needed", "contains unknown": "is not a known field"}
_event_decoder = msgspec.json.Decoder(_EventIn)
_batch_decoder = msgspec.json.Decoder(_BatchIn)
_any_decoder = msgspec.json.Decoder[object]()
# Producers use few types, again and again.
_checked = lru_cache(maxsize=4096)(check_event_type)
_checked_channel = lru_cache(maxsize=4096)(check_channel)


def parse_event(body: bytes, limits: AcceptLimits, *, at: str = "") -> NewEvent:
    """Read `{"type": …, "data": …, "channels": […]}`; the last may be missing.

    Raises Invalid, which names the field, or TooLarge. `at` is where in a larger body it stands.
    """
    return _parse(body, limits, at=at)


def parse_batch(body: bytes, limits: AcceptLimits) -> tuple[NewEvent, ...]:
    """Read `{"events": […]}`; one wrong event refuses them all. Raises Invalid or TooLarge."""
    if len(body) > limits.batch_bytes:
        raise TooLarge("The batch", size=len(body), limit=limits.batch_bytes)
    batch = decode(_batch_decoder, body, at="")
    if not batch.events:
        raise Invalid("events", "must hold at least one event")
    if len(batch.events) > limits.batch_events:
        raise TooLarge("The batch", size=len(batch.events), limit=limits.batch_events, unit="events")
    return tuple(_parse(bytes(raw), limits, at=f"events.{n}") for n, raw in enumerate(batch.events))


def endpoint_test(endpoint_id: EndpointId) -> NewEvent:
    """The event that is sent to one endpoint alone, to see whether it arrives."""
    told = {"message": "This is a test.", "endpoint_id": show_id(Prefix.ENDPOINT, endpoint_id)}
    return NewEvent("waybill.test", msgspec.json.encode(told))


def _parse(body: bytes, limits: AcceptLimits, *, at: str) -> NewEvent:
    if len(body) > limits.event_bytes:
        raise TooLarge(at or "The event", size=len(body), limit=limits.event_bytes)
    event = decode(_event_decoder, body, at=at)
    try:
        type_ = _checked(event.type)
    except ValueError as error:
        raise Invalid(_join(at, "type"), str(error)) from None
    # The bytes go out as they came in; a decoded copy proves that every receiver can read them.
    data = bytes(event.data)
    decode(_any_decoder, data, at=_join(at, "data"))
    return NewEvent(type_, data, _channels(event.channels, at) if event.channels else ())


def _channels(channels: list[str], at: str) -> tuple[str, ...]:
    if len(channels) > MOST_OF_EVENT:
        raise Invalid(_join(at, "channels"), f"must be at most {MOST_OF_EVENT}, not {len(channels)}")
    for place, channel in enumerate(channels):
        try:
            _checked_channel(channel)
        except ValueError as error:
            raise Invalid(_join(at, f"channels.{place}"), str(error)) from None
    return tuple(dict.fromkeys(channels))


def decode(decoder: msgspec.json.Decoder[T], body: bytes, *, at: str) -> T:
    """Read JSON as this shape; raises Invalid, which names the field. `at` is where it stands in a body."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        why, _, path = str(error).partition(" - at `$")
        named = _NAMES_A_FIELD.fullmatch(why)
        if named is not None:
            path, why = named["field"], _WHY[named["what"]]
        raise Invalid(_join(at, path.rstrip("`").lstrip(".")) or "body", why) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(at or "body", f"is not JSON: {error}") from None
    except RecursionError:
        raise Invalid(at or "body", "is nested too deeply") from None


def _join(at: str, field: str) -> str:
    return f"{at}.{field}" if at and field else at or field
