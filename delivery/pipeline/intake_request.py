"""One producer's request on its way through intake: its conditions, its matches, and its fan-out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from delivery.domain.conditions import ConditionEvaluator
from delivery.domain.errors import NotFound, Refusal, TooLarge
from delivery.domain.ids import Prefix, TenantId, format_id, new_id
from delivery.pipeline.fanout import FanoutPlan, Match, plan_fanout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from delivery.domain.ids import EndpointId
    from delivery.pipeline.fanout import Subscriptions
    from delivery.pipeline.parsing import NewEvent
    from delivery.pipeline.subscription_cache import CachedSubscriptions

# A request's fan-out is written in one transaction, which must end well within its time limit.
MAX_FANOUT = 50_000
# Conditions are evaluated on the event loop that serves everybody: it yields after this long.
_YIELD_INTERVAL_SECONDS = 0.005


class IntakeResult(NamedTuple):
    """The JSON answer, ready to send; `replayed` when its idempotency key had been used before."""

    response_body: bytes
    replayed: bool


@dataclass(slots=True, eq=False)  # not frozen: that would make it five times as slow to create
class IntakeRequest:
    """A producer's events to accept. `condition_evaluators` has one for each event once any was needed."""

    tenant_id: TenantId
    events: Sequence[NewEvent]
    single: bool
    idempotency_key: str | None
    request_sha256: bytes
    only_endpoint_id: EndpointId | None
    traceparent: str | None
    size: int
    condition_evaluators: list[ConditionEvaluator] = field(default_factory=list)


async def evaluate_conditions(request: IntakeRequest, subscriptions: Subscriptions) -> None:
    """Evaluate the conditions of endpoints that may get these events; known answers are kept."""
    if request.only_endpoint_id is not None:
        return
    if not request.condition_evaluators:
        request.condition_evaluators.extend([ConditionEvaluator(event.data) for event in request.events])
    yield_at = perf_counter() + _YIELD_INTERVAL_SECONDS
    for event, evaluator in zip(request.events, request.condition_evaluators, strict=True):
        for condition in subscriptions.list_conditions(event):
            evaluator.evaluate(condition)
            if perf_counter() > yield_at:
                await asyncio.sleep(0)
                yield_at = perf_counter() + _YIELD_INTERVAL_SECONDS
        evaluator.forget_payload()


def plan_request(
    request: IntakeRequest, subscriptions: Mapping[TenantId, CachedSubscriptions], now: datetime
) -> FanoutPlan | Refusal:
    """Plan what the request writes, or say why it is refused: unknown tenant, or too wide a fan-out."""
    cached = subscriptions.get(request.tenant_id)
    if cached is None:
        return NotFound("tenant", format_id(Prefix.TENANT, request.tenant_id))
    matches = _match_events(request, cached.subscriptions)
    # Counted before the plan is made: a thousand events for a thousand endpoints are a million rows.
    count = sum([len(endpoints) for endpoints in matches])
    if count > MAX_FANOUT:
        return TooLarge("The fan-out of this request", size=count, limit=MAX_FANOUT, unit="deliveries")
    return plan_fanout(
        request.tenant_id,
        request.events,
        matches,
        single=request.single,
        now=now,
        new_id=new_id,
        idempotency_key=request.idempotency_key,
        traceparent=request.traceparent,
    )


def _match_events(request: IntakeRequest, subscriptions: Subscriptions) -> list[Sequence[Match]]:
    """Find each event's endpoints. A request for one endpoint ignores its subscription."""
    if request.only_endpoint_id is not None:
        return [[Match(request.only_endpoint_id, None)] for _ in request.events]
    if not request.condition_evaluators:
        return [subscriptions.match_event(event) for event in request.events]
    pairs = zip(request.events, request.condition_evaluators, strict=True)
    return [subscriptions.match_event(event, evaluator) for event, evaluator in pairs]
