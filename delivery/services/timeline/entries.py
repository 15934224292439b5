"""The entries of a timeline: what can happen to a delivery, as a closed set."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class TimelineEntryKind(StrEnum):
    """What happened; the kinds of endpoints are the journal's actions."""

    ACCEPTED = "event.accepted"
    MATCHED = "delivery.matched"
    CLAIMED = "delivery.claimed"
    ATTEMPTED = "delivery.attempted"
    SUCCEEDED = "attempt.succeeded"
    FAILED = "attempt.failed"
    DECIDED = "delivery.decided"
    RETRIED = "delivery.retried"  # what replays were called before
    REPLAYED = "delivery.replayed"
    FINISHED = "delivery.finished"
    PAUSED = "endpoint.paused"
    RESUMED = "endpoint.resumed"
    DISABLED = "endpoint.disabled"
    ENABLED = "endpoint.enabled"
    CHANGED = "endpoint.changed"
    SECRET_ROTATED = "endpoint.secret_rotated"  # noqa: S105  a word, not a secret
    DELETED = "endpoint.deleted"
    BREAKER_OPENED = "endpoint.breaker_opened"
    BREAKER_STAYED_OPEN = "endpoint.breaker_stayed_open"
    BREAKER_CLOSED = "endpoint.breaker_closed"
    WAITING = "endpoint.waiting"
    DISABLE_WARNING = "endpoint.disable_warning"
    OTHER = "other"

    @classmethod
    def parse(cls, text: str) -> TimelineEntryKind:
        """The kind of a journal action; OTHER if it has none."""
        try:
            return cls(text)
        except ValueError:
            return cls.OTHER


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened, with a sentence and the facts, which are JSON values or datetimes."""

    at: datetime
    kind: TimelineEntryKind
    sentence: str
    details: Mapping[str, object] = field(default_factory=dict)
