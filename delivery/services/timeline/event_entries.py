"""The trace of one event: to which endpoints it went and why, and why it did not go to the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from delivery.conditions import Answers
from delivery.matching import Judgement, Wants, judge
from delivery.model import Prefix, show_id
from delivery.payload import data_of
from delivery.tracing.sentences import any_of, asks_for, counted, not_answered
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
    OTHER_CHANNELS = "other_channels"
    CONDITION_NOT_MET = "condition_not_met"
    NOT_NAMED = "not_named"
    OPERATIONAL = "operational"
    JUST_CHANGED = "just_changed"


@dataclass(frozen=True, slots=True)
class Fate:
    """What an event was to one endpoint, and why; `filter`, `channels` and `condition` are as they were then.

    `condition_failed`: it was sent though the condition could not be answered, and why that was.
    """

    endpoint_id: EndpointId
    url: str
    verdict: Verdict
    sentence: str
    filter: tuple[str, ...]
    channels: tuple[str, ...]
    condition: str | None
    pattern: str | None
    condition_failed: str | None
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

    `owed` are its deliveries with their endpoints. `changes` are those of what endpoints want since.
    `body` None: it is no longer kept.
    """

    event: EventHead
    owed: Sequence[tuple[Delivery, Known]]
    others: Sequence[Known]
    changes: Mapping[EndpointId, Sequence[FilterChange]]
    made_later: int
    left_out: tuple[str, ...]
    body: bytes | None = None


def trace(arrival: Arrival) -> EventTrace:
    """Put the trace of an event together."""
    fates = [_owed(delivery, known, arrival) for delivery, known in arrival.owed]
    answers = None if arrival.body is None else Answers(data_of(arrival.body))
    passed_over = [_not_owed(known, arrival, answers) for known in arrival.others]
    fates += passed_over
    told = _standing(arrival, passed_over)
    return EventTrace(arrival.event, told, tuple(fates), arrival.made_later, arrival.left_out)


def wants_then(known: Known, changes: Sequence[FilterChange], *, at: datetime) -> Wants:
    """What an endpoint wanted at a moment: each part as its first change since then found it, or as it is."""
    was = {
        change.part: change.was
        for change in sorted(changes, key=lambda change: change.at, reverse=True)
        if change.at > at
    }
    return Wants(
        _names(was.get("filter", known.filter)),
        _names(was.get("channels", known.channels)),
        _text(was.get("condition", known.condition)),
    )


def _names(value: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _text(value: tuple[str, ...] | str | None) -> str | None:
    return value if isinstance(value, str) else None


def _owed(delivery: Delivery, known: Known, arrival: Arrival) -> Fate:
    shown = show_id(Prefix.DELIVERY, delivery.id)
    stands = f"{shown} is {delivery.status.replace('_', ' ')}"
    if delivery.matched_by is None and delivery.event_type == TEST_TYPE:
        verdict, told = Verdict.NAMED, f"Sent to it by name, whatever its filter says: {stands}."
    elif delivery.matched_by is None:
        verdict, told = Verdict.MATCHED, f"Sent to it by name, or before patterns were kept: {stands}."
    else:
        verdict, told = (
            Verdict.MATCHED,
            f"Its filter asks for {delivery.matched_by}{not_answered(delivery)}: {stands}.",
        )
    return _fate(known, arrival, verdict, told, delivery)


def _not_owed(known: Known, arrival: Arrival, answers: Answers | None) -> Fate:
    event, wanted = arrival.event, _wants(known, arrival)
    verdict = _verdict(known, arrival, judge(wanted, event.type, event.channels, answers))
    as_now = wanted == Wants(known.filter, known.channels, known.condition)
    asks = "asks" if as_now else "asked then"
    match verdict:
        case Verdict.NOT_NAMED:
            told = "It was sent to another endpoint by name; no filter was asked."
        case Verdict.OPERATIONAL:
            told = f"{event.type} is what Waybill has to say, and goes to operational endpoints alone."
        case Verdict.NOT_ASKED_FOR:
            told = f"Its filter {asks} for {asks_for(wanted.types)}; not for {event.type}."
        case Verdict.OTHER_CHANNELS:
            has = f"is on {' and '.join(event.channels)}" if event.channels else "has none"
            told = f"It {asks} for the channels {any_of(wanted.channels)}; the event {has}."
        case Verdict.CONDITION_NOT_MET:
            told = f"Its condition{'' if as_now else ' then'} does not hold for the event: {wanted.condition}"
            if answers is None:
                gone = "What the event held is no longer kept, so that its condition cannot be asked again"
                told = f"{gone}: {wanted.condition}"
        case Verdict.JUST_CHANGED:
            told = (
                "It was made or changed in the moment when the event came, and did not ask for "
                f"{event.type} yet."
            )
        case Verdict.MATCHED | Verdict.NAMED:
            raise AssertionError(verdict)
        case _:
            assert_never(verdict)
    return _fate(known, arrival, verdict, told, None)


def _verdict(known: Known, arrival: Arrival, judged: Judgement) -> Verdict:
    if arrival.event.type == TEST_TYPE and _is_named(arrival):
        return Verdict.NOT_NAMED
    if any(owed.operational for _, owed in arrival.owed):
        return Verdict.OPERATIONAL
    if judged.pattern is None:
        return Verdict.NOT_ASKED_FOR
    if not judged.on_channel:
        return Verdict.OTHER_CHANNELS
    if _wants(known, arrival).condition is not None and (judged.answer is None or not judged.answer.holds):
        return Verdict.CONDITION_NOT_MET
    return Verdict.JUST_CHANGED


def _is_named(arrival: Arrival) -> bool:
    return any(delivery.matched_by is None for delivery, _ in arrival.owed)


def _fate(known: Known, arrival: Arrival, verdict: Verdict, told: str, delivery: Delivery | None) -> Fate:
    if known.deleted_at is not None:
        told = f"{told} It was deleted since."
    wanted = _wants(known, arrival)
    return Fate(
        endpoint_id=known.id,
        url=known.url,
        verdict=verdict,
        sentence=told,
        filter=wanted.types,
        channels=wanted.channels,
        condition=wanted.condition,
        pattern=None if delivery is None else delivery.matched_by,
        condition_failed=None if delivery is None else delivery.condition_failed,
        delivery=delivery,
    )


def _wants(known: Known, arrival: Arrival) -> Wants:
    return wants_then(known, arrival.changes.get(known.id, ()), at=arrival.event.created_at)


def _standing(arrival: Arrival, passed_over: Sequence[Fate]) -> str:
    later = ""
    if arrival.made_later:
        count = arrival.made_later
        later = f" {counted(count, 'endpoint')} {'was' if count == 1 else 'were'} made after it."
    return f"{_went(arrival, passed_over)}{later}"


def _went(arrival: Arrival, passed_over: Sequence[Fate]) -> str:
    matched, others, type_ = arrival.event.matched, len(arrival.others), arrival.event.type
    if any(fate.verdict is not Verdict.NOT_ASKED_FOR for fate in passed_over):
        type_ = "it"
    if arrival.event.type == TEST_TYPE and _is_named(arrival):
        return "It is a test, sent to one endpoint by name, whatever its filter says."
    if matched:
        beside = f", and not to {counted(others, 'other')}" if others else ""
        return f"It was owed to {counted(matched, 'endpoint')}{beside}."
    if not others:
        return "It went nowhere: there was no endpoint when it came."
    none = f"none of the {counted(others, 'endpoint')} that there were" if others > 1 else "the one endpoint"
    return f"It went nowhere: {none}{' asked' if others > 1 else ' that there was did not ask'} for {type_}."
