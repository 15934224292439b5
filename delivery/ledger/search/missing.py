"""Missing events: those that an endpoint has no delivery for, because it subscribed later."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import ARRAY, Text, cast, false, func, select, true

from delivery.domain.conditions import ConditionEvaluator, compile_stored_condition
from delivery.domain.ids import EventId, build_min_id
from delivery.domain.pagination import Page
from delivery.domain.payload_path import extract_data
from delivery.ledger.db.bounded_scan import (
    BODY_BATCH_SIZE,
    build_scope,
    force_custom_plan,
    match_ids_after,
    match_patterns,
    order_by_id,
)
from delivery.ledger.db.tables import deliveries, events

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from delivery.domain.conditions import Condition
    from delivery.domain.ids import TenantId
    from delivery.domain.pagination import PageRequest
    from delivery.domain.replay import MissingEventFilter
    from delivery.ledger.db.session import Transaction

# Each event costs a lookup in the deliveries of each day since.
MAX_SCANNED_EVENTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class MissingEvent:
    """An event without a delivery to the endpoint."""

    id: EventId
    type: str
    created_at: datetime


async def read_page(
    tx: Transaction,
    tenant_id: TenantId,
    missing_filter: MissingEventFilter,
    page_request: PageRequest,
    *,
    excluded_types: Collection[str],
) -> Page[MissingEvent]:
    """Matching events without a delivery to the endpoint; none of the types in `never`.

    The cost is bounded: a page may have fewer rows than requested, even none, and still a `last`.
    """
    if missing_filter.condition is None:
        return await _read_page(tx, tenant_id, missing_filter, page_request, excluded_types=excluded_types)
    # Payloads are parsed in Python: few at once.
    few = replace(page_request, limit=min(page_request.limit, BODY_BATCH_SIZE))
    found = await _read_page(tx, tenant_id, missing_filter, few, excluded_types=excluded_types)
    return Page(
        tuple(
            await _filter_by_condition(tx, found.items, compile_stored_condition(missing_filter.condition))
        ),
        found.next_cursor,
    )


async def _read_page(
    tx: Transaction,
    tenant_id: TenantId,
    missing_filter: MissingEventFilter,
    page_request: PageRequest,
    *,
    excluded_types: Collection[str],
) -> Page[MissingEvent]:
    """The events by type and channel, before conditions."""
    await force_custom_plan(tx)
    scope = build_scope(events.c.id, page_request, since=missing_filter.since, until=missing_filter.until)
    scope.append(events.c.tenant_id == tenant_id)
    on_channel: ColumnElement[bool] = true()
    if missing_filter.channels:
        shares = events.c.channels.bool_op("&&")(cast(list(missing_filter.channels), ARRAY(Text)))
        on_channel = func.coalesce(shares, false())
    seen = (
        select(
            events.c.id,
            events.c.type,
            events.c.created_at,
            events.c.body.is_not(None).label("kept"),
            on_channel.label("on_channel"),
        )
        .where(*scope)
        .order_by(order_by_id(events.c.id, page_request))
        .limit(MAX_SCANNED_EVENTS)
        .subquery()
    )
    is_owed = select(deliveries.c.id).where(
        deliveries.c.event_id == seen.c.id, deliveries.c.endpoint_id == missing_filter.endpoint_id
    )
    if page_request.oldest_first:  # deliveries are newer than their event: earlier days are skipped
        earliest = (
            page_request.after
            if missing_filter.since is None
            else max(page_request.after, build_min_id(missing_filter.since))
        )
        is_owed = is_owed.where(match_ids_after(deliveries.c.id, earliest))
    query = (
        select(seen.c.id, seen.c.type, seen.c.created_at)
        .where(
            match_patterns(seen.c.type, list(missing_filter.types)), seen.c.type.not_in(list(excluded_types))
        )
        .where(seen.c.kept, seen.c.on_channel)
        .where(~is_owed.exists())
        .order_by(order_by_id(seen.c.id, page_request))
        .limit(page_request.limit + 1)
    )
    found = [MissingEvent(EventId(row.id), row.type, row.created_at) for row in await tx.execute(query)]
    whole = Page.from_rows(found, page_request)
    if whole.next_cursor is not None:
        return whole
    end = (
        select(seen.c.id)
        .order_by(order_by_id(seen.c.id, page_request))
        .offset(MAX_SCANNED_EVENTS - 1)
        .limit(1)
    )
    return Page(whole.items, (await tx.execute(end)).scalar_one_or_none())


async def _filter_by_condition(
    tx: Transaction, found: Sequence[MissingEvent], condition: Condition
) -> list[MissingEvent]:
    """The events that meet the condition, and those for which it cannot be evaluated."""
    query = select(events.c.id, events.c.body).where(events.c.id.in_([one.id for one in found]))
    bodies = {row.id: row.body for row in await tx.execute(query)} if found else {}
    kept = []
    for one in found:
        body = bodies.get(one.id)
        if body is not None and ConditionEvaluator(extract_data(body)).evaluate(condition).is_met:
            kept.append(one)
        await asyncio.sleep(0)  # a step of a job runs on the loop that delivers
    return kept
