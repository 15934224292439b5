"""Builds the record of an attempt, and what follows for its delivery, from an exchange. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from delivery.domain.attempt import Attempt
from delivery.domain.delivery import DeliveryStatus
from delivery.ledger.queue.results import DeliveryFinished, DeliveryRescheduled, RecordedAttempt
from delivery.pipeline.health_update import FinishedAttempt
from retries.health import HealthSample
from retries.outcome import describe_outcome, label_outcome
from retries.policy import (
    DisableEndpoint,
    GiveUp,
    HandBack,
    RetryAt,
    Succeed,
    classify_health_signal,
    get_requested_wait,
    label_decision,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.destinations.http.destination import Destination
    from delivery.destinations.http.exchange import Exchange
    from delivery.domain.formats import FormattedPayload
    from delivery.domain.ids import AttemptId, ClaimId
    from delivery.ledger.queue.claims import ClaimedDelivery
    from retries.policy import Decision
    from signing import SignedHeaders

SEQUENCE_HEADER = "waybill-sequence"
TRACE_HEADER = "traceparent"
DEFAULT_HEADERS = {"content-type": "application/json", "user-agent": "Waybill/0.1"}


@dataclass(frozen=True, slots=True)
class SentDelivery:
    """One delivery as it was sent: its claim, its signature, its payload, and when and by which worker."""

    work: ClaimedDelivery
    claim_id: ClaimId
    attempt_id: AttemptId
    signed_headers: SignedHeaders
    payload: FormattedPayload
    started_at: datetime
    worker: str
    traceparent: str | None = None

    def build_headers(self, destination: Destination) -> dict[str, str]:
        """Build all headers that are sent to the endpoint."""
        return {**DEFAULT_HEADERS, **destination.headers, **self._build_own_headers()}

    def build_redacted_headers(self, destination: Destination) -> Mapping[str, str]:
        """Build the headers without possible secrets, for the ledger."""
        return {**DEFAULT_HEADERS, **destination.redacted_headers, **self._build_own_headers()}

    @property
    def body_sha256(self) -> bytes:
        """The hash of the bytes that were signed and sent; the envelope's own hash is stored."""
        if self.payload.body is self.work.body:
            return self.work.body_sha256
        return hashlib.sha256(self.payload.body).digest()

    def _build_own_headers(self) -> dict[str, str]:
        headers = {
            **self.payload.headers,
            **self.signed_headers.to_dict(),
            SEQUENCE_HEADER: str(self.work.sequence),
        }
        return headers if self.traceparent is None else headers | {TRACE_HEADER: self.traceparent}


def finish_attempt(
    sent: SentDelivery, destination: Destination, exchange: Exchange, decision: Decision, *, now: datetime
) -> FinishedAttempt:
    """Build the attempt's record, the delivery's next state, and the sample of the endpoint's health."""
    next_state = _plan_next_step(decision, step=sent.work.step, now=now)
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
        request_headers=sent.build_redacted_headers(destination),
        body_sha256=sent.body_sha256,
        key_ids=sent.signed_headers.key_ids,
        status=exchange.status,
        response_headers=exchange.headers,
        response_body=exchange.body,
        response_truncated=exchange.body_truncated,
        outcome=label_outcome(exchange.outcome),
        detail=describe_outcome(exchange.outcome),
        decision=label_decision(decision),
        reason=decision.reason,
        next_due_at=next_state.due_at if isinstance(next_state, DeliveryRescheduled) else None,
        worker=sent.worker,
    )
    return FinishedAttempt(
        RecordedAttempt(sent.claim_id, attempt, next_state),
        HealthSample(
            classify_health_signal(exchange.outcome, took=now - sent.started_at, timeout=destination.timeout),
            started_at=sent.started_at,
            ended_at=now,
            requested_wait=get_requested_wait(exchange.outcome),
        ),
        destination.health_config,
        operational=destination.operational,
        disable_reason=decision.reason if isinstance(decision, DisableEndpoint) else None,
        priority=sent.work.priority,
    )


def _plan_next_step(
    decision: Decision, *, step: int, now: datetime
) -> DeliveryFinished | DeliveryRescheduled:
    match decision:
        case Succeed(reason=reason):
            return DeliveryFinished(DeliveryStatus.SUCCEEDED, reason, now)
        case GiveUp(reason=reason) | DisableEndpoint(reason=reason):
            return DeliveryFinished(DeliveryStatus.FAILED, reason, now)
        case RetryAt(at=at):
            return DeliveryRescheduled(at, step + 1)
        case HandBack(delay=delay):
            return DeliveryRescheduled(now + delay, step)
        case _:
            assert_never(decision)
