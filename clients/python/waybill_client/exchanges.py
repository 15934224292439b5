"""How something is sent until there is a final answer. Pure: it yields steps, and whoever drives takes them.

The same generators serve both clients: one blocks, the other awaits, and neither decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from delivery.client.errors import ClientError, GaveUp, NotUnderstood, Unsendable, build_refused
from delivery.client.wire import (
    BATCH_PATH,
    EVENTS_PATH,
    Accepted,
    ApiRequest,
    Event,
    Response,
    encode_batch,
    encode_event,
    read_accepted,
    read_problem,
    split_batches,
)
from retries.retry_after import parse_retry_after

_ZERO: Final = timedelta(0)
# Asked again under the same idempotency key, as any 5xx; whatever came of the first time, there is one event.
_RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_CLIENT_ERRORS: Final = range(400, 500)


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
        return max(grown * (0.5 + jitter / 2), retry_after or _ZERO)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: do nothing for so long."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class NoResponse:
    """What may come of asking: no answer, or not all of it."""

    error: Exception


@dataclass(frozen=True, slots=True)
class ClientDeps:
    """What a generator needs of the world: seconds that only grow, the time of day, a throw in [0, 1]."""

    monotonic: Callable[[], float]
    now: Callable[[], datetime]
    rng: Callable[[], float]


Steps = Generator[ApiRequest | Wait, Response | NoResponse | None, list[Accepted]]


def send_one(event: Event, key: str, retries: Retries, deps: ClientDeps) -> Steps:
    """Send one event."""
    return send_until_final(ApiRequest(EVENTS_PATH, encode_event(event), key), retries, deps)


def send_in_batches(
    events: Iterable[Event], key: str, batch_size: int, retries: Retries, deps: ClientDeps
) -> Steps:
    """Send events in batches; each has a key of its own that follows from `key` and the batch's number."""
    accepted: list[Accepted] = []
    counted = _IndexedEvents(events)
    cut = split_batches(counted, batch_size=batch_size)
    for number in count():
        try:
            batch = next(cut, None)
        except Exception as error:
            raise Unsendable(error, place=counted.index, idempotency_key=key, accepted=accepted) from error
        if batch is None:
            break
        try:
            accepted += yield from send_until_final(
                ApiRequest(BATCH_PATH, encode_batch(batch), f"{key}.{number}"),
                retries,
                deps,
                expected=len(batch),
            )
        except ClientError as error:
            error.accepted = tuple(accepted)
            if isinstance(error, GaveUp):
                error.idempotency_key = key
            raise
    return accepted


class _IndexedEvents:
    """Events, and the place of the one that was asked for last."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = events
        self.index = -1

    def __iter__(self) -> Iterator[Event]:
        events = iter(self._events)
        while True:
            self.index += 1
            try:
                event = next(events)
            except StopIteration:
                return
            yield event


def send_until_final(request: ApiRequest, retries: Retries, deps: ClientDeps, *, expected: int = 1) -> Steps:
    """Ask until there is a final answer. Raises Refused, GaveUp and NotUnderstood."""
    began = deps.monotonic()
    tries = 0
    while True:
        tries += 1
        came = yield request
        assert came is not None  # noqa: S101  whoever drives answers what was asked
        if isinstance(came, Response) and not _is_retryable(came.status):
            return _read_final(came, expected)
        asked_for = None
        if isinstance(came, Response):
            asked_for = parse_retry_after(came.headers.get("retry-after"), now=deps.now())
        wait = retries.wait(tries, jitter=deps.rng(), retry_after=asked_for)
        spent = timedelta(seconds=deps.monotonic() - began)
        if tries >= retries.most or spent + wait > retries.patience:
            raise _build_gave_up(came, request, tries, asked_for)
        yield Wait(wait)


def _is_retryable(status: int) -> bool:
    return status in _RETRYABLE_STATUSES or status >= _SERVER_ERROR


def _read_final(answer: Response, expected: int) -> list[Accepted]:
    if answer.status in _CLIENT_ERRORS:
        raise build_refused(read_problem(answer))
    accepted = read_accepted(answer)
    if len(accepted) != expected:
        raise NotUnderstood(answer.status, answer.body)
    return accepted


def _build_gave_up(
    came: Response | NoResponse, ask: ApiRequest, tries: int, retry_after: timedelta | None
) -> GaveUp:
    key = ask.idempotency_key
    if isinstance(came, NoResponse):
        why = f"{type(came.error).__name__}: {came.error}"
        gave_up = GaveUp(why, tries=tries, idempotency_key=key)
        gave_up.__cause__ = came.error
        return gave_up
    problem = read_problem(came)
    return GaveUp(str(problem), tries=tries, idempotency_key=key, problem=problem, retry_after=retry_after)


def utc_now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)
