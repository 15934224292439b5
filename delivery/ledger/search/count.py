"""Counts the deliveries of a filter: exactly while that is cheap, estimated beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import Text as TextType
from sqlalchemy import cast, func, select

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import DeliveryId
from delivery.domain.pagination import PageRequest
from delivery.ledger.db.bounded_scan import MAX_SCANNED_BODIES
from delivery.ledger.search import search as searching

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement

    from delivery.ledger.db.session import Transaction
    from delivery.ledger.search.search import DeliverySearch

# Costs some tens of milliseconds; a count before a replay may read five times as many rows.
MAX_COUNTED: Final = 20_000
MAX_COUNTED_BEFORE_ACTION: Final = 100_000
_FIRST_PAGE: Final = PageRequest(1)


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """The count, by status too; not `exact`: estimated. `oldest` and `newest` of the rows read."""

    count: int
    exact: bool
    by_status: Mapping[DeliveryStatus, int]
    oldest: DeliveryId | None
    newest: DeliveryId | None


async def count_deliveries(
    tx: Transaction, search: DeliverySearch, *, limit: int = MAX_COUNTED
) -> DeliveryCount:
    """Count the matches, reading at most `most` rows, or 4,000 payloads."""
    if search.delivery_filter.payload:
        return await _count_by_payload(tx, search)
    looked = await _count_scanned(tx, search, limit)
    seen = search.select_scanned(_FIRST_PAGE, limit=limit)
    matching = search.select_matching(seen).subquery()
    id_: ColumnElement[str] = cast(matching.c.id, TextType).collate("C")
    rows = await tx.execute(
        select(
            matching.c.status,
            func.count().label("n"),
            func.min(id_).label("first"),
            func.max(id_).label("last"),
        ).group_by(matching.c.status)
    )
    found = {DeliveryStatus(row.status): row for row in rows}
    return await _scale_counts(
        tx,
        search,
        {status: row.n for status, row in found.items()},
        ends=[DeliveryId(UUID(end)) for row in found.values() for end in (row.first, row.last)],
        scanned=looked,
        exact=looked < limit,
    )


async def _count_by_payload(tx: Transaction, search: DeliverySearch) -> DeliveryCount:
    page = await searching.read_page(tx, search, PageRequest(MAX_SCANNED_BODIES))
    counts: dict[DeliveryStatus, int] = {}
    for one in page.items:
        counts[one.status] = counts.get(one.status, 0) + 1
    ends = [one.id for one in page.items]
    return await _scale_counts(
        tx, search, counts, ends=ends, scanned=MAX_SCANNED_BODIES, exact=page.next_cursor is None
    )


async def _scale_counts(
    tx: Transaction,
    search: DeliverySearch,
    counts: dict[DeliveryStatus, int],
    *,
    ends: list[DeliveryId],
    scanned: int,
    exact: bool,
) -> DeliveryCount:
    factor = 1.0
    if not exact:
        factor = max(1.0, await _estimate_rows(tx, search) / max(1, scanned))
    by_status = {status: round(count * factor) for status, count in counts.items()}
    return DeliveryCount(
        count=sum(by_status.values()),
        exact=exact,
        by_status=by_status,
        oldest=min(ends, default=None),
        newest=max(ends, default=None),
    )


async def _count_scanned(tx: Transaction, search: DeliverySearch, limit: int) -> int:
    ids = search.select_ids(_FIRST_PAGE, limit=limit).subquery()
    return int((await tx.execute(select(func.count()).select_from(ids))).scalar_one())


async def _estimate_rows(tx: Transaction, search: DeliverySearch) -> float:
    """The planner's estimate of the rows that a search would read."""
    query = search.select_ids(_FIRST_PAGE, limit=1 << 40)
    compiled = query.compile(dialect=tx.dialect)
    explained = await tx.exec_driver_sql(f"explain (format json) {compiled}", dict(compiled.params))
    ((plan,),) = explained.all()
    return float(plan[0]["Plan"]["Plan Rows"])
