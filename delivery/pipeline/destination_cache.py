"""Destinations with decrypted secrets and headers, cached until their endpoint changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from delivery.destinations.http.auth import OAuth2, build_authorization_header, decode_credentials
from delivery.destinations.http.client_certificate import decode_identity
from delivery.destinations.http.destination import Destination
from delivery.domain.errors import SecretUnreadable
from delivery.domain.formats import PayloadFormat, PayloadKind, build_formatter
from delivery.domain.ids import Prefix, format_id
from delivery.domain.secret_box import (
    build_auth_context,
    build_headers_context,
    build_identity_context,
    build_secret_context,
)
from delivery.domain.single_flight import BoundedDict
from delivery.ledger.queue import destinations as stored
from delivery.log import get_logger
from retries.backoff import Schedule
from signing import KeyRing, RingEntry, parse_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from delivery.domain.formats import EventOrigin
    from delivery.domain.ids import EndpointId
    from delivery.domain.secret_box import SecretBox
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.claims import ClaimedDelivery
    from delivery.ledger.queue.destinations import SealedDestination
    from retries.health import HealthConfig

log = get_logger()

MAX_CACHED_DESTINATIONS = 10_000
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class EndpointDefaults:
    """Values for endpoints without their own, and the limit for those that have them."""

    schedule: Schedule
    timeout: timedelta
    max_timeout: timedelta
    health_config: HealthConfig
    origin: EventOrigin


class DestinationCache:
    """Loads destinations and caches them by version; a changed endpoint has a new version."""

    def __init__(self, ledger: Ledger, box: SecretBox, defaults: EndpointDefaults) -> None:
        self._ledger = ledger
        self._box = box
        self._defaults = defaults
        self._cache: BoundedDict[EndpointId, Destination] = BoundedDict(MAX_CACHED_DESTINATIONS)

    async def load_destinations(self, work: Iterable[ClaimedDelivery]) -> dict[EndpointId, Destination]:
        """Load the destinations of these deliveries; unreadable ones are logged and left out."""
        versions = {item.endpoint_id: item.endpoint_version for item in work}
        destinations = {
            endpoint_id: cached
            for endpoint_id, version in versions.items()
            if (cached := self._cache.get(endpoint_id)) is not None and cached.version >= version
        }
        if len(destinations) < len(versions):
            async with self._ledger.transaction() as tx:
                loaded = await stored.load_destinations(tx, versions.keys() - destinations.keys())
            for sealed in loaded:
                try:
                    destination = self._decrypt_destination(sealed)
                except (SecretUnreadable, msgspec.MsgspecError, ValueError) as error:
                    log.warning(
                        "endpoint.unreadable",
                        endpoint_id=format_id(Prefix.ENDPOINT, sealed.endpoint_id),
                        why=str(error),
                    )
                else:
                    destinations[sealed.endpoint_id] = self._cache[sealed.endpoint_id] = destination
        return destinations

    def _decrypt_destination(self, sealed: SealedDestination) -> Destination:
        owner = (sealed.tenant_id, sealed.endpoint_id)
        payload_format = PayloadFormat(sealed.format or PayloadFormat.STANDARD)
        headers = self._decrypt_headers(sealed)
        if payload_format is not PayloadFormat.STANDARD:
            # Stored before such headers were refused: a receiver would see each of them twice.
            headers = {name: value for name, value in headers.items() if not name.lower().startswith("ce-")}
        oauth2 = identity = None
        if sealed.sealed_auth is not None:
            auth = decode_credentials(self._box.open(sealed.sealed_auth, context=build_auth_context(*owner)))
            oauth2 = auth if isinstance(auth, OAuth2) else None
            headers["authorization"] = build_authorization_header(auth) or REDACTED
        if sealed.sealed_identity is not None:
            context = build_identity_context(*owner)
            identity = decode_identity(self._box.open(sealed.sealed_identity, context=context))
        schedule_seconds = sealed.schedule_seconds
        timeout = self._defaults.timeout
        if sealed.timeout_seconds is not None:
            timeout = timedelta(seconds=sealed.timeout_seconds)
        return Destination(
            version=sealed.version,
            url=sealed.url,
            headers=MappingProxyType(headers),
            redacted_headers=MappingProxyType(dict.fromkeys(headers, REDACTED)),
            oauth2=oauth2,
            client_identity=identity,
            key_ring=self._decrypt_key_ring(sealed),
            schedule=(
                self._defaults.schedule
                if schedule_seconds is None
                else Schedule(tuple(timedelta(seconds=delay) for delay in schedule_seconds))
            ),
            timeout=min(timeout, self._defaults.max_timeout),
            permanent_statuses=frozenset(sealed.limits.permanent),
            health_config=sealed.limits.apply_defaults(self._defaults.health_config),
            operational=sealed.operational,
            formatter=build_formatter(
                payload_format,
                PayloadKind(sealed.payload or PayloadKind.FULL),
                tenant_id=sealed.tenant_id,
                origin=self._defaults.origin,
            ),
        )

    def _decrypt_headers(self, sealed: SealedDestination) -> dict[str, str]:
        if sealed.sealed_headers is None:
            return {}
        context = build_headers_context(sealed.tenant_id, sealed.endpoint_id)
        headers: dict[str, str] = msgspec.json.decode(
            self._box.open(sealed.sealed_headers, context=context), type=dict[str, str]
        )
        return headers

    def _decrypt_key_ring(self, sealed: SealedDestination) -> KeyRing:
        context = build_secret_context(sealed.tenant_id, sealed.endpoint_id)
        entries = tuple(
            RingEntry(parse_secret(self._box.open(secret, context=context).decode()), not_after)
            for secret, not_after in sealed.secrets
        )
        if not entries:
            raise ValueError("The endpoint has no live secret.")
        return KeyRing(entries)
