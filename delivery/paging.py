"""Pages of a list, newest first. The place to go on from is an id, so rows added meanwhile move nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Sequence

NEWEST = UUID(int=(1 << 128) - 1)


class Identified(Protocol):
    """Anything with an id that orders it in time."""

    @property
    def id(self) -> UUID:
        """A UUIDv7."""


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which page is asked for: at most `limit` rows, all older than `before`."""

    limit: int = 50
    before: UUID = NEWEST


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and the id to ask for more before; None when there are no more."""

    items: tuple[T, ...]
    last: UUID | None

    @classmethod
    def of(cls, found: Sequence[T], cut: Cut) -> Page[T]:
        """Cut what a query found to the page; it must have looked for one row more than the limit."""
        # One row extra: a full page proves that there is a next.
        items = tuple(found[: cut.limit])
        return cls(items, items[-1].id if len(found) > cut.limit else None)
