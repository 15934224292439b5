"""Fan-out: matches events with subscriptions, and builds the rows to write and the answer. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from delivery.domain.conditions import ConditionEvaluator, compile_stored_condition
from delivery.domain.durations import format_rfc3339
from delivery.domain.event_patterns import find_matching_pattern
from delivery.domain.ids import DeliveryId, EndpointId, EventId, Prefix, format_id
from delivery.ledger.queue.enqueue import DeliveryRow, EventRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from delivery.domain.conditions import Condition
    from delivery.domain.ids import TenantId
    from delivery.domain.subscription import Subscription
    from delivery.pipeline.parsing import NewEvent


class Match(NamedTuple):
    """An endpoint that gets an event, and the pattern that matched; None if the request named the endpoint.

    `condition_error` says why its condition could not be evaluated; the event is delivered all the same.
    """

    endpoint_id: EndpointId
    pattern: str | None
    condition_error: str | None = None


class FanoutPlan(NamedTuple):
    """The rows that one request writes, and the JSON that answers it."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    response_body: bytes


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """A tenant's endpoints with their subscriptions; caches the matches of each type, since types repeat."""

    entries: Sequence[tuple[EndpointId, Subscription]]
    has_conditions: bool
    _matchers_by_type: dict[str, _TypeMatcher]

    @classmethod
    def from_entries(cls, entries: Sequence[tuple[EndpointId, Subscription]]) -> Subscriptions:
        """Build from a tenant's endpoints, in the order of their ids."""
        has_conditions = any(subscription.condition is not None for _, subscription in entries)
        return cls(entries, has_conditions, {})

    def match_event(self, event: NewEvent, evaluator: ConditionEvaluator | None = None) -> Sequence[Match]:
        """Return the endpoints that get this event, in the order of their ids.

        Its data is parsed only if a matching endpoint has a condition that the evaluator has not evaluated.
        """
        matcher = self._find_matcher(event.type)
        candidates = matcher.select_matches(event.channels)
        if not matcher.conditions:
            return candidates
        if evaluator is None:
            evaluator = ConditionEvaluator(event.data)
        matches = []
        for match in candidates:
            condition = matcher.conditions.get(match.endpoint_id)
            if condition is None:
                matches.append(match)
                continue
            is_true, error = evaluator.evaluate(condition)
            if is_true:
                matches.append(match if error is None else match._replace(condition_error=error))
        return matches

    def list_conditions(self, event: NewEvent) -> list[Condition]:
        """Return the conditions that `match_event` would evaluate for this event."""
        matcher = self._find_matcher(event.type)
        if not matcher.conditions:
            return []
        matches = matcher.select_matches(event.channels)
        conditions = (matcher.conditions.get(match.endpoint_id) for match in matches)
        return [condition for condition in conditions if condition is not None]

    def _find_matcher(self, event_type: str) -> _TypeMatcher:
        matcher = self._matchers_by_type.get(event_type)
        if matcher is None:
            matcher = _TypeMatcher.build(
                (endpoint_id, pattern, subscription)
                for endpoint_id, subscription in self.entries
                if (pattern := find_matching_pattern(subscription.types, event_type)) is not None
            )
            if len(self._matchers_by_type) < 1_000:  # noqa: PLR2004  a tenant that invents types must not fill memory
                self._matchers_by_type[event_type] = matcher
        return matcher


@dataclass(frozen=True, slots=True)
class _TypeMatcher:
    """The endpoints that subscribe to a type. The channel tables hold positions in `matches`."""

    matches: list[Match]
    without_channel: list[int]
    by_channel: dict[str, list[int]]
    conditions: dict[EndpointId, Condition]

    @classmethod
    def build(cls, entries: Iterable[tuple[EndpointId, str, Subscription]]) -> _TypeMatcher:
        matcher = cls([], [], {}, {})
        for position, (endpoint_id, pattern, subscription) in enumerate(entries):
            matcher.matches.append(Match(endpoint_id, pattern))
            if not subscription.channels:
                matcher.without_channel.append(position)
            for channel in subscription.channels:
                matcher.by_channel.setdefault(channel, []).append(position)
            if subscription.condition is not None:
                matcher.conditions[endpoint_id] = compile_stored_condition(subscription.condition)
        return matcher

    def select_matches(self, channels: Sequence[str]) -> Sequence[Match]:
        if not self.by_channel:
            return self.matches
        positions = set(self.without_channel)
        for channel in channels:
            positions.update(self.by_channel.get(channel, ()))
        return [self.matches[position] for position in sorted(positions)]


_ENVELOPE = b'{"type":"%b","timestamp":"%b","data":%b}'


def plan_fanout(  # noqa: PLR0913  the parts of a request, the clock and the ids
    tenant_id: TenantId,
    events: Sequence[NewEvent],
    matches: Sequence[Sequence[Match]],
    *,
    single: bool,
    now: datetime,
    new_id: Callable[[], UUID],
    idempotency_key: str | None = None,
    traceparent: str | None = None,
) -> FanoutPlan:
    """Plan the rows of these events: one delivery for each matching endpoint of each event.

    `matches` has the matching endpoints of each event, in the same order.
    """
    rows: list[EventRow] = []
    deliveries: list[DeliveryRow] = []
    answers: list[str] = []
    created_at = format_rfc3339(now)
    for event, endpoints in zip(events, matches, strict=True):
        event_id = EventId(new_id())
        body = _ENVELOPE % (event.type.encode(), created_at.encode(), event.data)
        rows.append(
            EventRow(
                event_id,
                tenant_id,
                event.type,
                body,
                hashlib.sha256(body).digest(),
                len(endpoints),
                idempotency_key,
                traceparent,
                event.channels,
            )
        )
        deliveries += [
            DeliveryRow(DeliveryId(new_id()), tenant_id, event_id, endpoint_id, event.type, pattern, error)
            for endpoint_id, pattern, error in endpoints
        ]
        answers.append(
            f'{{"id":"{format_id(Prefix.EVENT, event_id)}","type":"{event.type}",'
            f'"created_at":"{created_at}","deliveries":{len(endpoints)}}}'
        )
    answer = answers[0] if single else f'{{"events":[{",".join(answers)}]}}'
    return FanoutPlan(rows, deliveries, answer.encode())
