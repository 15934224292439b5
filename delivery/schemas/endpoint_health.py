"""How an endpoint's health is shown, and what enabling it would let go."""

from datetime import timedelta
from typing import Self

from pydantic import Field

from delivery.api.shapes import Moment, Shown, example
from delivery.endpoints import EnablePreview, EndpointHealth, Owed, Recent
from delivery.model import EndpointState, Prefix, show_id
from retries.breaker import BreakerState
from retries.health import Hold


class OwedOut(Shown):
    """A delivery that is owed."""

    delivery_id: str = Field(examples=[example(Prefix.DELIVERY)])
    created_at: Moment

    @classmethod
    def of(cls, owed: Owed) -> Self:
        """Show a delivery that is owed."""
        return cls(delivery_id=show_id(Prefix.DELIVERY, owed.id), created_at=owed.created_at)


class BreakerOut(Shown):
    """Where its circuit breaker stands."""

    state: BreakerState = Field(
        description="`closed`: all goes through; `open`: nothing does; `half_open`: one probe is on its way."
    )
    since: Moment
    probe_at: Moment | None = Field(description="When a probe goes, if anything is owed. Null: none is due.")
    openings: int = Field(description="How often in a row it has opened, without a full recovery between.")


class InFlightOut(Shown):
    """How many of its deliveries are on their way, and how many may be."""

    now: int = Field(description="On their way, or claimed to be.")
    limit: int = Field(description="How many may be, as it answers now.")
    ramping: bool = Field(description="Whether the limit doubles with every round of good answers.")
    most: int = Field(description="The limit never becomes higher.")


class LatencyOut(Shown):
    """How long attempts took, in milliseconds. Null: there was none."""

    p50: float | None
    p95: float | None
    p99: float | None


class LastHourOut(Shown):
    """How the attempts of the last hour went: of the newest 10,000 at most."""

    attempts: int
    success_ratio: float | None = Field(description="From 0 to 1. Null: there was no attempt.")
    latency_ms: LatencyOut
    sampled: bool = Field(description="Whether there were more attempts than are counted here.")

    @classmethod
    def of(cls, recent: Recent) -> Self:
        """Show how it went."""
        return cls(
            attempts=recent.attempts,
            success_ratio=recent.success_ratio,
            latency_ms=LatencyOut(p50=_ms(recent.p50), p95=_ms(recent.p95), p99=_ms(recent.p99)),
            sampled=recent.sampled,
        )


class EndpointHealthOut(Shown):
    """How an endpoint does, and what waits for it."""

    endpoint_id: str = Field(examples=[example(Prefix.ENDPOINT)])
    state: EndpointState
    state_reason: str | None
    state_actor: str | None
    state_changed_at: Moment
    hold: Hold | None = Field(description="Why nothing goes out though it is due. Null: nothing holds it.")
    hold_until: Moment | None = Field(description="Null: until something happens, or nothing holds it.")
    held: int = Field(description="Deliveries that are due and held.")
    oldest_held: OwedOut | None
    waiting: int = Field(description="Deliveries that no worker has, also those whose time has not come.")
    breaker: BreakerOut
    in_flight: InFlightOut
    waits_until: Moment | None = Field(description="Until when it asked us to wait (Retry-After).")
    failing_since: Moment | None = Field(description="Since when it has only failed.")
    disabled_at: Moment | None = Field(description="When it will be disabled if it only fails until then.")
    last_succeeded_at: Moment | None
    last_failed_at: Moment | None
    last_hour: LastHourOut

    @classmethod
    def of(cls, health: EndpointHealth) -> Self:
        """Show an endpoint's health."""
        endpoint, standing, known = health.endpoint, health.standing, health.standing.health
        return cls(
            endpoint_id=show_id(Prefix.ENDPOINT, endpoint.id),
            state=endpoint.state,
            state_reason=endpoint.state_reason,
            state_actor=endpoint.state_actor,
            state_changed_at=endpoint.state_changed_at,
            hold=None if health.hold is None else health.hold.by,
            hold_until=None if health.hold is None else health.hold.until,
            held=health.held,
            oldest_held=_owed(health.oldest_held),
            waiting=health.waiting,
            breaker=BreakerOut(
                state=known.breaker.state,
                since=known.breaker.since,
                probe_at=health.probe_at,
                openings=known.breaker.openings,
            ),
            in_flight=InFlightOut(
                now=standing.in_flight, limit=health.limit, ramping=known.limit.ramping, most=health.most
            ),
            waits_until=known.waits_until,
            failing_since=known.failing_since,
            disabled_at=health.disabled_at,
            last_succeeded_at=known.last_succeeded_at,
            last_failed_at=known.last_failed_at,
            last_hour=LastHourOut.of(health.recent),
        )


class EnablePreviewOut(Shown):
    """What enabling an endpoint would let go; nothing was changed."""

    endpoint_id: str = Field(examples=[example(Prefix.ENDPOINT)])
    state: EndpointState = Field(description="As it is now; enabling does nothing to an active one.")
    held: int = Field(description="Deliveries that would be let go.")
    oldest: OwedOut | None
    newest: OwedOut | None
    at_first: int = Field(description="How many would be in flight at first; doubles with good answers.")
    up_to: int = Field(description="How many may ever be in flight.")

    @classmethod
    def of(cls, preview: EnablePreview) -> Self:
        """Show a preview."""
        return cls(
            endpoint_id=show_id(Prefix.ENDPOINT, preview.endpoint.id),
            state=preview.endpoint.state,
            held=preview.held,
            oldest=_owed(preview.oldest),
            newest=_owed(preview.newest),
            at_first=preview.at_first,
            up_to=preview.up_to,
        )


def _owed(owed: Owed | None) -> OwedOut | None:
    return None if owed is None else OwedOut.of(owed)


def _ms(duration: timedelta | None) -> float | None:
    return None if duration is None else duration / timedelta(milliseconds=1)
