"""The health of an endpoint stays within its bounds and recovers after any sequence of attempts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, assert_never

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retries.breaker import BreakerConfig, BreakerState, start_probe
from retries.health import (
    MIN_FAILURE_GAP,
    Allowance,
    BreakerClosed,
    BreakerOpened,
    DisableWarning,
    FailedTooLong,
    Health,
    HealthConfig,
    HealthSample,
    Signal,
    WaitRequested,
    compute_allowance,
    update_health,
)
from retries.rate import RateLimit

if TYPE_CHECKING:
    from retries.health import HealthChange

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
COOL_DOWN, MAX_COOL_DOWN = timedelta(seconds=30), timedelta(minutes=4)
IN_ORDER = {Signal.GOOD, Signal.ALIVE}
SUCCEEDED = {Signal.GOOD, Signal.SLOW}
BAD_PROBE = {Signal.BAD, Signal.CONGESTED}

SIGNALS = st.sampled_from(Signal)
JITTERS = st.floats(-1, 1)
PAUSES = st.timedeltas(timedelta(0), timedelta(minutes=2))
WAITS = st.sampled_from([timedelta(0), timedelta(seconds=20), timedelta(minutes=10)])
RATES = st.sampled_from(
    [None, None, RateLimit(5, timedelta(seconds=1)), RateLimit(400, timedelta(seconds=1))]
)
TERMS = st.builds(
    HealthConfig,
    st.builds(
        BreakerConfig,
        consecutive=st.integers(1, 6),
        ratio=st.sampled_from([0.3, 0.5, 1.0]),
        minimum=st.integers(1, 10),
        cool_down=st.just(COOL_DOWN),
        longest_cool_down=st.just(MAX_COOL_DOWN),
    ),
    max_in_flight=st.integers(1, 20),
    disable_after=st.sampled_from([timedelta(minutes=10), timedelta(hours=1)]),
)


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A delivery in flight."""

    started_at: datetime


class LifeOfAnEndpoint(RuleBasedStateMachine):
    """An endpoint that is claimed from as its health allows, beside a model of its health."""

    @initialize(terms=TERMS, rate=RATES)
    def is_made(self, terms: HealthConfig, rate: RateLimit | None) -> None:
        self.terms, self.most, self.rate = terms, terms.max_in_flight, rate
        self.now = START
        self.health = Health.fresh(START, max_in_flight=self.most)
        self.next_at: datetime | None = None
        self.in_flight: list[Flight] = []
        self.probe: Flight | None = None
        self.opened_at: datetime | None = None
        self.probe_at = START
        self.closed_at = START
        self.openings = 0
        self.asked_until = START
        # Successes in a row since the ramp began; None: no ramp is running.
        self.climbed: int | None = None
        self.failures: list[datetime] = []
        self.warned = 0

    # ---- actions
    @rule(pause=PAUSES)
    def time_passes(self, pause: timedelta) -> None:
        self.now += pause

    @precondition(lambda self: self.allowance().check_again_at is not None)
    @rule()
    def time_passes_until_the_next_look(self) -> None:
        until = self.allowance().check_again_at
        assert until is not None
        assert until > self.now
        self.now = until

    @rule(most=st.integers(1, 30))
    def deliveries_are_claimed(self, most: int) -> None:
        """Act as the relay: claim no more than allowed, and record the claims."""
        allowed = self.allowance()
        self.check(allowed)
        take = min(most, allowed.count)
        self.in_flight += [Flight(self.now) for _ in range(take)]
        if not take:
            return
        if allowed.is_probe:
            self.probe = self.in_flight[-1]
            self.health = self.on_probation()
        if self.rate is not None:
            assert allowed.counts_from is not None
            self.next_at = allowed.counts_from + take * self.rate.interval
        closed = self.opened_at is None
        assert len(self.in_flight) <= (min(self.most, self.health.limit.now) if closed else self.most)

    @precondition(lambda self: self.in_flight)
    @rule(signal=SIGNALS, jitter=JITTERS, data=st.data())
    def one_attempt_ends(self, signal: Signal, jitter: float, data: st.DataObject) -> None:
        self.ends(data.draw(st.sampled_from(self.in_flight)), signal, jitter)

    @precondition(lambda self: self.in_flight)
    @rule(wait=WAITS, jitter=JITTERS, data=st.data())
    def a_wait_is_requested(self, wait: timedelta, jitter: float, data: st.DataObject) -> None:
        self.ends(data.draw(st.sampled_from(self.in_flight)), Signal.CONGESTED, jitter, wait)

    @precondition(lambda self: self.in_flight)
    @rule(signal=SIGNALS, jitter=JITTERS)
    def all_attempts_end_alike(self, signal: Signal, jitter: float) -> None:
        for flight in list(self.in_flight):
            self.ends(flight, signal, jitter)

    @rule(signal=SIGNALS, jitter=JITTERS, rounds=st.integers(1, 5), pause=PAUSES)
    def it_answers_alike_for_a_while(
        self, signal: Signal, jitter: float, rounds: int, pause: timedelta
    ) -> None:
        for _ in range(rounds):
            self.now += pause
            self.deliveries_are_claimed(self.most)
            self.all_attempts_end_alike(signal, jitter)

    @precondition(lambda self: self.opened_at is not None)
    @rule(signal=SIGNALS, jitter=JITTERS, pause=PAUSES)
    def its_next_probe_is_sent_and_ends(self, signal: Signal, jitter: float, pause: timedelta) -> None:
        if self.probe is None:
            self.now = max(self.now, self.probe_at, self.asked_until, self.next_at or self.now)
            self.deliveries_are_claimed(1)
        if self.probe is not None:
            self.now += pause
            self.ends(self.probe, signal, jitter)

    @precondition(lambda self: self.probe is not None)
    @rule(jitter=JITTERS)
    def its_probe_is_lost(self, jitter: float) -> None:
        assert self.probe is not None
        self.ends(self.probe, Signal.NONE, jitter)
        if self.asked_until <= self.now and self.rate is None:
            assert self.allowance().is_probe

    @rule()
    def a_user_enables_it(self) -> None:
        self.health = self.health.reset_after_enabling(self.now)
        self.probe = self.opened_at = None
        self.closed_at = self.asked_until = self.now
        self.openings = self.climbed = self.warned = 0
        self.failures = []

    # ---- the model
    def allowance(self) -> Allowance:
        return compute_allowance(
            self.health,
            in_flight=len(self.in_flight),
            max_in_flight=self.most,
            rate=self.rate,
            next_at=self.next_at,
            now=self.now,
        )

    def on_probation(self) -> Health:
        return replace(self.health, breaker=start_probe(self.health.breaker))

    def ends(self, flight: Flight, signal: Signal, jitter: float, wait: timedelta | None = None) -> None:
        """Act as the recorder: update the health, and apply the changes."""
        self.in_flight.remove(flight)
        probe, before = flight is self.probe, self.health
        sign = HealthSample(signal, flight.started_at, self.now, wait, is_probe=probe)
        self.health, changes = update_health(before, sign, config=self.terms, jitter=jitter)
        self.probe = None if probe else self.probe
        if signal is Signal.NONE:
            assert changes == []
            self.probe_at = self.now if probe else self.probe_at
            return
        if self.is_of_the_past(flight, probe=probe):
            assert (self.health.breaker, self.health.limit) == (before.breaker, before.limit)
        elif self.opened_at is None:
            self.counts(signal)
        else:
            assert any(isinstance(change, BreakerOpened) for change in changes) == (signal in BAD_PROBE)
            assert any(isinstance(change, BreakerClosed) for change in changes) == (signal not in BAD_PROBE)
        was_waiting = self.asked_until > self.now
        self.asked_until = max(self.asked_until, self.now + (wait or timedelta(0)))
        assert WaitRequested(self.asked_until) in changes or was_waiting or not wait
        self.is_told_of_failing(signal, changes)
        for change in changes:
            self.hears(change)

    def is_of_the_past(self, flight: Flight, *, probe: bool) -> bool:
        if self.opened_at is None:
            return flight.started_at < self.closed_at
        return not probe

    def counts(self, signal: Signal) -> None:
        """Count an attempt that ended with the breaker closed: the ramp goes on, or is over."""
        limit = self.health.limit
        if signal not in IN_ORDER:
            self.climbed = None
            return
        if self.climbed is not None:
            self.climbed += 1
            # One, two, four, eight: each step takes as many successes as its limit.
            assert limit.now == min(self.most, 1 << (self.climbed + 1).bit_length() - 1)
        if limit.now == self.most:
            self.openings = 0

    def is_told_of_failing(self, signal: Signal, changes: list[HealthChange]) -> None:
        """Check that warnings and disabling come when they should, and only then."""
        result = [change for change in changes if isinstance(change, DisableWarning | FailedTooLong)]
        if signal in SUCCEEDED:
            self.failures, self.warned = [], 0
            assert (self.health.failing_since, self.health.failed, result) == (None, 0, [])
            return
        if self.failures and self.now - self.failures[-1] > max(self.terms.disable_after, MIN_FAILURE_GAP):
            self.failures, self.warned = [], 0
        self.failures.append(self.now)
        assert result == self.news_of_failing()

    def news_of_failing(self) -> list[HealthChange]:
        since, all_of_it = self.failures[0], self.terms.disable_after
        passed = self.now - since
        if passed >= all_of_it and len(self.failures) >= self.terms.breaker.consecutive:
            return [FailedTooLong(since)]
        for percent in (90, 50):
            if passed >= all_of_it * percent / 100 and self.warned < percent:
                self.warned = percent
                return [DisableWarning(percent, since, since + all_of_it)]
            if self.warned == percent:
                return []
        return []

    def hears(self, change: HealthChange) -> None:
        match change:
            case BreakerOpened(probe_at, again):
                assert again == (self.opened_at is not None)
                planned = min(COOL_DOWN * 2**self.openings, MAX_COOL_DOWN)
                assert planned * 0.8 <= probe_at - self.now <= planned * 1.2
                self.opened_at, self.probe_at = self.opened_at or self.now, probe_at
                self.openings += 1
            case BreakerClosed(opened_at):
                assert opened_at == self.opened_at
                self.opened_at, self.closed_at, self.climbed = None, self.now, 0
                assert self.health.limit.now == 1
            case WaitRequested(until):
                assert until == self.asked_until
            case DisableWarning() | FailedTooLong():
                pass
            case _:
                assert_never(change)

    def check(self, allowed: Allowance) -> None:
        """Check that the allowance is exactly what the model expects."""
        limit = min(self.most, self.health.limit.now)
        if self.asked_until > self.now:
            expected = 0
        elif self.opened_at is None:
            expected = max(0, limit - len(self.in_flight))
        else:
            ready = self.probe is None and self.probe_at <= self.now and len(self.in_flight) < self.most
            expected = int(ready)
        assert allowed.count <= expected
        assert allowed.count == expected or self.rate is not None
        assert allowed.is_probe == (self.opened_at is not None and allowed.count == 1)

    # ---- invariants
    @invariant()
    def it_is_open_from_its_first_opening_until_it_closes(self) -> None:
        breaker = self.health.breaker
        assert (breaker.state is BreakerState.CLOSED) == (self.opened_at is None)
        assert breaker.since == (self.opened_at or self.closed_at)

    @invariant()
    def it_is_half_open_while_its_probe_is_in_flight(self) -> None:
        assert (self.health.breaker.state is BreakerState.HALF_OPEN) == (self.probe is not None)

    @invariant()
    def its_limit_is_between_one_and_the_maximum(self) -> None:
        assert 1 <= self.health.limit.now <= self.most

    @invariant()
    def the_allowance_is_as_expected(self) -> None:
        self.check(self.allowance())

    @invariant()
    def an_idle_held_endpoint_has_a_next_look(self) -> None:
        allowed = self.allowance()
        assert allowed.count or self.in_flight or allowed.check_again_at is not None

    def teardown(self) -> None:
        """Successes always restore full speed."""
        if not hasattr(self, "health"):
            return
        for _ in range(self.most**2 + 100):
            if self.is_at_full_speed():
                return
            until = self.allowance().check_again_at
            self.now = max(self.now, until or self.now) + timedelta(milliseconds=1)
            self.deliveries_are_claimed(self.most)
            self.all_attempts_end_alike(Signal.GOOD, 0.0)
        raise AssertionError(f"It does not come back: {self.health}")

    def is_at_full_speed(self) -> bool:
        breaker, limit = self.health.breaker, self.health.limit
        return (
            (breaker.state, breaker.openings) == (BreakerState.CLOSED, 0)
            and (limit.now, limit.ramping) == (self.most, False)
            and not self.failures
            and self.asked_until <= self.now
        )


TestLifeOfAnEndpoint = LifeOfAnEndpoint.TestCase
