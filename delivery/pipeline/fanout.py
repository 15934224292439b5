"""Fan-out: from events and the tenant's filters to the rows that will be written and the answer. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from delivery.conditions import Answers, kept_condition
from delivery.filters import first_match
from delivery.ledger.accepting import DeliveryRow, EventRow
from delivery.model import DeliveryId, EndpointId, EventId, Prefix, show_id
from delivery.moments import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from delivery.accept.parse import NewEvent
    from delivery.conditions import Condition
    from delivery.matching import Wants
    from delivery.model import TenantId


class Match(NamedTuple):
    """An endpoint that an event is owed to, and the pattern that asked for it; None: it was named.

    `failed` says why its condition could not be answered, where it was sent all the same.
    """

    endpoint_id: EndpointId
    pattern: str | None
    failed: str | None = None


class Draft(NamedTuple):
    """What one request writes, and the JSON that answers it."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    answer: bytes


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """A tenant's endpoints with what they ask for; remembers who asks for a type, since types repeat."""

    wants: Sequence[tuple[EndpointId, Wants]]
    conditional: bool
    _asking: dict[str, _Asking]

    @classmethod
    def of(cls, wants: Sequence[tuple[EndpointId, Wants]]) -> Subscriptions:
        """Start with nothing remembered."""
        return cls(wants, any(one.condition is not None for _, one in wants), {})

    def owed(self, event: NewEvent, answers: Answers | None = None) -> Sequence[Match]:
        """The endpoints that are owed this event, in the order of their ids.

        Its data is read only if an endpoint that may be owed it has a condition, which `answers` may know.
        """
        asking = self._who_asks(event.type)
        matches = asking.on(event.channels)
        if not asking.conditions:
            return matches
        if answers is None:
            answers = Answers(event.data)
        owed = []
        for match in matches:
            condition = asking.conditions.get(match.endpoint_id)
            if condition is None:
                owed.append(match)
                continue
            holds, failed = answers.of(condition)
            if holds:
                owed.append(match if failed is None else match._replace(failed=failed))
        return owed

    def conditions(self, event: NewEvent) -> list[Condition]:
        """What `owed` would ask about this event."""
        asking = self._who_asks(event.type)
        if not asking.conditions:
            return []
        asked = (asking.conditions.get(match.endpoint_id) for match in asking.on(event.channels))
        return [condition for condition in asked if condition is not None]

    def _who_asks(self, event_type: str) -> _Asking:
        found = self._asking.get(event_type)
        if found is None:
            found = _Asking.of(
                (endpoint, pattern, wants)
                for endpoint, wants in self.wants
                if (pattern := first_match(wants.types, event_type)) is not None
            )
            if len(self._asking) < 1_000:  # noqa: PLR2004  a tenant that invents types must not fill memory
                self._asking[event_type] = found
        return found


@dataclass(frozen=True, slots=True)
class _Asking:
    """Who asks for a type. Places are those in `every`; `anywhere` are of those that name no channel."""

    every: list[Match]
    anywhere: list[int]
    by_channel: dict[str, list[int]]
    conditions: dict[EndpointId, Condition]

    @classmethod
    def of(cls, found: Iterable[tuple[EndpointId, str, Wants]]) -> _Asking:
        asking = cls([], [], {}, {})
        for place, (endpoint, pattern, wants) in enumerate(found):
            asking.every.append(Match(endpoint, pattern))
            if not wants.channels:
                asking.anywhere.append(place)
            for channel in wants.channels:
                asking.by_channel.setdefault(channel, []).append(place)
            if wants.condition is not None:
                asking.conditions[endpoint] = kept_condition(wants.condition)
        return asking

    def on(self, channels: Sequence[str]) -> Sequence[Match]:
        if not self.by_channel:
            return self.every
        places = set(self.anywhere)
        for channel in channels:
            places.update(self.by_channel.get(channel, ()))
        return [self.every[place] for place in sorted(places)]


_ENVELOPE = b'{"type":"%b","timestamp":"%b","data":%b}'


def draft(  # noqa: PLR0913  what one request is, and the edge
    tenant_id: TenantId,
    events: Sequence[NewEvent],
    owed: Sequence[Sequence[Match]],
    *,
    single: bool,
    now: datetime,
    new_id: Callable[[], UUID],
    key: str | None = None,
    traceparent: str | None = None,
) -> Draft:
    """Say what accepting these events means: one delivery for each endpoint that is owed each event.

    `owed` are those endpoints, by event.
    `key` is the idempotency key that they came under, `traceparent` the trace that they came in.
    """
    rows: list[EventRow] = []
    deliveries: list[DeliveryRow] = []
    answers: list[str] = []
    moment = rfc3339(now)
    for event, endpoints in zip(events, owed, strict=True):
        event_id = EventId(new_id())
        body = _ENVELOPE % (event.type.encode(), moment.encode(), event.data)
        digest, matched = hashlib.sha256(body).digest(), len(endpoints)
        rows.append(
            EventRow(event_id, tenant_id, event.type, body, digest, matched, key, traceparent, event.channels)
        )
        deliveries += [
            DeliveryRow(DeliveryId(new_id()), tenant_id, event_id, endpoint, event.type, matched_by, failed)
            for endpoint, matched_by, failed in endpoints
        ]
        answers.append(
            f'{{"id":"{show_id(Prefix.EVENT, event_id)}","type":"{event.type}",'
            f'"created_at":"{moment}","deliveries":{matched}}}'
        )
    answer = answers[0] if single else f'{{"events":[{",".join(answers)}]}}'
    return Draft(rows, deliveries, answer.encode())
