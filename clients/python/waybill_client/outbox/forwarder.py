"""The forwarder: from an application's outbox to Waybill, each row once.

A batch is claimed, sent and forgotten in three steps, and no transaction is open while it is sent. Whoever
dies in between leaves a batch whose lease lapses; it is sent again as it was, under the same idempotency key,
and is the same events.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, assert_never

import structlog

from delivery.client import (
    ClientError,
    Conflict,
    Event,
    GaveUp,
    Invalid,
    Refused,
    Retries,
    TooLarge,
    Unsendable,
)
from delivery.domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.client import Client
    from delivery.outbox.rows import Batch, OutboxStore

log = structlog.get_logger()

_EVENT_FIELD: Final = re.compile(r"events\.(?P<place>[0-9]{1,9})(?:\.(?P<field>.+))?", re.DOTALL)
# What of a request is its rows. Leaving one out does not mend what is wrong with the rest, such as a header.
_ROW_FIELDS: Final = frozenset({"events", "type", "data", "channels", "body"})
_PROBLEM_TYPE_PREFIX: Final = "/problems/"
LEASE: Final = timedelta(seconds=60)
# Tries end well within the lease. Should they not, both who hold the batch send it under the same key.
RETRIES: Final = Retries(patience=timedelta(seconds=20))
EMPTY_POLL_INTERVAL: Final = timedelta(seconds=0.5)
DATABASE_RETRY_INTERVAL: Final = timedelta(seconds=1)
ERROR_RETRY_INTERVAL: Final = timedelta(seconds=10)
MAX_RETRY_INTERVAL: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Send the same batch again after a while: it is nothing about these events."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """One of several is refused, and the answer does not name it: find out which."""


@dataclass(frozen=True, slots=True)
class RefuseRows:
    """The row at this place is refused and would be again, or all are: None."""

    reason: str
    index: int | None = None


BatchDecision = RetryLater | SplitBatch | RefuseRows


def decide_batch(error: ClientError, *, row_count: int) -> BatchDecision:
    """What an error means for a batch of so many rows. Pure."""
    match error:
        case GaveUp():
            return RetryLater(min(error.retry_after or timedelta(0), MAX_RETRY_INTERVAL))
        case Unsendable() if error.place < row_count:
            return RefuseRows(str(error.__cause__ or error), error.place)
        case Refused() if error.type.startswith(_PROBLEM_TYPE_PREFIX):
            return _decide_refused(error, row_count)
        case TooLarge() if row_count > 1:  # to what stands before Waybill
            return SplitBatch()
        case _:  # it is nothing that Waybill says about these events: whoever runs this has to mend it
            return RetryLater(ERROR_RETRY_INTERVAL)


def _decide_refused(error: Refused, rows: int) -> BatchDecision:
    match error:
        case Conflict():
            # This batch was accepted before, in other words: to send it under new keys would double it.
            return RefuseRows(f"{error} It may have been accepted: look before you send it again.")
        case TooLarge():
            return _decide_invalid(error, rows)
        case Invalid() if _is_row_fault(error):
            return _decide_invalid(error, rows)
        case _:  # a key that is refused, or not a tenant's own; a wrong address
            return RetryLater(ERROR_RETRY_INTERVAL)


def _decide_invalid(error: Refused, rows: int) -> BatchDecision:
    place, reason = _find_fault(error)
    if place is not None and place < rows:
        return RefuseRows(reason, place)
    return SplitBatch() if rows > 1 else RefuseRows(reason)


def _is_row_fault(error: Refused) -> bool:
    """Whether all that is wrong is in what the rows hold."""
    fields = [fault.get("field", "") for fault in error.problem.errors]
    return bool(fields) and all(field.partition(".")[0] in _ROW_FIELDS for field in fields)


class Forwarder:
    """Carries batches, one after another. Any number of forwarders may work on one outbox."""

    def __init__(
        self, rows: OutboxStore, client: Client, *, lease: timedelta, sleep: Callable[[timedelta], None]
    ) -> None:
        """`wait` sleeps: it may raise to end `run`."""
        self._rows = rows
        self._client = client
        self._lease = lease
        self._sleep = sleep

    def run(self) -> None:
        """Carry for ever; what the database or Waybill is away for is carried when they are back."""
        while True:
            try:
                pause = self.forward_batch()
            except Unavailable as error:
                log.warning("outbox.put_off", why=str(error))
                pause = DATABASE_RETRY_INTERVAL
            if pause:
                self._sleep(pause)

    def forward_batch(self) -> timedelta:
        """Carry one batch; returns how long to wait before the next."""
        batch = self._rows.claim_batch(lease=self._lease)
        if batch is None:
            return EMPTY_POLL_INTERVAL
        events = [Event(row.type, row.data.encode(), row.channels) for row in batch.rows]
        try:
            self._client.send_many(events, idempotency_key=str(batch.id))
        except ClientError as error:
            return self._handle_error(batch, error)
        except BaseException:  # told to stop: the next one need not wait for the lease to lapse
            with suppress(Unavailable):
                self._rows.release_lease(batch)
            raise
        self._rows.delete_sent(batch)
        log.info("outbox.sent", events=len(events), batch=str(batch.id))
        return timedelta(0)

    def _handle_error(self, batch: Batch, error: ClientError) -> timedelta:
        log.warning("outbox.not_sent", events=len(batch.rows), batch=str(batch.id), why=str(error))
        if isinstance(error, Refused | Unsendable) and error.accepted:
            # It was too large for one request, and only what came after the first is refused.
            self._rows.delete_sent(batch, len(error.accepted))
            return timedelta(0)
        verdict = decide_batch(error, row_count=len(batch.rows))
        match verdict:
            case RetryLater(wait):
                self._rows.release_lease(batch)
                return wait
            case SplitBatch():
                self._rows.split_batch(batch)
            case RefuseRows(reason, place):
                self._rows.mark_refused(batch, reason, index=place)
            case _:
                assert_never(verdict)
        return timedelta(0)


def _find_fault(error: Refused) -> tuple[int | None, str]:
    """Which event of the batch is at fault, if the answer names it, and the reason."""
    for fault in error.problem.errors:
        named = _EVENT_FIELD.fullmatch(fault.get("field", ""))
        if named is not None:
            return int(named["place"]), f"{named['field'] or 'event'}: {fault.get('why', '')}"
    return None, str(error)
