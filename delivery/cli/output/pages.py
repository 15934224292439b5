"""Lists, the same for every noun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.cli.output.table import print_json, print_note, print_table
from delivery.domain.ids import format_id
from delivery.domain.pagination import MAX_ID, HasId, Page, PageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar
    from uuid import UUID

    from pydantic import BaseModel

    from delivery.cli.output.table import Column
    from delivery.domain.ids import Prefix

    T = TypeVar("T", bound=HasId)

BEFORE_HELP: Final = "Continue after this one."


def to_page_request(limit: int, before: UUID | None) -> PageRequest:
    """The page that the options request."""
    return PageRequest(limit, MAX_ID if before is None else before)


def print_page_json(page: Page[T], to_model: Callable[[T], BaseModel], prefix: Prefix) -> None:
    """Print a page as JSON; `next` is for `--before`."""
    next_id = None if page.next_cursor is None else format_id(prefix, page.next_cursor)
    print_json({"items": [to_model(item) for item in page.items], "next": next_id})


def print_page(
    page: Page[T],
    columns: Sequence[Column],
    format_row: Callable[[T], Sequence[str]],
    prefix: Prefix,
    *,
    empty_message: str,
) -> None:
    """Print a page as a table, with a note about the next page."""
    if page.items or page.next_cursor is None:
        print_table(columns, [format_row(item) for item in page.items], empty_message=empty_message)
    if page.next_cursor is not None:
        print_note(f"There may be more: --before {format_id(prefix, page.next_cursor)}")
