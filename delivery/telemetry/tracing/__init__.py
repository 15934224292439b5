"""OpenTelemetry, where the operator wants it: one trace from a producer's POST to the receiver.

A process without it has no `Spans`, loads nothing of the library, and looks whether it is there before each
use. Contexts are handed on as values, in the form of W3C's Trace Context, `traceparent`: from the request to
the event's row, and from there to each attempt, so that they outlive processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class AttemptTraceContext:
    """What is known of a delivery when its attempt begins, as a trace tells it.

    `accepted_at` only of a first attempt: what was before a later one is told by those before it.
    """

    traceparent: str
    claimed_at: datetime
    started_at: datetime
    attributes: Mapping[str, str | int]
    accepted_at: datetime | None = None
