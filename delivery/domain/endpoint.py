"""An endpoint: its settings, its own limits, its state and its sealed secrets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.domain.subscription import Subscription
from retries.health import HealthConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.ids import EndpointId, SecretId, TenantId
    from retries.rate import RateLimit


class EndpointState(StrEnum):
    """Whether an endpoint's deliveries may be claimed; anything but active holds them."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class Signature(StrEnum):
    """The Standard Webhooks scheme that signs an endpoint's deliveries."""

    V1 = "v1"
    V1A = "v1a"


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """An endpoint's own limits; None, and names missing from `breaker`, mean the operator's default.

    `breaker` has the fields of `retries.breaker.BreakerConfig` by name, times in seconds.
    """

    in_flight: int | None = None
    rate: RateLimit | None = None
    breaker: Mapping[str, float] = field(default_factory=dict)
    disable_after: timedelta | None = None
    permanent: tuple[int, ...] = ()

    def apply_defaults(self, defaults: HealthConfig) -> HealthConfig:
        """The health settings of this endpoint: its own, completed by the operator's."""
        own: dict[str, Any] = {
            name: timedelta(seconds=value) if name in _BREAKER_DURATIONS else value
            for name, value in self.breaker.items()
        }
        return HealthConfig(
            breaker=replace(defaults.breaker, **own) if own else defaults.breaker,
            max_in_flight=self.in_flight or defaults.max_in_flight,
            disable_after=self.disable_after or defaults.disable_after,
        )


_BREAKER_DURATIONS = frozenset({"window", "cool_down", "longest_cool_down"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A destination of a tenant. `timeout` bounds a whole attempt; `schedule` None means the default.

    It gets events of the types in `filter` that share a channel with it, if it has any, and meet its
    condition, if it has one. An operational endpoint gets system events, and none of the tenant's.
    """

    id: EndpointId
    tenant_id: TenantId
    url: str
    description: str
    filter: tuple[str, ...]
    state: EndpointState
    state_reason: str | None
    state_actor: str | None
    state_changed_at: datetime
    header_names: tuple[str, ...]
    sealed_headers: bytes | None
    signature: Signature
    schedule: tuple[timedelta, ...] | None
    timeout: timedelta | None
    operational: bool
    limits: EndpointLimits
    version: int
    created_at: datetime
    updated_at: datetime
    # The redacted authentication, and the sealed whole.
    auth: Mapping[str, str] | None = None
    sealed_auth: bytes | None = None
    # The description of the client certificate, and the certificate sealed with its key.
    client_certificate: Mapping[str, str] | None = None
    sealed_identity: bytes | None = None
    format: PayloadFormat = PayloadFormat.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    channels: tuple[str, ...] = ()
    condition: str | None = None

    @property
    def subscription(self) -> Subscription:
        """Which of its tenant's events it gets."""
        return Subscription(self.filter, self.channels, self.condition)


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """An endpoint's secret, encrypted. `not_after` None: it is the newest."""

    id: SecretId
    endpoint_id: EndpointId
    tenant_id: TenantId
    signature: Signature
    sealed: bytes
    key_id: str
    public_key: str | None
    created_at: datetime
    not_after: datetime | None
