"""Whether an endpoint may be sent something now, and what holds its deliveries when it may not. Pure."""

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
    """How an endpoint stands that is not deleted; `now` is the ledger's.

    `most` None: as many in flight as the operator's default. `next_at` is when its rate lets the next one go.
    `health` None: nothing is known of it yet.
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
    """The delivery with what holds it: only one that is due and waits is held, and by its endpoint.

    `in_flight` is how many an endpoint may have on their way that has no limit of its own.
    """
    situation = statuses.get(delivery.endpoint_id)
    if situation is None or not _is_due(delivery, situation.now):
        return delivery
    return replace(delivery, held=find_hold(situation, default_in_flight=default_in_flight))


def find_hold(status: EndpointStatus, *, default_in_flight: int) -> ActiveHold | None:
    """What holds an endpoint's deliveries now; None: they may go out."""
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
    """Raise Conflict, which says how to go on, for an endpoint to which nothing is sent now."""
    if endpoint.state is EndpointState.ACTIVE:
        return
    shown = format_id(Prefix.ENDPOINT, endpoint.id)
    way_on = "resume" if endpoint.state is EndpointState.PAUSED else "enable"
    raise Conflict(
        f"The endpoint {shown} is {endpoint.state} and its deliveries are held. {way_on.capitalize()} it "
        f"first (POST /v1/endpoints/{shown}/{way_on}), or replay with hold: it goes out when that is done."
    )


def _find_health_hold(situation: EndpointStatus, in_flight: int) -> ActiveHold | None:
    if situation.health is None:
        return None
    allowed = compute_allowance(
        situation.health,
        in_flight=situation.in_flight,
        max_in_flight=situation.max_in_flight or in_flight,
        rate=situation.rate,
        next_at=situation.next_at,
        now=situation.now,
    )
    # A probe that may go is one of all that wait: they are held until it has come back.
    if allowed.hold is None or (allowed.count and not allowed.is_probe):
        return None
    since = situation.health.breaker.since if allowed.hold is Hold.BREAKER_OPEN else None
    return ActiveHold(allowed.hold, since=since, until=allowed.check_again_at)


def _is_due(delivery: Delivery, now: datetime) -> bool:
    waits = delivery.status is DeliveryStatus.PENDING
    return waits and delivery.due_at is not None and delivery.due_at <= now
