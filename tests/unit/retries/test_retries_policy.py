"""The retry policy, row by row: what follows from an outcome, when, and for which reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from retries.backoff import DEFAULT_SCHEDULE, Schedule, parse_schedule
from retries.health import Signal
from retries.outcome import (
    Blocked,
    CutShort,
    Delivered,
    Fault,
    Interrupted,
    Outcome,
    Phase,
    ProxyFailed,
    Refused,
    TimedOut,
    Unreachable,
)
from retries.policy import (
    Decision,
    DisableEndpoint,
    GiveUp,
    HandBack,
    Reason,
    RetryAt,
    Succeed,
    check_permanent_status,
    classify_health_signal,
    decide,
    explain_reason,
    get_requested_wait,
    label_decision,
)

if TYPE_CHECKING:
    from collections.abc import Collection

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
IN_FIVE_MINUTES = NOW + timedelta(minutes=5)


def decide_after(
    outcome: Outcome,
    *,
    step: int = 1,
    schedule: Schedule = DEFAULT_SCHEDULE,
    jitter: float = 0.0,
    permanent: Collection[int] = (),
) -> Decision:
    """Decide on the second attempt of the default schedule, whose next delay is five minutes."""
    return decide(outcome, step=step, schedule=schedule, now=NOW, jitter=jitter, permanent_statuses=permanent)


LIMIT = timedelta(seconds=10)
QUICK, SLOW = timedelta(seconds=1), timedelta(seconds=9)
TEN_SECONDS, AN_HOUR = timedelta(seconds=10), timedelta(hours=1)


def retry(reason: Reason, at: datetime = IN_FIVE_MINUTES) -> RetryAt:
    """Expect a retry, by default after the schedule's delay."""
    return RetryAt(at, reason)


class Row(NamedTuple):
    """A row of the policy's table: the decision for the delivery, the endpoint's signal, and its wait."""

    name: str
    outcome: Outcome
    decision: Decision
    signal: Signal
    wait: timedelta | None = None
    took: timedelta = QUICK


REFUSED = retry(Reason.RETRYABLE_STATUS)
ROWS = [
    Row("200", Delivered(200), Succeed(), Signal.GOOD),
    Row("204", Delivered(204), Succeed(), Signal.GOOD),
    Row("299", Delivered(299), Succeed(), Signal.GOOD),
    Row("200 just in time", Delivered(200), Succeed(), Signal.GOOD, took=0.8 * LIMIT),
    Row("200 too slow", Delivered(200), Succeed(), Signal.SLOW, took=0.8 * LIMIT + timedelta.resolution),
    Row("301", Refused(301), retry(Reason.REDIRECT), Signal.BAD),
    Row("302", Refused(302), retry(Reason.REDIRECT), Signal.BAD),
    Row("307", Refused(307), retry(Reason.REDIRECT), Signal.BAD),
    Row("400", Refused(400), REFUSED, Signal.ALIVE),
    Row("401", Refused(401), REFUSED, Signal.BAD),
    Row("403", Refused(403), REFUSED, Signal.BAD),
    Row("404", Refused(404), REFUSED, Signal.BAD),
    Row("408", Refused(408), REFUSED, Signal.CONGESTED),
    Row("410", Refused(410), DisableEndpoint(Reason.GONE), Signal.BAD),
    Row("413", Refused(413), GiveUp(Reason.TOO_LARGE), Signal.ALIVE),
    Row("422", Refused(422), REFUSED, Signal.ALIVE),
    Row("425", Refused(425), REFUSED, Signal.BAD),
    Row("429", Refused(429), REFUSED, Signal.CONGESTED),
    Row("429 wait", Refused(429, TEN_SECONDS), REFUSED, Signal.CONGESTED, TEN_SECONDS),
    Row("500", Refused(500), REFUSED, Signal.BAD),
    Row("500 wait", Refused(500, AN_HOUR), retry(Reason.RETRY_AFTER, NOW + AN_HOUR), Signal.BAD),
    Row("502", Refused(502), REFUSED, Signal.CONGESTED),
    Row("503", Refused(503), REFUSED, Signal.CONGESTED),
    Row(
        "503 wait",
        Refused(503, AN_HOUR),
        retry(Reason.RETRY_AFTER, NOW + AN_HOUR),
        Signal.CONGESTED,
        AN_HOUR,
    ),
    Row("504", Refused(504), REFUSED, Signal.CONGESTED),
    Row("599", Refused(599), REFUSED, Signal.BAD),
    *(
        Row(f"time-out: {phase}", TimedOut(phase), retry(Reason.TIMEOUT), Signal.CONGESTED, took=LIMIT)
        for phase in Phase
    ),
    *(
        Row(f"unreachable: {fault}", Unreachable(fault), retry(Reason.UNREACHABLE), Signal.BAD)
        for fault in Fault
    ),
    Row("blocked", Blocked("receiver.example.com", "10.0.0.7", "private"), retry(Reason.BLOCKED), Signal.BAD),
    Row("cut short", CutShort(200), retry(Reason.CUT_SHORT), Signal.BAD),
    Row("proxy", ProxyFailed("refused"), HandBack(Reason.PROXY, timedelta(seconds=5)), Signal.NONE),
    Row("interrupted", Interrupted(), HandBack(Reason.INTERRUPTED), Signal.NONE, took=SLOW),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_policy_table_decides_for_delivery_and_endpoint(row: Row):
    assert decide_after(row.outcome) == row.decision
    assert classify_health_signal(row.outcome, took=row.took, timeout=LIMIT) is row.signal
    assert get_requested_wait(row.outcome) == row.wait


@pytest.mark.parametrize("outcome", [Refused(400), Refused(503), CutShort(200), TimedOut(Phase.BODY)])
def test_only_a_success_can_be_slow(outcome: Outcome):
    assert classify_health_signal(outcome, took=SLOW, timeout=LIMIT) is classify_health_signal(
        outcome, took=QUICK, timeout=LIMIT
    )


@pytest.mark.parametrize("status", [302, 400, 408, 500, 502, 504])
def test_only_429_and_503_make_the_whole_endpoint_wait(status: int):
    assert get_requested_wait(Refused(status, AN_HOUR)) is None


def test_no_endpoint_waits_longer_than_a_day():
    assert get_requested_wait(Refused(429, timedelta(days=365))) == timedelta(days=1)


def test_a_negative_wait_counts_as_zero():
    assert get_requested_wait(Refused(429, timedelta(days=-1))) == timedelta(0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_permanent_status_gives_up(status: int):
    assert decide_after(Refused(status), permanent={status}) == GiveUp(Reason.PERMANENT_STATUS)


def test_a_permanent_status_gives_up_despite_retry_after():
    assert decide_after(Refused(404, AN_HOUR), permanent={404}) == GiveUp(Reason.PERMANENT_STATUS)


def test_a_status_that_is_not_permanent_is_retried():
    assert decide_after(Refused(404), permanent={400, 403}) == REFUSED


def test_gone_disables_despite_permanent_statuses():
    assert decide_after(Refused(410), permanent={410}) == DisableEndpoint(Reason.GONE)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 499])
def test_a_refusal_may_be_declared_permanent(status: int):
    assert check_permanent_status(status) == status


@pytest.mark.parametrize("status", [408, 410, 413, 425, 429, 399, 500, 200, -400])
def test_success_and_fixed_statuses_cannot_be_declared_permanent(status: int):
    with pytest.raises(ValueError, match=f"this is {status}"):
        check_permanent_status(status)


def test_success_has_a_reason_too():
    assert decide_after(Delivered(200)).reason is Reason.DELIVERED


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 408, 409, 418, 421, 422, 425, 429, 500, 502, 503, 504]
)
def test_a_refusal_is_retried_by_default(status: int):
    assert decide_after(Refused(status)) == RetryAt(IN_FIVE_MINUTES, Reason.RETRYABLE_STATUS)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirect_is_a_refusal_and_retried(status: int):
    assert decide_after(Refused(status)) == RetryAt(IN_FIVE_MINUTES, Reason.REDIRECT)


def test_gone_disables_the_endpoint_despite_retry_after():
    assert decide_after(Refused(410, timedelta(seconds=1))) == DisableEndpoint(Reason.GONE)


@pytest.mark.parametrize("status", [200, 410, 413, 503])
def test_a_truncated_response_is_retried_for_any_status(status: int):
    assert decide_after(CutShort(status)) == RetryAt(IN_FIVE_MINUTES, Reason.CUT_SHORT)


def test_an_interrupted_last_attempt_is_retried_too():
    assert decide_after(Interrupted(), step=9) == HandBack(Reason.INTERRUPTED)


def test_a_longer_retry_after_lengthens_the_delay():
    requested = timedelta(minutes=20)
    assert decide_after(Refused(503, requested)) == RetryAt(NOW + requested, Reason.RETRY_AFTER)


def test_a_shorter_retry_after_does_not_shorten_the_delay():
    assert decide_after(Refused(503, timedelta(seconds=1))) == RetryAt(
        IN_FIVE_MINUTES, Reason.RETRYABLE_STATUS
    )


def test_retry_after_is_compared_with_the_delay_with_jitter():
    requested = timedelta(minutes=5, seconds=30)
    assert decide_after(Refused(503, requested), jitter=1.0) == RetryAt(
        NOW + timedelta(minutes=6), Reason.RETRYABLE_STATUS
    )


def test_a_redirect_may_have_retry_after():
    requested = timedelta(minutes=20)
    assert decide_after(Refused(302, requested)) == RetryAt(NOW + requested, Reason.RETRY_AFTER)


def test_retry_after_counts_for_a_day_at_most():
    assert decide_after(Refused(503, timedelta(days=365))) == RetryAt(
        NOW + timedelta(days=1), Reason.RETRY_AFTER
    )


def test_a_negative_retry_after_is_ignored():
    at_once_twice = parse_schedule([0, 0])
    assert decide_after(Refused(503, timedelta(days=-1)), step=0, schedule=at_once_twice) == RetryAt(
        NOW, Reason.RETRYABLE_STATUS
    )


def test_retry_after_does_not_revive_a_spent_schedule():
    assert decide_after(Refused(503, timedelta(minutes=1)), step=9) == GiveUp(Reason.SCHEDULE_SPENT)


def test_the_last_attempt_of_the_schedule_is_the_last():
    assert decide_after(TimedOut(Phase.CONNECT), step=9) == GiveUp(Reason.SCHEDULE_SPENT)


def test_the_last_attempt_but_one_is_followed_by_the_last():
    assert decide_after(TimedOut(Phase.CONNECT), step=8) == RetryAt(NOW + timedelta(hours=24), Reason.TIMEOUT)


def test_the_last_attempt_may_succeed():
    assert decide_after(Delivered(200), step=9) == Succeed()


def test_gone_disables_the_endpoint_on_the_last_attempt_too():
    assert decide_after(Refused(410), step=9) == DisableEndpoint(Reason.GONE)


def test_an_own_schedule_is_used():
    own = parse_schedule([0, 60])
    assert decide_after(Refused(500), step=0, schedule=own) == RetryAt(
        NOW + timedelta(minutes=1), Reason.RETRYABLE_STATUS
    )


def test_an_own_schedule_ends_with_its_last_entry():
    assert decide_after(Refused(500), step=1, schedule=parse_schedule([0, 60])) == GiveUp(
        Reason.SCHEDULE_SPENT
    )


@pytest.mark.parametrize(("jitter", "seconds"), [(-1.0, 240), (1.0, 360)])
def test_jitter_moves_the_retry_time(jitter: float, seconds: int):
    assert decide_after(Refused(500), jitter=jitter) == RetryAt(
        NOW + timedelta(seconds=seconds), Reason.RETRYABLE_STATUS
    )


@pytest.mark.parametrize(
    ("decision", "label"),
    [
        (Succeed(), "succeed"),
        (RetryAt(NOW, Reason.TIMEOUT), "retry"),
        (GiveUp(Reason.SCHEDULE_SPENT), "give_up"),
        (DisableEndpoint(Reason.GONE), "disable_endpoint"),
        (HandBack(Reason.INTERRUPTED), "hand_back"),
    ],
)
def test_every_decision_has_a_closed_label(decision: Decision, label: str):
    assert label_decision(decision) == label


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_reads_as_a_sentence(reason: Reason):
    assert explain_reason(reason).endswith(".")


@pytest.mark.parametrize(
    ("unburned", "seconds"), [(0, 5), (1, 10), (3, 40), (6, 300), (1_000_000, 300), (-1, 5)]
)
def test_proxy_failures_are_retried_without_end_at_growing_delays(unburned: int, seconds: int):
    decision = decide(
        ProxyFailed(), step=9, schedule=DEFAULT_SCHEDULE, now=NOW, jitter=0.0, uncounted_attempts=unburned
    )
    assert decision == HandBack(Reason.PROXY, timedelta(seconds=seconds))
