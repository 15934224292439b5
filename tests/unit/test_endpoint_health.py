"""How an endpoint's health is put together, whatever the ledger knows of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.endpoints.health import MANY_FAILED, assemble, glance, preview
from delivery.ledger.endpoint_figures import Backlog, Owed, Recent
from delivery.ledger.health import Standing
from delivery.model import DeliveryId, Endpoint, EndpointLimits, EndpointState, Held, new_id
from retries.breaker import Breaker, BreakerState
from retries.health import Health, HealthTerms, Hold
from retries.limit import InFlightLimit
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT

NOW = datetime(2026, 11, 22, 18, 27, tzinfo=UTC)
SOON, LATE = NOW + timedelta(minutes=1), NOW - timedelta(minutes=1)
TERMS = HealthTerms(in_flight=50, disable_after=timedelta(days=5))
OLDEST, NEWEST = Owed(DeliveryId(new_id()), LATE), Owed(DeliveryId(new_id()), NOW)
BACKLOG = Backlog(NOW, waiting=7, oldest=OLDEST, newest=NEWEST, due=3, oldest_due=NEWEST)
NO_ATTEMPT = Recent(0, 0, sampled=False, p50=None, p95=None, p99=None)
WELL = Health(Breaker.fresh(LATE), InFlightLimit(50, ramping=False))
OPEN = replace(Breaker.fresh(LATE), state=BreakerState.OPEN, probe_at=SOON, openings=2)


def health_of(
    health: Health | None = WELL,
    *,
    endpoint: Endpoint = ENDPOINT,
    in_flight: int = 0,
    next_at: datetime | None = None,
    backlog: Backlog = BACKLOG,
):
    standing = None if health is None else Standing(endpoint.id, health, in_flight, None, next_at)
    return assemble(endpoint, standing, backlog, NO_ATTEMPT, TERMS)


def in_state(state: EndpointState) -> Endpoint:
    return replace(ENDPOINT, state=state, state_changed_at=LATE, state_reason="moving")


def test_nothing_is_held_of_an_endpoint_that_is_well() -> None:
    seen = health_of()
    assert (seen.hold, seen.held, seen.oldest_held, seen.waiting) == (None, 0, None, 7)


@pytest.mark.parametrize(
    ("health", "in_flight", "held"),
    [
        (replace(WELL, breaker=OPEN), 0, Held(Hold.BREAKER_OPEN, since=LATE, until=SOON)),
        (replace(WELL, breaker=replace(OPEN, probe_at=LATE)), 0, Held(Hold.BREAKER_OPEN, since=LATE)),
        (
            replace(WELL, breaker=replace(OPEN, state=BreakerState.HALF_OPEN)),
            1,
            Held(Hold.BREAKER_OPEN, since=LATE),
        ),
        (replace(WELL, waits_until=SOON), 0, Held(Hold.RETRY_AFTER, until=SOON)),
        (WELL, 50, Held(Hold.IN_FLIGHT_LIMIT)),
        (replace(WELL, limit=InFlightLimit(2, ramping=True)), 2, Held(Hold.IN_FLIGHT_LIMIT)),
    ],
    ids=["open", "probe due", "probe under way", "retry after", "in flight", "in flight, ramping"],
)
def test_what_is_due_is_held_by_what_its_health_forbids(health: Health, in_flight: int, held: Held) -> None:
    seen = health_of(health, in_flight=in_flight)
    assert (seen.hold, seen.held, seen.oldest_held) == (held, 3, NEWEST)


def test_a_rate_limit_holds_until_the_next_may_go() -> None:
    paced = replace(ENDPOINT, limits=EndpointLimits(rate=RateLimit(1, timedelta(minutes=1))))
    assert health_of(endpoint=paced, next_at=SOON).hold == Held(Hold.RATE_LIMIT, until=SOON)
    assert health_of(endpoint=paced, next_at=LATE).hold is None


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED])
def test_a_state_holds_before_anything_else_does(state: EndpointState) -> None:
    seen = health_of(replace(WELL, breaker=OPEN), endpoint=in_state(state))
    assert seen.hold == Held(Hold(state.value), since=LATE, reason="moving")
    assert seen.held == 3


def test_a_limit_of_before_counts_no_more_than_what_is_allowed_now() -> None:
    own = replace(ENDPOINT, limits=EndpointLimits(in_flight=5))
    seen = health_of(endpoint=own, in_flight=5)
    assert (seen.limit, seen.most, seen.hold) == (5, 5, Held(Hold.IN_FLIGHT_LIMIT))


def test_a_probe_is_due_only_while_the_breaker_is_open() -> None:
    assert health_of(replace(WELL, breaker=OPEN)).probe_at == SOON
    assert health_of(replace(WELL, breaker=replace(OPEN, state=BreakerState.HALF_OPEN))).probe_at is None
    assert health_of().probe_at is None


def test_an_endpoint_that_only_fails_knows_its_end() -> None:
    failing = replace(WELL, failing_since=LATE, failed=3, last_failed_at=LATE)
    assert health_of(failing).disabled_at == LATE + timedelta(days=5)
    own = replace(ENDPOINT, limits=EndpointLimits(disable_after=timedelta(hours=1)))
    assert health_of(failing, endpoint=own).disabled_at == LATE + timedelta(hours=1)
    assert health_of().disabled_at is None


def test_nobody_is_disabled_for_failures_of_long_ago_or_while_nothing_is_sent() -> None:
    failing = replace(WELL, failing_since=LATE - timedelta(days=9), last_failed_at=NOW - timedelta(days=6))
    assert health_of(failing).disabled_at is None
    recent = replace(failing, last_failed_at=LATE)
    assert health_of(recent).disabled_at is not None
    for state in (EndpointState.PAUSED, EndpointState.DISABLED):
        assert health_of(recent, endpoint=in_state(state)).disabled_at is None


def test_an_endpoint_of_which_nothing_is_written_is_a_fresh_one() -> None:
    seen = health_of(None)
    assert (seen.limit, seen.most, seen.hold) == (10, 50, None)
    assert seen.standing.health == Health.fresh(ENDPOINT.created_at, most=50)


def test_a_preview_tells_how_much_goes_out_and_how_fast() -> None:
    told = preview(in_state(EndpointState.DISABLED), None, BACKLOG, TERMS)
    assert (told.held, told.oldest, told.newest) == (7, OLDEST, NEWEST)
    assert (told.at_first, told.up_to) == (1, 50)


def test_enabling_an_active_endpoint_would_let_nothing_go() -> None:
    told = preview(ENDPOINT, Standing(ENDPOINT.id, WELL, 0, None, None), BACKLOG, TERMS)
    assert (told.held, told.oldest, told.newest, told.at_first, told.up_to) == (0, None, None, 50, 50)


def test_a_ratio_needs_attempts() -> None:
    assert NO_ATTEMPT.success_ratio is None
    assert replace(NO_ATTEMPT, attempts=4, succeeded=3).success_ratio == 0.75


@pytest.mark.parametrize(("failed", "is_failing"), [(MANY_FAILED - 1, False), (MANY_FAILED, True)])
def test_a_few_failures_are_no_reason_to_say_that_it_fails(failed: int, is_failing: bool) -> None:  # noqa: FBT001  a row of the table
    standing = Standing(ENDPOINT.id, replace(WELL, failing_since=LATE, failed=failed), 0, None, None)
    assert glance(ENDPOINT, standing, 0, TERMS, now=NOW).is_failing is is_failing


def test_a_glance_names_no_hold_where_nothing_is_held() -> None:
    paused = in_state(EndpointState.PAUSED)
    assert glance(paused, None, 0, TERMS, now=NOW).hold is None


def test_a_glance_counts_what_is_held() -> None:
    paused = in_state(EndpointState.PAUSED)
    seen = glance(paused, None, 3, TERMS, now=NOW)
    assert (seen.hold, seen.held) == (Held(Hold.PAUSED, since=LATE, reason="moving"), 3)


def test_what_is_due_and_not_held_is_no_part_of_what_is_held() -> None:
    assert glance(ENDPOINT, None, 3, TERMS, now=NOW).held == 0
