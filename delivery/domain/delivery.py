"""A delivery: one event owed to one endpoint, where it stands and what holds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId
    from retries.health import Hold


class DeliveryStatus(StrEnum):
    """Where a delivery stands; the last three are final."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """A queue for one kind of work."""

    LIVE = 0
    REPLAY = 1


@dataclass(frozen=True, slots=True)
class ActiveHold:
    """Why a delivery is not sent though it is due: its endpoint may be sent nothing now.

    `since` is when that began for the endpoint and `until` when it ends by itself, where either is known;
    `reason` is what was said of a pause, or why the endpoint was disabled.
    """

    by: Hold
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event owed to one endpoint, as the ledger shows it. `held` None: nothing holds it back.

    `outcome` and `http_status` are of the last attempt; `sequence` is the number under which its endpoint was
    owed it. None: there was none yet. `condition_failed` says why the endpoint's condition could not be
    answered for the event, which was sent all the same.
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
