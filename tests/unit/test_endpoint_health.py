"""How an endpoint's health is put together, whatever the ledger knows of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.domain.delivery import ActiveHold
from delivery.domain.endpoint import Endpoint, EndpointLimits, EndpointState
from delivery.domain.ids import DeliveryId, new_id
from delivery.ledger.queue.endpoint_health import EndpointHealthRow
from delivery.ledger.stats.endpoint_stats import EndpointBacklog, OwedDelivery, RecentAttempts
from delivery.services.endpoints.health import (
    MIN_FAILURES_TO_FLAG,
    build_enable_preview,
    build_health,
    build_summary,
)
from retries.breaker import Breaker, BreakerState
from retries.health import Health, HealthConfig, Hold
from retries.limit import InFlightLimit
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT

NOW = datetime(2026, 11, 22, 18, 27, tzinfo=UTC)
SOON, LATE = NOW + timedelta(minutes=1), NOW - timedelta(minutes=1)
TERMS = HealthConfig(max_in_flight=50, disable_after=timedelta(days=5))
OLDEST, NEWEST = OwedDelivery(DeliveryId(new_id()), LATE), OwedDelivery(DeliveryId(new_id()), NOW)
BACKLOG = EndpointBacklog(NOW, waiting=7, oldest=OLDEST, newest=NEWEST, due=3, oldest_due=NEWEST)
NO_ATTEMPT = RecentAttempts(0, 0, sampled=False, p50=None, p95=None, p99=None)
WELL = Health(Breaker.fresh(LATE), InFlightLimit(50, ramping=False))
OPEN = replace(Breaker.fresh(LATE), state=BreakerState.OPEN, probe_at=SOON, openings=2)


def health_of(
    health: Health | None = WELL,
    *,
    endpoint: Endpoint = ENDPOINT,
    in_flight: int = 0,
    next_at: datetime | None = None,
    backlog: EndpointBacklog = BACKLOG,
):
    standing = None if health is None else EndpointHealthRow(endpoint.id, health, in_flight, None, next_at)
    return build_health(endpoint, standing, backlog, NO_ATTEMPT, TERMS)


def in_state(state: EndpointState) -> Endpoint:
    return replace(ENDPOINT, state=state, state_changed_at=LATE, state_reason="moving")


def test_a_healthy_endpoint_has_no_hold() -> None:
    seen = health_of()
    assert (seen.hold, seen.held, seen.oldest_held, seen.waiting) == (None, 0, None, 7)


@pytest.mark.parametrize(
    ("health", "in_flight", "held"),
    [
        (replace(WELL, breaker=OPEN), 0, ActiveHold(Hold.BREAKER_OPEN, since=LATE, until=SOON)),
        (replace(WELL, breaker=replace(OPEN, probe_at=LATE)), 0, ActiveHold(Hold.BREAKER_OPEN, since=LATE)),
        (
            replace(WELL, breaker=replace(OPEN, state=BreakerState.HALF_OPEN)),
            1,
            ActiveHold(Hold.BREAKER_OPEN, since=LATE),
        ),
        (replace(WELL, waits_until=SOON), 0, ActiveHold(Hold.RETRY_AFTER, until=SOON)),
        (WELL, 50, ActiveHold(Hold.IN_FLIGHT_LIMIT)),
        (replace(WELL, limit=InFlightLimit(2, ramping=True)), 2, ActiveHold(Hold.IN_FLIGHT_LIMIT)),
    ],
    ids=["open", "probe due", "probe under way", "retry after", "in flight", "in flight, ramping"],
)
def test_what_is_due_is_held_by_what_its_health_forbids(
    health: Health, in_flight: int, held: ActiveHold
) -> None:
    seen = health_of(health, in_flight=in_flight)
    assert (seen.hold, seen.held, seen.oldest_held) == (held, 3, NEWEST)


def test_a_rate_limit_holds_until_the_next_may_go() -> None:
    paced = replace(ENDPOINT, limits=EndpointLimits(rate=RateLimit(1, timedelta(minutes=1))))
    assert health_of(endpoint=paced, next_at=SOON).hold == ActiveHold(Hold.RATE_LIMIT, until=SOON)
    assert health_of(endpoint=paced, next_at=LATE).hold is None


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED])
def test_a_state_holds_before_anything_else_does(state: EndpointState) -> None:
    seen = health_of(replace(WELL, breaker=OPEN), endpoint=in_state(state))
    assert seen.hold == ActiveHold(Hold(state.value), since=LATE, reason="moving")
    assert seen.held == 3


def test_stored_limit_is_capped_by_the_current_maximum() -> None:
    own = replace(ENDPOINT, limits=EndpointLimits(in_flight=5))
    seen = health_of(endpoint=own, in_flight=5)
    assert (seen.in_flight_limit, seen.max_in_flight, seen.hold) == (5, 5, ActiveHold(Hold.IN_FLIGHT_LIMIT))


def test_a_probe_is_due_only_while_the_breaker_is_open() -> None:
    assert health_of(replace(WELL, breaker=OPEN)).probe_at == SOON
    assert health_of(replace(WELL, breaker=replace(OPEN, state=BreakerState.HALF_OPEN))).probe_at is None
    assert health_of().probe_at is None


def test_a_failing_endpoint_has_a_disable_time() -> None:
    failing = replace(WELL, failing_since=LATE, failed=3, last_failed_at=LATE)
    assert health_of(failing).disabled_at == LATE + timedelta(days=5)
    own = replace(ENDPOINT, limits=EndpointLimits(disable_after=timedelta(hours=1)))
    assert health_of(failing, endpoint=own).disabled_at == LATE + timedelta(hours=1)
    assert health_of().disabled_at is None


def test_endpoint_is_not_disabled_for_old_failures_or_while_idle() -> None:
    failing = replace(WELL, failing_since=LATE - timedelta(days=9), last_failed_at=NOW - timedelta(days=6))
    assert health_of(failing).disabled_at is None
    recent = replace(failing, last_failed_at=LATE)
    assert health_of(recent).disabled_at is not None
    for state in (EndpointState.PAUSED, EndpointState.DISABLED):
        assert health_of(recent, endpoint=in_state(state)).disabled_at is None


def test_endpoint_without_a_health_row_counts_as_fresh() -> None:
    seen = health_of(None)
    assert (seen.in_flight_limit, seen.max_in_flight, seen.hold) == (10, 50, None)
    assert seen.record.health == Health.fresh(ENDPOINT.created_at, max_in_flight=50)


def test_a_preview_tells_how_much_goes_out_and_how_fast() -> None:
    told = build_enable_preview(in_state(EndpointState.DISABLED), None, BACKLOG, TERMS)
    assert (told.held, told.oldest, told.newest) == (7, OLDEST, NEWEST)
    assert (told.initial_in_flight, told.max_in_flight) == (1, 50)


def test_enabling_an_active_endpoint_would_let_nothing_go() -> None:
    told = build_enable_preview(ENDPOINT, EndpointHealthRow(ENDPOINT.id, WELL, 0, None, None), BACKLOG, TERMS)
    assert (told.held, told.oldest, told.newest, told.initial_in_flight, told.max_in_flight) == (
        0,
        None,
        None,
        50,
        50,
    )


def test_a_ratio_needs_attempts() -> None:
    assert NO_ATTEMPT.success_ratio is None
    assert replace(NO_ATTEMPT, attempts=4, succeeded=3).success_ratio == 0.75


@pytest.mark.parametrize(
    ("failed", "is_failing"), [(MIN_FAILURES_TO_FLAG - 1, False), (MIN_FAILURES_TO_FLAG, True)]
)
def test_a_few_failures_are_no_reason_to_say_that_it_fails(failed: int, is_failing: bool) -> None:  # noqa: FBT001  a row of the table
    standing = EndpointHealthRow(ENDPOINT.id, replace(WELL, failing_since=LATE, failed=failed), 0, None, None)
    assert build_summary(ENDPOINT, standing, 0, TERMS, now=NOW).is_failing is is_failing


def test_a_summary_has_no_hold_without_due_deliveries() -> None:
    paused = in_state(EndpointState.PAUSED)
    assert build_summary(paused, None, 0, TERMS, now=NOW).hold is None


def test_a_summary_counts_held_deliveries() -> None:
    paused = in_state(EndpointState.PAUSED)
    seen = build_summary(paused, None, 3, TERMS, now=NOW)
    assert (seen.hold, seen.held) == (ActiveHold(Hold.PAUSED, since=LATE, reason="moving"), 3)


def test_due_deliveries_that_are_not_held_are_not_counted_as_held() -> None:
    assert build_summary(ENDPOINT, None, 3, TERMS, now=NOW).held == 0
