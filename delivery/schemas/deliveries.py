"""Deliveries and attempts."""

import base64
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from delivery.domain.attempt import Attempt, BodyUnavailable, Timings
from delivery.domain.delivery import ActiveHold, Delivery, DeliveryStatus
from delivery.domain.durations import to_milliseconds
from delivery.domain.ids import Prefix, format_id
from delivery.schemas.base import NextCursor, RequestModel, ResponseModel, TimestampOut, example_id
from delivery.services.deliveries import AttemptDetails
from retries.health import Hold

Encoding = Literal["text", "base64"]


class HeldOut(ResponseModel):
    """Why a due delivery is held."""

    by: Hold = Field(description="The endpoint's condition that holds it.")
    since: TimestampOut | None = Field(description="Since when. Null: unknown.")
    until: TimestampOut | None = Field(description="When it ends without intervention. Null: it does not.")
    reason: str | None = Field(description="The reason given for the pause or the disabling.")

    @classmethod
    def from_record(cls, held: ActiveHold) -> Self:
        """Show a hold."""
        return cls(by=held.by, since=held.since, until=held.until, reason=held.reason)


class DeliveryOut(ResponseModel):
    """One event owed to one endpoint."""

    id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    tenant_id: str = Field(examples=[example_id(Prefix.TENANT)])
    event_id: str = Field(examples=[example_id(Prefix.EVENT)], description="Also the `webhook-id`.")
    event_type: str = Field(examples=["order.created"])
    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    status: DeliveryStatus
    reason: str | None = Field(description="Why it has this status.")
    attempts: int = Field(description="Number of attempts made.")
    outcome: str | None = Field(description="Outcome of the last attempt. Null: there was none.")
    response: int | None = Field(description="HTTP status of the last attempt. Null: no response.")
    sequence: int | None = Field(description="Its sequence number at the endpoint. Null: not sent yet.")
    created_at: TimestampOut
    due_at: TimestampOut | None = Field(description="When it is attempted next. Null: it has ended.")
    finished_at: TimestampOut | None
    held: HeldOut | None = Field(description="What holds it although it is due. Null: not held, or not due.")

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
    """A number of matches."""

    count: int
    exact: bool = Field(description="False: an estimate, since an exact count would be too expensive.")


class DeliveryList(ResponseModel):
    """Deliveries, in the requested order."""

    items: list[DeliveryOut]
    next: NextCursor


class DeliveryReplayIn(RequestModel):
    """Options for replaying one delivery."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The receiver lost it"}]})

    reason: str | None = None
    hold: bool = Field(
        default=False, description="Accept it for a paused or disabled endpoint too; it is held."
    )


class TimingsOut(ResponseModel):
    """Durations in milliseconds. Null: the phase did not happen, or was not measured."""

    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None

    @classmethod
    def from_record(cls, timings: Timings) -> Self:
        """Show timings."""
        return cls(
            dns_ms=to_milliseconds(timings.dns),
            connect_ms=to_milliseconds(timings.connect),
            tls_ms=to_milliseconds(timings.tls),
            first_byte_ms=to_milliseconds(timings.first_byte),
            total_ms=to_milliseconds(timings.total),
        )


class RequestOut(ResponseModel):
    """The request of an attempt."""

    url: str
    address: str | None = Field(description="The IP address that was dialled.", examples=["203.0.113.7"])
    headers: Mapping[str, str] = Field(description="Values that may be secret are redacted.")
    body_sha256: str = Field(description="Hexadecimal SHA-256 of the signed body.")
    key_ids: list[str] = Field(description="`key_id` of each secret that signed it.")


class RequestDetailOut(RequestOut):
    """The request of an attempt, with its body."""

    body: str | None = Field(description="The body that was sent. Null: see `body_missing`.")
    body_encoding: Encoding | None
    body_missing: BodyUnavailable | None = Field(
        description="`not_kept`: it was erased, or its retention period is over. `another_shape`: it was "
        "built with settings that have changed since; only its hash, `body_sha256`, is stored."
    )


class ResponseOut(ResponseModel):
    """The response to an attempt."""

    status: int
    headers: list[tuple[str, str]]
    truncated: bool = Field(description="Whether the stored body is cut.")


class ResponseDetailOut(ResponseOut):
    """The response to an attempt, with its body."""

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
    response: ResponseOut | None = Field(description="Null: there was no response.")
    outcome: str = Field(description="The attempt's outcome.", examples=["refused"])
    detail: str
    decision: str = Field(description="What happened next.", examples=["retry"])
    reason: str = Field(description="Why it was decided.")
    next_due_at: TimestampOut | None
    worker: str
    erased_at: TimestampOut | None = Field(description="When its response was erased. Null: it was not.")

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
    def from_details(cls, details: AttemptDetails) -> Self:
        """Show an attempt with its bodies."""
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
    """A delivery with its newest attempts."""

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
