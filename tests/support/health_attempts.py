"""Attempts that tell something of their endpoint, recorded and judged on a real ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.clock import clock
from delivery.domain.delivery import DeliveryStatus
from delivery.ledger.queue import endpoint_health, results
from delivery.ledger.queue.results import DeliveryFinished, RecordedAttempt
from delivery.pipeline.health_update import FinishedAttempt, apply_results
from retries.breaker import BreakerConfig
from retries.health import HealthConfig, HealthSample, Signal
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.ids import ClaimId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.ledger.queue.endpoint_health import EndpointHealthRow
    from delivery.ledger.queue.results import RecordingResult

# A breaker opens at the third failure in a row.
FAILURES_TO_OPEN = 3
HEALTH_TERMS = HealthConfig(
    BreakerConfig(consecutive=FAILURES_TO_OPEN),
    max_in_flight=build.HIGH_IN_FLIGHT,
    disable_after=timedelta(days=5),
)
_GOOD_SIGNALS = frozenset({Signal.GOOD, Signal.SLOW})
# So long before it ended an attempt of a test began.
ATTEMPT_DURATION = timedelta(milliseconds=5)
# Why an attempt that was not the last one failed.
RETRY_REASON = "retryable_status"


@dataclass(frozen=True, slots=True)
class AttemptSignal:
    """An attempt's effect on health: signal, wait, end; `final` is the reason why it was the last."""

    signal: Signal = Signal.BAD
    retry_after: timedelta | None = None
    at: datetime | None = None
    started_at: datetime | None = None
    final_reason: str | None = None
    is_gone: bool = False
    operational: bool = False
    terms: HealthConfig = HEALTH_TERMS


GOOD, BAD, LOST = AttemptSignal(Signal.GOOD), AttemptSignal(), AttemptSignal(Signal.NONE)
GONE = AttemptSignal(final_reason="gone", is_gone=True)


def make_attempt_result(
    work: ClaimedDelivery, claim_id: ClaimId, signal: AttemptSignal = BAD
) -> FinishedAttempt:
    """An attempt at this delivery that tells this of its endpoint."""
    at = signal.at or clock()
    return FinishedAttempt(
        _make_result(work, claim_id, signal, at),
        HealthSample(signal.signal, signal.started_at or at - ATTEMPT_DURATION, at, signal.retry_after),
        signal.terms,
        operational=signal.operational,
        disable_reason="gone" if signal.is_gone else None,
    )


def _make_result(
    work: ClaimedDelivery, claim_id: ClaimId, told: AttemptSignal, at: datetime
) -> RecordedAttempt:
    if told.signal in _GOOD_SIGNALS:
        return build.make_success(work, claim_id)
    if told.is_gone:
        return build.make_failure(work, claim_id, is_gone=True)
    result = build.make_retry(work, claim_id, steps=told.signal is not Signal.NONE)
    if told.final_reason is None:
        return replace(result, attempt=replace(result.attempt, reason=RETRY_REASON))
    attempt = replace(result.attempt, decision="give_up", reason=told.final_reason)
    return RecordedAttempt(claim_id, attempt, DeliveryFinished(DeliveryStatus.FAILED, told.final_reason, at))


async def record_attempts(ledger: Ledger, *group: FinishedAttempt) -> RecordingResult:
    """Record and judge attempts in one transaction, as the recorder of a worker does."""
    async with ledger.transaction() as tx:
        recorded = await results.record_attempts(tx, [one.result for one in group])
        await apply_results(tx, group, recorded, rng=lambda: 0.0)
    return recorded


async def start_deliveries(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, count: int
) -> tuple[ClaimId, list[ClaimedDelivery]]:
    """Accept this many events, and start as many of the endpoint's deliveries."""
    await build.accept_events(ledger, tenant, count)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint], take=count)).claim_ids
    return claim_id, await build.start_claim(ledger, claim_id)


async def record_each(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, signals: Sequence[AttemptSignal]
) -> None:
    """An attempt for each, judged one after the other in one transaction."""
    claim_id, works = await start_deliveries(ledger, tenant, endpoint, len(signals))
    await record_attempts(
        ledger,
        *[make_attempt_result(work, claim_id, each) for work, each in zip(works, signals, strict=True)],
    )


async def read_health(ledger: Ledger, endpoint: EndpointId) -> EndpointHealthRow:
    """An endpoint's health."""
    async with ledger.transaction() as tx:
        standing = await endpoint_health.read(tx, endpoint)
    assert standing is not None
    return standing


async def shift_into_past(ledger: Ledger, by: timedelta) -> None:
    """Shift what the ledger knows of health and of what is due into the past."""
    await build.execute(
        ledger,
        """
        update endpoint_health
        set breaker_since = breaker_since - :by, window_since = window_since - :by,
            probe_at = probe_at - :by, limit_lowered_at = limit_lowered_at - :by,
            waits_until = waits_until - :by, rate_next_at = rate_next_at - :by,
            failing_since = failing_since - :by, last_failed_at = last_failed_at - :by,
            last_succeeded_at = last_succeeded_at - :by
        """,
        by=by,
    )
    await build.execute(ledger, "update schedule set due_at = due_at - :by", by=by)
