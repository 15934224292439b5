"""An event: something that happened, immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from delivery.domain.ids import EventId, TenantId


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An accepted event. `body` is the body that the standard format sends, byte for byte."""

    id: EventId
    tenant_id: TenantId
    type: str
    body: bytes
    created_at: datetime
