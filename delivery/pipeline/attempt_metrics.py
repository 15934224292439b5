"""Counts a group of recorded attempts in the metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.domain.ids import extract_id_time
from delivery.ledger.queue.results import DeliveryFinished
from delivery.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from delivery.ledger.queue.results import RecordingResult
    from delivery.pipeline.health_update import FinishedAttempt
    from retries.breaker import BreakerState


def record_metrics(
    attempts: Sequence[FinishedAttempt],
    recorded: RecordingResult,
    breaker_changes: Mapping[BreakerState, int],
    seconds: float,
) -> None:
    """Count attempts that were recorded in one transaction, and the breakers that they changed.

    Attempts whose claim had lapsed count as attempts only: they ended no delivery.
    """
    metrics.observe_recording(len(attempts), seconds)
    durations = [attempt.result.attempt.timings.total for attempt in attempts]
    metrics.count_attempts(
        Counter([attempt.result.attempt.outcome for attempt in attempts]),
        [duration.total_seconds() for duration in durations if duration is not None],
    )
    if breaker_changes:
        metrics.count_breaker_transitions(breaker_changes)
    ended = [
        (attempt, attempt.result.next_state)
        for attempt in attempts
        if attempt.result.claim_id not in recorded.orphaned_claims
        and isinstance(attempt.result.next_state, DeliveryFinished)
    ]
    ends = Counter([(attempt.priority, final.status) for attempt, final in ended])
    for (priority, status), count in ends.items():
        metrics.count_ended(str(status), count)
        if priority is Priority.REPLAY:
            metrics.count_replayed(str(status), count)
    metrics.observe_deliveries(
        (attempt.sample.ended_at - extract_id_time(attempt.result.attempt.delivery_id)).total_seconds()
        for attempt, final in ended
        if final.status is DeliveryStatus.SUCCEEDED and attempt.priority is Priority.LIVE
    )
