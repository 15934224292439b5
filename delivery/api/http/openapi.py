"""The OpenAPI document: FastAPI's, with all errors documented as problems (RFC 9457)."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from delivery.api.http.problems import MEDIA_TYPE

_PROBLEM_EXAMPLE = {
    "type": "/problems/invalid",
    "title": "The request is not valid",
    "status": 422,
    "detail": "url: The URL must begin with https://.",
    "instance": "/requests/019ab3c45d6e7f809a1b2c3d4e5f6071",
    "request_id": "019ab3c45d6e7f809a1b2c3d4e5f6071",
    "errors": [{"field": "url", "why": "The URL must begin with https://."}],
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "An error, in the form of RFC 9457.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {
            "type": "string",
            "description": "Also in X-Request-Id; quote it when you ask for support.",
        },
        "errors": {
            "type": "array",
            "description": "The invalid fields.",
            "items": {
                "type": "object",
                "required": ["field", "why"],
                "properties": {"field": {"type": "string"}, "why": {"type": "string"}},
            },
        },
    },
    "examples": [_PROBLEM_EXAMPLE],
}
_REQUEST_ID = {
    "description": "The request's id; quote it when you ask for support.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
# For keys with a rate limit.
_RATE_LIMIT_HEADERS = {
    "RateLimit-Limit": {
        "description": "Requests per second that the key may make.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateLimit-Remaining": {
        "description": "Requests that it may make immediately.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit-Reset": {
        "description": "Seconds until the full limit is available again.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_RETRY_AFTER = {
    "description": "Seconds to wait before the next request, with 429 and 503.",
    "schema": {"type": "integer", "minimum": 0},
}
_PROBLEM_RESPONSE = {
    "description": "A problem (RFC 9457).",
    "headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_HEADERS = {"X-Request-Id": _REQUEST_ID, "Retry-After": _RETRY_AFTER, **_RATE_LIMIT_HEADERS}
DESCRIPTION = """\
Events in, signed webhooks out, and a ledger that records the fate of each.

Every request carries an API key: `Authorization: Bearer …`. Each operation lists under `security` the scopes
that its key needs; the operator's key has all of them. Errors are problems (RFC 9457) that name the invalid
fields. Lists are newest first; pass `next` as `cursor` to get the next page.
"""


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """Build the OpenAPI document of this application, once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = schema["components"]["schemas"]
        schemas["Problem"] = _PROBLEM_SCHEMA
        schema["components"]["headers"] = _HEADERS
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = dict(_PROBLEM_RESPONSE)
                names = ["X-Request-Id", *(_RATE_LIMIT_HEADERS if "security" in operation else ())]
                for response in operation["responses"].values():
                    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
                    response["headers"] = {**response.get("headers", {}), **headers}
        app.openapi_schema = schema
    return app.openapi_schema
