"""Deliveries: what is owed, what was tried, and asking for one again. Events are read here too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from delivery.domain.attempt import BodyUnavailable
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import Conflict, NotFound
from delivery.domain.formats import EventOrigin, reconstruct_body
from delivery.domain.holds import attach_hold, require_active
from delivery.domain.ids import Prefix, format_id
from delivery.domain.validation import check_reason
from delivery.ledger.queue import eligibility, reopen
from delivery.ledger.records import attempts, deliveries, endpoints, events, journal
from delivery.ledger.records.events import EventFilter, EventSummary
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.search import count, search, sequences, timeline
from delivery.ledger.search.sequences import MAX_SEQUENCE as LARGEST_NUMBER
from delivery.ledger.search.sequences import SequencedDelivery, SequencePage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.attempt import Attempt
    from delivery.domain.delivery import Delivery
    from delivery.domain.ids import AttemptId, DeliveryId, EndpointId, EventId, TenantId
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.search.count import DeliveryCount

__all__ = [
    "LARGEST_NUMBER",
    "AttemptDetails",
    "DeliveryFilter",
    "DeliveryService",
    "EventFilter",
    "EventSummary",
    "SequencePage",
    "SequencedDelivery",
]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AttemptDetails:
    """One attempt with everything that is known of it; without the body that was sent, why there is none."""

    attempt: Attempt
    body: bytes | None
    body_unavailable: BodyUnavailable | None = None


class DeliveryService:
    """What a tenant sees of its events, deliveries and attempts."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        default_max_in_flight: int,
        origin: EventOrigin | None = None,
    ) -> None:
        """`in_flight` is how many an endpoint may have on their way that has no limit of its own."""
        self._ledger = ledger
        self._clock = clock
        self._default_max_in_flight = default_max_in_flight
        self._origin = origin or EventOrigin()

    async def list_deliveries(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter, page_request: PageRequest
    ) -> Page[Delivery]:
        """The deliveries that are meant, newest or oldest first; of all tenants where none is named."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            asked = await search.prepare_search(
                tx, tenant_id, delivery_filter, default_max_in_flight=self._default_max_in_flight
            )
            page = await search.read_page(tx, asked, page_request)
            return replace(page, items=await self._with_holds(tx, page.items))

    async def count_deliveries(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter
    ) -> DeliveryCount:
        """How many deliveries are meant: exact where that is cheap, otherwise an estimate."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            asked = await search.prepare_search(
                tx, tenant_id, delivery_filter, default_max_in_flight=self._default_max_in_flight
            )
            return await count.count_deliveries(tx, asked)

    async def read(self, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
        """One delivery; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await self._read_with_hold(tx, tenant_id, delivery_id)

    async def list_attempts(
        self, tenant_id: TenantId, delivery_id: DeliveryId, page_request: PageRequest
    ) -> Page[Attempt]:
        """The attempts of a delivery, newest first, without response bodies; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _read(tx, tenant_id, delivery_id)
            return await attempts.read_page(tx, tenant_id, delivery_id, page_request)

    async def read_attempt(self, tenant_id: TenantId, attempt_id: AttemptId) -> AttemptDetails:
        """One attempt with the bodies that went out and came back; raises NotFound.

        What is kept is the event. What was made of it is made again, and shown if it has the hash of then.
        """
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            kept = await attempts.read(tx, tenant_id, attempt_id)
        if kept is None:
            raise NotFound("attempt", format_id(Prefix.ATTEMPT, attempt_id))
        one, envelope = kept
        if envelope is None:
            return AttemptDetails(one, None, BodyUnavailable.NOT_KEPT)
        sent = reconstruct_body(
            one.body_sha256, one.event_id, envelope, tenant_id=tenant_id, origin=self._origin
        )
        return AttemptDetails(one, sent, BodyUnavailable.SETTINGS_CHANGED if sent is None else None)

    async def list_events(
        self, tenant_id: TenantId | None, event_filter: EventFilter, page_request: PageRequest
    ) -> Page[EventSummary]:
        """The events that are meant, newest or oldest first; of all tenants where none is named."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await events.read_page(tx, tenant_id, event_filter, page_request)

    async def read_event(self, tenant_id: TenantId, event_id: EventId) -> tuple[EventSummary, bytes | None]:
        """One event with its body, byte for byte as the standard format sends it; raises NotFound.

        No body: it was erased, or is no longer kept.
        """
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            event = await events.read(tx, tenant_id, event_id)
        if event is None:
            raise NotFound("event", format_id(Prefix.EVENT, event_id))
        return event

    async def list_by_sequence(
        self, tenant_id: TenantId, endpoint_id: EndpointId, after: int, *, limit: int
    ) -> SequencePage:
        """What an endpoint was owed after this number, in order; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            # A page must not know of numbers beyond what it calls the latest.
            await timeline.begin_snapshot(tx)
            if await endpoints.read(tx, tenant_id, endpoint_id) is None:
                raise NotFound("endpoint", format_id(Prefix.ENDPOINT, endpoint_id))
            return await sequences.read_after(tx, endpoint_id, after, limit=limit)

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
        reason = check_reason(reason)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            delivery = await _read(tx, tenant_id, delivery_id)
            await _refuse_unless_sendable(tx, delivery, hold=hold)
            was = await reopen.make_due(tx, delivery, reason=f"replayed by {actor.name}")
            if was is DeliveryStatus.IN_FLIGHT:
                raise Conflict("The delivery is being attempted just now. Look again in a moment.")
            entry = JournalEntry(
                tenant_id=delivery.tenant_id,
                action="delivery.replayed",
                actor=actor.name,
                address=actor.address,
                reason=reason,
                at=self._clock(),
                endpoint_id=delivery.endpoint_id,
                delivery_id=delivery.id,
                details={"was": was},
            )
            await journal.append(tx, [entry])
            again = await self._read_with_hold(tx, tenant_id, delivery_id)
        log.info("delivery.replayed", delivery_id=format_id(Prefix.DELIVERY, delivery_id), actor=actor.name)
        return again

    async def _read_with_hold(
        self, tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId
    ) -> Delivery:
        (delivery,) = await self._with_holds(tx, [await _read(tx, tenant_id, delivery_id)])
        return delivery

    async def _with_holds(self, tx: Transaction, rows: Sequence[Delivery]) -> tuple[Delivery, ...]:
        """Say of each what holds it; one look at all the endpoints of those that wait."""
        waiting = [one.endpoint_id for one in rows if one.status is DeliveryStatus.PENDING]
        known = await eligibility.load_statuses(tx, waiting)
        return tuple(attach_hold(one, known, default_in_flight=self._default_max_in_flight) for one in rows)


async def _read(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
    delivery = await deliveries.read(tx, tenant_id, delivery_id)
    if delivery is None:
        raise NotFound("delivery", format_id(Prefix.DELIVERY, delivery_id))
    return delivery


async def _refuse_unless_sendable(tx: Transaction, delivery: Delivery, *, hold: bool) -> None:
    event = await events.read(tx, delivery.tenant_id, delivery.event_id)
    if event is None or event[1] is None:
        raise Conflict("The content of its event is no longer kept: there is nothing that could be sent.")
    endpoint = await endpoints.read(tx, delivery.tenant_id, delivery.endpoint_id)
    if endpoint is None:
        shown = format_id(Prefix.ENDPOINT, delivery.endpoint_id)
        raise Conflict(f"The endpoint {shown} was deleted: this delivery has nowhere to go.")
    if not hold:
        require_active(endpoint)
