"""Fan-out: from events and the tenant's filters to the rows that will be written and the answer. Pure."""

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
    """An endpoint that an event is owed to, and the pattern that asked for it; None: it was named.

    `failed` says why its condition could not be answered, where it was sent all the same.
    """

    endpoint_id: EndpointId
    pattern: str | None
    condition_error: str | None = None


class FanoutPlan(NamedTuple):
    """What one request writes, and the JSON that answers it."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    response_body: bytes


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """A tenant's endpoints with what they ask for; remembers who asks for a type, since types repeat."""

    entries: Sequence[tuple[EndpointId, Subscription]]
    has_conditions: bool
    _matchers_by_type: dict[str, _TypeMatcher]

    @classmethod
    def from_entries(cls, entries: Sequence[tuple[EndpointId, Subscription]]) -> Subscriptions:
        """Start with nothing remembered."""
        return cls(entries, any(one.condition is not None for _, one in entries), {})

    def match_event(self, event: NewEvent, evaluator: ConditionEvaluator | None = None) -> Sequence[Match]:
        """The endpoints that are owed this event, in the order of their ids.

        Its data is read only if an endpoint that may be owed it has a condition, which `answers` may know.
        """
        asking = self._find_matcher(event.type)
        matches = asking.select_matches(event.channels)
        if not asking.conditions:
            return matches
        if evaluator is None:
            evaluator = ConditionEvaluator(event.data)
        owed = []
        for match in matches:
            condition = asking.conditions.get(match.endpoint_id)
            if condition is None:
                owed.append(match)
                continue
            holds, failed = evaluator.evaluate(condition)
            if holds:
                owed.append(match if failed is None else match._replace(condition_error=failed))
        return owed

    def list_conditions(self, event: NewEvent) -> list[Condition]:
        """What `owed` would ask about this event."""
        asking = self._find_matcher(event.type)
        if not asking.conditions:
            return []
        asked = (asking.conditions.get(match.endpoint_id) for match in asking.select_matches(event.channels))
        return [condition for condition in asked if condition is not None]

    def _find_matcher(self, event_type: str) -> _TypeMatcher:
        found = self._matchers_by_type.get(event_type)
        if found is None:
            found = _TypeMatcher.build(
                (endpoint, pattern, wants)
                for endpoint, wants in self.entries
                if (pattern := find_matching_pattern(wants.types, event_type)) is not None
            )
            if len(self._matchers_by_type) < 1_000:  # noqa: PLR2004  a tenant that invents types must not fill memory
                self._matchers_by_type[event_type] = found
        return found


@dataclass(frozen=True, slots=True)
class _TypeMatcher:
    """Who asks for a type. Places are those in `every`; `anywhere` are of those that name no channel."""

    matches: list[Match]
    without_channel: list[int]
    by_channel: dict[str, list[int]]
    conditions: dict[EndpointId, Condition]

    @classmethod
    def build(cls, found: Iterable[tuple[EndpointId, str, Subscription]]) -> _TypeMatcher:
        asking = cls([], [], {}, {})
        for place, (endpoint, pattern, wants) in enumerate(found):
            asking.matches.append(Match(endpoint, pattern))
            if not wants.channels:
                asking.without_channel.append(place)
            for channel in wants.channels:
                asking.by_channel.setdefault(channel, []).append(place)
            if wants.condition is not None:
                asking.conditions[endpoint] = compile_stored_condition(wants.condition)
        return asking

    def select_matches(self, channels: Sequence[str]) -> Sequence[Match]:
        if not self.by_channel:
            return self.matches
        places = set(self.without_channel)
        for channel in channels:
            places.update(self.by_channel.get(channel, ()))
        return [self.matches[place] for place in sorted(places)]


_ENVELOPE = b'{"type":"%b","timestamp":"%b","data":%b}'


def plan_fanout(  # noqa: PLR0913  what one request is, and the edge
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
    """Say what accepting these events means: one delivery for each endpoint that is owed each event.

    `owed` are those endpoints, by event.
    `key` is the idempotency key that they came under, `traceparent` the trace that they came in.
    """
    rows: list[EventRow] = []
    deliveries: list[DeliveryRow] = []
    answers: list[str] = []
    moment = format_rfc3339(now)
    for event, endpoints in zip(events, matches, strict=True):
        event_id = EventId(new_id())
        body = _ENVELOPE % (event.type.encode(), moment.encode(), event.data)
        digest, matched = hashlib.sha256(body).digest(), len(endpoints)
        rows.append(
            EventRow(
                event_id,
                tenant_id,
                event.type,
                body,
                digest,
                matched,
                idempotency_key,
                traceparent,
                event.channels,
            )
        )
        deliveries += [
            DeliveryRow(DeliveryId(new_id()), tenant_id, event_id, endpoint, event.type, matched_by, failed)
            for endpoint, matched_by, failed in endpoints
        ]
        answers.append(
            f'{{"id":"{format_id(Prefix.EVENT, event_id)}","type":"{event.type}",'
            f'"created_at":"{moment}","deliveries":{matched}}}'
        )
    answer = answers[0] if single else f'{{"events":[{",".join(answers)}]}}'
    return FanoutPlan(rows, deliveries, answer.encode())
