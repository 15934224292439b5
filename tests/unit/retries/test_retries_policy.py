"""Each row of the policy: what follows from an outcome, when, and for what reason."""

from datetime import UTC, datetime, timedelta

import pytest

from retries import (
    DEFAULT_SCHEDULE,
    Blocked,
    CutShort,
    Decision,
    Delivered,
    DisableEndpoint,
    Fault,
    GiveUp,
    HandBack,
    Interrupted,
    Outcome,
    Phase,
    Reason,
    Refused,
    RetryAt,
    Schedule,
    Succeed,
    TimedOut,
    Unreachable,
    decide,
    explain,
    name_of_decision,
    parse_schedule,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
IN_FIVE_MINUTES = NOW + timedelta(minutes=5)


def after(
    outcome: Outcome, *, step: int = 1, schedule: Schedule = DEFAULT_SCHEDULE, jitter: float = 0.0
) -> Decision:
    """Decide on the second attempt of the default schedule, whose next delay is five minutes."""
    return decide(outcome, step=step, schedule=schedule, now=NOW, jitter=jitter)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_2xx_succeeds(status: int):
    assert after(Delivered(status)) == Succeed()


def test_success_has_a_reason_too():
    assert after(Delivered(200)).reason is Reason.DELIVERED


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 408, 409, 418, 421, 422, 425, 429, 500, 502, 503, 504]
)
def test_a_refusal_is_retried_by_default(status: int):
    assert after(Refused(status)) == RetryAt(IN_FIVE_MINUTES, Reason.RETRYABLE_STATUS)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirect_is_a_refusal_and_retried(status: int):
    assert after(Refused(status)) == RetryAt(IN_FIVE_MINUTES, Reason.REDIRECT)


def test_gone_disables_the_endpoint():
    assert after(Refused(410)) == DisableEndpoint(Reason.GONE)


def test_gone_disables_the_endpoint_even_when_it_asks_for_time():
    assert after(Refused(410, timedelta(seconds=1))) == DisableEndpoint(Reason.GONE)


def test_too_large_is_given_up():
    assert after(Refused(413)) == GiveUp(Reason.TOO_LARGE)


@pytest.mark.parametrize("phase", Phase)
def test_a_timeout_is_retried(phase: Phase):
    assert after(TimedOut(phase)) == RetryAt(IN_FIVE_MINUTES, Reason.TIMEOUT)


@pytest.mark.parametrize("kind", Fault)
def test_an_unreachable_endpoint_is_retried(kind: Fault):
    assert after(Unreachable(kind)) == RetryAt(IN_FIVE_MINUTES, Reason.UNREACHABLE)


def test_a_blocked_address_is_retried_since_names_move():
    assert after(Blocked("receiver.example.com", "10.0.0.7")) == RetryAt(IN_FIVE_MINUTES, Reason.BLOCKED)


@pytest.mark.parametrize("status", [200, 410, 413, 503])
def test_an_answer_that_broke_off_is_retried_whatever_its_status(status: int):
    assert after(CutShort(status)) == RetryAt(IN_FIVE_MINUTES, Reason.CUT_SHORT)


def test_an_interrupted_attempt_is_handed_back():
    assert after(Interrupted()) == HandBack(Reason.INTERRUPTED)


def test_an_interrupted_last_attempt_is_handed_back_too():
    assert after(Interrupted(), step=9) == HandBack(Reason.INTERRUPTED)


def test_a_longer_retry_after_lengthens_the_delay():
    asked = timedelta(minutes=20)
    assert after(Refused(503, asked)) == RetryAt(NOW + asked, Reason.RETRY_AFTER)


def test_a_shorter_retry_after_does_not_shorten_the_delay():
    assert after(Refused(503, timedelta(seconds=1))) == RetryAt(IN_FIVE_MINUTES, Reason.RETRYABLE_STATUS)


def test_retry_after_is_held_against_the_delay_with_its_jitter():
    asked = timedelta(minutes=5, seconds=30)
    assert after(Refused(503, asked), jitter=1.0) == RetryAt(
        NOW + timedelta(minutes=6), Reason.RETRYABLE_STATUS
    )


def test_a_redirect_may_ask_for_time():
    asked = timedelta(minutes=20)
    assert after(Refused(302, asked)) == RetryAt(NOW + asked, Reason.RETRY_AFTER)


def test_retry_after_counts_for_a_day_at_most():
    assert after(Refused(503, timedelta(days=365))) == RetryAt(NOW + timedelta(days=1), Reason.RETRY_AFTER)


def test_a_negative_retry_after_counts_for_nothing():
    at_once_twice = parse_schedule([0, 0])
    assert after(Refused(503, timedelta(days=-1)), step=0, schedule=at_once_twice) == RetryAt(
        NOW, Reason.RETRYABLE_STATUS
    )


def test_retry_after_does_not_revive_a_spent_schedule():
    assert after(Refused(503, timedelta(minutes=1)), step=9) == GiveUp(Reason.SCHEDULE_SPENT)


def test_the_last_attempt_of_the_schedule_is_the_last():
    assert after(TimedOut(Phase.CONNECT), step=9) == GiveUp(Reason.SCHEDULE_SPENT)


def test_the_last_attempt_but_one_is_followed_by_the_last():
    assert after(TimedOut(Phase.CONNECT), step=8) == RetryAt(NOW + timedelta(hours=24), Reason.TIMEOUT)


def test_the_last_attempt_may_succeed():
    assert after(Delivered(200), step=9) == Succeed()


def test_gone_disables_the_endpoint_on_the_last_attempt_too():
    assert after(Refused(410), step=9) == DisableEndpoint(Reason.GONE)


def test_an_endpoints_own_schedule_is_kept():
    own = parse_schedule([0, 60])
    assert after(Refused(500), step=0, schedule=own) == RetryAt(
        NOW + timedelta(minutes=1), Reason.RETRYABLE_STATUS
    )


def test_an_endpoints_own_schedule_ends_where_it_ends():
    assert after(Refused(500), step=1, schedule=parse_schedule([0, 60])) == GiveUp(Reason.SCHEDULE_SPENT)


@pytest.mark.parametrize(("jitter", "seconds"), [(-1.0, 240), (1.0, 360)])
def test_the_dice_move_the_moment(jitter: float, seconds: int):
    assert after(Refused(500), jitter=jitter) == RetryAt(
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
    assert name_of_decision(decision) == label


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_reads_as_a_sentence(reason: Reason):
    assert explain(reason).endswith(".")
