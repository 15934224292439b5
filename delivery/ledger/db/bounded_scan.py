"""Reading history with a bound.

No index has a delivery's status or an event's type. A page that filters by one reads a bounded number of rows
and then says where to continue, so that its cost does not follow the size of history: it may have fewer rows
than requested, even none, and still not be the last.
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
# Payloads are parsed in Python, not by the server: at most this many, and this many bytes, per page.
MAX_SCANNED_BODIES = 4_000
MAX_SCANNED_BODY_BYTES = 16 << 20
BODY_BATCH_SIZE = 50
# Rows that follow from a row have later ids, as far as the machines' clocks agree.
MAX_CLOCK_SKEW = timedelta(minutes=10)

_FORCE_CUSTOM_PLAN = text("set local plan_cache_mode = force_custom_plan")
_DISABLE_SORT = text("set local enable_sort = off")

T = TypeVar("T", bound=HasId)
ScanScope = list["ColumnElement[bool]"]


async def force_custom_plan(tx: Transaction) -> None:
    """Plan the following statements for their actual parameters.

    A generic plan may read the whole history by id, which is right for a tenant with most of it and far too
    slow for a tenant with three rows.
    """
    await tx.execute(_FORCE_CUSTOM_PLAN)


async def disable_sort(tx: Transaction) -> None:
    """Read by the index that has the order of the page, as far as the page needs.

    Otherwise the planner prefers to read all candidate rows in any order and to sort them.
    """
    await tx.execute(_DISABLE_SORT)


def build_scope(
    id_: ColumnElement[UUID],
    page_request: PageRequest,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ScanScope:
    """The range of ids that a page may contain; the planner prunes partitions by it."""
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
    """Whether a column matches any of these checked patterns: `*`, `order.created`, `order.*`."""
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
    """The ids of rows that can follow from this one; for pruning partitions."""
    margin = int(MAX_CLOCK_SKEW.total_seconds() * 1000) << 80
    return id_ >= UUID(int=max(0, cause.int - margin))


def select_first_rows(
    columns: Sequence[Column[Any]], scope: ScanScope, page_request: PageRequest
) -> Subquery:
    """The first rows of a scope, as many as a page may read; the first column is the id."""
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
    """The page of matches among the first rows of a scope; a short page continues where reading ended."""
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
