"""Pages of a list, in order of id: which part to load, and the links between the pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from delivery.domain.ids import format_id
from delivery.domain.pagination import PageRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.console.web.context import RequestContext
    from delivery.domain.ids import Prefix
    from delivery.domain.pagination import Page

_CURSOR_PARAM: Final = "behind"


@dataclass(frozen=True, slots=True)
class Pager:
    """One list at `path`; `query` holds its filters, `prefix` is the kind of id in its cursors."""

    ctx: RequestContext
    path: str
    prefix: Prefix
    size: int
    query: Mapping[str, Any] = field(default_factory=dict)
    oldest_first: bool = False

    @property
    def request(self) -> PageRequest:
        """The part of the list that the URL asks for; the first part if its cursor is missing or invalid."""
        cursor = self.ctx.query.get_id(self.prefix, _CURSOR_PARAM)
        return PageRequest.from_cursor(self.size, cursor, oldest_first=self.oldest_first)

    def build_links(self, page: Page[Any]) -> dict[str, Any]:
        """The URLs of the first and the next page, as templates name them; None where there is none."""
        first = next_url = None
        if self.ctx.query.get_text(_CURSOR_PARAM):
            first = self.ctx.link(self.path, **self.query)
        if page.next_cursor is not None:
            cursor = format_id(self.prefix, page.next_cursor)
            next_url = self.ctx.link(self.path, **self.query, **{_CURSOR_PARAM: cursor})
        return {"first_url": first, "next_url": next_url}

    @property
    def current_url(self) -> str:
        """The URL of the page that is shown."""
        return self.ctx.link(
            self.path, **self.query, **{_CURSOR_PARAM: self.ctx.query.get_text(_CURSOR_PARAM)}
        )
