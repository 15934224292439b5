"""Search: the deliveries of a filter, page by page.

No index has columns that change in a delivery's life, so that its one update stays cheap. Other tables lead
to the matches instead: `failures` lists deliveries that ended badly, `schedule` the unfinished ones, and an
event's deliveries are found by its id. All others are read in the order of ids. Each page reads a bounded
number of rows, and says where to continue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, any_, cast, func, literal, or_, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.holds import find_hold
from delivery.domain.ids import EndpointId
from delivery.domain.pagination import Page
from delivery.ledger.db.bounded_scan import (
    BODY_BATCH_SIZE,
    MAX_SCANNED_BODIES,
    MAX_SCANNED_BODY_BYTES,
    MAX_SCANNED_ROWS,
    build_scope,
    disable_sort,
    force_custom_plan,
    match_ids_after,
    match_patterns,
    order_by_id,
)
from delivery.ledger.db.tables import deliveries, endpoints, events, schedule
from delivery.ledger.queue import eligibility
from delivery.ledger.records.deliveries import delivery_from_row, select_with_schedule
from delivery.ledger.search.index import UNFINISHED, UNSUCCESSFUL, Candidates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement, Select, Subquery

    from delivery.domain.delivery import Delivery
    from delivery.domain.delivery_filter import DeliveryFilter
    from delivery.domain.ids import TenantId
    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.bounded_scan import ScanScope
    from delivery.ledger.db.session import Transaction

_MATCH_BATCH_SIZE: Final = 500
_DELIVERED: Final = "delivered"

_BODIES = text("""
    select wanted.id, e.body from unnest(cast(:ids as uuid[])) as wanted (id)
    join events e on e.id = wanted.id where e.body is not null
""")


@dataclass(frozen=True, slots=True)
class DeliverySearch:
    """A filter with the lookups that a search needs first."""

    tenant_id: TenantId | None
    delivery_filter: DeliveryFilter
    statuses: frozenset[DeliveryStatus]
    event_ids: tuple[UUID, ...] | None
    held_endpoint_ids: tuple[EndpointId, ...] | None
    candidates: Candidates | None

    def select_ids(self, page_request: PageRequest, *, limit: int = MAX_SCANNED_ROWS) -> Select[tuple[UUID]]:
        """The candidate rows of a page, as `id`."""
        wanted = self.delivery_filter
        if self.candidates is not None:
            return self.candidates.select_ids(
                page_request, since=wanted.since, until=wanted.until, limit=limit
            )
        id_ = deliveries.c.id
        return (
            select(id_)
            .where(*self._build_scope(page_request))
            .order_by(order_by_id(id_, page_request))
            .limit(limit)
        )

    def select_scanned(self, page_request: PageRequest, *, limit: int = MAX_SCANNED_ROWS) -> Subquery:
        """The candidate deliveries of a page, in its order."""
        if self.candidates is None:
            id_ = deliveries.c.id
            query = (
                select(deliveries)
                .where(*self._build_scope(page_request))
                .order_by(order_by_id(id_, page_request))
                .limit(limit)
            )
            return query.subquery()
        found = self.select_ids(page_request, limit=limit).subquery()
        # A subquery of its own, so that each is found by id and not among all deliveries of its endpoint.
        each = select(deliveries).where(deliveries.c.id == found.c.id).limit(1).lateral()
        # The id is the candidates' own, so that the planner knows their order.
        columns = [found.c.id, *(column for column in each.c if column.name != "id")]
        joined = select(*columns).select_from(found.join(each, true()))
        return joined.order_by(order_by_id(found.c.id, page_request)).subquery()

    def select_matching(self, scanned: Subquery) -> Select[Any]:
        """The rows that match, except for payloads."""
        return select_with_schedule(scanned).where(*self._build_conditions(scanned))

    def _build_scope(self, page_request: PageRequest) -> ScanScope:
        wanted, columns = self.delivery_filter, deliveries.c
        scope = build_scope(columns.id, page_request, since=wanted.since, until=wanted.until)
        if self.tenant_id is not None:
            scope.append(columns.tenant_id == self.tenant_id)
        if len(wanted.endpoints) == 1:
            scope.append(columns.endpoint_id == wanted.endpoints[0])
        if self.event_ids is not None:
            scope.append(columns.event_id == any_(_uuid_array(self.event_ids)))
            scope += [match_ids_after(columns.id, min(self.event_ids))] if self.event_ids else []
        return scope

    def _build_conditions(self, scanned: Subquery) -> list[ColumnElement[bool]]:
        wanted, columns = self.delivery_filter, scanned.c
        filters: list[ColumnElement[bool]] = []
        if self.tenant_id is not None:
            filters.append(columns.tenant_id == self.tenant_id)
        if wanted.endpoints:
            filters.append(columns.endpoint_id == any_(_uuid_array(wanted.endpoints)))
        if wanted.types:
            filters.append(match_patterns(columns.event_type, wanted.types))
        if self.statuses:
            filters.append(or_(*[_match_status(columns.status, status) for status in self.statuses]))
        if wanted.outcomes:
            filters.append(func.coalesce(schedule.c.outcome, columns.outcome).in_(wanted.outcomes))
        if wanted.http:
            last = func.coalesce(schedule.c.http_status, columns.http_status)
            filters.append(or_(*[_match_http_status(last, one) for one in wanted.http]))
        attempts = func.coalesce(schedule.c.attempts, columns.attempts)
        if wanted.attempts_min is not None:
            filters.append(attempts >= wanted.attempts_min)
        if wanted.attempts_max is not None:
            filters.append(attempts <= wanted.attempts_max)
        if self.held_endpoint_ids is not None:
            filters.append(columns.endpoint_id == any_(_uuid_array(self.held_endpoint_ids)))
            filters.append(schedule.c.due_at <= func.clock_timestamp())
        return filters


async def prepare_search(
    tx: Transaction,
    tenant_id: TenantId | None,
    delivery_filter: DeliveryFilter,
    *,
    default_max_in_flight: int,
) -> DeliverySearch:
    """Look up what a search needs. `in_flight` is an endpoint's default in-flight limit.

    No tenant: all tenants.
    """
    await force_custom_plan(tx)
    statuses = _possible_statuses(delivery_filter)
    found = () if _matches_nothing(delivery_filter) else await _find_event_ids(tx, tenant_id, delivery_filter)
    candidates = None
    if found is None and statuses and DeliveryStatus.SUCCEEDED not in statuses:
        only = delivery_filter.endpoints[0] if len(delivery_filter.endpoints) == 1 else None
        candidates = Candidates(statuses, tenant_id, only)
        await candidates.prepare(tx)
    elif found is None:
        await disable_sort(tx)
    held = (
        await _find_held_endpoints(tx, tenant_id, delivery_filter, default_max_in_flight)
        if delivery_filter.held_by
        else None
    )
    return DeliverySearch(tenant_id, delivery_filter, statuses, found, held, candidates)


async def read_page(tx: Transaction, search: DeliverySearch, page_request: PageRequest) -> Page[Delivery]:
    """The matching deliveries, newest or oldest first.

    The cost is bounded: a page may have fewer rows than requested, even none, and still a `last`.
    """
    return await (_read_page_by_payload if search.delivery_filter.payload else _read_matching)(
        tx, search, page_request
    )


async def _read_matching(
    tx: Transaction, search: DeliverySearch, page_request: PageRequest
) -> Page[Delivery]:
    seen = search.select_scanned(page_request)
    query = (
        search.select_matching(seen)
        .order_by(order_by_id(seen.c.id, page_request))
        .limit(page_request.limit + 1)
    )
    page = Page.from_rows([delivery_from_row(row) for row in await tx.execute(query)], page_request)
    if page.next_cursor is not None:
        return page
    # A short page: these were all, or all that one page may read.
    end = search.select_ids(page_request).subquery()
    last = (
        select(end.c.id).order_by(order_by_id(end.c.id, page_request)).offset(MAX_SCANNED_ROWS - 1).limit(1)
    )
    return Page(page.items, (await tx.execute(last)).scalar_one_or_none())


async def _read_page_by_payload(
    tx: Transaction, search: DeliverySearch, page_request: PageRequest
) -> Page[Delivery]:
    kept: list[Delivery] = []
    read = size = 0
    at = replace(page_request, limit=_MATCH_BATCH_SIZE)
    while True:
        found = await _read_matching(tx, search, at)
        for start in range(0, len(found.items), BODY_BATCH_SIZE):
            some = found.items[start : start + BODY_BATCH_SIZE]
            bodies = await _load_bodies(tx, some)
            kept += [
                one for one in some if _matches_payload(bodies.get(one.event_id), search.delivery_filter)
            ]
            read, size = read + len(some), size + sum(map(len, bodies.values()))
            if len(kept) > page_request.limit:
                return Page.from_rows(kept, page_request)
            if read >= MAX_SCANNED_BODIES or size >= MAX_SCANNED_BODY_BYTES:
                return Page(tuple(kept), some[-1].id)
        if found.next_cursor is None:
            return Page(tuple(kept), None)
        if not found.items:
            return Page(tuple(kept), found.next_cursor)
        at = _next_page(at, found.next_cursor)


def _next_page(page_request: PageRequest, after: UUID) -> PageRequest:
    return type(page_request).from_cursor(page_request.limit, after, oldest_first=page_request.oldest_first)


async def _load_bodies(tx: Transaction, deliveries_read: Sequence[Delivery]) -> dict[UUID, bytes]:
    ids = list({one.event_id for one in deliveries_read})
    return {row.id: row.body for row in await tx.execute(_BODIES, {"ids": ids})}


def _matches_payload(body: bytes | None, delivery_filter: DeliveryFilter) -> bool:
    return body is not None and all(condition.matches(body) for condition in delivery_filter.payload)


def _possible_statuses(delivery_filter: DeliveryFilter) -> frozenset[DeliveryStatus]:
    """The statuses that can match; none: all."""
    asked = frozenset(delivery_filter.statuses)
    if delivery_filter.held_by:
        return frozenset({DeliveryStatus.PENDING})
    fails = delivery_filter.outcomes and _DELIVERED not in delivery_filter.outcomes
    refuses = delivery_filter.http and not any(one.startswith("2") for one in delivery_filter.http)
    if not asked and (fails or refuses):
        return UNSUCCESSFUL | UNFINISHED
    return asked


def _matches_nothing(delivery_filter: DeliveryFilter) -> bool:
    """Only pending deliveries are held: `held` with another status matches nothing."""
    return (
        bool(delivery_filter.held_by and delivery_filter.statuses)
        and DeliveryStatus.PENDING not in delivery_filter.statuses
    )


async def _find_event_ids(
    tx: Transaction, tenant_id: TenantId | None, delivery_filter: DeliveryFilter
) -> tuple[UUID, ...] | None:
    """The events that can match; None: any."""
    named = None if delivery_filter.event_id is None else (delivery_filter.event_id,)
    if delivery_filter.idempotency_key is None:
        return named
    query = select(events.c.id).where(events.c.idempotency_key == delivery_filter.idempotency_key)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    if named is not None:
        query = query.where(events.c.id == named[0])
    return tuple((await tx.execute(query)).scalars())


async def _find_held_endpoints(
    tx: Transaction, tenant_id: TenantId | None, delivery_filter: DeliveryFilter, default_max_in_flight: int
) -> tuple[EndpointId, ...]:
    """The endpoints with one of the filter's holds."""
    query = eligibility.select_maybe_held(delivery_filter.held_by)
    if tenant_id is not None:
        query = query.where(endpoints.c.tenant_id == tenant_id)
    if delivery_filter.endpoints:
        query = query.where(endpoints.c.id == any_(_uuid_array(delivery_filter.endpoints)))
    known = await eligibility.load_statuses(tx, map(EndpointId, (await tx.execute(query)).scalars()))
    holds = {
        id_: find_hold(situation, default_in_flight=default_max_in_flight) for id_, situation in known.items()
    }
    return tuple(
        id_ for id_, hold in holds.items() if hold is not None and hold.by in delivery_filter.held_by
    )


def _match_status(column: ColumnElement[str], status: DeliveryStatus) -> ColumnElement[bool]:
    pending = column == DeliveryStatus.PENDING
    match status:
        case DeliveryStatus.PENDING:
            return and_(pending, schedule.c.claim_id.is_(None))
        case DeliveryStatus.IN_FLIGHT:
            return and_(pending, schedule.c.claim_id.is_not(None))
        case _:
            return column == status


def _match_http_status(column: ColumnElement[int], pattern: str) -> ColumnElement[bool]:
    if pattern.endswith("xx"):
        first = int(pattern[0]) * 100
        return column.between(first, first + 99)
    return column == int(pattern)


def _uuid_array(ids: Iterable[UUID]) -> ColumnElement[Any]:
    return cast(literal(list(ids), ARRAY(PG_UUID(as_uuid=True))), ARRAY(PG_UUID(as_uuid=True)))
