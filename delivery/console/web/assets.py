"""The console's static files; their URLs contain a content hash, so that browsers can cache them forever."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HASH_LENGTH: Final = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file with its media type and content hash."""

    content: bytes
    media_type: str
    content_hash: str


@cache
def load_assets() -> dict[str, Asset]:
    """Load all static files, by name."""
    assets = {}
    for file in files("delivery.console").joinpath("static").iterdir():
        media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            content = file.read_bytes()
            assets[file.name] = Asset(content, media_type, sha256(content).hexdigest()[:_HASH_LENGTH])
    return assets


def build_asset_url(name: str) -> str:
    """Build the URL of a static file."""
    return f"/console/static/{name}?{load_assets()[name].content_hash}"


async def serve_asset(request: Request) -> Response:
    """Serve a static file; cacheable forever if the URL has the current content hash."""
    asset = load_assets().get(request.path_params["name"])
    if asset is None or request.method not in {"GET", "HEAD"}:
        raise HTTPException(404)
    is_immutable = request.url.query == asset.content_hash
    cache_control = "public, max-age=31536000, immutable" if is_immutable else "no-cache"
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": cache_control})
