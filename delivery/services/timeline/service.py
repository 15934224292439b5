"""Loads timelines of deliveries and events from one snapshot, with bounds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.holds import attach_hold
from delivery.domain.ids import Prefix, format_id, require_found
from delivery.domain.pagination import PageRequest
from delivery.ledger.db.bounded_scan import MAX_CLOCK_SKEW
from delivery.ledger.queue import eligibility
from delivery.ledger.records import attempts, deliveries, events, journal
from delivery.ledger.records.journal import JournalEntry
from delivery.ledger.replays import items
from delivery.ledger.search import search, timeline
from delivery.services.timeline import delivery_entries, event_entries
from delivery.services.timeline.event_entries import EventArrival
from delivery.services.timeline.history import DeliveryHistory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.domain.delivery import Delivery
    from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.records.events import EventSummary
    from delivery.ledger.replays.items import DeliveryReplay
    from delivery.ledger.search.timeline import SubscriptionChange, TracedEndpoint
    from delivery.services.timeline.delivery_entries import DeliveryTimeline
    from delivery.services.timeline.event_entries import EventTimeline

MAX_ATTEMPTS: Final = 100
MAX_ENTRIES: Final = 200
MAX_ENDPOINTS: Final = 1_000
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLUTION: Final = timedelta.resolution

T = TypeVar("T")


class TimelineService:
    """Explains where a delivery or an event went, and why."""

    def __init__(self, ledger: Ledger, *, max_attempts: int, default_max_in_flight: int) -> None:
        """The numbers apply to endpoints without a schedule, or an in-flight limit, of their own."""
        self._ledger = ledger
        self._max_attempts = max_attempts
        self._default_max_in_flight = default_max_in_flight

    async def load_delivery_timeline(self, tenant_id: TenantId, delivery_id: DeliveryId) -> DeliveryTimeline:
        """Load the timeline of a delivery; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            now = await timeline.begin_snapshot(tx)
            row = await deliveries.read(tx, tenant_id, delivery_id)
            delivery = require_found(row, Prefix.DELIVERY, delivery_id)
            history = await self._load_history(tx, delivery, now=now)
        return delivery_entries.build_delivery_timeline(history)

    async def load_event_timeline(self, tenant_id: TenantId, event_id: EventId) -> EventTimeline:
        """Load the timeline of an event: which endpoints it went to or not, and why; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await timeline.begin_snapshot(tx)
            row = await events.read(tx, tenant_id, event_id)
            arrival = await _load_arrival(tx, *require_found(row, Prefix.EVENT, event_id))
        # The conditions of up to a thousand endpoints are evaluated: in a thread, off the event loop.
        return await asyncio.to_thread(event_entries.build_event_timeline, arrival)

    async def _load_history(self, tx: Transaction, delivery: Delivery, *, now: datetime) -> DeliveryHistory:
        tenant_id, endpoint_id = delivery.tenant_id, delivery.endpoint_id
        (endpoint,) = await timeline.read_endpoints(tx, tenant_id, [endpoint_id])
        statuses = await eligibility.load_statuses(tx, [endpoint_id])
        tried = await attempts.read_page(tx, tenant_id, delivery.id, PageRequest(MAX_ATTEMPTS))
        requests = await journal.read_by_delivery(tx, tenant_id, delivery.id, limit=MAX_ENTRIES + 1)
        replayed = await items.read_by_delivery(tx, tenant_id, delivery.id, limit=MAX_ENTRIES + 1)
        requests += [_build_replay_entry(delivery, replay) for replay in replayed]
        requests.sort(key=lambda entry: entry.at, reverse=True)
        before, meanwhile = await _load_endpoint_entries(tx, delivery, now=now)
        left_out = [
            *_describe_omission(tried.next_cursor is not None, MAX_ATTEMPTS, "attempts"),
            *_describe_omission(len(requests) > MAX_ENTRIES, MAX_ENTRIES, "retry and replay requests"),
            *_describe_omission(len(meanwhile) > MAX_ENTRIES, MAX_ENTRIES, "changes of its endpoint"),
        ]
        return DeliveryHistory(
            delivery=attach_hold(delivery, statuses, default_in_flight=self._default_max_in_flight),
            progress=await deliveries.read_progress(tx, tenant_id, delivery.id),
            url=endpoint.url,
            endpoint_status=statuses.get(endpoint_id),
            max_attempts=endpoint.attempts or self._max_attempts,
            attempts=_to_oldest_first(tried.items),
            replay_requests=_to_oldest_first(requests[:MAX_ENTRIES]),
            entries_before=_to_oldest_first(before),
            entries_since=_to_oldest_first(meanwhile[:MAX_ENTRIES]),
            left_out=tuple(left_out),
            now=now,
        )


def _build_replay_entry(delivery: Delivery, replay: DeliveryReplay) -> JournalEntry:
    """The journal has no entry for each delivery of a replay job; the job's items have the same facts."""
    return JournalEntry(
        tenant_id=delivery.tenant_id,
        action="delivery.replayed",
        actor=replay.actor,
        at=replay.queued_at,
        reason=replay.reason,
        endpoint_id=delivery.endpoint_id,
        delivery_id=delivery.id,
        details={
            "was": replay.previous_status or "",
            "replay_id": format_id(Prefix.REPLAY, replay.replay_id),
        },
    )


def _to_oldest_first(newest_first: Sequence[T]) -> list[T]:
    return list(reversed(newest_first))


def _describe_omission(is_truncated: bool, limit: int, noun: str) -> list[str]:  # noqa: FBT001  said with its number
    return [f"Only the newest {limit:,} {noun} are shown."] if is_truncated else []


async def _load_endpoint_entries(
    tx: Transaction, delivery: Delivery, *, now: datetime
) -> tuple[list[JournalEntry], list[JournalEntry]]:
    """The endpoint's entries before the delivery was created, and since then until it ended; newest first.

    Entries that its last attempt caused have the moment of its end, and are included.
    """
    owner, created_at = (delivery.tenant_id, delivery.endpoint_id), delivery.created_at
    ended = now + MAX_CLOCK_SKEW if delivery.finished_at is None else delivery.finished_at + _RESOLUTION
    before = await journal.read_by_endpoint(tx, *owner, since=_EARLIEST, until=created_at, limit=MAX_ENTRIES)
    meanwhile = await journal.read_by_endpoint(
        tx, *owner, since=created_at, until=ended, limit=MAX_ENTRIES + 1
    )
    return before, meanwhile


async def _load_arrival(tx: Transaction, event: EventSummary, body: bytes | None) -> EventArrival:
    tenant_id, at = event.tenant_id, event.created_at
    prepared = await search.prepare_search(
        tx, tenant_id, DeliveryFilter(event_id=event.id), default_max_in_flight=0
    )
    page = await search.read_page(tx, prepared, PageRequest(MAX_ENDPOINTS))
    recipients = await timeline.read_endpoints(
        tx, tenant_id, {delivery.endpoint_id for delivery in page.items}
    )
    owed_to = {endpoint.id: endpoint for endpoint in recipients}
    room = MAX_ENDPOINTS - len(page.items)
    others = await timeline.find_other_endpoints(tx, tenant_id, at=at, excluded_ids=owed_to, limit=room + 1)
    shown = [*recipients, *others[:room]]
    left_out = []
    if page.next_cursor is not None or len(others) > room:
        left_out.append(f"Only {MAX_ENDPOINTS:,} endpoints are shown, first those that it is owed to.")
    return EventArrival(
        event=event,
        owed=[(delivery, owed_to[delivery.endpoint_id]) for delivery in _to_oldest_first(page.items)],
        others=others[:room],
        changes=await _load_filter_changes(tx, tenant_id, shown, at=at),
        made_later=await timeline.count_created_later(tx, tenant_id, at=at),
        left_out=tuple(left_out),
        body=body,
    )


async def _load_filter_changes(
    tx: Transaction, tenant_id: TenantId, endpoints: Sequence[TracedEndpoint], *, at: datetime
) -> dict[EndpointId, list[SubscriptionChange]]:
    changed = [endpoint.id for endpoint in endpoints if endpoint.updated_at > at]
    changes: dict[EndpointId, list[SubscriptionChange]] = {}
    for change in await timeline.find_subscription_changes(tx, tenant_id, changed, at=at) if changed else ():
        changes.setdefault(change.endpoint_id, []).append(change)
    return changes
