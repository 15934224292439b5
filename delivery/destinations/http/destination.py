"""An HTTP endpoint with its secrets decrypted, ready to be delivered to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.formats import FormattedPayload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from delivery.destinations.http.auth import OAuth2
    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.domain.formats import PayloadFormatter
    from delivery.domain.ids import EventId
    from retries.backoff import Schedule
    from retries.health import HealthConfig
    from signing import KeyRing


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and how to deliver. `redacted_headers` are the custom headers without their values."""

    version: int
    url: str
    headers: Mapping[str, str]
    redacted_headers: Mapping[str, str]
    oauth2: OAuth2 | None
    client_identity: ClientIdentity | None
    key_ring: KeyRing
    schedule: Schedule
    timeout: timedelta
    permanent_statuses: frozenset[int]
    health_config: HealthConfig
    operational: bool
    formatter: PayloadFormatter | None

    def format_payload(self, event_id: EventId, envelope: bytes) -> FormattedPayload:
        """Format an event for this endpoint; the stored envelope is sent as it is where no format is set."""
        return (
            FormattedPayload(envelope, {})
            if self.formatter is None
            else self.formatter.format_event(event_id, envelope)
        )
