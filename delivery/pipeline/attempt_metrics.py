"""What a group of results that was recorded is to the metrics."""

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
    attempts_in_group: Sequence[FinishedAttempt],
    recorded: RecordingResult,
    breaker_changes: Mapping[BreakerState, int],
    seconds: float,
) -> None:
    """Count results that share a transaction, which took so long, and the breakers that it turned.

    Of results under claims that were gone only the attempts count: they ended no delivery.
    """
    metrics.observe_recording(len(attempts_in_group), seconds)
    attempts = [one.result.attempt for one in attempts_in_group]
    metrics.count_attempts(
        Counter([attempt.outcome for attempt in attempts]),
        [attempt.timings.total.total_seconds() for attempt in attempts if attempt.timings.total is not None],
    )
    if breaker_changes:
        metrics.count_breaker_transitions(breaker_changes)
    valid = [one for one in attempts_in_group if one.result.claim_id not in recorded.orphaned_claims]
    ends = [
        (one, one.result.next_state) for one in valid if isinstance(one.result.next_state, DeliveryFinished)
    ]
    for (lane, status), number in Counter([(one.priority, final.status) for one, final in ends]).items():
        metrics.count_ended(str(status), number)
        if lane is Priority.REPLAY:
            metrics.count_replayed(str(status), number)
    metrics.observe_deliveries(
        (one.sample.ended_at - extract_id_time(one.result.attempt.delivery_id)).total_seconds()
        for one, final in ends
        if final.status is DeliveryStatus.SUCCEEDED and one.priority is Priority.LIVE
    )
