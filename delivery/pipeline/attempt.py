"""From an exchange to what is written down: the attempt, and what follows for the delivery. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from delivery.dispatch.judging import Ended
from delivery.ledger.recording import Again, Final, Result
from delivery.model import Attempt, AttemptId, DeliveryStatus
from retries.health import Sign
from retries.outcome import describe, name_of
from retries.policy import (
    DisableEndpoint,
    GiveUp,
    HandBack,
    RetryAt,
    Succeed,
    name_of_decision,
    signal_of,
    wait_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.dispatch.destinations import Destination
    from delivery.formats import Shaped
    from delivery.ledger.claiming import Work
    from delivery.model import ClaimId
    from delivery.transport import Exchange
    from retries.policy import Decision
    from signing import SignedHeaders

SEQUENCE_HEADER = "waybill-sequence"
TRACE_HEADER = "traceparent"
ALWAYS_SENT = {"content-type": "application/json", "user-agent": "Waybill/0.1"}


@dataclass(frozen=True, slots=True)
class Sent:
    """One delivery as it went out: under which claim, with which signature, at what time, by whom."""

    work: Work
    claim_id: ClaimId
    attempt_id: AttemptId
    signed: SignedHeaders
    shaped: Shaped
    started_at: datetime
    worker: str
    traceparent: str | None = None

    def headers(self, destination: Destination) -> dict[str, str]:
        """Every header of ours that goes to the endpoint."""
        return {**ALWAYS_SENT, **destination.headers, **self._own_headers()}

    def shown_headers(self, destination: Destination) -> Mapping[str, str]:
        """The same with what may be secret left out, for the ledger."""
        return {**ALWAYS_SENT, **destination.shown_headers, **self._own_headers()}

    @property
    def body_sha256(self) -> bytes:
        """Of the bytes that were signed and sent; those of the envelope itself are known."""
        if self.shaped.body is self.work.body:
            return self.work.body_sha256
        return hashlib.sha256(self.shaped.body).digest()

    def _own_headers(self) -> dict[str, str]:
        own = {**self.shaped.headers, **self.signed.headers(), SEQUENCE_HEADER: str(self.work.sequence)}
        return own if self.traceparent is None else own | {TRACE_HEADER: self.traceparent}


def ended(
    sent: Sent, destination: Destination, exchange: Exchange, decision: Decision, *, now: datetime
) -> Ended:
    """Say what the exchange came to, what follows, and what it tells of the endpoint."""
    follows = _what_follows(decision, step=sent.work.step, now=now)
    attempt = Attempt(
        id=sent.attempt_id,
        delivery_id=sent.work.delivery_id,
        tenant_id=sent.work.tenant_id,
        endpoint_id=sent.work.endpoint_id,
        event_id=sent.work.event_id,
        number=sent.work.attempts + 1,
        claimed_at=sent.work.claimed_at,
        started_at=sent.started_at,
        timings=exchange.timings,
        url=destination.url,
        address=exchange.address,
        request_headers=sent.shown_headers(destination),
        body_sha256=sent.body_sha256,
        key_ids=sent.signed.key_ids,
        status=exchange.status,
        response_headers=exchange.headers,
        response_body=exchange.body,
        response_truncated=exchange.body_truncated,
        outcome=name_of(exchange.outcome),
        detail=describe(exchange.outcome),
        decision=name_of_decision(decision),
        reason=decision.reason,
        next_due_at=follows.due_at if isinstance(follows, Again) else None,
        worker=sent.worker,
    )
    return Ended(
        Result(sent.claim_id, attempt, follows),
        Sign(
            signal_of(exchange.outcome, took=now - sent.started_at, limit=destination.timeout),
            started_at=sent.started_at,
            at=now,
            wait=wait_of(exchange.outcome),
        ),
        destination.terms,
        operational=destination.operational,
        disable=decision.reason if isinstance(decision, DisableEndpoint) else None,
        lane=sent.work.lane,
    )


def _what_follows(decision: Decision, *, step: int, now: datetime) -> Final | Again:
    match decision:
        case Succeed(reason=reason):
            return Final(DeliveryStatus.SUCCEEDED, reason, now)
        case GiveUp(reason=reason) | DisableEndpoint(reason=reason):
            return Final(DeliveryStatus.FAILED, reason, now)
        case RetryAt(at=at):
            return Again(at, step + 1)
        case HandBack(after=after):
            return Again(now + after, step)
        case _:
            assert_never(decision)
