"""The use cases of deliveries: list, count, read with attempts, replay. Events are read here too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from delivery.domain.attempt import BodyUnavailable
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import Conflict
from delivery.domain.formats import EventOrigin, reconstruct_body
from delivery.domain.holds import attach_hold, require_active
from delivery.domain.ids import Prefix, format_id, require_found
from delivery.domain.pagination import MAX_SEQUENCE
from delivery.domain.validation import check_reason
from delivery.ledger.queue import eligibility, reopen
from delivery.ledger.records import attempts, deliveries, endpoints, events, journal
from delivery.ledger.records.events import EventFilter, EventSummary
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.search import count, search, sequences, timeline
from delivery.ledger.search.sequences import SequencedDelivery, SequencePage
from delivery.log import get_logger

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
    "MAX_SEQUENCE",
    "AttemptDetails",
    "DeliveryFilter",
    "DeliveryService",
    "EventFilter",
    "EventSummary",
    "SequencePage",
    "SequencedDelivery",
]

log = get_logger()


@dataclass(frozen=True, slots=True)
class AttemptDetails:
    """An attempt with the body that it sent, or the reason why that cannot be shown."""

    attempt: Attempt
    body: bytes | None
    body_unavailable: BodyUnavailable | None = None


class DeliveryService:
    """Reads events, deliveries and attempts, and replays single deliveries."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        default_max_in_flight: int,
        origin: EventOrigin | None = None,
    ) -> None:
        """`default_max_in_flight` applies to endpoints without a limit of their own."""
        self._ledger = ledger
        self._clock = clock
        self._default_max_in_flight = default_max_in_flight
        self._origin = origin or EventOrigin()

    async def list_deliveries(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter, page_request: PageRequest
    ) -> Page[Delivery]:
        """List matching deliveries; `tenant_id` None: of all tenants."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            prepared = await search.prepare_search(
                tx, tenant_id, delivery_filter, default_max_in_flight=self._default_max_in_flight
            )
            page = await search.read_page(tx, prepared, page_request)
            return replace(page, items=await self._attach_holds(tx, page.items))

    async def count_deliveries(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter
    ) -> DeliveryCount:
        """Count matching deliveries: exactly where that is cheap, otherwise an estimate."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            prepared = await search.prepare_search(
                tx, tenant_id, delivery_filter, default_max_in_flight=self._default_max_in_flight
            )
            return await count.count_deliveries(tx, prepared)

    async def read(self, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
        """Read a delivery; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await self._read_with_hold(tx, tenant_id, delivery_id)

    async def list_attempts(
        self, tenant_id: TenantId, delivery_id: DeliveryId, page_request: PageRequest
    ) -> Page[Attempt]:
        """List the attempts of a delivery without response bodies, newest first; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await _read(tx, tenant_id, delivery_id)
            return await attempts.read_page(tx, tenant_id, delivery_id, page_request)

    async def read_attempt(self, tenant_id: TenantId, attempt_id: AttemptId) -> AttemptDetails:
        """Read an attempt with the bodies of request and response; raises NotFound.

        The ledger keeps the event and the hash of the body. The body is built again from the event, and
        returned if its hash is the same.
        """
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            row = await attempts.read(tx, tenant_id, attempt_id)
        attempt, envelope = require_found(row, Prefix.ATTEMPT, attempt_id)
        if envelope is None:
            return AttemptDetails(attempt, None, BodyUnavailable.NOT_KEPT)
        body = reconstruct_body(
            attempt.body_sha256, attempt.event_id, envelope, tenant_id=tenant_id, origin=self._origin
        )
        return AttemptDetails(attempt, body, BodyUnavailable.SETTINGS_CHANGED if body is None else None)

    async def list_events(
        self, tenant_id: TenantId | None, event_filter: EventFilter, page_request: PageRequest
    ) -> Page[EventSummary]:
        """List matching events; `tenant_id` None: of all tenants."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await events.read_page(tx, tenant_id, event_filter, page_request)

    async def read_event(self, tenant_id: TenantId, event_id: EventId) -> tuple[EventSummary, bytes | None]:
        """Read an event with its body, as the standard format sends it; raises NotFound.

        The body is None when it was erased or its retention is over.
        """
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return require_found(await events.read(tx, tenant_id, event_id), Prefix.EVENT, event_id)

    async def list_by_sequence(
        self, tenant_id: TenantId, endpoint_id: EndpointId, after: int, *, limit: int
    ) -> SequencePage:
        """List an endpoint's deliveries after this sequence number, in order; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            # One snapshot: no number of the page may be above what it reports as the latest.
            await timeline.begin_snapshot(tx)
            require_found(await endpoints.read(tx, tenant_id, endpoint_id), Prefix.ENDPOINT, endpoint_id)
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
        """Send a delivery again, with the same body and webhook-id; a pending one becomes due now.

        Raises NotFound, and Conflict while a worker has it, when the event's content is gone, and when its
        endpoint is paused or disabled; with `hold` it is made pending all the same, and held until then.
        """
        reason = check_reason(reason)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            delivery = await _read(tx, tenant_id, delivery_id)
            await _refuse_unless_sendable(tx, delivery, hold=hold)
            previous = await reopen.make_due(tx, delivery, reason=f"replayed by {actor.name}")
            if previous is DeliveryStatus.IN_FLIGHT:
                raise Conflict("An attempt of the delivery is in progress. Try again in a moment.")
            entry = JournalEntry.by_actor(
                delivery.tenant_id,
                "delivery.replayed",
                actor,
                at=self._clock(),
                reason=reason,
                endpoint_id=delivery.endpoint_id,
                delivery_id=delivery.id,
                details={"was": previous},
            )
            await journal.append(tx, [entry])
            replayed = await self._read_with_hold(tx, tenant_id, delivery_id)
        log.info("delivery.replayed", delivery_id=format_id(Prefix.DELIVERY, delivery_id), actor=actor.name)
        return replayed

    async def _read_with_hold(
        self, tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId
    ) -> Delivery:
        (delivery,) = await self._attach_holds(tx, [await _read(tx, tenant_id, delivery_id)])
        return delivery

    async def _attach_holds(self, tx: Transaction, rows: Sequence[Delivery]) -> tuple[Delivery, ...]:
        """Add what holds each delivery, with one query for the endpoints of the pending ones."""
        endpoint_ids = [row.endpoint_id for row in rows if row.status is DeliveryStatus.PENDING]
        statuses = await eligibility.load_statuses(tx, endpoint_ids)
        return tuple(
            attach_hold(row, statuses, default_in_flight=self._default_max_in_flight) for row in rows
        )


async def _read(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery:
    return require_found(await deliveries.read(tx, tenant_id, delivery_id), Prefix.DELIVERY, delivery_id)


async def _refuse_unless_sendable(tx: Transaction, delivery: Delivery, *, hold: bool) -> None:
    event = await events.read(tx, delivery.tenant_id, delivery.event_id)
    if event is None or event[1] is None:
        raise Conflict("The content of its event is no longer stored, so there is nothing to send.")
    endpoint = await endpoints.read(tx, delivery.tenant_id, delivery.endpoint_id)
    if endpoint is None:
        public_id = format_id(Prefix.ENDPOINT, delivery.endpoint_id)
        raise Conflict(f"The endpoint {public_id} was deleted: this delivery has nowhere to go.")
    if not hold:
        require_active(endpoint)
