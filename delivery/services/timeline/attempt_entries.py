"""Timeline entries of attempts: claimed, attempted, outcome, decision. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.durations import format_duration, format_utc, to_milliseconds
from delivery.domain.ids import Prefix, format_id
from delivery.services.sentences import describe_reason, format_sentence
from delivery.services.timeline.entries import TimelineEntry, TimelineEntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from delivery.domain.attempt import Attempt
    from delivery.services.timeline.history import DeliveryHistory

_ZERO: Final = timedelta(0)
_DELIVERED: Final = "delivered"


def build_attempt_steps(history: DeliveryHistory) -> Iterator[TimelineEntry]:
    """Build the entries of every attempt, and of the claim that has the delivery now."""
    previous = None
    for attempt in history.attempts:
        yield from _build_steps(
            attempt, _find_due_time(history, previous, attempt.number, attempt.claimed_at)
        )
        previous = attempt
    progress = history.progress
    if progress is not None and progress.claimed_at is not None:
        number = history.delivery.attempts + 1
        due = _find_due_time(history, previous, number, progress.claimed_at)
        details = {"worker": progress.worker, "started_at": progress.started_at}
        yield _build_claimed_step(number, progress.claimed_at, due, details)


def _build_steps(attempt: Attempt, due: datetime | None) -> Iterator[TimelineEntry]:
    if attempt.claimed_at is not None:
        yield _build_claimed_step(attempt.number, attempt.claimed_at, due, {})
    ids = {"attempt_id": format_id(Prefix.ATTEMPT, attempt.id), "number": attempt.number}
    elapsed = attempt.timings.total
    yield TimelineEntry(
        attempt.started_at,
        TimelineEntryKind.ATTEMPTED,
        _describe_attempt(attempt),
        {
            **ids,
            "worker": attempt.worker,
            "url": attempt.url,
            "address": attempt.address,
            "status": attempt.status,
            "took_ms": to_milliseconds(elapsed),
        },
    )
    ended_at = attempt.started_at + (elapsed or _ZERO)
    result = {**ids, "outcome": attempt.outcome, "detail": attempt.detail, "status": attempt.status}
    succeeded = attempt.outcome == _DELIVERED
    yield TimelineEntry(
        ended_at,
        TimelineEntryKind.SUCCEEDED if succeeded else TimelineEntryKind.FAILED,
        format_sentence(attempt.detail),
        result,
    )
    decision = {**ids, "decision": attempt.decision, "reason": attempt.reason}
    yield TimelineEntry(
        ended_at,
        TimelineEntryKind.DECIDED,
        _describe_decision(attempt),
        {**decision, "next_due_at": attempt.next_due_at},
    )


def _build_claimed_step(
    number: int, at: datetime, due: datetime | None, extra: Mapping[str, object]
) -> TimelineEntry:
    # The clocks of two machines may differ by more than the wait.
    waited = None if due is None else max(_ZERO, at - due)
    sentence = f"Claimed for attempt {number}" + (
        "" if waited is None else f", {format_duration(waited)} after it was due"
    )
    details = {"number": number, "due_at": due, "waited_ms": to_milliseconds(waited), **extra}
    return TimelineEntry(at, TimelineEntryKind.CLAIMED, format_sentence(sentence), details)


def _find_due_time(
    history: DeliveryHistory, previous: Attempt | None, number: int, claimed_at: datetime | None
) -> datetime | None:
    """Since when a claimed attempt had been due; None where the ledger does not tell."""
    if claimed_at is None:
        return None
    after = history.delivery.created_at if previous is None else previous.started_at
    times = [due] if (due := _find_planned_time(history, previous, number)) is not None else []
    times += [request.at for request in history.replay_requests if after < request.at <= claimed_at]
    return min(times, default=None)


def _find_planned_time(history: DeliveryHistory, previous: Attempt | None, number: int) -> datetime | None:
    if previous is not None:
        return previous.next_due_at
    # There may have been attempts before the oldest one that was loaded.
    return history.delivery.created_at if number == 1 else None


def _describe_attempt(attempt: Attempt) -> str:
    to = f"{attempt.url} ({attempt.address})" if attempt.address else f"{attempt.url} (no connection)"
    took = "" if attempt.timings.total is None else f"; it took {format_duration(attempt.timings.total)}"
    return f"Attempt {attempt.number} by worker {attempt.worker} to {to}{took}."


def _describe_decision(attempt: Attempt) -> str:
    due = "" if attempt.next_due_at is None else f" Due again at {format_utc(attempt.next_due_at)}."
    return f"{describe_reason(attempt.reason)}{due}"
