"""How something is sent until there is a final answer. Pure: it yields steps, and whoever drives takes them.

The same generators serve both clients: one blocks, the other awaits, and neither decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from delivery.client.errors import ClientError, GaveUp, NotUnderstood, Unsendable, refused
from delivery.client.wire import (
    BATCH,
    SINGLE,
    Accepted,
    Answer,
    Ask,
    Event,
    batch_body,
    batches,
    encode,
    read_accepted,
    read_problem,
)
from retries.retry_after import parse_retry_after

_NOTHING: Final = timedelta(0)
# Asked again under the same idempotency key, as any 5xx; whatever came of the first time, there is one event.
_PASSING: Final = frozenset({408, 425, 429})
_FAILED: Final = 500
_REFUSALS: Final = range(400, 500)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long to try: waits double from `first` to `longest`, half of each is jitter.

    Tries end after `most`, or when the next would begin later than `patience` after the first.
    """

    most: int = 10
    first: timedelta = timedelta(milliseconds=200)
    longest: timedelta = timedelta(seconds=10)
    patience: timedelta = timedelta(seconds=60)

    def wait(self, tries: int, *, jitter: float, retry_after: timedelta | None = None) -> timedelta:
        """How long after so many tries; never sooner than asked for. `jitter` is a throw in [0, 1]."""
        grown: timedelta = min(self.longest, self.first * (1 << min(tries - 1, 30)))
        return max(grown * (0.5 + jitter / 2), retry_after or _NOTHING)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: do nothing for so long."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class Lost:
    """What may come of asking: no answer, or not all of it."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Edge:
    """What a generator needs of the world: seconds that only grow, the time of day, a throw in [0, 1]."""

    monotonic: Callable[[], float]
    now: Callable[[], datetime]
    dice: Callable[[], float]


Steps = Generator[Ask | Wait, Answer | Lost | None, list[Accepted]]


def send_one(event: Event, key: str, retries: Retries, edge: Edge) -> Steps:
    """Send one event."""
    return exchange(Ask(SINGLE, encode(event), key), retries, edge)


def send_batches(events: Iterable[Event], key: str, most: int, retries: Retries, edge: Edge) -> Steps:
    """Send events in batches; each has a key of its own that follows from `key` and the batch's number."""
    accepted: list[Accepted] = []
    counted = _Counted(events)
    cut = batches(counted, most=most)
    for number in count():
        try:
            batch = next(cut, None)
        except Exception as error:
            raise Unsendable(error, place=counted.place, idempotency_key=key, accepted=accepted) from error
        if batch is None:
            break
        try:
            accepted += yield from exchange(
                Ask(BATCH, batch_body(batch), f"{key}.{number}"), retries, edge, expected=len(batch)
            )
        except ClientError as error:
            error.accepted = tuple(accepted)
            if isinstance(error, GaveUp):
                error.idempotency_key = key
            raise
    return accepted


class _Counted:
    """Events, and the place of the one that was asked for last."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = events
        self.place = -1

    def __iter__(self) -> Iterator[Event]:
        events = iter(self._events)
        while True:
            self.place += 1
            try:
                event = next(events)
            except StopIteration:
                return
            yield event


def exchange(ask: Ask, retries: Retries, edge: Edge, *, expected: int = 1) -> Steps:
    """Ask until there is a final answer. Raises Refused, GaveUp and NotUnderstood."""
    began = edge.monotonic()
    tries = 0
    while True:
        tries += 1
        came = yield ask
        assert came is not None  # noqa: S101  whoever drives answers what was asked
        if isinstance(came, Answer) and not _passes(came.status):
            return _final(came, expected)
        asked_for = None
        if isinstance(came, Answer):
            asked_for = parse_retry_after(came.headers.get("retry-after"), now=edge.now())
        wait = retries.wait(tries, jitter=edge.dice(), retry_after=asked_for)
        spent = timedelta(seconds=edge.monotonic() - began)
        if tries >= retries.most or spent + wait > retries.patience:
            raise _gave_up(came, ask, tries, asked_for)
        yield Wait(wait)


def _passes(status: int) -> bool:
    return status in _PASSING or status >= _FAILED


def _final(answer: Answer, expected: int) -> list[Accepted]:
    if answer.status in _REFUSALS:
        raise refused(read_problem(answer))
    accepted = read_accepted(answer)
    if len(accepted) != expected:
        raise NotUnderstood(answer.status, answer.body)
    return accepted


def _gave_up(came: Answer | Lost, ask: Ask, tries: int, retry_after: timedelta | None) -> GaveUp:
    key = ask.idempotency_key
    if isinstance(came, Lost):
        why = f"{type(came.error).__name__}: {came.error}"
        gave_up = GaveUp(why, tries=tries, idempotency_key=key)
        gave_up.__cause__ = came.error
        return gave_up
    problem = read_problem(came)
    return GaveUp(str(problem), tries=tries, idempotency_key=key, problem=problem, retry_after=retry_after)


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)
