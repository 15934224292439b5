"""Endpoints as they are delivered to: opened secrets and headers, kept until the endpoint changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import structlog

from delivery.certificates import read_written as read_identity
from delivery.credentials import OAuth2, header_of, read_written
from delivery.errors import SecretUnreadable
from delivery.formats import Shaped, shape_of
from delivery.ledger import destinations as stored
from delivery.model import Format, PayloadKind, Prefix, show_id
from delivery.secrets import auth_context, headers_context, identity_context, secret_context
from retries.backoff import Schedule
from signing import KeyRing, RingEntry, parse_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from delivery.certificates import ClientIdentity
    from delivery.formats import Origin, Shape
    from delivery.ledger import Ledger
    from delivery.ledger.claiming import Work
    from delivery.ledger.destinations import SealedDestination
    from delivery.model import EndpointId, EventId
    from delivery.secrets import SecretBox
    from retries.health import HealthTerms

log = structlog.get_logger()

MOST_KEPT = 10_000
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for endpoints that say nothing of their own, and the limit for those that do."""

    schedule: Schedule
    timeout: timedelta
    longest: timedelta
    health: HealthTerms
    origin: Origin


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and how to deliver. `shown_headers` are the custom ones with their values redacted."""

    version: int
    url: str
    headers: Mapping[str, str]
    shown_headers: Mapping[str, str]
    oauth2: OAuth2 | None
    identity: ClientIdentity | None
    ring: KeyRing
    schedule: Schedule
    timeout: timedelta
    permanent: frozenset[int]
    terms: HealthTerms
    operational: bool
    shape: Shape | None

    def shaped(self, event_id: EventId, envelope: bytes) -> Shaped:
        """What goes out of an event; where the envelope itself does, nothing is read or made."""
        return Shaped(envelope, {}) if self.shape is None else self.shape.of(event_id, envelope)


class Destinations:
    """Loads destinations and keeps them by version; a changed endpoint has a new version."""

    def __init__(self, ledger: Ledger, box: SecretBox, defaults: Defaults) -> None:
        """Nothing is kept at first."""
        self._ledger = ledger
        self._box = box
        self._defaults = defaults
        self._kept: dict[EndpointId, Destination] = {}

    async def of(self, work: Iterable[Work]) -> dict[EndpointId, Destination]:
        """The destination of each delivery; one that cannot be opened or read is missing, and logged."""
        wanted = {item.endpoint_id: item.endpoint_version for item in work}
        found = {
            endpoint_id: kept
            for endpoint_id, version in wanted.items()
            if (kept := self._kept.get(endpoint_id)) is not None and kept.version >= version
        }
        if len(found) < len(wanted):
            async with self._ledger.transaction() as tx:
                loaded = await stored.load(tx, wanted.keys() - found.keys())
            if len(self._kept) > MOST_KEPT:
                self._kept.clear()
            for sealed in loaded:
                try:
                    destination = self._open(sealed)
                except (SecretUnreadable, msgspec.MsgspecError, ValueError) as error:
                    log.warning(
                        "endpoint.unreadable",
                        endpoint_id=show_id(Prefix.ENDPOINT, sealed.endpoint_id),
                        why=str(error),
                    )
                else:
                    found[sealed.endpoint_id] = self._kept[sealed.endpoint_id] = destination
        return found

    def _open(self, sealed: SealedDestination) -> Destination:
        place = (sealed.tenant_id, sealed.endpoint_id)
        headers: dict[str, str] = {}
        if sealed.sealed_headers is not None:
            opened = self._box.open(sealed.sealed_headers, context=headers_context(*place))
            headers = msgspec.json.decode(opened, type=dict[str, str])
        wanted = Format(sealed.format or Format.STANDARD)
        payload = PayloadKind(sealed.payload or PayloadKind.FULL)
        if wanted is not Format.STANDARD:
            # From before they were refused: a receiver would see two of each.
            headers = {name: value for name, value in headers.items() if not name.lower().startswith("ce-")}
        oauth2 = None
        if sealed.sealed_auth is not None:
            auth = read_written(self._box.open(sealed.sealed_auth, context=auth_context(*place)))
            oauth2 = auth if isinstance(auth, OAuth2) else None
            headers["authorization"] = header_of(auth) or REDACTED
        identity = None
        if sealed.sealed_identity is not None:
            identity = read_identity(self._box.open(sealed.sealed_identity, context=identity_context(*place)))
        entries = tuple(
            RingEntry(
                parse_secret(self._box.open(secret, context=secret_context(*place)).decode()), not_after
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
            shown_headers=MappingProxyType(dict.fromkeys(headers, REDACTED)),
            oauth2=oauth2,
            identity=identity,
            ring=KeyRing(entries),
            schedule=self._defaults.schedule if own is None else Schedule(_durations(own)),
            timeout=min(timeout, self._defaults.longest),
            permanent=frozenset(sealed.limits.permanent),
            terms=sealed.limits.terms(self._defaults.health),
            operational=sealed.operational,
            shape=shape_of(wanted, payload, tenant_id=sealed.tenant_id, origin=self._defaults.origin),
        )


def _durations(seconds: Iterable[float]) -> tuple[timedelta, ...]:
    return tuple(timedelta(seconds=value) for value in seconds)
