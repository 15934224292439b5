"""Pages of a list by keyset: the cursor is an id, so rows that are added meanwhile shift nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ID = UUID(int=(1 << 128) - 1)
MIN_ID = UUID(int=0)
# Of the deliveries of one endpoint.
MAX_SEQUENCE = (1 << 63) - 1


class HasId(Protocol):
    """Anything with an id that orders it in time."""

    @property
    def id(self) -> UUID:
        """A UUIDv7."""


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of at most `limit` rows older than `before`, newest first.

    With `oldest_first`: rows newer than `after`, oldest first.
    """

    limit: int = 50
    before: UUID = MAX_ID
    after: UUID = MIN_ID
    oldest_first: bool = False

    @classmethod
    def from_cursor(cls, limit: int, after: UUID | None, *, oldest_first: bool) -> PageRequest:
        """The page after this id in this order; None: the first page."""
        if oldest_first:
            return cls(limit, after=MIN_ID if after is None else after, oldest_first=True)
        return cls(limit, before=MAX_ID if after is None else after)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows of a list and the cursor of the next page; None at the end."""

    items: tuple[T, ...]
    next_cursor: UUID | None

    @classmethod
    def from_rows(cls, rows: Sequence[T], page_request: PageRequest) -> Page[T]:
        """Cut the rows of a query that asked for one more than the limit."""
        # One row extra: a full page proves that there is a next.
        items = tuple(rows[: page_request.limit])
        return cls(items, items[-1].id if len(rows) > page_request.limit else None)
