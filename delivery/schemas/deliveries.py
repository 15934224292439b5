"""How deliveries and attempts are shown."""

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from delivery.domain.attempt import Attempt, BodyUnavailable, Timings
from delivery.domain.delivery import ActiveHold, Delivery, DeliveryStatus
from delivery.domain.ids import Prefix, format_id
from delivery.schemas.base import NextCursor, RequestModel, ResponseModel, TimestampOut, example_id
from delivery.services.deliveries import AttemptDetails as Told
from retries.health import Hold

Encoding = Literal["text", "base64"]


class HeldOut(ResponseModel):
    """Why a delivery is not sent though it is due."""

    by: Hold = Field(description="What of its endpoint holds it.")
    since: TimestampOut | None = Field(description="When that began for the endpoint. Null: not known.")
    until: TimestampOut | None = Field(description="When it ends by itself. Null: when something happens.")
    reason: str | None = Field(description="What was said of a pause, or why the endpoint was disabled.")

    @classmethod
    def from_record(cls, held: ActiveHold) -> Self:
        """Show what holds a delivery."""
        return cls(by=held.by, since=held.since, until=held.until, reason=held.reason)


class DeliveryOut(ResponseModel):
    """One event owed to one endpoint."""

    id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    tenant_id: str = Field(examples=[example_id(Prefix.TENANT)])
    event_id: str = Field(examples=[example_id(Prefix.EVENT)], description="Also the `webhook-id`.")
    event_type: str = Field(examples=["order.created"])
    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    status: DeliveryStatus
    reason: str | None = Field(description="Why it stands where it stands.")
    attempts: int = Field(description="How many attempts were made.")
    outcome: str | None = Field(description="What the last attempt came to. Null: there was none.")
    response: int | None = Field(description="What the last attempt was answered. Null: nothing.")
    sequence: int | None = Field(
        description="The number under which its endpoint is owed it. Null: it was not sent yet."
    )
    created_at: TimestampOut
    due_at: TimestampOut | None = Field(description="When it is attempted next. Null: never, it is over.")
    finished_at: TimestampOut | None
    held: HeldOut | None = Field(
        description="What holds it back though it is due. Null: nothing does, or it is not due."
    )

    @classmethod
    def from_record(cls, delivery: Delivery, /, **more: Any) -> Self:
        """Show a delivery."""
        return cls(
            id=format_id(Prefix.DELIVERY, delivery.id),
            tenant_id=format_id(Prefix.TENANT, delivery.tenant_id),
            event_id=format_id(Prefix.EVENT, delivery.event_id),
            event_type=delivery.event_type,
            endpoint_id=format_id(Prefix.ENDPOINT, delivery.endpoint_id),
            status=delivery.status,
            reason=delivery.reason,
            attempts=delivery.attempts,
            outcome=delivery.outcome,
            response=delivery.http_status,
            sequence=delivery.sequence,
            created_at=delivery.created_at,
            due_at=delivery.due_at,
            finished_at=delivery.finished_at,
            held=None if delivery.held is None else HeldOut.from_record(delivery.held),
            **more,
        )


class CountOut(ResponseModel):
    """How many there are."""

    count: int
    exact: bool = Field(description="False: it is an estimate, since counting them would be too dear.")


class DeliveryList(ResponseModel):
    """Deliveries, in the order that was asked for."""

    items: list[DeliveryOut]
    next: NextCursor


class DeliveryReplayIn(RequestModel):
    """Why a delivery is sent again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The receiver lost it"}]})

    reason: str | None = None
    hold: bool = Field(
        default=False, description="Take it for an endpoint that is paused or disabled too: it is held."
    )


class TimingsOut(ResponseModel):
    """Where the time went, in milliseconds. Null: it did not happen, or was not seen."""

    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None

    @classmethod
    def from_record(cls, timings: Timings) -> Self:
        """Show timings."""
        return cls(
            dns_ms=_to_milliseconds(timings.dns),
            connect_ms=_to_milliseconds(timings.connect),
            tls_ms=_to_milliseconds(timings.tls),
            first_byte_ms=_to_milliseconds(timings.first_byte),
            total_ms=_to_milliseconds(timings.total),
        )


class RequestOut(ResponseModel):
    """What went out."""

    url: str
    address: str | None = Field(description="The address that was dialled.", examples=["203.0.113.7"])
    headers: Mapping[str, str] = Field(description="Values that may be secret are redacted.")
    body_sha256: str = Field(description="Hash of the body that was signed and sent, in hexadecimal.")
    key_ids: list[str] = Field(description="The secrets that signed it, by `key_id`.")


class RequestDetailOut(RequestOut):
    """What went out, with its body."""

    body: str | None = Field(description="As it was sent. Null: `body_missing` says why.")
    body_encoding: Encoding | None
    body_missing: BodyUnavailable | None = Field(
        description="`not_kept`: it was erased, or is no longer kept. `another_shape`: it was made of the "
        "event under settings that are others now; `body_sha256` is its hash."
    )


class ResponseOut(ResponseModel):
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    truncated: bool = Field(description="Whether the body was longer than what is kept of it.")


class ResponseDetailOut(ResponseOut):
    """What came back, with its body."""

    body: str | None = Field(description="Null: it was erased.")
    body_encoding: Encoding | None = Field(description="`base64` where the bytes are not UTF-8 text.")


class AttemptOut(ResponseModel):
    """One HTTP exchange for a delivery."""

    id: str = Field(examples=[example_id(Prefix.ATTEMPT)])
    delivery_id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    event_id: str = Field(examples=[example_id(Prefix.EVENT)])
    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    number: int
    started_at: TimestampOut
    timings: TimingsOut
    request: RequestOut
    response: ResponseOut | None = Field(description="Null: no answer came.")
    outcome: str = Field(description="What it came to.", examples=["refused"])
    detail: str
    decision: str = Field(description="What was done next.", examples=["retry"])
    reason: str = Field(description="Why that was done.")
    next_due_at: TimestampOut | None
    worker: str
    erased_at: TimestampOut | None = Field(
        description="When somebody had its response erased. Null: nobody has."
    )

    @classmethod
    def from_record(cls, attempt: Attempt) -> Self:
        """Show an attempt."""
        response = None if attempt.status is None else ResponseOut(**_response_fields(attempt))
        return cls(
            **_attempt_fields(attempt), request=RequestOut(**_request_fields(attempt)), response=response
        )


class AttemptDetailOut(AttemptOut):
    """One HTTP exchange for a delivery, with the bodies."""

    request: RequestDetailOut
    response: ResponseDetailOut | None

    @classmethod
    def from_details(cls, details: Told) -> Self:
        """Show an attempt with what went out and what came back."""
        attempt = details.attempt
        text, encoding = (None, None) if details.body is None else _encode_body(details.body)
        request = RequestDetailOut(
            **_request_fields(attempt),
            body=text,
            body_encoding=encoding,
            body_missing=details.body_unavailable,
        )
        response = None
        if attempt.status is not None:
            erased = attempt.erased_at is not None
            back, how = (None, None) if erased else _encode_body(attempt.response_body)
            response = ResponseDetailOut(**_response_fields(attempt), body=back, body_encoding=how)
        return cls(**_attempt_fields(attempt), request=request, response=response)


class AttemptList(ResponseModel):
    """Attempts, newest first, without bodies."""

    items: list[AttemptOut]
    next: NextCursor


class DeliveryDetailOut(DeliveryOut):
    """One event owed to one endpoint, with its newest attempts."""

    latest_attempts: list[AttemptOut] = Field(description="The newest 20, newest first, without bodies.")


def _attempt_fields(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": format_id(Prefix.ATTEMPT, attempt.id),
        "delivery_id": format_id(Prefix.DELIVERY, attempt.delivery_id),
        "event_id": format_id(Prefix.EVENT, attempt.event_id),
        "endpoint_id": format_id(Prefix.ENDPOINT, attempt.endpoint_id),
        "number": attempt.number,
        "started_at": attempt.started_at,
        "timings": TimingsOut.from_record(attempt.timings),
        "outcome": attempt.outcome,
        "detail": attempt.detail,
        "decision": attempt.decision,
        "reason": attempt.reason,
        "next_due_at": attempt.next_due_at,
        "worker": attempt.worker,
        "erased_at": attempt.erased_at,
    }


def _request_fields(attempt: Attempt) -> dict[str, Any]:
    return {
        "url": attempt.url,
        "address": attempt.address,
        "headers": attempt.request_headers,
        "body_sha256": attempt.body_sha256.hex(),
        "key_ids": list(attempt.key_ids),
    }


def _response_fields(attempt: Attempt) -> dict[str, Any]:
    return {
        "status": attempt.status,
        "headers": list(attempt.response_headers),
        "truncated": attempt.response_truncated,
    }


def _encode_body(body: bytes) -> tuple[str, Encoding]:
    try:
        return body.decode(), "text"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"


def _to_milliseconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration / timedelta(milliseconds=1)
