"""Where a search begins: ids of deliveries among which all that are meant must be, in the order of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, literal, select, true, union_all

from delivery.ledger.scan import MOST_SCANNED, in_order, scope_of
from delivery.ledger.tables import endpoints, failures, schedule
from delivery.model import DeliveryStatus, Lane

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Select

    from delivery.ledger.session import Transaction
    from delivery.model import EndpointId, TenantId
    from delivery.paging import Cut

BADLY_ENDED: Final = frozenset({DeliveryStatus.FAILED, DeliveryStatus.CANCELLED})
UNFINISHED: Final = frozenset({DeliveryStatus.PENDING, DeliveryStatus.IN_FLIGHT})
# An owner of more unfinished deliveries than that is searched in the order of ids like everybody else.
MOST_OWED: Final = 20_000


class Candidates:
    """The deliveries of these statuses, which are not all statuses, of an owner who may be everybody."""

    def __init__(
        self, statuses: Collection[DeliveryStatus], tenant_id: TenantId | None, endpoint_id: EndpointId | None
    ) -> None:
        """Nothing is looked up yet."""
        self._badly_ended = bool(BADLY_ENDED & set(statuses))
        self._unfinished = bool(UNFINISHED & set(statuses))
        self._tenant_id = tenant_id
        self._endpoint_id = endpoint_id
        self._owes_little = False

    async def prepare(self, tx: Transaction) -> None:
        """Find out whether the owner is owed so little that all of it can be looked at."""
        if self._unfinished and (self._tenant_id or self._endpoint_id):
            some = self._owed().limit(MOST_OWED + 1).subquery()
            count = (await tx.execute(select(func.count()).select_from(some))).scalar_one()
            self._owes_little = count <= MOST_OWED

    def ids(
        self, cut: Cut, *, since: datetime | None, until: datetime | None, most: int = MOST_SCANNED
    ) -> Select[tuple[UUID]]:
        """The first of them in the order of a page, as `id`; others may be among them."""
        parts = []
        if self._badly_ended:
            parts.append(self._failures(cut, since, until, most))
        if self._unfinished:
            parts.append(self._scheduled(cut, since, until, most))
        if len(parts) == 1:
            return parts[0]
        both = union_all(*[select(part.subquery().c.id) for part in parts]).subquery()
        return select(both.c.id).order_by(in_order(both.c.id, cut)).limit(most)

    def _failures(
        self, cut: Cut, since: datetime | None, until: datetime | None, most: int
    ) -> Select[tuple[UUID]]:
        id_ = failures.c.delivery_id
        query = select(id_.label("id")).where(*scope_of(id_, cut, since=since, until=until))
        if self._endpoint_id is not None:
            query = query.where(failures.c.endpoint_id == self._endpoint_id)
        elif self._tenant_id is not None:
            query = query.where(failures.c.tenant_id == self._tenant_id)
        return query.order_by(in_order(id_, cut)).limit(most)

    def _scheduled(
        self, cut: Cut, since: datetime | None, until: datetime | None, most: int
    ) -> Select[tuple[UUID]]:
        if self._owes_little:
            owed = self._owed().subquery()
            query = select(owed.c.id).where(*scope_of(owed.c.id, cut, since=since, until=until))
            return query.order_by(in_order(owed.c.id, cut)).limit(most)
        id_ = schedule.c.delivery_id
        query = select(id_.label("id")).where(*scope_of(id_, cut, since=since, until=until))
        return query.order_by(in_order(id_, cut)).limit(most)

    def _owed(self) -> Select[tuple[UUID]]:
        """All that the owner is owed, by the indexes of what is due and what is claimed."""
        lanes = union_all(*[select(literal(int(lane)).label("lane")) for lane in Lane]).subquery()
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
