"""Pages of a list. The place to go on from is an id, so rows added meanwhile move nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ID = UUID(int=(1 << 128) - 1)
MIN_ID = UUID(int=0)


class HasId(Protocol):
    """Anything with an id that orders it in time."""

    @property
    def id(self) -> UUID:
        """A UUIDv7."""


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for: at most `limit` rows, all older than `before`, newest first.

    With `oldest_first` the other way round: all newer than `after`.
    """

    limit: int = 50
    before: UUID = MAX_ID
    after: UUID = MIN_ID
    oldest_first: bool = False

    @classmethod
    def from_cursor(cls, limit: int, after: UUID | None, *, oldest_first: bool) -> PageRequest:
        """The page behind this id in this order; None: the first page."""
        if oldest_first:
            return cls(limit, after=MIN_ID if after is None else after, oldest_first=True)
        return cls(limit, before=MAX_ID if after is None else after)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and the id to ask for more behind; None when there are no more."""

    items: tuple[T, ...]
    next_cursor: UUID | None

    @classmethod
    def from_rows(cls, rows: Sequence[T], page_request: PageRequest) -> Page[T]:
        """Cut what a query found to the page; it must have looked for one row more than the limit."""
        # One row extra: a full page proves that there is a next.
        items = tuple(rows[: page_request.limit])
        return cls(items, items[-1].id if len(rows) > page_request.limit else None)
