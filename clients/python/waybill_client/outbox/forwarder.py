"""Sends the rows of an outbox to Waybill: each row is one event there.

A batch is claimed, sent and deleted in three steps; no transaction is open while it is sent. If the process
dies in between, the lease expires and the same batch is sent again under the same idempotency key.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from waybill_client import (
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
from waybill_client.outbox.errors import OutboxUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill_client import Client
    from waybill_client.outbox.store import Batch, OutboxStore

_EVENT_FIELD: Final = re.compile(r"events\.(?P<index>[0-9]{1,9})(?:\.(?P<field>.+))?", re.DOTALL)
# Fields that come from the rows. An error elsewhere, as in a header, does not go away with one row less.
_ROW_FIELDS: Final = frozenset({"events", "type", "data", "channels", "body"})
_PROBLEM_TYPE_PREFIX: Final = "/problems/"
LEASE: Final = timedelta(seconds=60)
# Shorter than the lease. If it lapses all the same, both forwarders send the batch under the same key.
RETRIES: Final = Retries(give_up_after=timedelta(seconds=20))
EMPTY_POLL_INTERVAL: Final = timedelta(seconds=0.5)
DATABASE_RETRY_INTERVAL: Final = timedelta(seconds=1)
ERROR_RETRY_INTERVAL: Final = timedelta(seconds=10)
MAX_RETRY_INTERVAL: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Send the same batch again after a delay: the error is not about these events."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """One of several rows is refused and the answer does not say which: halve the batch to find it."""


@dataclass(frozen=True, slots=True)
class RefuseRows:
    """Waybill refuses the row at `index` for good, or every row: None."""

    reason: str
    index: int | None = None


BatchDecision = RetryLater | SplitBatch | RefuseRows


def decide_batch(error: ClientError, *, row_count: int) -> BatchDecision:
    """Decide what happens to a batch of `row_count` rows after an error. Pure."""
    match error:
        case GaveUp():
            return RetryLater(min(error.retry_after or timedelta(0), MAX_RETRY_INTERVAL))
        case Unsendable() if error.index < row_count:
            return RefuseRows(str(error.__cause__ or error), error.index)
        case Refused() if error.type.startswith(_PROBLEM_TYPE_PREFIX):
            return _decide_refused(error, row_count)
        case TooLarge() if row_count > 1:  # for a proxy in front of Waybill
            return SplitBatch()
        case _:  # not about these events: an operator has to fix it
            return RetryLater(ERROR_RETRY_INTERVAL)


def _decide_refused(error: Refused, row_count: int) -> BatchDecision:
    match error:
        case Conflict():
            # The key was accepted with other content; new keys could duplicate these events.
            return RefuseRows(f"{error} It may have been accepted: look before you send it again.")
        case TooLarge():
            return _decide_invalid(error, row_count)
        case Invalid() if _is_row_fault(error):
            return _decide_invalid(error, row_count)
        case _:  # the API key is refused or is the operator's, or the address is wrong
            return RetryLater(ERROR_RETRY_INTERVAL)


def _decide_invalid(error: Refused, row_count: int) -> BatchDecision:
    index, reason = _find_fault(error)
    if index is not None and index < row_count:
        return RefuseRows(reason, index)
    return SplitBatch() if row_count > 1 else RefuseRows(reason)


def _is_row_fault(error: Refused) -> bool:
    """Whether all errors are in fields that come from the rows."""
    fields = [fault.get("field", "") for fault in error.problem.errors]
    return bool(fields) and all(field.partition(".")[0] in _ROW_FIELDS for field in fields)


class EventLog(Protocol):
    """A logger that takes an event name and fields, such as one of structlog."""

    def info(self, event: str, **fields: object) -> object:
        """Log an event."""

    def warning(self, event: str, **fields: object) -> object:
        """Log an event that an operator should see."""


class StandardLog:
    """Writes events to the standard library's logger `waybill_client.outbox`."""

    _logger = logging.getLogger("waybill_client.outbox")

    def info(self, event: str, **fields: object) -> None:
        """Log an event at level INFO."""
        self._logger.info("%s %s", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log an event at level WARNING."""
        self._logger.warning("%s %s", event, fields)


class Forwarder:
    """Sends batches, one after another. Any number of forwarders may work on one outbox."""

    def __init__(
        self,
        rows: OutboxStore,
        client: Client,
        *,
        lease: timedelta = LEASE,
        sleep: Callable[[timedelta], None],
        log: EventLog | None = None,
    ) -> None:
        """`sleep` may raise to end `run`."""
        self._rows = rows
        self._client = client
        self._lease = lease
        self._sleep = sleep
        self._log = log or StandardLog()

    def run(self) -> None:
        """Send batches until `sleep` raises. Rows wait while the database or Waybill is down."""
        while True:
            try:
                pause = self.forward_batch()
            except OutboxUnavailable as error:
                self._log.warning("outbox.postponed", why=str(error))
                pause = DATABASE_RETRY_INTERVAL
            if pause:
                self._sleep(pause)

    def forward_batch(self) -> timedelta:
        """Send one batch; returns how long to wait before the next."""
        batch = self._rows.claim_batch(lease=self._lease)
        if batch is None:
            return EMPTY_POLL_INTERVAL
        events = [Event(row.type, row.data.encode(), row.channels) for row in batch.rows]
        try:
            self._client.send_many(events, idempotency_key=str(batch.id))
        except ClientError as error:
            return self._handle_error(batch, error)
        except BaseException:  # stopping: release the batch, so that nobody waits for its lease to expire
            with suppress(OutboxUnavailable):
                self._rows.release_lease(batch)
            raise
        self._rows.delete_sent(batch)
        self._log.info("outbox.sent", events=len(events), batch=str(batch.id))
        return timedelta(0)

    def _handle_error(self, batch: Batch, error: ClientError) -> timedelta:
        self._log.warning("outbox.not_sent", events=len(batch.rows), batch=str(batch.id), why=str(error))
        if isinstance(error, Refused | Unsendable) and error.accepted:
            # The batch took several requests; the first were accepted and a later one is refused.
            self._rows.delete_sent(batch, len(error.accepted))
            return timedelta(0)
        decision = decide_batch(error, row_count=len(batch.rows))
        match decision:
            case RetryLater(delay):
                self._rows.release_lease(batch)
                return delay
            case SplitBatch():
                self._rows.split_batch(batch)
            case RefuseRows(reason, index):
                self._rows.mark_refused(batch, reason, index=index)
            case _:
                assert_never(decision)
        return timedelta(0)


def _find_fault(error: Refused) -> tuple[int | None, str]:
    """The index of the invalid event, if the answer names it, and the reason."""
    for fault in error.problem.errors:
        match = _EVENT_FIELD.fullmatch(fault.get("field", ""))
        if match is not None:
            return int(match["index"]), f"{match['field'] or 'event'}: {fault.get('why', '')}"
    return None, str(error)
