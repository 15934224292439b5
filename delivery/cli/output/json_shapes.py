"""Records as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from delivery.endpoints import shown_limits
from delivery.model import Prefix, show_id
from delivery.moments import rfc3339
from delivery.retention import TENANTS_OWN
from delivery.scopes import in_order
from delivery.tracing import said_of

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.audit import Audited
    from delivery.deliveries import AttemptTold, EventHead, Numbers
    from delivery.endpoints import EnablePreview, EndpointHealth, NewSecret, Owed, Recent
    from delivery.ledger.messages import RefusedMessage
    from delivery.model import ApiKey, Attempt, Delivery, Endpoint, Held, SealedSecret, Tenant, Timings
    from delivery.people import Link, Person

Shape = dict[str, Any]
_MILLISECOND: Final = timedelta(milliseconds=1)


def tenant(one: Tenant) -> Shape:
    """A tenant."""
    return {
        "id": show_id(Prefix.TENANT, one.id),
        "name": one.name,
        "created_at": moment(one.created_at),
        "retention": {content: one.retention.get(content) for content in TENANTS_OWN},
    }


def key(one: ApiKey, **more: str) -> Shape:
    """A key, without the key itself unless it was just made."""
    return {
        "id": show_id(Prefix.KEY, one.id),
        "name": one.name,
        "hint": one.hint,
        "scopes": [str(scope) for scope in in_order(one.scopes)],
        "requests_per_second": one.requests_per_second,
        "created_at": moment(one.created_at),
        "expires_at": moment(one.expires_at),
        "revoked_at": moment(one.revoked_at),
        "last_used_at": moment(one.last_used_at),
        "replaced_by": None if one.replaced_by is None else show_id(Prefix.KEY, one.replaced_by),
        **more,
    }


def message(one: RefusedMessage) -> Shape:
    """A message that could not be accepted, with its body where that was asked for."""
    whole = (
        {}
        if one.body is None
        else {
            "body": one.body.decode(errors="replace"),
            "body_base64": base64.b64encode(one.body).decode(),
        }
    )
    return {
        "id": show_id(Prefix.MESSAGE, one.id),
        "tenant_id": None if one.tenant_id is None else show_id(Prefix.TENANT, one.tenant_id),
        "key_id": None if one.key_id is None else show_id(Prefix.KEY, one.key_id),
        "message_id": one.message_id,
        "publisher": one.publisher,
        "size": one.size,
        "reason": one.reason,
        "times": one.times,
        "first_at": moment(one.first_at),
        "last_at": moment(one.last_at),
        **whole,
    }


def person(one: Person) -> Shape:
    """Somebody who may sign in at the console."""
    return {
        "id": show_id(Prefix.PERSON, one.id),
        "email": one.email,
        "name": one.name,
        "role": one.role,
        "has_password": one.has_password,
        "created_at": moment(one.created_at),
        "disabled_at": moment(one.disabled_at),
    }


def portal_link(one: Link, *, url: str) -> Shape:
    """A portal link that was just made: the only time that it is told."""
    return {"url": url, "expires_at": moment(one.kept.expires_at), "role": one.kept.role}


def endpoint(one: Endpoint) -> Shape:
    """An endpoint; of its headers the names."""
    return {
        "id": show_id(Prefix.ENDPOINT, one.id),
        "url": one.url,
        "description": one.description,
        "filter": list(one.filter),
        "channels": list(one.channels),
        "condition": one.condition,
        "headers": dict.fromkeys(one.header_names, "***"),
        "auth": None if one.auth is None else dict(one.auth),
        "format": one.format,
        "payload": one.payload,
        "client_certificate": None if one.client_certificate is None else dict(one.client_certificate),
        "signature": one.signature,
        "schedule": None if one.schedule is None else [seconds(delay) for delay in one.schedule],
        "timeout_seconds": None if one.timeout is None else seconds(one.timeout),
        "operational": one.operational,
        **shown_limits(one.limits),
        "state": one.state,
        "state_reason": one.state_reason,
        "state_actor": one.state_actor,
        "state_changed_at": moment(one.state_changed_at),
        "created_at": moment(one.created_at),
        "updated_at": moment(one.updated_at),
    }


def endpoint_health(one: EndpointHealth) -> Shape:
    """How an endpoint does."""
    known, breaker = one.standing.health, one.standing.health.breaker
    return {
        "endpoint_id": show_id(Prefix.ENDPOINT, one.endpoint.id),
        "state": one.endpoint.state,
        "state_reason": one.endpoint.state_reason,
        "state_actor": one.endpoint.state_actor,
        "state_changed_at": moment(one.endpoint.state_changed_at),
        "hold": None if one.hold is None else one.hold.by,
        "hold_until": None if one.hold is None else moment(one.hold.until),
        "held": one.held,
        "oldest_held": owed(one.oldest_held),
        "waiting": one.waiting,
        "breaker": {
            "state": breaker.state,
            "since": moment(breaker.since),
            "probe_at": moment(one.probe_at),
            "openings": breaker.openings,
        },
        "in_flight": {
            "now": one.standing.in_flight,
            "limit": one.limit,
            "ramping": known.limit.ramping,
            "most": one.most,
        },
        "waits_until": moment(known.waits_until),
        "failing_since": moment(known.failing_since),
        "disabled_at": moment(one.disabled_at),
        "last_succeeded_at": moment(known.last_succeeded_at),
        "last_failed_at": moment(known.last_failed_at),
        "last_hour": _recent(one.recent),
    }


def enable_preview(one: EnablePreview) -> Shape:
    """What enabling an endpoint would let go."""
    return {
        "endpoint_id": show_id(Prefix.ENDPOINT, one.endpoint.id),
        "state": one.endpoint.state,
        "held": one.held,
        "oldest": owed(one.oldest),
        "newest": owed(one.newest),
        "at_first": one.at_first,
        "up_to": one.up_to,
    }


def owed(one: Owed | None) -> Shape | None:
    """A delivery that is owed."""
    if one is None:
        return None
    return {"delivery_id": show_id(Prefix.DELIVERY, one.id), "created_at": moment(one.created_at)}


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
        "tenant_id": show_id(Prefix.TENANT, head.tenant_id),
        "type": head.type,
        "channels": list(head.channels),
        "created_at": moment(head.created_at),
        "deliveries": head.matched,
        "erased_at": moment(head.erased_at),
    }


def delivery(one: Delivery) -> Shape:
    """A delivery."""
    return {
        "id": show_id(Prefix.DELIVERY, one.id),
        "tenant_id": show_id(Prefix.TENANT, one.tenant_id),
        "event_id": show_id(Prefix.EVENT, one.event_id),
        "event_type": one.event_type,
        "endpoint_id": show_id(Prefix.ENDPOINT, one.endpoint_id),
        "status": one.status,
        "reason": one.reason,
        "attempts": one.attempts,
        "outcome": one.outcome,
        "response": one.http_status,
        "sequence": one.sequence,
        "created_at": moment(one.created_at),
        "due_at": moment(one.due_at),
        "finished_at": moment(one.finished_at),
        "held": held(one.held),
    }


def numbered(numbers: Numbers) -> Shape:
    """What an endpoint was owed, in the order of its numbers; `next` is for `--after`."""
    return {
        "items": [
            {
                "sequence": one.sequence,
                "event_id": show_id(Prefix.EVENT, one.event_id),
                "event_type": one.event_type,
                "delivery_id": show_id(Prefix.DELIVERY, one.delivery_id),
                "status": one.status,
                "attempts": one.attempts,
                "created_at": moment(one.created_at),
                "finished_at": moment(one.finished_at),
            }
            for one in numbers.items
        ],
        "next": numbers.next,
        "earliest": numbers.earliest,
        "latest": numbers.latest,
    }


def audited(one: Audited) -> Shape:
    """An entry of the audit."""
    entry = one.entry
    return {
        "id": show_id(Prefix.AUDIT, one.id),
        "tenant_id": None if entry.whose is None else show_id(Prefix.TENANT, entry.whose),
        "at": moment(entry.at),
        "what": entry.what,
        "sentence": said_of(entry),
        "actor": entry.actor,
        "address": entry.address,
        "reason": entry.reason,
        "endpoint_id": None if entry.endpoint_id is None else show_id(Prefix.ENDPOINT, entry.endpoint_id),
        "delivery_id": None if entry.delivery_id is None else show_id(Prefix.DELIVERY, entry.delivery_id),
        "details": dict(entry.details),
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
        "erased_at": moment(one.erased_at),
    }


def attempt_told(told: AttemptTold) -> Shape:
    """An attempt with what went out and what came back."""
    one = told.attempt
    shape = attempt(one)
    shape["request"] |= _body(told.body) | {"body_missing": told.no_body}
    if shape["response"] is not None:
        shape["response"] |= _body(None if one.erased_at is not None else one.response_body)
    return shape


def page(items: list[Shape], prefix: Prefix, last: UUID | None) -> Shape:
    """A page of a list; `next` is for `--before`."""
    return {"items": items, "next": None if last is None else show_id(prefix, last)}


def event_told(head: EventHead, body: bytes | None) -> Shape:
    """An event with its body, byte for byte as the standard format sends it; None: it is gone."""
    return event(head) | {"body": None if body is None else msgspec.Raw(body)}


def moment(at: datetime | None) -> str | None:
    """Write a moment as `2026-11-22T18:27:00.123Z`."""
    return None if at is None else rfc3339(at)


def seconds(duration: timedelta) -> int | float:
    """Seconds as a person would write them: 5, not 5.0."""
    total = duration.total_seconds()
    return int(total) if total.is_integer() else total


def _recent(recent: Recent) -> Shape:
    taken = {"p50": recent.p50, "p95": recent.p95, "p99": recent.p99}
    return {
        "attempts": recent.attempts,
        "success_ratio": recent.success_ratio,
        "latency_ms": {name: None if t is None else t / _MILLISECOND for name, t in taken.items()},
        "sampled": recent.sampled,
    }


def held(one: Held | None) -> Shape | None:
    """What holds deliveries back; None: nothing does."""
    if one is None:
        return None
    return {
        "by": one.by,
        "since": moment(one.since),
        "until": moment(one.until),
        "reason": one.reason,
    }


def _timings(timings: Timings) -> Shape:
    steps = ("dns", "connect", "tls", "first_byte", "total")
    taken = {step: getattr(timings, step) for step in steps}
    return {f"{s}_ms": None if t is None else t / _MILLISECOND for s, t in taken.items()}


def _body(content: bytes | None) -> Shape:
    if content is None:
        return {"body": None, "body_encoding": None}
    try:
        return {"body": content.decode(), "body_encoding": "text"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(content).decode(), "body_encoding": "base64"}
