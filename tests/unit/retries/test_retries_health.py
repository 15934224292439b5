"""Attempts update an endpoint's health, report changes, and decide what may be sent now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from retries.breaker import Breaker, BreakerState, start_probe
from retries.health import (
    Allowance,
    BreakerClosed,
    BreakerOpened,
    DisableWarning,
    FailedTooLong,
    Health,
    HealthConfig,
    HealthSample,
    Hold,
    Signal,
    WaitRequested,
    compute_allowance,
    update_health,
)
from retries.limit import InFlightLimit
from retries.rate import RateLimit

if TYPE_CHECKING:
    from retries.health import HealthChange

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
TERMS = HealthConfig(max_in_flight=16, disable_after=100 * HOUR)
OPEN, CLOSED, HALF_OPEN = BreakerState.OPEN, BreakerState.CLOSED, BreakerState.HALF_OPEN


def healthy(limit: int = 16) -> Health:
    """Make the health of an endpoint at full speed."""
    return replace(Health.fresh(NOW, max_in_flight=16), limit=InFlightLimit(limit, ramping=False))


def make_sample(
    signal: Signal,
    at: datetime = NOW,
    *,
    took: timedelta = timedelta(0),
    wait: timedelta | None = None,
    probe: bool = False,
) -> HealthSample:
    return HealthSample(signal, started_at=at - took, ended_at=at, requested_wait=wait, is_probe=probe)


def apply_all(
    health: Health, *signs: HealthSample, terms: HealthConfig = TERMS, jitter: float = 0.0
) -> tuple[Health, list[HealthChange]]:
    """Apply attempts one after another; returns the health and all reported changes."""
    heard: list[HealthChange] = []
    for sign in signs:
        health, changes = update_health(health, sign, config=terms, jitter=jitter)
        heard += changes
    return health, heard


def after(health: Health, *signs: HealthSample, terms: HealthConfig = TERMS) -> Health:
    return apply_all(health, *signs, terms=terms)[0]


def opened() -> Health:
    """Make the health of an endpoint whose breaker has just opened, for half a minute."""
    return after(healthy(), *[make_sample(Signal.BAD)] * 10)


def probed(signal: Signal, at: datetime = NOW + 31 * SECOND) -> tuple[Health, list[HealthChange]]:
    """Make the same after its probe has ended."""
    return apply_all(on_probation(), make_sample(signal, at, probe=True))


def on_probation() -> Health:
    """Make the same while its probe is in flight."""
    health = opened()
    return replace(health, breaker=start_probe(health.breaker))


def allowed(
    health: Health,
    at: datetime = NOW,
    *,
    in_flight: int = 0,
    most: int = 16,
    rate: RateLimit | None = None,
    next_at: datetime | None = None,
) -> Allowance:
    return compute_allowance(
        health, in_flight=in_flight, max_in_flight=most, rate=rate, next_at=next_at, now=at
    )


# ---- what a signal changes
@pytest.mark.parametrize(
    ("signal", "in_a_row", "limit"),
    [
        (Signal.GOOD, 0, InFlightLimit(8, ramping=False, credit=1)),
        (Signal.ALIVE, 0, InFlightLimit(8, ramping=False, credit=1)),
        (Signal.BAD, 6, InFlightLimit(8, ramping=False)),
        (Signal.SLOW, 6, InFlightLimit(4, ramping=False, lowered_at=NOW)),
        (Signal.CONGESTED, 6, InFlightLimit(4, ramping=False, lowered_at=NOW)),
        (Signal.NONE, 5, InFlightLimit(8, ramping=False)),
    ],
)
def test_each_signal_counts_for_or_against_the_breaker_and_the_limit(
    signal: Signal, in_a_row: int, limit: InFlightLimit
):
    health = after(healthy(8), *[make_sample(Signal.BAD)] * 5, make_sample(signal))
    assert (health.breaker.consecutive, health.limit) == (in_a_row, limit)


@pytest.mark.parametrize("signal", [Signal.BAD, Signal.SLOW, Signal.CONGESTED])
def test_anything_but_success_ends_the_ramp(signal: Signal):
    ramping = replace(healthy(), limit=InFlightLimit(8, ramping=True))
    assert after(ramping, make_sample(signal)).limit == InFlightLimit(4, ramping=False, lowered_at=NOW)


def test_an_interruption_by_us_changes_nothing():
    assert apply_all(healthy(), make_sample(Signal.NONE)) == (healthy(), [])


@pytest.mark.parametrize("signal", [Signal.BAD, Signal.CONGESTED, Signal.SLOW])
def test_the_tenth_failure_in_a_row_opens_the_breaker(signal: Signal):
    health, heard = apply_all(healthy(), *[make_sample(signal)] * 10)
    assert health.breaker.state is OPEN
    assert heard == [BreakerOpened(NOW + 30 * SECOND, is_reopened=False)]


def test_a_rejected_body_opens_no_breaker():
    assert after(healthy(), *[make_sample(Signal.ALIVE)] * 1000).breaker.state is CLOSED


# ---- stragglers
@pytest.mark.parametrize("signal", [signal for signal in Signal if signal is not Signal.NONE])
@pytest.mark.parametrize("health", [opened(), on_probation()], ids=["open", "half open"])
def test_results_other_than_the_probe_do_not_change_an_open_breaker(signal: Signal, health: Health):
    later = after(health, make_sample(signal, NOW + 20 * SECOND))
    assert (later.breaker, later.limit) == (health.breaker, health.limit)


def test_a_success_beside_the_probe_resets_the_failures():
    later = after(opened(), make_sample(Signal.GOOD, NOW + 20 * SECOND))
    assert (later.failing_since, later.failed) == (None, 0)


@pytest.mark.parametrize("signal", [Signal.GOOD, Signal.BAD, Signal.CONGESTED])
def test_attempts_started_before_the_breaker_closed_change_nothing(signal: Signal):
    closed, _ = probed(Signal.GOOD)
    straggler = make_sample(signal, NOW + 35 * SECOND, took=5 * SECOND)
    later = after(closed, *[straggler] * 10)
    assert (later.breaker, later.limit) == (closed.breaker, closed.limit)


def test_attempts_started_when_the_breaker_closed_count():
    closed, _ = probed(Signal.GOOD)
    assert after(closed, make_sample(Signal.GOOD, NOW + 35 * SECOND, took=4 * SECOND)).limit.now == 2


# ---- the probe
@pytest.mark.parametrize("signal", [Signal.GOOD, Signal.SLOW, Signal.ALIVE])
def test_a_good_probe_closes_the_breaker_and_starts_the_ramp(signal: Signal):
    health, heard = probed(signal)
    assert (health.breaker.state, health.limit) == (CLOSED, InFlightLimit.start_ramp())
    assert heard == [BreakerClosed(NOW)]


@pytest.mark.parametrize("signal", [Signal.BAD, Signal.CONGESTED])
def test_a_failed_probe_opens_the_breaker_for_longer(signal: Signal):
    health, heard = probed(signal)
    assert (health.breaker.state, health.breaker.since) == (OPEN, NOW)
    assert heard == [BreakerOpened(NOW + 91 * SECOND, is_reopened=True)]


def test_closing_reports_the_first_opening():
    health, _ = probed(Signal.BAD)
    health = replace(health, breaker=start_probe(health.breaker))
    assert apply_all(health, make_sample(Signal.GOOD, NOW + HOUR, probe=True))[1] == [BreakerClosed(NOW)]


def test_an_interrupted_probe_allows_another_at_once():
    health, heard = probed(Signal.NONE)
    assert heard == []
    assert allowed(health, NOW + 31 * SECOND) == Allowance(1, Hold.BREAKER_OPEN, is_probe=True)


def test_interrupted_probe_does_not_reopen_a_manually_closed_breaker():
    back = on_probation().reset_after_enabling(NOW + SECOND)
    assert apply_all(back, make_sample(Signal.NONE, NOW + 2 * SECOND, probe=True)) == (back, [])


# ---- recovery
@pytest.mark.parametrize("signal", [Signal.GOOD, Signal.ALIVE])
def test_full_speed_resets_the_openings(signal: Signal):
    closed, _ = probed(Signal.GOOD)
    later = NOW + 40 * SECOND
    almost = after(closed, *[make_sample(signal, later)] * 14)
    assert (almost.breaker.openings, almost.limit.now) == (1, 8)
    there = after(almost, make_sample(signal, later))
    assert (there.breaker.openings, there.limit.now) == (0, 16)


def test_an_interrupted_ramp_reaches_full_speed():
    closed, _ = probed(Signal.GOOD)
    later = NOW + 40 * SECOND
    slipped = after(closed, *[make_sample(Signal.GOOD, later)] * 7, make_sample(Signal.BAD, later))
    assert (slipped.limit.now, slipped.limit.ramping, slipped.breaker.openings) == (4, False, 1)
    there = after(slipped, *[make_sample(Signal.GOOD, later)] * 114)
    assert (there.breaker.openings, there.limit.now) == (0, 16)


def test_failure_is_no_recovery_even_with_a_limit_of_one():
    item = replace(TERMS, max_in_flight=1)
    closed, _ = probed(Signal.GOOD)
    later = NOW + 40 * SECOND
    assert after(closed, make_sample(Signal.BAD, later), terms=item).breaker.openings == 1
    assert after(closed, make_sample(Signal.GOOD, later), terms=item).breaker.openings == 0


# ---- waiting
def test_a_requested_wait_is_kept_and_reported():
    health, heard = apply_all(healthy(), make_sample(Signal.CONGESTED, wait=HOUR))
    assert health.waits_until == NOW + HOUR
    assert heard == [WaitRequested(NOW + HOUR)]


def test_a_longer_wait_is_reported_if_it_makes_a_difference():
    first, longer = make_sample(Signal.CONGESTED, wait=HOUR), make_sample(Signal.CONGESTED, wait=2 * HOUR)
    hardly = make_sample(Signal.CONGESTED, wait=2 * HOUR + SECOND)
    health, heard = apply_all(healthy(), first, longer, hardly)
    assert health.waits_until == NOW + 2 * HOUR + SECOND
    assert heard == [WaitRequested(NOW + HOUR), WaitRequested(NOW + 2 * HOUR)]


def test_a_shorter_wait_changes_nothing():
    first, shorter = make_sample(Signal.CONGESTED, wait=HOUR), make_sample(Signal.CONGESTED, wait=SECOND)
    assert after(healthy(), first, shorter).waits_until == NOW + HOUR


@pytest.mark.parametrize("hours", [1, 2])
def test_a_new_wait_is_reported_again(hours: int):
    later = NOW + hours * HOUR
    first, second = make_sample(Signal.CONGESTED, wait=HOUR), make_sample(Signal.CONGESTED, later, wait=HOUR)
    assert apply_all(healthy(), first, second)[1] == [WaitRequested(NOW + HOUR), WaitRequested(later + HOUR)]


def test_a_wait_of_zero_is_not_reported():
    health, heard = apply_all(healthy(), make_sample(Signal.CONGESTED, wait=timedelta(0)))
    assert (health.waits_until, heard) == (None, [])


def test_a_success_meanwhile_does_not_end_the_wait():
    health = after(
        healthy(), make_sample(Signal.CONGESTED, wait=HOUR), make_sample(Signal.GOOD, NOW + SECOND)
    )
    assert health.waits_until == NOW + HOUR


# ---- failing for too long
def failures(*hours: float, signal: Signal = Signal.BAD) -> list[HealthSample]:
    """Make failures at these hours from now."""
    return [make_sample(signal, NOW + hour * HOUR) for hour in hours]


def news_of_failing(*hours: float) -> list[HealthChange]:
    heard = apply_all(healthy(), *failures(*hours, signal=Signal.ALIVE))[1]
    return [change for change in heard if isinstance(change, DisableWarning | FailedTooLong)]


def warning(percent: int) -> DisableWarning:
    return DisableWarning(percent, NOW, NOW + 100 * HOUR)


def test_the_first_failure_starts_the_failing_time():
    health = after(healthy(), *failures(1, 2, 3))
    assert (health.failing_since, health.failed, health.last_failed_at) == (NOW + HOUR, 3, NOW + 3 * HOUR)


@pytest.mark.parametrize("signal", [Signal.BAD, Signal.CONGESTED, Signal.ALIVE])
def test_every_refusal_is_a_failure(signal: Signal):
    assert after(healthy(), make_sample(signal)).failing_since == NOW


@pytest.mark.parametrize("signal", [Signal.GOOD, Signal.SLOW])
def test_one_success_resets_the_failures(signal: Signal):
    health = after(healthy(), *failures(0, 60, signal=Signal.ALIVE), make_sample(signal, NOW + 61 * HOUR))
    assert (health.failing_since, health.failed, health.warned) == (None, 0, 0)
    assert health.last_succeeded_at == NOW + 61 * HOUR


def test_warnings_are_sent_once_at_half_and_nine_tenths_of_the_time():
    assert news_of_failing(0, 49, 50, 60, 89, 90, 95, 99) == [warning(50), warning(90)]


@pytest.mark.parametrize(("hours", "warnings"), [(49.9, []), (50, [warning(50)]), (90, [warning(90)])])
def test_a_warning_is_sent_when_its_time_has_come(hours: float, warnings: list[HealthChange]):
    assert news_of_failing(0, hours) == warnings


def test_a_warning_that_is_too_late_is_skipped():
    assert news_of_failing(0, 95) == [warning(90)]


def test_an_endpoint_fails_too_long_after_the_whole_time():
    assert news_of_failing(*range(0, 90, 10), 100)[-1] == FailedTooLong(NOW)


def test_few_failures_are_never_too_long():
    assert news_of_failing(0, 60, 120) == [warning(50), warning(90)]


def test_a_long_gap_restarts_the_count():
    health = after(healthy(), *failures(0, 10, 20, 30, 40, 60, 161))
    assert (health.failing_since, health.failed, health.warned) == (NOW + 161 * HOUR, 1, 0)


def test_delays_of_a_schedule_are_no_gap():
    brief = replace(TERMS, disable_after=HOUR)
    _, heard = apply_all(healthy(), *failures(*range(0, 24 * 10, 24)), terms=brief)
    assert FailedTooLong(NOW) in heard


def test_after_a_success_the_warnings_come_again():
    before = after(
        healthy(), *failures(0, 60, signal=Signal.ALIVE), make_sample(Signal.GOOD, NOW + 61 * HOUR)
    )
    heard = apply_all(before, *failures(70, 130, signal=Signal.ALIVE))[1]
    assert heard == [DisableWarning(50, NOW + 70 * HOUR, NOW + 170 * HOUR)]


# ---- enabling
def test_enabling_an_endpoint_resets_its_health():
    troubled = after(opened(), make_sample(Signal.CONGESTED, NOW + SECOND, wait=HOUR))
    later = NOW + 2 * SECOND
    back = troubled.reset_after_enabling(later)
    assert back == Health(Breaker.fresh(later), InFlightLimit.start_ramp(), last_failed_at=NOW + SECOND)


# ---- what may be sent
def test_a_healthy_endpoint_may_use_its_whole_limit():
    assert allowed(healthy(8), in_flight=3) == Allowance(5, Hold.IN_FLIGHT_LIMIT)


def test_the_own_limit_is_never_exceeded():
    assert allowed(healthy(16), in_flight=3, most=4) == Allowance(1, Hold.IN_FLIGHT_LIMIT)


@pytest.mark.parametrize("in_flight", [8, 9])
def test_a_full_endpoint_waits_for_an_attempt_to_end(in_flight: int):
    assert allowed(healthy(8), in_flight=in_flight) == Allowance(0, Hold.IN_FLIGHT_LIMIT)


def test_an_open_breaker_allows_nothing_before_its_probe_time():
    probe_at = NOW + 30 * SECOND
    assert allowed(opened(), probe_at - timedelta.resolution) == Allowance(0, Hold.BREAKER_OPEN, probe_at)


def test_an_open_breaker_allows_one_probe_at_its_probe_time():
    assert allowed(opened(), NOW + 30 * SECOND) == Allowance(1, Hold.BREAKER_OPEN, is_probe=True)


def test_probe_is_sent_beside_older_attempts_despite_a_lowered_limit():
    lowered = replace(opened(), limit=InFlightLimit(1, ramping=False))
    assert allowed(lowered, NOW + 30 * SECOND, in_flight=15).count == 1


def test_probe_waits_while_older_attempts_use_the_whole_limit():
    assert allowed(opened(), NOW + HOUR, in_flight=16) == Allowance(0, Hold.IN_FLIGHT_LIMIT)


def test_nothing_is_allowed_while_the_probe_is_in_flight():
    assert allowed(on_probation(), NOW + HOUR) == Allowance(0, Hold.BREAKER_OPEN)


def test_a_requested_wait_holds_the_endpoint():
    waiting = replace(healthy(), waits_until=NOW + HOUR)
    assert allowed(waiting) == Allowance(0, Hold.RETRY_AFTER, NOW + HOUR)
    assert allowed(waiting, NOW + HOUR).count == 16


def test_a_requested_wait_holds_the_probe():
    waiting = replace(opened(), waits_until=NOW + HOUR)
    assert allowed(waiting, NOW + 30 * SECOND) == Allowance(0, Hold.RETRY_AFTER, NOW + HOUR)


# ---- what may be sent at a rate
TEN_A_SECOND = RateLimit(10, SECOND)


def test_a_rate_limit_allows_its_rate_and_gives_the_next_time():
    assert allowed(healthy(), rate=TEN_A_SECOND) == Allowance(
        1, Hold.RATE_LIMIT, NOW + 0.1 * SECOND, counts_from=NOW
    )


def test_a_rate_limit_allows_nothing_before_the_next_time():
    due = NOW + 0.07 * SECOND
    assert allowed(healthy(), rate=TEN_A_SECOND, next_at=due) == Allowance(
        0, Hold.RATE_LIMIT, due, counts_from=due
    )


def test_a_rate_limit_with_room_leaves_the_other_limits_in_force():
    quick = RateLimit(1000, SECOND)
    room = allowed(healthy(8), in_flight=3, rate=quick)
    assert (room.count, room.hold, room.check_again_at) == (5, Hold.IN_FLIGHT_LIMIT, None)
    assert room.counts_from == NOW - 0.099 * SECOND


def test_a_probe_counts_against_the_rate_limit():
    due = NOW + 30 * SECOND
    assert allowed(opened(), due, rate=TEN_A_SECOND) == Allowance(
        1, Hold.BREAKER_OPEN, is_probe=True, counts_from=due
    )


def test_a_probe_waits_for_the_rate_limit():
    due = NOW + HOUR
    assert allowed(opened(), NOW + 30 * SECOND, rate=RateLimit(1, HOUR), next_at=due) == Allowance(
        0, Hold.RATE_LIMIT, due, counts_from=due
    )
