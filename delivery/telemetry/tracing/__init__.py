"""Optional OpenTelemetry traces: one trace from a producer's POST to the receiver.

Without it a process has no `Tracer` and loads nothing of the library. Trace contexts are passed on as values
(`traceparent` of W3C's Trace Context): from the request to the event's row, and from there to each attempt,
so that they outlive processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class AttemptTraceContext:
    """The trace context of a delivery when its attempt begins.

    `accepted_at` is set for first attempts only: earlier attempts show the time before later ones.
    """

    traceparent: str
    claimed_at: datetime
    started_at: datetime
    attributes: Mapping[str, str | int]
    accepted_at: datetime | None = None
