"""The words of the engine as types: ids and the records that travel between its parts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NewType
from uuid import UUID

from uuid_utils.compat import uuid7

from delivery.domain.errors import MalformedId
from delivery.domain.scopes import TENANT_SCOPES, Scope
from delivery.domain.subscription import Subscription
from retries.health import HealthConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from retries.health import Hold
    from retries.rate import RateLimit

TenantId = NewType("TenantId", UUID)
KeyId = NewType("KeyId", UUID)
EndpointId = NewType("EndpointId", UUID)
SecretId = NewType("SecretId", UUID)
EventId = NewType("EventId", UUID)
DeliveryId = NewType("DeliveryId", UUID)
AttemptId = NewType("AttemptId", UUID)
ClaimId = NewType("ClaimId", UUID)
ReplayId = NewType("ReplayId", UUID)
UserId = NewType("UserId", UUID)
LinkId = NewType("LinkId", UUID)
MessageId = NewType("MessageId", UUID)


class Prefix(StrEnum):
    """What stands before the underscore of an id that people see."""

    TENANT = "ten"
    KEY = "key"
    ENDPOINT = "ep"
    SECRET = "sec"  # noqa: S105  a prefix, not a password
    EVENT = "evt"
    DELIVERY = "dlv"
    ATTEMPT = "att"
    REPLAY = "rpl"
    AUDIT = "aud"
    USER = "usr"
    LINK = "lnk"
    MESSAGE = "msg"


def new_id() -> UUID:
    """A fresh UUIDv7: unique, and ordered by the time it was made (RFC 9562, section 5.7)."""
    return uuid7()


# Ids as people see them are TypeIDs: github.com/jetify-com/typeid/tree/main/spec
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_SHIFTS = range(120, -1, -10)
_SUFFIX_LENGTH = 26
_MAX_FIRST_LETTER = "7"  # 26 letters hold 130 bits; a UUID has 128


def format_id(prefix: Prefix, id_: UUID) -> str:
    """Write an id the way people see it: `evt_01kawt…`, 26 letters of Crockford base32."""
    number = id_.int
    return prefix + "_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def parse_id(prefix: Prefix, text: str) -> UUID:
    """Read an id back; raises MalformedId for anything `show_id` would not have written."""
    kind, _, suffix = text.rpartition("_")
    if kind != prefix or len(suffix) != _SUFFIX_LENGTH or suffix[0] > _MAX_FIRST_LETTER:
        raise MalformedId(text, prefix)
    number = 0
    for letter in suffix:
        value = _VALUES.get(letter)
        if value is None:
            raise MalformedId(text, prefix)
        number = number << 5 | value
    return UUID(int=number)


def extract_id_time(id_: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, tz=UTC)


def build_min_id(moment: datetime) -> UUID:
    """The smallest id that could have been made at this moment: bounds ranges of ids by time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


# ---- closed sets
class EndpointState(StrEnum):
    """Whether an endpoint's deliveries may be claimed; anything but active holds them."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class Signature(StrEnum):
    """Which Standard Webhooks scheme signs an endpoint's deliveries."""

    V1 = "v1"
    V1A = "v1a"


class DeliveryStatus(StrEnum):
    """Where a delivery stands; the last three are final."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PayloadFormat(StrEnum):
    """How an endpoint wants its events to be written."""

    STANDARD = "standard"
    CLOUDEVENTS_STRUCTURED = "cloudevents_structured"
    CLOUDEVENTS_BINARY = "cloudevents_binary"


class PayloadKind(StrEnum):
    """Whether an endpoint gets the event's data, or only word that there is an event."""

    FULL = "full"
    THIN = "thin"


class Priority(IntEnum):
    """A queue for one kind of work."""

    LIVE = 0
    REPLAY = 1


# ---- records
@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for something, and from which address or machine; None: not known."""

    name: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose data it is. `retention` has days by kind of content, where it has less kept than the operator."""

    id: TenantId
    name: str
    created_at: datetime
    retention: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A tenant's key as it may be shown: never the key itself.

    `expires_at` None: it does not expire. `last_used_at` is true to a minute or so. `requests_per_second`
    None: as many as the operator lets every key ask. `replaced_by` is what a rotation put in its place.
    """

    id: KeyId
    tenant_id: TenantId
    name: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None
    scopes: frozenset[Scope] = frozenset(TENANT_SCOPES)
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    requests_per_second: int | None = None
    replaced_by: KeyId | None = None

    def ended_at(self, now: datetime) -> datetime | None:
        """Since when it is taken no more: revoked, or expired; None: it is good."""
        ends = [end for end in (self.revoked_at, self.expires_at) if end is not None and end <= now]
        return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """An endpoint's own limits; None, and names missing from `breaker`, mean the operator's default.

    `breaker` has the fields of `retries.breaker.BreakerTerms` by name, times in seconds.
    """

    in_flight: int | None = None
    rate: RateLimit | None = None
    breaker: Mapping[str, float] = field(default_factory=dict)
    disable_after: timedelta | None = None
    permanent: tuple[int, ...] = ()

    def apply_defaults(self, defaults: HealthConfig) -> HealthConfig:
        """By what this endpoint is judged."""
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
    """A tenant's destination. `timeout` bounds one attempt in all; `schedule` None means the default.

    It gets events of the types in `filter` that share one of its channels, if it names any, and hold its
    condition, if it has one.
    An operational one gets what the engine has to say to its tenant, and none of the tenant's events.
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
    # What of its authentication may be shown; the whole of it is sealed.
    auth: Mapping[str, str] | None = None
    sealed_auth: bytes | None = None
    # What of its client certificate may be shown; with its key it is sealed.
    client_certificate: Mapping[str, str] | None = None
    sealed_identity: bytes | None = None
    format: PayloadFormat = PayloadFormat.STANDARD
    payload: PayloadKind = PayloadKind.FULL
    channels: tuple[str, ...] = ()
    condition: str | None = None

    @property
    def subscription(self) -> Subscription:
        """What of its tenant's events it asks for."""
        return Subscription(self.filter, self.channels, self.condition)


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """An endpoint's secret as the ledger keeps it: encrypted. `not_after` None means it is the newest."""

    id: SecretId
    endpoint_id: EndpointId
    tenant_id: TenantId
    signature: Signature
    sealed: bytes
    key_id: str
    public_key: str | None
    created_at: datetime
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened: immutable. `body` is what the standard format sends, byte for byte."""

    id: EventId
    tenant_id: TenantId
    type: str
    body: bytes
    created_at: datetime


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


@dataclass(frozen=True, slots=True)
class Timings:
    """Where one exchange's time went; None where a step did not happen or was not seen."""

    dns: timedelta | None = None
    connect: timedelta | None = None
    tls: timedelta | None = None
    first_byte: timedelta | None = None
    total: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP exchange for a delivery; append-only. Header values that may be secret are redacted.

    `erased_at`: since then neither headers nor body of what came back are kept.
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
