"""The use cases of traces: everything is read as of one moment, and bounded."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from delivery.errors import NotFound
from delivery.holding import with_hold
from delivery.ledger import attempts, deliveries, events, journal, replay_items, search, situations, traces
from delivery.ledger.journal import Entry
from delivery.ledger.scan import CLOCKS_APART
from delivery.model import Prefix, show_id
from delivery.paging import Cut
from delivery.selection import DeliverySelection
from delivery.tracing import of_delivery, of_event
from delivery.tracing.of_event import Arrival
from delivery.tracing.story import Story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.events import EventHead
    from delivery.ledger.replay_items import Replayed
    from delivery.ledger.traces import FilterChange, Known
    from delivery.model import Delivery, DeliveryId, EndpointId, EventId, TenantId
    from delivery.tracing.of_delivery import DeliveryTrace
    from delivery.tracing.of_event import EventTrace

MOST_ATTEMPTS: Final = 100
MOST_ENTRIES: Final = 200
MOST_ENDPOINTS: Final = 1_000
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AN_INSTANT: Final = timedelta.resolution

T = TypeVar("T")


class Traces:
    """What a tenant asks when something is not where it expects it."""

    def __init__(self, ledger: Ledger, *, attempts: int, in_flight: int) -> None:
        """`attempts` and `in_flight` are of endpoints without a schedule, and a limit, of their own."""
        self._ledger = ledger
        self._attempts = attempts
        self._in_flight = in_flight

    async def of_delivery(self, tenant_id: TenantId, delivery_id: DeliveryId) -> DeliveryTrace:
        """Why a delivery is where it is; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            now = await traces.at_one_moment(tx)
            delivery = await deliveries.read(tx, tenant_id, delivery_id)
            if delivery is None:
                raise NotFound("delivery", show_id(Prefix.DELIVERY, delivery_id))
            story = await self._story(tx, delivery, now=now)
        return of_delivery.trace(story)

    async def of_event(self, tenant_id: TenantId, event_id: EventId) -> EventTrace:
        """Why an event went where it went, and nowhere else; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await traces.at_one_moment(tx)
            event = await events.read(tx, tenant_id, event_id)
            if event is None:
                raise NotFound("event", show_id(Prefix.EVENT, event_id))
            arrival = await _arrival(tx, *event)
        # Conditions are asked again: those of a thousand endpoints must not hold up the loop.
        return await asyncio.to_thread(of_event.trace, arrival)

    async def _story(self, tx: Transaction, delivery: Delivery, *, now: datetime) -> Story:
        tenant_id, endpoint_id = delivery.tenant_id, delivery.endpoint_id
        (endpoint,) = await traces.endpoints(tx, tenant_id, [endpoint_id])
        known = await situations.of(tx, [endpoint_id])
        tried = await attempts.page(tx, tenant_id, delivery.id, Cut(MOST_ATTEMPTS))
        asked = await journal.of_delivery(tx, tenant_id, delivery.id, most=MOST_ENTRIES + 1)
        replayed = await replay_items.of_delivery(tx, tenant_id, delivery.id, most=MOST_ENTRIES + 1)
        asked += [_by_replay(delivery, one) for one in replayed]
        asked.sort(key=lambda entry: entry.at, reverse=True)
        before, meanwhile = await _happened(tx, delivery, now=now)
        left_out = [
            *_more(tried.last is not None, MOST_ATTEMPTS, "attempts"),
            *_more(len(asked) > MOST_ENTRIES, MOST_ENTRIES, "requests to try it again"),
            *_more(len(meanwhile) > MOST_ENTRIES, MOST_ENTRIES, "things that happened to its endpoint"),
        ]
        return Story(
            delivery=with_hold(delivery, known, in_flight=self._in_flight),
            progress=await deliveries.progress(tx, tenant_id, delivery.id),
            url=endpoint.url,
            situation=known.get(endpoint_id),
            most=endpoint.attempts or self._attempts,
            attempts=_in_order(tried.items),
            asked=_in_order(asked[:MOST_ENTRIES]),
            before=_in_order(before),
            meanwhile=_in_order(meanwhile[:MOST_ENTRIES]),
            left_out=tuple(left_out),
            now=now,
        )


def _by_replay(delivery: Delivery, one: Replayed) -> Entry:
    """A replay job has no entry for each of its deliveries: its list says the same."""
    return Entry(
        tenant_id=delivery.tenant_id,
        what="delivery.replayed",
        actor=one.actor,
        at=one.queued_at,
        reason=one.reason,
        endpoint_id=delivery.endpoint_id,
        delivery_id=delivery.id,
        details={"was": one.was or "", "replay_id": show_id(Prefix.REPLAY, one.replay_id)},
    )


def _in_order(newest_first: Sequence[T]) -> list[T]:
    return list(reversed(newest_first))


def _more(there_are: bool, most: int, what: str) -> list[str]:  # noqa: FBT001  said with its number
    return [f"Only the newest {most:,} {what} are told of."] if there_are else []


async def _happened(tx: Transaction, delivery: Delivery, *, now: datetime) -> tuple[list[Entry], list[Entry]]:
    """What happened to the endpoint before the delivery was made, and since until it was over; newest first.

    What its last attempt has brought about has the moment of its end, and belongs to it.
    """
    whose, made = (delivery.tenant_id, delivery.endpoint_id), delivery.created_at
    ended = now + CLOCKS_APART if delivery.finished_at is None else delivery.finished_at + _AN_INSTANT
    before = await journal.of_endpoint(tx, *whose, since=_EARLIEST, until=made, most=MOST_ENTRIES)
    meanwhile = await journal.of_endpoint(tx, *whose, since=made, until=ended, most=MOST_ENTRIES + 1)
    return before, meanwhile


async def _arrival(tx: Transaction, event: EventHead, body: bytes | None) -> Arrival:
    tenant_id, at = event.tenant_id, event.created_at
    wanted = await search.prepared(tx, tenant_id, DeliverySelection(event_id=event.id), in_flight=0)
    page = await search.page(tx, wanted, Cut(MOST_ENDPOINTS))
    found = await traces.endpoints(tx, tenant_id, {one.endpoint_id for one in page.items})
    owed_to = {known.id: known for known in found}
    room = MOST_ENDPOINTS - len(page.items)
    others = await traces.others(tx, tenant_id, at=at, known=owed_to, most=room + 1)
    told = [*found, *others[:room]]
    left_out = []
    if page.last is not None or len(others) > room:
        left_out.append(f"Only {MOST_ENDPOINTS:,} endpoints are told of: those that it is owed to first.")
    return Arrival(
        event=event,
        owed=[(one, owed_to[one.endpoint_id]) for one in _in_order(page.items)],
        others=others[:room],
        changes=await _changes(tx, tenant_id, told, at=at),
        made_later=await traces.made_later(tx, tenant_id, at=at),
        left_out=tuple(left_out),
        body=body,
    )


async def _changes(
    tx: Transaction, tenant_id: TenantId, told: Sequence[Known], *, at: datetime
) -> dict[EndpointId, list[FilterChange]]:
    changed = [known.id for known in told if known.updated_at > at]
    found: dict[EndpointId, list[FilterChange]] = {}
    for change in await traces.filter_changes(tx, tenant_id, changed, at=at) if changed else ():
        found.setdefault(change.endpoint_id, []).append(change)
    return found
