from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.holding import Situation, hold_of, with_hold
from delivery.model import DeliveryStatus, EndpointId, EndpointState, Held, new_id
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
FREE = Situation(
    state=EndpointState.ACTIVE,
    state_reason=None,
    state_actor="cli:ada",
    state_changed_at=SINCE,
    health=WELL,
    in_flight=0,
    most=None,
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
            Held(Hold.PAUSED, since=SINCE, reason="moving house"),
        ),
        (
            replace(FREE, state=EndpointState.DISABLED, state_reason="gone"),
            Held(Hold.DISABLED, since=SINCE, reason="gone"),
        ),
        (
            replace(FREE, health=replace(WELL, breaker=OPEN)),
            Held(Hold.BREAKER_OPEN, since=SINCE, until=SOON),
        ),
        (replace(FREE, health=replace(WELL, waits_until=SOON)), Held(Hold.RETRY_AFTER, until=SOON)),
        (
            replace(FREE, rate=RateLimit(1, timedelta(minutes=1)), next_at=SOON),
            Held(Hold.RATE_LIMIT, until=SOON),
        ),
        (replace(FREE, in_flight=10), Held(Hold.IN_FLIGHT_LIMIT)),
    ],
    ids=lambda value: str(value.by) if isinstance(value, Held) else "",
)
def test_every_hold_is_told_with_what_is_known_of_it(situation: Situation, held: Held) -> None:
    assert hold_of(situation, in_flight=MOST) == held
    assert with_hold(DUE, {DUE.endpoint_id: situation}, in_flight=MOST).held == held


def test_an_endpoint_that_may_be_sent_something_holds_nothing() -> None:
    assert hold_of(FREE, in_flight=MOST) is None
    assert hold_of(replace(FREE, in_flight=9), in_flight=MOST) is None


def test_a_pause_is_told_before_anything_that_health_says() -> None:
    paused = replace(FREE, state=EndpointState.PAUSED, health=replace(WELL, breaker=OPEN))
    assert hold_of(paused, in_flight=MOST) == Held(Hold.PAUSED, since=SINCE)


@pytest.mark.parametrize("state", [BreakerState.HALF_OPEN, BreakerState.OPEN])
def test_beside_a_probe_everything_is_held_until_it_has_come_back(state: BreakerState) -> None:
    probing = replace(OPEN, state=state, probe_at=NOW - timedelta(seconds=1))
    held = hold_of(replace(FREE, health=replace(WELL, breaker=probing)), in_flight=MOST)
    assert held == Held(Hold.BREAKER_OPEN, since=SINCE)


def test_an_endpoints_own_limit_comes_before_the_operators() -> None:
    wide = replace(FREE, health=replace(WELL, limit=InFlightLimit(90, ramping=False)), in_flight=60)
    assert hold_of(wide, in_flight=MOST) == Held(Hold.IN_FLIGHT_LIMIT)
    assert hold_of(replace(wide, most=100), in_flight=MOST) is None


def test_an_endpoint_of_which_nothing_is_known_yet_holds_nothing() -> None:
    assert hold_of(replace(FREE, health=None), in_flight=MOST) is None


def test_only_a_delivery_that_waits_and_is_due_is_held() -> None:
    paused = {DUE.endpoint_id: replace(FREE, state=EndpointState.PAUSED)}
    for other in (
        replace(DUE, due_at=SOON),
        replace(DUE, status=DeliveryStatus.IN_FLIGHT),
        replace(DUE, status=DeliveryStatus.FAILED, due_at=None, finished_at=NOW),
    ):
        assert with_hold(other, paused, in_flight=MOST).held is None


def test_a_delivery_of_a_deleted_endpoint_is_not_held() -> None:
    elsewhere = {EndpointId(new_id()): replace(FREE, state=EndpointState.PAUSED)}
    assert with_hold(DUE, elsewhere, in_flight=MOST) is DUE
