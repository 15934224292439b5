"""The trace of one event: to which endpoints it went and why, and why it did not go to the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from delivery.filters import first_match
from delivery.model import Prefix, show_id
from delivery.tracing.sentences import asks_for, counted
from delivery.tracing.story import TEST_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from delivery.ledger.events import EventHead
    from delivery.ledger.traces import FilterChange, Known
    from delivery.model import Delivery, EndpointId


class Verdict(StrEnum):
    """What an event was to an endpoint."""

    MATCHED = "matched"
    NAMED = "named"
    NOT_ASKED_FOR = "not_asked_for"
    NOT_NAMED = "not_named"
    OPERATIONAL = "operational"
    JUST_CHANGED = "just_changed"


@dataclass(frozen=True, slots=True)
class Fate:
    """What an event was to one endpoint, and why; `filter` is as it was then."""

    endpoint_id: EndpointId
    url: str
    verdict: Verdict
    sentence: str
    filter: tuple[str, ...]
    pattern: str | None
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class EventTrace:
    """Why an event went where it went: the endpoints that it is owed to first, then the others.

    `made_later` counts the endpoints that were made after it. `left_out` says what is not told of.
    """

    event: EventHead
    standing: str
    endpoints: tuple[Fate, ...]
    made_later: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the ledger knows of an event and of the endpoints that there were when it came.

    `owed` are its deliveries with their endpoints. `changes` are those of filters since.
    """

    event: EventHead
    owed: Sequence[tuple[Delivery, Known]]
    others: Sequence[Known]
    changes: Mapping[EndpointId, Sequence[FilterChange]]
    made_later: int
    left_out: tuple[str, ...]


def trace(arrival: Arrival) -> EventTrace:
    """Put the trace of an event together."""
    fates = [_owed(delivery, known, arrival) for delivery, known in arrival.owed]
    fates += [_not_owed(known, arrival) for known in arrival.others]
    told = _standing(arrival)
    return EventTrace(arrival.event, told, tuple(fates), arrival.made_later, arrival.left_out)


def filter_then(now: tuple[str, ...], changes: Sequence[FilterChange], *, at: datetime) -> tuple[str, ...]:
    """How a filter was at a moment: as its first change since then has found it, else as it is now."""
    later = [change for change in changes if change.at > at]
    return min(later, key=lambda change: change.at).was if later else now


def _owed(delivery: Delivery, known: Known, arrival: Arrival) -> Fate:
    shown = show_id(Prefix.DELIVERY, delivery.id)
    stands = f"{shown} is {delivery.status.replace('_', ' ')}"
    if delivery.matched_by is None and delivery.event_type == TEST_TYPE:
        verdict, told = Verdict.NAMED, f"Sent to it by name, whatever its filter says: {stands}."
    elif delivery.matched_by is None:
        verdict, told = Verdict.MATCHED, f"Sent to it by name, or before patterns were kept: {stands}."
    else:
        verdict, told = Verdict.MATCHED, f"Its filter asks for {delivery.matched_by}: {stands}."
    return _fate(known, arrival, verdict, told, delivery)


def _not_owed(known: Known, arrival: Arrival) -> Fate:
    verdict = _verdict(known, arrival)
    type_, asked = arrival.event.type, _filter(known, arrival)
    match verdict:
        case Verdict.NOT_NAMED:
            told = "It was sent to another endpoint by name; no filter was asked."
        case Verdict.OPERATIONAL:
            told = f"{type_} is what Waybill has to say, and goes to operational endpoints alone."
        case Verdict.NOT_ASKED_FOR:
            tense = "asks" if asked == known.filter else "asked then"
            told = f"Its filter {tense} for {asks_for(asked)}; not for {type_}."
        case Verdict.JUST_CHANGED:
            told = (
                f"It was made or changed in the moment when the event came, and did not ask for {type_} yet."
            )
        case Verdict.MATCHED | Verdict.NAMED:
            raise AssertionError(verdict)
        case _:
            assert_never(verdict)
    return _fate(known, arrival, verdict, told, None)


def _verdict(known: Known, arrival: Arrival) -> Verdict:
    if arrival.event.type == TEST_TYPE and _is_named(arrival):
        return Verdict.NOT_NAMED
    if any(owed.operational for _, owed in arrival.owed):
        return Verdict.OPERATIONAL
    if first_match(_filter(known, arrival), arrival.event.type) is None:
        return Verdict.NOT_ASKED_FOR
    return Verdict.JUST_CHANGED


def _is_named(arrival: Arrival) -> bool:
    return any(delivery.matched_by is None for delivery, _ in arrival.owed)


def _fate(known: Known, arrival: Arrival, verdict: Verdict, told: str, delivery: Delivery | None) -> Fate:
    if known.deleted_at is not None:
        told = f"{told} It was deleted since."
    return Fate(
        endpoint_id=known.id,
        url=known.url,
        verdict=verdict,
        sentence=told,
        filter=_filter(known, arrival),
        pattern=None if delivery is None else delivery.matched_by,
        delivery=delivery,
    )


def _filter(known: Known, arrival: Arrival) -> tuple[str, ...]:
    return filter_then(known.filter, arrival.changes.get(known.id, ()), at=arrival.event.created_at)


def _standing(arrival: Arrival) -> str:
    later = ""
    if arrival.made_later:
        count = arrival.made_later
        later = f" {counted(count, 'endpoint')} {'was' if count == 1 else 'were'} made after it."
    return f"{_went(arrival)}{later}"


def _went(arrival: Arrival) -> str:
    matched, others, type_ = arrival.event.matched, len(arrival.others), arrival.event.type
    if type_ == TEST_TYPE and _is_named(arrival):
        return "It is a test, sent to one endpoint by name, whatever its filter says."
    if matched:
        beside = f", and not to {counted(others, 'other')}" if others else ""
        return f"It was owed to {counted(matched, 'endpoint')}{beside}."
    if not others:
        return "It went nowhere: there was no endpoint when it came."
    none = f"none of the {counted(others, 'endpoint')} that there were" if others > 1 else "the one endpoint"
    return f"It went nowhere: {none}{' asked' if others > 1 else ' that there was did not ask'} for {type_}."
