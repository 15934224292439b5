"""Records as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.deliveries import EventHead
    from delivery.endpoints import NewSecret
    from delivery.model import ApiKey, Attempt, Delivery, Endpoint, SealedSecret, Tenant, Timings

Shape = dict[str, Any]


def tenant(one: Tenant) -> Shape:
    """A tenant."""
    return {"id": show_id(Prefix.TENANT, one.id), "name": one.name, "created_at": moment(one.created_at)}


def key(one: ApiKey, **more: str) -> Shape:
    """A key, without the key itself unless it was just made."""
    return {
        "id": show_id(Prefix.KEY, one.id),
        "name": one.name,
        "hint": one.hint,
        "created_at": moment(one.created_at),
        "revoked_at": moment(one.revoked_at),
        **more,
    }


def endpoint(one: Endpoint) -> Shape:
    """An endpoint; of its headers the names."""
    return {
        "id": show_id(Prefix.ENDPOINT, one.id),
        "url": one.url,
        "description": one.description,
        "filter": list(one.filter),
        "headers": dict.fromkeys(one.header_names, "***"),
        "signature": one.signature,
        "schedule": None if one.schedule is None else [seconds(delay) for delay in one.schedule],
        "timeout_seconds": None if one.timeout is None else seconds(one.timeout),
        "state": one.state,
        "state_reason": one.state_reason,
        "state_changed_at": moment(one.state_changed_at),
        "created_at": moment(one.created_at),
        "updated_at": moment(one.updated_at),
    }


def secret(one: SealedSecret) -> Shape:
    """A secret, without the secret itself."""
    return {
        "id": show_id(Prefix.SECRET, one.id),
        "key_id": one.key_id,
        "signature": one.signature,
        "public_key": one.public_key,
        "created_at": moment(one.created_at),
        "not_after": moment(one.not_after),
    }


def new_secret(made: NewSecret) -> Shape:
    """A secret that was just made: the only time that it is told."""
    return secret(made.kept) | {"secret": made.text}


def event(head: EventHead) -> Shape:
    """An event, without its body."""
    return {
        "id": show_id(Prefix.EVENT, head.id),
        "type": head.type,
        "created_at": moment(head.created_at),
        "deliveries": head.matched,
    }


def delivery(one: Delivery) -> Shape:
    """A delivery."""
    return {
        "id": show_id(Prefix.DELIVERY, one.id),
        "event_id": show_id(Prefix.EVENT, one.event_id),
        "event_type": one.event_type,
        "endpoint_id": show_id(Prefix.ENDPOINT, one.endpoint_id),
        "status": one.status,
        "reason": one.reason,
        "attempts": one.attempts,
        "created_at": moment(one.created_at),
        "due_at": moment(one.due_at),
        "finished_at": moment(one.finished_at),
    }


def attempt(one: Attempt) -> Shape:
    """An attempt, without bodies."""
    answered = {"status": one.status, "headers": one.response_headers, "truncated": one.response_truncated}
    return {
        "id": show_id(Prefix.ATTEMPT, one.id),
        "delivery_id": show_id(Prefix.DELIVERY, one.delivery_id),
        "event_id": show_id(Prefix.EVENT, one.event_id),
        "endpoint_id": show_id(Prefix.ENDPOINT, one.endpoint_id),
        "number": one.number,
        "started_at": moment(one.started_at),
        "timings": _timings(one.timings),
        "request": {
            "url": one.url,
            "address": one.address,
            "headers": dict(one.request_headers),
            "body_sha256": one.body_sha256.hex(),
            "key_ids": list(one.key_ids),
        },
        "response": None if one.status is None else answered,
        "outcome": one.outcome,
        "detail": one.detail,
        "decision": one.decision,
        "reason": one.reason,
        "next_due_at": moment(one.next_due_at),
        "worker": one.worker,
    }


def attempt_told(one: Attempt, sent: bytes | None) -> Shape:
    """An attempt with what went out and what came back."""
    shape = attempt(one)
    shape["request"] |= {"body": None, "body_encoding": None} if sent is None else _body(sent)
    if shape["response"] is not None:
        shape["response"] |= _body(one.response_body)
    return shape


def page(items: list[Shape], prefix: Prefix, last: UUID | None) -> Shape:
    """A page of a list; `next` is for `--before`."""
    return {"items": items, "next": None if last is None else show_id(prefix, last)}


def event_told(head: EventHead, body: bytes) -> Shape:
    """An event with its body, byte for byte as every receiver gets it."""
    return event(head) | {"body": msgspec.Raw(body)}


def moment(at: datetime | None) -> str | None:
    """Write a moment as `2026-11-22T18:27:00.123Z`."""
    if at is None:
        return None
    utc = at.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"


def seconds(duration: timedelta) -> int | float:
    """Seconds as a person would write them: 5, not 5.0."""
    total = duration.total_seconds()
    return int(total) if total.is_integer() else total


def _timings(timings: Timings) -> Shape:
    steps = ("dns", "connect", "tls", "first_byte", "total")
    taken = {step: getattr(timings, step) for step in steps}
    return {f"{s}_ms": None if t is None else t / timedelta(milliseconds=1) for s, t in taken.items()}


def _body(content: bytes) -> Shape:
    try:
        return {"body": content.decode(), "body_encoding": "text"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(content).decode(), "body_encoding": "base64"}
