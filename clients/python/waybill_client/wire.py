"""From events to the bytes of a request, and from an answer to what it says. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from delivery.client.errors import NotUnderstood, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

EVENTS_PATH: Final = "/v1/events"
BATCH_PATH: Final = "/v1/events/batch"
# Of one batch: what Waybill takes unless told otherwise is twice as many events, and four times the bytes.
DEFAULT_BATCH_SIZE: Final = 500
MAX_BATCH_BYTES: Final = 1 << 23
_ACCEPTED: Final = 202


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. `data` is anything that JSON can say, or the exact JSON as bytes.

    `channels` say whom it is for: endpoints that ask for one of them, and those that ask for none.
    """

    type: str
    data: Any
    channels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that Waybill owes to `deliveries` endpoints; `replayed`: it had been accepted before."""

    id: str
    type: str
    created_at: datetime
    deliveries: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A POST to make."""

    path: str
    body: bytes
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def encode_event(event: Event) -> bytes:
    """An event as the API takes it. Raises TypeError and ValueError for what JSON cannot say."""
    on = b',"channels":%b' % _encode_json(list(event.channels)) if event.channels else b""
    return b'{"type":%b,"data":%b%b}' % (_encode_json(event.type), encode_data(event), on)


def encode_data(event: Event) -> bytes:
    """The `data` of an event as JSON; bytes are taken as they are, if they are JSON. Raises as `encode`."""
    if isinstance(event.data, bytes):
        _check_json(event.data)
        return event.data
    return _encode_json(event.data)


def split_batches(
    events: Iterable[Event], *, batch_size: int, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[bytes]]:
    """Encoded events in their order, so many and so many bytes at once; the same events, the same batches."""
    batch: list[bytes] = []
    size = 0
    for event in events:
        encoded = encode_event(event)
        if batch and (len(batch) >= batch_size or size + len(encoded) > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded)
    if batch:
        yield batch


def encode_batch(encoded: Sequence[bytes]) -> bytes:
    """The body of a batch."""
    return b'{"events":[%b]}' % b",".join(encoded)


def read_accepted(answer: Response) -> list[Accepted]:
    """The events that a 202 tells of, in their order. Raises NotUnderstood."""
    try:
        if answer.status != _ACCEPTED:
            raise NotUnderstood(answer.status, answer.body)
        said = json.loads(answer.body)
        events = said.get("events", [said])
        replayed = "idempotency-replayed" in answer.headers
        return [_read_accepted_event(event, replayed=replayed) for event in events]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotUnderstood(answer.status, answer.body) from None


def read_problem(answer: Response) -> Problem:
    """The problem that an answer tells of; of one that is no problem document, its status alone."""
    title, _, _ = answer.body[:200].decode(errors="replace").partition("\n")
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return Problem(answer.status, "about:blank", title)
    try:
        said = json.loads(answer.body)
        return Problem(
            answer.status,
            str(said.get("type", "about:blank")),
            str(said.get("title", "")),
            str(said.get("detail", "")),
            str(said.get("request_id", "")),
            tuple(_read_fault(fault) for fault in said.get("errors", ()) if isinstance(fault, dict)),
        )
    except (ValueError, AttributeError, TypeError):
        return Problem(answer.status, "about:blank", title)


def _read_fault(said: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in said.items()}


def _read_accepted_event(event: Any, *, replayed: bool) -> Accepted:
    return Accepted(
        id=str(event["id"]),
        type=str(event["type"]),
        created_at=datetime.fromisoformat(event["created_at"]).astimezone(UTC),
        deliveries=int(event["deliveries"]),
        replayed=replayed,
    )


def _check_json(data: bytes) -> None:
    """Raise ValueError for what is not one JSON value in UTF-8: in a batch, more would be more events."""
    try:
        json.loads(data.decode(), parse_int=str, parse_float=str, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("data as bytes must be JSON: this is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"data as bytes must be JSON: {error}") from None


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON.")


def _encode_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
