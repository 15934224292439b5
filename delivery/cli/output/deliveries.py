"""Print a delivery and its attempts as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.cli.output.table import Column, print_facts, print_indented, print_table, print_text
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.ids import Prefix, format_id
from delivery.services.presentation import describe_missing_body, describe_status, format_short_time
from delivery.services.sentences import describe_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.attempt import Attempt, Timings
    from delivery.domain.delivery import Delivery
    from delivery.domain.endpoint import Endpoint
    from delivery.services.deliveries import AttemptDetails

_MAX_BODY_BYTES: Final = 2_000


@dataclass(frozen=True, slots=True)
class DeliveryWithAttempts:
    """A delivery with its endpoint (None: deleted) and its attempts, oldest first."""

    delivery: Delivery
    endpoint: Endpoint | None
    attempts: Sequence[Attempt]


def print_history(history: DeliveryWithAttempts, *, now: datetime) -> None:
    """Print a delivery's status with the reason, and every attempt with its decision."""
    delivery, endpoint, attempts = history.delivery, history.endpoint, history.attempts
    reason = delivery.reason or (attempts[-1].reason if attempts else None)
    print_facts(
        [
            ("status", describe_status(delivery, endpoint, now=now)),
            ("reason", "" if reason is None else describe_reason(reason)),
            ("event", f"{format_id(Prefix.EVENT, delivery.event_id)}  {delivery.event_type}"),
            ("endpoint", format_id(Prefix.ENDPOINT, delivery.endpoint_id)),
            ("", "(deleted)" if endpoint is None else endpoint.url),
            ("made", format_utc(delivery.created_at)),
            ("next due", "" if delivery.due_at is None else format_utc(delivery.due_at)),
            ("ended", "" if delivery.finished_at is None else format_utc(delivery.finished_at)),
        ],
        title=f"Delivery {format_id(Prefix.DELIVERY, delivery.id)}",
    )
    print_text("")
    if not attempts:
        print_text("No attempt was made yet.")
        return
    _print_attempts(attempts)


def print_attempt(details: AttemptDetails) -> None:
    """Print one exchange with its bodies."""
    attempt = details.attempt
    due = "" if attempt.next_due_at is None else f", due {format_utc(attempt.next_due_at)}"
    print_facts(
        [
            ("outcome", f"{attempt.outcome}: {attempt.detail}"),
            ("decision", f"{_format_decision(attempt)}{due}"),
            ("reason", describe_reason(attempt.reason)),
            ("delivery", f"{format_id(Prefix.DELIVERY, attempt.delivery_id)}, attempt {attempt.number}"),
            ("started", format_utc(attempt.started_at)),
            ("took", _format_timings(attempt.timings)),
            ("url", attempt.url),
            ("address", attempt.address or "none was dialled"),
            ("signed by", ", ".join(f"key {key_id}" for key_id in attempt.key_ids)),
            ("worker", attempt.worker),
            ("erased", "" if attempt.erased_at is None else format_utc(attempt.erased_at)),
        ],
        title=f"Attempt {format_id(Prefix.ATTEMPT, attempt.id)}",
    )
    _print_message(
        "Request",
        list(attempt.request_headers.items()),
        details.body,
        describe_missing_body(details.body_unavailable),
    )
    if attempt.status is None:
        print_text("")
        print_text("No response came.")
        return
    title = f"Response {attempt.status}"
    none = "No body." if attempt.erased_at is None else "Its headers and its body were erased."
    _print_message(title, list(attempt.response_headers), attempt.response_body, none)
    if attempt.response_truncated:
        print_indented("(the rest was not read)", indent=2, style="dim")


def _print_attempts(attempts: Sequence[Attempt]) -> None:
    print_table(
        [
            Column("#", numeric=True),
            Column("STARTED (UTC)"),
            Column("TOOK", numeric=True),
            Column("OUTCOME"),
            Column("STATUS"),
            Column("THEN"),
            Column("ATTEMPT", optional=True),
        ],
        [
            (
                str(attempt.number),
                format_short_time(attempt.started_at),
                "" if attempt.timings.total is None else format_duration(attempt.timings.total),
                attempt.outcome,
                "" if attempt.status is None else str(attempt.status),
                _format_decision(attempt)
                + ("" if attempt.next_due_at is None else f" {format_short_time(attempt.next_due_at)}"),
                format_id(Prefix.ATTEMPT, attempt.id),
            )
            for attempt in attempts
        ],
        empty_message="",
    )
    print_text("")
    for attempt in attempts:
        print_indented(f"{attempt.number}. {attempt.detail} {describe_reason(attempt.reason)}", indent=1)
    last = attempts[-1]
    print_text("")
    tenant_option = f"--tenant {format_id(Prefix.TENANT, last.tenant_id)}"
    print_text(
        f"All of the last one: waybill attempt show {tenant_option} {format_id(Prefix.ATTEMPT, last.id)}",
        style="dim",
    )


def _print_message(
    title: str, headers: Sequence[tuple[str, str]], body: bytes | None, empty_message: str
) -> None:
    print_text("")
    print_facts(headers, title=title)
    if not body:
        print_indented(empty_message, indent=2, style="dim")
        return
    print_text("")
    excerpt = body[:_MAX_BODY_BYTES].decode(errors="replace")
    print_indented(excerpt, indent=2)
    if len(body) > _MAX_BODY_BYTES:
        print_indented(
            f"… {len(body) - _MAX_BODY_BYTES:,} bytes more; --json has them", indent=2, style="dim"
        )


def _format_decision(attempt: Attempt) -> str:
    return attempt.decision.replace("_", " ")


def _format_timings(timings: Timings) -> str:
    """Format the durations that were measured."""
    if timings.total is None:
        return ""
    steps = [("dns", timings.dns), ("connect", timings.connect), ("tls", timings.tls)]
    steps.append(("first byte", timings.first_byte))
    seen = ", ".join(f"{name} {format_duration(taken)}" for name, taken in steps if taken is not None)
    return format_duration(timings.total) + (f" ({seen})" if seen else "")
