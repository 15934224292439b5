"""One event type of the catalogue with its schema and examples, and the catalogue's exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from delivery.console.forms.fields import parse_whole_number
from delivery.console.views.body import format_json
from delivery.console.web.context import make_get_route
from delivery.domain.errors import NotFound
from delivery.services.event_types.service import DOCUMENT_FORMATS

if TYPE_CHECKING:
    from delivery.console.web.context import RequestContext


async def show_event_type(ctx: RequestContext) -> Response:
    """Show one event type in its newest or another version."""
    name: str = ctx.request.path_params["name"]
    details = await ctx.services.event_types.read(name, version=_parse_version(ctx))
    version = details.version
    examples = msgspec.json.decode(version.examples, type=list[msgspec.Raw])
    return ctx.render_page(
        "event_type.html",
        type=details.type,
        version=version,
        versions=details.versions,
        schema=None if version.schema is None else format_json(version.schema),
        examples=[format_json(bytes(each).decode()) for each in examples],
    )


async def export_catalogue(ctx: RequestContext) -> Response:
    """Download the catalogue as an OpenAPI or AsyncAPI document."""
    form: str = ctx.request.path_params["format"]
    if form not in DOCUMENT_FORMATS:
        raise NotFound("format", form)
    document = msgspec.json.format(msgspec.json.encode(await ctx.services.event_types.export_document(form)))
    headers = {"Content-Disposition": f'attachment; filename="events.{form}.json"'}
    return Response(document, media_type="application/json", headers=headers)


def _parse_version(ctx: RequestContext) -> int | None:
    return parse_whole_number(ctx.query.get_text("version"), "version", "must be a number")


ROUTES: Final = [
    make_get_route("/types/{name}", show_event_type),
    make_get_route("/types/export/{format}", export_catalogue),
]
