"""Attempts that tell something of their endpoint, recorded and judged on a real ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.bootstrap import clock
from delivery.dispatch.judging import Ended, judge_all
from delivery.ledger import health, recording
from delivery.ledger.recording import Final, Result
from delivery.model import DeliveryStatus
from retries.breaker import BreakerTerms
from retries.health import HealthTerms, Sign
from retries.policy import Signal
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.ledger import Ledger
    from delivery.ledger.claiming import Work
    from delivery.ledger.health import Standing
    from delivery.ledger.recording import Recorded
    from delivery.model import ClaimId, EndpointId, TenantId

# A breaker opens at the third failure in a row.
OPENS_AT = 3
TERMS = HealthTerms(BreakerTerms(consecutive=OPENS_AT), in_flight=on.PLENTY, disable_after=timedelta(days=5))
_GOOD = frozenset({Signal.GOOD, Signal.SLOW})
# So long before it ended an attempt of a test began.
TOOK = timedelta(milliseconds=5)
# Why an attempt that was not the last one failed.
REASON = "retryable_status"


@dataclass(frozen=True, slots=True)
class Told:
    """What an attempt tells: a signal, a wait, when it ended; `final` is the reason why it was the last."""

    signal: Signal = Signal.BAD
    wait: timedelta | None = None
    at: datetime | None = None
    started_at: datetime | None = None
    final: str | None = None
    gone: bool = False
    operational: bool = False
    terms: HealthTerms = TERMS


GOOD, BAD, LOST = Told(Signal.GOOD), Told(), Told(Signal.NONE)
GONE = Told(final="gone", gone=True)


def ended(work: Work, claim_id: ClaimId, told: Told = BAD) -> Ended:
    """An attempt at this delivery that tells this of its endpoint."""
    at = told.at or clock()
    return Ended(
        _result(work, claim_id, told, at),
        Sign(told.signal, told.started_at or at - TOOK, at, told.wait),
        told.terms,
        operational=told.operational,
        disable="gone" if told.gone else None,
    )


def _result(work: Work, claim_id: ClaimId, told: Told, at: datetime) -> Result:
    if told.signal in _GOOD:
        return on.success(work, claim_id)
    if told.gone:
        return on.failure(work, claim_id, gone=True)
    result = on.again(work, claim_id, burned=told.signal is not Signal.NONE)
    if told.final is None:
        return replace(result, attempt=replace(result.attempt, reason=REASON))
    attempt = replace(result.attempt, decision="give_up", reason=told.final)
    return Result(claim_id, attempt, Final(DeliveryStatus.FAILED, told.final, at))


async def record(ledger: Ledger, *group: Ended) -> Recorded:
    """Record and judge attempts in one transaction, as the recorder of a worker does."""
    async with ledger.transaction() as tx:
        recorded = await recording.record(tx, [one.result for one in group])
        await judge_all(tx, group, recorded, dice=lambda: 0.0)
    return recorded


async def under_way(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, count: int
) -> tuple[ClaimId, list[Work]]:
    """Accept so many events, and have a worker start as many of this endpoint's deliveries."""
    await on.accept_many(ledger, tenant, count)
    (claim_id,) = (await on.claim(ledger, [endpoint], take=count)).claims
    return claim_id, await on.start(ledger, claim_id)


async def attempt_each(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, told: Sequence[Told]) -> None:
    """An attempt for each, judged one after the other in one transaction."""
    claim_id, works = await under_way(ledger, tenant, endpoint, len(told))
    await record(ledger, *[ended(work, claim_id, each) for work, each in zip(works, told, strict=True)])


async def read(ledger: Ledger, endpoint: EndpointId) -> Standing:
    """An endpoint's health."""
    async with ledger.transaction() as tx:
        standing = await health.read(tx, endpoint)
    assert standing is not None
    return standing


async def time_passes(ledger: Ledger, by: timedelta) -> None:
    """Shift what the ledger knows of health and of what is due into the past."""
    await on.change(
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
    await on.change(ledger, "update schedule set due_at = due_at - :by", by=by)
