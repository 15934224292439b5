"""Sample delivery histories for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import EndpointStatus
from delivery.domain.ids import AttemptId, new_id
from delivery.ledger.records.deliveries import DeliveryProgress
from delivery.ledger.records.journal import JournalEntry
from delivery.services.timeline.history import DeliveryHistory
from retries.breaker import Breaker
from retries.health import Health
from retries.limit import InFlightLimit
from tests.unit.cli.records import ATTEMPT, DELIVERY, ENDPOINT, TENANT

if TYPE_CHECKING:
    from delivery.domain.attempt import Attempt

NOW = datetime(2026, 11, 22, 18, 30, 0, tzinfo=UTC)
MADE = DELIVERY.created_at
SITUATION = EndpointStatus(
    state=EndpointState.ACTIVE,
    state_reason=None,
    state_actor="cli:ada",
    state_changed_at=MADE,
    health=Health(Breaker.fresh(MADE), InFlightLimit(10, ramping=False)),
    in_flight=0,
    max_in_flight=None,
    rate=None,
    next_at=None,
    now=NOW,
)
STORY = DeliveryHistory(
    delivery=replace(DELIVERY, attempts=0, due_at=MADE),
    progress=DeliveryProgress(step=0, claimed_at=None, started_at=None, worker=None),
    url=ENDPOINT.url,
    endpoint_status=SITUATION,
    max_attempts=10,
    attempts=(),
    replay_requests=(),
    entries_before=(),
    entries_since=(),
    left_out=(),
    now=NOW,
)


def after(seconds: float) -> datetime:
    """This many seconds after the delivery was created."""
    return MADE + timedelta(seconds=seconds)


def entry(
    action: str, at: float, *, reason: str | None = None, actor: str = "cli:ada", **details: object
) -> JournalEntry:
    """A journal entry of the endpoint, this many seconds after the delivery was created."""
    return JournalEntry(
        tenant_id=TENANT.id,
        action=action,
        actor=actor,
        at=after(at),
        reason=reason,
        endpoint_id=ENDPOINT.id,
        details=details,
    )


def replay_requested(at: float, *, was: str = "failed") -> JournalEntry:
    """A journal entry of a retry request."""
    return replace(entry("delivery.retried", at, was=was), delivery_id=DELIVERY.id)


def attempt(number: int, *, claimed: float, next_due: float | None, took: float = 0.5) -> Attempt:
    """A refused attempt with the due time of the next one; `next_due` None: a successful attempt."""
    created = replace(
        ATTEMPT,
        id=AttemptId(new_id()),
        number=number,
        claimed_at=after(claimed),
        started_at=after(claimed + 0.1),
        timings=replace(ATTEMPT.timings, total=timedelta(seconds=took)),
        next_due_at=None if next_due is None else after(next_due),
    )
    if next_due is not None:
        return created
    result = "The endpoint answered 200 OK."
    return replace(
        created, status=200, outcome="delivered", detail=result, decision="succeed", reason="delivered"
    )
