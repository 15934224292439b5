"""Pages of a list. The place to go on from is an id, so rows added meanwhile move nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

NEWEST = UUID(int=(1 << 128) - 1)
OLDEST = UUID(int=0)


class Identified(Protocol):
    """Anything with an id that orders it in time."""

    @property
    def id(self) -> UUID:
        """A UUIDv7."""


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which page is asked for: at most `limit` rows, all older than `before`, newest first.

    With `oldest_first` the other way round: all newer than `after`.
    """

    limit: int = 50
    before: UUID = NEWEST
    after: UUID = OLDEST
    oldest_first: bool = False

    @classmethod
    def following(cls, limit: int, last: UUID | None, *, oldest_first: bool) -> Cut:
        """The page behind this id in this order; None: the first page."""
        if oldest_first:
            return cls(limit, after=OLDEST if last is None else last, oldest_first=True)
        return cls(limit, before=NEWEST if last is None else last)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and the id to ask for more behind; None when there are no more."""

    items: tuple[T, ...]
    last: UUID | None

    @classmethod
    def of(cls, found: Sequence[T], cut: Cut) -> Page[T]:
        """Cut what a query found to the page; it must have looked for one row more than the limit."""
        # One row extra: a full page proves that there is a next.
        items = tuple(found[: cut.limit])
        return cls(items, items[-1].id if len(found) > cut.limit else None)
