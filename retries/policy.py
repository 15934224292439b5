"""The retry policy: decides from an attempt's outcome what happens to the delivery and to its endpoint.

The rules are a table, one row for each kind of outcome. `STATUS_RULES` has the rows of single HTTP statuses;
the schedule says when to try again.

| outcome | delivery | endpoint |
|---|---|---|
| 2xx in time | succeeded | good |
| 2xx after most of its time limit | succeeded | slow: counts for its breaker, halves its in-flight limit |
| 3xx, 401, 403, 404, other 4xx and 5xx | retried | bad |
| 400, 422 | retried | alive: the body is at fault, not the endpoint |
| 413 | failed | alive |
| 408, 502, 504, time-out in any phase | retried | congested: bad, and halves its in-flight limit |
| 429, 503 | retried | congested; with Retry-After the whole endpoint waits |
| 410 | failed | disabled |
| any 4xx that the endpoint calls permanent | failed | as above |
| TLS, DNS, refused, reset, not HTTP, network, blocked by the guard, cut short | retried | bad |
| interrupted by us | retried at once, no step used | nothing |
| our own proxy failed | retried in 5 s, later in up to 5 min, no step used | nothing |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, assert_never

from retries.backoff import delay_before
from retries.health import Signal
from retries.outcome import (
    Blocked,
    CutShort,
    Delivered,
    Interrupted,
    Outcome,
    ProxyFailed,
    Refused,
    TimedOut,
    Unreachable,
)
from retries.retry_after import clamp_retry_after

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from retries.backoff import Schedule

_REDIRECTS = range(300, 400)
_CLIENT_ERRORS = range(400, 500)
# A success that took more than this share of the attempt's time limit is slow.
SLOW_RATIO: Final = 0.8


class Reason(StrEnum):
    """Why a decision was taken: a closed set of codes, stored in the ledger."""

    DELIVERED = "delivered"
    RETRYABLE_STATUS = "retryable_status"
    REDIRECT = "redirect"
    RETRY_AFTER = "retry_after"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    CUT_SHORT = "cut_short"
    INTERRUPTED = "interrupted"
    PROXY = "proxy"
    SCHEDULE_SPENT = "schedule_spent"
    GONE = "gone"
    TOO_LARGE = "too_large"
    PERMANENT_STATUS = "permanent_status"


@dataclass(frozen=True, slots=True)
class Succeed:
    """The delivery is done."""

    reason: ClassVar[Reason] = Reason.DELIVERED


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The delivery is due again at this time; one step of its schedule is used."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The delivery has failed for good."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """The delivery has failed for good, and its endpoint must be disabled."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class HandBack:
    """The delivery is due again at once, or after a delay, without using a step of its schedule."""

    reason: Reason
    delay: timedelta = timedelta(0)


Decision = Succeed | RetryAt | GiveUp | DisableEndpoint | HandBack


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """The rule for one status. Without a `final_decision` the delivery is retried.

    `holds_endpoint`: its Retry-After holds all deliveries of the endpoint.
    """

    signal: Signal
    final_decision: GiveUp | DisableEndpoint | None = None
    holds_endpoint: bool = False


STATUS_RULES: Final[Mapping[int, PolicyRule]] = MappingProxyType(
    {
        400: PolicyRule(Signal.ALIVE),
        408: PolicyRule(Signal.CONGESTED),
        410: PolicyRule(Signal.BAD, final_decision=DisableEndpoint(Reason.GONE)),
        # The body is the same on every attempt, so its size is too.
        413: PolicyRule(Signal.ALIVE, final_decision=GiveUp(Reason.TOO_LARGE)),
        422: PolicyRule(Signal.ALIVE),
        429: PolicyRule(Signal.CONGESTED, holds_endpoint=True),
        502: PolicyRule(Signal.CONGESTED),
        503: PolicyRule(Signal.CONGESTED, holds_endpoint=True),
        504: PolicyRule(Signal.CONGESTED),
    }
)
_DEFAULT_RULE: Final = PolicyRule(Signal.BAD)
_MIN_PROXY_PAUSE: Final = timedelta(seconds=5)
_MAX_PROXY_PAUSE: Final = timedelta(minutes=5)
_MAX_DOUBLINGS: Final = 10
_PAUSE_JITTER: Final = 0.2
# These may not be permanent: they are temporary, or have rules of their own.
_NEVER_PERMANENT: Final = frozenset({408, 410, 413, 425, 429})


def check_permanent_status(status: int) -> int:
    """Return a status that an endpoint may call permanent, a 4xx; raises ValueError for others."""
    if status not in _CLIENT_ERRORS or status in _NEVER_PERMANENT:
        never = ", ".join(map(str, sorted(_NEVER_PERMANENT)))
        raise ValueError(f"A permanent status is one of 400 to 499, but not {never}; this is {status}.")
    return status


def decide(  # noqa: C901, PLR0913  one branch per outcome; its inputs by name
    outcome: Outcome,
    *,
    step: int,
    schedule: Schedule,
    now: datetime,
    jitter: float,
    permanent_statuses: Collection[int] = (),
    uncounted_attempts: int = 0,
) -> Decision:
    """Decide what follows from an outcome. `step` counts the steps used before this attempt, from 0.

    `jitter` is a random number in [-1, 1]. `permanent_statuses` end the delivery. `uncounted_attempts` is the
    number of earlier attempts that used no step.
    """
    requested_wait: timedelta | None = None
    match outcome:
        case Delivered():
            return Succeed()
        case Interrupted():
            return HandBack(Reason.INTERRUPTED)
        case ProxyFailed():
            return HandBack(Reason.PROXY, _compute_proxy_pause(uncounted_attempts, jitter))
        case Refused(status) if (final := _get_rule(status).final_decision) is not None:
            return final
        case Refused(status) if status in permanent_statuses:
            return GiveUp(Reason.PERMANENT_STATUS)
        case Refused(status, requested_wait):
            reason = Reason.REDIRECT if status in _REDIRECTS else Reason.RETRYABLE_STATUS
        case TimedOut():
            reason = Reason.TIMEOUT
        case Unreachable():
            reason = Reason.UNREACHABLE
        case Blocked():
            reason = Reason.BLOCKED
        case CutShort():
            reason = Reason.CUT_SHORT
        case _:
            assert_never(outcome)
    delay = delay_before(step + 1, schedule, jitter)
    return _retry_or_give_up(reason, delay=delay, requested_wait=requested_wait, now=now)


def classify_health_signal(outcome: Outcome, *, took: timedelta, timeout: timedelta) -> Signal:
    """Classify what an attempt says about its endpoint, given its duration and time limit."""
    match outcome:
        case Delivered():
            return Signal.SLOW if took > SLOW_RATIO * timeout else Signal.GOOD
        case Interrupted() | ProxyFailed():
            return Signal.NONE
        case Refused(status):
            return _get_rule(status).signal
        case TimedOut():
            return Signal.CONGESTED
        case Unreachable() | Blocked() | CutShort():
            return Signal.BAD
        case _:
            assert_never(outcome)


def get_requested_wait(outcome: Outcome) -> timedelta | None:
    """Return how long the endpoint asks us to hold all its deliveries; None if it does not."""
    match outcome:
        case Refused(status, retry_after) if retry_after is not None and _get_rule(status).holds_endpoint:
            return clamp_retry_after(retry_after)
        case _:
            return None


def _compute_proxy_pause(uncounted_attempts: int, jitter: float) -> timedelta:
    """Return the delay after a failure of the proxy: doubling, with jitter so that retries spread."""
    pause = min(_MIN_PROXY_PAUSE * (1 << min(max(uncounted_attempts, 0), _MAX_DOUBLINGS)), _MAX_PROXY_PAUSE)
    return pause * (1 + _PAUSE_JITTER * jitter)


def _get_rule(status: int) -> PolicyRule:
    return STATUS_RULES.get(status, _DEFAULT_RULE)


def _retry_or_give_up(
    reason: Reason, *, delay: timedelta | None, requested_wait: timedelta | None, now: datetime
) -> RetryAt | GiveUp:
    """Retry after the schedule's delay, or after the receiver's Retry-After if that is longer."""
    if delay is None:
        return GiveUp(Reason.SCHEDULE_SPENT)
    if requested_wait is not None and (wait := clamp_retry_after(requested_wait)) > delay:
        return RetryAt(now + wait, Reason.RETRY_AFTER)
    return RetryAt(now + delay, reason)


def label_decision(decision: Decision) -> str:
    """Return the label of a decision in metrics, logs and the ledger."""
    match decision:
        case Succeed():
            return "succeed"
        case RetryAt():
            return "retry"
        case GiveUp():
            return "give_up"
        case DisableEndpoint():
            return "disable_endpoint"
        case HandBack():
            return "hand_back"
        case _:
            assert_never(decision)


def explain_reason(reason: Reason) -> str:
    """Explain a reason in one sentence, for users who read the ledger."""
    return _SENTENCES[reason]


_SENTENCES: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.DELIVERED: "The endpoint accepted the delivery.",
        Reason.RETRYABLE_STATUS: "The endpoint refused; it is retried on its schedule.",
        Reason.REDIRECT: "Redirects are not followed; the endpoint is retried on its schedule.",
        Reason.RETRY_AFTER: "The endpoint refused, with a Retry-After longer than its schedule's delay.",
        Reason.TIMEOUT: "The endpoint did not answer in time; it is retried on its schedule.",
        Reason.UNREACHABLE: "The endpoint could not be reached; it is retried on its schedule.",
        Reason.BLOCKED: "The endpoint's address may not be dialled; it is retried on its schedule.",
        Reason.CUT_SHORT: "The endpoint's answer broke off; it is retried on its schedule.",
        Reason.INTERRUPTED: "The attempt was stopped on our side and does not count; another is due at once.",
        Reason.PROXY: "The proxy on our side failed, which does not count; another attempt is due soon.",
        Reason.SCHEDULE_SPENT: "The last attempt of the schedule failed, so there will be no other.",
        Reason.GONE: "The endpoint answered 410 Gone: it wants no more deliveries and is disabled.",
        Reason.TOO_LARGE: "The endpoint answered that the body is too large, which no retry can change.",
        Reason.PERMANENT_STATUS: "The endpoint answered a status that its settings call permanent.",
    }
)
