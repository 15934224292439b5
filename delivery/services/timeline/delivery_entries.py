"""The timeline of a delivery: everything that happened to it, in order of time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.domain.durations import format_utc
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id
from delivery.services.sentences import (
    describe_condition_failure,
    describe_entry,
    describe_reason,
    format_actor,
    format_sentence,
    format_state_reason,
)
from delivery.services.timeline.attempt_entries import build_attempt_steps
from delivery.services.timeline.entries import TimelineEntry, TimelineEntryKind
from delivery.services.timeline.history import TEST_TYPE, find_active_holds
from delivery.services.timeline.status import explain_status
from retries.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from delivery.domain.delivery import Delivery
    from delivery.domain.holds import EndpointStatus
    from delivery.ledger.records.journal import JournalEntry
    from delivery.services.timeline.history import DeliveryHistory

_STATE_KINDS: Final = frozenset(
    {
        TimelineEntryKind.PAUSED,
        TimelineEntryKind.RESUMED,
        TimelineEntryKind.DISABLED,
        TimelineEntryKind.ENABLED,
    }
)
_BREAKER_KINDS: Final = frozenset(
    {
        TimelineEntryKind.BREAKER_OPENED,
        TimelineEntryKind.BREAKER_STAYED_OPEN,
        TimelineEntryKind.BREAKER_CLOSED,
    }
)


@dataclass(frozen=True, slots=True)
class DeliveryTimeline:
    """The entries of a delivery, oldest first, and a sentence that explains its present status.

    `url` is the endpoint's present URL. `left_out` says what was omitted, since the timeline is bounded.
    """

    delivery: Delivery
    url: str
    summary: str
    steps: tuple[TimelineEntry, ...]
    left_out: tuple[str, ...]


def build_delivery_timeline(history: DeliveryHistory) -> DeliveryTimeline:
    """Build the timeline of a delivery."""
    delivery, created_at = history.delivery, history.delivery.created_at
    before = [
        _build_endpoint_step(entry) for entry in find_active_holds(history.entries_before, at=created_at)
    ]
    from_rows = list(_build_unjournaled_steps(history))
    before += [step for step in from_rows if step.at < created_at]
    before.sort(key=lambda step: step.at)
    later = [
        *build_attempt_steps(history),
        *(_build_endpoint_step(entry) for entry in history.entries_since),
        *(step for step in from_rows if step.at >= created_at),
        *(_build_request_step(entry) for entry in history.replay_requests),
    ]
    # Later entries sort after the first ones even where the clocks of two machines differ a little.
    later.sort(key=lambda step: max(step.at, created_at))
    steps = (*before, *_build_first_steps(delivery), *later, *_build_finished_step(delivery))
    return DeliveryTimeline(delivery, history.url, explain_status(history), steps, history.left_out)


def _build_first_steps(delivery: Delivery) -> Iterator[TimelineEntry]:
    event_details = {
        "event_id": format_id(Prefix.EVENT, delivery.event_id),
        "event_type": delivery.event_type,
    }
    accepted = f"The event {event_details['event_id']} of type {delivery.event_type} was accepted."
    yield TimelineEntry(delivery.created_at, TimelineEntryKind.ACCEPTED, accepted, event_details)
    to_endpoint = {"endpoint_id": format_id(Prefix.ENDPOINT, delivery.endpoint_id)}
    sentence = f"It is owed to the endpoint {to_endpoint['endpoint_id']}, {describe_match(delivery)}."
    details = {**to_endpoint, "pattern": delivery.matched_by}
    if delivery.condition_failed is not None:
        details["condition_failed"] = delivery.condition_failed
    yield TimelineEntry(delivery.created_at, TimelineEntryKind.MATCHED, sentence, details)


def describe_match(delivery: Delivery) -> str:
    """Why the delivery was created, as a clause after `it is owed to the endpoint`."""
    if delivery.matched_by is not None:
        asked_for = f"whose filter includes {delivery.matched_by}"
        return asked_for + describe_condition_failure(delivery)
    if delivery.event_type == TEST_TYPE:
        return "to which it was sent directly"
    return "to which it was sent directly, or before patterns were stored"


def _build_unjournaled_steps(history: DeliveryHistory) -> Iterator[TimelineEntry]:
    """Yield present holds that have no journal entry, from the endpoint's own rows."""
    status = history.endpoint_status
    if status is None or history.delivery.finished_at is not None:
        return
    for step, kinds in (
        (_build_state_step(status), _STATE_KINDS),
        (_build_breaker_step(status), _BREAKER_KINDS),
    ):
        if step is not None and not _is_journaled(step, history, kinds):
            yield step


def _is_journaled(
    step: TimelineEntry, history: DeliveryHistory, kinds: Collection[TimelineEntryKind]
) -> bool:
    """Whether the journal's last entry of these kinds began this hold."""
    journaled = [
        TimelineEntryKind.parse(entry.action) for entry in (*history.entries_before, *history.entries_since)
    ]
    last = next((kind for kind in reversed(journaled) if kind in kinds), None)
    return last is step.kind or last is TimelineEntryKind.BREAKER_STAYED_OPEN


def _build_state_step(status: EndpointStatus) -> TimelineEntry | None:
    if status.state is EndpointState.ACTIVE:
        return None
    kind = TimelineEntryKind.PAUSED if status.state is EndpointState.PAUSED else TimelineEntryKind.DISABLED
    by = f" by {format_actor(status.state_actor)}" if status.state_actor else ""
    sentence = format_sentence(
        f"The endpoint was {status.state}{by}{format_state_reason(status.state_reason)}"
    )
    details = {"actor": status.state_actor, "reason": status.state_reason}
    return TimelineEntry(status.state_changed_at, kind, sentence, details)


def _build_breaker_step(status: EndpointStatus) -> TimelineEntry | None:
    if status.health is None or status.health.breaker.state is BreakerState.CLOSED:
        return None
    breaker = status.health.breaker
    probe = (
        "" if breaker.probe_at is None else f"; the next probe may be sent at {format_utc(breaker.probe_at)}"
    )
    sentence = f"The endpoint's circuit breaker opened{probe}."
    return TimelineEntry(
        breaker.since, TimelineEntryKind.BREAKER_OPENED, sentence, {"probe_at": breaker.probe_at}
    )


def _build_endpoint_step(entry: JournalEntry) -> TimelineEntry:
    details = {"actor": entry.actor, "reason": entry.reason, **entry.details}
    kind = TimelineEntryKind.parse(entry.action)
    extra = {"entry": entry.action} if kind is TimelineEntryKind.OTHER else {}
    return TimelineEntry(entry.at, kind, describe_entry(entry), {**details, **extra})


def _build_request_step(entry: JournalEntry) -> TimelineEntry:
    kind = TimelineEntryKind.parse(entry.action)
    if kind not in {TimelineEntryKind.RETRIED, TimelineEntryKind.REPLAYED}:
        return _build_endpoint_step(entry)
    previous = str(entry.details.get("was", "")).replace("_", " ")
    because = f", because: {entry.reason}" if entry.reason else ""
    job = f", with {entry.details['replay_id']}" if "replay_id" in entry.details else ""
    sentence = f"Replayed by {format_actor(entry.actor)}{job}{because}" + (
        f"; it was {previous}" if previous else ""
    )
    return TimelineEntry(
        entry.at,
        kind,
        format_sentence(sentence),
        {"actor": entry.actor, "reason": entry.reason, **entry.details},
    )


def _build_finished_step(delivery: Delivery) -> Iterator[TimelineEntry]:
    if delivery.finished_at is None:
        return
    reason = delivery.reason
    sentence = f"{delivery.status.capitalize()}" + ("" if reason is None else f": {describe_reason(reason)}")
    details = {"status": delivery.status, "reason": reason}
    yield TimelineEntry(delivery.finished_at, TimelineEntryKind.FINISHED, format_sentence(sentence), details)
