"""The records of one exchange: what it may take, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Final

from delivery.domain.attempt import Timings

if TYPE_CHECKING:
    from retries.outcome import Outcome, Phase

MAX_TOTAL_TIMEOUT: Final = timedelta(seconds=30)
_ZERO: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """What one exchange may take. `connect` covers name, connection and TLS together; `total` covers all."""

    connect_timeout: timedelta = timedelta(seconds=5)
    total_timeout: timedelta = timedelta(seconds=15)
    max_body_bytes: int = 65_536

    def __post_init__(self) -> None:
        if not _ZERO < self.total_timeout <= MAX_TOTAL_TIMEOUT:
            raise ValueError(f"The total limit must be above zero and at most {MAX_TOTAL_TIMEOUT.seconds} s.")
        if self.connect_timeout <= _ZERO:
            raise ValueError("The connect limit must be above zero.")
        if self.max_body_bytes < 0:
            raise ValueError("The number of bytes to read must not be negative.")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of one request. Whatever arrived before a failure is in it too.

    `started` is a reading of `time.perf_counter`, in seconds. The body is as it came over the wire, never
    unpacked, and cut at the limit when `body_truncated`. Of the timings, `first_byte` runs from the moment
    the request was written to the answer's first byte; a reused connection has no `dns`, `connect`, `tls`.
    """

    outcome: Outcome
    started: float
    timings: Timings
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    body_truncated: bool = False
    address: str | None = None
    reused: bool = False


@dataclass(slots=True)
class ExchangeTrace:
    """What is known of an exchange so far, written as it happens: a failure then tells how far it came.

    `phase` is what is under way; None while it waits for a free connection. Times are seconds.
    `at_proxy`: it is on its way to the operator's proxy, and has not come to the receiver's part.
    """

    started: float = field(default_factory=perf_counter)
    phase: Phase | None = None
    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    sent_at: float | None = None
    first_byte_at: float | None = None
    address: str | None = None
    reused: bool = False
    at_proxy: bool = False
    status: int | None = None
    raw_headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    truncated: bool = False

    def build_timings(self) -> Timings:
        """Give the times as they stand, with the end of the exchange being now."""
        waited = None
        if self.sent_at is not None and self.first_byte_at is not None:
            waited = self.first_byte_at - self.sent_at
        return Timings(
            dns=_to_timedelta(self.dns),
            connect=_to_timedelta(self.connect),
            tls=_to_timedelta(self.tls),
            first_byte=_to_timedelta(waited),
            total=_to_timedelta(perf_counter() - self.started),
        )


def _to_timedelta(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
