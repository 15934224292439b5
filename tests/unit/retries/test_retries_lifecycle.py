"""Under the policy, any delivery ends in time."""

from datetime import UTC, datetime, timedelta
from typing import assert_never

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retries.backoff import MAX_ATTEMPTS, Schedule, parse_schedule
from retries.outcome import (
    Blocked,
    CutShort,
    Delivered,
    Fault,
    Interrupted,
    Outcome,
    Phase,
    Refused,
    TimedOut,
    Unreachable,
    classify_status,
    describe_outcome,
    label_outcome,
)
from retries.policy import Decision, DisableEndpoint, GiveUp, HandBack, RetryAt, Succeed, decide

WEEK = 7 * 24 * 3600
MOMENTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001  a bound, in no zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001  a bound, in no zone
    timezones=st.just(UTC),
)
SCHEDULES = st.lists(st.integers(0, WEEK), max_size=MAX_ATTEMPTS - 1).map(
    lambda later: parse_schedule([0, *later])
)
JITTERS = st.floats(-1, 1)
STATUSES = st.integers(100, 599)
FAILURES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Refused, st.integers(300, 599), st.none() | st.timedeltas()),
    st.builds(TimedOut, st.sampled_from(Phase)),
    st.builds(Unreachable, st.sampled_from(Fault), st.text()),
    st.builds(Blocked, st.text(), st.none() | st.text(), st.text()),
    st.builds(CutShort, STATUSES),
)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    FAILURES,
    st.builds(classify_status, STATUSES, st.none() | st.timedeltas()),
    st.builds(Interrupted),
)


@given(
    outcome=OUTCOMES, step=st.integers(0, MAX_ATTEMPTS + 5), schedule=SCHEDULES, now=MOMENTS, jitter=JITTERS
)
def test_no_decision_lies_in_the_past(
    outcome: Outcome, step: int, schedule: Schedule, now: datetime, jitter: float
):
    decision = decide(outcome, step=step, schedule=schedule, now=now, jitter=jitter)
    match decision:
        case RetryAt(at):
            assert now <= at <= now + timedelta(days=7)
        case Succeed():
            assert isinstance(outcome, Delivered)
        case HandBack():
            assert isinstance(outcome, Interrupted)
        case GiveUp() | DisableEndpoint():
            assert not isinstance(outcome, Delivered | Interrupted)
        case _:
            assert_never(decision)


@given(outcome=FAILURES, beyond=st.integers(0, 5), schedule=SCHEDULES, now=MOMENTS, jitter=JITTERS)
def test_no_failure_is_retried_after_the_schedule(
    outcome: Outcome, beyond: int, schedule: Schedule, now: datetime, jitter: float
):
    decision = decide(outcome, step=len(schedule) - 1 + beyond, schedule=schedule, now=now, jitter=jitter)
    assert isinstance(decision, GiveUp | DisableEndpoint)


@given(status=STATUSES, requested=st.timedeltas(), schedule=SCHEDULES, now=MOMENTS, jitter=JITTERS)
def test_retry_after_only_lengthens_a_delay(
    status: int, requested: timedelta, schedule: Schedule, now: datetime, jitter: float
):
    unasked = decide(classify_status(status, None), step=0, schedule=schedule, now=now, jitter=jitter)
    wished = decide(classify_status(status, requested), step=0, schedule=schedule, now=now, jitter=jitter)
    if isinstance(unasked, RetryAt):
        assert isinstance(wished, RetryAt)
        assert wished.at >= unasked.at
    else:
        assert wished == unasked


@given(OUTCOMES)
def test_every_outcome_has_a_label_and_a_sentence(outcome: Outcome):
    assert label_outcome(outcome).isidentifier()
    assert describe_outcome(outcome).endswith(".")


class LifeOfADelivery(RuleBasedStateMachine):
    """The state of one delivery, changed only by the policy's decisions."""

    @initialize(schedule=SCHEDULES, now=MOMENTS)
    def accept(self, schedule: Schedule, now: datetime) -> None:
        self.schedule = schedule
        self.now = now
        self.due_at = now
        self.burned = 0
        self.final: Decision | None = None

    def is_due(self) -> bool:
        return self.final is None and self.due_at <= self.now

    @rule(passed=st.timedeltas(timedelta(0), timedelta(days=8)))
    def time_passes(self, passed: timedelta) -> None:
        self.now += passed

    @precondition(lambda self: self.final is None)
    @rule()
    def time_passes_until_the_next_attempt(self) -> None:
        self.now = max(self.now, self.due_at)

    @precondition(is_due)
    @rule(outcome=OUTCOMES, jitter=JITTERS)
    def an_attempt_ends(self, outcome: Outcome, jitter: float) -> None:
        self.follow(decide(outcome, step=self.burned, schedule=self.schedule, now=self.now, jitter=jitter))

    @precondition(is_due)
    @rule(outcome=FAILURES, jitter=JITTERS)
    def an_attempt_fails(self, outcome: Outcome, jitter: float) -> None:
        self.an_attempt_ends(outcome, jitter)

    @precondition(is_due)
    @rule(jitter=JITTERS)
    def an_interrupted_attempt_uses_no_step(self, jitter: float) -> None:
        burned = self.burned
        self.an_attempt_ends(Interrupted(), jitter)
        assert (self.burned, self.due_at, self.final) == (burned, self.now, None)

    def follow(self, decision: Decision) -> None:
        assert self.final is None
        match decision:
            case HandBack():
                self.due_at = self.now
            case RetryAt(at):
                self.burned += 1
                self.due_at = at
            case Succeed() | GiveUp() | DisableEndpoint():
                self.burned += 1
                self.final = decision
            case _:
                assert_never(decision)

    @invariant()
    def no_more_steps_are_used_than_the_schedule_has(self) -> None:
        assert self.burned <= len(self.schedule)

    @invariant()
    def a_spent_schedule_is_the_end(self) -> None:
        assert self.final is not None or self.burned < len(self.schedule)

    @invariant()
    def the_next_attempt_is_never_further_than_the_longest_delay(self) -> None:
        assert self.final is not None or self.due_at <= self.now + timedelta(days=7)

    def teardown(self) -> None:
        """Failures always end it in time."""
        if not hasattr(self, "schedule"):
            return
        for _ in range(len(self.schedule) - self.burned):
            if self.final is not None:
                break
            self.time_passes_until_the_next_attempt()
            self.an_attempt_ends(Refused(503, None), 1.0)
        assert self.final is not None


TestLifeOfADelivery = LifeOfADelivery.TestCase
