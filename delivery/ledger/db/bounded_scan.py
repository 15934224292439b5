"""Reading history with a bound.

No index knows a delivery's status or an event's type. A page that asks for one looks at so many rows at
most and then says where to go on, so that its cost does not follow the size of history: it may have fewer
rows than were asked for, even none, and still not be the last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import or_, select, text, true

from delivery.domain.event_patterns import MATCH_ALL, WILDCARD_SUFFIX
from delivery.domain.ids import build_min_id
from delivery.domain.pagination import HasId, Page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Column, ColumnElement, Subquery, UnaryExpression

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

MAX_SCANNED_ROWS = 20_000
# Payloads are read by us, not by the server: so many of them, and of their bytes, for a page.
MAX_SCANNED_BODIES = 4_000
MAX_SCANNED_BODY_BYTES = 16 << 20
BODY_BATCH_SIZE = 50
# What follows from a row has a later id than the row's, as far as the clocks of the machines agree.
MAX_CLOCK_SKEW = timedelta(minutes=10)

_FORCE_CUSTOM_PLAN = text("set local plan_cache_mode = force_custom_plan")
_DISABLE_SORT = text("set local enable_sort = off")

T = TypeVar("T", bound=HasId)
ScanScope = list["ColumnElement[bool]"]


async def force_custom_plan(tx: Transaction) -> None:
    """Have what follows planned for its own parameters.

    A plan for any tenant may walk the whole history by id, which is right for the tenant that owns most of it
    and hopeless for the one that owns three rows.
    """
    await tx.execute(_FORCE_CUSTOM_PLAN)


async def disable_sort(tx: Transaction) -> None:
    """Have what follows read by the index that has the order of the page, as far as the page needs it.

    For all that a page may look at, the planner would rather read them in any order and sort them.
    """
    await tx.execute(_DISABLE_SORT)


def build_scope(
    id_: ColumnElement[UUID],
    page_request: PageRequest,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ScanScope:
    """The range of ids that a page may hold; it also tells the planner which partitions to leave alone."""
    scope: ScanScope = (
        [id_ > page_request.after] if page_request.oldest_first else [id_ < page_request.before]
    )
    if since is not None:
        scope.append(id_ >= build_min_id(since))
    if until is not None:
        scope.append(id_ < build_min_id(until))
    return scope


def order_by_id(id_: ColumnElement[UUID], page_request: PageRequest) -> UnaryExpression[UUID]:
    """The order of a page."""
    return id_.asc() if page_request.oldest_first else id_.desc()


def match_patterns(column: ColumnElement[str], patterns: Sequence[str]) -> ColumnElement[bool]:
    """Whether a column is of any of these checked patterns: `*`, `order.created`, `order.*`."""
    if MATCH_ALL in patterns:
        return true()
    return or_(
        *[
            column.startswith(pattern.removesuffix("*"), autoescape=True)
            if pattern.endswith(WILDCARD_SUFFIX)
            else column == pattern
            for pattern in patterns
        ]
    )


def match_ids_after(id_: Column[Any], cause: UUID) -> ColumnElement[bool]:
    """The ids of what can have come of this one; for pruning partitions."""
    margin = int(MAX_CLOCK_SKEW.total_seconds() * 1000) << 80
    return id_ >= UUID(int=max(0, cause.int - margin))


def select_first_rows(
    columns: Sequence[Column[Any]], scope: ScanScope, page_request: PageRequest
) -> Subquery:
    """The first rows of a scope, as many as a page looks at; the first column is the id."""
    return (
        select(*columns)
        .where(*scope)
        .order_by(order_by_id(columns[0], page_request))
        .limit(MAX_SCANNED_ROWS)
        .subquery()
    )


async def build_page(
    tx: Transaction,
    found: Sequence[T],
    page_request: PageRequest,
    *,
    id_: ColumnElement[UUID],
    scope: ScanScope,
) -> Page[T]:
    """The page of what was found among the first of a scope; not full, it goes on where the look ended."""
    page = Page.from_rows(found, page_request)
    if page.next_cursor is not None:
        return page
    end = (
        select(id_)
        .where(*scope)
        .order_by(order_by_id(id_, page_request))
        .offset(MAX_SCANNED_ROWS - 1)
        .limit(1)
    )
    return Page(page.items, (await tx.execute(end)).scalar_one_or_none())
