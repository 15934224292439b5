"""Search: the deliveries of a selection, page by page.

No index names what changes in a delivery's life, so that its one update stays cheap. Other tables lead to
what is searched for instead: those that ended badly are listed in `failures`, those that are not over in
`schedule`, those of an event stand under its id. All the rest is read in the order of ids. Each page looks
at a bounded number of rows, and says where to go on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, any_, cast, func, literal, or_, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from delivery.holding import hold_of
from delivery.ledger import situations
from delivery.ledger.candidates import BADLY_ENDED, UNFINISHED, Candidates
from delivery.ledger.deliveries import delivery_of, with_schedule
from delivery.ledger.scan import (
    BODIES_AT_ONCE,
    MOST_BODIES,
    MOST_BODY_BYTES,
    MOST_SCANNED,
    follows,
    in_order,
    like,
    plan_for_this_tenant,
    read_in_order,
    scope_of,
)
from delivery.ledger.tables import deliveries, endpoints, events, schedule
from delivery.model import DeliveryStatus, EndpointId
from delivery.paging import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement, Select, Subquery

    from delivery.ledger.scan import Scope
    from delivery.ledger.session import Transaction
    from delivery.model import Delivery, TenantId
    from delivery.paging import Cut
    from delivery.selection import DeliverySelection

_MATCHES_AT_ONCE: Final = 500
_SUCCESS: Final = "delivered"

_BODIES = text("""
    select wanted.id, e.body from unnest(cast(:ids as uuid[])) as wanted (id)
    join events e on e.id = wanted.id where e.body is not null
""")


@dataclass(frozen=True, slots=True)
class Search:
    """A selection, with what had to be looked up before it could be searched for."""

    tenant_id: TenantId | None
    wanted: DeliverySelection
    statuses: frozenset[DeliveryStatus]
    events: tuple[UUID, ...] | None
    held: tuple[EndpointId, ...] | None
    candidates: Candidates | None

    def ids(self, cut: Cut, *, most: int = MOST_SCANNED) -> Select[tuple[UUID]]:
        """What a page looks at, as `id`."""
        wanted = self.wanted
        if self.candidates is not None:
            return self.candidates.ids(cut, since=wanted.since, until=wanted.until, most=most)
        id_ = deliveries.c.id
        return select(id_).where(*self._scope(cut)).order_by(in_order(id_, cut)).limit(most)

    def looked_at(self, cut: Cut, *, most: int = MOST_SCANNED) -> Subquery:
        """The deliveries that a page looks at, in its order."""
        if self.candidates is None:
            id_ = deliveries.c.id
            query = select(deliveries).where(*self._scope(cut)).order_by(in_order(id_, cut)).limit(most)
            return query.subquery()
        found = self.ids(cut, most=most).subquery()
        # Apart, so that each is looked up by its id, and not sought among all that its endpoint ever had.
        each = select(deliveries).where(deliveries.c.id == found.c.id).limit(1).lateral()
        # The id is the candidates' own, so that their order is known to be the page's.
        columns = [found.c.id, *(column for column in each.c if column.name != "id")]
        joined = select(*columns).select_from(found.join(each, true()))
        return joined.order_by(in_order(found.c.id, cut)).subquery()

    def matching(self, seen: Subquery) -> Select[Any]:
        """Those of the rows that are meant, payloads aside."""
        return with_schedule(seen).where(*self._filters(seen))

    def _scope(self, cut: Cut) -> Scope:
        wanted, columns = self.wanted, deliveries.c
        scope = scope_of(columns.id, cut, since=wanted.since, until=wanted.until)
        if self.tenant_id is not None:
            scope.append(columns.tenant_id == self.tenant_id)
        if len(wanted.endpoints) == 1:
            scope.append(columns.endpoint_id == wanted.endpoints[0])
        if self.events is not None:
            scope.append(columns.event_id == any_(_uuids(self.events)))
            scope += [follows(columns.id, min(self.events))] if self.events else []
        return scope

    def _filters(self, seen: Subquery) -> list[ColumnElement[bool]]:
        wanted, columns = self.wanted, seen.c
        filters: list[ColumnElement[bool]] = []
        if self.tenant_id is not None:
            filters.append(columns.tenant_id == self.tenant_id)
        if wanted.endpoints:
            filters.append(columns.endpoint_id == any_(_uuids(wanted.endpoints)))
        if wanted.types:
            filters.append(like(columns.event_type, wanted.types))
        if self.statuses:
            filters.append(or_(*[_stands(columns.status, status) for status in self.statuses]))
        if wanted.outcomes:
            filters.append(func.coalesce(schedule.c.outcome, columns.outcome).in_(wanted.outcomes))
        if wanted.http:
            last = func.coalesce(schedule.c.http_status, columns.http_status)
            filters.append(or_(*[_answered(last, one) for one in wanted.http]))
        attempts = func.coalesce(schedule.c.attempts, columns.attempts)
        if wanted.attempts_min is not None:
            filters.append(attempts >= wanted.attempts_min)
        if wanted.attempts_max is not None:
            filters.append(attempts <= wanted.attempts_max)
        if self.held is not None:
            filters.append(columns.endpoint_id == any_(_uuids(self.held)))
            filters.append(schedule.c.due_at <= func.clock_timestamp())
        return filters


async def prepared(
    tx: Transaction, tenant_id: TenantId | None, wanted: DeliverySelection, *, in_flight: int
) -> Search:
    """Look up what a search stands on. `in_flight` is how many an endpoint may have on their way by default.

    No tenant: those of all tenants are meant.
    """
    await plan_for_this_tenant(tx)
    statuses = _statuses(wanted)
    found = () if _means_nothing(wanted) else await _events(tx, tenant_id, wanted)
    candidates = None
    if found is None and statuses and DeliveryStatus.SUCCEEDED not in statuses:
        only = wanted.endpoints[0] if len(wanted.endpoints) == 1 else None
        candidates = Candidates(statuses, tenant_id, only)
        await candidates.prepare(tx)
    elif found is None:
        await read_in_order(tx)
    held = await _held(tx, tenant_id, wanted, in_flight) if wanted.held_by else None
    return Search(tenant_id, wanted, statuses, found, held, candidates)


async def page(tx: Transaction, search: Search, cut: Cut) -> Page[Delivery]:
    """The deliveries that are meant, newest or oldest first.

    The page may hold fewer than asked for, even none, and have a `last` all the same: its cost is bounded.
    """
    return await (_with_payload if search.wanted.payload else _matching)(tx, search, cut)


async def _matching(tx: Transaction, search: Search, cut: Cut) -> Page[Delivery]:
    seen = search.looked_at(cut)
    query = search.matching(seen).order_by(in_order(seen.c.id, cut)).limit(cut.limit + 1)
    page = Page.of([delivery_of(row) for row in await tx.execute(query)], cut)
    if page.last is not None:
        return page
    # Fewer than asked for: they may have been all, or all that may be looked at for one page.
    end = search.ids(cut).subquery()
    last = select(end.c.id).order_by(in_order(end.c.id, cut)).offset(MOST_SCANNED - 1).limit(1)
    return Page(page.items, (await tx.execute(last)).scalar_one_or_none())


async def _with_payload(tx: Transaction, search: Search, cut: Cut) -> Page[Delivery]:
    kept: list[Delivery] = []
    read = size = 0
    at = replace(cut, limit=_MATCHES_AT_ONCE)
    while True:
        found = await _matching(tx, search, at)
        for start in range(0, len(found.items), BODIES_AT_ONCE):
            some = found.items[start : start + BODIES_AT_ONCE]
            bodies = await _bodies(tx, some)
            kept += [one for one in some if _holds(bodies.get(one.event_id), search.wanted)]
            read, size = read + len(some), size + sum(map(len, bodies.values()))
            if len(kept) > cut.limit:
                return Page.of(kept, cut)
            if read >= MOST_BODIES or size >= MOST_BODY_BYTES:
                return Page(tuple(kept), some[-1].id)
        if found.last is None:
            return Page(tuple(kept), None)
        if not found.items:
            return Page(tuple(kept), found.last)
        at = _behind(at, found.last)


def _behind(cut: Cut, last: UUID) -> Cut:
    return type(cut).following(cut.limit, last, oldest_first=cut.oldest_first)


async def _bodies(tx: Transaction, some: Sequence[Delivery]) -> dict[UUID, bytes]:
    ids = list({one.event_id for one in some})
    return {row.id: row.body for row in await tx.execute(_BODIES, {"ids": ids})}


def _holds(body: bytes | None, wanted: DeliverySelection) -> bool:
    return body is not None and all(condition.matches(body) for condition in wanted.payload)


def _statuses(wanted: DeliverySelection) -> frozenset[DeliveryStatus]:
    """The statuses that can be meant; none: all of them."""
    asked = frozenset(wanted.statuses)
    if wanted.held_by:
        return frozenset({DeliveryStatus.PENDING})
    fails = wanted.outcomes and _SUCCESS not in wanted.outcomes
    refuses = wanted.http and not any(one.startswith("2") for one in wanted.http)
    if not asked and (fails or refuses):
        return BADLY_ENDED | UNFINISHED
    return asked


def _means_nothing(wanted: DeliverySelection) -> bool:
    """Only what is pending is held: held and another status is nothing."""
    return bool(wanted.held_by and wanted.statuses) and DeliveryStatus.PENDING not in wanted.statuses


async def _events(
    tx: Transaction, tenant_id: TenantId | None, wanted: DeliverySelection
) -> tuple[UUID, ...] | None:
    """The events that can be meant; None: any."""
    named = None if wanted.event_id is None else (wanted.event_id,)
    if wanted.idempotency_key is None:
        return named
    query = select(events.c.id).where(events.c.idempotency_key == wanted.idempotency_key)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    if named is not None:
        query = query.where(events.c.id == named[0])
    return tuple((await tx.execute(query)).scalars())


async def _held(
    tx: Transaction, tenant_id: TenantId | None, wanted: DeliverySelection, in_flight: int
) -> tuple[EndpointId, ...]:
    """The endpoints that are held by what is asked for."""
    query = situations.perhaps_held(wanted.held_by)
    if tenant_id is not None:
        query = query.where(endpoints.c.tenant_id == tenant_id)
    if wanted.endpoints:
        query = query.where(endpoints.c.id == any_(_uuids(wanted.endpoints)))
    known = await situations.of(tx, map(EndpointId, (await tx.execute(query)).scalars()))
    holds = {id_: hold_of(situation, in_flight=in_flight) for id_, situation in known.items()}
    return tuple(id_ for id_, hold in holds.items() if hold is not None and hold.by in wanted.held_by)


def _stands(column: ColumnElement[str], status: DeliveryStatus) -> ColumnElement[bool]:
    pending = column == DeliveryStatus.PENDING
    match status:
        case DeliveryStatus.PENDING:
            return and_(pending, schedule.c.claim_id.is_(None))
        case DeliveryStatus.IN_FLIGHT:
            return and_(pending, schedule.c.claim_id.is_not(None))
        case _:
            return column == status


def _answered(column: ColumnElement[int], one: str) -> ColumnElement[bool]:
    if one.endswith("xx"):
        first = int(one[0]) * 100
        return column.between(first, first + 99)
    return column == int(one)


def _uuids(ids: Iterable[UUID]) -> ColumnElement[Any]:
    return cast(literal(list(ids), ARRAY(PG_UUID(as_uuid=True))), ARRAY(PG_UUID(as_uuid=True)))
