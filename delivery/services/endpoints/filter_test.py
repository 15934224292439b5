"""Filter tests: whether an event would match an endpoint, part by part, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.conditions import ConditionEvaluator
from delivery.domain.errors import Invalid
from delivery.domain.ids import Prefix, require_found
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
    """Whether one part of a subscription matches an event, and why, in a sentence."""

    passes: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FilterTrial:
    """Whether an event would match an endpoint; each part is evaluated by itself.

    `pattern` is the one that matches the type. `condition_error`: the condition failed, which lets it pass.
    """

    delivered: bool
    sentence: str
    type: FilterPartResult
    channels: FilterPartResult
    condition: FilterPartResult
    pattern: str | None
    condition_error: str | None


async def load_past_event(tx: Transaction, tenant_id: TenantId, event_id: EventId) -> NewEvent:
    """Load a past event; its data is empty if its content is gone. Raises NotFound."""
    row = await events.read(tx, tenant_id, event_id)
    summary, body = require_found(row, Prefix.EVENT, event_id)
    return NewEvent(summary.type, b"" if body is None else extract_data(body), summary.channels)


def evaluate_filter(endpoint: Endpoint, event: NewEvent) -> FilterTrial:
    """Evaluate the subscription as intake would. Raises Invalid if a condition needs content that is gone."""
    subscription = endpoint.subscription
    if subscription.condition is not None and not event.data:
        raise Invalid("event_id", "has no content any more that the condition could be asked about")
    result = match_event(subscription, event.type, event.channels, ConditionEvaluator(event.data))
    parts = (
        _evaluate_type(subscription, event, result),
        _evaluate_channels(subscription, event, result),
        _evaluate_condition(subscription, result),
    )
    delivered = result.is_match and not endpoint.operational
    return FilterTrial(
        delivered,
        _summarize(endpoint, parts, result),
        *parts,
        result.pattern,
        None if result.condition_result is None else result.condition_result.error,
    )


def _evaluate_type(subscription: Subscription, event: NewEvent, result: MatchResult) -> FilterPartResult:
    if result.pattern is not None:
        return FilterPartResult(passes=True, reason=f"Its filter includes {result.pattern}.")
    return FilterPartResult(
        passes=False, reason=f"Its filter includes {', '.join(subscription.types)}, but not {event.type}."
    )


def _evaluate_channels(subscription: Subscription, event: NewEvent, result: MatchResult) -> FilterPartResult:
    if not subscription.channels:
        return FilterPartResult(passes=True, reason="It is not limited to channels.")
    if result.matches_channel:
        shared = ", ".join(channel for channel in event.channels if channel in subscription.channels)
        return FilterPartResult(passes=True, reason=f"Both have {shared}.")
    has = f"is on {', '.join(event.channels)}" if event.channels else "has none"
    return FilterPartResult(
        passes=False, reason=f"It is limited to {', '.join(subscription.channels)}; the event {has}."
    )


def _evaluate_condition(subscription: Subscription, result: MatchResult) -> FilterPartResult:
    if result.condition_result is None:
        return FilterPartResult(passes=True, reason="It has no condition.")
    holds, failed = result.condition_result
    if failed is not None:
        return FilterPartResult(passes=True, reason=f"It cannot be evaluated, so the event passes. {failed}")
    verb = "holds" if holds else "does not hold"
    return FilterPartResult(holds, f"It {verb} for the event's data: {subscription.condition}")


def _summarize(endpoint: Endpoint, parts: tuple[FilterPartResult, ...], result: MatchResult) -> str:
    if endpoint.operational:
        return "It would not be delivered: the endpoint is operational and gets no events of tenants."
    refusing = next((part for part in parts if not part.passes), None)
    if refusing is not None:
        return f"It would not be delivered to the endpoint. {refusing.reason}"
    if result.condition_result is not None and result.condition_result.error is not None:
        return "It would be delivered to the endpoint, although its condition cannot be evaluated."
    return "It would be delivered to the endpoint."
