"""What a group of results that was recorded is to the metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from delivery import metrics
from delivery.ledger.recording import Final
from delivery.model import DeliveryStatus, Lane, moment_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from delivery.dispatch.judging import Ended
    from delivery.ledger.recording import Recorded
    from retries.breaker import BreakerState


def count(
    group: Sequence[Ended], recorded: Recorded, turned: Mapping[BreakerState, int], seconds: float
) -> None:
    """Count results that share a transaction, which took so long, and the breakers that it turned.

    Of results under claims that were gone only the attempts count: they ended no delivery.
    """
    metrics.recorded(len(group), seconds)
    attempts = [one.result.attempt for one in group]
    metrics.attempted(
        Counter([attempt.outcome for attempt in attempts]),
        [attempt.timings.total.total_seconds() for attempt in attempts if attempt.timings.total is not None],
    )
    if turned:
        metrics.turned(turned)
    valid = [one for one in group if one.result.claim_id not in recorded.orphans]
    ends = [(one, one.result.follows) for one in valid if isinstance(one.result.follows, Final)]
    for (lane, status), number in Counter([(one.lane, final.status) for one, final in ends]).items():
        metrics.ended(str(status), number)
        if lane is Lane.REPLAY:
            metrics.replayed(str(status), number)
    metrics.succeeded(
        (one.sign.at - moment_of(one.result.attempt.delivery_id)).total_seconds()
        for one, final in ends
        if final.status is DeliveryStatus.SUCCEEDED and one.lane is Lane.LIVE
    )
