"""Whether an endpoint's deliveries may be sent now, and what holds them when not. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from delivery.domain.delivery import ActiveHold, DeliveryStatus
from delivery.domain.endpoint import EndpointState
from delivery.domain.errors import Conflict
from delivery.domain.ids import Prefix, format_id
from retries.health import Hold, compute_allowance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.delivery import Delivery
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import EndpointId
    from retries.health import Health
    from retries.rate import RateLimit


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """The state, health and limits of an endpoint; `now` is the ledger's time.

    `max_in_flight` None: the operator's default. `next_at` is when its rate limit allows the next delivery.
    `health` None: there is no health record yet.
    """

    state: EndpointState
    state_reason: str | None
    state_actor: str | None
    state_changed_at: datetime
    health: Health | None
    in_flight: int
    max_in_flight: int | None
    rate: RateLimit | None
    next_at: datetime | None
    now: datetime


def attach_hold(
    delivery: Delivery, statuses: Mapping[EndpointId, EndpointStatus], *, default_in_flight: int
) -> Delivery:
    """Add the hold of its endpoint to a delivery that is pending and due.

    `default_in_flight` applies to endpoints without a limit of their own.
    """
    status = statuses.get(delivery.endpoint_id)
    if status is None or not _is_due(delivery, status.now):
        return delivery
    return replace(delivery, held=find_hold(status, default_in_flight=default_in_flight))


def find_hold(status: EndpointStatus, *, default_in_flight: int) -> ActiveHold | None:
    """What holds an endpoint's deliveries now; None: nothing."""
    changed_at, reason = status.state_changed_at, status.state_reason
    match status.state:
        case EndpointState.PAUSED:
            return ActiveHold(Hold.PAUSED, since=changed_at, reason=reason)
        case EndpointState.DISABLED:
            return ActiveHold(Hold.DISABLED, since=changed_at, reason=reason)
        case EndpointState.ACTIVE:
            return _find_health_hold(status, default_in_flight)
        case _:
            assert_never(status.state)


def require_active(endpoint: Endpoint) -> None:
    """Raise Conflict, which says how to go on, unless the endpoint is active."""
    if endpoint.state is EndpointState.ACTIVE:
        return
    public_id = format_id(Prefix.ENDPOINT, endpoint.id)
    way_on = "resume" if endpoint.state is EndpointState.PAUSED else "enable"
    raise Conflict(
        f"The endpoint {public_id} is {endpoint.state} and its deliveries are held. {way_on.capitalize()} it "
        f"first (POST /v1/endpoints/{public_id}/{way_on}), or replay with hold: it is then sent later."
    )


def _find_health_hold(status: EndpointStatus, in_flight: int) -> ActiveHold | None:
    if status.health is None:
        return None
    allowed = compute_allowance(
        status.health,
        in_flight=status.in_flight,
        max_in_flight=status.max_in_flight or in_flight,
        rate=status.rate,
        next_at=status.next_at,
        now=status.now,
    )
    # A probe lets a single delivery go; the others are held until its result is known.
    if allowed.hold is None or (allowed.count and not allowed.is_probe):
        return None
    since = status.health.breaker.since if allowed.hold is Hold.BREAKER_OPEN else None
    return ActiveHold(allowed.hold, since=since, until=allowed.check_again_at)


def _is_due(delivery: Delivery, now: datetime) -> bool:
    waits = delivery.status is DeliveryStatus.PENDING
    return waits and delivery.due_at is not None and delivery.due_at <= now
