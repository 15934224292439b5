"""The catalogue in the console: one type with its schema and examples, and the documents to take along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from delivery.catalogue import FORMATS
from delivery.console.pretty import laid_out
from delivery.console.visits import get
from delivery.errors import Invalid, NotFound

if TYPE_CHECKING:
    from delivery.console.visits import Visit

_MOST_DIGITS: Final = 6


async def one(visit: Visit) -> Response:
    """One type, in its newest version or another."""
    name: str = visit.request.path_params["name"]
    told = await visit.uses.catalogue.read(name, version=_version(visit))
    version = told.version
    examples = msgspec.json.decode(version.examples, type=list[msgspec.Raw])
    return visit.page(
        "event_type.html",
        type=told.type,
        version=version,
        versions=told.versions,
        schema=None if version.schema is None else laid_out(version.schema),
        examples=[laid_out(bytes(each).decode()) for each in examples],
    )


async def export(visit: Visit) -> Response:
    """The catalogue as a document."""
    form: str = visit.request.path_params["format"]
    if form not in FORMATS:
        raise NotFound("format", form)
    document = msgspec.json.format(msgspec.json.encode(await visit.uses.catalogue.export(form)))
    told = {"Content-Disposition": f'attachment; filename="events.{form}.json"'}
    return Response(document, media_type="application/json", headers=told)


def _version(visit: Visit) -> int | None:
    text = visit.query.text("version")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise Invalid("version", "must be a number")
    return int(text)


ROUTES: Final = [get("/types/{name}", one), get("/types/export/{format}", export)]
