"""Fan-out: from events and the tenant's filters to the rows that will be written and the answer. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.filters import first_match
from delivery.ledger.accepting import DeliveryRow, EventRow
from delivery.model import DeliveryId, EndpointId, EventId, Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from delivery.accept.parse import NewEvent
    from delivery.model import TenantId


# An endpoint that an event is owed to, and the pattern that asked for it; None: it was named.
Match = tuple[EndpointId, str | None]


@dataclass(frozen=True, slots=True)
class Draft:
    """What one request writes, and the JSON that answers it."""

    events: list[EventRow]
    deliveries: list[DeliveryRow]
    answer: bytes


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """A tenant's endpoints with their filters; remembers which match a type, since types repeat."""

    filters: Sequence[tuple[EndpointId, Sequence[str]]]
    _matching: dict[str, list[Match]]

    @classmethod
    def of(cls, filters: Sequence[tuple[EndpointId, Sequence[str]]]) -> Subscriptions:
        """Start with nothing remembered."""
        return cls(filters, {})

    def matching(self, event_type: str) -> list[Match]:
        """The endpoints that asked for this type, in the order of their ids, and the pattern that did."""
        found = self._matching.get(event_type)
        if found is None:
            found = [
                (endpoint, pattern)
                for endpoint, patterns in self.filters
                if (pattern := first_match(patterns, event_type)) is not None
            ]
            if len(self._matching) < 1_000:  # noqa: PLR2004  a tenant that invents types must not fill memory
                self._matching[event_type] = found
        return found


_ENVELOPE = b'{"type":"%b","timestamp":"%b","data":%b}'


def draft(  # noqa: PLR0913  what one request is, and the edge
    tenant_id: TenantId,
    events: Sequence[NewEvent],
    endpoints_of: Callable[[str], Sequence[Match]],
    *,
    single: bool,
    now: datetime,
    new_id: Callable[[], UUID],
    key: str | None = None,
    traceparent: str | None = None,
) -> Draft:
    """Say what accepting these events means: one delivery for each endpoint that matches each event.

    `key` is the idempotency key that they came under, `traceparent` the trace that they came in.
    """
    rows: list[EventRow] = []
    owed: list[DeliveryRow] = []
    answers: list[str] = []
    moment = _rfc3339(now)
    for event in events:
        event_id = EventId(new_id())
        endpoints = endpoints_of(event.type)
        body = _ENVELOPE % (event.type.encode(), moment.encode(), event.data)
        digest, matched = hashlib.sha256(body).digest(), len(endpoints)
        rows.append(EventRow(event_id, tenant_id, event.type, body, digest, matched, now, key, traceparent))
        owed += [
            DeliveryRow(DeliveryId(new_id()), tenant_id, event_id, endpoint, event.type, now, matched_by)
            for endpoint, matched_by in endpoints
        ]
        answers.append(
            f'{{"id":"{show_id(Prefix.EVENT, event_id)}","type":"{event.type}",'
            f'"created_at":"{moment}","deliveries":{matched}}}'
        )
    answer = answers[0] if single else f'{{"events":[{",".join(answers)}]}}'
    return Draft(rows, owed, answer.encode())


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
