"""The records of one HTTP exchange: its limits, its progress, and its result."""

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
    """Limits of one exchange. `connect_timeout` covers DNS, connecting and TLS; `total_timeout` all of it."""

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
    """The result of one request, with everything that arrived before a failure.

    `started` is a reading of `time.perf_counter`, in seconds. The body is as it came over the wire, never
    decompressed, and cut at the limit if `body_truncated`. In the timings, `first_byte` runs from writing the
    request to the first byte of the response; a reused connection has no `dns`, `connect` and `tls`.
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
    """The progress of an exchange, written as it happens, so that a failure shows how far it came.

    `phase` is None while it waits for a free connection. Times are seconds. `at_proxy`: it is still
    connecting to the operator's proxy, so that a failure is not the receiver's.
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
        """Build the timings of an exchange that ends now."""
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
