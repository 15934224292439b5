"""How an endpoint's health is shown, and what enabling it would let go."""

from datetime import timedelta
from typing import Self

from pydantic import Field

from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.stats.endpoint_stats import OwedDelivery, RecentAttempts
from delivery.schemas.base import ResponseModel, TimestampOut, example_id
from delivery.services.endpoints.health import EnablePreview, EndpointHealth
from retries.breaker import BreakerState
from retries.health import Hold


class PendingDeliveryOut(ResponseModel):
    """A delivery that is owed."""

    delivery_id: str = Field(examples=[example_id(Prefix.DELIVERY)])
    created_at: TimestampOut

    @classmethod
    def from_record(cls, delivery: OwedDelivery) -> Self:
        """Show a delivery that is owed."""
        return cls(delivery_id=format_id(Prefix.DELIVERY, delivery.id), created_at=delivery.created_at)


class BreakerOut(ResponseModel):
    """Where its circuit breaker stands."""

    state: BreakerState = Field(
        description="`closed`: all goes through; `open`: nothing does; `half_open`: one probe is on its way."
    )
    since: TimestampOut
    probe_at: TimestampOut | None = Field(
        description="When a probe goes, if anything is owed. Null: none is due."
    )
    openings: int = Field(description="How often in a row it has opened, without a full recovery between.")


class InFlightOut(ResponseModel):
    """How many of its deliveries are on their way, and how many may be."""

    now: int = Field(description="On their way, or claimed to be.")
    limit: int = Field(description="How many may be, as it answers now.")
    ramping: bool = Field(description="Whether the limit doubles with every round of good answers.")
    most: int = Field(description="The limit never becomes higher.")


class LatencyOut(ResponseModel):
    """How long attempts took, in milliseconds. Null: there was none."""

    p50: float | None
    p95: float | None
    p99: float | None


class LastHourOut(ResponseModel):
    """How the attempts of the last hour went: of the newest 10,000 at most."""

    attempts: int
    success_ratio: float | None = Field(description="From 0 to 1. Null: there was no attempt.")
    latency_ms: LatencyOut
    sampled: bool = Field(description="Whether there were more attempts than are counted here.")

    @classmethod
    def from_record(cls, recent: RecentAttempts) -> Self:
        """Show how it went."""
        return cls(
            attempts=recent.attempts,
            success_ratio=recent.success_ratio,
            latency_ms=LatencyOut(
                p50=_to_milliseconds(recent.p50),
                p95=_to_milliseconds(recent.p95),
                p99=_to_milliseconds(recent.p99),
            ),
            sampled=recent.sampled,
        )


class EndpointHealthOut(ResponseModel):
    """How an endpoint does, and what waits for it."""

    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    state: EndpointState
    state_reason: str | None
    state_actor: str | None
    state_changed_at: TimestampOut
    hold: Hold | None = Field(description="Why nothing goes out though it is due. Null: nothing holds it.")
    hold_until: TimestampOut | None = Field(description="Null: until something happens, or nothing holds it.")
    held: int = Field(description="Deliveries that are due and held.")
    oldest_held: PendingDeliveryOut | None
    waiting: int = Field(description="Deliveries that no worker has, also those whose time has not come.")
    breaker: BreakerOut
    in_flight: InFlightOut
    waits_until: TimestampOut | None = Field(description="Until when it asked us to wait (Retry-After).")
    failing_since: TimestampOut | None = Field(description="Since when it has only failed.")
    disabled_at: TimestampOut | None = Field(
        description="When it will be disabled if it only fails until then."
    )
    last_succeeded_at: TimestampOut | None
    last_failed_at: TimestampOut | None
    last_hour: LastHourOut

    @classmethod
    def from_record(cls, health: EndpointHealth) -> Self:
        """Show an endpoint's health."""
        endpoint, standing, known = health.endpoint, health.record, health.record.health
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
                state=known.breaker.state,
                since=known.breaker.since,
                probe_at=health.probe_at,
                openings=known.breaker.openings,
            ),
            in_flight=InFlightOut(
                now=standing.in_flight,
                limit=health.in_flight_limit,
                ramping=known.limit.ramping,
                most=health.max_in_flight,
            ),
            waits_until=known.waits_until,
            failing_since=known.failing_since,
            disabled_at=health.disabled_at,
            last_succeeded_at=known.last_succeeded_at,
            last_failed_at=known.last_failed_at,
            last_hour=LastHourOut.from_record(health.recent),
        )


class EnablePreviewOut(ResponseModel):
    """What enabling an endpoint would let go; nothing was changed."""

    endpoint_id: str = Field(examples=[example_id(Prefix.ENDPOINT)])
    state: EndpointState = Field(description="As it is now; enabling does nothing to an active one.")
    held: int = Field(description="Deliveries that would be let go.")
    oldest: PendingDeliveryOut | None
    newest: PendingDeliveryOut | None
    at_first: int = Field(description="How many would be in flight at first; doubles with good answers.")
    up_to: int = Field(description="How many may ever be in flight.")

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


def _to_milliseconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration / timedelta(milliseconds=1)
