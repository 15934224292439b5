"""Lists, the same for every noun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.cli.screen import note, print_table
from delivery.model import show_id
from delivery.paging import NEWEST, Cut, Identified, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar
    from uuid import UUID

    from delivery.cli.screen import Column
    from delivery.model import Prefix

    T = TypeVar("T", bound=Identified)

Before: Final = "Go on after this one."


def cut_of(limit: int, before: UUID | None) -> Cut:
    """The page that the options ask for."""
    return Cut(limit, NEWEST if before is None else before)


def print_page(
    page: Page[T],
    columns: Sequence[Column],
    row: Callable[[T], Sequence[str]],
    prefix: Prefix,
    *,
    none: str,
) -> None:
    """Print a page as a table, and how to get the next one."""
    if page.items or page.last is None:
        print_table(columns, [row(item) for item in page.items], none=none)
    if page.last is not None:
        note(f"There may be more: --before {show_id(prefix, page.last)}")
