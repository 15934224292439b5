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
from delivery.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.client import Client
    from delivery.outbox.rows import Batch, Rows

log = structlog.get_logger()

_OF_EVENT: Final = re.compile(r"events\.(?P<place>[0-9]{1,9})(?:\.(?P<field>.+))?", re.DOTALL)
# What of a request is its rows. Leaving one out does not mend what is wrong with the rest, such as a header.
_OF_ROWS: Final = frozenset({"events", "type", "data", "channels", "body"})
_WAYBILLS: Final = "/problems/"
LEASE: Final = timedelta(seconds=60)
# Tries end well within the lease. Should they not, both who hold the batch send it under the same key.
RETRIES: Final = Retries(patience=timedelta(seconds=20))
EMPTY: Final = timedelta(seconds=0.5)
AWAY: Final = timedelta(seconds=1)
TROUBLE: Final = timedelta(seconds=10)
LONGEST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Later:
    """Send the same batch again after a while: it is nothing about these events."""

    wait: timedelta


@dataclass(frozen=True, slots=True)
class Halve:
    """One of several is refused, and the answer does not name it: find out which."""


@dataclass(frozen=True, slots=True)
class Aside:
    """The row at this place is refused and would be again, or all are: None."""

    reason: str
    place: int | None = None


Verdict = Later | Halve | Aside


def judge(error: ClientError, *, rows: int) -> Verdict:
    """What an error means for a batch of so many rows. Pure."""
    match error:
        case GaveUp():
            return Later(min(error.retry_after or timedelta(0), LONGEST))
        case Unsendable() if error.place < rows:
            return Aside(str(error.__cause__ or error), error.place)
        case Refused() if error.type.startswith(_WAYBILLS):
            return _refused(error, rows)
        case TooLarge() if rows > 1:  # to what stands before Waybill
            return Halve()
        case _:  # it is nothing that Waybill says about these events: whoever runs this has to mend it
            return Later(TROUBLE)


def _refused(error: Refused, rows: int) -> Verdict:
    match error:
        case Conflict():
            # This batch was accepted before, in other words: to send it under new keys would double it.
            return Aside(f"{error} It may have been accepted: look before you send it again.")
        case TooLarge():
            return _condemned(error, rows)
        case Invalid() if _of_rows(error):
            return _condemned(error, rows)
        case _:  # a key that is refused, or not a tenant's own; a wrong address
            return Later(TROUBLE)


def _condemned(error: Refused, rows: int) -> Verdict:
    place, reason = _fault(error)
    if place is not None and place < rows:
        return Aside(reason, place)
    return Halve() if rows > 1 else Aside(reason)


def _of_rows(error: Refused) -> bool:
    """Whether all that is wrong is in what the rows hold."""
    fields = [fault.get("field", "") for fault in error.problem.errors]
    return bool(fields) and all(field.partition(".")[0] in _OF_ROWS for field in fields)


class Forwarder:
    """Carries batches, one after another. Any number of forwarders may work on one outbox."""

    def __init__(
        self, rows: Rows, client: Client, *, lease: timedelta, wait: Callable[[timedelta], None]
    ) -> None:
        """`wait` sleeps: it may raise to end `run`."""
        self._rows = rows
        self._client = client
        self._lease = lease
        self._wait = wait

    def run(self) -> None:
        """Carry for ever; what the database or Waybill is away for is carried when they are back."""
        while True:
            try:
                pause = self.turn()
            except Unavailable as error:
                log.warning("outbox.put_off", why=str(error))
                pause = AWAY
            if pause:
                self._wait(pause)

    def turn(self) -> timedelta:
        """Carry one batch; returns how long to wait before the next."""
        batch = self._rows.claim(lease=self._lease)
        if batch is None:
            return EMPTY
        events = [Event(row.type, row.data.encode(), row.channels) for row in batch.rows]
        try:
            self._client.send_many(events, idempotency_key=str(batch.id))
        except ClientError as error:
            return self._settle(batch, error)
        except BaseException:  # told to stop: the next one need not wait for the lease to lapse
            with suppress(Unavailable):
                self._rows.release(batch)
            raise
        self._rows.done(batch)
        log.info("outbox.sent", events=len(events), batch=str(batch.id))
        return timedelta(0)

    def _settle(self, batch: Batch, error: ClientError) -> timedelta:
        log.warning("outbox.not_sent", events=len(batch.rows), batch=str(batch.id), why=str(error))
        if isinstance(error, Refused | Unsendable) and error.accepted:
            # It was too large for one request, and only what came after the first is refused.
            self._rows.done(batch, len(error.accepted))
            return timedelta(0)
        verdict = judge(error, rows=len(batch.rows))
        match verdict:
            case Later(wait):
                self._rows.release(batch)
                return wait
            case Halve():
                self._rows.halve(batch)
            case Aside(reason, place):
                self._rows.set_aside(batch, reason, place=place)
            case _:
                assert_never(verdict)
        return timedelta(0)


def _fault(error: Refused) -> tuple[int | None, str]:
    """Which event of the batch is at fault, if the answer names it, and the reason."""
    for fault in error.problem.errors:
        named = _OF_EVENT.fullmatch(fault.get("field", ""))
        if named is not None:
            return int(named["place"]), f"{named['field'] or 'event'}: {fault.get('why', '')}"
    return None, str(error)
