"""The steps of attempts: claimed, attempted, what came back, what was decided. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.model import Prefix, show_id
from delivery.moments import exact, length
from delivery.tracing.sentences import sentence, why
from delivery.tracing.steps import Step, What

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from delivery.model import Attempt
    from delivery.tracing.story import Story

_AT_ONCE: Final = timedelta(0)
_DELIVERED: Final = "delivered"


def of_attempts(story: Story) -> Iterator[Step]:
    """Every attempt's steps, and those of the claim that has the delivery now."""
    earlier = None
    for attempt in story.attempts:
        yield from _steps(attempt, _due(story, earlier, attempt.number, attempt.claimed_at))
        earlier = attempt
    progress = story.progress
    if progress is not None and progress.claimed_at is not None:
        number = story.delivery.attempts + 1
        due = _due(story, earlier, number, progress.claimed_at)
        more = {"worker": progress.worker, "started_at": progress.started_at}
        yield _claimed(number, progress.claimed_at, due, more)


def _steps(attempt: Attempt, due: datetime | None) -> Iterator[Step]:
    if attempt.claimed_at is not None:
        yield _claimed(attempt.number, attempt.claimed_at, due, {})
    which = {"attempt_id": show_id(Prefix.ATTEMPT, attempt.id), "number": attempt.number}
    took = attempt.timings.total
    yield Step(
        attempt.started_at,
        What.ATTEMPTED,
        _attempted(attempt),
        {
            **which,
            "worker": attempt.worker,
            "url": attempt.url,
            "address": attempt.address,
            "status": attempt.status,
            "took_ms": _milliseconds(took),
        },
    )
    ended = attempt.started_at + (took or _AT_ONCE)
    came_to = {**which, "outcome": attempt.outcome, "detail": attempt.detail, "status": attempt.status}
    well = attempt.outcome == _DELIVERED
    yield Step(ended, What.SUCCEEDED if well else What.FAILED, sentence(attempt.detail), came_to)
    decided = {**which, "decision": attempt.decision, "reason": attempt.reason}
    yield Step(ended, What.DECIDED, _decided(attempt), {**decided, "next_due_at": attempt.next_due_at})


def _claimed(number: int, at: datetime, due: datetime | None, more: Mapping[str, object]) -> Step:
    # Clocks of two machines may differ by more than it has waited.
    waited = None if due is None else max(_AT_ONCE, at - due)
    told = f"Taken up for attempt {number}" + (
        "" if waited is None else f", {length(waited)} after it was due"
    )
    details = {"number": number, "due_at": due, "waited_ms": _milliseconds(waited), **more}
    return Step(at, What.CLAIMED, sentence(told), details)


def _due(story: Story, earlier: Attempt | None, number: int, claimed_at: datetime | None) -> datetime | None:
    """Since when an attempt was due that was claimed then; None where the ledger does not tell."""
    if claimed_at is None:
        return None
    after = story.delivery.created_at if earlier is None else earlier.started_at
    known = [due] if (due := _planned(story, earlier, number)) is not None else []
    known += [one.at for one in story.asked if after < one.at <= claimed_at]
    return min(known, default=None)


def _planned(story: Story, earlier: Attempt | None, number: int) -> datetime | None:
    if earlier is not None:
        return earlier.next_due_at
    # Before the oldest attempt that is told of there may have been others.
    return story.delivery.created_at if number == 1 else None


def _attempted(attempt: Attempt) -> str:
    to = f"{attempt.url} ({attempt.address})" if attempt.address else f"{attempt.url} (nothing was dialled)"
    took = "" if attempt.timings.total is None else f"; it took {length(attempt.timings.total)}"
    return f"Attempt {attempt.number} by worker {attempt.worker} to {to}{took}."


def _decided(attempt: Attempt) -> str:
    due = "" if attempt.next_due_at is None else f" Due again at {exact(attempt.next_due_at)}."
    return f"{why(attempt.reason)}{due}"


def _milliseconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration / timedelta(milliseconds=1)
