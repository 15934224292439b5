"""The log line of an attempt. When its level is off it costs one comparison."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from delivery.domain.ids import Prefix, format_id
from delivery.log import get_logger

if TYPE_CHECKING:
    from delivery.ledger.queue.results import RecordedAttempt

log = get_logger()


def log_attempt(result: RecordedAttempt, *, log_successes: bool, traceparent: str | None = None) -> None:
    """Log an attempt at `info`; a success at `debug` unless `log_successes`.

    With a `traceparent`, the line has the trace's id.
    """
    attempt = result.attempt
    level = logging.DEBUG if attempt.decision == "succeed" and not log_successes else logging.INFO
    if not log.is_enabled_for(level):  # formatting the ids would cost as much as signing
        return
    duration = attempt.timings.total
    trace_fields = {} if traceparent is None else {"trace_id": traceparent.split("-")[1]}
    log.log(
        level,
        "delivery.attempted",
        event_id=format_id(Prefix.EVENT, attempt.event_id),
        delivery_id=format_id(Prefix.DELIVERY, attempt.delivery_id),
        attempt_id=format_id(Prefix.ATTEMPT, attempt.id),
        endpoint_id=format_id(Prefix.ENDPOINT, attempt.endpoint_id),
        tenant_id=format_id(Prefix.TENANT, attempt.tenant_id),
        number=attempt.number,
        outcome=attempt.outcome,
        status=attempt.status,
        took_ms=None if duration is None else round(duration.total_seconds() * 1000, 1),
        decision=attempt.decision,
        reason=attempt.reason,
        **trace_fields,
    )
