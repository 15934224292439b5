"""The rows of an export: flat, with the same columns in JSON Lines and CSV. Pure."""

from __future__ import annotations

import csv
import io
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from delivery.domain.durations import format_rfc3339, to_milliseconds
from delivery.domain.ids import Prefix, format_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from delivery.domain.attempt import Attempt
    from delivery.domain.delivery import Delivery

Row = tuple[Any, ...]

# A spreadsheet would run a cell that begins like this as a formula.
_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r")

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


class ExportFormat(StrEnum):
    """The format of an export: a JSON document per line, or CSV (RFC 4180) with a header."""

    JSONL = "jsonl"
    CSV = "csv"

    @property
    def media_type(self) -> str:
        """The media type of the file."""
        return "text/csv; charset=utf-8; header=present" if self is ExportFormat.CSV else "application/jsonl"


def encode_header(export_format: ExportFormat, columns: Sequence[str]) -> bytes:
    """The bytes before the first row."""
    return _encode_csv([columns]) if export_format is ExportFormat.CSV else b""


def encode_rows(export_format: ExportFormat, columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Encode rows as lines."""
    if export_format is ExportFormat.CSV:
        return _encode_csv([[_format_cell(value) for value in row] for row in rows])
    encode = msgspec.json.encode
    return b"".join([encode(dict(zip(columns, row, strict=True))) + b"\n" for row in rows])


def build_delivery_row(delivery: Delivery) -> Row:
    """A delivery under DELIVERY_COLUMNS."""
    return (
        format_id(Prefix.DELIVERY, delivery.id),
        format_id(Prefix.TENANT, delivery.tenant_id),
        format_id(Prefix.EVENT, delivery.event_id),
        delivery.event_type,
        format_id(Prefix.ENDPOINT, delivery.endpoint_id),
        delivery.status.value,
        delivery.reason,
        delivery.attempts,
        delivery.outcome,
        delivery.http_status,
        delivery.sequence,
        _format_optional(delivery.created_at),
        _format_optional(delivery.due_at),
        _format_optional(delivery.finished_at),
    )


def build_attempt_row(attempt: Attempt) -> Row:
    """An attempt under ATTEMPT_COLUMNS: all but the bodies."""
    timings = attempt.timings
    return (
        format_id(Prefix.ATTEMPT, attempt.id),
        format_id(Prefix.DELIVERY, attempt.delivery_id),
        format_id(Prefix.TENANT, attempt.tenant_id),
        format_id(Prefix.EVENT, attempt.event_id),
        format_id(Prefix.ENDPOINT, attempt.endpoint_id),
        attempt.number,
        _format_optional(attempt.started_at),
        *map(to_milliseconds, (timings.dns, timings.connect, timings.tls, timings.first_byte, timings.total)),
        attempt.url,
        attempt.address,
        dict(attempt.request_headers),
        attempt.body_sha256.hex(),
        list(attempt.key_ids),
        attempt.status,
        list(attempt.response_headers),
        attempt.response_truncated,
        attempt.outcome,
        attempt.detail,
        attempt.decision,
        attempt.reason,
        _format_optional(attempt.next_due_at),
        attempt.worker,
    )


def _encode_csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _format_cell(value: Any) -> object:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case str() if value.startswith(_FORMULA_PREFIXES):
            return f"'{value}"
        case _:
            return value


def _format_optional(moment: datetime | None) -> str | None:
    return None if moment is None else format_rfc3339(moment)
