"""An attempt: one exchange with an endpoint for a delivery."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from delivery.domain.ids import AttemptId, DeliveryId, EndpointId, EventId, TenantId


@dataclass(frozen=True, slots=True)
class Timings:
    """The phases of an exchange; None for a phase that did not happen or was not observed."""

    dns: timedelta | None = None
    connect: timedelta | None = None
    tls: timedelta | None = None
    first_byte: timedelta | None = None
    total: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP exchange for a delivery; append-only. Secret header values are redacted.

    `erased_at`: when the response's headers and body were erased.
    """

    id: AttemptId
    delivery_id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId
    event_id: EventId
    number: int
    claimed_at: datetime | None
    started_at: datetime
    timings: Timings
    url: str
    address: str | None
    request_headers: Mapping[str, str]
    body_sha256: bytes
    key_ids: tuple[str, ...]
    status: int | None
    response_headers: tuple[tuple[str, str], ...]
    response_body: bytes
    response_truncated: bool
    outcome: str
    detail: str
    decision: str
    reason: str
    next_due_at: datetime | None
    worker: str
    erased_at: datetime | None = None


class BodyUnavailable(StrEnum):
    """Why the body that an attempt sent cannot be shown."""

    NOT_KEPT = "not_kept"
    SETTINGS_CHANGED = "another_shape"
