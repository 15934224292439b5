"""Whether an endpoint may be sent something now, and what holds its deliveries when it may not. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from delivery.errors import Conflict
from delivery.model import DeliveryStatus, EndpointState, Held, Prefix, show_id
from retries.health import Hold, allowance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.model import Delivery, Endpoint, EndpointId
    from retries.health import Health
    from retries.rate import RateLimit


@dataclass(frozen=True, slots=True)
class Situation:
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
    most: int | None
    rate: RateLimit | None
    next_at: datetime | None
    now: datetime


def with_hold(delivery: Delivery, situations: Mapping[EndpointId, Situation], *, in_flight: int) -> Delivery:
    """The delivery with what holds it: only one that is due and waits is held, and by its endpoint.

    `in_flight` is how many an endpoint may have on their way that has no limit of its own.
    """
    situation = situations.get(delivery.endpoint_id)
    if situation is None or not _is_due(delivery, situation.now):
        return delivery
    return replace(delivery, held=hold_of(situation, in_flight=in_flight))


def hold_of(situation: Situation, *, in_flight: int) -> Held | None:
    """What holds an endpoint's deliveries now; None: they may go out."""
    changed_at, reason = situation.state_changed_at, situation.state_reason
    match situation.state:
        case EndpointState.PAUSED:
            return Held(Hold.PAUSED, since=changed_at, reason=reason)
        case EndpointState.DISABLED:
            return Held(Hold.DISABLED, since=changed_at, reason=reason)
        case EndpointState.ACTIVE:
            return _by_health(situation, in_flight)
        case _:
            assert_never(situation.state)


def refuse_unless_active(endpoint: Endpoint) -> None:
    """Raise Conflict, which says how to go on, for an endpoint to which nothing is sent now."""
    if endpoint.state is EndpointState.ACTIVE:
        return
    shown = show_id(Prefix.ENDPOINT, endpoint.id)
    way_on = "resume" if endpoint.state is EndpointState.PAUSED else "enable"
    raise Conflict(
        f"The endpoint {shown} is {endpoint.state} and its deliveries are held. {way_on.capitalize()} it "
        f"first (POST /v1/endpoints/{shown}/{way_on}), or replay with hold: it goes out when that is done."
    )


def _by_health(situation: Situation, in_flight: int) -> Held | None:
    if situation.health is None:
        return None
    allowed = allowance(
        situation.health,
        in_flight=situation.in_flight,
        most=situation.most or in_flight,
        rate=situation.rate,
        next_at=situation.next_at,
        now=situation.now,
    )
    # A probe that may go is one of all that wait: they are held until it has come back.
    if allowed.hold is None or (allowed.take and not allowed.probe):
        return None
    since = situation.health.breaker.since if allowed.hold is Hold.BREAKER_OPEN else None
    return Held(allowed.hold, since=since, until=allowed.until)


def _is_due(delivery: Delivery, now: datetime) -> bool:
    waits = delivery.status is DeliveryStatus.PENDING
    return waits and delivery.due_at is not None and delivery.due_at <= now
