"""Endpoints as they are delivered to: opened secrets and headers, kept until the endpoint changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import structlog

from delivery.destinations.http.auth import OAuth2, build_authorization_header, decode_credentials
from delivery.destinations.http.client_certificate import decode_identity as read_identity
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

log = structlog.get_logger()

MAX_CACHED_DESTINATIONS = 10_000
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class EndpointDefaults:
    """What holds for endpoints that say nothing of their own, and the limit for those that do."""

    schedule: Schedule
    timeout: timedelta
    max_timeout: timedelta
    health_config: HealthConfig
    origin: EventOrigin


class DestinationCache:
    """Loads destinations and keeps them by version; a changed endpoint has a new version."""

    def __init__(self, ledger: Ledger, box: SecretBox, defaults: EndpointDefaults) -> None:
        """Nothing is kept at first."""
        self._ledger = ledger
        self._box = box
        self._defaults = defaults
        self._cache: BoundedDict[EndpointId, Destination] = BoundedDict(MAX_CACHED_DESTINATIONS)

    async def load_destinations(self, work: Iterable[ClaimedDelivery]) -> dict[EndpointId, Destination]:
        """The destination of each delivery; one that cannot be opened or read is missing, and logged."""
        wanted = {item.endpoint_id: item.endpoint_version for item in work}
        found = {
            endpoint_id: kept
            for endpoint_id, version in wanted.items()
            if (kept := self._cache.get(endpoint_id)) is not None and kept.version >= version
        }
        if len(found) < len(wanted):
            async with self._ledger.transaction() as tx:
                loaded = await stored.load_destinations(tx, wanted.keys() - found.keys())
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
                    found[sealed.endpoint_id] = self._cache[sealed.endpoint_id] = destination
        return found

    def _decrypt_destination(self, sealed: SealedDestination) -> Destination:
        place = (sealed.tenant_id, sealed.endpoint_id)
        headers: dict[str, str] = {}
        if sealed.sealed_headers is not None:
            opened = self._box.open(sealed.sealed_headers, context=build_headers_context(*place))
            headers = msgspec.json.decode(opened, type=dict[str, str])
        wanted = PayloadFormat(sealed.format or PayloadFormat.STANDARD)
        payload = PayloadKind(sealed.payload or PayloadKind.FULL)
        if wanted is not PayloadFormat.STANDARD:
            # From before they were refused: a receiver would see two of each.
            headers = {name: value for name, value in headers.items() if not name.lower().startswith("ce-")}
        oauth2 = None
        if sealed.sealed_auth is not None:
            auth = decode_credentials(self._box.open(sealed.sealed_auth, context=build_auth_context(*place)))
            oauth2 = auth if isinstance(auth, OAuth2) else None
            headers["authorization"] = build_authorization_header(auth) or REDACTED
        identity = None
        if sealed.sealed_identity is not None:
            identity = read_identity(
                self._box.open(sealed.sealed_identity, context=build_identity_context(*place))
            )
        entries = tuple(
            RingEntry(
                parse_secret(self._box.open(secret, context=build_secret_context(*place)).decode()), not_after
            )
            for secret, not_after in sealed.secrets
        )
        if not entries:
            raise ValueError("The endpoint has no live secret.")
        own = sealed.schedule_seconds
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
            key_ring=KeyRing(entries),
            schedule=self._defaults.schedule if own is None else Schedule(_to_timedeltas(own)),
            timeout=min(timeout, self._defaults.max_timeout),
            permanent_statuses=frozenset(sealed.limits.permanent),
            health_config=sealed.limits.apply_defaults(self._defaults.health_config),
            operational=sealed.operational,
            formatter=build_formatter(
                wanted, payload, tenant_id=sealed.tenant_id, origin=self._defaults.origin
            ),
        )


def _to_timedeltas(seconds: Iterable[float]) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=value) for value in seconds)
