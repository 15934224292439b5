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
    delivery, made = history.delivery, history.delivery.created_at
    on = [_build_endpoint_step(entry) for entry in find_active_holds(history.entries_before, at=made)]
    from_rows = list(_build_unjournaled_steps(history))
    on += [step for step in from_rows if step.at < made]
    on.sort(key=lambda step: step.at)
    later = [
        *build_attempt_steps(history),
        *(_build_endpoint_step(entry) for entry in history.entries_since),
        *(step for step in from_rows if step.at >= made),
        *(_build_request_step(entry) for entry in history.replay_requests),
    ]
    # Later entries sort after the first ones even where the clocks of two machines differ a little.
    later.sort(key=lambda step: max(step.at, made))
    steps = (*on, *_build_first_steps(delivery), *later, *_build_finished_step(delivery))
    return DeliveryTimeline(delivery, history.url, explain_status(history), steps, history.left_out)


def _build_first_steps(delivery: Delivery) -> Iterator[TimelineEntry]:
    of_event = {"event_id": format_id(Prefix.EVENT, delivery.event_id), "event_type": delivery.event_type}
    accepted = f"The event {of_event['event_id']} of type {delivery.event_type} was accepted."
    yield TimelineEntry(delivery.created_at, TimelineEntryKind.ACCEPTED, accepted, of_event)
    to_endpoint = {"endpoint_id": format_id(Prefix.ENDPOINT, delivery.endpoint_id)}
    told = f"It is owed to the endpoint {to_endpoint['endpoint_id']}, {describe_match(delivery)}."
    details = {**to_endpoint, "pattern": delivery.matched_by}
    if delivery.condition_failed is not None:
        details["condition_failed"] = delivery.condition_failed
    yield TimelineEntry(delivery.created_at, TimelineEntryKind.MATCHED, told, details)


def describe_match(delivery: Delivery) -> str:
    """Why the delivery was created, as a clause after `it is owed to the endpoint`."""
    if delivery.matched_by is not None:
        asked_for = f"whose filter asks for {delivery.matched_by}"
        return asked_for + describe_condition_failure(delivery)
    if delivery.event_type == TEST_TYPE:
        return "to which it was sent by name"
    return "to which it was sent by name or before patterns were kept"


def _build_unjournaled_steps(history: DeliveryHistory) -> Iterator[TimelineEntry]:
    """Yield present holds that have no journal entry, from the endpoint's own rows."""
    situation = history.endpoint_status
    if situation is None or history.delivery.finished_at is not None:
        return
    for step, words in (
        (_build_state_step(situation), _STATE_KINDS),
        (_build_breaker_step(situation), _BREAKER_KINDS),
    ):
        if step is not None and not _is_journaled(step, history, words):
            yield step


def _is_journaled(
    step: TimelineEntry, history: DeliveryHistory, kinds: Collection[TimelineEntryKind]
) -> bool:
    """Whether the journal's last entry of these kinds began this hold."""
    told = [
        TimelineEntryKind.parse(entry.action) for entry in (*history.entries_before, *history.entries_since)
    ]
    last = next((what for what in reversed(told) if what in kinds), None)
    return last is step.kind or last is TimelineEntryKind.BREAKER_STAYED_OPEN


def _build_state_step(status: EndpointStatus) -> TimelineEntry | None:
    if status.state is EndpointState.ACTIVE:
        return None
    what = TimelineEntryKind.PAUSED if status.state is EndpointState.PAUSED else TimelineEntryKind.DISABLED
    by = f" by {format_actor(status.state_actor)}" if status.state_actor else ""
    told = format_sentence(f"The endpoint was {status.state}{by}{format_state_reason(status.state_reason)}")
    details = {"actor": status.state_actor, "reason": status.state_reason}
    return TimelineEntry(status.state_changed_at, what, told, details)


def _build_breaker_step(status: EndpointStatus) -> TimelineEntry | None:
    if status.health is None or status.health.breaker.state is BreakerState.CLOSED:
        return None
    breaker = status.health.breaker
    probe = (
        "" if breaker.probe_at is None else f"; the next probe may go out at {format_utc(breaker.probe_at)}"
    )
    told = f"The endpoint's circuit breaker opened{probe}."
    return TimelineEntry(
        breaker.since, TimelineEntryKind.BREAKER_OPENED, told, {"probe_at": breaker.probe_at}
    )


def _build_endpoint_step(entry: JournalEntry) -> TimelineEntry:
    details = {"actor": entry.actor, "reason": entry.reason, **entry.details}
    what = TimelineEntryKind.parse(entry.action)
    more = {"entry": entry.action} if what is TimelineEntryKind.OTHER else {}
    return TimelineEntry(entry.at, what, describe_entry(entry), {**details, **more})


def _build_request_step(entry: JournalEntry) -> TimelineEntry:
    what = TimelineEntryKind.parse(entry.action)
    if what not in {TimelineEntryKind.RETRIED, TimelineEntryKind.REPLAYED}:
        return _build_endpoint_step(entry)
    was = str(entry.details.get("was", "")).replace("_", " ")
    because = f", because: {entry.reason}" if entry.reason else ""
    job = f", with {entry.details['replay_id']}" if "replay_id" in entry.details else ""
    told = f"Replayed by {format_actor(entry.actor)}{job}{because}" + (f"; it was {was}" if was else "")
    return TimelineEntry(
        entry.at, what, format_sentence(told), {"actor": entry.actor, "reason": entry.reason, **entry.details}
    )


def _build_finished_step(delivery: Delivery) -> Iterator[TimelineEntry]:
    if delivery.finished_at is None:
        return
    reason = delivery.reason
    told = f"{delivery.status.capitalize()}" + ("" if reason is None else f": {describe_reason(reason)}")
    details = {"status": delivery.status, "reason": reason}
    yield TimelineEntry(delivery.finished_at, TimelineEntryKind.FINISHED, format_sentence(told), details)
