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
    fates = [_build_owed_fate(delivery, known, arrival) for delivery, known in arrival.owed]
    answers = None if arrival.body is None else ConditionEvaluator(extract_data(arrival.body))
    passed_over = [_build_passed_over_fate(known, arrival, answers) for known in arrival.others]
    fates += passed_over
    told = _summarize(arrival, passed_over)
    return EventTimeline(arrival.event, told, tuple(fates), arrival.made_later, arrival.left_out)


def reconstruct_subscription(
    endpoint: TracedEndpoint, changes: Sequence[SubscriptionChange], *, at: datetime
) -> Subscription:
    """An endpoint's subscription at a moment: each part as before its first later change, or as it is now."""
    was = {
        change.part: change.previous
        for change in sorted(changes, key=lambda change: change.at, reverse=True)
        if change.at > at
    }
    return Subscription(
        _as_names(was.get("filter", endpoint.filter)),
        _as_names(was.get("channels", endpoint.channels)),
        _as_text(was.get("condition", endpoint.condition)),
    )


def _as_names(value: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _as_text(value: tuple[str, ...] | str | None) -> str | None:
    return value if isinstance(value, str) else None


def _build_owed_fate(delivery: Delivery, endpoint: TracedEndpoint, arrival: EventArrival) -> EventFate:
    shown = format_id(Prefix.DELIVERY, delivery.id)
    stands = f"{shown} is {delivery.status.replace('_', ' ')}"
    if delivery.matched_by is None and delivery.event_type == TEST_TYPE:
        verdict, told = MatchVerdict.NAMED, f"Sent to it by name, whatever its filter says: {stands}."
    elif delivery.matched_by is None:
        verdict, told = MatchVerdict.MATCHED, f"Sent to it by name, or before patterns were kept: {stands}."
    else:
        verdict, told = (
            MatchVerdict.MATCHED,
            f"Its filter asks for {delivery.matched_by}{describe_condition_failure(delivery)}: {stands}.",
        )
    return _build_fate(endpoint, arrival, verdict, told, delivery)


def _build_passed_over_fate(
    endpoint: TracedEndpoint, arrival: EventArrival, answers: ConditionEvaluator | None
) -> EventFate:
    event, wanted = arrival.event, _subscription_at_arrival(endpoint, arrival)
    verdict = _decide_verdict(endpoint, arrival, match_event(wanted, event.type, event.channels, answers))
    as_now = wanted == Subscription(endpoint.filter, endpoint.channels, endpoint.condition)
    asks = "asks" if as_now else "asked then"
    match verdict:
        case MatchVerdict.NOT_NAMED:
            told = "It was sent to another endpoint by name; no filter was asked."
        case MatchVerdict.OPERATIONAL:
            told = f"{event.type} is what Waybill has to say, and goes to operational endpoints alone."
        case MatchVerdict.NOT_ASKED_FOR:
            told = f"Its filter {asks} for {format_patterns(wanted.types)}; not for {event.type}."
        case MatchVerdict.OTHER_CHANNELS:
            has = f"is on {' and '.join(event.channels)}" if event.channels else "has none"
            told = f"It {asks} for the channels {format_alternatives(wanted.channels)}; the event {has}."
        case MatchVerdict.CONDITION_NOT_MET:
            told = f"Its condition{'' if as_now else ' then'} does not hold for the event: {wanted.condition}"
            if answers is None:
                gone = "What the event held is no longer kept, so that its condition cannot be asked again"
                told = f"{gone}: {wanted.condition}"
        case MatchVerdict.JUST_CHANGED:
            told = (
                "It was made or changed in the moment when the event came, and did not ask for "
                f"{event.type} yet."
            )
        case MatchVerdict.MATCHED | MatchVerdict.NAMED:
            raise AssertionError(verdict)
        case _:
            assert_never(verdict)
    return _build_fate(endpoint, arrival, verdict, told, None)


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
        sentence = f"{sentence} It was deleted since."
    wanted = _subscription_at_arrival(endpoint, arrival)
    return EventFate(
        endpoint_id=endpoint.id,
        url=endpoint.url,
        verdict=verdict,
        sentence=sentence,
        filter=wanted.types,
        channels=wanted.channels,
        condition=wanted.condition,
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
        later = f" {format_count(count, 'endpoint')} {'was' if count == 1 else 'were'} made after it."
    return f"{_summarize_recipients(arrival, passed_over)}{later}"


def _summarize_recipients(arrival: EventArrival, passed_over: Sequence[EventFate]) -> str:
    matched, others, type_ = arrival.event.matched, len(arrival.others), arrival.event.type
    if any(fate.verdict is not MatchVerdict.NOT_ASKED_FOR for fate in passed_over):
        type_ = "it"
    if arrival.event.type == TEST_TYPE and _is_sent_by_name(arrival):
        return "It is a test, sent to one endpoint by name, whatever its filter says."
    if matched:
        beside = f", and not to {format_count(others, 'other')}" if others else ""
        return f"It was owed to {format_count(matched, 'endpoint')}{beside}."
    if not others:
        return "It went nowhere: there was no endpoint when it came."
    none = (
        f"none of the {format_count(others, 'endpoint')} that there were"
        if others > 1
        else "the one endpoint"
    )
    return f"It went nowhere: {none}{' asked' if others > 1 else ' that there was did not ask'} for {type_}."
