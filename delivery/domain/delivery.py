"""A delivery: one event owed to one endpoint, its status and its holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId
    from retries.health import Hold


class DeliveryStatus(StrEnum):
    """The status of a delivery; the last three are final."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """The priority of a delivery: live traffic or replay; each has a queue of its own."""

    LIVE = 0
    REPLAY = 1


@dataclass(frozen=True, slots=True)
class ActiveHold:
    """Why a due delivery is not sent: its endpoint is held.

    `since` is when the hold began and `until` when it ends by itself, where known; `reason` is why the
    endpoint was paused or disabled.
    """

    by: Hold
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event owed to one endpoint. `held` None: nothing holds it.

    `outcome` and `http_status` are of the last attempt, `sequence` is its number at the endpoint; None: none
    yet. `condition_failed`: why the endpoint's condition could not be evaluated; the event was sent anyway.
    """

    id: DeliveryId
    tenant_id: TenantId
    event_id: EventId
    event_type: str
    endpoint_id: EndpointId
    matched_by: str | None
    status: DeliveryStatus
    reason: str | None
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    outcome: str | None = None
    http_status: int | None = None
    sequence: int | None = None
    held: ActiveHold | None = None
    condition_failed: str | None = None
