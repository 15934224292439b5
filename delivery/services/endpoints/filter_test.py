"""Trying a filter out: whether an event would be owed to an endpoint, part by part, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.conditions import ConditionEvaluator
from delivery.domain.errors import Invalid, NotFound
from delivery.domain.ids import Prefix, format_id
from delivery.domain.payload_path import extract_data
from delivery.domain.subscription import match_event
from delivery.ledger.records import events
from delivery.pipeline.parsing import NewEvent

if TYPE_CHECKING:
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import EventId, TenantId
    from delivery.domain.subscription import MatchResult, Subscription
    from delivery.ledger.db.session import Transaction


@dataclass(frozen=True, slots=True)
class FilterPartResult:
    """Whether a part of what an endpoint asks for lets an event pass, and why, in a sentence."""

    passes: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FilterTrial:
    """Whether an event would be owed to an endpoint; each part is judged by itself.

    `pattern` asked for the type. `failed` says why the condition could not be answered: it passes then.
    """

    delivered: bool
    sentence: str
    type: FilterPartResult
    channels: FilterPartResult
    condition: FilterPartResult
    pattern: str | None
    condition_error: str | None


async def load_past_event(tx: Transaction, tenant_id: TenantId, event_id: EventId) -> NewEvent:
    """A past event as its producer posted it, without data if that is gone; raises NotFound."""
    found = await events.read(tx, tenant_id, event_id)
    if found is None:
        raise NotFound("event", format_id(Prefix.EVENT, event_id))
    head, body = found
    return NewEvent(head.type, b"" if body is None else extract_data(body), head.channels)


def evaluate_filter(endpoint: Endpoint, event: NewEvent) -> FilterTrial:
    """Judge an event as accept would if it were posted now. Raises Invalid for one whose content is gone."""
    wants = endpoint.subscription
    if wants.condition is not None and not event.data:
        raise Invalid("event_id", "has no content any more that the condition could be asked about")
    judged = match_event(wants, event.type, event.channels, ConditionEvaluator(event.data))
    parts = (
        _evaluate_type(wants, event, judged),
        _evaluate_channels(wants, event, judged),
        _evaluate_condition(wants, judged),
    )
    delivered = judged.is_match and not endpoint.operational
    return FilterTrial(
        delivered,
        _summarize(endpoint, parts, judged),
        *parts,
        judged.pattern,
        None if judged.condition_result is None else judged.condition_result.error,
    )


def _evaluate_type(wants: Subscription, event: NewEvent, judged: MatchResult) -> FilterPartResult:
    if judged.pattern is not None:
        return FilterPartResult(passes=True, reason=f"Its filter asks for {judged.pattern}.")
    return FilterPartResult(
        passes=False, reason=f"Its filter asks for {', '.join(wants.types)}; not for {event.type}."
    )


def _evaluate_channels(wants: Subscription, event: NewEvent, judged: MatchResult) -> FilterPartResult:
    if not wants.channels:
        return FilterPartResult(
            passes=True, reason="It names no channels: it gets events of any and of none."
        )
    if judged.matches_channel:
        shared = ", ".join(one for one in event.channels if one in wants.channels)
        return FilterPartResult(passes=True, reason=f"They share {shared}.")
    has = f"is on {', '.join(event.channels)}" if event.channels else "has none"
    return FilterPartResult(passes=False, reason=f"It asks for {', '.join(wants.channels)}; the event {has}.")


def _evaluate_condition(wants: Subscription, judged: MatchResult) -> FilterPartResult:
    if judged.condition_result is None:
        return FilterPartResult(passes=True, reason="It has no condition.")
    holds, failed = judged.condition_result
    if failed is not None:
        return FilterPartResult(
            passes=True, reason=f"It cannot be answered, and lets the event pass. {failed}"
        )
    verb = "holds" if holds else "does not hold"
    return FilterPartResult(holds, f"It {verb} for the event's data: {wants.condition}")


def _summarize(endpoint: Endpoint, parts: tuple[FilterPartResult, ...], judged: MatchResult) -> str:
    if endpoint.operational:
        return "It would not be owed to the endpoint, which is operational: it gets no tenant's events."
    refusing = next((part for part in parts if not part.passes), None)
    if refusing is not None:
        return f"It would not be owed to the endpoint. {refusing.reason}"
    if judged.condition_result is not None and judged.condition_result.error is not None:
        return "It would be owed to the endpoint, though its condition cannot be answered."
    return "It would be owed to the endpoint."
