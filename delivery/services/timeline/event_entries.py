"""The timeline of an event: which endpoints it was owed to, which not, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from delivery.domain.conditions import ConditionEvaluator
from delivery.domain.ids import Prefix, format_id
from delivery.domain.payload_path import extract_data
from delivery.domain.subscription import MatchResult, Subscription, match_event
from delivery.services.sentences import (
    describe_condition_failure,
    format_alternatives,
    format_count,
    format_patterns,
)
from delivery.services.timeline.history import TEST_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from delivery.domain.delivery import Delivery
    from delivery.domain.ids import EndpointId
    from delivery.ledger.records.events import EventSummary
    from delivery.ledger.search.timeline import SubscriptionChange, TracedEndpoint


class MatchVerdict(StrEnum):
    """Whether an event was owed to an endpoint, and why not."""

    MATCHED = "matched"
    NAMED = "named"
    NOT_ASKED_FOR = "not_asked_for"
    OTHER_CHANNELS = "other_channels"
    CONDITION_NOT_MET = "condition_not_met"
    NOT_NAMED = "not_named"
    OPERATIONAL = "operational"
    JUST_CHANGED = "just_changed"


@dataclass(frozen=True, slots=True)
class EventFate:
    """The verdict for one endpoint; `filter`, `channels` and `condition` are those of that time.

    `condition_failed`: why the condition could not be evaluated; the event was sent anyway.
    """

    endpoint_id: EndpointId
    url: str
    verdict: MatchVerdict
    sentence: str
    filter: tuple[str, ...]
    channels: tuple[str, ...]
    condition: str | None
    pattern: str | None
    condition_failed: str | None
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class EventTimeline:
    """The verdicts for all endpoints: first those that the event is owed to, then the others.

    `made_later` counts the endpoints created after it. `left_out` says what was omitted.
    """

    event: EventSummary
    summary: str
    endpoints: tuple[EventFate, ...]
    made_later: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventArrival:
    """The facts about an event and the endpoints that existed when it was accepted.

    `owed` are its deliveries with their endpoints, `changes` later changes of subscriptions. `body` None: it
    is no longer stored.
    """

    event: EventSummary
    owed: Sequence[tuple[Delivery, TracedEndpoint]]
    others: Sequence[TracedEndpoint]
    changes: Mapping[EndpointId, Sequence[SubscriptionChange]]
    made_later: int
    left_out: tuple[str, ...]
    body: bytes | None = None


def build_event_timeline(arrival: EventArrival) -> EventTimeline:
    """Build the timeline of an event."""
    fates = [_build_owed_fate(delivery, endpoint, arrival) for delivery, endpoint in arrival.owed]
    evaluator = None if arrival.body is None else ConditionEvaluator(extract_data(arrival.body))
    passed_over = [_build_passed_over_fate(endpoint, arrival, evaluator) for endpoint in arrival.others]
    fates += passed_over
    summary = _summarize(arrival, passed_over)
    return EventTimeline(arrival.event, summary, tuple(fates), arrival.made_later, arrival.left_out)


def reconstruct_subscription(
    endpoint: TracedEndpoint, changes: Sequence[SubscriptionChange], *, at: datetime
) -> Subscription:
    """An endpoint's subscription at a moment: each part as before its first later change, or as it is now."""
    previous = {
        change.part: change.previous
        for change in sorted(changes, key=lambda change: change.at, reverse=True)
        if change.at > at
    }
    return Subscription(
        _as_names(previous.get("filter", endpoint.filter)),
        _as_names(previous.get("channels", endpoint.channels)),
        _as_text(previous.get("condition", endpoint.condition)),
    )


def _as_names(value: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _as_text(value: tuple[str, ...] | str | None) -> str | None:
    return value if isinstance(value, str) else None


def _build_owed_fate(delivery: Delivery, endpoint: TracedEndpoint, arrival: EventArrival) -> EventFate:
    public_id = format_id(Prefix.DELIVERY, delivery.id)
    status = f"{public_id} is {delivery.status.replace('_', ' ')}"
    if delivery.matched_by is None and delivery.event_type == TEST_TYPE:
        verdict, sentence = MatchVerdict.NAMED, f"Sent to it directly, regardless of its filter: {status}."
    elif delivery.matched_by is None:
        verdict, sentence = (
            MatchVerdict.MATCHED,
            f"Sent to it directly, or before patterns were stored: {status}.",
        )
    else:
        verdict, sentence = (
            MatchVerdict.MATCHED,
            f"Its filter includes {delivery.matched_by}{describe_condition_failure(delivery)}: {status}.",
        )
    return _build_fate(endpoint, arrival, verdict, sentence, delivery)


def _build_passed_over_fate(
    endpoint: TracedEndpoint, arrival: EventArrival, evaluator: ConditionEvaluator | None
) -> EventFate:
    event, subscription = arrival.event, _subscription_at_arrival(endpoint, arrival)
    verdict = _decide_verdict(
        endpoint, arrival, match_event(subscription, event.type, event.channels, evaluator)
    )
    is_current = subscription == Subscription(endpoint.filter, endpoint.channels, endpoint.condition)
    match verdict:
        case MatchVerdict.NOT_NAMED:
            sentence = "It was sent directly to another endpoint; filters were not evaluated."
        case MatchVerdict.OPERATIONAL:
            sentence = f"{event.type} is a system event, which only operational endpoints get."
        case MatchVerdict.NOT_ASKED_FOR:
            verb = "includes" if is_current else "then included"
            sentence = f"Its filter {verb} {format_patterns(subscription.types)}, but not {event.type}."
        case MatchVerdict.OTHER_CHANNELS:
            channels = f"is on {' and '.join(event.channels)}" if event.channels else "has none"
            limited = "is limited" if is_current else "was then limited"
            sentence = (
                f"It {limited} to the channels {format_alternatives(subscription.channels)}; "
                f"the event {channels}."
            )
        case MatchVerdict.CONDITION_NOT_MET:
            reason = f"Its condition{'' if is_current else ' then'} does not hold for the event"
            if evaluator is None:
                reason = "The event's content is no longer stored, so its condition cannot be evaluated again"
            sentence = f"{reason}: {subscription.condition}"
        case MatchVerdict.JUST_CHANGED:
            sentence = (
                f"It was created or changed when the event arrived, and did not include {event.type} yet."
            )
        case MatchVerdict.MATCHED | MatchVerdict.NAMED:
            raise AssertionError(verdict)
        case _:
            assert_never(verdict)
    return _build_fate(endpoint, arrival, verdict, sentence, None)


def _decide_verdict(
    endpoint: TracedEndpoint, arrival: EventArrival, match_result: MatchResult
) -> MatchVerdict:
    if arrival.event.type == TEST_TYPE and _is_sent_by_name(arrival):
        return MatchVerdict.NOT_NAMED
    if any(owed.operational for _, owed in arrival.owed):
        return MatchVerdict.OPERATIONAL
    if match_result.pattern is None:
        return MatchVerdict.NOT_ASKED_FOR
    if not match_result.matches_channel:
        return MatchVerdict.OTHER_CHANNELS
    if _subscription_at_arrival(endpoint, arrival).condition is not None and (
        match_result.condition_result is None or not match_result.condition_result.is_met
    ):
        return MatchVerdict.CONDITION_NOT_MET
    return MatchVerdict.JUST_CHANGED


def _is_sent_by_name(arrival: EventArrival) -> bool:
    return any(delivery.matched_by is None for delivery, _ in arrival.owed)


def _build_fate(
    endpoint: TracedEndpoint,
    arrival: EventArrival,
    verdict: MatchVerdict,
    sentence: str,
    delivery: Delivery | None,
) -> EventFate:
    if endpoint.deleted_at is not None:
        sentence = f"{sentence} It has been deleted since."
    subscription = _subscription_at_arrival(endpoint, arrival)
    return EventFate(
        endpoint_id=endpoint.id,
        url=endpoint.url,
        verdict=verdict,
        sentence=sentence,
        filter=subscription.types,
        channels=subscription.channels,
        condition=subscription.condition,
        pattern=None if delivery is None else delivery.matched_by,
        condition_failed=None if delivery is None else delivery.condition_failed,
        delivery=delivery,
    )


def _subscription_at_arrival(endpoint: TracedEndpoint, arrival: EventArrival) -> Subscription:
    return reconstruct_subscription(
        endpoint, arrival.changes.get(endpoint.id, ()), at=arrival.event.created_at
    )


def _summarize(arrival: EventArrival, passed_over: Sequence[EventFate]) -> str:
    later = ""
    if arrival.made_later:
        count = arrival.made_later
        later = f" {format_count(count, 'endpoint')} {'was' if count == 1 else 'were'} created after it."
    return f"{_summarize_recipients(arrival, passed_over)}{later}"


def _summarize_recipients(arrival: EventArrival, passed_over: Sequence[EventFate]) -> str:
    matched, others, type_ = arrival.event.matched, len(arrival.others), arrival.event.type
    if any(fate.verdict is not MatchVerdict.NOT_ASKED_FOR for fate in passed_over):
        type_ = "it"
    if arrival.event.type == TEST_TYPE and _is_sent_by_name(arrival):
        return "It is a test event, sent directly to one endpoint, regardless of its filter."
    if matched:
        beside = f", and not to {format_count(others, 'other')}" if others else ""
        return f"It was owed to {format_count(matched, 'endpoint')}{beside}."
    if not others:
        return "It was owed to no endpoint: none existed when it arrived."
    if others == 1:
        return f"It was owed to no endpoint: the only one did not subscribe to {type_}."
    return f"It was owed to no endpoint: none of the {others:,} endpoints subscribed to {type_}."
