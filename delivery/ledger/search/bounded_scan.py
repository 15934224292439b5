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

from delivery.filters import ANY_BELOW, EVERYTHING
from delivery.model import id_floor
from delivery.paging import Identified, Page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Column, ColumnElement, Subquery, UnaryExpression

    from delivery.ledger.session import Transaction
    from delivery.paging import Cut

MOST_SCANNED = 20_000
# Payloads are read by us, not by the server: so many of them, and of their bytes, for a page.
MOST_BODIES = 4_000
MOST_BODY_BYTES = 16 << 20
BODIES_AT_ONCE = 50
# What follows from a row has a later id than the row's, as far as the clocks of the machines agree.
CLOCKS_APART = timedelta(minutes=10)

_FOR_THIS_ONE = text("set local plan_cache_mode = force_custom_plan")
_IN_ORDER = text("set local enable_sort = off")

T = TypeVar("T", bound=Identified)
Scope = list["ColumnElement[bool]"]


async def plan_for_this_tenant(tx: Transaction) -> None:
    """Have what follows planned for its own parameters.

    A plan for any tenant may walk the whole history by id, which is right for the tenant that owns most of it
    and hopeless for the one that owns three rows.
    """
    await tx.execute(_FOR_THIS_ONE)


async def read_in_order(tx: Transaction) -> None:
    """Have what follows read by the index that has the order of the page, as far as the page needs it.

    For all that a page may look at, the planner would rather read them in any order and sort them.
    """
    await tx.execute(_IN_ORDER)


def scope_of(
    id_: ColumnElement[UUID], cut: Cut, *, since: datetime | None = None, until: datetime | None = None
) -> Scope:
    """The range of ids that a page may hold; it also tells the planner which partitions to leave alone."""
    scope: Scope = [id_ > cut.after] if cut.oldest_first else [id_ < cut.before]
    if since is not None:
        scope.append(id_ >= id_floor(since))
    if until is not None:
        scope.append(id_ < id_floor(until))
    return scope


def in_order(id_: ColumnElement[UUID], cut: Cut) -> UnaryExpression[UUID]:
    """The order of a page."""
    return id_.asc() if cut.oldest_first else id_.desc()


def like(column: ColumnElement[str], patterns: Sequence[str]) -> ColumnElement[bool]:
    """Whether a column is of any of these checked patterns: `*`, `order.created`, `order.*`."""
    if EVERYTHING in patterns:
        return true()
    return or_(
        *[
            column.startswith(pattern.removesuffix("*"), autoescape=True)
            if pattern.endswith(ANY_BELOW)
            else column == pattern
            for pattern in patterns
        ]
    )


def follows(id_: Column[Any], cause: UUID) -> ColumnElement[bool]:
    """The ids of what can have come of this one; for pruning partitions."""
    margin = int(CLOCKS_APART.total_seconds() * 1000) << 80
    return id_ >= UUID(int=max(0, cause.int - margin))


def first_of(columns: Sequence[Column[Any]], scope: Scope, cut: Cut) -> Subquery:
    """The first rows of a scope, as many as a page looks at; the first column is the id."""
    return select(*columns).where(*scope).order_by(in_order(columns[0], cut)).limit(MOST_SCANNED).subquery()


async def page_of(
    tx: Transaction, found: Sequence[T], cut: Cut, *, id_: ColumnElement[UUID], scope: Scope
) -> Page[T]:
    """The page of what was found among the first of a scope; not full, it goes on where the look ended."""
    page = Page.of(found, cut)
    if page.last is not None:
        return page
    end = select(id_).where(*scope).order_by(in_order(id_, cut)).offset(MOST_SCANNED - 1).limit(1)
    return Page(page.items, (await tx.execute(end)).scalar_one_or_none())
