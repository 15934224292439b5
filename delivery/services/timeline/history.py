"""The facts about a delivery and its endpoint from which a timeline is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.services.sentences import parse_moment
from delivery.services.timeline.entries import TimelineEntryKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.attempt import Attempt
    from delivery.domain.delivery import Delivery
    from delivery.domain.holds import EndpointStatus
    from delivery.ledger.records.deliveries import DeliveryProgress
    from delivery.ledger.records.journal import JournalEntry

# The only type that is sent to an endpoint directly, whatever its filter.
TEST_TYPE: Final = "waybill.test"


@dataclass(frozen=True, slots=True)
class DeliveryHistory:
    """Everything about one delivery, each list oldest first.

    `progress` None: it has ended. `endpoint_status` None: its endpoint was deleted. `max_attempts` is that of
    the retry schedule. `entries_before` and `entries_since` are the endpoint's journal entries before and
    since the delivery was created. `left_out` says, in sentences, what was omitted.
    """

    delivery: Delivery
    progress: DeliveryProgress | None
    url: str
    endpoint_status: EndpointStatus | None
    max_attempts: int
    attempts: Sequence[Attempt]
    replay_requests: Sequence[JournalEntry]
    entries_before: Sequence[JournalEntry]
    entries_since: Sequence[JournalEntry]
    left_out: tuple[str, ...]
    now: datetime


def find_active_holds(entries: Sequence[JournalEntry], *, at: datetime) -> list[JournalEntry]:
    """The entries, of an endpoint's in time order, that began a hold still active at this moment."""
    state = breaker = waiting = None
    for entry in entries:
        match TimelineEntryKind.parse(entry.action):
            case TimelineEntryKind.PAUSED | TimelineEntryKind.DISABLED if not entry.details.get("again"):
                state = entry
            case TimelineEntryKind.RESUMED | TimelineEntryKind.ENABLED:  # which resets its health too
                state = breaker = waiting = None
            case TimelineEntryKind.BREAKER_OPENED:
                breaker = entry
            case TimelineEntryKind.BREAKER_STAYED_OPEN:
                breaker = breaker or entry
            case TimelineEntryKind.BREAKER_CLOSED:
                breaker = None
            case TimelineEntryKind.WAITING:
                waiting = entry
            case _:
                pass
    until = None if waiting is None else parse_moment(waiting.details, "until")
    if until is None or until <= at:
        waiting = None
    return sorted((e for e in (state, breaker, waiting) if e is not None), key=lambda entry: entry.at)
