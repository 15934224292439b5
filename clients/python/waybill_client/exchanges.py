"""Decides what to send, when to retry and when to stop. Pure generators that yield requests and waits.

Both clients drive the same generators: one blocks, the other awaits, and neither decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from waybill_client._retry_after import parse_retry_after
from waybill_client.errors import ClientError, GaveUp, NotUnderstood, Unsendable, build_refused
from waybill_client.events import Accepted, Event
from waybill_client.wire import (
    BATCH_PATH,
    EVENTS_PATH,
    ApiRequest,
    Response,
    encode_batch,
    encode_event,
    read_accepted,
    read_problem,
    split_batches,
)

_ZERO: Final = timedelta(0)
# Like any 5xx, retried under the same idempotency key: there is one event even if the first try succeeded.
_RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_CLIENT_ERRORS: Final = range(400, 500)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long to try. Waits double from `first_wait` to `max_wait`; half of each is jitter.

    The client gives up after `max_tries`, or when the next try would begin later than `give_up_after`
    after the first.
    """

    max_tries: int = 10
    first_wait: timedelta = timedelta(milliseconds=200)
    max_wait: timedelta = timedelta(seconds=10)
    give_up_after: timedelta = timedelta(seconds=60)

    def wait(self, tries: int, *, jitter: float, retry_after: timedelta | None = None) -> timedelta:
        """The wait after this many tries, at least `retry_after`. `jitter` is a random number in [0, 1]."""
        grown: timedelta = min(self.max_wait, self.first_wait * (1 << min(tries - 1, 30)))
        return max(grown * (0.5 + jitter / 2), retry_after or _ZERO)


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: sleep."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class NoResponse:
    """The result of a request without a complete answer."""

    error: Exception


@dataclass(frozen=True, slots=True)
class ClientDeps:
    """The clocks and the random numbers in [0, 1] of a generator."""

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
    """Send events in batches. The idempotency key of each is `key` and the number of the batch."""
    accepted: list[Accepted] = []
    indexed = _IndexedEvents(events)
    batches = split_batches(indexed, batch_size=batch_size)
    for number in count():
        try:
            batch = next(batches, None)
        except Exception as error:
            raise Unsendable(error, index=indexed.index, idempotency_key=key, accepted=accepted) from error
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
    """An iterable of events that knows the index of the last one it yielded."""

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
    """Repeat a request until there is a final answer. Raises Refused, GaveUp and NotUnderstood."""
    began = deps.monotonic()
    tries = 0
    while True:
        tries += 1
        result = yield request
        assert result is not None  # noqa: S101  the client answers each request
        if isinstance(result, Response) and not _is_retryable(result.status):
            return _read_final(result, expected)
        retry_after = None
        if isinstance(result, Response):
            retry_after = parse_retry_after(result.headers.get("retry-after"), now=deps.now())
        wait = retries.wait(tries, jitter=deps.rng(), retry_after=retry_after)
        spent = timedelta(seconds=deps.monotonic() - began)
        if tries >= retries.max_tries or spent + wait > retries.give_up_after:
            raise _build_gave_up(result, request, tries, retry_after)
        yield Wait(wait)


def _is_retryable(status: int) -> bool:
    return status in _RETRYABLE_STATUSES or status >= _SERVER_ERROR


def _read_final(response: Response, expected: int) -> list[Accepted]:
    if response.status in _CLIENT_ERRORS:
        raise build_refused(read_problem(response))
    accepted = read_accepted(response)
    if len(accepted) != expected:
        raise NotUnderstood(response.status, response.body)
    return accepted


def _build_gave_up(
    result: Response | NoResponse, request: ApiRequest, tries: int, retry_after: timedelta | None
) -> GaveUp:
    key = request.idempotency_key
    if isinstance(result, NoResponse):
        why = f"{type(result.error).__name__}: {result.error}"
        gave_up = GaveUp(why, tries=tries, idempotency_key=key)
        gave_up.__cause__ = result.error
        return gave_up
    problem = read_problem(result)
    return GaveUp(str(problem), tries=tries, idempotency_key=key, problem=problem, retry_after=retry_after)


def utc_now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
