"""The health of an endpoint as it is shown: its hold, its backlog, its recent attempts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import EndpointStatus, find_hold
from delivery.ledger.queue.endpoint_health import EndpointHealthRow
from retries.breaker import BreakerState
from retries.health import MIN_FAILURE_GAP, Health
from retries.limit import InFlightLimit

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.delivery import ActiveHold
    from delivery.domain.endpoint import Endpoint
    from delivery.ledger.stats.endpoint_stats import EndpointBacklog, OwedDelivery, RecentAttempts
    from retries.health import HealthConfig

RECENT_WINDOW: Final = timedelta(hours=1)
MAX_SAMPLED: Final = 10_000
MAX_DUE_COUNTED: Final = 1_000
MIN_FAILURES_TO_FLAG: Final = 5


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The health of an endpoint.

    `in_flight_limit` is its limit now, `max_in_flight` the largest. `hold` is why due deliveries are not
    sent; `held` counts those, `waiting` all that no worker has; `bounded`: there may be more. `disabled_at`
    is when it will be disabled if every attempt fails until then.
    """

    endpoint: Endpoint
    record: EndpointHealthRow
    in_flight_limit: int
    max_in_flight: int
    hold: ActiveHold | None
    held: int
    oldest_held: OwedDelivery | None
    waiting: int
    disabled_at: datetime | None
    recent: RecentAttempts
    bounded: bool = False

    @property
    def probe_at(self) -> datetime | None:
        """When the next probe may be sent; None while the breaker is closed or a probe is in flight."""
        breaker = self.record.health.breaker
        return breaker.probe_at if breaker.state is BreakerState.OPEN else None


@dataclass(frozen=True, slots=True)
class EndpointSummary:
    """The health of an endpoint in a list.

    `hold` is what holds due deliveries; `held` counts them, up to MAX_DUE_COUNTED.
    """

    breaker: BreakerState
    hold: ActiveHold | None
    held: int
    in_flight: int
    last_succeeded_at: datetime | None
    last_failed_at: datetime | None
    failed: int = 0

    @property
    def is_failing(self) -> bool:
        """Whether enough attempts failed in a row to flag the endpoint."""
        return self.failed >= MIN_FAILURES_TO_FLAG


@dataclass(frozen=True, slots=True)
class EnablePreview:
    """What enabling an endpoint would release, and the in-flight limit at first and after the ramp."""

    endpoint: Endpoint
    held: int
    oldest: OwedDelivery | None
    newest: OwedDelivery | None
    initial_in_flight: int
    max_in_flight: int
    bounded: bool = False


def build_health(
    endpoint: Endpoint,
    stored_record: EndpointHealthRow | None,
    backlog: EndpointBacklog,
    recent: RecentAttempts,
    defaults: HealthConfig,
) -> EndpointHealth:
    """Build an endpoint's health from one snapshot of the ledger."""
    config = endpoint.limits.apply_defaults(defaults)
    record = stored_record or _create_default_record(endpoint, config)
    hold = find_hold(_build_status(endpoint, record, now=backlog.now), default_in_flight=config.max_in_flight)
    return EndpointHealth(
        endpoint=endpoint,
        record=record,
        in_flight_limit=min(record.health.limit.now, config.max_in_flight),
        max_in_flight=config.max_in_flight,
        hold=hold,
        held=0 if hold is None else backlog.due,
        oldest_held=None if hold is None else backlog.oldest_due,
        waiting=backlog.waiting,
        disabled_at=_compute_disabled_at(endpoint, record.health, config, now=backlog.now),
        recent=recent,
        bounded=backlog.bounded,
    )


def build_summary(
    endpoint: Endpoint,
    stored_record: EndpointHealthRow | None,
    due: int,
    defaults: HealthConfig,
    *,
    now: datetime,
) -> EndpointSummary:
    """Build the summary of an endpoint for a list."""
    config = endpoint.limits.apply_defaults(defaults)
    record = stored_record or _create_default_record(endpoint, config)
    hold = find_hold(_build_status(endpoint, record, now=now), default_in_flight=config.max_in_flight)
    return EndpointSummary(
        breaker=record.health.breaker.state,
        hold=hold if due else None,
        held=0 if hold is None else min(due, MAX_DUE_COUNTED),
        in_flight=record.in_flight,
        last_succeeded_at=record.health.last_succeeded_at,
        last_failed_at=record.health.last_failed_at,
        failed=record.health.failed,
    )


def build_enable_preview(
    endpoint: Endpoint,
    stored_record: EndpointHealthRow | None,
    backlog: EndpointBacklog,
    defaults: HealthConfig,
) -> EnablePreview:
    """Preview enabling; for an active endpoint it releases nothing."""
    config = endpoint.limits.apply_defaults(defaults)
    if endpoint.state is EndpointState.ACTIVE:
        now = (stored_record or _create_default_record(endpoint, config)).health.limit.now
        return EnablePreview(endpoint, 0, None, None, min(now, config.max_in_flight), config.max_in_flight)
    return EnablePreview(
        endpoint,
        backlog.waiting,
        backlog.oldest,
        backlog.newest,
        initial_in_flight=InFlightLimit.start_ramp().now,
        max_in_flight=config.max_in_flight,
        bounded=backlog.bounded,
    )


def _build_status(endpoint: Endpoint, record: EndpointHealthRow, *, now: datetime) -> EndpointStatus:
    return EndpointStatus(
        state=endpoint.state,
        state_reason=endpoint.state_reason,
        state_actor=endpoint.state_actor,
        state_changed_at=endpoint.state_changed_at,
        health=record.health,
        in_flight=record.in_flight,
        max_in_flight=endpoint.limits.in_flight,
        rate=endpoint.limits.rate,
        next_at=record.next_at,
        now=now,
    )


def _compute_disabled_at(
    endpoint: Endpoint, health: Health, config: HealthConfig, *, now: datetime
) -> datetime | None:
    if endpoint.state is not EndpointState.ACTIVE or health.failing_since is None:
        return None
    # After a longer time without failures the next failure starts a new count.
    silence = max(config.disable_after, MIN_FAILURE_GAP)
    if health.last_failed_at is not None and now - health.last_failed_at > silence:
        return None
    return health.failing_since + config.disable_after


def _create_default_record(endpoint: Endpoint, config: HealthConfig) -> EndpointHealthRow:
    """The record of an endpoint without a stored one: an older release made it."""
    health = Health.fresh(endpoint.created_at, max_in_flight=config.max_in_flight)
    return EndpointHealthRow(endpoint.id, health, in_flight=0, probe_id=None, next_at=None)
