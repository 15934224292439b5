"""An endpoint's health, and a preview of enabling it."""

from typing import Self

from pydantic import Field

from delivery.domain.durations import to_milliseconds
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.stats.endpoint_stats import OwedDelivery, RecentAttempts
from delivery.schemas.base import ResponseModel, TimestampOut, example_id
from delivery.services.endpoints.health import EnablePreview, EndpointHealth
from retries.breaker import BreakerState
from retries.health import Hold


class PendingDeliveryOut(ResponseModel):
    """A delivery that has not ended."""

    delivery_id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    created_at: TimestampOut

    @classmethod
    def from_record(cls, delivery: OwedDelivery) -> Self:
        """Show a pending delivery."""
        return cls(delivery_id=format_id(Prefix.DELIVERY, delivery.id), created_at=delivery.created_at)


class BreakerOut(ResponseModel):
    """The state of an endpoint's circuit breaker."""

    state: BreakerState = Field(
        description="`closed`: requests are sent; `open`: none are; `half_open`: one probe is in flight."
    )
    since: TimestampOut
    probe_at: TimestampOut | None = Field(description="When the next probe is sent. Null: none is scheduled.")
    openings: int = Field(description="How often it has opened in a row without a full recovery.")


class InFlightOut(ResponseModel):
    """The endpoint's deliveries in flight, and their limits."""

    now: int = Field(description="Deliveries in flight or claimed.")
    limit: int = Field(description="The current limit, adapted to its answers.")
    ramping: bool = Field(description="Whether the limit doubles with each round of successes.")
    most: int = Field(description="The maximum of the limit.")


class LatencyOut(ResponseModel):
    """Latency percentiles in milliseconds. Null: no attempts."""

    p50: float | None
    p95: float | None
    p99: float | None


class LastHourOut(ResponseModel):
    """Statistics of the last hour's attempts, of the newest 10,000 at most."""

    attempts: int
    success_ratio: float | None = Field(description="From 0 to 1. Null: no attempts.")
    latency_ms: LatencyOut
    sampled: bool = Field(description="Whether only the newest attempts were counted.")

    @classmethod
    def from_record(cls, recent: RecentAttempts) -> Self:
        """Show the statistics."""
        return cls(
            attempts=recent.attempts,
            success_ratio=recent.success_ratio,
            latency_ms=LatencyOut(
                p50=to_milliseconds(recent.p50),
                p95=to_milliseconds(recent.p95),
                p99=to_milliseconds(recent.p99),
            ),
            sampled=recent.sampled,
        )


class EndpointHealthOut(ResponseModel):
    """An endpoint's health and backlog."""

    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    state: EndpointState
    state_reason: str | None
    state_actor: str | None
    state_changed_at: TimestampOut
    hold: Hold | None = Field(description="Why due deliveries are not sent. Null: not held.")
    hold_until: TimestampOut | None = Field(description="Null: no fixed end, or not held.")
    held: int = Field(description="Deliveries that are due and held.")
    oldest_held: PendingDeliveryOut | None
    waiting: int = Field(description="Pending deliveries, due or not.")
    breaker: BreakerOut
    in_flight: InFlightOut
    waits_until: TimestampOut | None = Field(
        description="Until when the endpoint asked to wait (Retry-After)."
    )
    failing_since: TimestampOut | None = Field(description="Since when every attempt has failed.")
    disabled_at: TimestampOut | None = Field(
        description="When it is disabled unless an attempt succeeds before."
    )
    last_succeeded_at: TimestampOut | None
    last_failed_at: TimestampOut | None
    last_hour: LastHourOut

    @classmethod
    def from_record(cls, health: EndpointHealth) -> Self:
        """Show an endpoint's health."""
        endpoint, record, state = health.endpoint, health.record, health.record.health
        return cls(
            endpoint_id=format_id(Prefix.ENDPOINT, endpoint.id),
            state=endpoint.state,
            state_reason=endpoint.state_reason,
            state_actor=endpoint.state_actor,
            state_changed_at=endpoint.state_changed_at,
            hold=None if health.hold is None else health.hold.by,
            hold_until=None if health.hold is None else health.hold.until,
            held=health.held,
            oldest_held=_pending_delivery(health.oldest_held),
            waiting=health.waiting,
            breaker=BreakerOut(
                state=state.breaker.state,
                since=state.breaker.since,
                probe_at=health.probe_at,
                openings=state.breaker.openings,
            ),
            in_flight=InFlightOut(
                now=record.in_flight,
                limit=health.in_flight_limit,
                ramping=state.limit.ramping,
                most=health.max_in_flight,
            ),
            waits_until=state.waits_until,
            failing_since=state.failing_since,
            disabled_at=health.disabled_at,
            last_succeeded_at=state.last_succeeded_at,
            last_failed_at=state.last_failed_at,
            last_hour=LastHourOut.from_record(health.recent),
        )


class EnablePreviewOut(ResponseModel):
    """A preview of enabling an endpoint; nothing was changed."""

    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    state: EndpointState = Field(
        description="The current state. Enabling an active endpoint changes nothing."
    )
    held: int = Field(description="Deliveries that would be released.")
    oldest: PendingDeliveryOut | None
    newest: PendingDeliveryOut | None
    at_first: int = Field(description="The first limit of deliveries in flight; it doubles with successes.")
    up_to: int = Field(description="The highest limit of deliveries in flight.")

    @classmethod
    def from_record(cls, preview: EnablePreview) -> Self:
        """Show a preview."""
        return cls(
            endpoint_id=format_id(Prefix.ENDPOINT, preview.endpoint.id),
            state=preview.endpoint.state,
            held=preview.held,
            oldest=_pending_delivery(preview.oldest),
            newest=_pending_delivery(preview.newest),
            at_first=preview.initial_in_flight,
            up_to=preview.max_in_flight,
        )


def _pending_delivery(delivery: OwedDelivery | None) -> PendingDeliveryOut | None:
    return None if delivery is None else PendingDeliveryOut.from_record(delivery)
