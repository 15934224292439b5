"""The overview: is all well, and if not, where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.console import charts
from delivery.console.visits import get
from delivery.figures import DUE_EACH, Span

if TYPE_CHECKING:
    from starlette.responses import Response

    from delivery.console.visits import Visit

SPANS: Final = {Span.HOUR: "Last hour", Span.DAY: "Last day", Span.WEEK: "Last week"}

_BACK: Final = {Span.HOUR: "1h", Span.DAY: "24h", Span.WEEK: "7d"}


async def overview(visit: Visit) -> Response:
    """Figures over time, and what is so now."""
    span = span_of(visit)
    series = await visit.uses.figures.series(visit.tenant_id, span)
    present = await visit.uses.figures.now(visit.tenant_id)
    return visit.page(
        "overview.html",
        span=span,
        spans=SPANS,
        series=series,
        present=present,
        back=_BACK[span],
        charts=charts,
        most_each=DUE_EACH,
    )


def span_of(visit: Visit) -> Span:
    """The span that the address asks for; an hour where it asks for none that there is."""
    asked = visit.query.text("span")
    return Span(asked) if asked in set(Span) else Span.HOUR


ROUTES: Final = [get("/", overview)]
