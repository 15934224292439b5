"""Deliveries: what is owed, what was tried, and asking for one again. Events are read here too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from delivery.checks import checked_reason
from delivery.errors import Conflict, NotFound
from delivery.formats import Origin, sent_as
from delivery.holding import refuse_unless_active, with_hold
from delivery.ledger import (
    attempts,
    deliveries,
    endpoints,
    events,
    journal,
    numbers,
    search,
    situations,
    tally,
    traces,
)
from delivery.ledger.events import EventHead, EventSelection
from delivery.ledger.journal import Entry
from delivery.ledger.numbers import LARGEST as LARGEST_NUMBER
from delivery.ledger.numbers import Numbered, Numbers
from delivery.model import DeliveryStatus, Prefix, show_id
from delivery.selection import DeliverySelection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.tally import Tally
    from delivery.model import Actor, Attempt, AttemptId, Delivery, DeliveryId, EndpointId, EventId, TenantId
    from delivery.paging import Cut, Page

__all__ = [
    "LARGEST_NUMBER",
    "AttemptTold",
    "Deliveries",
    "DeliverySelection",
    "EventHead",
    "EventSelection",
    "NoBody",
    "Numbered",
    "Numbers",
]

log = structlog.get_logger()


class NoBody(StrEnum):
    """Why it cannot be shown what an attempt sent."""

    NOT_KEPT = "not_kept"
    ANOTHER_SHAPE = "another_shape"


@dataclass(frozen=True, slots=True)
class AttemptTold:
    """One attempt with everything that is known of it; without the body that was sent, why there is none."""

    attempt: Attempt
    body: bytes | None
    no_body: NoBody | None = None


class Deliveries:
    """What a tenant sees of its events, deliveries and attempts."""

    def __init__(
        self, ledger: Ledger, *, clock: Callable[[], datetime], in_flight: int, origin: Origin | None = None
    ) -> None:
        """`in_flight` is how many an endpoint may have on their way that has no limit of its own."""
        self._ledger = ledger
        self._clock = clock
        self._in_flight = in_flight
        self._origin = origin or Origin()

    async def page(self, tenant_id: TenantId | None, wanted: DeliverySelection, cut: Cut) -> Page[Delivery]:
        """The deliveries that are meant, newest or oldest first; of all tenants where none is named."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            asked = await search.prepared(tx, tenant_id, wanted, in_flight=self._in_flight)
            page = await search.page(tx, asked, cut)
            return replace(page, items=await self._with_holds(tx, page.items))

    async def count(self, tenant_id: TenantId | None, wanted: DeliverySelection) -> Tally:
        """How many deliveries are meant: exact where that is cheap, otherwise an estimate."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            asked = await search.prepared(tx, tenant_id, wanted, in_flight=self._in_flight)
            return await tally.tally(tx, asked)

    async def read(self, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
        """One delivery; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await self._read_held(tx, tenant_id, delivery_id)

    async def attempts(self, tenant_id: TenantId, delivery_id: DeliveryId, cut: Cut) -> Page[Attempt]:
        """The attempts of a delivery, newest first, without response bodies; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await _read(tx, tenant_id, delivery_id)
            return await attempts.page(tx, tenant_id, delivery_id, cut)

    async def attempt(self, tenant_id: TenantId, attempt_id: AttemptId) -> AttemptTold:
        """One attempt with the bodies that went out and came back; raises NotFound.

        What is kept is the event. What was made of it is made again, and shown if it has the hash of then.
        """
        async with self._ledger.transaction(of=tenant_id) as tx:
            kept = await attempts.read(tx, tenant_id, attempt_id)
        if kept is None:
            raise NotFound("attempt", show_id(Prefix.ATTEMPT, attempt_id))
        one, envelope = kept
        if envelope is None:
            return AttemptTold(one, None, NoBody.NOT_KEPT)
        sent = sent_as(one.body_sha256, one.event_id, envelope, tenant_id=tenant_id, origin=self._origin)
        return AttemptTold(one, sent, NoBody.ANOTHER_SHAPE if sent is None else None)

    async def events(self, tenant_id: TenantId | None, wanted: EventSelection, cut: Cut) -> Page[EventHead]:
        """The events that are meant, newest or oldest first; of all tenants where none is named."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await events.page(tx, tenant_id, wanted, cut)

    async def event(self, tenant_id: TenantId, event_id: EventId) -> tuple[EventHead, bytes | None]:
        """One event with its body, byte for byte as the standard format sends it; raises NotFound.

        No body: it was erased, or is no longer kept.
        """
        async with self._ledger.transaction(of=tenant_id) as tx:
            event = await events.read(tx, tenant_id, event_id)
        if event is None:
            raise NotFound("event", show_id(Prefix.EVENT, event_id))
        return event

    async def numbered(
        self, tenant_id: TenantId, endpoint_id: EndpointId, after: int, *, most: int
    ) -> Numbers:
        """What an endpoint was owed after this number, in order; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            # A page must not know of numbers beyond what it calls the latest.
            await traces.at_one_moment(tx)
            if await endpoints.read(tx, tenant_id, endpoint_id) is None:
                raise NotFound("endpoint", show_id(Prefix.ENDPOINT, endpoint_id))
            return await numbers.after(tx, endpoint_id, after, most=most)

    async def replay(
        self,
        tenant_id: TenantId,
        delivery_id: DeliveryId,
        *,
        reason: str | None = None,
        hold: bool = False,
        actor: Actor,
    ) -> Delivery:
        """Send a delivery again: a waiting one now, a final one anew, the same bytes under the same id.

        Raises NotFound, and Conflict while a worker has it, when nothing is kept that could be sent, and when
        its endpoint takes nothing; with `hold` it is made pending all the same, and held until that ends.
        """
        reason = checked_reason(reason)
        async with self._ledger.transaction(of=tenant_id) as tx:
            delivery = await _read(tx, tenant_id, delivery_id)
            await _refuse_unless_sendable(tx, delivery, hold=hold)
            was = await deliveries.make_due(tx, delivery, reason=f"replayed by {actor.name}")
            if was is DeliveryStatus.IN_FLIGHT:
                raise Conflict("The delivery is being attempted just now. Look again in a moment.")
            entry = Entry(
                tenant_id=delivery.tenant_id,
                what="delivery.replayed",
                actor=actor.name,
                address=actor.address,
                reason=reason,
                at=self._clock(),
                endpoint_id=delivery.endpoint_id,
                delivery_id=delivery.id,
                details={"was": was},
            )
            await journal.append(tx, [entry])
            again = await self._read_held(tx, tenant_id, delivery_id)
        log.info("delivery.replayed", delivery_id=show_id(Prefix.DELIVERY, delivery_id), actor=actor.name)
        return again

    async def _read_held(self, tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
        (delivery,) = await self._with_holds(tx, [await _read(tx, tenant_id, delivery_id)])
        return delivery

    async def _with_holds(self, tx: Transaction, found: Sequence[Delivery]) -> tuple[Delivery, ...]:
        """Say of each what holds it; one look at all the endpoints of those that wait."""
        waiting = [one.endpoint_id for one in found if one.status is DeliveryStatus.PENDING]
        known = await situations.of(tx, waiting)
        return tuple(with_hold(one, known, in_flight=self._in_flight) for one in found)


async def _read(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
    delivery = await deliveries.read(tx, tenant_id, delivery_id)
    if delivery is None:
        raise NotFound("delivery", show_id(Prefix.DELIVERY, delivery_id))
    return delivery


async def _refuse_unless_sendable(tx: Transaction, delivery: Delivery, *, hold: bool) -> None:
    event = await events.read(tx, delivery.tenant_id, delivery.event_id)
    if event is None or event[1] is None:
        raise Conflict("The content of its event is no longer kept: there is nothing that could be sent.")
    endpoint = await endpoints.read(tx, delivery.tenant_id, delivery.endpoint_id)
    if endpoint is None:
        shown = show_id(Prefix.ENDPOINT, delivery.endpoint_id)
        raise Conflict(f"The endpoint {shown} was deleted: this delivery has nowhere to go.")
    if not hold:
        refuse_unless_active(endpoint)
