"""Rows of an export: flat, the same columns in both formats. Pure."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from delivery.model import Attempt, Delivery

Row = tuple[Any, ...]

# A spreadsheet that opens the file would run a cell that begins so as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_MILLISECOND: Final = timedelta(milliseconds=1)

DELIVERY_COLUMNS: Final = (
    "id", "tenant_id", "event_id", "event_type", "endpoint_id", "status", "reason", "attempts", "outcome",
    "response", "sequence", "created_at", "due_at", "finished_at",
)  # fmt: skip
ATTEMPT_COLUMNS: Final = (
    "id", "delivery_id", "tenant_id", "event_id", "endpoint_id", "number", "started_at", "dns_ms",
    "connect_ms", "tls_ms", "first_byte_ms", "total_ms", "url", "address", "request_headers", "body_sha256",
    "key_ids", "response", "response_headers", "response_truncated", "outcome", "detail", "decision",
    "reason", "next_due_at", "worker",
)  # fmt: skip


class Format(StrEnum):
    """How an export is written: a JSON document a line, or CSV (RFC 4180) with a header."""

    JSONL = "jsonl"
    CSV = "csv"

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return "text/csv; charset=utf-8; header=present" if self is Format.CSV else "application/jsonl"


def head(form: Format, columns: Sequence[str]) -> bytes:
    """What stands before the first row."""
    return _csv([columns]) if form is Format.CSV else b""


def lines(form: Format, columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Rows as lines, each with its end."""
    if form is Format.CSV:
        return _csv([[_cell(value) for value in row] for row in rows])
    encode = msgspec.json.encode
    return b"".join([encode(dict(zip(columns, row, strict=True))) + b"\n" for row in rows])


def delivery_row(one: Delivery) -> Row:
    """A delivery under DELIVERY_COLUMNS."""
    return (
        show_id(Prefix.DELIVERY, one.id),
        show_id(Prefix.TENANT, one.tenant_id),
        show_id(Prefix.EVENT, one.event_id),
        one.event_type,
        show_id(Prefix.ENDPOINT, one.endpoint_id),
        one.status.value,
        one.reason,
        one.attempts,
        one.outcome,
        one.http_status,
        one.sequence,
        _moment(one.created_at),
        _moment(one.due_at),
        _moment(one.finished_at),
    )


def attempt_row(one: Attempt) -> Row:
    """An attempt under ATTEMPT_COLUMNS: all but the bodies."""
    taken = one.timings
    return (
        show_id(Prefix.ATTEMPT, one.id),
        show_id(Prefix.DELIVERY, one.delivery_id),
        show_id(Prefix.TENANT, one.tenant_id),
        show_id(Prefix.EVENT, one.event_id),
        show_id(Prefix.ENDPOINT, one.endpoint_id),
        one.number,
        _moment(one.started_at),
        *map(_milliseconds, (taken.dns, taken.connect, taken.tls, taken.first_byte, taken.total)),
        one.url,
        one.address,
        dict(one.request_headers),
        one.body_sha256.hex(),
        list(one.key_ids),
        one.status,
        list(one.response_headers),
        one.response_truncated,
        one.outcome,
        one.detail,
        one.decision,
        one.reason,
        _moment(one.next_due_at),
        one.worker,
    )


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> object:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case str() if value.startswith(_FORMULA):
            return f"'{value}"
        case _:
            return value


def _moment(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration / _MILLISECOND
