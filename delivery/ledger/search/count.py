"""How many deliveries a selection means: counted while that is cheap, estimated beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import Text as TextType
from sqlalchemy import cast, func, select

from delivery.ledger import search as searching
from delivery.ledger.scan import MOST_BODIES
from delivery.model import DeliveryId, DeliveryStatus
from delivery.paging import Cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement

    from delivery.ledger.search import Search
    from delivery.ledger.session import Transaction

# Some tens of milliseconds' worth of looking; who is about to act on it has five times as much looked at.
MOST_COUNTED: Final = 20_000
MOST_WEIGHED: Final = 100_000
_ALL: Final = Cut(1)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many there are, by status too; not `exact`: estimated. `oldest` and `newest` of those looked at."""

    count: int
    exact: bool
    by_status: Mapping[DeliveryStatus, int]
    oldest: DeliveryId | None
    newest: DeliveryId | None


async def tally(tx: Transaction, search: Search, *, most: int = MOST_COUNTED) -> Tally:
    """Count what a search means, looking at `most` rows at the most, or at 4,000 payloads."""
    if search.wanted.payload:
        return await _of_payloads(tx, search)
    looked = await _looked_at(tx, search, most)
    seen = search.looked_at(_ALL, most=most)
    matching = search.matching(seen).subquery()
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
    return await _scaled(
        tx,
        search,
        {status: row.n for status, row in found.items()},
        ends=[DeliveryId(UUID(end)) for row in found.values() for end in (row.first, row.last)],
        looked=looked,
        whole=looked < most,
    )


async def _of_payloads(tx: Transaction, search: Search) -> Tally:
    page = await searching.page(tx, search, Cut(MOST_BODIES))
    counts: dict[DeliveryStatus, int] = {}
    for one in page.items:
        counts[one.status] = counts.get(one.status, 0) + 1
    ends = [one.id for one in page.items]
    return await _scaled(tx, search, counts, ends=ends, looked=MOST_BODIES, whole=page.last is None)


async def _scaled(
    tx: Transaction,
    search: Search,
    counts: dict[DeliveryStatus, int],
    *,
    ends: list[DeliveryId],
    looked: int,
    whole: bool,
) -> Tally:
    factor = 1.0
    if not whole:
        factor = max(1.0, await _estimated(tx, search) / max(1, looked))
    by_status = {status: round(count * factor) for status, count in counts.items()}
    return Tally(
        count=sum(by_status.values()),
        exact=whole,
        by_status=by_status,
        oldest=min(ends, default=None),
        newest=max(ends, default=None),
    )


async def _looked_at(tx: Transaction, search: Search, most: int) -> int:
    ids = search.ids(_ALL, most=most).subquery()
    return int((await tx.execute(select(func.count()).select_from(ids))).scalar_one())


async def _estimated(tx: Transaction, search: Search) -> float:
    """How many rows the planner believes a search would have to look at in all."""
    query = search.ids(_ALL, most=1 << 40)
    compiled = query.compile(dialect=tx.dialect)
    explained = await tx.exec_driver_sql(f"explain (format json) {compiled}", dict(compiled.params))
    ((plan,),) = explained.all()
    return float(plan[0]["Plan"]["Plan Rows"])
