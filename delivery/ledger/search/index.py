"""Where a search starts: candidate ids that include all matches, in the order of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, literal, select, true, union_all

from delivery.domain.delivery import DeliveryStatus, Priority
from delivery.ledger.db.bounded_scan import MAX_SCANNED_ROWS, build_scope, order_by_id
from delivery.ledger.db.tables import endpoints, failures, schedule

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Select

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

UNSUCCESSFUL: Final = frozenset({DeliveryStatus.FAILED, DeliveryStatus.CANCELLED})
UNFINISHED: Final = frozenset({DeliveryStatus.PENDING, DeliveryStatus.IN_FLIGHT})
# With more unfinished deliveries than that, the search goes through all ids in order.
MAX_UNFINISHED: Final = 20_000


class Candidates:
    """The candidates with these statuses, of one tenant or endpoint or of all."""

    def __init__(
        self, statuses: Collection[DeliveryStatus], tenant_id: TenantId | None, endpoint_id: EndpointId | None
    ) -> None:
        """Nothing is looked up yet."""
        self._includes_unsuccessful = bool(UNSUCCESSFUL & set(statuses))
        self._includes_unfinished = bool(UNFINISHED & set(statuses))
        self._tenant_id = tenant_id
        self._endpoint_id = endpoint_id
        self._has_few_unfinished = False

    async def prepare(self, tx: Transaction) -> None:
        """Check whether there are few enough unfinished deliveries to read them all."""
        if self._includes_unfinished and (self._tenant_id or self._endpoint_id):
            some = self._select_unfinished().limit(MAX_UNFINISHED + 1).subquery()
            count = (await tx.execute(select(func.count()).select_from(some))).scalar_one()
            self._has_few_unfinished = count <= MAX_UNFINISHED

    def select_ids(
        self,
        page_request: PageRequest,
        *,
        since: datetime | None,
        until: datetime | None,
        limit: int = MAX_SCANNED_ROWS,
    ) -> Select[tuple[UUID]]:
        """The first candidates in the order of a page, as `id`; some may not match."""
        parts = []
        if self._includes_unsuccessful:
            parts.append(self._select_failures(page_request, since, until, limit))
        if self._includes_unfinished:
            parts.append(self._select_scheduled(page_request, since, until, limit))
        if len(parts) == 1:
            return parts[0]
        both = union_all(*[select(part.subquery().c.id) for part in parts]).subquery()
        return select(both.c.id).order_by(order_by_id(both.c.id, page_request)).limit(limit)

    def _select_failures(
        self, page_request: PageRequest, since: datetime | None, until: datetime | None, limit: int
    ) -> Select[tuple[UUID]]:
        id_ = failures.c.delivery_id
        query = select(id_.label("id")).where(*build_scope(id_, page_request, since=since, until=until))
        if self._endpoint_id is not None:
            query = query.where(failures.c.endpoint_id == self._endpoint_id)
        elif self._tenant_id is not None:
            query = query.where(failures.c.tenant_id == self._tenant_id)
        return query.order_by(order_by_id(id_, page_request)).limit(limit)

    def _select_scheduled(
        self, page_request: PageRequest, since: datetime | None, until: datetime | None, limit: int
    ) -> Select[tuple[UUID]]:
        if self._has_few_unfinished:
            owed = self._select_unfinished().subquery()
            query = select(owed.c.id).where(*build_scope(owed.c.id, page_request, since=since, until=until))
            return query.order_by(order_by_id(owed.c.id, page_request)).limit(limit)
        id_ = schedule.c.delivery_id
        query = select(id_.label("id")).where(*build_scope(id_, page_request, since=since, until=until))
        return query.order_by(order_by_id(id_, page_request)).limit(limit)

    def _select_unfinished(self) -> Select[tuple[UUID]]:
        """All unfinished deliveries, by the indexes of due and claimed rows."""
        lanes = union_all(*[select(literal(int(lane)).label("lane")) for lane in Priority]).subquery()
        waiting = (
            select(schedule.c.delivery_id)
            .where(
                schedule.c.lane == lanes.c.lane,
                schedule.c.endpoint_id == endpoints.c.id,
                schedule.c.claim_id.is_(None),
            )
            .lateral()
        )
        owner = (
            endpoints.c.id == self._endpoint_id
            if self._endpoint_id is not None
            else endpoints.c.tenant_id == self._tenant_id
        )
        unclaimed = (
            select(waiting.c.delivery_id.label("id"))
            .select_from(endpoints.join(lanes, true()).join(waiting, true()))
            .where(owner)
        )
        claimed = select(schedule.c.delivery_id.label("id")).where(schedule.c.claim_id.is_not(None))
        if self._tenant_id is not None:
            claimed = claimed.where(schedule.c.tenant_id == self._tenant_id)
        both = union_all(unclaimed, claimed).subquery()
        return select(both.c.id)
