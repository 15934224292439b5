"""Endpoints and their signing secrets."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, cast

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from delivery.domain.conditions import MAX_CONDITION_LENGTH
from delivery.domain.endpoint import Endpoint, EndpointState, SealedSecret, Signature
from delivery.domain.event_patterns import MAX_CHANNELS_PER_ENDPOINT
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.domain.ids import Prefix, format_id
from delivery.schemas.base import (
    NextCursor,
    RequestModel,
    ResponseModel,
    TimestampOut,
    example_id,
    to_json_seconds,
)
from delivery.schemas.credentials import AuthField, ClientCertificateField, ClientCertificateOut
from delivery.services.endpoints.limits import (
    MAX_DISABLE_AFTER,
    MAX_IN_FLIGHT,
    MAX_RATE_LIMIT,
    MAX_RATE_PERIOD,
    serialize_limits,
)
from delivery.services.endpoints.sealing import CreatedSecret
from delivery.services.endpoints.validation import EndpointChanges, NewEndpoint

MASK = "***"

UrlField = Annotated[
    str,
    Field(
        description="`https://…`, without user name, password or fragment.",
        examples=["https://shop.example/hooks"],
    ),
]
DescriptionField = Annotated[str, Field(description="For humans.", examples=["Orders to the warehouse"])]
FilterField = Annotated[
    list[str],
    Field(
        description="Event types to send: `*` is all, `order.created` is one, `order.*` is every type below "
        "it (`order.created` and `order.item.added`, but not `order`).",
        examples=[["order.*", "invoice.paid"]],
    ),
]
ChannelsField = Annotated[
    list[str],
    Field(
        description="Only events with one of these channels: names of letters, digits, `.`, `:`, `_` and "
        f"`-`, at most {MAX_CHANNELS_PER_ENDPOINT}. Empty: all events, with or without channels.",
        examples=[["project:1042"]],
    ),
]
ConditionField = Annotated[
    str | None,
    Field(
        description=f"Only events whose `data` meets this JMESPath of at most {MAX_CONDITION_LENGTH} "
        "characters. If its evaluation fails for an event, the event is sent. Null: no condition.",
        examples=["currency == 'EUR' && total >= `100`"],
    ),
]
ScheduleField = Annotated[
    list[float] | None,
    Field(
        description="Seconds before each attempt; the first is 0. Null: the default schedule.",
        examples=[[0, 5, 300, 1800]],
    ),
]
TimeoutField = Annotated[
    float | None,
    Field(description="Timeout of one attempt in seconds. Null: the default.", examples=[10]),
]
SecretField = Annotated[
    str | None,
    Field(
        description="Your own secret: `whsec_` and the base64 of 24 to 64 random bytes (`whsk_…` for `v1a`). "
        "Null (recommended): a new one is generated."
    ),
]
OperationalField = Annotated[
    bool,
    Field(
        description="Whether it receives operational events about the tenant's endpoints, instead of the "
        "tenant's events. Its `filter` is matched against `endpoint.disabled`, `endpoint.enabled`, "
        "`endpoint.breaker_opened`, `endpoint.breaker_closed`, `endpoint.disable_warning` and "
        "`delivery.failed`. Operational endpoints cause no such events themselves. Cannot be changed."
    ),
]
InFlightMaxField = Annotated[
    int | None,
    Field(
        description=f"Maximum deliveries in flight, 1 to {MAX_IN_FLIGHT}. Null: the operator's default.",
        examples=[20],
    ),
]
DisableAfterField = Annotated[
    float | None,
    Field(
        description="Hours without a success after which it is disabled; more than 0, at most "
        f"{MAX_DISABLE_AFTER / timedelta(hours=1):g}. Null: the operator's default.",
        examples=[48],
    ),
]
PermanentStatusesField = Annotated[
    list[int],
    Field(
        description="Statuses (4xx, not 408, 410, 413, 425, 429) that are not retried.",
        examples=[[404, 422]],
    ),
]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@with_config(_STRICT)
class RateLimitSettings(TypedDict):
    """At most `limit` deliveries within `per_seconds`, spread evenly."""

    limit: Annotated[int, Field(description=f"1 to {MAX_RATE_LIMIT}.", examples=[100])]
    per_seconds: Annotated[
        float, Field(description=f"More than 0, at most {MAX_RATE_PERIOD.total_seconds():g}.", examples=[60])
    ]


@with_config(_STRICT)
class BreakerSettings(TypedDict, total=False):
    """When the circuit breaker opens, and for how long. Missing or null: the operator's default."""

    consecutive_failures: Annotated[
        int | None, Field(description="Failures in a row that open it: 1 to 100000.", examples=[10])
    ]
    failure_ratio: Annotated[
        float | None,
        Field(description="Share of failures in the window that opens it: more than 0, at most 1."),
    ]
    minimum_requests: Annotated[
        int | None, Field(description="Attempts in the window before the share counts: 1 to 100000.")
    ]
    window_seconds: Annotated[float | None, Field(description="More than 0, at most 3600.")]
    cool_down_seconds: Annotated[
        float | None,
        Field(description="How long it is open before the first probe; doubles with each failed probe."),
    ]
    longest_cool_down_seconds: Annotated[
        float | None, Field(description="The longest cool-down: at least the first one, at most 3600.")
    ]


RateLimitField = Annotated[RateLimitSettings | None, Field(description="Null: no rate limit.")]
BreakerField = Annotated[
    BreakerSettings | None,
    Field(description="Settings of its circuit breaker, replaced as a whole. Null: the operator's defaults."),
]


PayloadFormatField = Annotated[
    Literal["standard", "cloudevents_structured", "cloudevents_binary"],
    Field(description="The payload format: Waybill's envelope, or CloudEvents 1.0 over HTTP."),
]
PayloadKindField = Annotated[
    Literal["full", "thin"],
    Field(
        description="`thin`: only id, type and time, and a link if the operator has configured its base URL."
    ),
]


class EndpointIn(RequestModel):
    """An endpoint to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://shop.example/hooks",
                    "description": "Orders to the warehouse",
                    "filter": ["order.*"],
                    "channels": ["project:1042"],
                    "condition": "total >= `100`",
                    "headers": {"X-Token": "s3cret"},
                }
            ]
        }
    )

    url: UrlField
    description: DescriptionField = ""
    filter: FilterField = Field(default=["*"])
    channels: ChannelsField = Field(default=[])
    condition: ConditionField = None
    headers: dict[str, str] = Field(
        default={}, description="Custom headers, sent with every delivery. Shown masked."
    )
    signature: Annotated[
        Literal["v1", "v1a"],
        Field(description="Standard Webhooks: `v1` is HMAC-SHA256, `v1a` is ed25519. Cannot be changed."),
    ] = "v1"
    schedule: ScheduleField = None
    timeout_seconds: TimeoutField = None
    secret: SecretField = Field(None, repr=False)
    auth: AuthField = Field(None, repr=False)
    client_certificate: ClientCertificateField = Field(None, repr=False)
    format: PayloadFormatField = "standard"
    payload: PayloadKindField = "full"
    operational: OperationalField = False
    in_flight_max: InFlightMaxField = None
    rate_limit: RateLimitField = None
    breaker: BreakerField = None
    disable_after_hours: DisableAfterField = None
    permanent_statuses: PermanentStatusesField = Field(default=[])

    def to_command(self) -> NewEndpoint:
        """Convert to the use case's input."""
        enums = {
            "signature": Signature(self.signature),
            "format": PayloadFormat(self.format),
            "payload": PayloadKind(self.payload),
        }
        return NewEndpoint(**{**self.model_dump(), **enums})


@with_config(
    ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"filter": ["order.*"], "headers": {"X-Token": "n3w"}}]},
    )
)
class EndpointPatch(TypedDict, total=False):
    """The fields to change; others stay as they are."""

    url: UrlField
    description: DescriptionField
    filter: FilterField
    channels: ChannelsField
    condition: ConditionField
    headers: Annotated[
        dict[str, str | None],
        Field(description="Headers to set; null removes one; others stay."),
    ]
    auth: AuthField
    client_certificate: ClientCertificateField
    format: PayloadFormatField
    payload: PayloadKindField
    schedule: ScheduleField
    timeout_seconds: TimeoutField
    in_flight_max: InFlightMaxField
    rate_limit: RateLimitField
    breaker: BreakerField
    disable_after_hours: DisableAfterField
    permanent_statuses: PermanentStatusesField


def to_endpoint_changes(patch: EndpointPatch) -> EndpointChanges:
    """Convert to the use case's input, which has the same names."""
    return cast("EndpointChanges", patch)


class RateLimitOut(ResponseModel):
    """At most `limit` deliveries within `per_seconds`."""

    limit: int
    per_seconds: int | float


class EndpointOut(ResponseModel):
    """An endpoint."""

    id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    url: UrlField
    description: DescriptionField
    filter: FilterField
    channels: ChannelsField
    condition: ConditionField
    headers: dict[str, str] = Field(description="Names, with masked values.", examples=[{"X-Token": MASK}])
    auth: dict[str, str] | None = Field(
        description="Authentication without secrets: kind, user, client and token URL.",
        examples=[{"kind": "basic", "user": "waybill"}],
    )
    client_certificate: ClientCertificateOut | None
    format: PayloadFormatField
    payload: PayloadKindField
    signature: Signature
    schedule: list[int | float] | None = Field(description="Seconds before each attempt. Null: the default.")
    timeout_seconds: int | float | None = Field(
        description="Timeout of one attempt in seconds. Null: the default."
    )
    operational: OperationalField
    in_flight_max: InFlightMaxField
    rate_limit: RateLimitOut | None = Field(description="Null: no rate limit.")
    breaker: dict[str, int | float] | None = Field(
        description="Settings of its circuit breaker that differ from the defaults. Null: none.",
        examples=[{"consecutive_failures": 5, "cool_down_seconds": 60}],
    )
    disable_after_hours: int | float | None = Field(
        description="Hours without a success after which it is disabled. Null: the operator's default."
    )
    permanent_statuses: PermanentStatusesField
    state: EndpointState = Field(
        description="`active`; `paused` by a user; `disabled` by a user or the engine. Deliveries of paused "
        "and disabled endpoints are held."
    )
    state_reason: str | None
    state_actor: str | None = Field(
        description="Who changed the state: a key, `cli:…`, `operator`, or `waybill` (the engine)."
    )
    state_changed_at: TimestampOut
    created_at: TimestampOut
    updated_at: TimestampOut

    @classmethod
    def from_record(cls, endpoint: Endpoint, /, **more: Any) -> Self:
        """Show an endpoint."""
        schedule, timeout = endpoint.schedule, endpoint.timeout
        return cls(
            id=format_id(Prefix.ENDPOINT, endpoint.id),
            url=endpoint.url,
            description=endpoint.description,
            filter=list(endpoint.filter),
            channels=list(endpoint.channels),
            condition=endpoint.condition,
            headers=dict.fromkeys(endpoint.header_names, MASK),
            auth=None if endpoint.auth is None else dict(endpoint.auth),
            client_certificate=None
            if endpoint.client_certificate is None
            else ClientCertificateOut(**endpoint.client_certificate),
            format=str(endpoint.format),
            payload=str(endpoint.payload),
            signature=endpoint.signature,
            schedule=None if schedule is None else [to_json_seconds(delay) for delay in schedule],
            timeout_seconds=None if timeout is None else to_json_seconds(timeout),
            operational=endpoint.operational,
            **serialize_limits(endpoint.limits),
            state=endpoint.state,
            state_reason=endpoint.state_reason,
            state_actor=endpoint.state_actor,
            state_changed_at=endpoint.state_changed_at,
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
            **more,
        )


class EndpointList(ResponseModel):
    """Endpoints, newest first."""

    items: list[EndpointOut]
    next: NextCursor


NewSecretField = Annotated[
    str | None,
    Field(
        description="The secret that receivers verify with. Keep it: it is shown only once. Null for `v1a`, "
        "where receivers need only `public_key`.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    ),
]


class SecretOut(ResponseModel):
    """A secret, without the secret itself."""

    id: str = Field(examples=[example_id(Prefix.SECRET)])
    key_id: str = Field(
        description="Attempts name the secrets that signed them by this id.", examples=["1f0c9a7be2d4"]
    )
    signature: Signature
    public_key: str | None = Field(description="`whpk_…` for `v1a`; null for `v1`.")
    created_at: TimestampOut
    not_after: TimestampOut | None = Field(description="When it stops signing. Null: it is the newest.")

    @classmethod
    def from_record(cls, secret: SealedSecret, /, **more: str | None) -> Self:
        """Show a secret."""
        return cls(
            id=format_id(Prefix.SECRET, secret.id),
            key_id=secret.key_id,
            signature=secret.signature,
            public_key=secret.public_key,
            created_at=secret.created_at,
            not_after=secret.not_after,
            **more,
        )


class NewSecretOut(SecretOut):
    """A secret that was just created."""

    secret: NewSecretField


class SecretList(ResponseModel):
    """The secrets that sign now, newest first."""

    items: list[SecretOut]
    next: NextCursor


class EndpointDetailOut(EndpointOut):
    """An endpoint with the secrets that sign now."""

    secrets: list[SecretOut] = Field(description="Newest first.")

    @classmethod
    def from_details(cls, endpoint: Endpoint, secrets: Sequence[SealedSecret]) -> Self:
        """Show an endpoint with its secrets."""
        return cls.from_record(endpoint, secrets=[SecretOut.from_record(secret) for secret in secrets])


class NewEndpointOut(EndpointOut):
    """An endpoint that was just created, with its secret."""

    secret: NewSecretField
    public_key: str | None = Field(description="`whpk_…` for `v1a`; null for `v1`.")

    @classmethod
    def from_new_endpoint(cls, endpoint: Endpoint, secret: CreatedSecret) -> Self:
        """Show a new endpoint."""
        return cls.from_record(endpoint, secret=secret.text, public_key=secret.secret.public_key)


class TestIn(RequestModel):
    """The test event to send."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "order.created"}]})

    type: str | None = Field(
        None, description="An event type of the catalogue, whose first example is sent. Null: `waybill.test`."
    )


class ReasonIn(RequestModel):
    """The reason for changing an endpoint's state."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The receiver is being moved"}]})

    reason: str | None = None


class EnableIn(RequestModel):
    """Options for enabling an endpoint."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    reason: str | None = None
    dry_run: bool = Field(default=False, description="Change nothing; only preview what would be released.")


class RotationIn(RequestModel):
    """Options for rotating a secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_hours": 24}]})

    secret: SecretField = Field(None, repr=False)
    overlap_hours: float | None = Field(
        None,
        ge=0,
        le=720,
        description="How long older secrets keep signing too. Null: the operator's default.",
    )
    reason: str | None = Field(None, description="The reason, for the audit log.")
