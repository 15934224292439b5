"""From what came of an attempt to what is done next. The one place where that is decided.

The rules are a table: `PERMANENT` names the answers after which a delivery is over, `decide` says for every
outcome whether and why to try again, and the schedule says when.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, assert_never

from retries.backoff import delay_before
from retries.outcome import (
    Blocked,
    CutShort,
    Delivered,
    Interrupted,
    Outcome,
    Refused,
    TimedOut,
    Unreachable,
)
from retries.retry_after import clamp_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from retries.backoff import Schedule

_REDIRECTS = range(300, 400)


class Reason(StrEnum):
    """Why a decision was taken: a closed set of short codes, kept in the ledger."""

    DELIVERED = "delivered"
    RETRYABLE_STATUS = "retryable_status"
    REDIRECT = "redirect"
    RETRY_AFTER = "retry_after"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    CUT_SHORT = "cut_short"
    INTERRUPTED = "interrupted"
    SCHEDULE_SPENT = "schedule_spent"
    GONE = "gone"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Succeed:
    """The delivery is done."""

    reason: ClassVar[Reason] = Reason.DELIVERED


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The delivery is due again at this moment; one step of its schedule is burned."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The delivery has failed for good."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """The delivery has failed for good, and its endpoint is to be disabled."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class HandBack:
    """The delivery is due again at once, with no step of its schedule burned."""

    reason: Reason


Decision = Succeed | RetryAt | GiveUp | DisableEndpoint | HandBack

PERMANENT: Final[Mapping[int, GiveUp | DisableEndpoint]] = MappingProxyType(
    {
        410: DisableEndpoint(Reason.GONE),
        413: GiveUp(Reason.TOO_LARGE),  # the body is the same on every attempt, and so is its size
    }
)


def decide(outcome: Outcome, *, step: int, schedule: Schedule, now: datetime, jitter: float) -> Decision:
    """Decide what follows from an outcome. `step` counts the attempts burned before this one, from 0.

    `jitter` is a throw of the dice in [-1, 1].
    """
    asked: timedelta | None = None
    match outcome:
        case Delivered():
            return Succeed()
        case Interrupted():
            return HandBack(Reason.INTERRUPTED)
        case Refused(status) if status in PERMANENT:
            return PERMANENT[status]
        case Refused(status, asked):
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
    return _try_again(reason, delay=delay, asked=asked, now=now)


def _try_again(
    reason: Reason, *, delay: timedelta | None, asked: timedelta | None, now: datetime
) -> RetryAt | GiveUp:
    """Retry after the schedule's delay, or after the longer one that the receiver asked for."""
    if delay is None:
        return GiveUp(Reason.SCHEDULE_SPENT)
    if asked is not None and (wait := clamp_retry_after(asked)) > delay:
        return RetryAt(now + wait, Reason.RETRY_AFTER)
    return RetryAt(now + delay, reason)


def name_of_decision(decision: Decision) -> str:
    """Name a decision by its closed label, as metrics, logs and the ledger write it."""
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


def explain(reason: Reason) -> str:
    """Say in one plain sentence what a reason means, for the people who read the ledger."""
    return _SENTENCES[reason]


_SENTENCES: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.DELIVERED: "The endpoint took the delivery.",
        Reason.RETRYABLE_STATUS: "The endpoint refused; it is tried again as its schedule says.",
        Reason.REDIRECT: "Redirects are not followed; the endpoint is tried again as its schedule says.",
        Reason.RETRY_AFTER: "The endpoint refused and asked for more time than its schedule would give.",
        Reason.TIMEOUT: "The endpoint did not answer in time; it is tried again as its schedule says.",
        Reason.UNREACHABLE: "The endpoint could not be reached; it is tried again as its schedule says.",
        Reason.BLOCKED: "The endpoint's address may not be dialled; it is tried again as its schedule says.",
        Reason.CUT_SHORT: "The endpoint's answer broke off; it is tried again as its schedule says.",
        Reason.INTERRUPTED: "The attempt was stopped on our side and does not count; another is due at once.",
        Reason.SCHEDULE_SPENT: "The last attempt of the schedule failed, so there will be no other.",
        Reason.GONE: "The endpoint answered 410 Gone: it wants no more deliveries and is disabled.",
        Reason.TOO_LARGE: "The endpoint answered that the body is too large, which no retry can change.",
    }
)
