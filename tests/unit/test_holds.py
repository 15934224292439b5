from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.domain.delivery import ActiveHold, DeliveryStatus
from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import EndpointStatus, attach_hold, find_hold
from delivery.domain.ids import EndpointId, new_id
from retries.breaker import Breaker, BreakerState
from retries.health import Health, Hold
from retries.limit import InFlightLimit
from retries.rate import RateLimit
from tests.unit.cli.records import DELIVERY

NOW = datetime(2026, 11, 22, 18, 27, 0, tzinfo=UTC)
SINCE = NOW - timedelta(hours=3)
SOON = NOW + timedelta(seconds=30)
MOST = 50
CLOSED = Breaker.fresh(SINCE)
OPEN = replace(CLOSED, state=BreakerState.OPEN, probe_at=SOON)
WELL = Health(CLOSED, InFlightLimit(10, ramping=False))
FREE = EndpointStatus(
    state=EndpointState.ACTIVE,
    state_reason=None,
    state_actor="cli:ada",
    state_changed_at=SINCE,
    health=WELL,
    in_flight=0,
    max_in_flight=None,
    rate=None,
    next_at=None,
    now=NOW,
)
DUE = replace(DELIVERY, due_at=NOW - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("situation", "held"),
    [
        (
            replace(FREE, state=EndpointState.PAUSED, state_reason="moving house"),
            ActiveHold(Hold.PAUSED, since=SINCE, reason="moving house"),
        ),
        (
            replace(FREE, state=EndpointState.DISABLED, state_reason="gone"),
            ActiveHold(Hold.DISABLED, since=SINCE, reason="gone"),
        ),
        (
            replace(FREE, health=replace(WELL, breaker=OPEN)),
            ActiveHold(Hold.BREAKER_OPEN, since=SINCE, until=SOON),
        ),
        (replace(FREE, health=replace(WELL, waits_until=SOON)), ActiveHold(Hold.RETRY_AFTER, until=SOON)),
        (
            replace(FREE, rate=RateLimit(1, timedelta(minutes=1)), next_at=SOON),
            ActiveHold(Hold.RATE_LIMIT, until=SOON),
        ),
        (replace(FREE, in_flight=10), ActiveHold(Hold.IN_FLIGHT_LIMIT)),
    ],
    ids=lambda value: str(value.by) if isinstance(value, ActiveHold) else "",
)
def test_every_hold_is_told_with_what_is_known_of_it(situation: EndpointStatus, held: ActiveHold) -> None:
    assert find_hold(situation, default_in_flight=MOST) == held
    assert attach_hold(DUE, {DUE.endpoint_id: situation}, default_in_flight=MOST).held == held


def test_an_endpoint_that_may_be_sent_something_holds_nothing() -> None:
    assert find_hold(FREE, default_in_flight=MOST) is None
    assert find_hold(replace(FREE, in_flight=9), default_in_flight=MOST) is None


def test_a_pause_is_told_before_anything_that_health_says() -> None:
    paused = replace(FREE, state=EndpointState.PAUSED, health=replace(WELL, breaker=OPEN))
    assert find_hold(paused, default_in_flight=MOST) == ActiveHold(Hold.PAUSED, since=SINCE)


@pytest.mark.parametrize("state", [BreakerState.HALF_OPEN, BreakerState.OPEN])
def test_deliveries_are_held_until_the_probe_returns(state: BreakerState) -> None:
    probing = replace(OPEN, state=state, probe_at=NOW - timedelta(seconds=1))
    held = find_hold(replace(FREE, health=replace(WELL, breaker=probing)), default_in_flight=MOST)
    assert held == ActiveHold(Hold.BREAKER_OPEN, since=SINCE)


def test_an_endpoints_own_limit_comes_before_the_operators() -> None:
    wide = replace(FREE, health=replace(WELL, limit=InFlightLimit(90, ramping=False)), in_flight=60)
    assert find_hold(wide, default_in_flight=MOST) == ActiveHold(Hold.IN_FLIGHT_LIMIT)
    assert find_hold(replace(wide, max_in_flight=100), default_in_flight=MOST) is None


def test_an_endpoint_of_which_nothing_is_known_yet_holds_nothing() -> None:
    assert find_hold(replace(FREE, health=None), default_in_flight=MOST) is None


def test_only_a_delivery_that_waits_and_is_due_is_held() -> None:
    paused = {DUE.endpoint_id: replace(FREE, state=EndpointState.PAUSED)}
    for other in (
        replace(DUE, due_at=SOON),
        replace(DUE, status=DeliveryStatus.IN_FLIGHT),
        replace(DUE, status=DeliveryStatus.FAILED, due_at=None, finished_at=NOW),
    ):
        assert attach_hold(other, paused, default_in_flight=MOST).held is None


def test_a_delivery_of_a_deleted_endpoint_is_not_held() -> None:
    elsewhere = {EndpointId(new_id()): replace(FREE, state=EndpointState.PAUSED)}
    assert attach_hold(DUE, elsewhere, default_in_flight=MOST) is DUE
