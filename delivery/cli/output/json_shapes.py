"""Records as JSON documents, under the same names as in the HTTP API. Pure."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from delivery.domain.durations import format_rfc3339
from delivery.domain.ids import Prefix, format_id
from delivery.domain.retention import TENANT_CONFIGURABLE
from delivery.domain.scopes import sort_scopes
from delivery.services.endpoints.limits import serialize_limits
from delivery.services.sentences import describe_entry

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.domain.accounts import User
    from delivery.domain.api_key import ApiKey
    from delivery.domain.attempt import Attempt, Timings
    from delivery.domain.delivery import ActiveHold, Delivery
    from delivery.domain.endpoint import Endpoint, SealedSecret
    from delivery.domain.tenant import Tenant
    from delivery.ledger.records.audit import AuditRecord
    from delivery.ledger.records.dead_letters import DeadLetter
    from delivery.ledger.records.events import EventSummary
    from delivery.ledger.search.sequences import SequencePage
    from delivery.ledger.stats.endpoint_stats import OwedDelivery, RecentAttempts
    from delivery.services.accounts.portal_links import CreatedPortalLink
    from delivery.services.deliveries import AttemptDetails
    from delivery.services.endpoints.health import EnablePreview, EndpointHealth
    from delivery.services.endpoints.sealing import CreatedSecret

Shape = dict[str, Any]
_MILLISECOND: Final = timedelta(milliseconds=1)


def tenant(one: Tenant) -> Shape:
    """A tenant."""
    return {
        "id": format_id(Prefix.TENANT, one.id),
        "name": one.name,
        "created_at": moment(one.created_at),
        "retention": {content: one.retention.get(content) for content in TENANT_CONFIGURABLE},
    }


def key(one: ApiKey, **more: str) -> Shape:
    """A key, without the key itself unless it was just made."""
    return {
        "id": format_id(Prefix.KEY, one.id),
        "name": one.name,
        "hint": one.hint,
        "scopes": [str(scope) for scope in sort_scopes(one.scopes)],
        "requests_per_second": one.requests_per_second,
        "created_at": moment(one.created_at),
        "expires_at": moment(one.expires_at),
        "revoked_at": moment(one.revoked_at),
        "last_used_at": moment(one.last_used_at),
        "replaced_by": None if one.replaced_by is None else format_id(Prefix.KEY, one.replaced_by),
        **more,
    }


def message(one: DeadLetter) -> Shape:
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
        "id": format_id(Prefix.MESSAGE, one.id),
        "tenant_id": None if one.tenant_id is None else format_id(Prefix.TENANT, one.tenant_id),
        "key_id": None if one.key_id is None else format_id(Prefix.KEY, one.key_id),
        "message_id": one.message_id,
        "publisher": one.publisher,
        "size": one.size,
        "reason": one.reason,
        "times": one.times,
        "first_at": moment(one.first_at),
        "last_at": moment(one.last_at),
        **whole,
    }


def person(one: User) -> Shape:
    """Somebody who may sign in at the console."""
    return {
        "id": format_id(Prefix.USER, one.id),
        "email": one.email,
        "name": one.name,
        "role": one.role,
        "has_password": one.has_password,
        "created_at": moment(one.created_at),
        "disabled_at": moment(one.disabled_at),
    }


def portal_link(one: CreatedPortalLink, *, url: str) -> Shape:
    """A portal link that was just made: the only time that it is told."""
    return {"url": url, "expires_at": moment(one.link.expires_at), "role": one.link.role}


def endpoint(one: Endpoint) -> Shape:
    """An endpoint; of its headers the names."""
    return {
        "id": format_id(Prefix.ENDPOINT, one.id),
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
        **serialize_limits(one.limits),
        "state": one.state,
        "state_reason": one.state_reason,
        "state_actor": one.state_actor,
        "state_changed_at": moment(one.state_changed_at),
        "created_at": moment(one.created_at),
        "updated_at": moment(one.updated_at),
    }


def endpoint_health(one: EndpointHealth) -> Shape:
    """How an endpoint does."""
    known, breaker = one.record.health, one.record.health.breaker
    return {
        "endpoint_id": format_id(Prefix.ENDPOINT, one.endpoint.id),
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
            "now": one.record.in_flight,
            "limit": one.in_flight_limit,
            "ramping": known.limit.ramping,
            "most": one.max_in_flight,
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
        "endpoint_id": format_id(Prefix.ENDPOINT, one.endpoint.id),
        "state": one.endpoint.state,
        "held": one.held,
        "oldest": owed(one.oldest),
        "newest": owed(one.newest),
        "at_first": one.initial_in_flight,
        "up_to": one.max_in_flight,
    }


def owed(one: OwedDelivery | None) -> Shape | None:
    """A delivery that is owed."""
    if one is None:
        return None
    return {"delivery_id": format_id(Prefix.DELIVERY, one.id), "created_at": moment(one.created_at)}


def secret(one: SealedSecret) -> Shape:
    """A secret, without the secret itself."""
    return {
        "id": format_id(Prefix.SECRET, one.id),
        "key_id": one.key_id,
        "signature": one.signature,
        "public_key": one.public_key,
        "created_at": moment(one.created_at),
        "not_after": moment(one.not_after),
    }


def new_secret(made: CreatedSecret) -> Shape:
    """A secret that was just made: the only time that it is told."""
    return secret(made.secret) | {"secret": made.text}


def event(head: EventSummary) -> Shape:
    """An event, without its body."""
    return {
        "id": format_id(Prefix.EVENT, head.id),
        "tenant_id": format_id(Prefix.TENANT, head.tenant_id),
        "type": head.type,
        "channels": list(head.channels),
        "created_at": moment(head.created_at),
        "deliveries": head.matched,
        "erased_at": moment(head.erased_at),
    }


def delivery(one: Delivery) -> Shape:
    """A delivery."""
    return {
        "id": format_id(Prefix.DELIVERY, one.id),
        "tenant_id": format_id(Prefix.TENANT, one.tenant_id),
        "event_id": format_id(Prefix.EVENT, one.event_id),
        "event_type": one.event_type,
        "endpoint_id": format_id(Prefix.ENDPOINT, one.endpoint_id),
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


def numbered(numbers: SequencePage) -> Shape:
    """What an endpoint was owed, in the order of its numbers; `next` is for `--after`."""
    return {
        "items": [
            {
                "sequence": one.sequence,
                "event_id": format_id(Prefix.EVENT, one.event_id),
                "event_type": one.event_type,
                "delivery_id": format_id(Prefix.DELIVERY, one.delivery_id),
                "status": one.status,
                "attempts": one.attempts,
                "created_at": moment(one.created_at),
                "finished_at": moment(one.finished_at),
            }
            for one in numbers.items
        ],
        "next": numbers.next_sequence,
        "earliest": numbers.earliest,
        "latest": numbers.latest,
    }


def audited(one: AuditRecord) -> Shape:
    """An entry of the audit."""
    entry = one.entry
    return {
        "id": format_id(Prefix.AUDIT, one.id),
        "tenant_id": None if entry.owner is None else format_id(Prefix.TENANT, entry.owner),
        "at": moment(entry.at),
        "what": entry.action,
        "sentence": describe_entry(entry),
        "actor": entry.actor,
        "address": entry.address,
        "reason": entry.reason,
        "endpoint_id": None if entry.endpoint_id is None else format_id(Prefix.ENDPOINT, entry.endpoint_id),
        "delivery_id": None if entry.delivery_id is None else format_id(Prefix.DELIVERY, entry.delivery_id),
        "details": dict(entry.details),
    }


def attempt(one: Attempt) -> Shape:
    """An attempt, without bodies."""
    answered = {"status": one.status, "headers": one.response_headers, "truncated": one.response_truncated}
    return {
        "id": format_id(Prefix.ATTEMPT, one.id),
        "delivery_id": format_id(Prefix.DELIVERY, one.delivery_id),
        "event_id": format_id(Prefix.EVENT, one.event_id),
        "endpoint_id": format_id(Prefix.ENDPOINT, one.endpoint_id),
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


def attempt_told(told: AttemptDetails) -> Shape:
    """An attempt with what went out and what came back."""
    one = told.attempt
    shape = attempt(one)
    shape["request"] |= _body(told.body) | {"body_missing": told.body_unavailable}
    if shape["response"] is not None:
        shape["response"] |= _body(None if one.erased_at is not None else one.response_body)
    return shape


def page(items: list[Shape], prefix: Prefix, last: UUID | None) -> Shape:
    """A page of a list; `next` is for `--before`."""
    return {"items": items, "next": None if last is None else format_id(prefix, last)}


def event_told(head: EventSummary, body: bytes | None) -> Shape:
    """An event with its body, byte for byte as the standard format sends it; None: it is gone."""
    return event(head) | {"body": None if body is None else msgspec.Raw(body)}


def moment(at: datetime | None) -> str | None:
    """Write a moment as `2026-11-22T18:27:00.123Z`."""
    return None if at is None else format_rfc3339(at)


def seconds(duration: timedelta) -> int | float:
    """Seconds as a person would write them: 5, not 5.0."""
    total = duration.total_seconds()
    return int(total) if total.is_integer() else total


def _recent(recent: RecentAttempts) -> Shape:
    taken = {"p50": recent.p50, "p95": recent.p95, "p99": recent.p99}
    return {
        "attempts": recent.attempts,
        "success_ratio": recent.success_ratio,
        "latency_ms": {name: None if t is None else t / _MILLISECOND for name, t in taken.items()},
        "sampled": recent.sampled,
    }


def held(one: ActiveHold | None) -> Shape | None:
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
