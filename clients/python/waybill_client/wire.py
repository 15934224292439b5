"""Encodes events as request bodies and decodes responses. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from waybill_client.errors import NotUnderstood, Problem
from waybill_client.events import Accepted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from waybill_client.events import Event

EVENTS_PATH: Final = "/v1/events"
BATCH_PATH: Final = "/v1/events/batch"
# Per batch. By default Waybill accepts twice as many events and four times the bytes.
DEFAULT_BATCH_SIZE: Final = 500
MAX_BATCH_BYTES: Final = 1 << 23
_ACCEPTED: Final = 202


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A POST request."""

    path: str
    body: bytes
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def encode_event(event: Event) -> bytes:
    """Encode an event for the API. Raises TypeError and ValueError for data that is not JSON."""
    channels = b',"channels":%b' % _encode_json(list(event.channels)) if event.channels else b""
    return b'{"type":%b,"data":%b%b}' % (_encode_json(event.type), encode_data(event), channels)


def encode_data(event: Event) -> bytes:
    """Encode the `data` of an event; bytes pass unchanged if they are JSON. Raises as `encode_event`."""
    if isinstance(event.data, bytes):
        _check_json(event.data)
        return event.data
    return _encode_json(event.data)


def split_batches(
    events: Iterable[Event], *, batch_size: int, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[bytes]]:
    """Encode events and split them by count and bytes. The same events always make the same batches."""
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


def read_accepted(response: Response) -> list[Accepted]:
    """Read the accepted events of a 202, in order. Raises NotUnderstood."""
    try:
        if response.status != _ACCEPTED:
            raise NotUnderstood(response.status, response.body)
        document = json.loads(response.body)
        events = document.get("events", [document])
        replayed = "idempotency-replayed" in response.headers
        return [_read_accepted_event(event, replayed=replayed) for event in events]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotUnderstood(response.status, response.body) from None


def read_problem(response: Response) -> Problem:
    """Read the problem document of a response; without one, take the status and the first line."""
    title, _, _ = response.body[:200].decode(errors="replace").partition("\n")
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return Problem(response.status, "about:blank", title)
    try:
        document = json.loads(response.body)
        return Problem(
            response.status,
            str(document.get("type", "about:blank")),
            str(document.get("title", "")),
            str(document.get("detail", "")),
            str(document.get("request_id", "")),
            tuple(_read_fault(fault) for fault in document.get("errors", ()) if isinstance(fault, dict)),
        )
    except (ValueError, AttributeError, TypeError):
        return Problem(response.status, "about:blank", title)


def _read_fault(document: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in document.items()}


def _read_accepted_event(event: Any, *, replayed: bool) -> Accepted:
    return Accepted(
        id=str(event["id"]),
        type=str(event["type"]),
        created_at=datetime.fromisoformat(event["created_at"]).astimezone(UTC),
        deliveries=int(event["deliveries"]),
        replayed=replayed,
    )


def _check_json(data: bytes) -> None:
    """Raise ValueError unless this is one JSON value in UTF-8: in a batch, two would be two events."""
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
